"""What a pass over rows leaves: Stats, which add, and the summary taken before the loop."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from . import _exact as exact
from ._backend import by_feature, to_host
from ._distances import Scale
from ._typing import Array, Block, Namespace, OnHost, Source

Host = npt.NDArray[np.float64]
T = TypeVar("T")
OUTWEIGHS = 100.0  # then all other columns together have less than 1 % of the squared distances
_WEIGHT_LIMBS = 2  # of the mean's denominator, which needs no more
_MOST_EXPONENT = 1023  # of a power of two that is a number


@dataclass(frozen=True)
class Extent(OnHost):
    """Where the rows that carry weight lie: what distances to them need to know."""

    low: Host  # (d,) smallest value of each feature
    high: Host
    middle: Host  # any point amid them: products shift by it, labels do not depend on it

    def including(self, points: Host) -> Extent:
        """The extent of these rows and some points."""
        return Extent(
            np.minimum(self.low, points.min(axis=0)),
            np.maximum(self.high, points.max(axis=0)),
            self.middle,
        )

    def scale(self) -> Scale:
        """Scale of canonical distances."""
        half = float((self.high * 0.5 - self.low * 0.5).max())
        return Scale.of_range(half, self._largest)

    def reach(self, shift: Host | None) -> float:
        """Largest component after the shift; means may leave the range by a rounding."""
        middle = np.zeros_like(self.middle) if shift is None else shift
        with np.errstate(over="ignore"):
            reach = float(np.maximum(self.high - middle, middle - self.low).max())
        return min(1.001 * reach, 1e308)

    def shift(self) -> Host | None:
        """The middle, unless the rows lie about the origin anyway: then none is needed."""
        return None if self._largest <= 2.0 * self.reach(self.middle) else self.middle

    @property
    def _largest(self) -> float:
        return max(float(self.high.max()), -float(self.low.min()))


@dataclass(frozen=True)
class Summary(OnHost):
    """The statistics pass: order-free, on the host, the same for every device and block size."""

    extent: Extent
    variances: Host | None  # (d,) weighted, of each feature; None if not asked for
    variance_scale: Scale  # their unit
    n_positive: int  # rows with a positive weight
    grid: exact.Grid  # of the weighted values
    weight_grid: exact.Grid | None

    @property
    def variance(self) -> float:
        """Averaged over the features; 0 if not asked for."""
        if self.variances is None:
            return 0.0
        return math.fsum(self.variances.tolist()) / len(self.variances)

    def variance_in(self, scale: Scale) -> float:
        """The variance in units of another scale."""
        ratio = scale.factor / self.variance_scale.factor
        return self.variance * ratio * ratio


@dataclass(frozen=True)
class Ranges:
    """First pass: ranges over all rows, and over what carries weight."""

    low: Host
    high: Host
    weighted_low: Host
    weighted_high: Host
    largest: Host  # of |w x|
    largest_weight: float
    n_positive: int

    @classmethod
    def unweighted(cls, low: Host, high: Host, n_rows: int) -> Ranges:
        """All rows count alike."""
        return cls(low, high, low, high, np.maximum(np.abs(low), np.abs(high)), 1.0, n_rows)

    def __add__(self, other: Ranges) -> Ranges:
        return Ranges(
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            np.minimum(self.weighted_low, other.weighted_low),
            np.maximum(self.weighted_high, other.weighted_high),
            np.maximum(self.largest, other.largest),
            max(self.largest_weight, other.largest_weight),
            self.n_positive + other.n_positive,
        )


class NonFiniteError(ValueError):
    """Raised by `summarise`; the caller knows what the array is called."""


def survey(source: Source, middle: Host, surveyor: Surveyor) -> Extent:
    """Take only the ranges of the rows; raise `NonFiniteError` for NaN or infinity."""
    ranges = _finite_ranges(source, surveyor)
    if ranges.n_positive == 0:
        return Extent(ranges.low, ranges.high, middle)
    return Extent(ranges.weighted_low, ranges.weighted_high, middle)


def _finite_ranges(source: Source, surveyor: Surveyor) -> Ranges:
    ranges = _total(source, surveyor, surveyor.ranges)
    if not (np.isfinite(ranges.low).all() and np.isfinite(ranges.high).all()):
        raise NonFiniteError
    return ranges


def summarise(
    source: Source, surveyor: Surveyor, dtype: str, *, weighted: bool, variance: bool = False
) -> Summary:
    """Take the statistics pass: ranges, then means, then (if asked) the variance."""
    ranges = _finite_ranges(source, surveyor)
    grid = _grid(ranges.largest)
    weight_grid = _weight_grid(ranges.largest_weight, grid) if weighted else None
    means = _means(source, surveyor, grid, weight_grid)
    extent = Extent(
        ranges.weighted_low,
        ranges.weighted_high,
        # rounded, so that rows of this dtype lose nothing by the shift
        means.mean.astype(dtype).astype(np.float64),
    )
    scale = extent.scale()
    return Summary(
        extent,
        _variances(source, surveyor, means, ranges, scale) if variance else None,
        scale,
        ranges.n_positive,
        replace(grid, limbs=means.limbs),
        None if weight_grid is None else replace(weight_grid, limbs=means.weight_limbs),
    )


def weighted_part(summary: Summary, /) -> Summary:
    """What some of the rows that carry weight have, under weights of at most 1, to 40 bits."""
    extent = summary.extent
    grid = _grid(np.maximum(np.abs(extent.low), np.abs(extent.high)))
    return replace(summary, grid=grid, weight_grid=_weight_grid(1.0, grid))


def outweighing(variances: Host) -> tuple[int, float] | None:
    """The column whose variance is above `OUTWEIGHS` times the sum of the others', and how often.

    None where no column is, or where no other varies: then there is nothing to outweigh.
    """
    column = int(variances.argmax())
    rest = math.fsum(variances.tolist()[:column] + variances.tolist()[column + 1 :])
    if not variances[column] > OUTWEIGHS * rest > 0.0:
        return None
    return column, float(variances[column]) / rest


def _total(source: Source, surveyor: Surveyor, piece: Callable[[Array, Array | None], T]) -> T:
    """Add up what every piece of rows leaves."""
    most_rows = surveyor.most_rows or source.piece_rows

    def task(block: Block) -> T:
        if surveyor.takes_blocks:
            return piece(block.x, block.weight)
        return _sum(piece(x, weight) for x, weight in block.pieces(most_rows))

    return _sum(source.map(task))


def _sum(parts: Iterable[T]) -> T:
    return functools.reduce(operator.add, parts)


def _grid(largest: Host) -> exact.Grid:
    return exact.Grid(exact.exponents_above(largest), 1)


def _weight_grid(largest: float, grid: exact.Grid) -> exact.Grid:
    """The grid of the weights; sums on the values' grid over sums on this one stay finite."""
    most = exact.exponent_above(largest)
    # means come back to their units by 2**(values' exponent - weights'), which must be a number
    return exact.Grid((max(most, max(grid.exponents) - _MOST_EXPONENT),), 1)


