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

_VALUES = 256


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


def _side_by_side(x: Array) -> tuple[int, list[Array]]:
    """Rows in groups of so many, each group as one row, and the rows that are left over.

    A loop over few features has hardly begun when it ends.
    """
    d = x.shape[1]
    count = max(1, _VALUES // d) if x.flags.c_contiguous else 1
    whole = x.shape[0] // count * count
    return count, [x[:whole].reshape(-1, count * d), x[whole:]]


class CompiledSurveyor(Surveyor):
    """The same numbers, bit for bit."""

    most_rows = 1 << 20

    def ranges(self, rows: Array, weight: Array | None, /) -> Ranges:
        if weight is not None:
            return super().ranges(rows, weight)
        d = rows.shape[1]
        count, parts = _side_by_side(rows)
        low = np.full(count * d, np.inf, dtype=rows.dtype)
        high = -low
        finite = [_extremes(part, low[: part.shape[1]], high[: part.shape[1]]) for part in parts]
        low, high = low.reshape(-1, d).min(axis=0), high.reshape(-1, d).max(axis=0)
        if not all(finite):
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
        count, parts = _side_by_side(x)
        sums, up = np.zeros(count * x.shape[1], dtype=np.int64), np.tile(grid.up, count)
        limbs = hint[0]
        for part in parts:
            least = min(limbs, exact.MOST_LIMBS_AT_ONCE)
            limbs = max(_whole_sums(part, up, least, sums), limbs)
        return Sums(sums.reshape(count, -1).sum(axis=0).astype(object), limbs, 1)

    def squares(
        self, x: Array, weight: Array | None, mean: Host, factor: float, grid: exact.Grid, /
    ) -> Any:
        if weight is not None:
            return super().squares(x, weight, mean, factor, grid)
        count, parts = _side_by_side(x)
        sums = np.zeros(count * x.shape[1], dtype=np.int64)
        mean, up = np.tile(mean, count), np.tile(grid.up, count)
        for part in parts:
            _square_sums(part, mean, factor, up, sums)
        return sums.reshape(count, -1).sum(axis=0).astype(object)
