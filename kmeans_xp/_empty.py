"""Empty clusters: three rules for what becomes of a cluster that lost all its rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import _exact as exact
from ._backend import to_host
from ._draws import gaining_rows
from ._far_rows import Far, farthest
from ._passes import Moves, host_counts, moved_sums
from ._primitives import Nearest
from ._problem import Training, as_centers
from ._random import Purpose
from ._typing import Array, Block
from .exceptions import EmptyClusterError

RULES = ("farthest", "random", "error")


@dataclass(frozen=True)
class Repair:
    """Totals and centers after empty clusters were seen to."""

    totals: Array
    centers: Array
    moved: int


def recenter(problem: Training, totals: Array, centers: Array, /) -> Array:
    """Means of the clusters, rounded once; an empty cluster keeps its center."""
    xp, counts = problem.context.xp, problem.ledger.counts(totals)
    means = as_centers(problem.ledger.means(totals, counts), problem)
    return xp.where((counts > 0)[:, None], means, centers)


def repair(
    problem: Training, nearest: Nearest, totals: Array, rule: str, key: tuple[int, ...], /
) -> Repair:
    """Recenter, and give every empty cluster a row by the rule (see `KMeans`)."""
    counts = problem.ledger.counts(totals)
    if all(to_host(counts).tolist()):
        means = problem.ledger.means(totals, counts, any_empty=False)
        return Repair(totals, as_centers(means, problem), 0)
    if rule == "error":
        empty = [i for i, count in enumerate(host_counts(problem, totals)) if count == 0]
        raise EmptyClusterError(
            f"clusters {empty} have no rows left, and empty_cluster='error' was asked for. "
            "Use fewer n_clusters, another init, or empty_cluster='farthest'."
        )
    if rule == "random":
        return _random(problem, nearest, totals, key)
    return _farthest(problem, nearest, totals)


def _random(problem: Training, nearest: Nearest, totals: Array, key: tuple[int, ...]) -> Repair:
    """Each empty cluster's center becomes a random observation that is off its own mean.

    Neither assigning nor recentering raises the inertia, and each fill lowers it, since the
    drawn row's distance falls to zero and no other's grows.  Partitions and draws are finite
    in number, so the fills come to an end, and the run with them as any of Lloyd's.
    """
    xp = problem.context.xp
    centers = recenter(problem, totals, nearest.centers)
    empty = problem.ledger.counts(totals) == 0
    keys = [(*key, Purpose.EMPTY, cluster) for cluster in range(int(centers.shape[0]))]
    drawn = gaining_rows(problem, problem.nearest_to(centers, screens=False), keys)
    if not drawn:
        return Repair(totals, centers, 0)
    return Repair(
        totals,
        xp.where(empty[:, None], problem.source.take(drawn), centers),
        int(xp.count_nonzero(empty)),
    )


def _farthest(problem: Training, nearest: Nearest, totals: Array) -> Repair:
    """Each empty cluster takes over the row that is farthest from its center.

    Rows go in the order of their distance, the lowest row first among equals; one that
    would leave its own cluster empty stays.
    """
    moved = 0
    while True:
        counts = host_counts(problem, totals)
        empty = [i for i, count in enumerate(counts) if count == 0]
        found = farthest(problem, nearest, len(empty) + counts.count(1)) if empty else []
        moves = _match(empty, found, counts)
        if not moves:
            break
        totals = exact.carry(totals + _relocate(problem, moves, len(counts)), xp=problem.context.xp)
        moved += len(moves)
    return Repair(totals, recenter(problem, totals, nearest.centers), moved)


def _match(empty: list[int], found: list[Far], counts: list[int]) -> list[tuple[Far, int]]:
    left = list(counts)
    moves: list[tuple[Far, int]] = []
    for far in found:
        if len(moves) == len(empty):
            break
        if left[far.label] > 1:
            left[far.label] -= 1
            moves.append((far, empty[len(moves)]))
    return moves


def _relocate(problem: Training, moves: list[tuple[Far, int]], n_clusters: int) -> Array:
    """Give the rows their new labels, and leave the change of the sums."""
    xp = problem.context.xp
    target = {far.row: cluster for far, cluster in moves}

    def task(block: Block) -> None:
        mine = [row for row in target if 0 <= row - block.start < block.n_rows]
        if not mine:
            return
        change = np.full(block.n_rows, -1, dtype=np.int32)
        for row in mine:
            change[row - block.start] = target[row]
        new = exact.to_device(change, problem.source.sample, xp=xp)
        block.state["labels"] = xp.where(new >= 0, new, block.state["labels"])
        block.state.pop("bounds", None)

    problem.source.map(task)
    problem.source.remake("labels", task, then=True)
    rows = list(target)
    labels = np.asarray([[far.label for far, _ in moves], list(target.values())], dtype=np.int32)
    placed = exact.to_device(labels, problem.source.sample, xp=xp)
    change = Moves(
        problem.source.take(rows), problem.source.take_weights(rows), placed[0, :], placed[1, :]
    )
    return exact.in_words(moved_sums(problem, change, n_clusters), problem.ledger.words, xp=xp)
