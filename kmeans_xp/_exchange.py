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

`_paying` finds the rows of a block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import _exact as exact
from ._empty import recenter
from ._handover import edges
from ._outcome import Handover
from ._passes import Moves, add_moves, add_rows, moved_sums
from ._paying import Rows, View, paying
from ._primitives import build_rung
from ._problem import Training
from ._typing import Array, Block, OnHost


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


def exchanges(
    problem: Training, centers: Array, labels: Array | None, end: Handover | None = None, /
) -> Exchanges | None:
    """Look for rows that pay in another cluster; None where there are none.

    Without labels the rows have those of these centers in their blocks' state.  Where blocks hold
    the bounds of the ``end`` that led here, those are looked at alone that may pay by them.
    """
    xp, source, count = problem.context.xp, problem.source, int(centers.shape[0])

    def begin(block: Block) -> float:
        if labels is not None:
            block.state["labels"] = labels[block.start : block.start + block.n_rows]
        return 1.0 if block.weight is None else float(xp.max(block.weight))

    def add(block: Block, sums: exact.Accumulator) -> float:
        heaviest = begin(block)
        add_rows(problem, block, block.state["labels"], count, sums)
        return heaviest

    if end is None:
        weights, totals = source.add_up(add, problem.ledger.words)
        assert totals is not None
    else:
        weights, totals = source.map(begin), end.totals
    centers = recenter(problem, totals, centers)
    problem.cover(centers)
    nearest = problem.nearest_to(centers, screens=False)
    rung = None
    if nearest.first != "exact":
        rung = build_rung(nearest, nearest.first, source.n_features, xp=xp, told_apart=True)
    masses = problem.ledger.masses(totals)
    some_mass = xp.where(masses > 0.0, masses, xp.ones_like(masses))
    shares = (some_mass + max(weights)) / some_mass
    near = None if end is None else edges(problem, end, centers)
    view = View(nearest, masses, shares, rung, near)
    found = [part for parts in source.map(lambda b: paying(problem, b, view)) for part in parts]
    if not found:
        return None
    gains, rows, sources, targets = (np.concatenate(column) for column in zip(*found, strict=True))
    # of equal gains the first row
    order = np.lexsort((rows, -gains))
    return Exchanges(rows[order], sources[order], targets[order], totals, centers)
