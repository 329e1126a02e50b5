"""Rows on a line, sorted and summed up where they are: the host asks for sums at some places.

Of rows that are away each block leaves the sums of its distinct values, which are put together.

The sums are whole numbers on a grid of at least 120 bits, so they are the same bits on every
device.  Rows of less than 2**-60 of the largest weight do not count.
"""

from __future__ import annotations

import functools
import itertools
import math
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import _exact as exact
from ._backend import numpy_context, to_host
from ._cuts import Host, Index, Points
from ._doubled import Pair, minus, over, plus, square, times, two_sum
from ._problem import Training, largest_exponent
from ._typing import Array, Block, Namespace, slices

_LIGHT = 2.0**-60
_GRID_BITS = 120
_LIMB_BITS = exact.LIMB_BITS  # at most: running sums of many rows have room for fewer
_BLOCK_ROWS, _LEAST_ROWS = 1 << 16, 1 << 6
_ROW_ROOM = 1 << 12  # bytes of room for each row of a block: several are worked on at a time
_NONE = np.empty(0, dtype=np.int64)
_ERROR = 2.0**-92
"""Of a piece's cost, for each row, in squared ranges.

The sums are right to 2**-104, what a piece gains to 2**-101; each choice among cuts may be wrong by
twice that, at each of at most 25 levels.
"""


