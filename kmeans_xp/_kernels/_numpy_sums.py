"""Exact sums of rows by label in NumPy.

Wide rows are added up as they are where that is exact, and written as limbs where it is not.
A row that is whole numbers on the grid in its first limb alone needs neither scaling nor
rounding: up to 4096 such rows add up exactly in float64, and the power of two comes after.
The limbs of a grid lose nothing (see `_stats`), so the last one is whole without rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .._exact import EXACT_ROWS, ONE_LIMB
from .._typing import Array, Block, slices
from ._numpy_wide import WIDE, picked
from ._space import Space

_DENSE_MARKS = 1 << 13
_SUM_VALUES = 1 << 17
_FEW_LEFT = 4


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
    rows, columns = values.shape
    if columns == 1:
        return np.bincount(labels, values[:, 0], n_groups)[:, None]
    if rows * n_groups <= _DENSE_MARKS:
        marks = (labels[None, :] == np.arange(n_groups)[:, None]).astype(np.float64)
        return marks @ values
    return _marks(labels, None, n_groups) @ values


def _marks(after: Array, before: Array | None, n_groups: int) -> Any:
    """Sparse (groups, rows): 1 where a row comes to, -1 where it came from."""
    from scipy.sparse import csc_array

    rows = after.size
    if before is None:
        ones, ends = np.ones(rows), np.arange(rows + 1, dtype=np.int32)
        return csc_array((ones, after, ends), shape=(n_groups, rows))
    groups = np.stack([after, before], axis=1).ravel()
    signs = np.ones((rows, 2))
    signs[:, 1] = -1.0
    ends = np.arange(0, 2 * rows + 1, 2, dtype=np.int32)
    return csc_array((signs.ravel(), groups, ends), shape=(n_groups, rows))


def adds_by_row(n_features: int, n_clusters: int) -> bool:
    """Whether `WideSums` is made for these rows."""
    return n_features >= WIDE and n_features * n_clusters <= _SUM_VALUES


class WideSums:
    """Adds wide rows of a block to totals (k, columns); rows that leave a cluster count less."""

    def __init__(self, total: Array, block: Block, ledger: Any, space: Space) -> None:
        self._total, self._block, self._ledger, self._space = total, block, ledger, space
        self._up, self._limbs, _, _ = ledger.scales
        # else a value might vanish by scaling, as it must
        self._may_scale_late = bool(self._up.min() >= 1.0)
        self._step = max(64, min(EXACT_ROWS, _SUM_VALUES // block.x.shape[1]))
        self._whole: npt.NDArray[np.bool_] | None = block.state.get("whole")

    def add(self, after: Array, rows: Array | None, before: Array | None) -> None:
        """Add all rows, or the listed ones, which leave the cluster ``before``."""
        if rows is None:
            if self._whole is None:
                self._learn()
            for part in slices(after.size, self._step):
                self._add_piece(part, after[part], None, is_whole=self._limbs == 1)
            return
        if self._whole is None or self._limbs == 1:
            kinds = [(rows, self._limbs == 1)]
        else:
            is_whole = self._whole.take(rows)
            kinds = [(rows[is_whole], True), (rows[~is_whole], False)]
        for some, is_whole in kinds:
            for part in slices(some.size, self._step):
                at = some[part]
                old = None if before is None else before.take(at)
                self._add_piece(at, after.take(at), old, is_whole=is_whole)

    def _learn(self) -> None:
        if self._limbs > 1:
            self._whole = np.zeros(self._block.n_rows, dtype=np.bool_)
            self._block.state["whole"] = self._whole

    def _add_piece(
        self, at: slice | Array, after: Array, before: Array | None, *, is_whole: bool
    ) -> None:
        weight = None if self._block.weight is None else self._block.weight[at]
        x = picked(self._block.x, at, self._space)
        marks = _marks(after, before, self._total.shape[0])
        d = x.shape[1]
        tail = marks @ self._ledger.weight_columns(x, weight)
        self._total[:, self._limbs * d :] += tail.astype(np.int64)
        if is_whole and self._may_scale_late:
            if weight is not None or x.dtype != np.float64:
                x = self._weighted(x, weight)
            self._put(0, (marks @ x) * self._up)
            return
        values = self._weighted(x, weight)
        values *= self._up
        if self._limbs == 1:
            self._put(0, marks @ values)
            return
        whole = np.trunc(values, out=self._space.take("second", values.shape, np.float64))
        self._put(0, marks @ whole)
        if isinstance(at, slice) and self._whole is not None:
            is_left = self._space.take("left", values.shape, np.bool_)
            left = np.not_equal(values, whole, out=is_left).any(axis=1)
            np.logical_not(left, out=self._whole[at])
            (few,) = left.nonzero()
            if few.size * _FEW_LEFT <= after.size:
                if few.size:
                    old = None if before is None else before[few]
                    rest = values[few] - whole[few]
                    marks = _marks(after[few], old, self._total.shape[0])
                    self._add_rest(rest, np.empty_like(rest), marks)
                return
        self._add_rest(np.subtract(values, whole, out=values), whole, marks)

    def _add_rest(self, rest: Array, whole: Array, marks: Any) -> None:
        """The limbs after the first, of what that one left; both arrays are written over."""
        for limb in range(1, self._limbs - 1):
            rest *= ONE_LIMB
            np.trunc(rest, out=whole)
            self._put(limb, marks @ whole)
            rest -= whole
            if not rest.any():
                return
        # 4096 fractions of 40 bits add up exactly too
        self._put(self._limbs - 1, (marks @ rest) * ONE_LIMB)

    def _put(self, limb: int, sums: Array) -> None:
        d = sums.shape[1]
        self._total[:, limb * d : (limb + 1) * d] += sums.astype(np.int64)

    def _weighted(self, x: Array, weight: Array | None) -> Array:
        """fl(w x) in a buffer."""
        values = self._space.take("first", x.shape, np.float64)
        np.copyto(values, x)
        if weight is not None:
            values *= weight[:, None]
        return values
