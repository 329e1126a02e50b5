"""Lloyd's loop: the one loop, its one convergence test, and what it leaves."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Protocol

from ._assign import relabel
from ._backend import to_host
from ._bounds import Drift
from ._distances import Scale, halving_total
from ._empty import repair
from ._exact import carry
from ._handover import Near, begin_with, handed_over, take_over
from ._outcome import Iteration, Kept, Known, Result, Rules, Snapshot, Status
from ._passes import carrying_rows, changes, host_counts, inertia, sweep, used_clusters
from ._primitives import Nearest
from ._problem import Training
from ._typing import Array
from .exceptions import CheckpointError

_TIMED_AT_ONCE = 8  # iterations of a kernel, before the clock is looked at again


@dataclass(frozen=True)
class State:
    """What an iteration leaves to the next one."""

    centers: Array
    totals: Array | None
    history: tuple[Iteration, ...] = ()
    status: Status | None = None
    is_full: bool = False  # no cluster is empty; False where nobody has looked
    is_taken_over: bool = False  # no iteration was made, and rows have labels all the same
    before: Array | None = None
    """The centers that the last iteration began from, where a way may go back to them."""
    value: float | None = None
    """The objective under these, in units in which it is a number, for ways that compare it."""


class Way(Protocol):
    """What an iteration does, and what a run leaves: k-means' own way, or that of a relative."""

    def step(self, problem: Training, state: State, rules: Rules, seed: int, /) -> State:
        """One iteration or more; a status ends the run."""
        ...

    def finish(self, problem: Training, state: State, keeps: bool, /) -> Result:
        """Labels and objective that belong to the centers of the last state."""
        ...


class _Lloyd:
    """To the nearest center, then to the mean."""

    def step(self, problem: Training, state: State, rules: Rules, seed: int, /) -> State:
        if state.is_taken_over:
            return _step(problem, state, rules, seed)
        return _advance(problem, state, rules, seed) or _step(problem, state, rules, seed)

    def finish(self, problem: Training, state: State, keeps: bool, /) -> Result:
        return _finish(problem, state, keeps)


LLOYD = _Lloyd()


def lloyd(
    problem: Training,
    start: Array | Snapshot,
    rules: Rules,
    seed: int,
    /,
    *,
    known: Known | None = None,
    near: Near | None = None,
    keeps: bool = False,
    way: Way = LLOYD,
) -> Result:
    """Run from centers, or on from a snapshot, until no row changes cluster or a rule says stop.

    With ``known`` the first iteration scores no row, and adds up those alone whose label changed;
    their number is that of its record.  That, and what a run ``keeps``, is for rows that stay.
    ``near`` an earlier end it scores the rows in doubt.  Relatives of k-means go another ``way``.

    Source: S. Lloyd, "Least squares quantization in PCM", IEEE Trans. Inf. Theory, 1982.
    """
    problem.source.forget("labels", "closest", "trial", "bounds")
    problem.pruner.begin()
    try:
        if not isinstance(start, Snapshot):
            problem.cover(start)
            start = Snapshot(start, start, 0, problem.is_wide, ())
        elif start.is_wide:
            problem.cover(start.before)
        state = State(start.centers, None, start.history)
        if near is not None:
            totals = take_over(problem, near, start.centers)
            state = replace(state, totals=totals, is_taken_over=totals is not None)
        return _run(problem, start, state, rules, seed, known, keeps, way)
    finally:
        # the next start does not depend on where these centers lay
        problem.uncover()


def _run(
    problem: Training,
    begun: Snapshot,
    state: State,
    rules: Rules,
    seed: int,
    known: Known | None,
    keeps: bool,
    way: Way,
) -> Result:
    if known is not None:
        state = replace(state, totals=begin_with(problem, known, begun.centers))
    try:
        if begun.again:
            state = _again(problem, begun, rules, seed, way)
        while state.status is None:
            if rules.keep is not None:
                rules.keep(begun)
            before, is_wide = state, problem.is_wide
            if known is not None:
                state, known = _step(problem, state, rules, seed, known.labels), None
            else:
                state = way.step(problem, state, rules, seed)
            if rules.observe is not None and rules.observe(state.history[-1], state.centers):
                # where the run ends anyway too, or a search would go on from it
                state = replace(state, status=Status.CALLBACK)
            if rules.deadline is not None and time.monotonic() >= rules.deadline:
                state = replace(state, status=state.status or Status.SECONDS)
            if rules.keep is not None and state.status is None:
                count = len(state.history) - len(before.history)
                begun = Snapshot(before.centers, state.centers, count, is_wide, state.history)
        return way.finish(problem, state, keeps)
    except KeyboardInterrupt:
        if rules.keep is not None:
            rules.keep(begun)
        return way.finish(problem, replace(state, status=Status.INTERRUPTED), False)


