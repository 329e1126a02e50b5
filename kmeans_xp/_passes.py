"""The passes over rows that the loop is made of; each leaves something that adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from . import _exact as exact
from ._backend import Context, dtype_name, thread_count, to_host
from ._kernels import Plan, Shape, load, select
from ._primitives import Nearest, squared_distances
from ._sources import MemorySource
from ._stats import Extent, Ledger, Stats, Summary, summarise, survey, weigh
from ._typing import Array, Block, Kernel, Namespace

_INERTIA_LIMBS = 2
_HIGH_OPEN_SHARE = 0.25


@dataclass
class Problem:
    """Rows made ready for passes: where they come from, the kernel, and where they lie."""

    source: MemorySource
    kernel: Kernel
    context: Context
    plan: Plan
    extent: Extent
    first: str

    def nearest_to(self, centers: Array, /) -> Nearest:
        """Prepare the question which of ``centers`` is nearest."""
        xp, extent = self.context.xp, self.extent
        host = to_host(centers).astype(np.float64)
        middle = extent.middle
        if self.first == "float32":
            # rounded here, so that float32 rows lose nothing by the shift
            middle = middle.astype(np.float32).astype(np.float64)
            extent = replace(extent, middle=middle)
        nearest = Nearest(
            centers=centers,
            shift=exact.to_device(middle, centers, xp=xp),
            scale=extent.scale_for(host),
            reach=extent.reach_for(host),
            first=self.first,
        )
        if self.first != "exact":
            # built here, not by the first of several threads
            nearest.rung(self.first, xp=xp)
        return nearest

    def learn(self, open_rows: int) -> None:
        """Start at the next precision when the first one leaves many rows open."""
        if self.first == "float32" and open_rows > _HIGH_OPEN_SHARE * self.source.n_rows:
            self.first = "float64"


@dataclass
class Training(Problem):
    """A problem whose centers are sought: with the ledger that turns sums into centers."""

    summary: Summary
    ledger: Ledger
    dtype: str

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
) -> Training:
    """Take the statistics pass over rows in memory and set up what a fit needs."""
    plan, source = _open(x, weight, context, n_clusters, plan)
    dtype = dtype_name(x)
    with source.working():
        summary = summarise(source, dtype, weighted=weight is not None, variance=variance)
    return Training(
        source,
        load(plan, context),
        context,
        plan,
        summary.extent,
        plan.first,
        summary,
        Ledger(summary, x, context.xp),
        dtype,
    )


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
    with source.working():
        extent = survey(source, np.asarray(middle, dtype=np.float64))
    return Problem(source, load(plan, context), context, plan, extent, plan.first)


def _open(
    x: Array, weight: Array | None, context: Context, n_clusters: int, plan: Plan | None
) -> tuple[Plan, MemorySource]:
    if plan is None:
        plan = select(
            Shape(int(x.shape[0]), int(x.shape[1]), n_clusters, dtype_name(x)),
            backend=context.backend,
            threads=thread_count(),
            float32_products=context.float32_products_are_exact,
        )
    return plan, MemorySource(x, weight, context, plan.block_rows, plan.threads)


def sweep(problem: Training, nearest: Nearest, n_clusters: int, /) -> Stats:
    """Assign every row, remember its label, and leave what changed."""

    def task(block: Block) -> Stats | None:
        labels, open_rows = problem.kernel.assign(block.x, nearest)
        before = block.state.get("labels")
        block.state["labels"] = labels
        return _difference(problem, block, before, labels, n_clusters, open_rows)

    return total_stats(problem, problem.source.map(task), n_clusters)


def total_stats(problem: Training, parts: list[Stats | None], n_clusters: int, /) -> Stats:
    """Add up the parts; None stands for a block in which nothing changed."""
    found = [part for part in parts if part is not None]
    if not found:
        return zero_stats(problem, n_clusters)
    total, *rest = found
    for part in rest:
        total = total + part
    return total


def zero_stats(problem: Training, n_clusters: int, /) -> Stats:
    xp, device = problem.context.xp, problem.context.device
    shape = (2, n_clusters, problem.ledger.n_columns)
    return Stats(xp.zeros(shape, dtype=xp.int64, device=device), 0, 0, xp)


def _difference(
    problem: Training,
    block: Block,
    before: Array | None,
    labels: Array,
    n_clusters: int,
    open_rows: int,
) -> Stats | None:
    """Exact sums of the rows that changed: added to their new cluster, taken from the old."""
    xp, ledger, kernel = problem.context.xp, problem.ledger, problem.kernel
    if before is None:
        columns = ledger.columns(block.x, block.weight)
        sums = kernel.group_sums(columns, labels, n_clusters)
        return Stats(exact.widen(sums, xp=xp), _carrying(block, None, xp), open_rows, xp)
    moved = labels != before
    count = int(xp.sum(xp.astype(moved, xp.int64)))
    if count == 0:
        return None
    rows, valid = kernel.compress(moved, count)
    weight = None if block.weight is None else xp.take(block.weight, rows)
    columns = ledger.columns(xp.take(block.x, rows, axis=0), weight)
    if valid is not None:
        columns = columns * xp.astype(valid, xp.float64)[:, None]
    sums = kernel.group_sums(
        xp.concat([columns, -columns], axis=0),
        xp.concat([xp.take(labels, rows), xp.take(before, rows)]),
        n_clusters,
    )
    changed = count if weight is None else _carrying(block, moved, xp)
    return Stats(exact.widen(sums, xp=xp), changed, open_rows, xp)


def _carrying(block: Block, chosen: Array | None, xp: Namespace) -> int:
    """How many (chosen) rows carry weight."""
    if block.weight is None:
        return block.n_rows
    positive = block.weight > 0.0
    positive = positive if chosen is None else positive & chosen
    return int(xp.sum(xp.astype(positive, xp.int64)))


def relabel(problem: Problem, nearest: Nearest, /) -> None:
    """Assign every row without summing."""

    def task(block: Block) -> None:
        block.state["labels"], _ = problem.kernel.assign(block.x, nearest)

    problem.source.map(task)


def own_distances(block: Block, nearest: Nearest, labels: Array, /, *, xp: Namespace) -> Array:
    """Canonical squared distance of each row to the center of its label."""
    mine = xp.take(nearest.centers, labels, axis=0)
    return squared_distances(block.x, mine, nearest.scale, xp=xp)


def inertia(problem: Problem, nearest: Nearest, /) -> float:
    """Weighted sum of squared distances to the own center: exact, rounded once."""
    xp = problem.context.xp

    def largest(block: Block) -> float:
        distances = own_distances(block, nearest, block.state["labels"], xp=xp)
        block.state["own"] = weigh(distances, block.weight, xp=xp)
        return float(xp.max(block.state["own"]))

    grid = exact.Grid((exact.exponent_above(max(problem.source.map(largest))),), _INERTIA_LIMBS)
    up = float(grid.up[0])

    def add(block: Block) -> int:
        own = block.state.pop("own")
        parts = exact.quantise(own, up, _INERTIA_LIMBS, xp=xp)
        high, low = to_host(exact.exact_column_sums(xp.stack(parts, axis=1), xp=xp)).tolist()
        return int((high << exact.LIMB_BITS) + low)

    total = sum(problem.source.map(add))
    value = math.ldexp(float(total), -exact.LIMB_BITS) * float(grid.down[0])
    return value / nearest.scale.squared if nearest.scale.squared else value


def used_clusters(problem: Problem, n_clusters: int, /) -> int:
    """How many clusters have a row (of any weight)."""
    xp = problem.context.xp

    def task(block: Block) -> Array:
        labels = block.state["labels"]
        ones = xp.ones((block.n_rows, 1), dtype=xp.float64, device=problem.context.device)
        return problem.kernel.group_sums(ones, labels, n_clusters)[:, 0]

    first, *rest = problem.source.map(task)
    for part in rest:
        first = first + part
    return int(xp.sum(xp.astype(first > 0, xp.int64)))


@dataclass(frozen=True, order=True)
class Far:
    """A row far from its center; sorts by distance, largest first, then by row."""

    nearness: float
    row: int
    label: int


def farthest(problem: Training, nearest: Nearest, count: int, /) -> list[Far]:
    """Find the ``count`` weighted rows that gain most by a center of their own.

    A row is left out when a cluster of its own would bring it no nearer: its center then
    stands where its own would, so that moving it could go on for ever.
    """
    xp = problem.context.xp

    def task(block: Block) -> list[Far]:
        distances = own_distances(block, nearest, block.state["labels"], xp=xp)
        alone = as_centers(problem.ledger.alone(block.x, block.weight), problem)
        gains = squared_distances(block.x, alone, nearest.scale, xp=xp) < distances
        if block.weight is not None:
            gains = gains & (block.weight > 0.0)
        distances = xp.where(gains, distances, xp.full_like(distances, -1.0))
        order = xp.argsort(-distances, stable=True)[: min(count, block.n_rows)]
        chosen = [to_host(xp.take(part, order)) for part in (distances, block.state["labels"])]
        rows = to_host(order) + block.start
        found = zip(chosen[0].tolist(), rows.tolist(), chosen[1].tolist(), strict=True)
        return [Far(-distance, row, label) for distance, row, label in found if distance > 0.0]

    found = sorted(far for part in problem.source.map(task) for far in part)
    return found[:count]


def as_centers(means: Array, problem: Training, /) -> Array:
    """Round float64 means once to the dtype of the results."""
    return problem.context.xp.astype(means, getattr(problem.context.xp, problem.dtype))


def host_counts(problem: Training, totals: Array, /) -> list[int]:
    return [int(count) for count in to_host(problem.ledger.counts(totals))]
