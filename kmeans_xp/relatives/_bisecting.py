"""Bisecting k-means: one cluster after another is parted in two by the loop that all fits share.

Cluster 0 is all rows, and bisection t makes clusters 2t + 1 and 2t + 2 of one that is there.  Draws
are keyed by the way from cluster 0 to the one that is parted, so that its halves depend on neither
the order of bisections nor their number: fewer clusters are the upper part of the same tree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from .. import _exact as exact
from .._backend import Context, to_host
from .._distances import Scale
from .._outcome import Result, Rules, Status
from .._passes import inertia
from .._problem import Problem, Training, bring, training_problem
from .._random import Purpose, mix
from .._solver import lloyd
from .._typing import Array, Block, Namespace
from ..estimators._run import best_of
from ._linkage import Host, linkage_of

Splits = tuple[int, ...]
Start = Callable[[Training, Array, int], Array]
"""Two centers for some rows (m, d) that pose a problem, by a seed."""

_ORDER = (Status.CONVERGED, Status.TOLERANCE, Status.MAX_ITER)


@dataclass(frozen=True)
class Ask:
    """How the rows are to be parted."""

    n_clusters: int
    start: Start
    runs: int
    rules: Rules
    by_weight: bool  # the heaviest cluster first, not the one of the largest inertia


@dataclass(frozen=True)
class Cluster:
    """What is known of a cluster; its rows (m,) are positions in order, None are all."""

    rows: Array | None
    seed: int
    inertia: float
    weight: float
    n_positive: int


@dataclass(frozen=True)
class Parted:
    """A bisection: which cluster, into what, and how far the loop went."""

    cluster: int
    halves: tuple[Cluster, Cluster]
    status: Status
    n_iter: int


@dataclass
class Tree:
    """Clusters as far as they were parted; it is whole between any two steps."""

    clusters: list[Cluster]
    centers: list[Array]  # (1, d), then (2, d) for each bisection
    made: list[Parted] = field(default_factory=list)
    leaves: list[int] = field(default_factory=lambda: [0])  # from left to right
    whole: set[int] = field(default_factory=set)  # that no start parts: equal rows, or one

    def next_leaf(self, by_weight: bool, /) -> int | None:
        """The leaf to part next, the leftmost among equals; None where none can be parted."""
        open_ = [leaf for leaf in self.leaves if leaf not in self.whole]
        clusters = self.clusters

        def worth(leaf: int) -> float:
            return clusters[leaf].weight if by_weight else clusters[leaf].inertia

        return max(open_, key=worth, default=None)

    def add(self, parted: Parted, centers: Array, /) -> None:
        """Put halves in the place of their whole."""
        first = len(self.clusters)
        self.centers.append(centers)
        # its rows are those of the halves
        self.clusters[parted.cluster] = replace(self.clusters[parted.cluster], rows=None)
        self.clusters += parted.halves
        place = self.leaves.index(parted.cluster)
        self.leaves[place : place + 1] = [first, first + 1]
        self.made.append(parted)

    @property
    def splits(self) -> Splits:
        """The cluster that each bisection parted."""
        return tuple(parted.cluster for parted in self.made)

    @property
    def heights(self) -> tuple[float, ...]:
        """The inertia of each of these."""
        return tuple(self.clusters[parted].inertia for parted in self.splits)

    @property
    def status(self) -> Status:
        """Of the bisections the one that came least far."""
        return max((parted.status for parted in self.made), key=_ORDER.index, default=_ORDER[0])


def begin(problem: Training, seed: int, /) -> Tree:
    """All rows as one cluster around their mean, by the loop as well."""
    with problem.source.working():
        first = problem.source.take([0])
        mean = problem.within_memory(lambda: lloyd(problem, first, Rules(None, 0.0), seed))
        if mean.status is Status.INTERRUPTED:
            raise KeyboardInterrupt(mean.status.value)
        weight, n_positive = problem.within_memory(lambda: _weights(problem, mean.labels, 1)[0])
    return Tree([Cluster(None, seed, mean.inertia, weight, n_positive)], [mean.centers])


def grow(
    tree: Tree, problem: Training, x: Array, weight: Array | None, ask: Ask, /
) -> Iterator[Parted]:
    """Part clusters until there are enough or none can be parted; tell of each bisection.

    ``problem`` is that of all rows, ``x`` and ``weight``.
    """
    while len(tree.leaves) < ask.n_clusters:
        number = tree.next_leaf(ask.by_weight)
        if number is None:
            return
        cluster = tree.clusters[number]
        found = None
        if cluster.n_positive > 1:
            mine = problem, x
            if cluster.rows is not None:
                mine = _posed(x, weight, cluster.rows, problem.context, ask.rules.tol > 0.0)
            found = _bisect(number, cluster, *mine, ask)
        if found is None:
            tree.whole.add(number)
        else:
            tree.add(*found)
            yield found[0]


def fill(tree: Tree, n_clusters: int, like: Array, /, *, xp: Namespace) -> None:
    """Part the last leaf into itself and a cluster without rows, until there are enough."""
    none = exact.to_device(np.empty(0, dtype=np.int64), like, xp=xp)
    while len(tree.leaves) < n_clusters:
        last = tree.leaves[-1]
        cluster = tree.clusters[last]
        empty = Cluster(none, cluster.seed, 0.0, 0.0, 0)
        center = tree.centers[0]
        if last:
            side = (last - 1) % 2
            center = tree.centers[(last + 1) // 2][side : side + 1, :]
        halves = Parted(last, (cluster, empty), Status.CONVERGED, 0)
        tree.add(halves, xp.concat([center, center], axis=0))


def leaf_labels(tree: Tree, n_rows: int, like: Array, /, *, xp: Namespace) -> Array:
    """The number (n,) of each row's leaf, from left to right."""
    parts = [rows for leaf in tree.leaves if (rows := tree.clusters[leaf].rows) is not None]
    if len(parts) < len(tree.leaves):
        # cluster 0 has all rows
        return exact.to_device(np.zeros(n_rows, dtype=np.int32), like, xp=xp)
    sizes = [int(rows.shape[0]) for rows in parts]
    labels = np.repeat(np.arange(len(parts), dtype=np.int32), sizes)
    return xp.take(exact.to_device(labels, like, xp=xp), xp.argsort(xp.concat(parts)))


