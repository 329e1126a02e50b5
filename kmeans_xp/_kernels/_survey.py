"""The statistics pass in compiled loops, one visit a value; rows with weights go the long way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _exact as exact
from .._exact import ONE_LIMB
from .._stats import Host, Ranges, Sums, Surveyor
from .._typing import Array
from ._loops import jit


@jit
def _extremes(x: Any, low: Any, high: Any) -> Any:
    """Widen the ranges by all rows; false if a value is not finite."""
    finite = True
    for row in range(x.shape[0]):
        for f in range(x.shape[1]):
            value = x[row, f]
            low[f] = min(low[f], value)
            high[f] = max(high[f], value)
            finite &= abs(value) < np.inf
    return finite


@jit
def _whole_sums(x: Any, up: Any, limbs: Any, sums: Any) -> Any:
    """Add values on the grid; leave the limbs, from ``limbs`` on, that would lose nothing."""
    shift = ONE_LIMB ** (limbs - 1)
    for row in range(x.shape[0]):
        left = False
        for f in range(x.shape[1]):
            value = np.float64(x[row, f]) * up[f]
            sums[f] += np.int64(np.rint(value))
            rest = value * shift
            left |= rest != np.trunc(rest)
        while left:
            left = False
            limbs += 1
            for f in range(x.shape[1]):
                rest = np.float64(x[row, f]) * up[f]
                for _ in range(limbs - 1):
                    rest = (rest - np.trunc(rest)) * ONE_LIMB
                left |= rest != np.trunc(rest)
            shift = ONE_LIMB ** (min(limbs, exact.MOST_LIMBS_AT_ONCE) - 1)
    return limbs


@jit
def _square_sums(x: Any, mean: Any, factor: Any, up: Any, sums: Any) -> None:
    for row in range(x.shape[0]):
        for f in range(x.shape[1]):
            difference = (np.float64(x[row, f]) - mean[f]) * factor
            sums[f] += np.int64(np.rint(difference * difference * up[f]))


class CompiledSurveyor(Surveyor):
    """The same numbers, bit for bit."""

    most_rows = 1 << 20

    def ranges(self, rows: Array, weight: Array | None, /) -> Ranges:
        if weight is not None:
            return super().ranges(rows, weight)
        low = np.full(rows.shape[1], np.inf, dtype=rows.dtype)
        high = -low
        if not _extremes(rows, low, high):
            low[:] = np.nan
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
        if weight is not None:
            return super().sums(x, weight, grid, weight_grid, hint)
        sums = np.zeros(x.shape[1], dtype=np.int64)
        least = min(hint[0], exact.MOST_LIMBS_AT_ONCE)
        limbs = max(_whole_sums(x, grid.up, least, sums), hint[0])
        return Sums(sums.astype(object), limbs, 1)

    def squares(
        self, x: Array, weight: Array | None, mean: Host, factor: float, grid: exact.Grid, /
    ) -> Any:
        if weight is not None:
            return super().squares(x, weight, mean, factor, grid)
        sums = np.zeros(x.shape[1], dtype=np.int64)
        _square_sums(x, mean, factor, grid.up, sums)
        return sums.astype(object)
