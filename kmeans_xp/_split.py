"""What clusters would gain by being split in two, and cost by being merged in pairs.

With Z = sum w D^2 over the rows of a cluster, a split gains Z less what the two halves leave, and
a merge of a and b costs exactly m_a m_b / (m_a + m_b) |c_a - c_b|^2, with m the summed weights
and c the means (J. H. Ward, J. Am. Stat. Assoc. 58, 1963).  So merges cost no look at a row.  For
the splits some rows are drawn in proportion to w D^2, as k-means++ draws them; the first in each
cluster becomes the center of a half, the other half begins at the cluster's own center, and
three of Lloyd's iterations inside all clusters at once part the halves.  That takes about eight
distances a row, whatever the number of clusters.

Of many rows some of each cluster stand for all (see `_subset`): one distance to each row tells
which, and the halves and what they gain come from these alone.  Masses and merges stay exact.

Distances are canonical and sums exact, so that every library finds the same numbers.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from . import _exact as exact
from ._backend import to_host
from ._distances import Scale
from ._empty import recenter
from ._lottery import Lottery, Mass
from ._passes import add_rows
from ._primitives import Nearest
from ._problem import Training
from ._stats import weigh
from ._subset import Part, drawn, pays, sums_by_cluster
from ._travel import Wanted, taken
from ._typing import Array, Block, Rows, slices, some

Host = npt.NDArray[np.float64]
DRAWS = 2  # for each cluster
ITERATIONS = 3
_VALUES = 1 << 22  # of centers that are told apart at a time


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
    problem: Training, centers: Array, labels: Array | None, key: tuple[int, ...], /
) -> Outlook | None:
    """Look at an assignment; None where all rows lie on their centers.

    Without labels the rows have those of these centers in their blocks' state.
    """
    source, n_clusters = problem.source, int(centers.shape[0])
    problem.cover(centers)
    nearest = problem.nearest_to(centers, screens=False)
    every = Part(problem)
    largest = _measure(every, nearest, labels)
    if largest == 0.0:
        return None
    if pays(problem, n_clusters):
        masses, gaps = sums_by_cluster(problem, largest, n_clusters)
        part, labels = drawn(problem, masses, gaps, largest, key)
        source.forget("closest")
        with part.problem.source.working():
            halves = _halved(part, centers, labels, nearest.scale, key)
    else:
        halves = _halved_by(every, nearest, labels, largest, key)
        source.forget("closest")
        masses = halves.masses
    if halves is None:
        return None
    costs, partners = _merges(problem, nearest, masses)
    points = to_host(centers).astype(np.float64)
    share = _share(masses, masses[partners])[:, None]
    merged = share * points + (1.0 - share) * points[partners]
    return Outlook(
        points,
        halves.centers[0::2],
        halves.centers[1::2],
        halves.gains,
        costs.tolist(),
        partners.tolist(),
        merged,
    )


@dataclass(frozen=True)
class _Halves:
    """Centers of halves (2k, d), what splits gain, and the summed weights of the clusters."""

    centers: Host
    gains: list[float]
    masses: Host


def _halved(
    part: Part, centers: Array, labels: Array, scale: Scale, key: tuple[int, ...]
) -> _Halves | None:
    """Part the clusters by some rows; None where all of these lie on their centers."""
    part.problem.cover(centers)
    nearest = part.problem.nearest_to(centers, screens=False, scale=scale)
    largest = _measure(part, nearest, labels)
    return None if largest == 0.0 else _halved_by(part, nearest, labels, largest, key)


def _halved_by(
    part: Part, nearest: Nearest, labels: Array | None, largest: float, key: tuple[int, ...]
) -> _Halves:
    """The same, once the distances to the own centers are known."""
    n_clusters = int(nearest.centers.shape[0])
    lottery = Lottery(part.problem, _mass(part), largest)
    rows = lottery.rows([(*key, draw) for draw in range(DRAWS * n_clusters)])
    begin = _begin(part.problem, nearest.centers, labels, rows)
    halves, totals = _parted(part, nearest, begin)
    unit = lottery.unit * part.unit
    gains = [gain * unit for gain in _gained(part, halves, lottery, largest)]
    masses = to_host(part.problem.ledger.masses(totals)).reshape(n_clusters, 2).sum(axis=1)
    return _Halves(to_host(halves.centers).astype(np.float64), gains, masses)


def _measure(part: Part, nearest: Nearest, labels: Array | None) -> float:
    """Let blocks remember the distances to the own centers; the largest, weighted."""
    xp, source = part.problem.context.xp, part.problem.source
    remember = functools.partial(_measured, part.problem, nearest)
    source.forget("closest")

    def measure(block: Block) -> float:
        if labels is not None:
            block.state["labels"] = labels[block.start : block.start + block.n_rows]
        remember(block)
        return float(xp.max(part.weighed(block, block.state["closest"])))

    largest = max(source.map(measure))
    source.remake("closest", remember)
    return largest


def _measured(problem: Training, nearest: Nearest, block: Block) -> None:
    """Let a block remember the distances to the own centers."""
    distances = problem.kernel.own_distances(block.x, nearest, block.state["labels"])
    block.state["closest"] = distances


def _mass(part: Part) -> Mass:
    """Weighted squared distances to the own center."""
    xp = part.problem.context.xp

    def mass(block: Block, rows: Rows) -> Array:
        weight = part.weight(block)
        weight = None if weight is None else some(weight, rows, xp=xp)
        return weigh(some(block.state["closest"], rows, xp=xp), weight, xp=xp)

    return mass


def _begin(problem: Training, centers: Array, labels: Array | None, rows: list[int]) -> Array:
    """The halves' first centers (2k, d): in turn a cluster's own, and its first drawn row."""
    xp, n_clusters = problem.context.xp, int(centers.shape[0])
    owners = _owners(problem, labels, rows)
    drawn = dict(zip(owners[::-1], rows[::-1], strict=True))
    has = np.asarray([cluster in drawn for cluster in range(n_clusters)])
    taken = problem.source.take([drawn.get(cluster, 0) for cluster in range(n_clusters)])
    others = xp.where(exact.to_device(has[:, None], centers, xp=xp), taken, centers)
    pairs = xp.stack([centers, others], axis=1)
    return xp.reshape(pairs, (2 * n_clusters, int(centers.shape[1])))


def _owners(problem: Training, labels: Array | None, rows: list[int]) -> list[int]:
    """The clusters of some rows."""
    if labels is None:
        found = taken(problem.source, rows, _labels_at)
    else:
        place = exact.to_device(np.asarray(rows, dtype=np.int64), labels, xp=problem.context.xp)
        found = to_host(problem.context.xp.take(labels, place))
    owners: list[int] = found.tolist()
    return owners


def _labels_at(wanted: Wanted, block: Block) -> Array:
    return wanted.of(block, block.state["labels"])


def _parted(part: Part, nearest: Nearest, centers: Array) -> tuple[Nearest, Array]:
    """Lloyd's iterations in which a row knows the two halves of its cluster alone."""
    problem = part.problem
    xp, count = problem.context.xp, int(centers.shape[0])
    for _ in range(ITERATIONS):
        halves = problem.nearest_to(centers, screens=False, scale=nearest.scale)

        def task(block: Block, sums: exact.Accumulator, halves: Nearest = halves) -> None:
            near, far = _both(problem, block, halves)
            side = xp.astype(far < near, xp.int32)
            block = replace(block, weight=part.weight(block))
            add_rows(problem, block, 2 * block.state["labels"] + side, count, sums)

        _, totals = problem.source.add_up(task, problem.ledger.words)
        assert totals is not None
        centers = recenter(problem, totals, centers)
    return problem.nearest_to(centers, screens=False, scale=nearest.scale), totals


