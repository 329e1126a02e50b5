"""Compiled labels of few rows in one call: a call costs more than what little it does.

The formulas are those of `_primitives`, row by row.  Loaded only when numba was chosen by routing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._center_loops import fill_panels, nearest_to
from ._loops import fill, jit
from ._tile import GROUP, LANES, score_tile


@jit
def fill_tiles(x: Any, frame: Any, tiles: Any, half: Any) -> None:
    """Bring all rows into tiles, and write half their squared norms."""
    rows, places = np.arange(x.shape[0], dtype=np.int32), np.empty(LANES, np.int64)
    for number in range(tiles.shape[0]):
        fill(tiles[number], half[number], places, x, rows, number * LANES, frame)


@jit
def label_rows(
    x: Any,
    tiles: Any,
    half: Any,
    centers: Any,
    frame: Any,
    scales: Any,
    share: Any,
    labels: Any,
) -> Any:
    """Label all rows, those that scores leave open one by one; how many these were."""
    factor, before, after = scales
    shift, _, error = frame
    k, d = centers.shape
    groups = (k + GROUP - 1) // GROUP
    panels, bias = np.empty((groups, d, GROUP), half.dtype), np.empty(groups * GROUP, half.dtype)
    fill_panels(centers, shift, factor, share, panels, bias)
    work = half.dtype.type
    own, slope, common, most = work(error[0]), work(error[1]), work(error[2]), work(error[3])
    best, second = np.empty_like(half[0]), np.empty_like(half[0])
    label, is_open = np.empty(LANES, np.int32), np.empty(LANES, np.uint8)
    squares, total = np.empty(d), 0
    for number in range(tiles.shape[0]):
        start, mine = number * LANES, half[number]
        score_tile(tiles[number], panels, bias, d, bias.shape[0] // GROUP, best, second, label)
        # as in `_loops.score_rows`, without a branch: what is not a number is open too
        left = 0
        for lane in range(LANES):
            room = own * mine[lane] + slope * abs(mine[lane] + best[lane]) + common
            is_open[lane] = not (mine[lane] <= most and best[lane] + room < second[lane])
            left += is_open[lane]
        count = min(LANES, labels.shape[0] - start)
        for lane in range(count):
            labels[start + lane] = label[lane]
        if left == 0:
            continue
        for lane in range(count):
            if is_open[lane]:
                row = start + lane
                labels[row] = nearest_to(x, row, centers, before, after, squares)
                total += 1
    return total