def _again(problem: Training, begun: Snapshot, rules: Rules, seed: int, way: Way) -> State:
    """The state that a snapshot was taken of."""
    count = len(begun.history)
    state = State(begun.before, None, begun.history[: count - begun.again])
    # what ends them here did not end the run
    rules = replace(rules, max_iter=count, observe=None)
    while len(state.history) < count:
        state = way.step(problem, state, rules, seed)
    if to_host(state.centers).tobytes() != to_host(begun.centers).tobytes():
        raise CheckpointError(
            "the last iterations before the checkpoint, made again, lead to other centers than it "
            "holds: its rows were other ones, or another version of kmeans-xp wrote it. Delete it, "
            "or name another file"
        )
    return replace(state, history=begun.history, status=None)


def labels_of(problem: Training, centers: Array, /) -> Array:
    """The labels that a run left which ended with these centers."""
    problem.source.forget("labels", "closest", "trial", "bounds")
    problem.cover(centers)
    relabel(problem, problem.nearest_to(centers, scale=problem.label_scale(centers)))
    problem.uncover()
    return problem.source.collect("labels")


def _advance(problem: Training, state: State, rules: Rules, seed: int) -> State | None:
    """Iterations that the kernel makes by itself; None if it makes none."""
    if rules.observe is not None or problem.is_wide or not problem.source.is_resident:
        return None
    most = None if rules.max_iter is None else rules.max_iter - len(state.history)
    if rules.deadline is not None:
        most = _TIMED_AT_ONCE if most is None else min(most, _TIMED_AT_ONCE)
    tolerance = _tolerance(problem, rules) if rules.tol > 0.0 else -1.0
    made = problem.kernel.advance(problem, state.centers, state.totals, tolerance, most)
    if made is None:
        return None
    scale, status, history = problem.frame.scale, None, state.history
    for changed, moved in made.records:
        record = Iteration(len(history) + 1, changed, _unscaled_root(moved, scale), None)
        history = (*history, record)
        status = _verdict(rules, record, moved <= tolerance, changed == 0)
    after = State(made.centers, made.totals, history, status)
    if made.pending is None:
        return replace(after, is_full=True)
    nearest = problem.nearest_to(made.centers, screens=False)
    return _conclude(problem, after, rules, seed, nearest, made.pending, None)


def _step(
    problem: Training, state: State, rules: Rules, seed: int, labels: Array | None = None
) -> State:
    """One iteration: assign and sum, then `_conclude`."""
    if problem.is_wide:
        problem.cover(state.centers)
    nearest = problem.nearest_to(state.centers)
    stats = sweep(problem, nearest, int(state.centers.shape[0]), labels)
    problem.learn(stats.open_rows, stats.scored)
    totals = added(problem, stats.totals, state.totals)
    value = inertia(problem, nearest) if rules.observe is not None else None
    changed = carrying_rows(problem) if state.is_taken_over else stats.changed
    state = replace(state, totals=totals)
    return _conclude(problem, state, rules, seed, nearest, changed, value)


def added(problem: Training, totals: Array, before: Array | None) -> Array:
    """The totals of a sweep with those before it."""
    if before is None:
        return totals
    totals += before  # in place: the sweep's own are not needed again
    return carry(totals, xp=problem.context.xp)


def _conclude(
    problem: Training,
    state: State,
    rules: Rules,
    seed: int,
    nearest: Nearest,
    changed: int,
    value: float | None,
) -> State:
    """Repair, recenter, test: what follows from the totals of an iteration."""
    number = len(state.history) + 1
    fixed = repair(problem, nearest, state.totals, rules.empty_cluster, (seed, number))
    moves = problem.kernel.own_distances(fixed.centers, nearest)
    problem.pruner.moved(moves)
    state = replace(state, totals=fixed.totals)
    changed += fixed.moved
    done = changed == 0
    return concluded(problem, state, rules, nearest, fixed.centers, moves, changed, value, done)


