"""Rows on a line, sorted and summed up where they are: the host asks for sums at some places.

The sums are whole numbers on a grid of at least 120 bits, so they are the same bits on every
device.  Rows of less than 2**-60 of the largest weight do not count.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from . import _exact as exact
from ._backend import to_host
from ._cuts import Host, Index, Points
from ._doubled import Pair, minus, over, plus, square, times, two_sum
from ._problem import Training
from ._typing import Array, Namespace

_LIGHT = 2.0**-60
_GRID_BITS = 120
_LIMB_BITS = exact.LIMB_BITS  # at most: running sums of many rows have room for fewer
_ERROR = 2.0**-92
"""Of a piece's cost, for each row, in squared ranges.

The sums are right to 2**-104, what a piece gains to 2**-101; each choice among cuts may be wrong by
twice that, at each of at most 25 levels.
"""


@dataclass(frozen=True)
class Sums:
    """Sums over the distinct values from the first on, as whole numbers, where the rows are."""

    limbs: Array  # (3 or fewer kinds, m) int64
    kinds: tuple[int, ...]  # limbs of w, of w y and of w y**2
    bits: int  # of a limb
    n_rows: int
    shift: float
    exponents: tuple[int, int, int]  # of the values, of the range in it, and of the weights
    xp: Namespace

    @property
    def n_values(self) -> int:
        return int(self.limbs.shape[1])

    @classmethod
    def of(cls, problem: Training) -> Sums:
        """Sort the rows that have weight, and sum up."""
        xp, extent = problem.context.xp, problem.extent
        low, high = float(extent.low[0]), float(extent.high[0])
        scale = exact.exponent_above(max(abs(low), abs(high)))
        shift = _scaled(float(extent.middle[0]), -scale)
        far = max(_scaled(high, -scale) - shift, shift - _scaled(low, -scale))
        spread = exact.exponent_above(far)
        values, weight = _sorted(problem)
        n_rows = int(values.shape[0])
        # where the next value is another
        ends_here = xp.concat([values[:-1] != values[1:], xp.ones_like(values[:1], dtype=xp.bool)])
        count = int(xp.sum(xp.astype(ends_here, xp.int64)))
        ends = problem.kernel.compress(ends_here, count)[0][:count]
        values = _scaled(xp.astype(values, xp.float64, copy=False), -scale)
        y = tuple(_scaled(part, -spread) for part in two_sum(values, -shift))
        bits = min(_LIMB_BITS, 61 - n_rows.bit_length())
        n_limbs = -(-_GRID_BITS // bits)
        kinds = [list(_running(each, bits, n_limbs, ends, xp=xp)) for each in _terms(y, weight)]
        if weight is None:
            kinds.insert(0, [xp.astype(ends + 1, xp.int64)])
        limbs = xp.stack([limb for kind in kinds for limb in kind])
        exponents = scale, spread, problem.weight_exponent
        return cls(limbs, tuple(map(len, kinds)), bits, n_rows, shift, exponents, xp)

    def before(self, places: Index) -> Points:
        """Sums over the values before these places."""
        # few sizes, for libraries that compile for each
        index = np.zeros(max(64, 1 << (len(places) - 1).bit_length()), dtype=np.int64)
        index[: len(places)] = np.maximum(places, 1) - 1
        taken = self.xp.take(self.limbs, exact.to_device(index, self.limbs, xp=self.xp), axis=1)
        limbs = to_host(taken)[:, : len(places)] * (places > 0)
        edges = np.cumsum((0, *self.kinds)).tolist()
        weight, *others = (limbs[a:b] for a, b in itertools.pairwise(edges))
        pairs = [_as_pair(other, self.bits) for other in others]
        if len(weight) == 1:
            return Points((weight[0].astype(np.float64), np.zeros(len(places))), *pairs)
        return Points(_as_pair(weight, self.bits), *pairs)

    def pieces(self, cuts: Index) -> Points:
        """Sums at the line's start, before some cuts, and at its end."""
        return self.before(np.concatenate([[0], cuts, [self.n_values]]))

    def centers(self, cuts: Index) -> Host:
        """The means of the pieces, in the rows' own units."""
        edges = self.pieces(cuts)
        before, after = edges.at(slice(0, -1)), edges.at(slice(1, None))
        mean = over(minus(after.first, before.first), minus(after.weight, before.weight))
        scale, spread, _ = self.exponents
        moved = plus((np.asarray(self.shift), np.asarray(0.0)), _each_scaled(mean, spread))
        centers: Host = _scaled(moved[0], scale)
        return centers

    def error(self, n_clusters: int) -> float:
        """By what a computed cost may be off."""
        return _ERROR * self.n_rows * (n_clusters + 1)

    def in_units(self, cost: float) -> float:
        """A cost in the rows' and the weights' own units."""
        scale, spread, weight = self.exponents
        try:
            return math.ldexp(cost, 2 * (scale + spread) + weight)
        except OverflowError:
            return sys.float_info.max


