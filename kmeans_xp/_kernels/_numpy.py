"""The NumPy kernel: cache-sized products, label and proof in one pass over the scores."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _bounds as b
from .. import _primitives as p
from .._backend import numpy_context
from .._bounds import Drift, Proposal
from .._exact import EXACT_ROWS
from .._gains import Appraisal, Trials
from .._look import look
from .._stats import Surveyor
from .._typing import Array, Block
from . import _numpy_gains

_SCORE_BYTES = 1 << 21
_CROSS_VALUES = 1 << 16
_DENSE_MARKS = 1 << 13
_FEW_MARKS = 8
_COLUMN_VALUES = 1 << 17
_FEW_VALUES = 1 << 13
_SUM_VALUES = 1 << 17


class NumpyKernel:
    """Scores lie as (k, m) and rows by feature, so that operations run along contiguous rows."""

    name = "numpy"
    lends = True

    def __init__(self) -> None:
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
        half = _half_norms(x, rung, notes)
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
        return look(self, x, nearest, drift, state)

    def unproven(self, bounds: b.Bounds, labels: Array, drift: Drift, /) -> tuple[Array, int]:
        doubt = bounds.slack > drift.tables[0, 1].take(labels)
        np.logical_not(doubt, out=doubt)
        return doubt, int(np.count_nonzero(doubt))

    def settle(self, x: Array, nearest: p.Nearest, /) -> Array:
        rung = nearest.rung("float64", xp=self._xp)
        labels, unsure, marks = self._certify(x, rung, _half_norms(x, rung, {}), keep=True)
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
            near = _certify_part(x[part], rung, half[part], labels[part], unsure[part], scores)
            if keep:
                marks.append(near[:, unsure[part]].T)
        return labels, unsure, np.concatenate(marks)

    def own_distances(self, x: Array, nearest: p.Nearest, labels: Array, /) -> Array:
        out = np.empty(x.shape[0])
        centers = np.ascontiguousarray(nearest.centers.T, dtype=np.float64)
        step = max(256, _CROSS_VALUES // x.shape[1])
        for start in range(0, x.shape[0], step):
            part = slice(start, start + step)
            rows = np.ascontiguousarray(x[part].T, dtype=np.float64)
            mine = centers.take(labels[part], axis=1)
            out[part] = p.squared_distances(rows, mine, nearest.scale, xp=self._xp, axis=-2)
        return out

    def distances(self, x: Array, centers: Array, scale: p.Scale, /) -> Array:
        out = np.empty((centers.shape[0], x.shape[0]))
        step = max(256, _CROSS_VALUES // (centers.shape[0] * x.shape[1]))
        for start in range(0, x.shape[0], step):
            part = slice(start, start + step)
            rows = np.ascontiguousarray(x[part].T, dtype=np.float64)
            out[:, part] = p.squared_distances(
                rows, centers[:, :, None], scale, xp=self._xp, axis=-2
            )
        return out

    def distances_at(self, x: Array, rows: Array, center: Array, scale: p.Scale, /) -> Array:
        out = np.empty(rows.size)
        step = max(256, _CROSS_VALUES // x.shape[1])
        for start in range(0, rows.size, step):
            part = slice(start, start + step)
            out[part] = _canonical(x.take(rows[part], axis=0), center, scale)
        return out

    def appraise(
        self, x: Array, weight: Array | None, state: dict[str, Any], trials: Trials, /
    ) -> Appraisal:
        half = _half_norms(x, trials.rung, state)
        return _numpy_gains.appraise(x, weight, state, trials, half, moved_rows)

    def screen(self, x: Array, rung: p.Rung, notes: dict[str, Any], /) -> tuple[Array, Array]:
        return _lower_bounds(x, rung), _half_norms(x, rung, notes)

    def add_changes(
        self, block: Block, before: Array | None, ledger: Any, n_clusters: int, sums: Any, /
    ) -> int | None:
        n_rows, n_columns = block.n_rows, ledger.n_columns
        if n_rows * max(n_columns, n_clusters) <= _FEW_VALUES:
            return _add_marked(block, before, ledger, n_clusters, sums)
        if before is not None:
            return None  # few rows: the common way
        step = max(256, min(EXACT_ROWS, _COLUMN_VALUES // block.x.shape[1]))
        with sums.lend((n_clusters, n_columns), n_rows) as out:
            start = 0
            for x, weight in block.pieces(step):
                columns = ledger.columns(x, weight)
                _add_sums(out, columns, block.state["labels"][start : start + step])
                start += step
        return n_rows if block.weight is None else int(np.count_nonzero(block.weight))

    def group_sums(self, values: Array, labels: Array, n_groups: int, /) -> Array:
        total = np.zeros((n_groups, values.shape[1]), dtype=np.int64)
        _add_sums(total, values, labels)
        return total

    def compress(self, mask: Array, count: int, /) -> tuple[Array, Array | None]:
        return np.flatnonzero(mask), None

    def put(self, values: Array, mask: Array, rows: Array, replacements: Array, /) -> Array:
        values[rows] = replacements
        return values


def _canonical(x: Array, center: Array, scale: p.Scale) -> Array:
    """`squared_distances` of rows to one center, in place and along columns."""
    terms = x.T.astype(np.float64, order="C")
    center = center.astype(np.float64)
    if scale.before != 1.0:
        terms *= scale.before
        center *= scale.before
    terms -= center[:, None]
    if scale.after != 1.0:
        terms *= scale.after
    terms *= terms
    width = terms.shape[0]
    while width > 1:
        half = (width + 1) // 2
        terms[: width - half] += terms[half:width]
        width = half
    return terms[0]


def _certify_part(
    x: npt.NDArray[np.floating],
    rung: p.Rung,
    half: npt.NDArray[np.floating],
    labels: npt.NDArray[np.int32],
    unsure: npt.NDArray[np.bool_],
    edges: npt.NDArray[np.floating] | None,
) -> Array:
    """Write labels and open rows; return the centers (k, m) that cannot be excluded.

    A product of ``base + j`` with the marks is less than twice the base exactly where one
    center is left, and then it tells which.  These are whole numbers that float32 holds.
    """
    lower = _lower_bounds(x, rung)
    best = lower.min(axis=0)
    near = lower <= p.exclusion_threshold(best, half, rung, xp=np)
    if edges is not None:
        edges[0] = best
        np.copyto(lower, np.inf, where=near)
        lower.min(axis=0, out=edges[1])
    np.copyto(lower, near)
    base, tally = _tally(lower.shape[0], lower.dtype)
    sums = tally @ lower
    sums -= base
    np.minimum(sums, base, out=sums)
    np.copyto(labels, sums, casting="unsafe")
    np.greater_equal(np.abs(sums), base, out=unsure)
    # any label will do until they are settled
    np.copyto(labels, 0, where=unsure)
    if sums.min() < 0:
        # an overflow left a row no center: the next rung looks at every one
        near[:, sums < 0] = True
    return near


def moved_rows(x: npt.NDArray[np.floating], rung: p.Rung) -> npt.NDArray[np.floating]:
    """The rows x' of a rung: x itself where it needs neither shift nor scale."""
    work = rung.weights.dtype
    if rung.shift is not None:
        moved = np.empty(x.shape, dtype=work)
        np.subtract(x, rung.shift, out=moved, casting="same_kind")
    else:
        moved = x.astype(work, copy=False)
    return moved if rung.scale == 1.0 else moved * work.type(rung.scale)


