"""Checks of what `choose_k` is asked for, before any long work."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np

from .._backend import to_host
from .._problem import Training
from .._random import Purpose, row_bits
from .._typing import Array, Namespace

_ROWS_A_CLUSTER = 8
_SQUARES = 2.0**-960, 2.0**960  # far enough from float64's ends for squares of uniform rows too


def numbers_of_clusters(k: Any, n_rows: int, /) -> tuple[int, ...]:
    """The k to fit, ascending: up to a number, or those of a collection; none above the rows."""
    if _is_whole(k):
        if k < 1:
            raise ValueError(f"k={k!r} must be at least 1. Use the largest k, or a range.")
        _refuse_above(k, n_rows)
        return tuple(range(1, int(k) + 1))
    if isinstance(k, str) or not isinstance(k, Iterable):
        raise TypeError(f"k={k!r} is neither a whole number nor a collection of such. {_REMEDY}")
    # different numbers, more of them than rows: one is above the rows
    asked = list(itertools.islice(k, n_rows + 1))
    if not asked:
        raise ValueError(f"k={k!r} is empty. {_REMEDY}")
    for one in asked:
        if not _is_whole(one):
            raise TypeError(f"k has {one!r}, which is not a whole number. {_REMEDY}")
        if one < 1:
            raise ValueError(f"k has {one!r}; each k must be at least 1. {_REMEDY}")
    ks = sorted(map(int, asked))
    twice = [one for one, after in itertools.pairwise(ks) if one == after]
    if twice:
        raise ValueError(f"k has {twice[0]} more than once. {_REMEDY}")
    _refuse_above(ks[-1], n_rows)
    return tuple(ks)


def _refuse_above(k: int, n_rows: int) -> None:
    if k > n_rows:
        raise ValueError(
            f"k={k} asks for more clusters than X has rows ({n_rows}). Ask for k up to {n_rows}."
        )


_REMEDY = "Use the largest k (12 for 1 to 12) or a range, such as range(2, 13)."


def whole_number(value: Any, name: str, least: int, /) -> int:
    """A whole number of at least ``least``."""
    if not _is_whole(value) or value < least:
        raise ValueError(f"{name}={value!r} must be a whole number of at least {least}.")
    return int(value)


def tolerance(tol: Any, /) -> float:
    """A number of at least 0."""
    if not isinstance(tol, Real) or isinstance(tol, bool) or not float(tol) >= 0.0:
        raise ValueError(f"tol={tol!r} must be a number of at least 0.")
    return float(tol)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool | np.bool_)


def check_distinct(problem: Training, most: int, seed: int, /) -> None:
    """Refuse more clusters than there are different rows that carry weight.

    Some rows most often tell; all of them are sorted only where these repeat themselves.
    """
    xp, n = problem.context.xp, problem.source.n_rows
    weight = None
    if problem.summary.weight_grid is not None:
        weight = to_host(problem.source.take_weights(range(n)))
    positions = np.arange(n) if weight is None else np.flatnonzero(weight > 0.0)
    if _ROWS_A_CLUSTER * most < len(positions):
        keys = row_bits(0, _ROWS_A_CLUSTER * most, np.zeros(1), seed, Purpose.SAMPLE, xp=np)
        some = problem.source.take([int(row) for row in positions[keys % len(positions)]])
        if _distinct(some, xp=xp) >= most:
            return
    found = _distinct(problem.source.take([int(row) for row in positions]), xp=xp)
    if found < most:
        raise ValueError(
            f"k={most} asks for more clusters than X has different rows ({found}"
            f"{'' if weight is None else ' with a positive sample_weight'}). "
            f"Ask for k up to {found}."
        )


def check_inertia(total: float, problem: Training, /) -> None:
    """Refuse rows whose squared distances leave float64's range, as every criterion uses them."""
    extent = problem.summary.extent
    if _SQUARES[0] <= total <= _SQUARES[1] or bool((extent.low == extent.high).all()):
        return
    weights = "" if problem.summary.weight_grid is None else ", or sample_weight,"
    size = "small" if total < 1.0 else "large"
    raise ValueError(
        f"The inertia of X about its mean is {total:.3g}, too {size} for criteria in float64. "
        f"Multiply X{weights} by a power of two first, so that it is between {_SQUARES[0]:.0e} "
        f"and {_SQUARES[1]:.0e}."
    )


def _distinct(rows: Array, /, *, xp: Namespace) -> int:
    """How many rows differ from all before them."""
    n, d = (int(size) for size in rows.shape)
    order = xp.argsort(rows[:, d - 1], stable=True)
    for column in range(d - 2, -1, -1):
        again = xp.argsort(xp.take(rows[:, column], order), stable=True)
        order = xp.take(order, again)
    rows = xp.take(rows, order, axis=0)
    differs = xp.any(rows[1:, :] != rows[: n - 1, :], axis=1)
    return 1 + int(xp.count_nonzero(differs))
