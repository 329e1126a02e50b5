"""What clusters would gain by being split in two, and cost by being merged in pairs.

With Z = sum w D^2 over the rows of a cluster, a split gains Z less what the two halves leave, and
a merge of a and b costs exactly m_a m_b / (m_a + m_b) |c_a - c_b|^2, with m the summed weights
and c the means (J. H. Ward, J. Am. Stat. Assoc. 58, 1963).  So merges cost no look at a row.  For
the splits some rows are drawn in proportion to w D^2, as k-means++ draws them; the first in each
cluster becomes the center of a half, the other half begins at the cluster's own center, and
three of Lloyd's iterations inside all clusters at once part the halves.  That takes about eight
distances a row, whatever the number of clusters.

Distances are canonical and sums exact, so that every library finds the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import _exact as exact
from ._backend import to_host
from ._draws import Lottery, Mass
from ._empty import recenter
from ._passes import add_rows
from ._primitives import Nearest
from ._problem import Training
from ._stats import weigh
from ._typing import Array, Block, Rows, slices, some

Host = npt.NDArray[np.float64]
DRAWS = 2  # for each cluster
ITERATIONS = 3
_PAIRS = 1 << 20


@dataclass(frozen=True)
class Outlook:
    """For each cluster: the centers of its halves, what a split gains, the cheapest merge.

    ``gains`` and ``costs`` are in units of the weights and of the scale squared; ``merged`` holds
    the means of each cluster and its ``partners``.
    """

    centers: Host
    first: Host
    second: Host
    gains: list[float]
    costs: list[float]
    partners: list[int]
    merged: Host


def outlook(
    problem: Training, centers: Array, labels: Array, key: tuple[int, ...], /
) -> Outlook | None:
    """Look at an assignment; None where all rows lie on their centers."""
    xp, source, kernel = problem.context.xp, problem.source, problem.kernel
    problem.cover(centers)
    nearest = problem.nearest_to(centers, screens=False)

    def measure(block: Block) -> float:
        mine = labels[block.start : block.start + block.n_rows]
        own = kernel.own_distances(block.x, nearest, mine)
        block.state["labels"], block.state["closest"] = mine, own
        return float(xp.max(weigh(own, block.weight, xp=xp)))

    largest = max(source.map(measure))
    if largest == 0.0:
        return None
    lottery = Lottery(problem, _mass(problem), largest)
    n_clusters = int(centers.shape[0])
    rows = lottery.rows([(*key, draw) for draw in range(DRAWS * n_clusters)])
    halves, totals = _parted(problem, nearest, _begin(problem, centers, labels, rows))
    gains = _gained(problem, halves, lottery, largest)
    source.forget("closest")
    points = to_host(centers).astype(np.float64)
    masses = to_host(problem.ledger.masses(totals)).reshape(n_clusters, 2).sum(axis=1)
    costs, partners = _merges(problem, nearest, masses)
    ends = to_host(halves.centers).astype(np.float64)
    share = _share(masses, masses[partners])[:, None]
    merged = share * points + (1.0 - share) * points[partners]
    return Outlook(
        points,
        ends[0::2],
        ends[1::2],
        [gain * lottery.unit for gain in gains],
        costs.tolist(),
        partners.tolist(),
        merged,
    )


def _mass(problem: Training) -> Mass:
    """Weighted squared distances to the own center."""
    xp = problem.context.xp

    def mass(block: Block, rows: Rows) -> Array:
        weight = None if block.weight is None else some(block.weight, rows, xp=xp)
        return weigh(some(block.state["closest"], rows, xp=xp), weight, xp=xp)

    return mass


def _begin(problem: Training, centers: Array, labels: Array, rows: list[int]) -> Array:
    """The halves' first centers (2k, d): in turn a cluster's own, and its first drawn row."""
    xp, n_clusters = problem.context.xp, int(centers.shape[0])
    place = exact.to_device(np.asarray(rows, dtype=np.int64), labels, xp=xp)
    owners = to_host(xp.take(labels, place)).tolist()
    drawn = dict(zip(owners[::-1], rows[::-1], strict=True))
    has = np.asarray([cluster in drawn for cluster in range(n_clusters)])
    taken = problem.source.take([drawn.get(cluster, 0) for cluster in range(n_clusters)])
    others = xp.where(exact.to_device(has[:, None], labels, xp=xp), taken, centers)
    pairs = xp.stack([centers, others], axis=1)
    return xp.reshape(pairs, (2 * n_clusters, int(centers.shape[1])))


def _parted(problem: Training, nearest: Nearest, centers: Array) -> tuple[Nearest, Array]:
    """Lloyd's iterations in which a row knows the two halves of its cluster alone."""
    xp, count = problem.context.xp, int(centers.shape[0])
    for _ in range(ITERATIONS):
        halves = problem.nearest_to(centers, screens=False, scale=nearest.scale)
        sums = exact.Accumulator(xp, problem.ledger.words)

        def task(block: Block, halves: Nearest = halves, sums: exact.Accumulator = sums) -> None:
            near, far = _both(problem, block, halves)
            side = xp.astype(far < near, xp.int32)
            add_rows(problem, block, 2 * block.state["labels"] + side, count, sums)

        problem.source.map(task)
        totals = sums.total()
        centers = recenter(problem, totals, centers)
    return problem.nearest_to(centers, screens=False, scale=nearest.scale), totals