def _lower_bounds(x: npt.NDArray[np.floating], rung: p.Rung) -> npt.NDArray[np.floating]:
    lower: npt.NDArray[np.floating] = rung.weights @ moved_rows(x, rung).T
    lower += rung.bias[:, None]
    return lower


def _half_norms(x: npt.NDArray[np.floating], rung: p.Rung, notes: dict[str, Any]) -> Array:
    """|x'|^2 / 2, kept in the notes: it stays the same while shift and scale do."""
    work = rung.weights.dtype
    shift, scale, half = notes.get("half norms", (None, None, None))
    if half is not None and half.dtype == work and shift is rung.origin and scale == rung.scale:
        return half
    half = np.empty(x.shape[0], dtype=work)
    step = max(256, _CROSS_VALUES // x.shape[1])
    for start in range(0, x.shape[0], step):
        moved = moved_rows(x[start : start + step], rung)
        np.einsum("ij,ij->i", moved, moved, out=half[start : start + step])
    half *= work.type(0.5)
    notes["half norms"] = (rung.origin, rung.scale, half)
    return half


@functools.lru_cache(maxsize=64)
def _tally(n_clusters: int, work: np.dtype[np.floating]) -> tuple[int, npt.NDArray[np.floating]]:
    base = 1 << (n_clusters - 1).bit_length()
    return base, (base + np.arange(n_clusters)).astype(work)


def _add_marked(block: Block, before: Array | None, ledger: Any, n_clusters: int, sums: Any) -> int:
    """A small block by one product of all its rows, whose columns are kept.

    Fewer than 4096 rows, each added once and taken away once, are exact in float64.
    """
    state = block.state
    if "columns" not in state:
        state["columns"] = ledger.columns(block.x, block.weight)
    after, numbers = state["labels"], np.arange(n_clusters, dtype=np.int32)[:, None]
    marks = (after == numbers).astype(np.float64)
    moved = None
    if before is not None:
        marks -= before == numbers
        moved = after != before
    sums.add((marks @ state["columns"]).astype(np.int64), 2 * block.n_rows)
    if block.weight is not None:
        positive = block.weight > 0.0
        moved = positive if moved is None else moved & positive
    return block.n_rows if moved is None else int(np.count_nonzero(moved))


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
