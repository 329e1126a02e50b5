"""A data set made ready for passes: rows, kernel, and how distances to them are measured."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ._backend import Context, dtype_name, to_host
from ._distances import Scale
from ._exact import LEAST_EXPONENT, exponent_above, to_device
from ._kernels import LEAST_ROWS, METER, Kind, Plan, Shape, load, select
from ._ledger import Ledger
from ._memory import memory_errors, shrink, too_little
from ._primitives import FLOAT32_REACH, Nearest
from ._pruning import Pruner
from ._sources import MemorySource
from ._stats import Extent, Summary, summarise, survey
from ._threads import thread_count
from ._typing import Array, Kernel, Source, T, some

_HIGH_OPEN_SHARE = 0.25


@dataclass(frozen=True)
class Frame:
    """How distances to some centers are measured: the canonical scale, and the products'."""

    scale: Scale
    shift: Array | None
    reach: float


@dataclass
class Problem:
    """Rows made ready for passes: where they come from, the kernel, and where they lie."""

    source: Source
    kernel: Kernel
    context: Context
    plan: Plan
    extent: Extent
    first: str
    weight_exponent: int
    shape: Shape

    frame: Frame = field(init=False)
    is_wide: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._measure(self.extent)

    def within_memory(self, task: Callable[[], T], /) -> T:
        """Do a task; where the device's memory is too small, again with smaller blocks.

        They know nothing of what was done before, so the task must begin by itself.
        """
        while True:
            try:
                return task()
            except memory_errors(self.context, self.plan.kernel) as error:
                reason = str(error)
            # here, where the error no longer holds what it was raised over
            self._take(shrink(self.plan, self.source, self.shape, reason))

    def _take(self, plan: Plan) -> None:
        self.plan = plan

    def cover(self, centers: Array, /) -> None:
        """Measure for centers that may lie outside the rows; their means will not."""
        points = to_host(centers).astype(np.float64)
        outside = bool((points < self.extent.low).any() or (points > self.extent.high).any())
        if outside or self.is_wide:
            self._measure(self.extent.including(points))
        self.is_wide = outside

    def uncover(self) -> None:
        """Measure for the rows again, as before any centers were covered."""
        if self.is_wide:
            self._measure(self.extent)
            self.is_wide = False

    def _measure(self, extent: Extent) -> None:
        source = self.source
        # a shift would leave no place of a sparse matrix empty
        shift = None if source.is_stored else extent.shift()
        on_device = None if shift is None else to_device(shift, source.sample, xp=source.xp)
        self.frame = Frame(extent.scale(), on_device, extent.reach(shift))

    def nearest_to(
        self, centers: Array, /, *, screens: bool = True, scale: Scale | None = None
    ) -> Nearest:
        """Prepare the question which of ``centers`` is nearest (by products, if it screens).

        Distances are in units of the frame's scale unless another is given.
        """
        frame, first = self.frame, self.first
        scale = scale or frame.scale
        if first == "float32" and not (
            scale.factor == 1.0 and FLOAT32_REACH[0] <= frame.reach <= FLOAT32_REACH[1]
        ):
            first = "float64"
        if first == "float64" and not self._scores_are_finite(scale):
            first = "exact"
        nearest = Nearest(centers, frame.shift, scale, frame.reach, first)
        if screens and first != "exact" and self.plan.threads > 1:
            # built here, not by the first of them
            self.kernel.prepare(nearest)
        return nearest

    def _scores_are_finite(self, scale: Scale, /) -> bool:
        """Whether no product overflows: a center that loses by infinity may be the nearest."""
        longest = math.sqrt(self.source.n_features) * self.frame.reach * scale.factor
        return 2.0 * longest <= 2.0**510

    def label_scale(self, centers: Array, /) -> Scale:
        """The scale that labels are judged in: of the centers alone, whatever the rows.

        Rows so far away that their squares overflow in it cannot tell the centers apart.
        """
        points = to_host(centers).astype(np.float64)
        return Extent(points.min(axis=0), points.max(axis=0), points[0, :]).scale()

    def learn(self, open_rows: int, scored: int) -> None:
        """Start at the next precision when the first one leaves many of its rows open."""
        few = scored < _HIGH_OPEN_SHARE * self.source.n_rows
        if self.first == "float32" and not few and open_rows > _HIGH_OPEN_SHARE * scored:
            self.first = "float64"


@dataclass
class Training(Problem):
    """A problem whose centers are sought: with the ledger that turns sums into centers."""

    summary: Summary = field(kw_only=True)
    ledger: Ledger = field(kw_only=True)
    dtype: str = field(kw_only=True)
    pruner: Pruner = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        plan = self.plan
        self.pruner = Pruner(plan.prunes, self.context.xp, plan.group_size, late=plan.prunes_late)

    def _take(self, plan: Plan) -> None:
        super()._take(plan)
        self.pruner.group_size = plan.group_size

    def over(self, x: Array, weight: Array, n_clusters: int, /) -> Training:
        """The same question about other rows on the same device."""
        return training_problem(x, weight, self.context, n_clusters)


def training_problem(
    x: Array,
    weight: Array | None,
    context: Context,
    n_clusters: int,
    *,
    variance: bool = False,
    plan: Plan | None = None,
    fits: float = 1.0,
) -> Training:
    """Take the statistics pass over rows in memory and set up what so many fits need."""
    plan, source = _open(x, weight, context, n_clusters, plan, fits)
    return training_over(source, plan, n_clusters, variance=variance)


