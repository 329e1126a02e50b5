"""The NumPy kernel: cache-sized products, label and proof in one pass over the scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _bounds as b
from .. import _primitives as p
from .._backend import numpy_context
from .._bounds import Drift, Proposal
from .._distances import Scale
from .._exact import EXACT_ROWS, limb_sums
from .._gains import Appraisal, Trials, make_trials
from .._look import look
from .._stats import Surveyor
from .._typing import FEW, Array, Block, Source, some
from . import _compare, _numpy_few, _numpy_gains
from ._numpy_scores import certify, half_norms, lower_bounds, moved_rows, squared_distances

_SCORE_BYTES = 1 << 21
_CROSS_VALUES = 1 << 16
_DENSE_MARKS = 1 << 13
_FEW_MARKS = 8
_COLUMN_VALUES = 1 << 17
_FEW_DISTANCES = 1 << 13
_SUM_VALUES = 1 << 17


class NumpyKernel:
    """Scores lie as (k, m) and rows by feature, so that operations run along contiguous rows."""

    name = "numpy"

    def __init__(self, *, keeps: bool = True) -> None:
        """``keeps``: blocks of few rows keep copies, which would add up where blocks are many."""
        self._keeps = keeps
        self._xp = numpy_context().xp
        self.surveyor = Surveyor(self._xp)

    def prepare(self, nearest: p.Nearest, /) -> None:
        nearest.rung(nearest.first, xp=self._xp)

    def propose(
        self, x: Array, nearest: p.Nearest, notes: dict[str, Any], drift: Drift | None = None, /
    ) -> Proposal:
        if nearest.first == "exact":
            distances = self.distances(x, nearest.centers, nearest.scale)
            return Proposal(distances.argmin(axis=0).astype(np.int32), None, None)
        rung = nearest.rung(nearest.first, xp=self._xp)
        half = half_norms(x, rung, notes)
        if drift is None:
            labels, unsure, _ = self._certify(x, rung, half)
            return Proposal(labels, unsure, None)
        edges = np.empty((2, x.shape[0]), dtype=half.dtype)
        labels, unsure, _ = self._certify(x, rung, half, edges=edges)
        never = unsure
        if rung.twinned is not None and rung.twinned.any():
            never = unsure | rung.twinned.take(labels)
        bounds = b.kept(edges[0], edges[1], half, labels, never, rung, drift, xp=np)
        return Proposal(labels, unsure, bounds)

    def look(
        self, x: Array, nearest: p.Nearest, drift: Drift | None, state: dict[str, Any], /
    ) -> tuple[int, Array | None]:
        if nearest.first == "exact":
            distances = self.distances(x, nearest.centers, nearest.scale)
            state["labels"] = distances.argmin(axis=0).astype(np.int32)
            return x.shape[0], None
        is_small = self._keeps and x.size <= _numpy_few.KEPT_VALUES
        if is_small and drift is None and nearest.first == "float32":
            state.pop("bounds", None)
            return x.shape[0], _numpy_few.label(x, nearest, state)
        return look(self, x, nearest, drift, state)

    def unproven(self, bounds: b.Bounds, labels: Array, drift: Drift, /) -> tuple[Array, int]:
        doubt = bounds.slack > drift.tables[0, 1].take(labels)
        np.logical_not(doubt, out=doubt)
        return doubt, int(np.count_nonzero(doubt))

    def settle(self, x: Array, nearest: p.Nearest, /) -> Array:
        if x.size * nearest.centers.shape[0] <= _FEW_DISTANCES:
            distances = self.distances(x, nearest.centers, nearest.scale)
            return distances.argmin(axis=0).astype(np.int32)
        rung = nearest.rung("float64", xp=self._xp)
        labels, unsure, marks = self._certify(x, rung, half_norms(x, rung, {}), keep=True)
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
        self,
        x: Array,
        rung: p.Rung,
        half: Array,
        *,
        keep: bool = False,
        edges: Array | None = None,
    ) -> tuple[Array, Array, Array]:
        """Labels, the rows still open, and (to keep) the centers that are left to those.

        ``edges`` (2, m) gets the best score and the next of the rows that are not open.
        """
        labels = np.empty(x.shape[0], dtype=np.int32)
        unsure = np.empty(x.shape[0], dtype=np.bool_)
        marks = [np.empty((0, rung.bias.size), dtype=np.bool_)]
        step = max(64, _SCORE_BYTES // (rung.weights.itemsize * rung.bias.size))
        for start in range(0, x.shape[0], step):
            part = slice(start, start + step)
            scores = None if edges is None else edges[:, part]
            lower = lower_bounds(x[part], rung)
            best = lower.min(axis=0)
            limit = p.exclusion_threshold(best, half[part], rung, xp=np)
            if scores is not None:
                scores[0] = best
            near = certify(
                lower, limit, labels[part], unsure[part], None if scores is None else scores[1]
            )
            if keep:
                marks.append(near[:, unsure[part]].T)
        return labels, unsure, np.concatenate(marks)

    def own_distances(self, x: Array, nearest: p.Nearest, labels: Array | None = None, /) -> Array:
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
        return _numpy_gains.appraise(x, weight, state, trials, half, moved_rows)

    def gained(self, block: Block, trials: Trials, trial: int, lottery: Any, /) -> int:
        return _compare.gained(self, block, trials, trial, lottery, xp=self._xp)

    def improve(
        self, block: Block, trials: Trials, trial: int, number: int, lottery: Any, /
    ) -> None:
        _compare.improve(self, block, trials, trial, number, lottery, xp=self._xp)

    def screen(self, x: Array, rung: p.Rung, notes: dict[str, Any], /) -> tuple[Array, Array]:
        return lower_bounds(x, rung), half_norms(x, rung, notes)

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
        if moved is not None and moved.size * FEW <= n_rows:
            return None  # few rows: the common way
        step = max(256, min(EXACT_ROWS, _COLUMN_VALUES // block.x.shape[1]))
        with sums.lend((n_clusters, n_columns), n_rows if moved is None else 2 * moved.size) as out:
            for start in range(0, n_rows if moved is None else moved.size, step):
                rows = slice(start, start + step) if moved is None else moved[start : start + step]
                weight = None if block.weight is None else block.weight[rows]
                columns = ledger.columns(block.x[rows], weight)
                _add_sums(out, columns, after[rows])
                if before is not None:
                    np.negative(columns, out=columns)
                    _add_sums(out, columns, before[rows])
        if block.weight is None:
            return n_rows if moved is None else int(moved.size)
        return int(np.count_nonzero(block.weight if moved is None else block.weight[moved]))

    def limb_sums(self, values: Array, up: float, /) -> tuple[int, int]:
        return limb_sums(values, up, xp=self._xp)

    def group_sums(self, values: Array, labels: Array, n_groups: int, /) -> Array:
        total = np.zeros((n_groups, values.shape[1]), dtype=np.int64)
        _add_sums(total, values, labels)
        return total

    def compress(self, mask: Array, count: int, /) -> tuple[Array, Array | None]:
        return np.flatnonzero(mask), None

    def put(self, values: Array, mask: Array, rows: Array, replacements: Array, /) -> Array:
        values[rows] = replacements
        return values


def _add_sums(total: Array, values: Array, labels: Array) -> None:
    """Add rows by label: 4096 at a time are exact in float64, few columns stay in cache."""
    columns = max(8, _SUM_VALUES // total.shape[0])
    for start in range(0, values.shape[0], EXACT_ROWS):
        rows = slice(start, start + EXACT_ROWS)
        for first in range(0, values.shape[1], columns):
            part = slice(first, first + columns)
            found = _float_sums(values[rows, part], labels[rows], total.shape[0])
            total[:, part] += found.astype(np.int64)


def _float_sums(
    values: npt.NDArray[np.float64], labels: npt.NDArray[np.int32], n_groups: int
) -> Array:
    rows, columns = values.shape
    if columns == 1:
        return np.bincount(labels, values[:, 0], n_groups)[:, None]
    if rows * n_groups <= _DENSE_MARKS:
        marks = (labels[None, :] == np.arange(n_groups)[:, None]).astype(np.float64)
        return marks @ values
    from scipy.sparse import csr_array

    pattern = csr_array((np.ones(rows), labels, np.arange(rows + 1)), shape=(rows, n_groups))
    return pattern.T @ values
