"""Rows drawn at random: exact integers, located by block totals, keyed by the seed."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from . import _exact as exact
from ._backend import to_host
from ._problem import Training
from ._random import Purpose, below
from ._typing import Array, Block, Rows, slices, some

_PIECES = 128
_SEARCH = 512


Mass = Callable[[Block, Rows], Array]
"""Nonnegative float64 numbers of some rows of a block."""


class Lottery:
    """Rows drawn in proportion to a nonnegative number each, in exact integers.

    The numbers are quantised to 40 bits of the largest; an integer below their sum is
    located by the totals of blocks and of pieces in them, then inside one piece.  Blocks of
    other sizes, or on other devices, give the same rows.
    """

    def __init__(
        self,
        problem: Training,
        mass: Mass,
        largest: float,
        blocks: Sequence[Block] | None = None,
    ) -> None:
        self._problem, self._mass = problem, mass
        self._blocks = problem.source.blocks if blocks is None else blocks
        piece_rows = problem.source.piece_rows
        # long pieces are a device's, which rather searches them than sums by piece
        self._piece_rows = piece_rows if piece_rows > exact.EXACT_ROWS else min(piece_rows, _SEARCH)
        self.exponent = exact.exponent_above(largest)
        self._up = math.ldexp(1.0, exact.LIMB_BITS - self.exponent)
        # below 2**63 in a block
        self._pieces = problem.source.map(self._count, self._blocks)

    @property
    def total(self) -> int:
        """The sum of all numbers, in the lottery's integers."""
        return sum(int(pieces.sum()) for pieces in self._pieces)

    @property
    def unit(self) -> float:
        """What one of the lottery's integers stands for."""
        return 1.0 / self._up

    def whole(self, mass: Array) -> Array:
        """The numbers as integers (in float64)."""
        return self._problem.context.xp.round(mass * self._up)

    def lower(self, block: Block, rows: Array, by: Array) -> None:
        """Take integers (float64) from the numbers of rows at these positions of a block."""
        xp, pieces = self._problem.context.xp, self._pieces[block.number]
        if len(pieces) == 1:
            pieces[0] -= int(exact.exact_sums(by, xp=xp))
            return
        labels = xp.astype(rows // self._piece_rows, xp.int32)
        change = self._problem.kernel.group_sums(by[:, None], labels, len(pieces))
        pieces -= to_host(change)[:, 0]

    def rows(self, keys: Sequence[tuple[int, ...]]) -> list[int]:
        """One row for each key; the total must be positive."""
        total = self.total
        return self._locate([below(total, *key) for key in keys])

    def _count(self, block: Block) -> npt.NDArray[np.int64]:
        """Exact sums of a block's pieces."""
        xp, size = self._problem.context.xp, self._piece_rows
        sums = []
        for part in slices(block.n_rows, _PIECES * size):
            whole = self.whole(self._mass(block, part))
            even = int(whole.shape[0]) // size * size
            if even:
                sums.append(exact.exact_sums(xp.reshape(whole[:even], (-1, size)), xp=xp))
            if even < int(whole.shape[0]):
                sums.append(exact.exact_sums(whole[None, even:], xp=xp))
        return np.concatenate([to_host(part) for part in sums])

    def _locate(self, tickets: list[int]) -> list[int]:
        running = [np.cumsum(pieces) for pieces in self._pieces]
        ends = list(itertools.accumulate(int(sums[-1]) for sums in running))
        wanted: dict[int, list[tuple[int, int, int]]] = {}
        for i, ticket in enumerate(tickets):
            number = bisect.bisect_right(ends, ticket)
            ticket -= ends[number - 1] if number else 0
            piece = int(running[number].searchsorted(ticket, side="right"))
            ticket -= int(running[number][piece - 1]) if piece else 0
            wanted.setdefault(number, []).append((i, piece, ticket))
        found = [0] * len(tickets)
        for number, mine in wanted.items():
            order, pieces, rest = zip(*mine, strict=True)
            rows = self._inside(self._blocks[number], pieces, rest)
            for i, row in zip(order, rows, strict=True):
                found[i] = row
        return found

    def _inside(self, block: Block, pieces: Sequence[int], tickets: Sequence[int]) -> list[int]:
        """The row of each ticket in its piece of a block."""
        xp = self._problem.context.xp
        size = min(self._piece_rows, block.n_rows)
        first = np.asarray(pieces, dtype=np.int64)[:, None] * self._piece_rows
        # past the block's end its last row stands again, behind the row of any ticket
        rows = np.minimum(first + np.arange(size), block.n_rows - 1)
        at = exact.to_device(np.reshape(rows, (-1,)), block.x, xp=xp)
        whole = xp.reshape(self.whole(self._mass(block, at)), (len(pieces), size))
        running = xp.cumulative_sum(xp.astype(whole, xp.int64), axis=1)
        wanted = exact.to_device(np.asarray(tickets, dtype=np.int64)[:, None], running, xp=xp)
        before = to_host(xp.count_nonzero(running <= wanted, axis=1))
        found: list[int] = (block.start + first[:, 0] + before).tolist()
        return found


def _row_weight(problem: Training, block: Block) -> Array:
    xp = problem.context.xp
    if block.weight is not None:
        return block.weight
    return xp.ones(block.n_rows, dtype=xp.float64, device=problem.context.device)


def _largest(problem: Training, mass: Mass) -> float:
    xp = problem.context.xp
    return max(problem.source.map(lambda block: float(xp.max(mass(block, slice(0, block.n_rows))))))


def weighted_rows(problem: Training, keys: Sequence[tuple[int, ...]]) -> list[int]:
    """Rows drawn by sample weight, with replacement."""
    if problem.summary.weight_grid is None:
        return [below(problem.source.n_rows, *key) for key in keys]

    def mass(block: Block, rows: Rows) -> Array:
        return some(_row_weight(problem, block), rows, xp=problem.context.xp)

    return Lottery(problem, mass, _largest(problem, mass)).rows(keys)


def distinct_rows(
    problem: Training, count: int, seed: int, taken: list[int] | None = None
) -> list[int]:
    """Draw ``count`` different rows by weight, without replacement and none of ``taken``."""
    xp = problem.context.xp
    chosen: list[int] = list(taken or [])
    first = len(chosen)

    def mass(block: Block, rows: Rows) -> Array:
        weight = _row_weight(problem, block)
        inside = [row - block.start for row in chosen if 0 <= row - block.start < block.n_rows]
        if inside:
            used = np.zeros(block.n_rows, dtype=np.bool_)
            used[inside] = True
            used = exact.to_device(used, weight, xp=xp)
            weight = xp.where(used, xp.zeros_like(weight), weight)
        return some(weight, rows, xp=xp)

    for attempt in itertools.count():
        missing = count + first - len(chosen)
        if missing == 0:
            return chosen[first:]
        largest = _largest(problem, mass)
        if largest == 0.0:
            # only rows without weight are left: number them by their order
            return [*chosen[first:], *_untaken(problem.source.n_rows, chosen, missing)]
        lottery = Lottery(problem, mass, largest)
        keys = [(seed, Purpose.SEEDING, attempt, i) for i in range(missing)]
        # dict keeps the order of the draws
        chosen = list(dict.fromkeys([*chosen, *lottery.rows(keys)]))
    raise AssertionError("unreachable")


def _untaken(n_rows: int, taken: list[int], count: int) -> list[int]:
    """The first ``count`` rows that are not among the taken."""
    used = set(taken)
    return list(itertools.islice((row for row in range(n_rows) if row not in used), count))
