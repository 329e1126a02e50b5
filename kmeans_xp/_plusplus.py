"""k-means++: each center a row drawn by its squared distance to the centers so far."""

from __future__ import annotations

import math

from . import _exact as exact
from ._backend import to_host
from ._draws import Lottery, distinct_rows, weighted_rows
from ._primitives import Nearest
from ._problem import Training
from ._random import Purpose
from ._stats import weigh
from ._typing import Array, Block

_SMALL_WORK = 200_000


def plusplus(
    problem: Training, n_clusters: int, seed: int, /, trials: int | None = None
) -> list[int]:
    """Greedy k-means++ (Arthur and Vassilvitskii, SODA 2007; trials as in their code).

    Each new center is the best of ``trials`` rows drawn in proportion to the weighted
    squared distance to the nearest center so far, judged by the sum that it leaves.
    """
    if trials is None:
        trials = 2 + int(math.log(n_clusters))
    rows = weighted_rows(problem, [(seed, Purpose.SEEDING, 0, 0)])
    closest = Closest(problem)
    largest = closest.begin(rows[0])
    for step in range(1, n_clusters):
        lottery = Lottery(problem, closest.potential, largest)
        if lottery.total == 0:
            # no row is away from all seeds (or its square underflows): any rows will do
            return rows + distinct_rows(problem, n_clusters - step, seed, rows)
        drawn = lottery.rows([(seed, Purpose.SEEDING, step, trial) for trial in range(trials)])
        best = closest.judge(lottery, drawn)
        rows.append(drawn[best])
        if step < n_clusters - 1:
            largest = closest.accept(best)
    return rows


class Closest:
    """The canonical squared distance of every row to the nearest seed, kept up to date.

    It lives in the blocks' state; candidates leave theirs there until one is accepted.
    Few rows are compared with every candidate directly; many are screened by a product, and
    only those that a candidate may bring nearer get a canonical distance.
    """

    def __init__(self, problem: Training) -> None:
        self._problem = problem
        self._xp = problem.context.xp
        self._kernel = problem.kernel
        self._candidates: Nearest | None = None

    def potential(self, block: Block) -> Array:
        """Weighted closest distances (m,)."""
        return weigh(block.state["closest"], block.weight, xp=self._xp)

    def begin(self, row: int) -> float:
        """Start from one center; leave the largest potential."""
        nearest = self._problem.nearest_to(self._problem.source.take([row]), screens=False)

        def task(block: Block) -> float:
            distances = self._kernel.distances(block.x, nearest.centers, nearest.scale)
            block.state["closest"] = distances[0, :]
            return float(self._xp.max(self.potential(block)))

        return max(self._problem.source.map(task))

    def judge(self, lottery: Lottery, drawn: list[int]) -> int:
        """Index of the candidate that leaves the smallest sum; the first among equals."""
        work = self._problem.source.n_rows * self._problem.source.n_features * len(drawn)
        screens = work > _SMALL_WORK and self._problem.plan.first != "exact"
        nearest = self._problem.nearest_to(self._problem.source.take(drawn), screens=screens)
        self._candidates = nearest if screens else None

        def task(block: Block) -> list[int]:
            if screens:
                return self._screened_gains(lottery, block, nearest)
            return self._gains(lottery, block, nearest)

        parts = self._problem.source.map(task)
        totals = [sum(trial) for trial in zip(*parts, strict=True)]
        return totals.index(max(totals))

    def accept(self, best: int) -> float:
        """Let the candidate improve the distances; leave the largest potential."""
        nearest = self._candidates

        def task(block: Block) -> float:
            trial = block.state.pop("trial")[best, :]
            if nearest is None:
                block.state["closest"] = trial
            else:
                self._improve(block, nearest, best, trial)
            return float(self._xp.max(self.potential(block)))

        return max(self._problem.source.map(task))

    def _gains(self, lottery: Lottery, block: Block, nearest: Nearest) -> list[int]:
        """Minus the sums that the candidates leave, from all distances at once."""
        xp = self._xp
        distances = self._kernel.distances(block.x, nearest.centers, nearest.scale)
        distances = xp.minimum(distances, block.state["closest"][None, :])
        block.state["trial"] = distances
        left = exact.exact_sums(lottery.whole(weigh(distances, block.weight, xp=xp)), xp=xp)
        return [-int(value) for value in to_host(left)]

    def _screened_gains(self, lottery: Lottery, block: Block, nearest: Nearest) -> list[int]:
        """By how much each candidate lowers the sum, in the lottery's integers."""
        marks = self._may_improve(block, nearest)
        block.state["trial"] = marks
        return [
            self._gain(lottery, block, nearest, trial, marks[trial, :])
            for trial in range(int(marks.shape[0]))
        ]

    def _may_improve(self, block: Block, nearest: Nearest) -> Array:
        """Mark (t, m) the rows that a candidate may bring nearer.

        D^2 >= 2 (L + (1 - 5 theta) |x'|^2 / 2 - eta), see `_primitives`.
        """
        xp = self._xp
        rung = nearest.rung(nearest.first, xp=xp)
        lower, half = self._kernel.screen(block.x, rung, block.state)
        limit = block.state["closest"] * (0.5 * (1.0 + 4.0 * rung.theta))
        slack = (1.0 - 5.0 * rung.theta) * half - rung.underflow
        return ~(lower > (xp.astype(limit, half.dtype) - slack)[None, :])

    def _gain(
        self, lottery: Lottery, block: Block, nearest: Nearest, trial: int, mask: Array
    ) -> int:
        xp = self._xp
        count = int(xp.count_nonzero(mask))
        if count == 0:
            return 0
        rows, valid = self._kernel.compress(mask, count)
        center = nearest.centers[trial : trial + 1, :]
        after = self._kernel.distances(xp.take(block.x, rows, axis=0), center, nearest.scale)[0, :]
        before = xp.take(block.state["closest"], rows)
        better = after < before if valid is None else (after < before) & valid
        weight = None if block.weight is None else xp.take(block.weight, rows)
        gained = lottery.whole(weigh(before, weight, xp=xp)) - lottery.whole(
            weigh(after, weight, xp=xp)
        )
        gained = xp.where(better, gained, xp.zeros_like(gained))
        return int(exact.exact_sums(gained, xp=xp))

    def _improve(self, block: Block, nearest: Nearest, best: int, mask: Array) -> None:
        xp = self._xp
        count = int(xp.count_nonzero(mask))
        if count == 0:
            return
        rows, _ = self._kernel.compress(mask, count)
        center = nearest.centers[best : best + 1, :]
        after = self._kernel.distances(xp.take(block.x, rows, axis=0), center, nearest.scale)[0, :]
        closest = block.state["closest"]
        after = xp.minimum(after, xp.take(closest, rows))
        block.state["closest"] = self._kernel.put(closest, mask, rows, after)