@dataclass(frozen=True)
class _Means(OnHost):
    mean: Host  # (d,)
    weight: float  # of all rows
    limbs: int  # that lose nothing of the weighted values
    weight_limbs: int


@dataclass(frozen=True)
class Sums:
    """Python integers of columns, and the limbs that blocks asked for."""

    sums: npt.NDArray[np.object_]
    limbs: int
    weight_limbs: int

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.sums + other.sums,
            max(self.limbs, other.limbs),
            max(self.weight_limbs, other.weight_limbs),
        )


def _means(
    source: Source, surveyor: Surveyor, grid: exact.Grid, weight_grid: exact.Grid | None
) -> _Means:
    # where to begin: other threads may write here, so no result comes from it
    hint = [1, 1]

    def piece(x: Array, weight: Array | None) -> Sums:
        found = surveyor.sums(x, weight, grid, weight_grid, hint)
        hint[:] = found.limbs, found.weight_limbs
        return found

    total = _total(source, surveyor, piece)
    d = source.n_features
    weight = float(source.n_rows)
    if weight_grid is not None:
        whole = (int(total.sums[d]) << exact.LIMB_BITS) + int(total.sums[d + 1])
        weight = math.ldexp(float(whole), -exact.LIMB_BITS) * float(weight_grid.down[0])
    # divided first: the sums of values near the largest float64 exceed it
    mean = (total.sums[:d].astype(np.float64) / weight) * grid.down
    return _Means(mean, weight, total.limbs, total.weight_limbs)


