"""The search after an estimator's runs: whether there is one, and what is told of the optimum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .._effort import Effort, effort_of
from .._line import Line
from .._line_run import line_finder
from .._lower_bound import lower_bound
from .._outcome import Result, Rules, Status
from .._problem import Training
from .._search import search
from .._trials import LOWERS, Trial
from .._typing import Array
from ._logbook import Logbook


def effort_for(model: Any, start: Array | None, /) -> Effort | None:
    """How long to search after the runs; None for not at all."""
    if model.search is None:
        return None
    effort = effort_of(model.search)
    if start is None and not callable(model.init) and model.n_init == "auto":
        return effort
    if effort.is_auto:
        return None
    raise ValueError(
        f"search={model.search!r} goes with a named init and n_init='auto': a given start, or a "
        f"given number of starts (n_init={model.n_init!r}), means Lloyd's loop from these "
        "alone. Leave them out, or leave out search"
    )


def line_ahead(
    problem: Training, n_clusters: int, effort: Effort | None, log: Logbook | None, /
) -> Callable[[], Line | None]:
    """What finds the best centers on a line.

    Of rows that are away it does so now: where memory has no room for their sums, no run should
    have been made in vain.
    """
    find, source = line_finder(problem, n_clusters), problem.source
    is_asked = effort is not None and source.n_features == 1
    if is_asked and not source.is_resident and (log is None or not log.is_finished):
        with source.working():
            find()
    return find


def searched(
    problem: Training,
    result: Result,
    rules: Rules,
    effort: Effort,
    seed: int,
    announce: Callable[[Result | None], None] | None,
    log: Logbook | None,
    runs: Sequence[Trial],
    find_line: Callable[[], Line | None],
    /,
) -> tuple[Result, float | None, list[Trial]]:
    """What the search makes of a result, a lower bound beside it, and the search's own runs.

    ``runs`` came before; a log tells where to go on from, and is told of the search's stages.
    """
    trials: list[Trial] = []
    with problem.source.working():
        if log is None or not log.is_finished:
            found = result if log is None else log.searched_from(result, runs)
            keep = None if log is None else log.reach
            result, trials = search(
                problem,
                found,
                rules,
                effort,
                seed,
                announce=announce,
                keep=keep,
                find_line=find_line,
                before=sum(trial.n_iter for trial in runs),
            )
        result, bound = _with_bound(problem, result)
    return result, bound, trials


def _with_bound(problem: Training, result: Result) -> tuple[Result, float | None]:
    """The lower bound beside a result that Ctrl-C did not end."""
    if result.status is Status.INTERRUPTED:
        return result, None
    if result.status is Status.OPTIMUM:
        # on a line, where it was proven to be so near
        return result, result.inertia * (1.0 - 2.0 * LOWERS)
    k = int(result.centers.shape[0])
    try:
        return result, problem.within_memory(lambda: lower_bound(problem, k))
    except KeyboardInterrupt:
        return result.interrupted(), None