def _both(problem: Training, block: Block, halves: Nearest) -> tuple[Array, Array]:
    first = 2 * block.state["labels"]
    distances = problem.kernel.own_distances
    return distances(block.x, halves, first), distances(block.x, halves, first + 1)


def _gained(problem: Training, halves: Nearest, lottery: Lottery, largest: float) -> list[int]:
    """What the halves leave less than the clusters, in the lottery's integers."""
    xp, count = problem.context.xp, int(halves.centers.shape[0]) // 2
    mass = _mass(problem)

    def task(block: Block) -> Array:
        left = weigh(xp.minimum(*_both(problem, block, halves)), block.weight, xp=xp)
        # a half may have moved away from a row; no number exceeds 40 bits
        left = xp.where(left < largest, left, xp.full_like(left, largest))
        before = lottery.whole(mass(block, slice(0, block.n_rows)))
        gains = (before - lottery.whole(left))[:, None]
        parts = [
            problem.kernel.group_sums(gains[part, :], block.state["labels"][part], count)
            for part in slices(block.n_rows, problem.source.piece_rows)
        ]
        return to_host(sum(parts[1:], start=parts[0]))[:, 0]

    columns = [part.tolist() for part in problem.source.map(task)]
    return [sum(column) for column in zip(*columns, strict=True)]


def _merges(
    problem: Training, nearest: Nearest, masses: Host
) -> tuple[Host, npt.NDArray[np.int64]]:
    """For each cluster the least that a merge costs, and the cluster that it is with."""
    centers, count = nearest.centers, len(masses)
    costs, partners = np.empty(count), np.empty(count, dtype=np.int64)
    for part in slices(count, max(1, _PAIRS // count)):
        apart = to_host(problem.kernel.distances(centers, centers[part, :], nearest.scale))
        mine = masses[part]
        with np.errstate(over="ignore", invalid="ignore"):
            cost = _share(mine[:, None], masses[None, :]) * masses[None, :] * apart
        # what is no number is no merge
        cost[~np.isfinite(cost)] = np.inf
        cost[np.arange(len(mine)), np.arange(part.start, part.stop)] = np.inf
        partners[part] = cost.argmin(axis=1)
        costs[part] = cost.min(axis=1)
    return costs, partners


def _share(mine: Host, others: Host) -> Host:
    """mine / (mine + others); half of nothing."""
    total = mine + others
    return np.where(total > 0.0, mine, 0.5) / np.where(total > 0.0, total, 1.0)