def concluded(
    problem: Training,
    state: State,
    rules: Rules,
    nearest: Nearest,
    centers: Array,
    moves: Array,
    changed: int,
    value: float | None,
    is_done: bool,
    /,
) -> State:
    """The state after an iteration to these centers, of which each moved by so much (squared)."""
    moved = halving_total(to_host(moves))
    shift = _unscaled_root(moved, nearest.scale)
    record = Iteration(len(state.history) + 1, changed, shift, value)
    status = _verdict(rules, record, moved <= _tolerance(problem, rules), is_done)
    history = (*state.history, record)
    return State(centers, state.totals, history, status, before=nearest.centers)


def _tolerance(problem: Training, rules: Rules) -> float:
    """The largest sum of squared movements that ends a run, in units of the scale."""
    return rules.tol * problem.summary.variance_in(problem.frame.scale)


def _verdict(rules: Rules, record: Iteration, is_small: bool, is_done: bool) -> Status | None:
    """The one convergence test."""
    if is_done:
        return Status.CONVERGED
    if rules.tol > 0.0 and is_small:
        return Status.TOLERANCE
    if record.iteration == rules.max_iter:
        return Status.MAX_ITER
    return None


def _finish(problem: Training, state: State, keeps: bool) -> Result:
    """Labels and inertia that belong to the final centers."""
    if problem.is_wide:
        # the start lay outside the rows; measure as predict will
        problem.cover(state.centers)
    nearest = problem.nearest_to(state.centers)
    status = state.status
    assert status is not None
    scale = problem.label_scale(state.centers)
    if status is not Status.CONVERGED or scale != nearest.scale:
        state = _relabelled(problem, state, problem.nearest_to(state.centers, scale=scale), keeps)
    value = inertia(problem, nearest, keeps=keeps)
    kept = None
    if keeps and state.totals is not None:
        kept = Kept(problem.source.collect("own"), nearest.scale, state.totals)
        problem.source.forget("own")
    return Result(
        state.centers,
        problem.source.collect("labels"),
        value,
        len(state.history),
        status,
        state.history,
        _distinct(problem, state),
        kept,
        handed_over(problem, state.centers, state.totals, status),
    )


def _relabelled(problem: Training, state: State, nearest: Nearest, keeps: bool) -> State:
    """Give rows the labels of the final centers; the totals go along where they may be used."""
    drift = _last_drift(problem, state, nearest)
    is_used = problem.source.is_resident and (keeps or drift is not None)
    if state.totals is None or not is_used:
        relabel(problem, nearest, drift)
        return state
    befores = [block.state.get("labels") for block in problem.source.blocks]
    relabel(problem, nearest, drift)
    _, changed = changes(problem, befores, int(state.centers.shape[0]))
    return replace(state, totals=added(problem, changed, state.totals), is_full=False)


def _last_drift(problem: Training, state: State, nearest: Nearest) -> Drift | None:
    """The drift by which rows prove their labels once more, if they keep bounds for it.

    Not where a pass was broken off, whose bounds may be of other centers; nor where the centers
    left the rows, or rows come and go.  On a GPU one look at all rows takes less than to wait for
    the doubtful ones.
    """
    source, context = problem.source, problem.context
    if state.status is Status.INTERRUPTED or problem.is_wide:
        return None
    if not source.is_resident:
        if source.shares or context.library != "numpy":
            return None  # else blocks keep them where they are; one that lost them is scored anew
    elif context.gpu is not None or any("bounds" not in block.state for block in source.blocks):
        return None
    drift, is_new = problem.pruner.drift_for(nearest)
    return None if is_new else drift


def _distinct(problem: Training, state: State) -> int:
    """Clusters that have a row, of any weight."""
    n_clusters = int(state.centers.shape[0])
    is_settled = state.status is Status.CONVERGED  # the rows went to the centers that they had
    if is_settled and (state.is_full or all(host_counts(problem, state.totals))):
        return n_clusters
    return used_clusters(problem, n_clusters)


def _unscaled_root(squared: float, scale: Scale) -> float:
    return math.sqrt(squared) / scale.factor
