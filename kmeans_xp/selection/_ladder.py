"""Fits for one k after another: each starts from the centers of the one before."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .._closest import Closest
from .._draws import distinct_rows
from .._outcome import Known, Result, Rules, Status
from .._plusplus import plusplus
from .._problem import Training
from .._random import Purpose, mix
from .._solver import lloyd
from .._typing import Array

_TRIALS = 10  # measured in benchmarks/choosing.py: better than k-means++ anew for each k


@dataclass(frozen=True)
class Rung:
    """The best of the fits for one k, and the seconds that all of them took."""

    k: int
    result: Result
    seconds: float


def climb(
    problem: Training,
    ks: Sequence[int],
    seed: int,
    rules: Rules,
    /,
    *,
    n_init: int = 0,
    begun: Rung | None = None,
) -> Iterator[Rung]:
    """Fit each k of ascending ``ks`` from the centers before, to which new rows are added.

    The first k starts from k-means++; ``n_init`` more such starts are tried for every k.  Their
    seeds are the first k of one run of k-means++ for the largest.  Among equal inertias the fit
    from the centers before stays.  ``begun`` is the first rung where it is known (not beside
    ``n_init``).
    """
    before: Result | None = None
    seeds: list[list[int]] = []
    if begun is not None:
        yield begun
        before, ks = begun.result, ks[1:]
    for k in ks:
        began = time.perf_counter()
        found = [] if before is None else [_fit(problem, *_grown(problem, before, k, seed), rules)]
        if before is None:
            seeds = [_seeds(problem, ks[-1] if n_init else k, seed, 0)]
            seeds += [_seeds(problem, ks[-1], seed, run) for run in range(1, n_init)]
        if before is None or n_init:
            found += [_fit(problem, problem.source.take(rows[:k]), None, rules) for rows in seeds]
        before = min(found, key=lambda result: result.inertia)
        yield Rung(k, before, time.perf_counter() - began)


def leap(
    problem: Training, ks: Sequence[int], seed: int, rules: Rules, /, *, trials: int
) -> Iterator[Result]:
    """Fit each k of ascending ``ks`` by itself, from the first rows of one run of k-means++."""
    rows = _seeds(problem, ks[-1], seed, 0, trials)
    starts = (problem.source.take(rows[:k]) for k in ks)
    return (_fit(problem, centers, None, rules, keeps=False) for centers in starts)


def _seeds(
    problem: Training, n_clusters: int, seed: int, run: int, trials: int | None = None
) -> list[int]:
    key = mix(seed, Purpose.RUN, run)
    return problem.within_memory(functools.partial(plusplus, problem, n_clusters, key, trials))


def _fit(
    problem: Training, centers: Array, known: Known | None, rules: Rules, *, keeps: bool = True
) -> Result:
    once = [known]

    def task() -> Result:
        # not again where memory was too small: the run may have written over the labels
        mine = once.pop() if once else None
        # 0 draws for empty clusters, and these take the farthest row
        return lloyd(problem, centers, rules, 0, known=mine, keeps=keeps)

    result = problem.within_memory(task)
    if result.status is Status.INTERRUPTED:
        # a fit that was cut short is no answer for its k
        raise KeyboardInterrupt(result.status.value)
    return result


def _grown(problem: Training, before: Result, k: int, seed: int) -> tuple[Array, Known | None]:
    """The centers of a fit, and rows that lower its inertia most as k-means++ picks them.

    Beside them what is known of them: nothing where some of the rows were not picked so, nor on
    a GPU, whose kernels begin with a pass over all rows.
    """
    rows, labels = problem.within_memory(lambda: _newcomers(problem, before, k, seed))
    more = problem.source.take(rows)
    centers = problem.context.xp.concat([before.centers, more], axis=0)
    if labels is None or before.kept is None or problem.context.gpu is not None:
        return centers, None
    return centers, Known(labels, before.labels, before.kept.totals)


def _newcomers(
    problem: Training, before: Result, k: int, seed: int
) -> tuple[list[int], Array | None]:
    source = problem.source
    source.forget("labels", "bounds", "trial")
    problem.cover(before.centers)
    closest = Closest(problem, source.blocks)
    nearest, kept = problem.nearest_to(before.centers, screens=False), before.kept
    own = kept.own if kept is not None and kept.scale == nearest.scale else None
    closest.begin_beside(nearest, before.labels, own)
    chosen: list[int] = []
    labels: Array | None = None
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
    else:
        labels = source.collect("seeds")
    source.forget("closest", "seeds", "trial")
    return chosen, labels
