"""Rows drawn from each cluster, which stand for all of its rows.

A row of weight w, at distance D from its center, is drawn with probability
p = min(1, R / 2 (w / m + w D^2 / Z)), where m is the summed weight of its cluster and Z the sum of
w D^2; it then counts w / p, so that sums over the rows drawn are right in the mean.  The first part
draws some of all rows; the second those that most of the inertia comes from, however few they are:
a small true cluster far off within a large one is not missed.  A cluster of up to R / 2 rows of
one weight is taken whole.  (O. Bachem, M. Lucic, A. Krause, "Scalable k-means clustering via
lightweight coresets", KDD 2018, for all rows as one cluster.)

Each row is drawn or not by bits of its own, probabilities come from exact sums, and the numbers in
between from single operations, so that the same rows are drawn wherever they are.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _exact as exact
from ._backend import to_host
from ._ledger import Ledger
from ._lottery import units_for
from ._problem import Training
from ._random import row_uniform
from ._sources import MemorySource
from ._stats import weigh, weighted_part
from ._typing import Array, Block, Source, slices

ROWS = 64  # of a cluster, about
_TIMES = 4  # as many rows there must be at least, for drawing some to save anything
# n (d + what a row costs besides), below which a look takes no longer than drawing rows
_LEAST_WORK, _AT_A_ROW = 1 << 18, 8
_MOST_VALUES = 1 << 24  # of the rows drawn, which lie in one place

Host = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.integer[Any]]


class Part(NamedTuple):
    """Rows of a problem, their weights (m,) unless the blocks have them, and the weights' unit."""

    problem: Training
    weights: Array | None = None
    unit: float = 1.0

    def weight(self, block: Block, /) -> Array | None:
        """The weights of a block."""
        if self.weights is None:
            return block.weight
        return self.weights[block.start : block.start + block.n_rows]

    def weighed(self, block: Block, values: Array, /) -> Array:
        """Numbers of a block's rows times their weights."""
        return weigh(values, self.weight(block), xp=self.problem.context.xp)


def pays(problem: Training, n_clusters: int, /) -> bool:
    """Whether a look at some rows is cheaper than one at all; the same for every source."""
    source, count = problem.source, ROWS * n_clusters
    if source.n_rows * (source.n_features + _AT_A_ROW) < _LEAST_WORK:
        return False
    return source.n_rows > _TIMES * count and count * source.n_features <= _MOST_VALUES


def sums_by_cluster(problem: Training, largest: float, n_clusters: int, /) -> tuple[Host, Host]:
    """Summed weights of clusters, and their shares in the inertia, in any unit.

    The blocks' state has ``labels`` and ``closest``; ``largest`` is the largest w D^2.
    """
    xp, kernel, ledger = problem.context.xp, problem.kernel, problem.ledger
    units, step = units_for(largest), problem.source.piece_rows

    def task(block: Block, sums: exact.Accumulator) -> None:
        labels = block.state["labels"]
        whole = units.of(weigh(block.state["closest"], block.weight, xp=xp), xp=xp)
        masses = ledger.weight_columns(block.state["closest"][:, None], block.weight)
        columns = xp.concat([whole[:, None], masses], axis=1)
        for part in slices(block.n_rows, step):
            found = kernel.group_sums(columns[part, :], labels[part], n_clusters)
            sums.add(found, part.stop - part.start)

    _, totals = problem.source.add_up(task, ledger.words)
    assert totals is not None
    words = to_host(totals)[..., 0].astype(np.float64)
    gaps = words[0] if len(words) == 1 else np.ldexp(words[0], exact.LIMB_BITS) + words[1]
    return to_host(ledger.masses(totals)).astype(np.float64), gaps


def drawn(
    problem: Training, masses: Host, gaps: Host, largest: float, key: tuple[int, ...], /
) -> tuple[Part, Array]:
    """Some rows as a part of their own, and their labels; see `sums_by_cluster`."""
    xp, kernel, sample = problem.context.xp, problem.kernel, problem.source.sample
    by_mass, by_gap = (exact.to_device(_per(sums), sample, xp=xp) for sums in (masses, gaps))
    units = units_for(largest)

    def task(block: Block) -> tuple[Numbers, Host, Numbers] | None:
        labels, weight = block.state["labels"], block.weight
        whole = units.of(weigh(block.state["closest"], weight, xp=xp), xp=xp)
        chance = xp.take(by_mass, labels)
        if weight is not None:
            chance = chance * weight
        chance = chance + xp.take(by_gap, labels) * whole
        mask = row_uniform(block.start, block.n_rows, sample, *key, xp=xp) < chance
        count = int(xp.count_nonzero(mask))
        if count == 0:
            return None
        rows, _ = kernel.compress(mask, count)
        found = xp.take(chance, rows)
        found = xp.where(found < 1.0, found, xp.ones_like(found))
        shares = (1.0 if weight is None else xp.take(weight, rows)) / found
        columns = (to_host(part)[:count] for part in (rows, shares, xp.take(labels, rows)))
        places, shares, labels = columns
        return places.astype(np.int64) + block.start, shares, labels

    found = [part for part in problem.source.map(task) if part is not None]
    rows, shares, labels = (np.concatenate(column) for column in zip(*found, strict=True))
    exponent = exact.exponent_above(float(shares.max()))
    weights = exact.to_device(np.ldexp(shares, -exponent), sample, xp=xp)
    part = Part(_over(problem, rows.tolist()), weights, math.ldexp(1.0, exponent))
    return part, exact.to_device(labels.astype(np.int32), sample, xp=xp)


def _per(sums: Host) -> Host:
    """What a row's number is multiplied by; nothing where a cluster has none."""
    return np.where(sums > 0.0, 0.5 * ROWS / np.where(sums > 0.0, sums, 1.0), 0.0)


def _over(problem: Training, rows: list[int]) -> Training:
    """The same question to some rows, under weights of at most 1."""
    plan, source = problem.plan, problem.source
    few: Source | None = source.part(rows)
    if few is None:
        few = MemorySource(
            source.take(rows),
            None,
            problem.context,
            block_rows=plan.block_rows,
            piece_rows=plan.piece_rows,
            threads=plan.threads,
        )
    summary = weighted_part(problem.summary)
    ledger = Ledger(
        summary,
        few.sample,
        len(rows),
        problem.context.xp,
        problem.kernel.means,
        problem.kernel.widened,
    )
    return replace(problem, source=few, summary=summary, ledger=ledger)
