"""Where columns lie and how wide they are: the same bits on every device."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .. import _exact as exact
from .._backend import Context, by_feature, to_host
from .._stats import Surveyor
from .._typing import Array, slices
from ._facts import to_unit

Host = npt.NDArray[np.float64]
CELLS = 1 << 20
"""Numbers of a temporary array."""


def ranges(x: Array, context: Context, /) -> tuple[Host, Host]:
    """Smallest and largest value of each column; not finite where a value is not."""
    survey = Surveyor(context.xp)
    found = functools.reduce(operator.add, (survey.ranges(x[part, :], None) for part in _pieces(x)))
    return found.low, found.high


def middle_and_deviation(x: Array, low: Host, high: Host, context: Context, /) -> tuple[Host, Host]:
    """Mean and standard deviation, by sums that do not depend on their order.

    Taken of the columns with their range as 0 to 1, so that they hold far from the origin too.
    """
    xp, n_rows = context.xp, int(x.shape[0])
    ends = exact.to_device(low, x, xp=xp), exact.to_device(high, x, xp=xp)

    def unit(rows: Array) -> Array:
        return to_unit(xp.astype(rows, xp.float64, copy=False), *ends, xp=xp)

    mean = _sums(x, unit, context) / n_rows
    center = exact.to_device(mean, x, xp=xp)

    def square(rows: Array) -> Array:
        away = unit(rows) - center
        return away * away

    span = high - low
    deviation = np.sqrt(_sums(x, square, context) / n_rows) * span
    return np.where(span > 0.0, low + mean * span, low), deviation


def _sums(x: Array, values: Callable[[Array], Array], context: Context) -> Host:
    """Sums over rows of values between 0 and 1, on a grid of 2**-40."""
    xp, up = context.xp, exact.ONE_LIMB
    total = np.zeros(int(x.shape[1]), dtype=object)
    for part in _pieces(x):
        scaled = xp.round(by_feature(values(x[part, :])) * up)
        total = total + to_host(exact.exact_sums(scaled, xp=xp)).astype(object)
    return np.asarray(total, dtype=np.float64) / up


def quantiles(x: Array, shares: Host, context: Context, /) -> Host:
    """Quantiles (q, d) of each column, by linear interpolation between its sorted values."""
    xp, n_rows = context.xp, int(x.shape[0])
    place = shares * (n_rows - 1)
    first = np.minimum(np.floor(place).astype(np.int64), max(0, n_rows - 2))
    at = exact.to_device(np.concatenate([first, np.minimum(first + 1, n_rows - 1)]), x, xp=xp)
    parts = []
    for part in slices(int(x.shape[1]), max(1, CELLS // n_rows)):
        ordered = xp.sort(xp.astype(by_feature(x[:, part]), xp.float64, copy=False), axis=1)
        parts.append(to_host(xp.take(ordered, at, axis=1)).T)
    left, right = np.split(np.concatenate(parts, axis=1), 2)
    return np.asarray(left + (right - left) * (place - first)[:, None])


def _pieces(x: Array) -> list[slice]:
    return list(slices(int(x.shape[0]), max(1, CELLS // int(x.shape[1]))))
