"""The NumPy kernel: cache-sized products, label and proof in one pass over the scores."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from .. import _primitives as p
from .._backend import numpy_context
from .._exact import EXACT_ROWS
from .._typing import Array

_SCORE_BYTES = 1 << 21
_SPARSE_FROM = 2048
_CROSS_VALUES = 1 << 16


class NumpyKernel:
    """Scores lie as (k, m), so that minimum and comparison run along contiguous rows."""

    name = "numpy"

    def __init__(self) -> None:
        self._xp = numpy_context().xp

    def assign(self, x: Array, nearest: p.Nearest, /) -> tuple[Array, int]:
        if nearest.first == "exact":
            distances = self.distances(x, nearest.centers, nearest.scale)
            return distances.argmin(axis=0).astype(np.int32), 0
        return self._climb(x, nearest, nearest.ladder())

    def _climb(self, x: Array, nearest: p.Nearest, ladder: list[str]) -> tuple[Array, int]:
        rung = nearest.rung(ladder[0], xp=self._xp)
        labels = np.empty(x.shape[0], dtype=np.int32)
        step = max(64, _SCORE_BYTES // (rung.weights.itemsize * rung.weights.shape[0]))
        last = len(ladder) == 1
        unsure, marks = [], []
        for start in range(0, x.shape[0], step):
            near, rows = _certify(x[start : start + step], rung, labels[start : start + step])
            if rows.size:
                unsure.append(rows + start)
                if last:
                    marks.append(near[:, rows].T)
        if not unsure:
            return labels, 0
        rows = np.concatenate(unsure)
        if last:
            labels[rows] = p.resolve(x[rows], np.concatenate(marks), nearest, xp=self._xp)
        else:
            labels[rows], _ = self._climb(x[rows], nearest, ladder[1:])
        return labels, rows.size

    def distances(self, x: Array, centers: Array, scale: p.Scale, /) -> Array:
        """Rows laid out by feature, so that every operation runs along contiguous rows."""
        out = np.empty((centers.shape[0], x.shape[0]))
        step = max(256, _CROSS_VALUES // (centers.shape[0] * x.shape[1]))
        for start in range(0, x.shape[0], step):
            rows = np.ascontiguousarray(x[start : start + step].T, dtype=np.float64)
            out[:, start : start + step] = p.squared_distances(
                rows, centers[:, :, None], scale, xp=self._xp, axis=-2
            )
        return out

    def screen(self, x: Array, rung: p.Rung, /) -> tuple[Array, Array]:
        return _screen(x, rung)

    def group_sums(self, values: Array, labels: Array, n_groups: int, /) -> Array:
        """Sparse product of at most 4096 rows at a time: exact in float64."""
        total = np.zeros((n_groups, values.shape[1]), dtype=np.int64)
        for start in range(0, values.shape[0], EXACT_ROWS):
            part = values[start : start + EXACT_ROWS]
            total += _float_sums(part, labels[start : start + EXACT_ROWS], n_groups).astype(
                np.int64
            )
        return total

    def compress(self, mask: Array, count: int, /) -> tuple[Array, Array | None]:
        return np.flatnonzero(mask), None

    def put(self, values: Array, mask: Array, rows: Array, replacements: Array, /) -> Array:
        values[rows] = replacements
        return values


def _certify(
    x: npt.NDArray[np.floating], rung: p.Rung, labels: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
    """Write proven labels; return the marked centers (k, m) and the rows still open.

    One small product of the marks gives how many centers are left and, where it is one,
    its index (both are whole numbers far below 2**24, so float32 holds them).
    """
    lower, half = _screen(x, rung)
    best = lower.min(axis=0)
    near = lower <= p.exclusion_threshold(best, half, rung, xp=np)
    np.copyto(lower, near)
    counts, index = _tally(lower.shape[0], lower.dtype) @ lower
    labels[:] = index
    return near, _open_rows(near, counts)


def _screen(
    x: npt.NDArray[np.floating], rung: p.Rung
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    work = rung.weights.dtype
    if rung.shift is not None:
        moved = np.empty(x.shape, dtype=work)
        np.subtract(x, rung.shift, out=moved, casting="same_kind")
    else:
        moved = x.astype(work, copy=False)
    if rung.scale != 1.0:
        moved = moved * work.type(rung.scale)
    lower = rung.weights @ moved.T
    lower += rung.bias[:, None]
    half = np.einsum("ij,ij->i", moved, moved)
    half *= work.type(0.5)
    return lower, half


def _open_rows(
    near: npt.NDArray[np.bool_], counts: npt.NDArray[np.floating]
) -> npt.NDArray[np.intp]:
    """Rows with more than one center left; a row with none (an overflow) keeps them all."""
    unsure = np.flatnonzero(counts != 1)
    lost = unsure[counts[unsure] == 0]
    near[:, lost] = True
    return unsure


@functools.lru_cache(maxsize=64)
def _tally(n_clusters: int, work: npt.DTypeLike) -> npt.NDArray[np.floating]:
    return np.stack([np.ones(n_clusters), np.arange(n_clusters)]).astype(work)


def _float_sums(
    values: npt.NDArray[np.float64], labels: npt.NDArray[np.int32], n_groups: int
) -> npt.NDArray[np.float64]:
    rows = values.shape[0]
    if rows * n_groups <= _SPARSE_FROM * 16:
        chosen = (labels[None, :] == np.arange(n_groups)[:, None]).astype(np.float64)
        return chosen @ values
    from scipy.sparse import csr_array

    pattern = csr_array((np.ones(rows), labels, np.arange(rows + 1)), shape=(rows, n_groups))
    return np.asarray(pattern.T @ values)