def inertia_by(problem: Problem, centers: Array, labels: Array, /) -> float:
    """Weighted inertia of rows whose labels are known."""

    def task() -> float:
        _put(problem, labels)
        return inertia(problem, problem.nearest_to(centers, screens=False))

    with problem.source.working():
        problem.cover(centers)
        return problem.within_memory(task)


def descend(problem: Problem, centers: Array, splits: Splits, /) -> Array:
    """The cluster (n,) that each row comes to from 0, always by the nearer half, left if equal.

    ``centers`` (2k-1, d) are those of all clusters.  Each level is two canonical distances a row,
    in the scale that a bisection alone is judged in.
    """
    xp, kernel = problem.context.xp, problem.kernel
    levels, depth = _levels(problem, centers, splits)
    steps = [
        (problem.nearest_to(centers, screens=False, scale=scale), *tables)
        for scale, tables in levels.items()
    ]

    def task(block: Block) -> None:
        place = xp.zeros(block.n_rows, dtype=xp.int32, device=problem.context.device)
        for _ in range(depth):
            for nearest, left, right in steps:
                first, second = xp.take(left, place), xp.take(right, place)
                near = kernel.own_distances(block.x, nearest, first)
                far = kernel.own_distances(block.x, nearest, second)
                place = xp.where(far < near, second, first)
        block.state["labels"] = place

    def label() -> Array:
        problem.source.map(task)
        return problem.source.collect("labels")

    with problem.source.working():
        return problem.within_memory(label)


def leaves_of(splits: Splits, /) -> list[int]:
    """Clusters that were not parted, from left to right."""
    halves = {parted: 2 * number + 1 for number, parted in enumerate(splits)}
    found, waiting = [], [0]
    while waiting:
        cluster = waiting.pop()
        if cluster in halves:
            waiting += [halves[cluster] + 1, halves[cluster]]
        else:
            found.append(cluster)
    return found


def tree_linkage(splits: Splits, heights: Sequence[float], /) -> Host:
    """The tree from below; leaves are numbered from left to right."""
    leaves = leaves_of(splits)
    names = {leaf: number for number, leaf in enumerate(leaves)}
    pairs: list[tuple[int, int]] = []
    for number, parted in reversed(list(enumerate(splits))):
        pairs.append((names[2 * number + 1], names[2 * number + 2]))
        names[parted] = len(leaves) + len(pairs) - 1
    return linkage_of(pairs, heights[::-1])


