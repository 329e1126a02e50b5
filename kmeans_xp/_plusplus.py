"""k-means++: each center a row drawn by its squared distance to the centers so far."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ._closest import Closest
from ._draws import distinct_rows, weighted_rows
from ._problem import Training
from ._random import Purpose
from ._typing import Block


def plusplus(
    problem: Training, n_clusters: int, seed: int, /, trials: int | None = None
) -> list[int]:
    """Greedy k-means++ (Arthur and Vassilvitskii, SODA 2007; trials as in their code).

    Each new center is the best of ``trials`` rows drawn in proportion to the weighted
    squared distance to the nearest center so far, judged by the sum that it leaves.
    """
    if trials is None:
        trials = 2 + int(math.log(n_clusters))
    picked = None
    if problem.source.is_resident:
        picked = problem.kernel.plusplus(problem, n_clusters, seed, trials)
    if picked is not None:
        return picked + distinct_rows(problem, n_clusters - len(picked), seed, picked)
    blocks = problem.source.spans(problem.plan.seeding_rows)
    rows = _picked(problem, blocks, n_clusters, seed, trials)
    problem.source.leave(blocks)
    return rows


def _picked(
    problem: Training, blocks: Sequence[Block], n_clusters: int, seed: int, trials: int
) -> list[int]:
    """The same, pass by pass over these blocks."""
    rows = weighted_rows(problem, [(seed, Purpose.SEEDING, 0, 0)])
    closest = Closest(problem, blocks)
    closest.begin(rows[0])
    for step in range(1, n_clusters):
        if closest.lottery.total == 0:
            # no row is away from all seeds (or its square underflows): any rows will do
            return rows + distinct_rows(problem, n_clusters - step, seed, rows)
        keys = [(seed, Purpose.SEEDING, step, trial) for trial in range(trials)]
        # dict keeps the order: of equal rows the first
        drawn = list(dict.fromkeys(closest.lottery.rows(keys)))
        best = closest.judge(drawn)
        rows.append(drawn[best])
        closest.accept(best)
    return rows
