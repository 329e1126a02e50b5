"""From checked arguments to centers by mini-batches, of rows in memory or of a stream."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from sklearn.utils import check_random_state

from .._backend import to_host
from .._init import seed_centers
from .._minibatch import Monitor, Point, State, Step, open_batch, run, step
from .._outcome import Status
from .._problem import Training
from .._query import inertia_of, labels_and_inertia
from .._random import Purpose, mix
from .._sampling import Sampler
from .._typing import Array
from .._validation import place_centers
from .._warnings import warn
from ._batch_logbook import BatchLogbook, open_batch_logbook
from ._place import Place, Rows
from ._run import called_centers, count_runs, draw_seed, warn_of_one_column

_MANY_STARTS = 3
_SHARE = 3  # rows of the start, in batches or in clusters


@dataclass(frozen=True)
class Outcome:
    """What mini-batches leave; labels where asked for."""

    state: State
    status: Status
    kernel: str
    middle: tuple[float, ...]
    n_rows: int
    centers: Array
    labels: Array | None = None
    inertia: float | None = None
    log: BatchLogbook | None = None

    def close(self) -> None:
        """Write the last checkpoint, if there is one, once the result is in safety."""
        if self.log is not None:
            self.log.close()


class BatchRows(Rows, Protocol):
    """Rows that may be one batch."""

    @property
    def n_rows(self) -> int: ...

    def batch(self, n_clusters: int, /, *, who: str) -> Training | None:
        """The rows as a batch of any size; None where no row has a weight."""
        ...


@dataclass(frozen=True)
class _Start:
    """How the first centers are found."""

    model: Any
    given: Array | None  # centers, as `_placed` made them
    runs: int
    n_rows: int  # that they are sought among
    random_state: np.random.RandomState
    place: Place


def run_fit(model: Any, rows: Rows, start: Array | None) -> Outcome:
    """Start among some of the rows, go through random batches, and label all rows."""
    random_state = check_random_state(model.random_state)
    runs = count_runs(model, start, type(model).__name__, _MANY_STARTS)
    problem = _open(model, rows)
    names = getattr(model, "feature_names_in_", None)
    warn_of_one_column(problem, names)
    start, seed = _placed(start, problem), draw_seed(random_state)
    n_rows = problem.source.n_rows
    n_steps = model.max_iter * n_rows // min(model.batch_size, n_rows)
    log = open_batch_logbook(model, problem, seed, random_state, start, runs, n_steps)
    if log is not None:
        seed, random_state = log.seed, log.generator
    start_rows = _start_rows(model, n_rows)
    begin = _Start(model, start, runs, start_rows, random_state, rows.place)
    source = problem.source
    # other processes are to forget in the end what they remember; threads are held pass by pass
    with contextlib.nullcontext() if source.shares else source.working():
        return _fitted(problem, begin, seed, n_steps, log)


def _fitted(
    problem: Training, begin: _Start, seed: int, n_steps: int, log: BatchLogbook | None
) -> Outcome:
    model, n_rows = begin.model, problem.source.n_rows
    batch_rows = min(model.batch_size, n_rows)
    point = None if log is None else log.point
    if point is None:
        point = Point(State.begin(_first_centers(problem, begin, seed), seed))
        if log is not None:
            log.keep(point)
    limit = None
    if model.tol > 0:

        def limit(scale: Any) -> float:
            return float(model.tol * problem.summary.variance_in(scale))

    monitor = Monitor(n_rows, batch_rows, limit, model.max_no_improvement)
    ended = run(
        Sampler(problem).batches(batch_rows, n_steps, seed, first=point.state.steps),
        point,
        float(model.reassignment_ratio),
        monitor,
        problem.context,
        _observer(n_steps, log, aloud=bool(model.verbose)),
    )
    if log is not None:
        log.note(ended.point)
    state, course = ended.point.state, ended.point.course
    outcome = Outcome(
        state,
        ended.status,
        ended.kernel or problem.plan.kernel,
        tuple(problem.extent.middle.tolist()),
        n_rows,
        state.centers(problem.context),
        log=log,
    )
    if not model.compute_labels:
        average = course.last if course.average is None else course.average
        value = math.nan if average is None else average * _total_weight(problem)
        return replace(outcome, inertia=value)
    try:
        return _labelled(problem, outcome)
    except KeyboardInterrupt:
        return _labelled(problem, replace(outcome, status=Status.INTERRUPTED))


def begin_stream(model: Any, rows: BatchRows, start: Array | None) -> tuple[Training, State]:
    """The first rows of a stream, and centers that start among them."""
    n_rows = rows.n_rows
    if n_rows < model.n_clusters:
        raise ValueError(
            f"n_samples={n_rows} should be >= n_clusters={model.n_clusters} in the first call of "
            "partial_fit, whose rows the centers start from. Pass more rows at first, or use "
            "fewer clusters."
        )
    random_state = check_random_state(model.random_state)
    start_rows = _start_rows(model, n_rows)
    problem = _open(model, rows)
    names = getattr(model, "feature_names_in_", None)
    warn_of_one_column(problem, names)
    seed = draw_seed(random_state)
    begin = _Start(model, _placed(start, problem), 1, start_rows, random_state, rows.place)
    return problem, State.begin(_first_centers(problem, begin, seed), seed)


def go_on(model: Any, rows: BatchRows) -> tuple[Training | None, State]:
    """More rows of a stream, None where no weight is in them, and the state before."""
    state: State = model._state
    if model.n_clusters != state.n_clusters:
        raise ValueError(
            f"n_clusters={model.n_clusters}, but the model has {state.n_clusters} centers, which "
            "partial_fit goes on from. Set it back, or begin anew with a clone of the model."
        )
    if rows.dtype != state.dtype:
        raise ValueError(
            f"X has dtype {rows.dtype}, but the centers that partial_fit goes on from have "
            f"{state.dtype}. Convert X first, for example with X.astype({state.dtype!r})."
        )
    problem = rows.batch(state.n_clusters, who=type(model).__name__)
    if problem is None:
        return None, replace(state, steps=state.steps + 1)
    return problem, state


def update(model: Any, problem: Training, state: State) -> Outcome:
    """One step of a stream, and labels of its rows where asked for."""
    made = step(problem, state, float(model.reassignment_ratio))
    if model.verbose and made.reassigned:
        print(_reassigned(made))
    middle = tuple(problem.extent.middle.tolist())
    centers = made.state.centers(problem.context)
    n_rows = problem.source.n_rows
    outcome = Outcome(made.state, Status.OPEN, made.kernel, middle, n_rows, centers)
    return _labelled(problem, outcome) if model.compute_labels else outcome


def _labelled(problem: Training, outcome: Outcome) -> Outcome:
    problem.cover(outcome.centers)
    labels, value = labels_and_inertia(problem, outcome.centers)
    return replace(outcome, labels=labels, inertia=value)


def _open(model: Any, rows: Rows) -> Training:
    return rows.training(
        model.n_clusters,
        who=type(model).__name__,
        # for the tolerance, and for the warning of a column that decides
        variance=model.tol > 0 or rows.n_features > 1,
    )


def _start_rows(model: Any, n_rows: int) -> int:
    """How many rows the centers start among, with scikit-learn's rules and its warning."""
    size = model.init_size
    if size is None:
        size = _SHARE * min(model.batch_size, n_rows)
        size = size if size >= model.n_clusters else _SHARE * model.n_clusters
    elif size < model.n_clusters:
        warn(
            f"init_size={size} should be larger than n_clusters={model.n_clusters}. Setting it to "
            "min(3*n_clusters, n_samples)",
            RuntimeWarning,
        )
        size = _SHARE * model.n_clusters
    return min(int(size), n_rows)


