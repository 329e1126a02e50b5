"""Rows that lower the inertia in another cluster, though their own center is the nearest.

A row of weight w that leaves cluster a for b takes both means along, which lowers the inertia by
w (m_a / (m_a - w) D_a^2 - m_b / (m_b + w) D_b^2), with m the summed weights and D the distances to
the means.  So there are rows whose move pays while Lloyd's loop stands still, the more of them
the fewer rows a cluster has.  Once moved such a row is nearest to its new cluster's mean: D_b then
shrinks by m_b / (m_b + w), and D_a grows by m_a / (m_a - w).  Hence Lloyd's loop from there keeps
it (J. A. Hartigan, M. A. Wong, "A k-means clustering algorithm", Applied Statistics 28, 1979; on
its optima N. Slonim, E. Aharoni, K. Crammer, "Hartigan's k-means versus Lloyd's k-means: is it
time for a change?", IJCAI 2013).

All such rows are moved at once, each to where it pays most.  That is not sure to lower the
inertia, as rows share their clusters, but most often does, and the one that pays most always does.

A product with its bound (see `_gains`, which the limit here is that of) leaves few pairs of a row
and a cluster; those are judged by canonical distances, so that every library finds the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _exact as exact
from ._backend import to_host
from ._empty import recenter
from ._passes import Moves, add_moves, add_rows, moved_sums
from ._picks import first_true
from ._primitives import Nearest, Rung, build_rung
from ._problem import Training
from ._stats import weigh
from ._typing import Array, Block, OnHost, slices, some

_MOST_SCORES = 1 << 21
_ROUNDINGS = 2.0**-40  # of what a row counts for now, below which a gain is none

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Exchanges:
    """Rows to move and where to, those that pay most first; the sums of the clusters before."""

    rows: Rows
    sources: Rows
    targets: Rows
    totals: Array
    centers: Array

    def after(self, problem: Training, count: int, /) -> Array:
        """The means of the clusters once the first ``count`` rows were moved."""
        moved = _moved_here if problem.source.is_resident else _moved_away
        change = moved(problem, self, count)
        totals = exact.carry(self.totals + change, xp=problem.context.xp)
        return recenter(problem, totals, self.centers)


def _moved_here(problem: Training, moves: Exchanges, count: int) -> Array:
    """How the sums change by the first of some moves."""
    xp, source = problem.context.xp, problem.source
    places = moves.rows[:count].tolist()
    ends = np.stack([moves.sources[:count], moves.targets[:count]]).astype(np.int32)
    placed = exact.to_device(ends, source.sample, xp=xp)
    weights = source.take_weights(places)
    few = Moves(source.take(places), weights, placed[0, :], placed[1, :])
    sums = moved_sums(problem, few, int(moves.centers.shape[0]))
    return exact.in_words(sums, problem.ledger.words, xp=xp)


@dataclass(frozen=True)
class _Moved(OnHost):
    """Rows that move, in ascending order, and the clusters (2, m) that they leave and go to."""

    rows: Rows
    ends: npt.NDArray[np.int32]

    @classmethod
    def of(cls, moves: Exchanges, count: int) -> _Moved:
        order = np.argsort(moves.rows[:count])
        ends = np.stack([moves.sources[order], moves.targets[order]]).astype(np.int32)
        return cls(moves.rows[order], ends)

    def range_of(self, block: Block) -> slice:
        """Those of a block."""
        first, last = np.searchsorted(self.rows, [block.start, block.start + block.n_rows])
        return slice(int(first), int(last))


def _moved_away(problem: Training, moves: Exchanges, count: int) -> Array:
    """The same where the rows are, which may be too many to come here."""
    source, n_clusters = problem.source, int(moves.centers.shape[0])
    moved = _Moved.of(moves, count)

    def task(block: Block, sums: exact.Accumulator) -> None:
        here = moved.range_of(block)
        # all other rows stay where they are, wherever that is
        labels = np.zeros((2, block.n_rows), dtype=np.int32)
        labels[:, moved.rows[here] - block.start] = moved.ends[:, here]
        placed = exact.to_device(labels, source.sample, xp=problem.context.xp)
        add_moves(problem, block, placed[0, :], placed[1, :], n_clusters, sums)

    ranges = map(moved.range_of, source.blocks)
    blocks = [b for b, here in zip(source.blocks, ranges, strict=True) if here.start < here.stop]
    _, change = source.add_up(task, problem.ledger.words, blocks)
    return change


@dataclass(frozen=True)
class _View:
    """What the blocks are asked: the means, summed weights, and a product in some precision."""

    nearest: Nearest
    masses: Array
    heaviest: float
    rung: Rung | None


def exchanges(problem: Training, centers: Array, labels: Array | None, /) -> Exchanges | None:
    """Look for rows that pay in another cluster; None where there are none.

    Without labels the rows have those of these centers in their blocks' state.
    """
    xp, source, count = problem.context.xp, problem.source, int(centers.shape[0])

    def add(block: Block, sums: exact.Accumulator) -> float:
        if labels is not None:
            block.state["labels"] = labels[block.start : block.start + block.n_rows]
        add_rows(problem, block, block.state["labels"], count, sums)
        return 1.0 if block.weight is None else float(xp.max(block.weight))

    weights, totals = source.add_up(add, problem.ledger.words)
    assert totals is not None
    heaviest = max(weights)
    centers = recenter(problem, totals, centers)
    problem.cover(centers)
    nearest = problem.nearest_to(centers, screens=False)
    rung = None
    if nearest.first != "exact":
        rung = build_rung(nearest, nearest.first, source.n_features, xp=xp, told_apart=True)
    view = _View(nearest, problem.ledger.masses(totals), heaviest, rung)
    found = [part for parts in source.map(lambda b: _paying(problem, b, view)) for part in parts]
    if not found:
        return None
    gains, rows, sources, targets = (np.concatenate(column) for column in zip(*found, strict=True))
    # of equal gains the first row
    order = np.lexsort((rows, -gains))
    return Exchanges(rows[order], sources[order], targets[order], totals, centers)


Found = tuple[npt.NDArray[np.float64], Rows, Rows, Rows]
"""Gains, rows, and the clusters that they leave and go to."""


def _paying(problem: Training, block: Block, view: _View) -> list[Found]:
    """The rows of a block that pay elsewhere, in pieces."""
    kernel, count = problem.kernel, int(view.nearest.centers.shape[0])
    mine = block.state["labels"]
    worth = _worth(problem, block, mine, view)
    found = []
    for part in slices(block.n_rows, max(256, _MOST_SCORES // count)):
        near = _near(problem, block.x[part, :], mine[part], worth[part], view)
        mask = problem.context.xp.any(near, axis=0)
        n_rows = int(problem.context.xp.count_nonzero(mask))
        if n_rows == 0:
            continue
        rows, _ = kernel.compress(mask, n_rows)
        marks = problem.context.xp.take(near, rows, axis=1).T
        judged = _judged(problem, block, view, part.start + rows, marks, worth)
        # what stands behind those is padding
        found.append(_that_pay([to_host(column)[:n_rows] for column in judged], block.start))
    return [part for part in found if len(part[0])]


def _worth(problem: Training, block: Block, labels: Array, view: _View) -> Array:
    """By how much each row's leaving lowers what its cluster counts for, per weight."""
    xp = problem.context.xp
    own = problem.kernel.own_distances(block.x, view.nearest, labels)
    mass = xp.take(view.masses, labels)
    left = mass - (1.0 if block.weight is None else block.weight)
    # a row that is its cluster stays
    some_left = left > 0.0
    left = xp.where(some_left, left, xp.ones_like(left))
    return xp.where(some_left, (mass / left) * own, xp.zeros_like(own))


