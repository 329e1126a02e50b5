"""Mini-batches: each center is the running mean of the rows that it was given.

A step is a function of the rows of a batch and of the state before it, wherever the rows come
from: the same batches give the same bits.  Labels and the sums of a batch are exact; the state is
float64 on the host, and worked on there, one operation at a time.

Source: D. Sculley, "Web-scale k-means clustering", WWW 2010.  That starved centers are put
elsewhere, and when a run ends early, is as in scikit-learn's ``MiniBatchKMeans``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from . import _exact as exact
from ._assign import relabel
from ._backend import Context, numpy_context, to_host
from ._distances import Scale, halving_total, squared_distances
from ._draws import distinct_rows
from ._kernels import ONE_SWEEP
from ._outcome import Status
from ._passes import add_rows, inertia
from ._primitives import Nearest
from ._problem import Training, training_part, training_problem
from ._random import Purpose, mix
from ._stats import Host
from ._typing import Array, Block, Source

_LOOKS = 10  # rows for each center between two looks for starved ones
_BELOW_ALL = -1200  # exponent of no weight
NUMBERS = ("exponent", "dtype", "seed", "steps", "rows_since")
"""What is plain in a `State`, for files."""


@dataclass(frozen=True)
class State:
    """What the batches so far left."""

    means: Host  # (k, d) of the rows that each center was given
    mass: Host  # (k,) their weight, in units of 2**exponent
    exponent: int
    dtype: str  # of the centers
    seed: int
    steps: int = 0
    rows_since: int = 0  # the last look for starved centers

    @classmethod
    def begin(cls, centers: Array, seed: int, /) -> State:
        """Centers that were given no row yet."""
        start = to_host(centers)
        mass = np.zeros(len(start))
        return cls(start.astype(np.float64), mass, _BELOW_ALL, str(start.dtype), seed)

    @property
    def n_clusters(self) -> int:
        return len(self.mass)

    def centers(self, context: Context, /) -> Array:
        """The means, rounded once, where the work happens."""
        return context.from_host(self.means.astype(self.dtype))


class Batch(NamedTuple):
    """Rows where the work happens, and their weights (float64) if they have any.

    Rows that are not to lie side by side come as a source.
    """

    x: Array
    weight: Array | None
    source: Source | None = None

    def piece(self, part: slice, /) -> Batch:
        """Some of the rows of a batch without weights."""
        if self.source is None:
            return Batch(self.x[part, :], None)
        return Batch(None, None, self.source.part(range(part.start, part.stop)))


@dataclass(frozen=True)
class Step:
    """What a batch left: the state after it, and its inertia under the centers before."""

    state: State
    inertia: float
    reassigned: int
    moved: float  # summed squared movements of the centers, in units of `scale`
    scale: Scale
    kernel: str


def open_batch(batch: Batch, n_clusters: int, context: Context, /) -> Training:
    """Take the statistics pass over a batch; some row must carry weight."""
    if batch.source is not None:
        return training_part(batch.source, n_clusters, fits=ONE_SWEEP)
    return training_problem(batch.x, batch.weight, context, n_clusters, fits=ONE_SWEEP)


def step(problem: Training, state: State, ratio: float, /) -> Step:
    """Give the rows of a batch to their nearest centers, which move to the mean of all they had.

    ``ratio``: a center with less than this share of the heaviest one's weight is starved.
    """
    centers = state.centers(problem.context)
    problem.cover(centers)
    nearest = problem.nearest_to(centers)

    def task() -> tuple[float, Array]:
        relabel(problem, nearest)
        return inertia(problem, nearest), _totals(problem, state.n_clusters)

    with problem.source.working():
        value, totals = problem.within_memory(task)
    fed = _feed(problem, state, totals)
    look = _LOOKS * state.n_clusters <= fed.rows_since or not state.mass.all()
    after, count = _reassign(problem, fed, ratio) if look else (fed, 0)
    moved = _movement(state, after, nearest)
    return Step(after, value, count, moved, nearest.scale, problem.plan.kernel)


def _totals(problem: Training, n_clusters: int) -> Array:
    """Exact sums of the batch's rows by label."""

    def task(block: Block, sums: exact.Accumulator) -> None:
        add_rows(problem, block, block.state["labels"], n_clusters, sums)

    return problem.source.add_up(task, problem.ledger.words)[1]


