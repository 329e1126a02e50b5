"""The statistics pass on the device: a launch and a wait for each of its three questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _exact as exact
from ..._backend import dtype_name, to_host
from ..._stats import Host, Ranges, Sums, Surveyor
from ..._typing import Array, Namespace
from ._arguments import like, strided
from ._source import THREADS, Launcher, Unit

_MOST_BLOCKS = 1 << 11
_LEAST_TURNS = 8  # of a thread
_MOST_WIDE = 32
_NOTHING = -(1 << 63) + (1 << 52) - 1
"""The key of minus infinity."""


class CudaSurveyor(Surveyor):
    """As the array API's, on whole blocks of rows."""

    most_rows = 1 << 20  # of 40-bit integers, whose sums stay below 2**63

    def __init__(self, xp: Namespace, launcher: Launcher) -> None:
        super().__init__(xp)
        self._launcher = launcher

    def ranges(self, rows: Array, weight: Array | None, /) -> Ranges:
        xp, d = self.xp, int(rows.shape[1])
        found = xp.full(5 * d + 2, _NOTHING, dtype=xp.int64, **like(rows))
        parts = found[: 5 * d], found[5 * d : 5 * d + 1], found[5 * d + 1 :]
        self._launch("find_ranges", rows, weight, *parts)
        *keys, count = to_host(found).tolist()
        *extremes, heaviest = _values(keys)
        lows, highs, weighted_lows, weighted_highs, largest = np.reshape(extremes, (5, d))
        if weight is None:
            return Ranges.unweighted(0.0 - lows, highs, int(rows.shape[0]))
        return Ranges(
            0.0 - lows,
            highs,
            0.0 - weighted_lows,
            weighted_highs,
            largest,
            float(heaviest),
            count - _NOTHING,
        )

    def sums(
        self,
        x: Array,
        weight: Array | None,
        grid: exact.Grid,
        weight_grid: exact.Grid | None,
        hint: Sequence[int],
        /,
    ) -> Sums:
        xp, d = self.xp, int(x.shape[1])
        columns = d if weight is None else d + 2
        found = xp.zeros(columns + 2, dtype=xp.int64, **like(x))
        weight_up = 1.0 if weight_grid is None else float(weight_grid.up[0])
        self._launch(
            "sum_columns",
            x,
            weight,
            exact.to_device(grid.up, x, xp=xp),
            np.float64(weight_up),
            found[:columns],
            found[columns:],
        )
        *sums, limbs, weight_limbs = to_host(found).tolist()
        return Sums(np.asarray(sums, dtype=object), limbs, max(1, weight_limbs))

    def squares(
        self, x: Array, weight: Array | None, mean: Host, factor: float, grid: exact.Grid, /
    ) -> Any:
        xp = self.xp
        found = xp.zeros(int(x.shape[1]), dtype=xp.int64, **like(x))
        both = exact.to_device(np.stack([grid.up, mean]), x, xp=xp)
        arguments = both[0, :], both[1, :], np.float64(factor), found
        self._launch("sum_squares", x, weight, *arguments)
        return to_host(found).astype(object)

    def _launch(self, name: str, x: Array, weight: Array | None, /, *arguments: Any) -> None:
        n_rows, d = (int(size) for size in x.shape)
        wide = min(_MOST_WIDE, 1 << (d - 1).bit_length())
        least = _LEAST_TURNS * THREADS // wide
        blocks = min(-(-n_rows // least), _MOST_BLOCKS)
        self._launcher.launch(
            Unit("survey.cu", dtype_name(x)),
            name,
            blocks,
            8 * THREADS,
            (
                *strided(x, xp=self.xp),
                np.int64(n_rows),
                np.int32(d),
                None if weight is None else self.xp.ascontiguousarray(weight),
                np.int64(-(-n_rows // blocks)),
                np.int32(wide),
                *arguments,
            ),
        )


def _values(keys: list[int]) -> Host:
    """What ``key_of`` in the source was given."""
    bits = np.asarray(keys, dtype=np.int64)
    return (bits ^ (bits >> 63 & 0x7FFFFFFFFFFFFFFF)).view(np.float64)
