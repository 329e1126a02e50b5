"""Compiled loops that add rows to the sums of their clusters, and take moved rows from their old.

Arrays go to vector operations alone within the loops over rows: handed to a compiled function
they would be counted anew for each row, which takes longer than adding it.

Loaded only when numba was chosen by routing; compiled code is kept on disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._exact import ONE_LIMB
from ._loops import jit
from ._row_tile import FRESH, add_row, differing
from ._tile import LANES, prefetch

_CHUNK = 512


@jit
def add_rows(x: Any, weight: Any, before: Any, after: Any, scales: Any, out: Any) -> Any:
    """Add rows to the sums (k, columns) of their clusters; those that moved leave their old.

    The features of a row lie side by side.  Without labels before, every row is new.  Returns
    how many of the rows that moved carry weight.
    """
    fresh = np.zeros(2 * FRESH, np.int64)
    fresh[FRESH:] = -1
    if before.shape[0] == 0:
        carrying = _add_all(x, weight, after, scales, fresh, out)
    else:
        carrying = _add_moved(x, weight, before, after, scales, fresh, out)
    if weight.shape[0] > 0:
        carrying = _add_weights(x.shape[1], weight, before, after, scales, out)
    return carrying


@jit
def _add_all(x: Any, weight: Any, after: Any, scales: Any, fresh: Any, out: Any) -> Any:
    """Add the features of all rows, and their numbers if there are no weights."""
    up, limbs, _, _ = scales
    flat, columns, step = out.reshape(-1), out.shape[1], x.strides[0] // x.itemsize
    heavy, d = weight.shape[0] > 0, x.shape[1]
    for row in range(x.shape[0]):
        to = after[row] * columns
        factor = weight[row] if heavy else 1.0
        add_row(x, row * step, d, factor, up, limbs, fresh, flat, to, -1)
        if not heavy:
            flat[to + limbs * d] += 1
    return x.shape[0]


@jit
def _add_moved(
    x: Any, weight: Any, before: Any, after: Any, scales: Any, fresh: Any, out: Any
) -> Any:
    """Move the features of the rows that changed, and their numbers if there are no weights."""
    up, limbs, _, _ = scales
    flat, columns, step = out.reshape(-1), out.shape[1], x.strides[0] // x.itemsize
    heavy, d = weight.shape[0] > 0, x.shape[1]
    rows, base = np.empty(_CHUNK + 1, np.int64), x.ctypes.data
    moved = 0
    for start in range(0, x.shape[0], _CHUNK):
        count = _list_moved(before, after, start, rows)
        for place in range(count):
            # far apart, so that each would be waited for in its turn
            prefetch(base + rows[place] * x.strides[0])
        for place in range(count):
            row = rows[place]
            to, away = after[row] * columns, before[row] * columns
            factor = weight[row] if heavy else 1.0
            add_row(x, row * step, d, factor, up, limbs, fresh, flat, to, away)
            if not heavy:
                flat[to + limbs * d] += 1
                flat[away + limbs * d] -= 1
        moved += count
    return moved


@jit
def _list_moved(before: Any, after: Any, start: Any, rows: Any) -> Any:
    """List the rows of a chunk that changed; without a branch, which none could foresee."""
    stop = min(start + _CHUNK, before.shape[0])
    whole = start + (stop - start) // LANES * LANES
    count = 0
    for first in range(start, whole, LANES):
        bits = differing(before, after, first)
        if bits:
            for lane in range(LANES):
                rows[count] = first + lane
                count += bits >> lane & 1
    for row in range(whole, stop):
        rows[count] = row
        count += before[row] != after[row]
    return count


@jit
def _add_weights(d: Any, weight: Any, before: Any, after: Any, scales: Any, out: Any) -> Any:
    """The last columns of rows with weights: their limbs, and how many are positive."""
    _, limbs, up, weight_limbs = scales
    last = limbs * d
    carrying = 0
    for row in range(weight.shape[0]):
        own, old = after[row], -1
        if before.shape[0] > 0:
            old = before[row]
            if own == old:
                continue
        left = weight[row] * up
        for limb in range(weight_limbs):
            whole = np.trunc(left) if limb < weight_limbs - 1 else np.rint(left)
            out[own, last + limb] += np.int64(whole)
            if old >= 0:
                out[old, last + limb] -= np.int64(whole)
            left = (left - whole) * ONE_LIMB
        positive = weight[row] > 0.0
        carrying += positive
        out[own, last + weight_limbs] += positive
        if old >= 0:
            out[old, last + weight_limbs] -= positive
    return carrying
