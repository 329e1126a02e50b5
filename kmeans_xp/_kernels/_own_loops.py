"""Compiled loops for the inertia: canonical distances to the own centers, and their exact sum.

Loaded only when numba was chosen by routing; compiled code is kept on disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._exact import ONE_LIMB
from ._loops import jit
from ._row_tile import add_lines, square_tile
from ._tile import LANES


@jit
def own_distances(x: Any, centers: Any, labels: Any, before: Any, after: Any, out: Any) -> None:
    """Canonical squared distance of each row to its center; `_distances`, bit for bit.

    The features of a row lie side by side; ``centers`` are float64, in units of ``before``.
    """
    d, step = x.shape[1], x.strides[0] // x.itemsize
    tile = np.empty((d, LANES), np.float64)
    places, homes = np.empty(LANES, np.int64), np.empty(LANES, np.int64)
    last = x.shape[0] - 1
    for start in range(0, x.shape[0], LANES):
        for lane in range(LANES):
            row = min(start + lane, last)
            places[lane], homes[lane] = row * step, np.int64(labels[row]) * d
        square_tile(tile, x, places, d, centers, homes, before, after)
        width = d
        while width > 1:
            half = (width + 1) // 2
            add_lines(tile, half, width - half)
            width = half
        for lane in range(min(LANES, x.shape[0] - start)):
            out[start + lane] = tile[0, lane]


@jit
def two_limbs(values: Any, up: Any) -> Any:
    """Sums of values on a grid of two limbs: what `_exact.quantise` leaves, added up."""
    high, low = np.int64(0), np.int64(0)
    for place in range(values.shape[0]):
        rest = values[place] * up
        whole = np.trunc(rest)
        high += np.int64(whole)
        low += np.int64(np.rint((rest - whole) * ONE_LIMB))
    return high, low
