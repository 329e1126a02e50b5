"""The statistics pass of wide rows in NumPy: read where they lie, in buffers used again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import _exact as exact
from .._stats import Host, Ranges, Sums, Surveyor
from .._typing import Array, Namespace, slices
from ._numpy_wide import PIECE_VALUES, WIDE
from ._space import Space

_FEW_LEFT = 8


class WideSurveyor(Surveyor):
    """The same numbers, bit for bit; rows with weights and narrow rows go the long way."""

    def __init__(self, xp: Namespace, space: Space) -> None:
        super().__init__(xp)
        self._space = space

    def ranges(self, rows: Array, weight: Array | None, /) -> Ranges:
        if weight is not None or rows.shape[1] < WIDE:
            return super().ranges(rows, weight)
        low, high = rows.min(axis=0), rows.max(axis=0)
        return Ranges.unweighted(low.astype(float), high.astype(float), rows.shape[0])

    def sums(
        self,
        x: Array,
        weight: Array | None,
        grid: exact.Grid,
        weight_grid: exact.Grid | None,
        hint: Sequence[int],
        /,
    ) -> Sums:
        if weight is not None or x.shape[1] < WIDE:
            return super().sums(x, weight, grid, weight_grid, hint)
        # float32 holds the same numbers where no power of two leaves its range
        low, high = min(grid.exponents), max(grid.exponents)
        work = x.dtype if low >= -80 and high <= exact.LIMB_BITS else np.dtype(np.float64)
        up, limbs = grid.up.astype(work), hint[0]
        total = np.zeros(x.shape[1], dtype=np.int64)
        for part, values, whole in self._pieces(x, work):
            if x.dtype == work:
                np.multiply(x[part], up, out=values)
            else:
                np.copyto(values, x[part])
                values *= up
            np.rint(values, out=whole)
            total += whole.sum(axis=0, dtype=np.float64).astype(np.int64)
            limbs = self._limbs(values, whole, limbs)
        return Sums(total.astype(object), limbs, 1)

    def _limbs(self, values: Array, whole: Array, limbs: int) -> int:
        """Limbs, at least so many, that lose nothing; both arrays are written over."""
        is_left = self._space.take("left", values.shape, np.bool_)
        np.not_equal(values, whole, out=is_left)
        left = np.flatnonzero(is_left)
        if left.size * _FEW_LEFT <= values.size:
            values = values.reshape(-1)[left]
        elif 1 < limbs <= exact.MOST_LIMBS_AT_ONCE and values.dtype == np.float64:
            np.multiply(values, exact.ONE_LIMB ** (limbs - 1), out=whole)
            np.trunc(whole, out=values)
            if not np.not_equal(values, whole, out=is_left).any():
                return limbs
            np.divide(whole, exact.ONE_LIMB ** (limbs - 1), out=values)
        if not values.size:
            return limbs
        values = values.astype(np.float64, copy=False)
        return exact.limbs_needed(values, np.float64(1.0), limbs, xp=self.xp)

    def squares(
        self, x: Array, weight: Array | None, mean: Host, factor: float, grid: exact.Grid, /
    ) -> Any:
        if weight is not None or x.shape[1] < WIDE:
            return super().squares(x, weight, mean, factor, grid)
        total = np.zeros(x.shape[1], dtype=np.int64)
        for part, values, whole in self._pieces(x, np.dtype(np.float64)):
            np.copyto(values, x[part])
            values -= mean
            if factor != 1.0:
                values *= factor
            np.multiply(values, values, out=whole)
            whole *= grid.up
            np.rint(whole, out=whole)
            total += whole.sum(axis=0).astype(np.int64)
        return total.astype(object)

    def _pieces(self, x: Array, work: np.dtype[Any]) -> Iterator[tuple[slice, Array, Array]]:
        """Rows in pieces of at most 4096, and two buffers for each piece."""
        step = max(1, min(exact.EXACT_ROWS, PIECE_VALUES // x.shape[1]))
        for part in slices(x.shape[0], step):
            shape = part.stop - part.start, x.shape[1]
            yield (
                part,
                self._space.take("first", shape, work),
                self._space.take("second", shape, work),
            )
