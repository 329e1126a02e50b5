"""What a pass over rows leaves: Stats, which add, and the summary taken before the loop."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from . import _exact as exact
from ._backend import by_feature, to_host
from ._primitives import Scale
from ._typing import Array, Block, Namespace, Source

Host = npt.NDArray[np.float64]
T = TypeVar("T")
_WEIGHT_LIMBS = 2  # of the mean's denominator, which needs no more


@dataclass(frozen=True)
class Extent:
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
        half = float(np.max(self.high * 0.5 - self.low * 0.5))
        return Scale.of_range(half, self._largest)

    def reach(self, shift: Host | None) -> float:
        """Largest component after the shift; means may leave the range by a rounding."""
        middle = np.zeros_like(self.middle) if shift is None else shift
        with np.errstate(over="ignore"):
            reach = float(np.max(np.maximum(self.high - middle, middle - self.low)))
        return min(1.001 * reach, 1e308)

    def shift(self) -> Host | None:
        """The middle, unless the rows lie about the origin anyway: then none is needed."""
        return None if self._largest <= 2.0 * self.reach(self.middle) else self.middle

    @property
    def _largest(self) -> float:
        return float(max(np.max(self.high), -np.min(self.low)))


@dataclass(frozen=True)
class Summary:
    """The statistics pass: order-free, on the host, the same for every device and block size."""

    extent: Extent
    variance: float  # weighted, averaged over features; 0 if not asked for
    variance_scale: Scale  # its unit
    n_positive: int  # rows with a positive weight
    grid: exact.Grid  # of the weighted values
    weight_grid: exact.Grid | None

    def variance_in(self, scale: Scale) -> float:
        """The variance in units of another scale."""
        ratio = scale.factor / self.variance_scale.factor
        return self.variance * ratio * ratio


@dataclass(frozen=True)
class _Range:
    """First pass: ranges over all rows, and over what carries weight."""

    low: Host
    high: Host
    weighted_low: Host
    weighted_high: Host
    largest: Host  # of |w x|
    largest_weight: float
    n_positive: int

    def __add__(self, other: _Range) -> _Range:
        return _Range(
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            np.minimum(self.weighted_low, other.weighted_low),
            np.maximum(self.weighted_high, other.weighted_high),
            np.maximum(self.largest, other.largest),
            max(self.largest_weight, other.largest_weight),
            self.n_positive + other.n_positive,
        )


def _range(rows: Array, weight: Array | None, /, *, xp: Namespace) -> _Range:
    x = by_feature(rows)
    low, high = _host(xp.min(x, axis=1)), _host(xp.max(x, axis=1))
    if weight is None:
        largest = np.maximum(np.abs(low), np.abs(high))
        return _Range(low, high, low, high, largest, 1.0, int(rows.shape[0]))
    positive = weight > 0.0
    infinite = xp.full_like(x, float("inf"))
    return _Range(
        low,
        high,
        _host(xp.min(xp.where(positive, x, infinite), axis=1)),
        _host(xp.max(xp.where(positive, x, -infinite), axis=1)),
        _host(xp.max(xp.abs(weigh(x, weight, xp=xp)), axis=1)),
        float(xp.max(weight)),
        int(xp.count_nonzero(positive)),
    )


class NonFiniteError(ValueError):
    """Raised by `summarise`; the caller knows what the array is called."""


def survey(source: Source, middle: Host) -> Extent:
    """Take only the ranges of the rows; raise `NonFiniteError` for NaN or infinity."""
    ranges = _finite_ranges(source)
    if ranges.n_positive == 0:
        return Extent(ranges.low, ranges.high, middle)
    return Extent(ranges.weighted_low, ranges.weighted_high, middle)


def _finite_ranges(source: Source) -> _Range:
    ranges = _total(source, lambda x, weight: _range(x, weight, xp=source.xp))
    if not (np.isfinite(ranges.low).all() and np.isfinite(ranges.high).all()):
        raise NonFiniteError
    return ranges


def summarise(source: Source, dtype: str, *, weighted: bool, variance: bool = False) -> Summary:
    """Take the statistics pass: ranges, then means, then (if asked) the variance."""
    ranges = _finite_ranges(source)
    grid = _grid(ranges.largest)
    weight_grid = _grid(np.asarray([ranges.largest_weight])) if weighted else None
    means = _means(source, grid, weight_grid)
    extent = Extent(
        ranges.weighted_low,
        ranges.weighted_high,
        # rounded, so that rows of this dtype lose nothing by the shift
        means.mean.astype(dtype).astype(np.float64),
    )
    scale = extent.scale()
    return Summary(
        extent,
        _variance(source, means, ranges, scale) if variance else 0.0,
        scale,
        ranges.n_positive,
        replace(grid, limbs=means.limbs),
        None if weight_grid is None else replace(weight_grid, limbs=means.weight_limbs),
    )


def _total(source: Source, piece: Callable[[Array, Array | None], T]) -> T:
    """Add up what every piece of rows leaves."""

    def task(block: Block) -> T:
        return _sum(piece(x, weight) for x, weight in block.pieces(source.piece_rows))

    return _sum(source.map(task))


def _sum(parts: Iterable[T]) -> T:
    return functools.reduce(operator.add, parts)


def _grid(largest: Host) -> exact.Grid:
    return exact.Grid(tuple(exact.exponent_above(value) for value in largest.tolist()), 1)


@dataclass(frozen=True)
class _Means:
    mean: Host  # (d,)
    weight: float  # of all rows
    limbs: int  # that lose nothing of the weighted values
    weight_limbs: int


@dataclass(frozen=True)
class _Sums:
    """Python integers of columns, and the limbs that blocks asked for."""

    sums: npt.NDArray[np.object_]
    limbs: int
    weight_limbs: int

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(
            self.sums + other.sums,
            max(self.limbs, other.limbs),
            max(self.weight_limbs, other.weight_limbs),
        )


def _means(source: Source, grid: exact.Grid, weight_grid: exact.Grid | None) -> _Means:
    xp = source.xp
    hint = [1, 1]  # where to begin: other threads may write here, so no result comes from it

    def piece(x: Array, weight: Array | None) -> _Sums:
        up = exact.to_device(grid.up[:, None], x, xp=xp)
        values = weigh(by_feature(x), weight, xp=xp)
        limbs, weight_limbs = exact.limbs_needed(values, up, hint[0], xp=xp), 1
        parts = exact.quantise(values, up, 1, xp=xp)
        if weight_grid is not None and weight is not None:
            up = exact.to_device(weight_grid.up, x, xp=xp)
            weight_limbs = exact.limbs_needed(weight, up, hint[1], xp=xp)
            parts += exact.quantise(weight[None, :], up, _WEIGHT_LIMBS, xp=xp)
        sums = xp.concat([exact.exact_sums(part, xp=xp) for part in parts])
        hint[:] = limbs, weight_limbs
        return _Sums(to_host(sums).astype(object), limbs, weight_limbs)

    total = _total(source, piece)
    d = source.n_features
    weight = float(source.n_rows)
    if weight_grid is not None:
        whole = (int(total.sums[d]) << exact.LIMB_BITS) + int(total.sums[d + 1])
        weight = math.ldexp(float(whole), -exact.LIMB_BITS) * float(weight_grid.down[0])
    # divided first: the sums of values near the largest float64 exceed it
    mean = (total.sums[:d].astype(np.float64) / weight) * grid.down
    return _Means(mean, weight, total.limbs, total.weight_limbs)


def _variance(source: Source, means: _Means, ranges: _Range, scale: Scale) -> float:
    """Weighted variance averaged over the features, in units of the scale squared."""
    xp, mean, factor = source.xp, means.mean, scale.factor
    low, high = ranges.weighted_low, ranges.weighted_high
    widest = np.maximum(np.abs(high - mean), np.abs(mean - low)) * factor
    grid = _grid(widest * widest * ranges.largest_weight)

    def piece(x: Array, weight: Array | None) -> npt.NDArray[np.object_]:
        middle = exact.to_device(mean[:, None], x, xp=xp)
        difference = xp.astype(by_feature(x), xp.float64, copy=False) - middle
        if factor != 1.0:
            difference = difference * factor
        squares = weigh(difference * difference, weight, xp=xp)
        up = exact.to_device(grid.up[:, None], x, xp=xp)
        (whole,) = exact.quantise(squares, up, 1, xp=xp)
        return to_host(exact.exact_sums(whole, xp=xp)).astype(object)

    sums = _total(source, piece).astype(np.float64) * grid.down
    return math.fsum((sums / means.weight).tolist()) / len(sums)


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


@dataclass(frozen=True)
class Stats:
    """Sums by cluster as exact integers; rows that changed, were left open, were scored at all.

    ``totals`` is (2, k, columns) int64, see `_exact`; the columns are the limbs of the
    features, those of the weight if there is one, and the number of weighted rows.
    """

    totals: Array
    changed: int
    open_rows: int
    scored: int


class Ledger:
    """How rows become columns of integers, and totals become centers."""

    def __init__(self, summary: Summary, like: Array, xp: Namespace) -> None:
        self._grid, self._weight_grid, self._xp = summary.grid, summary.weight_grid, xp
        self._up = exact.to_device(self._grid.up, like, xp=xp)
        self._like = like
        self.n_features = len(self._grid.exponents)
        down = self._grid.down
        if self._weight_grid is not None:
            self._weight_up = exact.to_device(self._weight_grid.up, like, xp=xp)
            down = down * float(self._weight_grid.up[0])
        self._down = exact.to_device(down, like, xp=xp)

    @property
    def n_columns(self) -> int:
        weights = 0 if self._weight_grid is None else self._weight_grid.limbs
        return self._grid.limbs * self.n_features + weights + 1

    @property
    def scales(self) -> tuple[Array, int, float, int]:
        """Factors and limbs of the features, and of the weight: what `columns` works with."""
        weights = self._weight_grid
        if weights is None:
            return self._up, self._grid.limbs, 1.0, 0
        return self._up, self._grid.limbs, float(weights.up[0]), weights.limbs

    def columns(self, x: Array, weight: Array | None, /) -> Array:
        """Integer-valued float64 rows (m, columns)."""
        xp = self._xp
        x = xp.astype(x, xp.float64, copy=False)
        weighted = x if weight is None else x * weight[:, None]
        parts = exact.quantise(weighted, self._up, self._grid.limbs, xp=xp)
        if weight is None or self._weight_grid is None:
            one = xp.ones_like(parts[0][:, :1])
        else:
            limbs = self._weight_grid.limbs
            parts += exact.quantise(weight[:, None], self._weight_up, limbs, xp=xp)
            one = xp.astype(weight > 0.0, xp.float64)[:, None]
        return xp.concat([*parts, one], axis=1)

    def counts(self, totals: Array, /) -> Array:
        """Rows with a positive weight in each cluster (int64)."""
        return (totals[0, :, -1] << exact.LIMB_BITS) + totals[1, :, -1]

    def means(self, totals: Array, counts: Array, /) -> Array:
        """Float64 means (k, d) in the user's coordinates; meaningless where the count is 0."""
        xp, d = self._xp, self.n_features
        words = xp.astype(totals, xp.float64)
        limbs = [words[:, :, i * d : (i + 1) * d] for i in range(self._grid.limbs)]
        weights = self._weights(totals, counts)
        # an empty cluster must not divide by zero
        weights = xp.where(counts > 0, weights, xp.ones_like(weights))
        return exact.ratio(limbs, weights[:, None]) * self._down

    def masses(self, totals: Array, /) -> Array:
        """Summed weights (k,) in their own units, float64."""
        scale = 1.0 if self._weight_grid is None else float(self._weight_grid.down[0])
        return self._weights(totals, self.counts(totals)) * scale

    def _weights(self, totals: Array, counts: Array) -> Array:
        """Summed weights (k,) in units of the weight grid."""
        xp = self._xp
        if self._weight_grid is None:
            return xp.astype(counts, xp.float64)
        at = self._grid.limbs * self.n_features
        limbs = self._weight_grid.limbs
        words = xp.astype(totals[:, :, at : at + limbs], xp.float64)
        first, *rest = exact.terms([words[:, :, limb] for limb in range(limbs)])
        return sum(rest, start=first)

    def alone(self, x: Array, weight: Array | None, /) -> Array:
        """The center that each row would have as the only member of a cluster."""
        xp = self._xp
        whole = xp.astype(self.columns(x, weight), xp.int64)
        totals = exact.widen(whole, xp=xp)
        return self.means(totals, self.counts(totals))