def _both(problem: Training, block: Block, halves: Nearest) -> tuple[Array, Array]:
    first = 2 * block.state["labels"]
    distances = problem.kernel.own_distances
    return distances(block.x, halves, first), distances(block.x, halves, first + 1)


def _gained(part: Part, halves: Nearest, lottery: Lottery, largest: float) -> list[int]:
    """What the halves leave less than the clusters, in the lottery's integers."""
    problem = part.problem
    xp, count = problem.context.xp, int(halves.centers.shape[0]) // 2
    mass = _mass(part)

    def task(block: Block, sums: exact.Accumulator) -> None:
        left = part.weighed(block, xp.minimum(*_both(problem, block, halves)))
        # a half may have moved away from a row; no number exceeds 40 bits
        left = xp.where(left < largest, left, xp.full_like(left, largest))
        before = lottery.whole(mass(block, slice(0, block.n_rows)))
        gains, labels = (before - lottery.whole(left))[:, None], block.state["labels"]
        for rows in slices(block.n_rows, problem.source.piece_rows):
            found = problem.kernel.group_sums(gains[rows, :], labels[rows], count)
            sums.add(found, rows.stop - rows.start)

    _, totals = problem.source.add_up(task, problem.ledger.words)
    words: list[list[int]] = to_host(totals)[..., 0].tolist()
    if len(words) == 1:
        return words[0]
    return [(high << exact.LIMB_BITS) + low for high, low in zip(*words, strict=True)]


def _merges(
    problem: Training, nearest: Nearest, masses: Host
) -> tuple[Host, npt.NDArray[np.int64]]:
    """For each cluster the least that a merge costs, and the cluster that it is with."""
    xp, centers, count = problem.context.xp, nearest.centers, len(masses)
    costs, partners = np.full(count, np.inf), np.zeros(count, dtype=np.int64)
    for part in slices(count, max(1, _VALUES // (count * int(centers.shape[1])))):
        numbers = np.arange(part.start, part.stop)
        # a pair is looked at once
        ones, others = np.nonzero(numbers[:, None] < np.arange(count)[None, :])
        places = exact.to_device(numbers[ones], centers, xp=xp)
        labels = exact.to_device(others.astype(np.int32), centers, xp=xp)
        rows = xp.take(centers, places, axis=0)
        apart = to_host(problem.kernel.own_distances(rows, nearest, labels))
        table = np.full((len(numbers), count), np.inf)
        with np.errstate(over="ignore", invalid="ignore"):
            mine, theirs = masses[numbers[ones]], masses[others]
            table[ones, others] = _share(mine, theirs) * theirs * apart
        # what is no number is no merge
        table[~np.isfinite(table)] = np.inf
        # the lowest among equals: those before a cluster come first
        for side, first, axis in ((slice(0, count), part.start, 0), (part, 0, 1)):
            least = table.min(axis=axis)
            better = least < costs[side]
            partners[side] = np.where(better, table.argmin(axis=axis) + first, partners[side])
            costs[side] = np.where(better, least, costs[side])
    return costs, partners


def _share(mine: Host, others: Host) -> Host:
    """mine / (mine + others); half of nothing."""
    total = mine + others
    return np.where(total > 0.0, mine, 0.5) / np.where(total > 0.0, total, 1.0)
