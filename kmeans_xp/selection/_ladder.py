"""Fits for one k after another: each starts from the centers of the one before."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .._draws import distinct_rows
from .._plusplus import Closest, plusplus
from .._problem import Training
from .._random import Purpose, mix
from .._solver import Result, Rules, Status, lloyd
from .._typing import Array

_TRIALS = 10  # measured in benchmarks/choosing.py: better than k-means++ anew for each k


@dataclass(frozen=True)
class Rung:
    """The best of the fits for one k, and the seconds that all of them took."""

    k: int
    result: Result
    seconds: float


def climb(
    problem: Training, ks: Sequence[int], seed: int, rules: Rules, /, *, n_init: int = 0
) -> Iterator[Rung]:
    """Fit each k of ascending ``ks`` from the centers before, to which new rows are added.

    The first k starts from k-means++; ``n_init`` more such starts are tried for every k.  Their
    seeds are the first k of one run of k-means++ for the largest.  Among equal inertias the fit
    from the centers before stays.
    """
    before: Result | None = None
    seeds: list[list[int]] = []
    for k in ks:
        began = time.perf_counter()
        found = [] if before is None else [_fit(problem, _grown(problem, before, k, seed), rules)]
        if before is None:
            seeds = [_seeds(problem, ks[-1] if n_init else k, seed, 0)]
            seeds += [_seeds(problem, ks[-1], seed, run) for run in range(1, n_init)]
        if before is None or n_init:
            found += [_fit(problem, problem.source.take(rows[:k]), rules) for rows in seeds]
        before = min(found, key=lambda result: result.inertia)
        yield Rung(k, before, time.perf_counter() - began)


def _seeds(problem: Training, n_clusters: int, seed: int, run: int) -> list[int]:
    key = mix(seed, Purpose.RUN, run)
    return problem.within_memory(functools.partial(plusplus, problem, n_clusters, key))


def _fit(problem: Training, centers: Array, rules: Rules) -> Result:
    # the last argument draws for empty clusters, and these take the farthest row
    result = problem.within_memory(functools.partial(lloyd, problem, centers, rules, 0))
    if result.status is Status.INTERRUPTED:
        # a fit that was cut short is no answer for its k
        raise KeyboardInterrupt(result.status.value)
    return result


def _grown(problem: Training, before: Result, k: int, seed: int) -> Array:
    """The centers of a fit, and rows that lower its inertia most as k-means++ picks them."""
    rows = problem.within_memory(lambda: _newcomers(problem, before, k, seed))
    more = problem.source.take(rows)
    return problem.context.xp.concat([before.centers, more], axis=0)


def _newcomers(problem: Training, before: Result, k: int, seed: int) -> list[int]:
    problem.source.forget("labels", "bounds", "trial")
    problem.cover(before.centers)
    closest = Closest(problem, problem.source.blocks)
    closest.begin_beside(problem.nearest_to(before.centers, screens=False), before.labels)
    chosen: list[int] = []
    for step in range(int(before.centers.shape[0]), k):
        if closest.lottery.total == 0:
            # squares of what is left underflow: any rows will do
            chosen += distinct_rows(problem, k - step, seed, chosen)
            break
        keys = [(seed, Purpose.SEEDING, step, trial) for trial in range(_TRIALS)]
        drawn = list(dict.fromkeys(closest.lottery.rows(keys)))
        best = closest.judge(drawn)
        chosen.append(drawn[best])
        closest.accept(best)
    problem.source.forget("closest", "seeds", "trial")
    return chosen