def _near(problem: Training, x: Array, labels: Array, worth: Array, view: _View) -> Array:
    """Mark the clusters (k, m) in which a row may pay."""
    xp, count = problem.context.xp, int(view.nearest.centers.shape[0])
    numbers = exact.to_device(np.arange(count, dtype=np.int32)[:, None], labels, xp=xp)
    # the largest share of the distance that may be left to pay
    has_rows = view.masses > 0.0
    masses = xp.where(has_rows, view.masses, xp.ones_like(view.masses))
    shares = (masses + view.heaviest) / masses
    if view.rung is None:
        apart = problem.kernel.distances(x, view.nearest.centers, view.nearest.scale)
        near = apart <= shares[:, None] * (worth * (1.0 + _ROUNDINGS))[None, :]
    else:
        lower, half = problem.kernel.screen(x, view.rung, {})
        theta = view.rung.theta
        limit = xp.astype(worth, half.dtype, copy=False) * (0.5 * (1.0 + 8.0 * theta))
        base = (1.0 - 5.0 * theta) * half - view.rung.underflow
        most = xp.astype(shares, half.dtype, copy=False)[:, None] * limit[None, :]
        near = ~(most - base[None, :] <= lower)
    return near & (worth > 0.0)[None, :] & has_rows[:, None] & (numbers != labels[None, :])


def _judged(
    problem: Training, block: Block, view: _View, rows: Array, near: Array, worth: Array
) -> tuple[Array, Array, Array, Array]:
    """Judge marked pairs (m, k) of some rows by canonical distances; lowest index among equals.

    Gains, places in the block, own labels, and the clusters that are best (-1 for none).
    """
    xp = problem.context.xp
    x = some(block.x, rows, xp=xp)
    weight = None if block.weight is None else xp.take(block.weight, rows)
    mine = xp.ones_like(worth[:1]) if weight is None else weight
    worth = xp.take(worth, rows)
    best = worth * (1.0 - _ROUNDINGS)
    target = xp.full_like(best, -1, dtype=xp.int32)
    numbers = exact.to_device(np.arange(near.shape[1], dtype=np.int32)[None, :], rows, xp=xp)
    for _ in range(int(xp.max(xp.count_nonzero(near, axis=1)))):
        number = first_true(near, xp=xp)
        mass = xp.take(view.masses, number)
        total = mass + mine
        share = mass / xp.where(total > 0.0, total, xp.ones_like(total))
        price = share * problem.kernel.own_distances(x, view.nearest, number)
        better = xp.any(near, axis=1) & (price < best)
        best, target = xp.where(better, price, best), xp.where(better, number, target)
        near = near & (numbers != number[:, None])
    labels = xp.take(block.state["labels"], rows)
    return weigh(worth - best, weight, xp=xp), rows, labels, target


def _that_pay(judged: list[Any], start: int) -> Found:
    gain, places, labels, targets = judged
    pays = (targets >= 0) & (gain > 0.0)
    whole = [column[pays].astype(np.int64) for column in (places, labels, targets)]
    return gain[pays], whole[0] + start, whole[1], whole[2]
