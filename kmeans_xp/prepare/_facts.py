"""What each column of an array is like: reductions where the array is, a few numbers home."""

from __future__ import annotations

from dataclasses import dataclass

import array_api_compat
import numpy as np
import numpy.typing as npt

from .._backend import Context, by_feature, to_host
from .._exact import to_device
from .._typing import Array, Namespace, slices

Host = npt.NDArray[np.float64]
_HOST_CELLS, _DEVICE_CELLS = 1 << 20, 1 << 22
_GOLDEN = 0.6180339887498949  # its multiples, less their whole part, lie evenly in 0 to 1
SAME = 1e-3  # of the range: copies that were rounded on the way are still found
_OFTEN, _ROUNDING = 10, 1e-9
_GLANCES = (8, 56)  # rows that tell most columns apart before all rows are compared


@dataclass(frozen=True)
class Facts:
    """Of each column, shape (d,).  Values are the finite ones; `unit` is their range as 0 to 1."""

    n_rows: int
    missing: Host  # NaN
    values: Host  # finite ones
    low: Host
    high: Host
    distinct: Host
    whole: Host  # 1: all are whole numbers
    rising: Host  # 1: every row's is above that of the row before
    unevenness: Host  # largest distance of the sorted unit from an even spread
    mean: Host  # of the unit
    variance: Host
    fourth: Host  # central moment
    print: Host  # sum over rows of unit times a number that the row has, by the number of rows
    present: Host  # the same with 1 in place of the unit

    @property
    def infinite(self) -> Host:
        return self.n_rows - self.values - self.missing

    @property
    def span(self) -> Host:
        """Range of the values; infinite where it overflows, 0 where there are no values."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.where(self.values > 0.0, self.high - self.low, 0.0)

    @property
    def deviation(self) -> Host:
        """Standard deviation, in units of 2: a range may overflow, half of it cannot."""
        half = np.where(self.values > 0.0, self.high * 0.5 - self.low * 0.5, 0.0)
        return np.asarray(half * np.sqrt(self.variance))

    @property
    def excess_kurtosis(self) -> Host:
        """Fourth moment by the squared variance, less that of a normal distribution."""
        square = self.variance * self.variance
        return np.where(square > 0.0, self.fourth / np.where(square > 0.0, square, 1.0), 3.0) - 3.0


_DEVICE_FACTS = tuple(name for name in Facts.__dataclass_fields__ if name != "n_rows")


def column_facts(x: Array, context: Context, /) -> Facts:
    """Look at every value, some columns at a time."""
    n_rows, n_features = (int(size) for size in x.shape)
    cells = _HOST_CELLS if context.on_host else _DEVICE_CELLS
    parts = [
        to_host(_facts(by_feature(x[:, part]), xp=context.xp))
        for part in slices(n_features, max(1, cells // n_rows))
    ]
    return Facts(n_rows, *np.concatenate(parts, axis=1))


def _facts(x: Array, /, *, xp: Namespace) -> Array:
    """The device facts as rows of one float64 array, so that the host waits once.

    ``x`` has shape (features, rows).
    """
    x = xp.astype(x, xp.float64, copy=False)
    n_rows = int(x.shape[1])
    finite = xp.isfinite(x)
    values = _count(finite, xp=xp)
    beyond = xp.full_like(x, float("inf"))
    # what is not finite goes to the end: sorts differ about NaN
    ordered = xp.sort(xp.where(finite, x, beyond), axis=1)
    low, high = ordered[:, :1], xp.max(xp.where(finite, x, -beyond), axis=1, keepdims=True)
    unit = to_unit(x, low, high, xp=xp)
    present = xp.astype(finite, xp.float64)
    steps = (ordered[:, 1:] > ordered[:, :-1]) & xp.isfinite(ordered[:, 1:])
    mean, variance, fourth = _moments(unit, present, values, xp=xp)
    marks = _marks(n_rows, x, xp=xp)
    found = {
        "missing": _count(xp.isnan(x), xp=xp),
        "values": values,
        "low": low[:, 0],
        "high": high[:, 0],
        "distinct": _count(steps, xp=xp) + xp.astype(values > 0.0, xp.float64),
        "whole": _all(~finite | (x == xp.round(x)), xp=xp),
        "rising": _all(x[:, 1:] > x[:, :-1], xp=xp),
        "unevenness": _unevenness(ordered, low, high, values, xp=xp),
        "mean": mean,
        "variance": variance,
        "fourth": fourth,
        "print": xp.sum(marks * unit, axis=1) / n_rows,
        "present": xp.sum(marks * present, axis=1) / n_rows,
    }
    return xp.stack([found[name] for name in _DEVICE_FACTS])


def to_unit(x: Array, low: Array, high: Array, /, *, xp: Namespace) -> Array:
    """Columns with their range as 0 to 1; 0 where there is no range or no finite value."""
    half = high * 0.5 - low * 0.5  # the range itself may overflow
    usable = xp.isfinite(half) & (half > 0.0)
    half = xp.where(usable, half, xp.ones_like(half))
    low = xp.where(usable, low, xp.zeros_like(low))
    unit = (x * 0.5 - low * 0.5) / half
    return xp.where(usable & xp.isfinite(x), unit, xp.zeros_like(unit))


def _count(mask: Array, /, *, xp: Namespace) -> Array:
    return xp.astype(xp.sum(xp.astype(mask, xp.int64), axis=1), xp.float64)


def _all(mask: Array, /, *, xp: Namespace) -> Array:
    return xp.astype(xp.all(mask, axis=1), xp.float64)


def _moments(
    unit: Array, present: Array, values: Array, /, *, xp: Namespace
) -> tuple[Array, Array, Array]:
    """Mean, variance and fourth central moment of the finite values."""
    number = xp.where(values > 0.0, values, xp.ones_like(values))
    mean = xp.sum(unit, axis=1) / number  # 0 where not finite
    away = (unit - mean[:, None]) * present
    square = away * away
    return mean, xp.sum(square, axis=1) / number, xp.sum(square * square, axis=1) / number


def _rows(n_rows: int, like: Array, /, *, xp: Namespace) -> Array:
    """0, 1, 2, ... as one feature would have them."""
    numbers = xp.arange(n_rows, dtype=xp.float64, device=array_api_compat.device(like))
    return xp.reshape(numbers, (1, n_rows))


def _marks(n_rows: int, like: Array, /, *, xp: Namespace) -> Array:
    """A number of each row, between 0 and 1: columns that differ have different sums with it."""
    marks = (_rows(n_rows, like, xp=xp) + 1.0) * _GOLDEN
    return marks - xp.floor(marks)


def _unevenness(
    ordered: Array, low: Array, high: Array, values: Array, /, *, xp: Namespace
) -> Array:
    last = xp.where(values > 1.0, values - 1.0, xp.ones_like(values))
    even = _rows(int(ordered.shape[1]), ordered, xp=xp) / last[:, None]
    apart = xp.abs(to_unit(ordered, low, high, xp=xp) - even)
    return xp.max(xp.where(xp.isfinite(ordered), apart, xp.zeros_like(apart)), axis=1)


@dataclass(frozen=True)
class Copy:
    """A column that says nothing new: ``times`` an earlier one, plus ``plus``."""

    of: int
    times: float = 1.0
    plus: float = 0.0
    exact: bool = True


def find_copies(x: Array, facts: Facts, context: Context, /, *, least_rows: int) -> dict[int, Copy]:
    """Columns equal to an earlier one, or equal after a shift and a scaling of it.

    Means, and sums with the rows' marks, differ by no more than the units do, so only columns where
    they agree are compared; to rounding, where values come often.  A few rows come first: columns
    of one distribution agree in all sums.  With fewer rows than ``least_rows`` any two columns may
    agree by chance after scaling: then equal ones alone count.
    """
    copies: dict[int, Copy] = {}
    glance = _glance(x, facts, context)
    firsts: list[int] = []
    for column in np.flatnonzero((facts.span > 0.0) & np.isfinite(facts.span)).tolist():
        earlier = np.asarray(firsts, dtype=np.int64)
        for first in _at_a_glance(glance, earlier[_alike(facts, earlier, column)], column):
            found = _compare(x, facts, first, column, context)
            if found is not None and (found.exact or facts.n_rows >= least_rows):
                copies[column] = found
                break
        else:
            firsts.append(column)
    return copies


def _glance(x: Array, facts: Facts, context: Context) -> tuple[Host, npt.NDArray[np.bool_]]:
    """The unit of some rows (m, d), on the host, and where it stands for a finite value."""
    count = min(facts.n_rows, sum(_GLANCES))
    at = np.arange(count, dtype=np.int64) * facts.n_rows // count
    rows = context.xp.take(x, to_device(at, x, xp=context.xp), axis=0)
    values = to_host(rows).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return to_unit(values, facts.low, facts.high, xp=np), np.isfinite(values)


def _at_a_glance(
    glance: tuple[Host, npt.NDArray[np.bool_]], earlier: npt.NDArray[np.int64], column: int
) -> list[int]:
    """Which earlier columns agree with this one in the rows of the glance, either way."""
    start = 0
    for count in _GLANCES:
        rows = slice(start, start + count)
        start += count
        unit, apart = glance[0][rows], ~glance[1][rows][:, [column]]
        first, own = unit[:, earlier], unit[:, [column]]
        upward = (np.abs(first - own) <= 2.0 * SAME) | apart
        mirrored = (np.abs((1.0 - first) - own) <= 2.0 * SAME) | apart
        earlier = earlier[upward.all(axis=0) | mirrored.all(axis=0)]
    found: list[int] = earlier.tolist()
    return found


def _alike(facts: Facts, earlier: npt.NDArray[np.int64], column: int) -> npt.NDArray[np.bool_]:
    """Which earlier columns may be what this one copies, upward or mirrored."""
    # such as codes, many of which have much the same means
    often = _OFTEN * facts.distinct[column] <= facts.values[column]
    within = 2.0 * (_ROUNDING if often else SAME)
    prints, present, mean = facts.print[earlier], facts.present[earlier], facts.mean[earlier]

    def near(values: Host, own: Host) -> npt.NDArray[np.bool_]:
        return np.asarray(np.abs(values - own[column]) <= within)

    upward = near(prints, facts.print) & near(mean, facts.mean)
    mirrored = near(present - prints, facts.print) & near(1.0 - mean, facts.mean)
    same_rows = np.abs(present - facts.present[column]) <= _ROUNDING
    alike: npt.NDArray[np.bool_] = same_rows & near(facts.variance[earlier], facts.variance)
    return alike & (upward | mirrored)


def _compare(x: Array, facts: Facts, first: int, column: int, context: Context) -> Copy | None:
    xp = context.xp
    one, two = (xp.astype(x[:, at], xp.float64, copy=False) for at in (first, column))
    there = xp.isfinite(one)
    if not bool(xp.all(there == xp.isfinite(two))):
        return None
    if bool(xp.all((one == two) | (~there & (xp.isnan(one) == xp.isnan(two))))):
        return Copy(first)

    low, high = facts.low[[first, column]], facts.high[[first, column]]
    both = xp.stack([one, two], axis=1)
    ends = (to_device(end, x, xp=xp) for end in (low, high))
    unit = to_unit(both, *ends, xp=xp)
    first_unit, other = unit[:, 0], unit[:, 1]
    times = float(facts.span[column] / facts.span[first])
    if bool(xp.all(xp.abs(first_unit - other) <= SAME)):
        return Copy(first, times, float(low[1]) - times * float(low[0]), exact=False)
    if bool(xp.all(~there | (xp.abs((1.0 - first_unit) - other) <= SAME))):
        return Copy(first, -times, float(high[1]) + times * float(low[0]), exact=False)
    return None