@dataclass(frozen=True)
class _Grid:
    """How rows become whole numbers: the same for all of them, wherever they are."""

    n_rows: int  # that count
    bits: int  # of a limb
    is_weighted: bool
    shift: float
    exponents: tuple[int, int, int]  # of the values, of the range in it, and of the weights
    top: int  # of the weights that blocks have

    @classmethod
    def of(cls, problem: Training) -> _Grid:
        xp, source, extent = problem.context.xp, problem.source, problem.extent
        low, high = float(extent.low[0]), float(extent.high[0])
        scale = exact.exponent_above(max(abs(low), abs(high)))
        shift = _scaled(float(extent.middle[0]), -scale)
        far = max(_scaled(high, -scale) - shift, shift - _scaled(low, -scale))
        n_rows, is_weighted = source.n_rows, source.weight_exponent is not None
        top = largest_exponent(problem) if is_weighted else 0
        if is_weighted:
            counts = source.map(lambda block: xp.count_nonzero(_counting(block.weight, top)))
            n_rows = sum(map(int, counts))
        # running sums of so many rows
        bits = min(_LIMB_BITS, 61 - n_rows.bit_length())
        exponents = scale, exact.exponent_above(far), problem.weight_exponent + top
        return cls(n_rows, bits, is_weighted, shift, exponents, top)

    @property
    def kinds(self) -> tuple[int, ...]:
        """Limbs of w, of w y and of w y**2."""
        limbs = -(-_GRID_BITS // self.bits)
        return (limbs if self.is_weighted else 1), limbs, limbs


@dataclass(frozen=True)
class Sums:
    """Sums over the distinct values from the first on, as whole numbers, where the rows are."""

    limbs: Array  # (3 or fewer kinds, m) int64
    grid: _Grid
    xp: Namespace

    @property
    def n_values(self) -> int:
        return int(self.limbs.shape[1])

    @classmethod
    def of(cls, problem: Training, /, *, most: int | None = None) -> Sums | None:
        """Sort the rows that have weight, and sum up; None for more distinct values than ``most``.

        Of rows that are away only the sums by distinct value come here.
        """
        source, grid = problem.source, _Grid.of(problem)
        if not source.is_resident:
            return _gathered(problem, grid, most)
        [rows] = source.spans(source.n_rows)
        values, running = _summed(problem, grid, rows)
        if most is not None and int(values.shape[0]) > most:
            return None
        xp = problem.context.xp
        return cls(xp.stack(list(running)), grid, xp)

    def before(self, places: Index) -> Points:
        """Sums over the values before these places."""
        # few sizes, for libraries that compile for each
        index = np.zeros(max(64, 1 << (len(places) - 1).bit_length()), dtype=np.int64)
        index[: len(places)] = np.maximum(places, 1) - 1
        taken = self.xp.take(self.limbs, exact.to_device(index, self.limbs, xp=self.xp), axis=1)
        limbs = to_host(taken)[:, : len(places)] * (places > 0)
        edges = np.cumsum((0, *self.grid.kinds)).tolist()
        weight, *others = (limbs[a:b] for a, b in itertools.pairwise(edges))
        pairs = [_as_pair(other, self.grid.bits) for other in others]
        if len(weight) == 1:
            return Points((weight[0].astype(np.float64), np.zeros(len(places))), *pairs)
        return Points(_as_pair(weight, self.grid.bits), *pairs)

    def pieces(self, cuts: Index) -> Points:
        """Sums at the line's start, before some cuts, and at its end."""
        return self.before(np.concatenate([[0], cuts, [self.n_values]]))

    def centers(self, cuts: Index) -> Host:
        """The means of the pieces, in the rows' own units."""
        edges = self.pieces(cuts)
        before, after = edges.at(slice(0, -1)), edges.at(slice(1, None))
        mean = over(minus(after.first, before.first), minus(after.weight, before.weight))
        scale, spread, _ = self.grid.exponents
        moved = plus((np.asarray(self.grid.shift), np.asarray(0.0)), _each_scaled(mean, spread))
        centers: Host = _scaled(moved[0], scale)
        return centers

    def error(self, n_clusters: int) -> float:
        """By what a computed cost may be off."""
        return _ERROR * self.grid.n_rows * (n_clusters + 1)

    def in_units(self, cost: float) -> float:
        """A cost in the rows' and the weights' own units."""
        scale, spread, weight = self.grid.exponents
        try:
            return math.ldexp(cost, 2 * (scale + spread) + weight)
        except OverflowError:
            return sys.float_info.max


Part = tuple[npt.NDArray[np.floating], list[Index]]
"""Distinct values in ascending order, and what the rows of each add to the limbs."""


def _gathered(problem: Training, grid: _Grid, most: int | None) -> Sums | None:
    """The sums of rows that are away, from those of their blocks."""
    source = problem.source
    pile = _Pile(sum(grid.kinds), source.room, most)
    blocks = source.spans(pile.block_rows)
    by_value = functools.partial(_by_value, problem, grid)
    if source.shares:
        source.map(lambda block: pile.add(by_value, block), blocks)
    else:
        # what came from some blocks is put together before the next
        for some in slices(len(blocks), pile.blocks_at_once):
            for part in [] if pile.is_over else source.map(by_value, blocks[some]):
                pile.put(part)
    columns = pile.take()
    if columns is None:
        return None
    limbs = np.empty((len(columns), len(columns[0])), dtype=np.int64)
    for limb in limbs:
        np.cumsum(columns.pop(0), out=limb)
    return Sums(limbs, grid, numpy_context().xp)


def _by_value(problem: Training, grid: _Grid, block: Block) -> Part:
    if block.weight is not None:
        xp = problem.context.xp
        if not bool(xp.any(_counting(block.weight, grid.top))):
            return np.empty(0, dtype=problem.dtype), [_NONE] * sum(grid.kinds)
    values, running = _summed(problem, grid, block)
    return to_host(values), [np.diff(to_host(limb), prepend=0) for limb in running]


class _Pile:
    """What parts of the rows add to each distinct value, put together as they come.

    Parameters
    ----------
    n_limbs : of each value
    room : bytes that it may take; None for no limit
    most : values, above which they are given up; None for no limit
    """

    def __init__(self, n_limbs: int, room: int | None, most: int | None) -> None:
        # with those that are to be put to them, or the running sums of one limb
        self._value_bytes = 12 * (n_limbs + 3)
        self._room, self._most = sys.maxsize if room is None else room, most
        self.block_rows = min(_BLOCK_ROWS, max(_LEAST_ROWS, self._room // _ROW_ROOM))
        self.blocks_at_once = max(1, self._room // (self._value_bytes * self.block_rows))
        self._lock = threading.Lock()
        self._parts: list[Part] = []
        self._there = self._new = 0
        self.is_over = False

    def add(self, by_value: Callable[[Block], Part], block: Block) -> None:
        """Put the part of a block on it, from any thread."""
        if not self.is_over:
            part = by_value(block)
            with self._lock:
                self.put(part)

    def put(self, part: Part) -> None:
        self._parts.append(part)
        self._new += len(part[0])
        if self._new > max(self._there // 4, self.block_rows):
            self._merge()

    def take(self) -> list[Index] | None:
        """The sums by distinct value, limb by limb; None for too many values."""
        if not self.is_over:
            self._merge()
        return None if self.is_over else self._parts[0][1]

    def _merge(self) -> None:
        """Let equal values be one, limb by limb, so that little lies there twice."""
        values = np.concatenate([values for values, _ in self._parts])
        order = np.argsort(values, kind="stable")
        values = values[order]
        is_first = np.concatenate([values[:1] == values[:1], values[1:] != values[:-1]])
        starts = np.flatnonzero(is_first)
        columns = []
        while self._parts[0][1]:
            limb = np.concatenate([limbs.pop(0) for _, limbs in self._parts])
            columns.append(np.add.reduceat(limb[order], starts))
        self._parts = [(values[starts], columns)]
        self._there, self._new = len(starts), 0
        needed = self._there * self._value_bytes
        if self._most is not None and self._there > self._most:
            self.is_over = True
        elif needed > self._room:
            raise ValueError(
                f"memory_limit ({self._room} bytes) is too little for the search, which finds the "
                f"optimum of one feature by sums at its distinct values: {self._there} of them, or "
                f"more, take {needed} bytes. Raise memory_limit, or leave the search out with "
                "search=None"
            )


def _summed(problem: Training, grid: _Grid, block: Block) -> tuple[Array, Iterator[Array]]:
    """The distinct values of a block, and the limbs of running sums over them, one by one."""
    xp = problem.context.xp
    values, weight = _sorted(block, grid.top, xp=xp)
    # where the next value is another
    ends_here = xp.concat([values[:-1] != values[1:], xp.ones_like(values[:1], dtype=xp.bool)])
    count = int(xp.sum(xp.astype(ends_here, xp.int64)))
    ends = problem.kernel.compress(ends_here, count)[0][:count]
    scale, spread, _ = grid.exponents
    distinct = xp.take(values, ends)
    values = _scaled(xp.astype(values, xp.float64, copy=False), -scale)
    y = tuple(_scaled(part, -spread) for part in two_sum(values, -grid.shift))

    def running() -> Iterator[Array]:
        if weight is None:
            yield xp.astype(ends + 1, xp.int64)
        for each in _terms(y, weight):
            yield from _running(each, grid, ends, xp=xp)

    return distinct, running()


def _sorted(block: Block, top: int, /, *, xp: Namespace) -> tuple[Array, Array | None]:
    """The rows that count in ascending order, and their weights, of at most 1."""
    # dense, however a block holds them
    values, weight = block.x[:, :][:, 0], block.weight
    if weight is None:
        return xp.sort(values), None
    counts = _counting(weight, top)
    values = xp.where(counts, values, xp.full_like(values, math.inf))
    order = xp.argsort(values)[: int(xp.sum(xp.astype(counts, xp.int64)))]
    weight = xp.take(weight, order)
    return xp.take(values, order), weight * math.ldexp(1.0, -top) if top else weight


def _counting(weight: Array, top: int) -> Array:
    return weight > math.ldexp(_LIGHT, top)


def _terms(y: Pair, weight: Array | None) -> Iterator[Pair]:
    """The terms of the sums, of at most 1 each, one after another: they take memory."""
    if weight is None:
        yield y
        yield square(y)
    else:
        yield weight, weight * 0.0
        yield times(y, weight)
        yield times(square(y), weight)


def _running(terms: Pair, grid: _Grid, ends: Array, /, *, xp: Namespace) -> Iterator[Array]:
    """Running sums of terms on a grid, limb by limb, highest first."""
    bits, n_limbs = grid.bits, grid.kinds[-1]
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