def _levels(
    problem: Problem, centers: Array, splits: Splits
) -> tuple[dict[Scale, tuple[Array, Array]], int]:
    """For each scale the halves that a cluster's rows go to, itself where none; and the depth."""
    points, xp = to_host(centers), problem.context.xp
    own = np.arange(len(points), dtype=np.int32)
    tables: dict[Scale, tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]] = {}
    depths = np.zeros(len(points), dtype=np.int64)
    for number, parted in enumerate(splits):
        left, right = 2 * number + 1, 2 * number + 2
        depths[left : right + 1] = depths[parted] + 1
        scale = problem.label_scale(points[left : right + 1])
        if scale not in tables:
            tables[scale] = own.copy(), own.copy()
        lefts, rights = tables[scale]
        lefts[parted], rights[parted] = left, right

    def placed(table: npt.NDArray[np.int32]) -> Array:
        return exact.to_device(table, centers, xp=xp)

    levels = {scale: (placed(left), placed(right)) for scale, (left, right) in tables.items()}
    return levels, int(depths.max())


def _posed(
    x: Array, weight: Array | None, rows: Array, context: Context, variance: bool
) -> tuple[Training, Array]:
    """The problem of some rows, and these rows."""
    mine = bring(x, context, 2, positions=rows)
    masses = None if weight is None else context.xp.take(weight, rows)
    return training_problem(mine, masses, context, 2, variance=variance), mine


def _bisect(
    number: int, cluster: Cluster, problem: Training, x: Array, ask: Ask
) -> tuple[Parted, Array] | None:
    """Two halves and their centers; None where one has no row that counts."""

    def start(run: int) -> Array:
        seed = mix(cluster.seed, Purpose.RUN, run)
        return problem.within_memory(lambda: ask.start(problem, x, seed))

    result = best_of(problem, start, ask.runs, ask.rules, cluster.seed)
    if result.status is Status.INTERRUPTED:
        raise KeyboardInterrupt(result.status.value)
    with problem.source.working():
        problem.cover(result.centers)
        sides = problem.within_memory(lambda: _measured(problem, result))
    if not all(n_positive for _, _, n_positive in sides):
        return None
    halves = []
    for side, (value, weight, n_positive) in enumerate(sides):
        rows = _rows_of(problem, cluster, result.labels == side)
        seed = mix(cluster.seed, Purpose.PROBLEM, side)
        halves.append(Cluster(rows, seed, value, weight, n_positive))
    return Parted(number, (halves[0], halves[1]), result.status, result.n_iter), result.centers


def _measured(problem: Training, result: Result) -> list[tuple[float, float, int]]:
    """Of each half the inertia, the weight, and how many rows count."""
    weights = _weights(problem, result.labels, 2)
    nearest = problem.nearest_to(result.centers, screens=False)
    return [(inertia(problem, nearest, only=side), *weight) for side, weight in enumerate(weights)]


def _rows_of(problem: Training, cluster: Cluster, mask: Array) -> Array:
    """The positions among all rows of those that a mask over a cluster's rows picks."""
    xp = problem.context.xp
    count = int(xp.count_nonzero(mask))
    places, _ = problem.kernel.compress(mask, count)
    places = places[:count]
    return places if cluster.rows is None else xp.take(cluster.rows, places)


def _put(problem: Problem, labels: Array) -> None:
    for block in problem.source.blocks:
        block.state["labels"] = labels[block.start : block.start + block.n_rows]


def _weights(problem: Training, labels: Array, count: int) -> list[tuple[float, int]]:
    """Summed weights of clusters in the user's units, and rows that carry weight."""
    _put(problem, labels)

    def task(block: Block, sums: exact.Accumulator) -> None:
        columns = problem.ledger.weight_columns(block.x, block.weight)
        sums.add(problem.kernel.group_sums(columns, block.state["labels"], count), block.n_rows)

    _, totals = problem.source.add_up(task, problem.ledger.words)
    exponent = problem.weight_exponent
    up = math.ldexp(1.0, exponent // 2), math.ldexp(1.0, exponent - exponent // 2)
    masses = (to_host(problem.ledger.masses(totals)) * up[0] * up[1]).tolist()
    counts: Sequence[int] = to_host(problem.ledger.counts(totals)).tolist()
    return list(zip(masses, counts, strict=True))
