"""Rows drawn at random: exact integers, located by block totals, keyed by the seed."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from . import _exact as exact
from ._backend import to_host
from ._passes import gains
from ._primitives import Nearest
from ._problem import Training
from ._random import Purpose, below
from ._typing import Array, Block

_MOST_BITS = 1000


class Lottery:
    """Rows drawn in proportion to a nonnegative number each, in exact integers.

    The numbers are quantised to 40 bits of the largest; an integer below their sum is
    located by the blocks' totals, then inside one block.  Blocks of other sizes, or on
    other devices, give the same rows.
    """

    def __init__(self, problem: Training, mass: Callable[[Block], Array], largest: float) -> None:
        xp = problem.context.xp
        self._problem, self._mass = problem, mass
        mantissa, exponent = math.frexp(largest)
        bits = exact.LIMB_BITS - (exponent - 1 if mantissa == 0.5 else exponent)
        # in two steps: 2**1114 is no number
        self._up = math.ldexp(1.0, min(bits, _MOST_BITS))
        self._more = math.ldexp(1.0, max(bits - _MOST_BITS, 0))

        def total(block: Block) -> int:
            return int(exact.exact_sums(self.whole(mass(block)), xp=xp))

        self._totals = list(itertools.accumulate(problem.source.map(total)))
        self.total = self._totals[-1]

    def whole(self, mass: Array) -> Array:
        """The numbers as integers (in float64)."""
        scaled = mass * self._up
        return self._problem.context.xp.round(scaled if self._more == 1.0 else scaled * self._more)

    def rows(self, keys: Sequence[tuple[int, ...]]) -> list[int]:
        """One row for each key; the total must be positive."""
        return [row for row, _ in self._locate([below(self.total, *key) for key in keys])]

    def _locate(self, tickets: list[int]) -> list[tuple[int, int]]:
        blocks = [bisect.bisect_right(self._totals, ticket) for ticket in tickets]
        found: dict[int, tuple[int, int]] = {}
        for number in sorted(set(blocks)):
            mine = [i for i, block in enumerate(blocks) if block == number]
            before = self._totals[number - 1] if number else 0
            rows = self._inside(number, [tickets[i] - before for i in mine])
            found.update((i, (row, number)) for i, row in zip(mine, rows, strict=True))
        return [found[i] for i in range(len(tickets))]

    def _inside(self, number: int, tickets: list[int]) -> list[int]:
        xp = self._problem.context.xp
        block = self._problem.source.blocks[number]
        running = xp.cumulative_sum(xp.astype(self.whole(self._mass(block)), xp.int64))
        wanted = exact.to_device(np.asarray(tickets, dtype=np.int64), running, xp=xp)
        return [
            block.start + int(row)
            for row in to_host(xp.searchsorted(running, wanted, side="right"))
        ]


def _row_weight(problem: Training, block: Block) -> Array:
    xp = problem.context.xp
    if block.weight is not None:
        return block.weight
    return xp.ones(block.n_rows, dtype=xp.float64, device=problem.context.device)


def _largest(problem: Training, mass: Callable[[Block], Array]) -> float:
    xp = problem.context.xp
    return max(problem.source.map(lambda block: float(xp.max(mass(block)))))


def weighted_rows(problem: Training, keys: Sequence[tuple[int, ...]]) -> list[int]:
    """Rows drawn by sample weight, with replacement."""
    if problem.summary.weight_grid is None:
        return [below(problem.source.n_rows, *key) for key in keys]

    def mass(block: Block) -> Array:
        return _row_weight(problem, block)

    return Lottery(problem, mass, _largest(problem, mass)).rows(keys)


def gaining_rows(problem: Training, nearest: Nearest, keys: Sequence[tuple[int, ...]]) -> list[int]:
    """Rows drawn by weight among those that gain by a center of their own; none if none does.

    The numbers are quantised to the heaviest of these rows: one is found however light.
    """
    xp = problem.context.xp

    def task(block: Block) -> float:
        weight = _row_weight(problem, block)
        _, gaining = gains(problem, nearest, block)
        block.state["gaining"] = xp.where(gaining, weight, xp.zeros_like(weight))
        return float(xp.max(block.state["gaining"]))

    largest = max(problem.source.map(task))
    found: list[int] = []
    if largest > 0.0:
        found = Lottery(problem, lambda block: block.state["gaining"], largest).rows(keys)
    problem.source.forget("gaining")
    return found


def distinct_rows(
    problem: Training, count: int, seed: int, taken: list[int] | None = None
) -> list[int]:
    """Draw ``count`` different rows by weight, without replacement and none of ``taken``."""
    xp = problem.context.xp
    chosen: list[int] = list(taken or [])
    first = len(chosen)

    def mass(block: Block) -> Array:
        weight = _row_weight(problem, block)
        inside = [row - block.start for row in chosen if 0 <= row - block.start < block.n_rows]
        if not inside:
            return weight
        used = np.zeros(block.n_rows, dtype=np.bool_)
        used[inside] = True
        return xp.where(exact.to_device(used, weight, xp=xp), xp.zeros_like(weight), weight)

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