def _sorted(problem: Training) -> tuple[Array, Array | None]:
    """The rows that count in ascending order, and their weights."""
    xp = problem.context.xp
    (rows,) = problem.source.spans(problem.source.n_rows)
    values, weight = rows.x[:, 0], rows.weight
    if weight is None:
        return xp.sort(values), None
    counts = weight > _LIGHT
    values = xp.where(counts, values, xp.full_like(values, math.inf))
    order = xp.argsort(values)[: int(xp.sum(xp.astype(counts, xp.int64)))]
    return xp.take(values, order), xp.take(weight, order)


def _terms(y: Pair, weight: Array | None) -> Iterator[Pair]:
    """The terms of the sums, of at most 1 each, one after another: they take memory."""
    if weight is None:
        yield y
        yield square(y)
    else:
        yield weight, weight * 0.0
        yield times(y, weight)
        yield times(square(y), weight)


def _running(
    terms: Pair, bits: int, n_limbs: int, ends: Array, /, *, xp: Namespace
) -> Iterator[Array]:
    """Running sums of terms on a grid, limb by limb, highest first."""
    rests = [part * 2.0**bits for part in terms]
    for limb in range(n_limbs):
        wholes = [xp.round(part) if limb == n_limbs - 1 else xp.trunc(part) for part in rests]
        rests = [(part - whole) * 2.0**bits for part, whole in zip(rests, wholes, strict=True)]
        whole = xp.astype(wholes[0] + wholes[1], xp.int64)
        yield xp.take(xp.cumulative_sum(whole), ends)


def _as_pair(limbs: Index, bits: int) -> Pair:
    """Whole numbers in limbs as numbers of twice the precision."""
    limbs = limbs.copy()
    for limb in range(len(limbs) - 1, 0, -1):
        over_it = limbs[limb] >> bits
        limbs[limb] -= over_it << bits
        limbs[limb - 1] += over_it
    # the first has up to 62 bits, of which float64 holds one half at a time
    upper = (limbs[0] >> 31) << 31
    words = [(upper, bits), (limbs[0] - upper, bits)]
    words += [(limb, bits * (place + 2)) for place, limb in enumerate(limbs[1:])]
    total: Pair = np.zeros(limbs.shape[1]), np.zeros(limbs.shape[1])
    for word, weight in words:
        total = plus(total, (word.astype(np.float64) * 2.0**-weight, np.zeros(1)))
    return total


def _scaled(value: Array, exponent: int) -> Array:
    """Times a power of two, in two steps: 2**-1024 is no normal number."""
    half = exponent // 2
    return value * math.ldexp(1.0, half) * math.ldexp(1.0, exponent - half)


def _each_scaled(pair: Pair, exponent: int) -> Pair:
    return _scaled(pair[0], exponent), _scaled(pair[1], exponent)
