"""Rows of one feature: Lloyd's loop from the optimum that `_line` knows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

from ._line import Line, best_on_a_line
from ._outcome import BROKEN_OFF, ENDED, Result, Rules, Status
from ._problem import Training
from ._random import Purpose, mix
from ._solver import lloyd
from ._trials import LOWERS, Trial
from .exceptions import EmptyClusterError


def line_finder(problem: Training, n_clusters: int, /) -> Callable[[], Line | None]:
    """What finds the best centers on a line, once."""

    @functools.cache
    def find() -> Line | None:
        return problem.within_memory(lambda: best_on_a_line(problem, n_clusters))

    return find


def from_the_line(
    problem: Training,
    found: Result,
    rules: Rules,
    seed: int,
    announce: Callable[[Result | None], None] | None,
    find_line: Callable[[], Line | None],
    /,
) -> tuple[Result, list[Trial], bool]:
    """Run from the best centers on a line, and keep that if it is not worse.

    The last of the answers: whether the search is over, for there is nothing better, or by a break.
    """
    count = int(found.centers.shape[0])
    try:
        line = find_line()
        if line is None:
            return found, [], False
        key = mix(seed, Purpose.SEARCH, 0)
        result = problem.within_memory(lambda: lloyd(problem, line.centers, rules, key))
    except EmptyClusterError:
        # the error is for runs from the user's start
        return found, [], False
    except KeyboardInterrupt:
        return found.interrupted(), [], True
    if announce is not None:
        announce(result)
    kept = result.inertia <= found.inertia
    best = result if kept else found
    trials = [Trial(count, result.n_iter, result.inertia, kept)]
    if result.status is Status.INTERRUPTED:
        return best.interrupted(), trials, True
    if best.status in ENDED and best.inertia <= line.bound * (1.0 + LOWERS):
        best = replace(best, status=Status.OPTIMUM)
    return best, trials, line.proven or result.status in BROKEN_OFF
