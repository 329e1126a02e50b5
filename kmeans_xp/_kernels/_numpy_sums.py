"""Exact sums of rows by label in NumPy.

Wide rows are added up as they are where that is exact, and written as limbs where it is not.
A row that is whole numbers on the grid in its first limb alone needs neither scaling nor
rounding: up to 4096 such rows add up exactly in float64, and the power of two comes after.
The limbs of a grid lose nothing (see `_stats`), so the last one is whole without rounding.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .._exact import EXACT_ROWS, ONE_LIMB
from .._typing import Array, Block, slices
from ._numpy_wide import WIDE, picked
from ._space import Space

_DENSE_MARKS, _DENSE_WORK = 1 << 13, 1 << 18
_SUM_VALUES = 1 << 17
_FEW_COLUMNS = 2  # quicker one by one than by sparse marks
_PIECE_VALUES = 1 << 18
_FEW_LEFT = 4
_NONE = np.empty(0, dtype=np.intp)


def add_sums(total: Array, values: Array, labels: Array) -> None:
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
    width = values.shape[1]
    if width == 1 or (width <= _FEW_COLUMNS and labels.size * n_groups > _DENSE_MARKS):
        columns = [np.bincount(labels, column, n_groups) for column in values.T]
        return np.stack(columns, axis=1)
    return _marks(labels, None, n_groups, width) @ values


def _marks(after: Array, before: Array | None, n_groups: int, width: int) -> Any:
    """Marks (groups, rows) for so many columns: 1 where a row comes to, -1 where it came from.

    Sparse ones if there are many.
    """
    rows = after.size
    if rows * n_groups <= min(_DENSE_MARKS, _DENSE_WORK // width):
        groups = np.arange(n_groups, dtype=np.int32)[:, None]
        if before is None:
            return (after == groups).astype(np.float64)
        return np.subtract(after == groups, before == groups, dtype=np.float64)
    from scipy.sparse import csc_array

    ends, signs = _pattern()
    if before is None:
        return csc_array((signs[0, :rows], after, ends[: rows + 1]), shape=(n_groups, rows))
    groups = np.stack([after, before], axis=1).ravel()
    signs = signs[:, :rows].ravel(order="F")
    return csc_array((signs, groups, 2 * ends[: rows + 1]), shape=(n_groups, rows))


@functools.cache
def _pattern() -> tuple[Array, Array]:
    signs = np.ones((2, EXACT_ROWS))
    signs[1] = -1.0
    return np.arange(EXACT_ROWS + 1, dtype=np.int32), signs


def adds_by_row(n_features: int, n_clusters: int) -> bool:
    """Whether `WideSums` is made for these rows."""
    return n_features >= WIDE and n_features * n_clusters <= _SUM_VALUES


class WideSums:
    """Adds wide rows of a block to totals (k, columns); rows that leave a cluster count less."""

    def __init__(self, total: Array, block: Block, ledger: Any, space: Space) -> None:
        self._total, self._block, self._ledger, self._space = total, block, ledger, space
        self._up, self._limbs, _, _ = ledger.scales
        # else values may vanish by scaling, as they must, and sums overflow without
        self._may_scale_late = bool(self._up.min() >= 1.0)
        self._step = max(64, min(EXACT_ROWS, _PIECE_VALUES // block.x.shape[1]))

    def add_all(self, after: Array) -> None:
        """Add all rows, and learn which of them are whole in one limb."""
        block = self._block
        if self._limbs > 1:
            whole = block.state["whole"] = np.zeros(block.n_rows, dtype=np.bool_)
        for part in slices(block.n_rows, self._step):
            weight = None if block.weight is None else block.weight[part]
            piece = _Piece(block.x[part], weight, after[part], None, self._total.shape[0])
            self._add_counts(piece)
            if self._limbs == 1:
                self._add_whole(piece, _NONE)
            else:
                whole[part] = self._add_limbs(piece, learns=True)

    def add_moved(self, after: Array, before: Array, rows: Array) -> None:
        """Add the listed rows where they are now, and take them away from where they were."""
        block, k = self._block, self._total.shape[0]
        whole = block.state.get("whole")
        for part in slices(rows.size, self._step):
            at = rows[part]
            weight = None if block.weight is None else block.weight[at]
            x = picked(block.x, at, self._space)
            piece = _Piece(x, weight, after.take(at), before.take(at), k)
            self._add_counts(piece)
            left = _NONE if self._limbs == 1 else None
            if left is None and whole is not None:
                left = np.flatnonzero(~whole.take(at))
            if left is None or left.size * _FEW_LEFT > at.size:
                self._add_limbs(piece)
            else:
                self._add_whole(piece, left)

    def _add_counts(self, piece: _Piece) -> None:
        """The columns of the weights."""
        k, first = self._total.shape[0], self._limbs * piece.x.shape[1]
        if piece.weight is None:
            self._total[:, first] += np.bincount(piece.after, minlength=k)
            if piece.before is not None:
                self._total[:, first] -= np.bincount(piece.before, minlength=k)
            return
        columns = self._ledger.weight_columns(piece.x, piece.weight)
        self._total[:, first:] += (piece.marks @ columns).astype(np.int64)

    def _add_whole(self, piece: _Piece, left: Array) -> None:
        """Rows that are whole in one limb, but for a few listed ones."""
        if not self._may_scale_late:
            self._add_limbs(piece)
            return
        x = piece.x
        if left.size or piece.weight is not None or x.dtype != np.float64:
            x = self._weighted(piece)
        if left.size:
            rest = x[left] * self._up
            whole = np.trunc(rest)
            rest -= whole
            x[left] = whole / self._up
            self._add_rest(rest, whole, piece.some(left).marks)
        self._put(0, (piece.marks @ x) * self._up)

    def _add_limbs(self, piece: _Piece, *, learns: bool = False) -> Array:
        """Rows limb by limb; which of them are whole in one, if it is asked for."""
        values = self._weighted(piece)
        values *= self._up
        if self._limbs == 1:
            self._put(0, piece.marks @ values)
            return _NONE
        whole = np.trunc(values, out=self._space.take("second", values.shape, np.float64))
        self._put(0, piece.marks @ whole)
        if learns:
            differs = self._space.take("left", values.shape, np.bool_)
            is_left = np.not_equal(values, whole, out=differs).any(axis=1)
            left = np.flatnonzero(is_left)
            if left.size * _FEW_LEFT <= is_left.size:
                rest, spare = values[left], whole[left]
                rest -= spare
                if left.size:
                    self._add_rest(rest, spare, piece.some(left).marks)
                return ~is_left
        self._add_rest(np.subtract(values, whole, out=values), whole, piece.marks)
        return ~is_left if learns else _NONE

    def _add_rest(self, rest: Array, spare: Array, marks: Any) -> None:
        """The limbs after the first, of what that one left; both arrays are written over."""
        for limb in range(1, self._limbs - 1):
            rest *= ONE_LIMB
            np.trunc(rest, out=spare)
            self._put(limb, marks @ spare)
            rest -= spare
            if not rest.any():
                return
        # 4096 fractions of 40 bits add up exactly too
        self._put(self._limbs - 1, (marks @ rest) * ONE_LIMB)

    def _put(self, limb: int, sums: Array) -> None:
        d = sums.shape[1]
        self._total[:, limb * d : (limb + 1) * d] += sums.astype(np.int64)

    def _weighted(self, piece: _Piece) -> Array:
        """fl(w x) in a buffer."""
        values = self._space.take("first", piece.x.shape, np.float64)
        np.copyto(values, piece.x)
        if piece.weight is not None:
            values *= piece.weight[:, None]
        return values


@dataclass(frozen=True)
class _Piece:
    """At most 4096 rows, where they are now and where they were."""

    x: Array
    weight: Array | None
    after: Array
    before: Array | None
    n_clusters: int

    @functools.cached_property
    def marks(self) -> Any:
        return _marks(self.after, self.before, self.n_clusters, self.x.shape[1])

    def some(self, rows: Array) -> _Piece:
        """A few of the rows."""
        before = None if self.before is None else self.before[rows]
        return _Piece(self.x[:0], None, self.after[rows], before, self.n_clusters)
