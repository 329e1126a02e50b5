"""The NumPy kernel: cache-sized products, label and proof in one pass over the scores."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _bounds as b
from .. import _exact as exact
from .. import _primitives as p
from .._backend import numpy_context
from .._bounds import Drift, Proposal
from .._distances import Scale
from .._gains import Appraisal, Trials, make_trials
from .._look import COMPACT_SHARE, look
from .._stats import Surveyor
from .._typing import FEW, Array, Block, Source, slices, some
from . import _compare, _numpy_few, _numpy_gains, _numpy_wide
from ._numpy_scores import certify, half_norms, lower_bounds, moved_rows, squared_distances
from ._numpy_sums import WideSums, add_sums, adds_by_row
from ._numpy_survey import WideSurveyor
from ._numpy_wide import WIDE, Scores, rung_of, scores_by_row
from ._space import Space

_SCORE_BYTES = 1 << 21
_CROSS_VALUES = 1 << 16
_FEW_MARKS = 8
_COLUMN_VALUES = 1 << 17
_MEANS_IN_CACHE = 1 << 14
_FEW_DISTANCES = 1 << 13


class NumpyKernel:
    """Scores lie as (k, m) and rows by feature, so that operations run along contiguous rows."""

    name = "numpy"

    def __init__(self, *, keeps: bool = True) -> None:
        """``keeps``: blocks of few rows keep copies, which would add up where blocks are many."""
        self._keeps = keeps
        self._xp = numpy_context().xp
        self._space = Space()
        self.surveyor: Surveyor = WideSurveyor(self._xp, self._space)

    def prepare(self, nearest: p.Nearest, /) -> None:
        rung_of(nearest, nearest.first)

    def propose(
        self, x: Array, nearest: p.Nearest, notes: dict[str, Any], drift: Drift | None = None, /
    ) -> Proposal:
        if nearest.first == "exact":
            distances = self.distances(x, nearest.centers, nearest.scale)
            return Proposal(distances.argmin(axis=0).astype(np.int32), None, None)
        return self._propose(x, nearest, notes, drift)

    def _propose(
        self,
        x: Array,
        nearest: p.Nearest,
        notes: dict[str, Any],
        drift: Drift | None,
        rows: Array | None = None,
    ) -> Proposal:
        """The same for all or the listed rows, which are picked piece by piece."""
        scores = self._scores_of(x, nearest, notes, rows)
        rung = scores.rung
        if drift is None:
            labels, unsure, _ = self._certify(scores)
            return Proposal(labels, unsure, None)
        half = scores.half
        edges = np.empty((2, half.size), dtype=half.dtype)
        labels, unsure, _ = self._certify(scores, edges=edges)
        never = unsure
        if rung.twinned is not None and rung.twinned.any():
            never = unsure | rung.twinned.take(labels)
        bounds = b.kept(edges[0], edges[1], half, labels, never, rung, drift, xp=np)
        return Proposal(labels, unsure, bounds)

    def _scores_of(
        self, x: Array, nearest: p.Nearest, notes: dict[str, Any], rows: Array | None
    ) -> Any:
        """The scores of all or the listed rows of the first product."""
        return Scores(x, rung_of(nearest, nearest.first), notes, self._space, rows)

    def _picks_rows(self, x: Array, nearest: p.Nearest) -> bool:
        """Whether rows in doubt are picked piece by piece."""
        return scores_by_row(x.shape[1], nearest.centers.shape[0])

    def look(
        self, x: Array, nearest: p.Nearest, drift: Drift | None, state: dict[str, Any], /
    ) -> tuple[int, Array | None]:
        if nearest.first == "exact":
            # those before were of other labels
            state.pop("bounds", None)
            distances = self.distances(x, nearest.centers, nearest.scale)
            state["labels"] = distances.argmin(axis=0).astype(np.int32)
            return x.shape[0], None
        is_small = self._keeps and x.size <= _numpy_few.KEPT_VALUES
        if is_small and drift is None and nearest.first == "float32":
            state.pop("bounds", None)
            return x.shape[0], _numpy_few.label(x, nearest, state)
        bounds = state.get("bounds")
        if drift is None or bounds is None or drift.groups is not None:
            return look(self, x, nearest, drift, state)
        if not self._picks_rows(x, nearest):
            return look(self, x, nearest, drift, state)
        doubt, count = self.unproven(bounds, state["labels"], drift)
        if count > COMPACT_SHARE * x.shape[0]:
            del state["bounds"]
            return look(self, x, nearest, drift, state)
        return count, self._look_again(x, nearest, drift, state, doubt) if count else None

    def _look_again(
        self, x: Array, nearest: p.Nearest, drift: Drift, state: dict[str, Any], doubt: Array
    ) -> Array | None:
        """`_look.look` at the rows in doubt, which are picked piece by piece."""
        rows = np.flatnonzero(doubt)
        # out of the state until the new ones are in: a pass may be broken off
        bounds = state.pop("bounds")
        found = self._propose(x, nearest, state, drift, rows)
        labels = state["labels"].copy()
        labels[rows] = found.labels
        assert found.bounds is not None
        for old, new in (
            (bounds.slack, found.bounds.slack),
            (bounds.upper, found.bounds.upper),
            (bounds.lower, found.bounds.lower),
        ):
            old[rows] = new
        state["labels"], state["bounds"] = labels, bounds
        doubt[rows] = found.open
        return doubt

    def unproven(self, bounds: b.Bounds, labels: Array, drift: Drift, /) -> tuple[Array, int]:
        doubt = bounds.slack > drift.tables[0, 1].take(labels)
        np.logical_not(doubt, out=doubt)
        return doubt, int(np.count_nonzero(doubt))

    def settle(self, x: Array, nearest: p.Nearest, /) -> Array:
        if x.size * nearest.centers.shape[0] <= _FEW_DISTANCES:
            distances = self.distances(x, nearest.centers, nearest.scale)
            return distances.argmin(axis=0).astype(np.int32)
        rung = rung_of(nearest, "float64")
        labels, unsure, marks = self._certify(Scores(x, rung, {}, self._space), keep=True)
        if not marks.size:
            return labels
        few = x[unsure]
        if np.count_nonzero(marks, axis=1).max() <= _FEW_MARKS:
            labels[unsure] = p.resolve(few, marks, nearest, xp=self._xp)
            return labels
        settled = labels[unsure]
        step = max(64, _SCORE_BYTES // (8 * rung.bias.size))
        for start in range(0, settled.size, step):
            part = slice(start, start + step)
            distances = self.distances(few[part], nearest.centers, nearest.scale)
            settled[part] = np.where(marks[part].T, distances, np.inf).argmin(axis=0)
        labels[unsure] = settled
        return labels

    def _certify(
        self, scores: Any, *, keep: bool = False, edges: Array | None = None
    ) -> tuple[Array, Array, Array]:
        """Labels, the rows still open, and (to keep) the centers that are left to those.

        ``edges`` (2, m) gets the best score and the next of the rows that are not open.
        """
        rung, half = scores.rung, scores.half
        labels = np.empty(half.size, dtype=np.int32)
        unsure = np.empty(half.size, dtype=np.bool_)
        marks = [np.empty((0, rung.bias.size), dtype=np.bool_)]
        step = max(64, _SCORE_BYTES // (rung.weights.itemsize * rung.bias.size))
        for part in slices(half.size, step):
            edge = None if edges is None else edges[:, part]
            lower = scores.lower_bounds(part)
            best = lower.min(axis=0)
            limit = p.exclusion_threshold(best, half[part], rung, xp=np)
            if edge is not None:
                edge[0] = best
            near = certify(
                lower, limit, labels[part], unsure[part], None if edge is None else edge[1]
            )
            if keep:
                marks.append(near[:, unsure[part]].T)
        scores.note()
        return labels, unsure, np.concatenate(marks)

    def own_distances(self, x: Array, nearest: p.Nearest, labels: Array | None = None, /) -> Array:
        if x.shape[1] >= WIDE and x.shape[0] * x.shape[1] > _CROSS_VALUES:
            return _numpy_wide.own_distances(x, nearest, labels, self._space)
        if labels is None and x.size <= _CROSS_VALUES:
            return squared_distances(x.T, nearest.centers.T, nearest.scale)
        out = np.empty(x.shape[0])
        step = max(256, _CROSS_VALUES // x.shape[1])
        for start in range(0, x.shape[0], step):
            part = slice(start, start + step)
            own = nearest.centers
            own = own[part] if labels is None else own.take(labels[part], axis=0)
            out[part] = squared_distances(x[part].T, own.T, nearest.scale)
        return out

    def distances(self, x: Array, centers: Array, scale: Scale, /) -> Array:
        step = max(256, _CROSS_VALUES // (centers.shape[0] * x.shape[1]))
        if x.shape[0] <= step:
            return squared_distances(x.T, centers[:, :, None], scale)
        out = np.empty((centers.shape[0], x.shape[0]))
        for start in range(0, x.shape[0], step):
            part = slice(start, start + step)
            out[:, part] = squared_distances(x[part].T, centers[:, :, None], scale)
        return out

    def distances_at(self, x: Array, rows: Array, center: Array, scale: Scale, /) -> Array:
        out = np.empty(rows.size)
        step = max(256, _CROSS_VALUES // x.shape[1])
        for start in range(0, rows.size, step):
            part = slice(start, start + step)
            out[part] = squared_distances(some(x, rows[part], xp=np).T, center[:, None], scale)
        return out

    def trials(self, nearest: p.Nearest, seeds: Sequence[int], source: Source, /) -> Trials:
        return make_trials(nearest, seeds, source, xp=self._xp)

    def appraise(
        self, x: Array, weight: Array | None, state: dict[str, Any], trials: Trials, /
    ) -> Appraisal:
        half = half_norms(x, trials.rung, state)
        lower = functools.partial(_numpy_gains.scores, x, trials.rung, moved_rows)
        return _numpy_gains.appraise(x.shape, weight, state, trials, half, lower)

    def gained(self, block: Block, trials: Trials, trial: int, lottery: Any, /) -> int:
        return _compare.gained(self, block, trials, trial, lottery, xp=self._xp)

    def improve(
        self, block: Block, trials: Trials, trial: int, number: int, lottery: Any, /
    ) -> None:
        _compare.improve(self, block, trials, trial, number, lottery, xp=self._xp)

    def screen(self, x: Array, rung: p.Rung, notes: dict[str, Any], /) -> tuple[Array, Array]:
        return lower_bounds(x, rung), half_norms(x, rung, notes)

    def advance(self, *_: Any) -> None:
        """Iterations are the solver's."""

    def add_changes(
        self, block: Block, before: Array | None, ledger: Any, n_clusters: int, sums: Any, /
    ) -> int | None:
        n_rows, n_columns = block.n_rows, ledger.n_columns
        after = block.state["labels"]
        if self._keeps and n_rows * n_columns <= _numpy_few.KEPT_VALUES:
            if before is not None:
                return _numpy_few.add_moved(block, before, ledger, n_clusters, sums)
            columns = _numpy_few.columns_of(block, ledger)
            sums.add(self.group_sums(columns, after, n_clusters), n_rows)
            return n_rows if block.weight is None else int(np.count_nonzero(block.weight))
        moved = None if before is None else np.flatnonzero(after != before)
        by_row = adds_by_row(block.x.shape[1], n_clusters)
        if moved is not None and moved.size * FEW <= n_rows:
            if moved.size == 0:
                return 0
            if not by_row or moved.size < n_clusters:
                return None  # few rows: the common way
        step = max(256, min(exact.EXACT_ROWS, _COLUMN_VALUES // block.x.shape[1]))
        with sums.lend((n_clusters, n_columns), n_rows if moved is None else 2 * moved.size) as out:
            if by_row:
                adder = WideSums(out, block, ledger, self._space)
                if moved is None:
                    adder.add_all(after)
                else:
                    adder.add_moved(after, before, moved)
                return carrying(block, moved)
            for start in range(0, n_rows if moved is None else moved.size, step):
                rows = slice(start, start + step) if moved is None else moved[start : start + step]
                weight = None if block.weight is None else block.weight[rows]
                columns = ledger.columns(block.x[rows], weight)
                add_sums(out, columns, after[rows])
                if before is not None:
                    np.negative(columns, out=columns)
                    add_sums(out, columns, before[rows])
        return carrying(block, moved)

    def means(
        self, totals: Array, weights: Array, features: int, limbs: int, /, **kind: bool
    ) -> Array:
        # of as many clusters as a cache has room for: the temporaries are many
        step = max(1, _MEANS_IN_CACHE // features)
        means = [
            exact.means(totals[:, at, :], weights[at], features, limbs, **kind)
            for at in slices(weights.shape[0], step)
        ]
        return means[0] if len(means) == 1 else np.concatenate(means)

    def plusplus(self, *_: Any) -> list[int] | None:
        return None

    def oversample(self, *_: Any) -> list[int] | None:
        return None

    def limb_sums(self, values: Array, up: float, /) -> tuple[int, int]:
        return exact.limb_sums(values, up, xp=self._xp)

    def grid_sums(self, values: Array, least: float, /) -> tuple[float, int, int]:
        largest = float(values.max())
        exponent = exact.exponent_above(max(largest, least))
        return largest, *self.limb_sums(values, math.ldexp(1.0, exact.LIMB_BITS - exponent))

    def widened(self, x: Array, /) -> Array:
        return x.astype(np.float64, copy=False)

    def rounded(self, values: Array, dtype: str, /) -> Array:
        return values.astype(dtype, copy=False)

    def group_sums(self, values: Array, labels: Array, n_groups: int, /) -> Array:
        total = np.zeros((n_groups, values.shape[1]), dtype=np.int64)
        add_sums(total, values, labels)
        return total

    def compress(self, mask: Array, count: int, /) -> tuple[Array, Array | None]:
        return np.flatnonzero(mask), None

    def put(self, values: Array, mask: Array, rows: Array, replacements: Array, /) -> Array:
        values[rows] = replacements
        return values


def carrying(block: Block, rows: Array | None) -> int:
    """How many (of the listed) rows carry weight."""
    if block.weight is None:
        return block.n_rows if rows is None else int(rows.size)
    return int(np.count_nonzero(block.weight if rows is None else block.weight[rows]))
