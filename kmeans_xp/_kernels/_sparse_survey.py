"""The statistics pass over the places that a sparse matrix stores."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _exact as exact
from .._stats import Host, Ranges, Sums, Surveyor, weigh
from .._typing import Array, slices


class SparseSurveyor(Surveyor):
    """The same numbers, bit for bit, of whole blocks; weighted variances take dense rows."""

    takes_blocks = True

    def ranges(self, x: Any, weight: Array | None, /) -> Ranges:
        low, high = x.ranges()
        if weight is None:
            return Ranges.unweighted(low, high, x.shape[0])
        positive = weight > 0.0
        largest = x.largest(weigh(x.values, weight[x.rows], xp=np))
        least, most = x.part(np.flatnonzero(positive)).ranges()
        count = int(np.count_nonzero(positive))
        return Ranges(low, high, least, most, largest, float(weight.max()), count)

    def sums(
        self,
        x: Any,
        weight: Array | None,
        grid: exact.Grid,
        weight_grid: exact.Grid | None,
        hint: Sequence[int],
        /,
    ) -> Sums:
        values = weigh(x.values, None if weight is None else weight[x.rows], xp=np)
        up = grid.up[x.indices]
        limbs, weight_limbs = exact.limbs_needed(values, up, hint[0], xp=np), 1
        (whole,) = exact.quantise(values, up, 1, xp=np)
        found = x.column_sums(whole).astype(object)
        if weight_grid is not None and weight is not None:
            of_weights = super().sums(np.zeros((x.shape[0], 1)), weight, _UNIT, weight_grid, hint)
            weight_limbs = of_weights.weight_limbs
            found = np.concatenate([found, of_weights.sums[1:]])
        return Sums(found, limbs, weight_limbs)

    def squares(
        self, x: Any, weight: Array | None, mean: Host, factor: float, grid: exact.Grid, /
    ) -> Any:
        if weight is not None:
            parts = (
                super(SparseSurveyor, self).squares(x[part], weight[part], mean, factor, grid)
                for part in slices(x.shape[0], x.few)
            )
            return functools.reduce(operator.add, parts)
        at = x.indices
        stored = _whole_squares(x.values - mean[at], factor, grid.up[at])
        empty = _whole_squares(0.0 - mean, factor, grid.up).astype(np.int64)
        n_empty = x.shape[0] - x.column_counts()
        # a sum over the rows of a block: below 2**63
        return (x.column_sums(stored) + n_empty * empty).astype(object)


_UNIT = exact.Grid((0,), 1)


def _whole_squares(difference: Host, factor: float, up: Host) -> Host:
    """Squared differences on their grid."""
    if factor != 1.0:
        difference = difference * factor
    (whole,) = exact.quantise(difference * difference, up, 1, xp=np)
    found: Host = whole
    return found
