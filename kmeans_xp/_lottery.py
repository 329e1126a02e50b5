"""Rows drawn in proportion to a number each: exact integers, located by block totals."""

from __future__ import annotations

import bisect
import copy
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _exact as exact
from ._backend import to_host
from ._gains import Units
from ._problem import Training
from ._random import below
from ._typing import Array, Block, Namespace, OnHost, Rows, slices

_PIECES = 128
_SEARCH = 512
_ROWS_AT_ONCE = 1 << 18
_MOST_BITS = 1000
_FEW_ROWS = 1 << 13

Mass = Callable[[Block, Rows], Array]
"""Nonnegative float64 numbers of some rows of a block."""


class Lottery:
    """Rows drawn in proportion to a nonnegative number each, in exact integers.

    The numbers are quantised to 40 bits of the largest; an integer below their sum finds a row.
    Blocks of other sizes, or on other devices, give the same rows.
    """

    def __init__(
        self,
        problem: Training,
        mass: Mass,
        largest: float,
        blocks: Sequence[Block] | None = None,
    ) -> None:
        self._xp = problem.context.xp
        self._bits, self.units = _bits_for(largest), units_for(largest)
        blocks = problem.source.blocks if blocks is None else blocks

        def whole(block: Block, rows: Rows) -> Array:
            return self.whole(mass(block, rows))

        self._tickets: _Running | _Pieces
        if len(blocks) == 1 and blocks[0].n_rows <= _FEW_ROWS:
            self._tickets = _Running(problem, blocks[0], whole)
        else:
            self._tickets = _Pieces(problem, blocks, whole)

    @property
    def total(self) -> int:
        """The sum of all numbers, in the lottery's integers."""
        return self._tickets.total

    @property
    def unit(self) -> float:
        """What one of the lottery's integers stands for."""
        return max(math.ldexp(1.0, -self._bits), 5e-324)

    def whole(self, mass: Array) -> Array:
        """The numbers as integers (in float64)."""
        return self.units.of(mass, xp=self._xp)

    def rows(self, keys: Sequence[tuple[int, ...]]) -> list[int]:
        """One row for each key; the total must be positive."""
        total = self.total
        return self._tickets.locate([below(total, *key) for key in keys])

    def lower(self, block: Block, rows: Array, by: Array) -> None:
        """Take integers (float64) from the numbers of rows at these positions of a block."""
        if isinstance(self._tickets, _Pieces):
            self._tickets.lower(block, rows, by)

    def pieces(self, block: Block) -> tuple[npt.NDArray[np.int64], int]:
        """What `lower` lowers, for kernels: sums (int64) of a block by so many rows."""
        if isinstance(self._tickets, _Pieces):
            return self._tickets.of(block)
        return np.zeros(1, dtype=np.int64), block.n_rows

    def counted(self, block: Block) -> npt.NDArray[np.int64] | None:
        """The sums of a block's pieces in the present integers."""
        return self._tickets.count(block) if isinstance(self._tickets, _Pieces) else None

    def aside(self, block: Block) -> Lottery:
        """The same integers, for tasks where the sums are not: those of a block begin at 0."""
        found = copy.copy(self)
        if isinstance(self._tickets, _Pieces):
            found._tickets = self._tickets.aside(block)
        return found

    def lowered(self, largest: float, changes: Sequence[npt.NDArray[np.int64]]) -> bool:
        """Add what was lowered `aside`, if the integers are those for the largest number now."""
        if not isinstance(self._tickets, _Pieces) or not self.stands(largest):
            return False
        self._tickets.add(changes)
        return True

    def redrawn(self, largest: float, counted: Sequence[npt.NDArray[np.int64] | None]) -> bool:
        """Take what was `counted` for new numbers, if its integers are those for their largest."""
        if not isinstance(self._tickets, _Pieces) or not self.stands(largest):
            return False
        self._tickets.renew([totals for totals in counted if totals is not None])
        return True

    def stands(self, largest: float) -> bool:
        """Whether what was lowered is the lottery of numbers of which this is the largest."""
        return isinstance(self._tickets, _Pieces) and _bits_for(largest) == self._bits


class _Running:
    """Few rows: one running sum, and one search for all tickets."""

    def __init__(self, problem: Training, block: Block, whole: Mass) -> None:
        self._xp = xp = problem.context.xp

        def task(block: Block) -> Array:
            return xp.cumulative_sum(xp.astype(whole(block, slice(0, block.n_rows)), xp.int64))

        [self._running] = problem.source.map(task, [block])
        self.total = int(self._running[-1])

    def locate(self, tickets: list[int]) -> list[int]:
        found: list[int] = _positions(self._running, tickets, xp=self._xp).tolist()
        return found


@dataclass(frozen=True)
class _Search(OnHost):
    """Where in a block tickets fall: for some of them, pieces, and what is left inside those."""

    n_tickets: int
    parts: list[tuple[npt.NDArray[Any], ...]]