def training_over(
    source: Source, plan: Plan, n_clusters: int, /, *, variance: bool = False
) -> Training:
    """As `training_problem`, over a source that was cut by this plan."""
    context, shape = source.context, _shape_of(source, n_clusters)
    kernel = load(plan, context)
    take = functools.partial(
        summarise,
        source,
        kernel.surveyor,
        shape.dtype,
        weighted=source.weight_exponent is not None,
        variance=variance,
    )
    summary, plan = _survey_within_memory(take, plan, source, shape)
    return Training(
        source,
        kernel,
        context,
        plan,
        summary.extent,
        plan.first,
        source.weight_exponent or 0,
        shape,
        summary=summary,
        ledger=Ledger(
            summary, source.sample, source.n_rows, context.xp, kernel.means, kernel.widened
        ),
        dtype=shape.dtype,
    )


def training_part(source: Source, n_clusters: int, /, *, fits: float = 1.0) -> Training:
    """As `training_problem`, over a source that nothing was planned for, on one thread."""
    shape = _shape_of(source, n_clusters)
    kind = Kind(shape.dtype, True)
    plan = plan_for(shape, source.context, kind, fits=fits, stored=source.is_stored)
    source.cut(plan.block_rows, plan.piece_rows)
    return training_over(source, replace(plan, threads=1), n_clusters)


def query_problem(
    x: Array,
    weight: Array | None,
    context: Context,
    n_clusters: int,
    middle: Sequence[float],
    *,
    plan: Plan | None = None,
) -> Problem:
    """Set up questions about known centers: predict and score."""
    plan, source = _open(x, weight, context, n_clusters, plan)
    return query_over(source, plan, n_clusters, middle)


def query_over(source: Source, plan: Plan, n_clusters: int, middle: Sequence[float], /) -> Problem:
    """As `query_problem`, over a source that was cut by this plan."""
    shape = _shape_of(source, n_clusters)
    kernel = load(plan, source.context)
    take = functools.partial(survey, source, np.asarray(middle, dtype=np.float64), kernel.surveyor)
    extent, plan = _survey_within_memory(take, plan, source, shape)
    exponent = source.weight_exponent or 0
    return Problem(source, kernel, source.context, plan, extent, plan.first, exponent, shape)


def _survey_within_memory(
    take: Callable[[], T], plan: Plan, source: Source, shape: Shape
) -> tuple[T, Plan]:
    """What a pass finds before there is a problem, and the plan that it was possible with."""
    while True:
        try:
            with source.working():
                return take(), plan
        except memory_errors(source.context, plan.kernel) as error:
            reason = str(error)
        plan = shrink(plan, source, shape, reason)


def bring(
    x: Array, context: Context, n_clusters: int, /, *, positions: Array | None = None
) -> Array:
    """Rows, or those at some positions, where the work happens; one error when a GPU has no room.

    Rows of which some are taken are there.
    """
    try:
        return context.move(x) if positions is None else some(x, positions, xp=context.xp)
    except MemoryError as error:
        if context.gpu is None:
            raise
        reason = str(error)
    n_rows = int((x if positions is None else positions).shape[0])
    shape = Shape(n_rows, int(x.shape[1]), n_clusters, dtype_name(x))
    raise too_little(context, shape, LEAST_ROWS, reason)


def _shape_of(source: Source, n_clusters: int) -> Shape:
    return Shape(source.n_rows, source.n_features, n_clusters, dtype_name(source.sample))


def unit_weights(weight: Array | None, context: Context, /) -> tuple[Array | None, int | None]:
    """Weights of at most 1, and the exponent that was taken out: products cannot overflow."""
    if weight is None:
        return None, None
    exponent = exponent_above(float(context.xp.max(weight)))
    half = exponent // 2
    # in two steps: 2**-1024 is no normal number
    return weight * math.ldexp(1.0, -half) * math.ldexp(1.0, half - exponent), exponent


def largest_exponent(problem: Training, /) -> int:
    """Which power of two the weights do not pass: 0, but where `unit_weights` came to its least."""
    if problem.weight_exponent > LEAST_EXPONENT:
        return 0
    xp = problem.context.xp
    return exponent_above(max(problem.source.map(lambda block: float(xp.max(block.weight)))))


def plan_for(
    shape: Shape, context: Context, kind: Kind, /, *, fits: float = 1.0, stored: bool = False
) -> Plan:
    """The plan for so many fits of rows of this shape; ``kind`` is that of the rows of a block.

    ``stored``: see `select`.
    """
    threads, is_host = thread_count(), context.backend == "numpy"
    if stored:
        return select(shape, backend=context.backend, threads=threads, stored=True)
    return select(
        shape,
        backend=context.backend,
        threads=threads,
        float32_products=context.float32_products_are_exact,
        compiled=is_host and METER.wants(shape, threads, kind, fits),
    )


def _open(
    x: Array,
    weight: Array | None,
    context: Context,
    n_clusters: int,
    plan: Plan | None,
    fits: float = 1.0,
) -> tuple[Plan, MemorySource]:
    weight, exponent = unit_weights(weight, context)
    if plan is None:
        shape = Shape(int(x.shape[0]), int(x.shape[1]), n_clusters, dtype_name(x))
        # the kind of rows is a question that only NumPy's arrays answer
        kind = Kind.of(x) if context.backend == "numpy" else Kind(shape.dtype, True)
        plan = plan_for(shape, context, kind, fits=fits)
    source = MemorySource(
        x,
        weight,
        context,
        block_rows=plan.block_rows,
        piece_rows=plan.piece_rows,
        threads=plan.threads,
        weight_exponent=exponent,
    )
    return plan, source


def as_centers(means: Array, problem: Training, /) -> Array:
    """Round float64 means once to the dtype of the results."""
    return problem.kernel.rounded(means, problem.dtype)
