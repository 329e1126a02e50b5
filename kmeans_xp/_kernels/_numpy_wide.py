"""Wide rows in NumPy: pieces that stay in the cache of one processor, in buffers used again."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _primitives as p
from .._typing import Array, slices
from . import _numpy_scores
from ._numpy_scores import Floats, half_norms, known_half_norms, moved_rows, note_half_norms
from ._space import Space

WIDE = 48
"""Features from which rows are read where they lie: a transposed copy would cost more."""

PIECE_VALUES = 1 << 17
_MOST_CLUSTERS, _VERY_WIDE = 32, 256
_SMALL_PRODUCT = 1_000_000
_PART = 64  # features
_MOST_ROWS = 1024
_NARROW = 16


class Scores:
    """Scores of all or the listed rows of a block; the latter only where `scores_by_row`."""

    def __init__(
        self,
        x: Floats,
        rung: p.Rung,
        notes: dict[str, Any],
        space: Space,
        rows: Array | None = None,
    ) -> None:
        self.rung = rung
        self._x, self._rows, self._space, self._notes = x, rows, space, notes
        k, d = rung.weights.shape
        self._by_row, self._is_new = scores_by_row(d, k), False
        half = known_half_norms(rung, notes)
        if half is None and self._by_row:
            self._is_new = True
            half = np.empty(x.shape[0] if rows is None else rows.size, rung.weights.dtype)
        elif half is None:
            half = half_norms(x, rung, notes)
        elif rows is not None:
            half = half[rows]
        self.half: Floats = half

    def lower_bounds(self, part: slice) -> Floats:
        """L (k, m), and half the norms if these are new."""
        if not self._by_row:
            return _numpy_scores.lower_bounds(self._x[part], self.rung)
        half = self.half[part] if self._is_new else None
        rows = None if self._rows is None else self._rows[part]
        x = self._x[part] if rows is None else self._x
        return lower_bounds(x, self.rung, self._space, rows=rows, half=half)

    def note(self) -> None:
        """Keep the norms, now that they are all there."""
        if self._is_new and self._rows is None:
            note_half_norms(self.half, self.rung, self._notes)


def scores_by_row(n_features: int, n_clusters: int) -> bool:
    """Whether `lower_bounds` here is the faster one."""
    most = _MOST_CLUSTERS if n_features < _VERY_WIDE else 4 * _MOST_CLUSTERS
    return n_features >= WIDE and n_clusters <= most


def rung_of(nearest: p.Nearest, dtype: str) -> p.Rung:
    """The rung of the products that `Scores` makes."""
    k, d = nearest.centers.shape
    depth = _PART + -(-d // _PART) if scores_by_row(d, k) and d >= 2 * _PART else None
    return nearest.rung(dtype, xp=np, depth=depth)


def lower_bounds(
    x: Floats, rung: p.Rung, space: Space, *, rows: Array | None = None, half: Array | None = None
) -> Floats:
    """L (k, m) of all or some rows; ``half`` gets |x'|^2 / 2.

    OpenBLAS multiplies small matrices (m k d up to a million) without copying them into another
    layout first, which takes as long as the product itself where centers are few.  Products of
    a part of the features each are small for more rows, and their sums are less deep: far fewer
    rows are left open.
    """
    k, d = rung.weights.shape
    work = rung.weights.dtype
    n_rows = x.shape[0] if rows is None else rows.size
    width = d if d < 2 * _PART else _PART
    step = min(_SMALL_PRODUCT // (k * width), _MOST_ROWS, max(64, 2 * PIECE_VALUES // d))
    weights = np.ascontiguousarray(rung.weights.T)
    bias = rung.bias[:, None]
    lower = np.empty((k, n_rows), dtype=work)
    for part in slices(n_rows, step):
        moved = moved_rows(picked(x, part if rows is None else rows[part], space), rung, space)
        np.add(_product(moved, weights, width, space).T, bias, out=lower[:, part])
        if half is not None:
            half[part] = _norms(moved, width)
    if half is not None:
        half *= work.type(0.5)
    return lower


def _product(rows: Floats, weights: Floats, width: int, space: Space) -> Array:
    """Rows times weights (d, k), added up over so many features at a time; in a buffer."""
    (m, d), k = rows.shape, weights.shape[1]
    parts = d // width
    found = space.take("products", (parts + 1, m, k), rows.dtype)
    if parts == 1 and d == width:
        return np.matmul(rows, weights, out=found[0])
    end = parts * width
    left = rows[:, :end].reshape(m, parts, width).transpose(1, 0, 2)
    np.matmul(left, weights[:end].reshape(parts, width, k), out=found[:parts])
    if end == d:
        return np.add.reduce(found[:-1], axis=0, out=found[-1])
    np.matmul(rows[:, end:], weights[end:], out=found[-1])
    for product in found[:-1]:
        found[-1] += product
    return found[-1]


def _norms(rows: Floats, width: int) -> Array:
    """Squared norms, added up in the same parts."""
    m, d = rows.shape
    end = d // width * width
    parts = rows[:, :end].reshape(m, -1, width)
    norms = np.einsum("ijk,ijk->ij", parts, parts).sum(axis=1)
    if end < d:
        norms += np.einsum("ij,ij->i", rows[:, end:], rows[:, end:])
    return norms


def picked(x: Array, rows: slice | Array, space: Space) -> Array:
    """Some of the rows: a view, or in a buffer."""
    if isinstance(rows, slice):
        return x[rows]
    if not x.flags.c_contiguous:
        # NumPy's take would first copy all of them
        return x[rows]
    out = space.take("picked", (rows.size, x.shape[1]), x.dtype)
    return np.take(x, rows, axis=0, out=out, mode="clip")


def own_distances(
    x: Array, nearest: p.Nearest, labels: Array | None, space: Space
) -> npt.NDArray[np.float64]:
    """The primitive of this name."""
    centers = nearest.centers
    before, after = nearest.scale.before, nearest.scale.after
    if centers.size <= PIECE_VALUES:
        # else the memory counts
        centers = centers.astype(np.float64, copy=False)
    out = np.empty(x.shape[0])
    for part in slices(x.shape[0], max(1, PIECE_VALUES // x.shape[1])):
        shape = part.stop - part.start, x.shape[1]
        terms, own = (space.take(name, shape, np.float64) for name in ("first", "second"))
        np.copyto(terms, x[part])
        if before != 1.0:
            terms *= before
        if labels is None:
            np.copyto(own, centers[part])
        elif centers.dtype == own.dtype:
            np.take(centers, labels[part], axis=0, out=own, mode="clip")
        else:
            np.copyto(own, centers.take(labels[part], axis=0))
        if before != 1.0:
            own *= before
        terms -= own
        if after != 1.0:
            terms *= after
        np.multiply(terms, terms, out=terms)
        _halving_sum(terms, own, out[part])
    return out


def _halving_sum(terms: Array, spare: Array, out: Array) -> None:
    """`_distances.halving_sum` of each row; both arrays are written over."""
    width = terms.shape[1]
    while width > _NARROW:
        half = (width + 1) // 2
        # into other memory: NumPy would copy first what lies between the parts of its result
        np.add(terms[:, : width - half], terms[:, half:width], out=spare[:, : width - half])
        if width % 2:
            spare[:, half - 1] = terms[:, half - 1]
        terms, spare, width = spare, terms, half
    narrow = spare.reshape(-1)[: width * terms.shape[0]].reshape(width, -1)
    np.copyto(narrow, terms[:, :width].T)
    while width > 1:
        half = (width + 1) // 2
        first = narrow[: width - half]
        np.add(first, narrow[half:width], out=first)
        width = half
    np.copyto(out, narrow[0])