def _variances(
    source: Source, surveyor: Surveyor, means: _Means, ranges: Ranges, scale: Scale
) -> Host:
    """Weighted variance of each feature, in units of the scale squared."""
    mean, factor = means.mean, scale.factor
    low, high = ranges.weighted_low, ranges.weighted_high
    widest = np.maximum(np.abs(high - mean), np.abs(mean - low)) * factor
    grid = _grid(widest * widest * ranges.largest_weight)

    def piece(x: Array, weight: Array | None) -> npt.NDArray[np.object_]:
        return surveyor.squares(x, weight, means.mean, factor, grid)

    sums = _total(source, surveyor, piece).astype(np.float64) * grid.down
    return np.asarray(sums / means.weight)


class Surveyor:
    """The arithmetic of the statistics pass on some rows; a kernel may do it faster."""

    takes_blocks = False  # whole ones, whatever their rows are
    most_rows: int | None = None  # at a time; None: what the source's pieces hold

    def __init__(self, xp: Namespace, kernel: type[Any] | None = None) -> None:
        """``kernel``: whose it is, where a task that travels must find the like of it."""
        self.xp, self.kernel = xp, kernel

    def ranges(self, rows: Array, weight: Array | None, /) -> Ranges:
        """Smallest and largest values; not finite where a value is not."""
        xp, x = self.xp, by_feature(rows)
        low, high = _host(xp.min(x, axis=1)), _host(xp.max(x, axis=1))
        if weight is None:
            return Ranges.unweighted(low, high, int(rows.shape[0]))
        positive = weight > 0.0
        infinite = xp.full_like(x, float("inf"))
        return Ranges(
            low,
            high,
            _host(xp.min(xp.where(positive, x, infinite), axis=1)),
            _host(xp.max(xp.where(positive, x, -infinite), axis=1)),
            _host(xp.max(xp.abs(weigh(x, weight, xp=xp)), axis=1)),
            float(xp.max(weight)),
            int(xp.count_nonzero(positive)),
        )

    def sums(
        self,
        x: Array,
        weight: Array | None,
        grid: exact.Grid,
        weight_grid: exact.Grid | None,
        hint: Sequence[int],
        /,
    ) -> Sums:
        """Sums of the weighted values on their grid, and the limbs that would lose nothing.

        ``hint`` says from how many limbs to look.
        """
        xp = self.xp
        up = exact.to_device(grid.up[:, None], x, xp=xp)
        values = weigh(by_feature(x), weight, xp=xp)
        limbs, weight_limbs = exact.limbs_needed(values, up, hint[0], xp=xp), 1
        parts = exact.quantise(values, up, 1, xp=xp)
        if weight_grid is not None and weight is not None:
            up = exact.to_device(weight_grid.up, x, xp=xp)
            weight_limbs = exact.limbs_needed(weight, up, hint[1], xp=xp)
            parts += exact.quantise(weight[None, :], up, _WEIGHT_LIMBS, xp=xp)
        sums = xp.concat([exact.exact_sums(part, xp=xp) for part in parts])
        return Sums(to_host(sums).astype(object), limbs, weight_limbs)

    def squares(
        self, x: Array, weight: Array | None, mean: Host, factor: float, grid: exact.Grid, /
    ) -> npt.NDArray[np.object_]:
        """Weighted squared distances from the mean, by feature, summed on their grid."""
        xp = self.xp
        middle = exact.to_device(mean[:, None], x, xp=xp)
        difference = xp.astype(by_feature(x), xp.float64, copy=False) - middle
        if factor != 1.0:
            difference = difference * factor
        squares = weigh(difference * difference, weight, xp=xp)
        up = exact.to_device(grid.up[:, None], x, xp=xp)
        (whole,) = exact.quantise(squares, up, 1, xp=xp)
        return to_host(exact.exact_sums(whole, xp=xp)).astype(object)


def weigh(x: Array, weight: Array | None, /, *, xp: Namespace) -> Array:
    """fl(w x) in float64, rounded once; rows on the last axis; x itself without weights.

    A row of weight 0 gives 0 even where its x (a squared distance) overflowed.
    """
    x = xp.astype(x, xp.float64, copy=False)
    if weight is None:
        return x
    return xp.where(weight > 0.0, x, xp.zeros_like(x)) * weight


def _host(values: Array) -> Host:
    return to_host(values).astype(np.float64)
