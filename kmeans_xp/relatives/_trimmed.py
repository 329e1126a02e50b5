"""Trimmed k-means: the rows farthest from their centers are left out, and the others have means.

To the nearest center, leave out, to the means of the rest: none of the three raises the weighted
sum of squared distances of the rows that are kept (Cuesta-Albertos, Gordaliza and Matran, 1997;
these concentration steps are those of Garcia-Escudero and others, 2008).

Rows stand in the order of their canonical distance, the lower row first among equals.  Those that
are kept are the first ones, up to a row that is the last; behind it, all are left out.  Of n rows
without weights floor(trim n) are.  By weight so much is left out exactly, since the last row may
count for a part of its weight: only so does the sum never rise, and repeated rows are as good as
whole weights.  To tell which row it is, weights count in whole numbers that add up exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import array_api_compat
import numpy as np

from .. import _exact as exact
from .._assign import relabel
from .._backend import to_host
from .._outcome import Result, Rules, Status
from .._passes import changes, used_clusters
from .._primitives import Nearest
from .._problem import Training, as_centers
from .._solver import LLOYD, State, concluded
from .._totals import weighted_total
from .._typing import Array, Block, Namespace
from ._objective import ended, falls, in_units_of_rows, relative

_SUM_BITS = 62  # of whole weights that add up in int64


class Masses(NamedTuple):
    """Weights as whole numbers, their sum, and how much of it is kept."""

    whole: Array | None  # (n,) int64; None: each row counts for 1
    total: int
    kept: int


class Last(NamedTuple):
    """The last row that is kept, its distance, and the part of its weight that counts."""

    row: int
    distance: float
    part: float


@dataclass(frozen=True)
class _Seen:
    """What assigning and leaving out leaves under some centers."""

    nearest: Nearest
    last: Last
    value: float


def masses(weight: Array | None, n_rows: int, trim: float, exponent: int, /) -> Masses:
    """How much is kept; weights of at most 1 are whole numbers but for 2**exponent, or are not.

    Whole weights are repeated rows, and of their sum a whole number is left out.
    """
    if weight is None:
        return Masses(None, n_rows, n_rows - math.floor(trim * n_rows))
    xp = array_api_compat.array_namespace(weight)
    bits = _SUM_BITS - n_rows.bit_length()
    whole = xp.astype(xp.round(weight * 2.0**bits), xp.int64)
    total = int(xp.sum(whole))
    unit = bits - exponent
    if 0 <= unit < _SUM_BITS and not bool(xp.any(whole & ((1 << unit) - 1) != 0)):
        return Masses(whole, total, total - (math.floor(trim * (total >> unit)) << unit))
    return Masses(whole, total, max(1, total - math.floor(trim * total)))


def last_kept(distances: Array, whole: Array | None, kept: int, /, *, xp: Namespace) -> Last:
    """Find the last row that is kept when rows of so much weight are, by their distances (n,)."""
    if whole is None:
        distance = xp.sort(distances)[kept - 1]
        wanted = kept - xp.count_nonzero(distances < distance)
        # the lowest of equal rows are kept
        running = xp.cumulative_sum(xp.astype(distances == distance, xp.int64))
        row = int(xp.argmax(xp.astype(running >= wanted, xp.int8)))
        return Last(row, float(distance), 1.0)
    order = xp.argsort(distances, stable=True)
    running = xp.cumulative_sum(xp.take(whole, order))
    # the first row with which the weight is reached; it carries some itself
    place = int(xp.argmax(xp.astype(running >= kept, xp.int8)))
    row, over = int(order[place]), int(running[place]) - kept
    mine = int(whole[row])
    return Last(row, float(distances[row]), 1.0 - over / mine)


@dataclass
class Trimmed:
    """The way of trimmed k-means: a `_solver.Way`; that of k-means where no row is left out.

    While a run lasts, labels of rows that are left out are the number of clusters.
    """

    trim: float
    _masses: Masses | None = field(default=None, init=False)  # of the rows of a fit, which stay

    def step(self, problem: Training, state: State, rules: Rules, seed: int, /) -> State:
        """Nearest centers, rows left out, means of the others."""
        if not self._leaves_out(problem):
            return LLOYD.step(problem, state, rules, seed)
        if problem.is_wide:
            problem.cover(state.centers)
        befores = [block.state.get("labels") for block in problem.source.blocks]
        nearest = problem.nearest_to(state.centers)
        relabel(problem, nearest)
        seen = self._leave_out(problem, nearest)
        k = int(state.centers.shape[0])
        changed, totals = changes(problem, befores, k + 1)
        if state.totals is not None:
            totals = exact.carry(totals + state.totals, xp=problem.context.xp)
        if changed and not falls(state, seen.value):
            return ended(state)
        state = replace(state, totals=totals)
        centers, filled = _means(problem, seen, totals)
        changed += filled
        moves = problem.kernel.own_distances(centers, nearest)
        value, done = in_units_of_rows(problem, seen.value), changed == 0
        after = concluded(problem, state, rules, nearest, centers, moves, changed, value, done)
        return replace(after, value=seen.value)

    def finish(self, problem: Training, state: State, keeps: bool, /) -> Result:
        """Labels, rows left out and objective that belong to the better of the last centers."""
        if not self._leaves_out(problem):
            return _with_radius(problem, LLOYD.finish(problem, state, keeps))
        centers, status = state.centers, state.status
        assert status is not None
        seen = self._finally(problem, centers)
        may_rise = status is not Status.CONVERGED and state.before is not None
        if may_rise and not falls(state, seen.value):
            centers = state.before
            seen = self._finally(problem, centers)
        k, xp = int(centers.shape[0]), problem.context.xp
        labels = problem.source.collect("labels")
        is_out = labels == k
        used = used_clusters(problem, k + 1) - int(xp.any(is_out))
        return Result(
            centers,
            xp.where(is_out, xp.full_like(labels, -1), labels),
            in_units_of_rows(problem, seen.value),
            len(state.history),
            status,
            state.history,
            used,
            facts={"radius": math.sqrt(seen.last.distance) / seen.nearest.scale.factor},
        )

    def _finally(self, problem: Training, centers: Array) -> _Seen:
        """What belongs to centers, with labels as `predict` gives them."""
        if problem.is_wide:
            problem.cover(centers)
        relabel(problem, problem.nearest_to(centers, scale=problem.label_scale(centers)))
        return self._leave_out(problem, problem.nearest_to(centers, screens=False))

    def _leaves_out(self, problem: Training) -> bool:
        """Whether any row may be left out."""
        if self._masses is None:
            blocks, xp = problem.source.blocks, problem.context.xp
            weighted = blocks[0].weight is not None
            weight = xp.concat([block.weight for block in blocks]) if weighted else None
            n_rows, exponent = problem.source.n_rows, problem.weight_exponent
            self._masses = masses(weight, n_rows, self.trim, exponent)
        return self._masses.kept < self._masses.total

    def _leave_out(self, problem: Training, nearest: Nearest) -> _Seen:
        """Give rows behind the last one that is kept another label; what the others sum up to."""
        xp, k, found = problem.context.xp, int(nearest.centers.shape[0]), self._masses
        assert found is not None

        def measure(block: Block) -> None:
            own = problem.kernel.own_distances(block.x, nearest, block.state["labels"])
            block.state["own"] = own

        problem.source.map(measure)
        last = last_kept(problem.source.collect("own"), found.whole, found.kept, xp=xp)

        def mark(block: Block) -> None:
            own, labels = block.state["own"], block.state["labels"]
            numbers = np.arange(block.start, block.start + block.n_rows)
            rows = exact.to_device(numbers, problem.source.sample, xp=xp)
            is_equal = own == last.distance
            is_out = (own > last.distance) | (is_equal & (rows > last.row))
            counted = xp.where(is_out, xp.zeros_like(own), own)
            block.state["own"] = xp.where(rows == last.row, own * last.part, counted)
            block.state["labels"] = xp.where(is_out, xp.full_like(labels, k), labels)

        problem.source.map(mark)
        scale = relative(problem, nearest)
        value = weighted_total(problem, lambda block: block.state["own"], scale)
        return _Seen(nearest, last, value)


def _means(problem: Training, seen: _Seen, totals: Array) -> tuple[Array, int]:
    """Means of the rows that are kept; empty clusters start anew from the farthest of these.

    The second result is how many did.
    """
    xp, centers = problem.context.xp, seen.nearest.centers
    k = int(centers.shape[0])
    if seen.last.part < 1.0:
        totals = exact.carry(totals + _part_left_out(problem, seen.last, k), xp=xp)
    totals = totals[:, :k, :]
    counts = problem.ledger.counts(totals)
    means = as_centers(problem.ledger.means(totals, counts), problem)
    centers = xp.where((counts > 0)[:, None], means, centers)
    empty = [j for j, count in enumerate(to_host(counts).tolist()) if count == 0]
    rows = _farthest(problem, len(empty)) if empty else []
    if not rows:
        return centers, 0
    order = np.arange(k)
    order[empty[: len(rows)]] = k + np.arange(len(rows))
    choices = xp.concat([centers, problem.source.take(rows)], axis=0)
    return xp.take(choices, exact.to_device(order, choices, xp=xp), axis=0), len(rows)


def _part_left_out(problem: Training, last: Last, n_clusters: int) -> Array:
    """What the sums lose by the part of the last row that does not count."""
    xp, ledger = problem.context.xp, problem.ledger
    [block] = [b for b in problem.source.blocks if 0 <= last.row - b.start < b.n_rows]
    place = slice(last.row - block.start, last.row - block.start + 1)
    x, label = block.x[place, :], block.state["labels"][place]
    assert block.weight is not None
    weight = block.weight[place]
    columns = [ledger.columns(x, weight * last.part), -ledger.columns(x, weight)]
    labels = xp.concat([label, label])
    change = problem.kernel.group_sums(xp.concat(columns, axis=0), labels, n_clusters + 1)
    return exact.in_words(change, ledger.words, xp=xp)


def _farthest(problem: Training, count: int) -> list[int]:
    """The rows that are kept and carry weight, farthest first; the lower one among equals."""
    xp = problem.context.xp

    def task(block: Block) -> list[tuple[float, int]]:
        own = block.state["own"]
        if block.weight is not None:
            own = xp.where(block.weight > 0.0, own, xp.zeros_like(own))
        order = xp.argsort(-own, stable=True)[: min(count, block.n_rows)]
        distances = to_host(xp.take(own, order)).tolist()
        places = to_host(order).tolist()
        pairs = zip(distances, places, strict=True)
        return [(-own, block.start + place) for own, place in pairs if own > 0.0]

    found = sorted(pair for part in problem.source.map(task) for pair in part)
    return [row for _, row in found[:count]]


def _with_radius(problem: Training, result: Result) -> Result:
    """The result with the distance of its farthest row that carries weight."""
    xp, nearest = problem.context.xp, problem.nearest_to(result.centers, screens=False)

    def task(block: Block) -> float:
        own = problem.kernel.own_distances(block.x, nearest, block.state["labels"])
        if block.weight is not None:
            own = xp.where(block.weight > 0.0, own, xp.zeros_like(own))
        return float(xp.max(own))

    radius = math.sqrt(max(problem.source.map(task))) / nearest.scale.factor
    return replace(result, facts={"radius": radius})
