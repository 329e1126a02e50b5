"""Rows drawn at random, keyed by the seed: by weight, among some, or all different."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from . import _exact as exact
from ._far_rows import gains
from ._lottery import Lottery, Mass
from ._primitives import Nearest
from ._problem import Training
from ._random import Purpose, below
from ._typing import Array, Block, Rows, some


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
    problem.source.remake("gaining", task)
    found: list[int] = []
    if largest > 0.0:

        def mass(block: Block, rows: Rows) -> Array:
            return some(block.state["gaining"], rows, xp=xp)

        found = Lottery(problem, mass, largest).rows(keys)
    problem.source.forget("gaining")
    return found


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