class _Pieces:
    """Tickets located by the totals of blocks and of pieces in them, then inside one piece."""

    def __init__(self, problem: Training, blocks: Sequence[Block], whole: Mass) -> None:
        self._problem, self._blocks, self._whole = problem, blocks, whole
        size = problem.source.piece_rows
        # long pieces are a device's, which rather searches them than sums by piece
        self._size = size if size > exact.EXACT_ROWS else min(size, _SEARCH)
        # by block, below 2**63 in each
        self._totals = dict(enumerate(problem.source.map(self.count, blocks)))

    def __getstate__(self) -> dict[str, Any]:
        """What tasks elsewhere need: the totals of all blocks are not among it."""
        return {**vars(self), "_totals": {}, "_blocks": []}

    @property
    def total(self) -> int:
        return sum(int(totals.sum()) for totals in self._totals.values())

    def of(self, block: Block) -> tuple[npt.NDArray[np.int64], int]:
        """As `Lottery.pieces`."""
        return self._totals[block.number], self._size

    def lower(self, block: Block, rows: Array, by: Array) -> None:
        """As `Lottery.lower`."""
        xp, totals = self._problem.context.xp, self._totals[block.number]
        if len(totals) == 1:
            totals[0] -= int(exact.exact_sums(by, xp=xp))
            return
        labels = xp.astype(rows // self._size, xp.int32)
        change = self._problem.kernel.group_sums(by[:, None], labels, len(totals))
        totals -= to_host(change)[:, 0]

    def renew(self, totals: list[npt.NDArray[np.int64]]) -> None:
        """Draw by other numbers from now on."""
        self._totals = dict(enumerate(totals))

    def aside(self, block: Block) -> _Pieces:
        """As `Lottery.aside`."""
        found = copy.copy(self)
        found._totals = {block.number: np.zeros(-(-block.n_rows // self._size), dtype=np.int64)}
        return found

    def add(self, changes: Sequence[npt.NDArray[np.int64]]) -> None:
        """As `Lottery.lowered`."""
        for number, change in enumerate(changes):
            self._totals[number] += change

    def count(self, block: Block) -> npt.NDArray[np.int64]:
        """Exact sums of a block's pieces."""
        xp, size = self._problem.context.xp, self._size
        sums = []
        for part in slices(block.n_rows, _PIECES * size):
            whole = self._whole(block, part)
            even = int(whole.shape[0]) // size * size
            if even:
                sums.append(exact.exact_sums(xp.reshape(whole[:even], (-1, size)), xp=xp))
            if even < int(whole.shape[0]):
                sums.append(exact.exact_sums(whole[None, even:], xp=xp))
        return np.concatenate([to_host(part) for part in sums])

    def locate(self, tickets: list[int]) -> list[int]:
        ends = list(itertools.accumulate(int(totals.sum()) for totals in self._totals.values()))
        wanted: dict[int, list[int]] = {}
        for i, ticket in enumerate(tickets):
            wanted.setdefault(bisect.bisect_right(ends, ticket), []).append(i)
        searches = {}
        for number, mine in wanted.items():
            before = ends[number - 1] if number else 0
            left = np.asarray([tickets[i] - before for i in mine], dtype=np.int64)
            searches[number] = self._search(self._totals[number], left)

        def task(block: Block) -> npt.NDArray[np.int64]:
            search = searches[block.number]
            rows = np.empty(search.n_tickets, dtype=np.int64)
            for mine, pieces, left in search.parts:
                rows[mine] = self._inside(block, pieces, left)
            return rows

        found = [0] * len(tickets)
        blocks = [self._blocks[number] for number in searches]
        parts = self._problem.source.map(task, blocks)
        for mine, rows in zip(wanted.values(), parts, strict=True):
            for i, row in zip(mine, rows.tolist(), strict=True):
                found[i] = row
        return found

    def _search(self, totals: npt.NDArray[np.int64], tickets: npt.NDArray[np.int64]) -> _Search:
        """For the tickets below the sum of a block: in which pieces each falls."""
        running = np.cumsum(totals)
        drawn = running.searchsorted(tickets, side="right").tolist()
        # np.unique takes longer for the few there are
        places = {piece: place for place, piece in enumerate(sorted(set(drawn)))}
        pieces, which = np.asarray(list(places)), np.asarray([places[piece] for piece in drawn])
        searches: list[tuple[npt.NDArray[Any], ...]] = []
        for part in slices(len(pieces), max(1, _ROWS_AT_ONCE // self._size)):
            some, mine = pieces[part], (which >= part.start) & (which < part.stop)
            # the pieces now follow each other: what lay between them goes
            passed = running[some] - np.cumsum(totals[some])
            searches.append((mine, some, tickets[mine] - passed[which[mine] - part.start]))
        return _Search(len(tickets), searches)

    def _inside(
        self, block: Block, pieces: npt.NDArray[np.int64], tickets: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """The rows of tickets below the sum of some pieces of a block."""
        xp, size = self._problem.context.xp, self._size
        rows = np.reshape(pieces[:, None] * size + np.arange(size), (-1,))
        # past the block's end its last row stands again, behind the row of any ticket
        np.minimum(rows, block.n_rows - 1, out=rows)
        whole = self._whole(block, exact.to_device(rows, self._problem.source.sample, xp=xp))
        running = xp.cumulative_sum(xp.astype(whole, xp.int64))
        return block.start + rows[_positions(running, tickets, xp=xp)]


def _positions(
    running: Array, tickets: npt.ArrayLike, /, *, xp: Namespace
) -> npt.NDArray[np.int64]:
    """Where tickets fall among running sums."""
    wanted = exact.to_device(np.asarray(tickets, dtype=np.int64), running, xp=xp)
    return to_host(xp.searchsorted(running, wanted, side="right"))


def units_for(largest: float, /) -> Units:
    """Integers of which numbers up to this one have 40 bits."""
    bits = _bits_for(largest)
    return Units(math.ldexp(1.0, min(bits, _MOST_BITS)), math.ldexp(1.0, max(bits - _MOST_BITS, 0)))


def _bits_for(largest: float) -> int:
    mantissa, exponent = math.frexp(largest)
    return exact.LIMB_BITS - (exponent - 1 if mantissa == 0.5 else exponent)
