"""The kernel of sparse rows: products, sums and statistics over the places that are stored.

The first product is float64 and has no shift, which would leave no place empty.  A place that is
not stored adds an exact zero, so that a dot product has no more roundings than a dense one, whose
bound (`_primitives`) holds as it stands.  Rows that the product leaves open, and all canonical
distances, are dense, a few rows at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _exact as exact
from .. import _primitives as p
from .._distances import Scale
from .._gains import Appraisal, Trials
from .._typing import Array, Block, Source, slices
from . import _numpy_gains
from ._numpy import NumpyKernel, carrying
from ._sparse_block import SparseBlock, SparseScores, by_feature, scores
from ._sparse_distances import Folded, folds_pay
from ._sparse_survey import SparseSurveyor

_FEW = 8  # rows for which a tree would take longer than they


class SparseKernel(NumpyKernel):
    """Whole blocks are `SparseBlock`s; rows that were picked are dense, and NumPy's kernel's."""

    name = "sparse"

    def __init__(self) -> None:
        super().__init__(keeps=False)
        self.surveyor = SparseSurveyor(self._xp)

    def prepare(self, nearest: p.Nearest, /) -> None:
        by_feature(nearest.rung(nearest.first, xp=self._xp))

    def _scores_of(
        self, x: Array, nearest: p.Nearest, notes: dict[str, Any], rows: Array | None
    ) -> Any:
        if not isinstance(x, SparseBlock):
            return super()._scores_of(x, nearest, notes, rows)
        return SparseScores(x, nearest.rung(nearest.first, xp=self._xp), rows)

    def _picks_rows(self, x: Array, nearest: p.Nearest) -> bool:
        return isinstance(x, SparseBlock) or super()._picks_rows(x, nearest)

    def own_distances(self, x: Array, nearest: p.Nearest, labels: Array | None = None, /) -> Array:
        if not isinstance(x, SparseBlock):
            return super().own_distances(x, nearest, labels)
        labels = np.arange(x.shape[0]) if labels is None else labels
        if folds_pay(x, nearest.centers.shape[0]):
            return self._folded(nearest).distances(x, labels)
        out = np.empty(x.shape[0])
        for part in slices(x.shape[0], x.few):
            out[part] = super().own_distances(x[part], nearest, labels[part])
        return out

    def distances(self, x: Array, centers: Array, scale: Scale, /) -> Array:
        if not isinstance(x, SparseBlock):
            return super().distances(x, centers, scale)
        if folds_pay(x, 1):
            labels = np.zeros(x.shape[0], dtype=np.int32)
            found = [Folded(center[None, :], scale).distances(x, labels) for center in centers]
            return np.stack(found)
        out = np.empty((centers.shape[0], x.shape[0]))
        for part in slices(x.shape[0], x.few):
            out[:, part] = super().distances(x[part], centers, scale)
        return out

    def distances_at(self, x: Array, rows: Array, center: Array, scale: Scale, /) -> Array:
        if not isinstance(x, SparseBlock):
            return super().distances_at(x, rows, center, scale)
        if rows.size >= _FEW and folds_pay(x, 1):
            labels = np.zeros(rows.size, dtype=np.int32)
            return Folded(center[None, :], scale).distances(x.part(rows), labels)
        out = np.empty(rows.size)
        for part in slices(rows.size, x.few):
            out[part] = super().distances(x[rows[part]], center[None, :], scale)[0]
        return out

    def _folded(self, nearest: p.Nearest) -> Folded:
        """The centers' own squares, summed up once for all blocks."""
        if "folded" not in nearest.notes:
            nearest.notes["folded"] = Folded(nearest.centers, nearest.scale)
        found: Folded = nearest.notes["folded"]
        return found

    def trials(self, nearest: p.Nearest, seeds: Any, source: Source, /) -> Trials:
        found: Trials = super().trials(nearest, seeds, source)
        by_feature(found.rung)
        return found

    def appraise(
        self, x: Array, weight: Array | None, state: dict[str, Any], trials: Trials, /
    ) -> Appraisal:
        scaled = x.scaled(trials.rung.scale)

        def lower(at: slice | npt.NDArray[np.intp]) -> Array:
            return scores(scaled.part(at), trials.rung)

        half = 0.5 * scaled.squares()
        return _numpy_gains.appraise(x.shape, weight, state, trials, half, lower)

    def screen(self, x: Array, rung: p.Rung, notes: dict[str, Any], /) -> tuple[Array, Array]:
        if not isinstance(x, SparseBlock):
            return super().screen(x, rung, notes)
        found = SparseScores(x, rung)
        return found.lower_bounds(slice(0, x.shape[0])), found.half

    def add_changes(
        self, block: Block, before: Array | None, ledger: Any, n_clusters: int, sums: Any, /
    ) -> int | None:
        after = block.state["labels"]
        moved = None if before is None else np.flatnonzero(after != before)
        if moved is not None and moved.size == 0:
            return 0
        x, weight = block.x, block.weight
        if before is not None:
            x, after, before = x.part(moved), after[moved], before[moved]
            weight = None if weight is None else weight[moved]
        shape = n_clusters, ledger.n_columns
        with sums.lend(shape, x.shape[0] if before is None else 2 * x.shape[0]) as out:
            columns = _Columns(x, weight, ledger)
            columns.add(out, after, np.add)
            if before is not None:
                columns.add(out, before, np.subtract)
        return carrying(block, moved)


class _Columns:
    """The integer columns of some rows (see `_ledger`), of which only the stored places count."""

    def __init__(self, x: SparseBlock, weight: Array | None, ledger: Any) -> None:
        up, limbs, _, _ = ledger.scales
        self._rows, self._columns, self._features = x.rows, x.indices, x.shape[1]
        values = x.values if weight is None else x.values * weight[self._rows]
        parts = exact.quantise(values, up[self._columns], limbs, xp=np)
        self._parts = [part.astype(np.int64) for part in parts]
        like = np.empty((x.shape[0], 1))
        self._tail = ledger.weight_columns(like, weight).astype(np.int64)

    def add(self, out: npt.NDArray[np.int64], labels: Array, change: np.ufunc) -> None:
        """Add to (subtract from) the sums of each row's cluster."""
        flat, width = out.reshape(-1), out.shape[1]
        places = labels.astype(np.int64)[self._rows] * width + self._columns
        for limb, part in enumerate(self._parts):
            change.at(flat, places + limb * self._features, part)
        change.at(out[:, width - self._tail.shape[1] :], labels, self._tail)
