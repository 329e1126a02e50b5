"""The NumPy kernel: cache-sized products, label and proof in one pass over the scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .. import _primitives as p
from .._backend import numpy_context
from .._exact import EXACT_ROWS
from .._typing import Array

_SCORE_BYTES = 1 << 20
_SPARSE_FROM = 2048


class NumpyKernel:
    """Scores lie as (k, m), so that minimum and comparison run along contiguous rows."""

    name = "numpy"

    def __init__(self) -> None:
        self._xp = numpy_context().xp

    def assign(self, x: Array, nearest: p.Nearest, /) -> tuple[Array, int]:
        if nearest.first == "exact":
            return p.assign(x, nearest, xp=self._xp)
        return self._climb(x, nearest, nearest.ladder())

    def _climb(self, x: Array, nearest: p.Nearest, ladder: list[str]) -> tuple[Array, int]:
        rung = nearest.rung(ladder[0], xp=self._xp)
        labels = np.empty(x.shape[0], dtype=np.int32)
        step = max(64, _SCORE_BYTES // (rung.augmented.dtype.itemsize * rung.augmented.shape[0]))
        total = 0
        for start in range(0, x.shape[0], step):
            rows = x[start : start + step]
            part = labels[start : start + step]
            near, unsure = _certify(rows, rung, part)
            if unsure.size == 0:
                continue
            total += unsure.size
            few = rows[unsure]
            if len(ladder) > 1:
                part[unsure] = self._climb(few, nearest, ladder[1:])[0]
            else:
                part[unsure] = p.resolve(few, near[:, unsure].T, nearest, xp=self._xp)
        return labels, total

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
    work = rung.augmented.dtype
    features = x.shape[1]
    moved = np.empty((x.shape[0], features + 2), dtype=work)
    values = moved[:, :features]
    np.subtract(x, rung.shift, out=values, casting="same_kind")
    if rung.scale != 1.0:
        values *= work.type(rung.scale)
    half = np.einsum("ij,ij->i", values, values)
    np.sqrt(half, out=moved[:, features])
    half *= work.type(0.5)
    moved[:, features + 1] = 1.0
    lower = rung.augmented @ moved.T
    best = lower.min(axis=0)
    near = lower <= p.exclusion_threshold(best, half, rung, xp=np)
    np.copyto(lower, near)
    counts, index = _tally(lower.shape[0], work) @ lower
    labels[:] = index
    return near, _open_rows(near, counts)


def _open_rows(
    near: npt.NDArray[np.bool_], counts: npt.NDArray[np.floating]
) -> npt.NDArray[np.intp]:
    """Rows with more than one center left; a row with none (an overflow) keeps them all."""
    unsure = np.flatnonzero(counts != 1)
    lost = unsure[counts[unsure] == 0]
    near[:, lost] = True
    return unsure


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
