"""Lloyd's loop: the one loop, its one convergence test, and what it leaves."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from ._assign import relabel
from ._backend import to_host
from ._distances import Scale, halving_total
from ._empty import repair
from ._exact import carry
from ._passes import host_counts, inertia, sweep, used_clusters
from ._primitives import Nearest
from ._problem import Training
from ._typing import Array


class Status(enum.Enum):
    """Why the loop ended, in a sentence for the user."""

    CONVERGED = "converged: no row changed its cluster"
    TOLERANCE = "converged: the centers moved less than the tolerance"
    OPTIMUM = "converged: the optimum, which is known in one dimension"
    NO_IMPROVEMENT = "converged: the inertia of the batches falls no more"
    MAX_ITER = "stopped at max_iter before convergence"
    CALLBACK = "stopped by the callback"
    PASSES = "stopped when the passes of the search were used up"
    INTERRUPTED = "interrupted: the best state so far was kept"
    OPEN = "open: partial_fit goes on from here"


@dataclass(frozen=True)
class Iteration:
    """One iteration, as plain numbers.

    Attributes
    ----------
    iteration : int, from 1
    changed : int
        Rows with a positive weight that changed cluster, relocated ones included.
    shift : float
        Square root of the summed squared movements of the centers, in the data's units.
    inertia : float or None
        Inertia of the assignment before the centers moved; computed only under
        ``verbose`` or with a callback, since it costs a pass.
    """

    iteration: int
    changed: int
    shift: float
    inertia: float | None


@dataclass(frozen=True)
class Result:
    """What one run leaves; labels stay in the source's blocks until collected."""

    centers: Array
    labels: Array
    inertia: float
    n_iter: int
    status: Status
    history: tuple[Iteration, ...]
    n_distinct: int

    def interrupted(self) -> Result:
        """The same result, marked as the best when Ctrl-C came."""
        return replace(self, status=Status.INTERRUPTED)


Observer = Callable[[Iteration, Array], bool]
"""Called after every iteration with the record and the new centers; true stops the run."""


@dataclass(frozen=True)
class Rules:
    """When to stop, and what to do about empty clusters."""

    max_iter: int | None
    tol: float
    empty_cluster: str = "farthest"
    observe: Observer | None = None


@dataclass(frozen=True)
class _State:
    centers: Array
    totals: Array | None
    history: tuple[Iteration, ...] = ()
    status: Status | None = None


def lloyd(problem: Training, centers: Array, rules: Rules, seed: int, /) -> Result:
    """Run from the given centers until no row changes cluster, or a rule says stop.

    Source: S. Lloyd, "Least squares quantization in PCM", IEEE Trans. Inf. Theory, 1982.
    """
    problem.source.forget("labels", "closest", "trial", "bounds")
    problem.pruner.begin()
    problem.cover(centers)
    state = _State(centers, None)
    try:
        while state.status is None:
            state = _advance(problem, state, rules, seed) or _step(problem, state, rules, seed)
            if rules.observe is not None and rules.observe(state.history[-1], state.centers):
                state = replace(state, status=state.status or Status.CALLBACK)
        return _finish(problem, state)
    except KeyboardInterrupt:
        return _finish(problem, replace(state, status=Status.INTERRUPTED))


def _advance(problem: Training, state: _State, rules: Rules, seed: int) -> _State | None:
    """Iterations that the kernel makes by itself; None if it makes none."""
    if rules.observe is not None or problem.is_wide or not problem.source.is_resident:
        return None
    most = None if rules.max_iter is None else rules.max_iter - len(state.history)
    tolerance = _tolerance(problem, rules) if rules.tol > 0.0 else -1.0
    made = problem.kernel.advance(problem, state.centers, state.totals, tolerance, most)
    if made is None:
        return None
    scale, status, history = problem.frame.scale, None, state.history
    for changed, moved in made.records:
        record = Iteration(len(history) + 1, changed, _unscaled_root(moved, scale), None)
        history = (*history, record)
        status = _verdict(rules, record, moved <= tolerance)
    after = _State(made.centers, made.totals, history, status)
    if made.pending is None:
        return after
    nearest = problem.nearest_to(made.centers, screens=False)
    return _conclude(problem, after, rules, seed, nearest, made.pending, None)


def _step(problem: Training, state: _State, rules: Rules, seed: int) -> _State:
    """One iteration: assign and sum, then `_conclude`."""
    if problem.is_wide:
        problem.cover(state.centers)
    nearest = problem.nearest_to(state.centers)
    stats = sweep(problem, nearest, int(state.centers.shape[0]))
    problem.learn(stats.open_rows, stats.scored)
    totals = stats.totals
    if state.totals is not None:
        totals += state.totals  # in place: the sweep's own are not needed again
        totals = carry(totals, xp=problem.context.xp)
    value = inertia(problem, nearest) if rules.observe is not None else None
    state = replace(state, totals=totals)
    return _conclude(problem, state, rules, seed, nearest, stats.changed, value)


def _conclude(
    problem: Training,
    state: _State,
    rules: Rules,
    seed: int,
    nearest: Nearest,
    changed: int,
    value: float | None,
) -> _State:
    """Repair, recenter, test: what follows from the totals of an iteration."""
    number = len(state.history) + 1
    fixed = repair(problem, nearest, state.totals, rules.empty_cluster, (seed, number))
    moves = problem.kernel.own_distances(fixed.centers, nearest)
    problem.pruner.moved(moves)
    moved = halving_total(to_host(moves))
    shift = _unscaled_root(moved, nearest.scale)
    record = Iteration(number, changed + fixed.moved, shift, value)
    status = _verdict(rules, record, moved <= _tolerance(problem, rules))
    return _State(fixed.centers, fixed.totals, (*state.history, record), status)


def _tolerance(problem: Training, rules: Rules) -> float:
    """The largest sum of squared movements that ends a run, in units of the scale."""
    return rules.tol * problem.summary.variance_in(problem.frame.scale)


def _verdict(rules: Rules, record: Iteration, is_small: bool) -> Status | None:
    """The one convergence test."""
    if record.changed == 0:
        return Status.CONVERGED
    if rules.tol > 0.0 and is_small:
        return Status.TOLERANCE
    if record.iteration == rules.max_iter:
        return Status.MAX_ITER
    return None


def _finish(problem: Training, state: _State) -> Result:
    """Labels and inertia that belong to the final centers."""
    if problem.is_wide:
        # the start lay outside the rows; measure as predict will
        problem.cover(state.centers)
    nearest = problem.nearest_to(state.centers)
    assert state.status is not None
    scale = problem.label_scale(state.centers)
    if state.status is not Status.CONVERGED or scale != nearest.scale:
        relabel(problem, problem.nearest_to(state.centers, scale=scale))
    value = inertia(problem, nearest)
    return Result(
        state.centers,
        problem.source.collect("labels"),
        value,
        len(state.history),
        state.status,
        state.history,
        _distinct(problem, state),
    )


def _distinct(problem: Training, state: _State) -> int:
    """Clusters that have a row, of any weight."""
    n_clusters = int(state.centers.shape[0])
    if state.status is Status.CONVERGED and all(host_counts(problem, state.totals)):
        return n_clusters
    return used_clusters(problem, n_clusters)


def _unscaled_root(squared: float, scale: Scale) -> float:
    return math.sqrt(squared) / scale.factor