def _feed(problem: Training, state: State, totals: Array) -> State:
    """Move each mean by its batch's share of all the weight that the center was given."""
    ledger = problem.ledger
    means = to_host(ledger.means(totals, ledger.counts(totals)))
    mass, exponent = to_host(ledger.masses(totals)), problem.weight_exponent
    top = max(state.exponent, exponent)
    before = state.mass * math.ldexp(1.0, state.exponent - top)
    new = mass * math.ldexp(1.0, exponent - top)
    after, is_fed, is_first = before + new, new > 0.0, before == 0.0
    share = new / np.where(is_fed, after, 1.0)
    # by halves: the difference of two numbers near the largest overflows
    half = (0.5 * means - 0.5 * state.means) * share[:, None]
    moved = np.where(is_first[:, None], means, state.means + half + half)
    return replace(
        state,
        means=np.where(is_fed[:, None], moved, state.means),
        mass=after,
        exponent=top,
        steps=state.steps + 1,
        rows_since=state.rows_since + problem.source.n_rows,
    )


def _reassign(problem: Training, state: State, ratio: float) -> tuple[State, int]:
    """Put starved centers on rows of the batch, drawn by weight; how many were.

    No more than half of the rows are taken, by the lightest centers, and the heaviest stays.
    """
    mass, rested = state.mass, replace(state, rows_since=0)
    order = np.argsort(mass, kind="stable")
    starved = order[mass[order] < ratio * mass.max()]
    count = min(len(starved), problem.summary.n_positive // 2, len(mass) - 1)
    if count == 0:
        return rested, 0
    chosen, others = np.sort(starved[:count]), order[count:]
    rows = distinct_rows(problem, count, mix(state.seed, Purpose.REASSIGN, state.steps))
    means, weights = state.means.copy(), mass.copy()
    means[chosen] = to_host(problem.source.take(rows))
    # as much as the lightest of the others has: it is not starved again at once
    weights[chosen] = mass[others].min()
    return replace(rested, means=means, mass=weights), count


def _movement(before: State, after: State, nearest: Nearest) -> float:
    """Summed squared movements of the centers, in units of the batch's scale."""
    old, new = (state.means.astype(state.dtype) for state in (before, after))
    return halving_total(squared_distances(new, old, nearest.scale, xp=numpy_context().xp))


@dataclass(frozen=True)
class Course:
    """How the inertia of a row went over the batches so far."""

    last: float | None = None
    average: float | None = None  # smoothed
    lowest: float = math.inf  # average
    waited: int = 0  # batches since then


@dataclass(frozen=True)
class Point:
    """A run between two batches, from which it goes on to the same end."""

    state: State
    course: Course = Course()
    verdict: Status | None = None  # why it ends here; None where it goes on


class Monitor:
    """Two reasons to end early: the centers rest, or the batches' inertia no longer falls.

    The inertia of a row is smoothed over batches by an exponentially weighted average, whose first
    batch is left out: its inertia is that of the starts.

    Parameters
    ----------
    n_rows, batch_rows : of the data, and of a batch
    tolerance : the largest squared movement that is rest, in units of a scale; None for no limit
    patience : batches in a row without a new lowest average; None for no limit
    """

    def __init__(
        self,
        n_rows: int,
        batch_rows: int,
        tolerance: Callable[[Scale], float] | None,
        patience: int | None,
    ) -> None:
        self._batch_rows, self._tolerance, self._patience = batch_rows, tolerance, patience
        self._alpha = min(1.0, 2.0 * batch_rows / (n_rows + 1))

    def judge(self, made: Step, course: Course, /) -> Point:
        """Where a step leads, after the batches before it."""
        last = made.inertia / self._batch_rows
        if course.last is None:
            return Point(made.state, replace(course, last=last))
        old = last if course.average is None else course.average
        average = old * (1.0 - self._alpha) + last * self._alpha
        is_lower = average < course.lowest
        course = Course(
            last, average, min(course.lowest, average), 0 if is_lower else course.waited + 1
        )
        return Point(made.state, course, self._verdict(made, course))

    def _verdict(self, made: Step, course: Course) -> Status | None:
        if self._tolerance is not None and made.moved <= self._tolerance(made.scale):
            return Status.TOLERANCE
        if self._patience is not None and course.waited >= self._patience:
            return Status.NO_IMPROVEMENT
        return None


@dataclass(frozen=True)
class Run:
    """Where a run over batches ended."""

    point: Point
    status: Status
    kernel: str


def run(
    batches: Iterable[Batch],
    point: Point,
    ratio: float,
    monitor: Monitor,
    context: Context,
    observe: Callable[[Step, Point], None],
) -> Run:
    """Take batch after batch until there is none, the monitor ends it, or Ctrl-C comes."""
    kernel, remaining = "", iter(batches)
    try:
        while point.verdict is None and (batch := next(remaining, None)) is not None:
            made = step(open_batch(batch, point.state.n_clusters, context), point.state, ratio)
            kernel = made.kernel
            # all at once, so that Ctrl-C finds a state and what was noted of it together
            point = monitor.judge(made, point.course)
            observe(made, point)
        status = point.verdict or Status.MAX_ITER
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    return Run(point, status, kernel)