def _placed(start: Array | None, problem: Training) -> Array | None:
    """Given centers where the work happens, in the dtype of the rows."""
    if start is None:
        return None
    return place_centers(start, problem.context, problem.dtype, problem.source.n_features)


def _first_centers(problem: Training, begin: _Start, seed: int) -> Array:
    """The best of some starts by what they leave on rows drawn for that; the first among equals."""
    if begin.given is not None:
        return begin.given
    sampler, k = Sampler(problem), begin.model.n_clusters
    judge: Callable[[Array], float] | None = None
    if begin.runs > 1 or begin.model.verbose:
        drawn = sampler.batch(sampler.rows(0, begin.n_rows, seed, Purpose.VALIDATION))
        valid = open_batch(drawn, k, problem.context)

        def judge(centers: Array) -> float:
            valid.cover(centers)
            return inertia_of(valid, centers)

    found: list[tuple[float, int, Array]] = []
    for number in range(begin.runs):
        centers = _start_once(problem, sampler, begin, mix(seed, Purpose.RUN, number))
        value = 0.0 if judge is None else judge(centers)
        if begin.model.verbose:
            print(f"Inertia for init {number + 1}/{begin.runs}: {value}")
        found.append((value, number, centers))
    return min(found, key=lambda one: one[:2])[2]


def _start_once(problem: Training, sampler: Sampler, begin: _Start, seed: int) -> Array:
    init, k, place = begin.model.init, begin.model.n_clusters, begin.place
    rows = problem
    if begin.n_rows < problem.summary.n_positive:
        rows = open_batch(sampler.distinct(begin.n_rows, seed), k, problem.context)
    if isinstance(init, str):
        with rows.source.working():
            return rows.within_memory(lambda: seed_centers(rows, init, k, seed))
    x = place.send_home(rows.source.take(range(rows.source.n_rows)))
    return called_centers(init, x, k, begin.random_state, problem, place)


def _total_weight(problem: Training) -> float:
    """The sum of all weights, rounded once."""
    if problem.summary.weight_grid is None:
        return float(problem.source.n_rows)
    parts = problem.source.map(lambda block: _exact_parts(to_host(block.weight)))
    half = problem.weight_exponent // 2
    total = math.fsum(itertools.chain.from_iterable(parts)) * math.ldexp(1.0, half)
    return total * math.ldexp(1.0, problem.weight_exponent - half)


def _exact_parts(values: Array) -> list[float]:
    """A few numbers that add up to the same sum, with nothing rounded."""
    parts: list[float] = []
    while rest := math.fsum(itertools.chain(values, (-part for part in parts))):
        parts.append(rest)
    return parts


def _observer(
    n_steps: int, log: BatchLogbook | None, *, aloud: bool
) -> Callable[[Step, Point], None]:
    """Keep how far the run has come, and say what there is to say."""

    def observe(made: Step, point: Point) -> None:
        if log is not None:
            log.keep(point)
        if aloud:
            _say(made, point, n_steps)

    return observe


def _say(made: Step, point: Point, n_steps: int) -> None:
    """Say what scikit-learn says of each batch."""
    endings = {
        Status.TOLERANCE: "small centers change",
        Status.NO_IMPROVEMENT: "lack of improvement in inertia",
    }
    if made.reassigned:
        print(_reassigned(made))
    course = point.course
    where = f"step {made.state.steps}/{n_steps}"
    smoothed = "" if course.average is None else f", ewa inertia: {course.average}"
    print(f"Minibatch {where}: mean batch inertia: {course.last}{smoothed}")
    if point.verdict is not None:
        print(f"Converged ({endings[point.verdict]}) at {where}")


def _reassigned(made: Step) -> str:
    return f"[MiniBatchKMeans] Reassigning {made.reassigned} cluster centers."
