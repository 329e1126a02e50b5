"""Compiled labels of few rows in one call: a call costs more than what little it does.

The formulas are those of `_primitives`, row by row.  Loaded only when numba was chosen by routing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _primitives as p
from .._typing import Array
from ._loops import Frame, canonical, fill, jit, make_frame
from ._tile import GROUP, LANES, PART, score_tile

_WORK = np.dtype(np.float32)


@dataclass(frozen=True)
class _Tiles:
    """Rows by tile, kept while shift, scale and reach stay the same."""

    origin: tuple[Array | None, float, float]  # what they depend on
    frame: Frame
    rows: Array  # (tiles, d, LANES), the last one filled up with its last row
    half: Array  # (tiles, LANES), half the squared norms
    share: float  # of a center's squared norm that is its bias

    def serve(self, nearest: p.Nearest) -> bool:
        """Whether the question is measured as these are."""
        shift, factor, reach = self.origin
        return shift is nearest.shift and factor == nearest.scale.factor and reach == nearest.reach


def label(x: Array, nearest: p.Nearest, state: dict[str, Any]) -> Array:
    """Exact labels; rows that float32 scores leave open are settled on the spot.

    Repeated centers are not looked for: both are scored, which leaves their rows open.
    """
    tiles: _Tiles | None = state.get("tiles")
    if tiles is None or not tiles.serve(nearest):
        tiles = state["tiles"] = _tiles(x, nearest)
    scale = nearest.scale
    scales = scale.factor, scale.before, scale.after
    labels = np.empty(x.shape[0], np.int32)
    label_rows(x, tiles.rows, tiles.half, nearest.centers, tiles.frame, scales, tiles.share, labels)
    return labels


def _tiles(x: Array, nearest: p.Nearest) -> _Tiles:
    d = x.shape[1]
    errors = p.errors(nearest, _WORK.name, min(d, PART + -(-d // PART)))
    frame = make_frame(nearest, errors, _WORK, x.dtype)
    count = -(-x.shape[0] // LANES)
    rows, half = np.empty((count, d, LANES), _WORK), np.empty((count, LANES), _WORK)
    _fill(x, frame, rows, half)
    origin = nearest.shift, nearest.scale.factor, nearest.reach
    return _Tiles(origin, frame, rows, half, 0.5 - errors[0])


@jit
def _fill(x: Any, frame: Any, tiles: Any, half: Any) -> None:
    rows, part = np.arange(x.shape[0], dtype=np.int32), np.empty_like(half[0])
    for number in range(tiles.shape[0]):
        fill(tiles[number], half[number], part, x, rows, number * LANES, frame)


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
) -> None:
    """Label all rows: tiles by their scores, and the rows that these leave open one by one."""
    factor, before, after = scales
    shift, _, error = frame
    panels, bias = _panels(centers, shift, factor, share)
    d = x.shape[1]
    work = half.dtype.type
    own, slope, common, most = work(error[0]), work(error[1]), work(error[2]), work(error[3])
    best, second = np.empty_like(half[0]), np.empty_like(half[0])
    label, is_open = np.empty(LANES, np.int32), np.empty(LANES, np.uint8)
    squares = np.empty(d)
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
                labels[row] = _settle(x, row, centers, before, after, squares)


@jit
def _panels(centers: Any, shift: Any, factor: Any, share: Any) -> Any:
    """-c' by panel, features first, and the bias, infinite for padding."""
    k, d = centers.shape
    groups = (k + GROUP - 1) // GROUP
    panels = np.zeros((groups, d, GROUP), np.float32)
    bias = np.full(groups * GROUP, np.inf, np.float32)
    for center in range(k):
        panel, place, total = panels[center // GROUP], center % GROUP, 0.0
        for f in range(d):
            moved = (np.float64(centers[center, f]) - np.float64(shift[f])) * -factor
            panel[f, place] = np.float32(moved)
            total += moved * moved
        bias[center] = np.float32(share * total)
    return panels, bias


@jit
def _settle(x: Any, row: Any, centers: Any, before: Any, after: Any, squares: Any) -> Any:
    """The first of the centers at the least canonical distance."""
    label, least = 0, canonical(x, row, centers[0], before, after, squares)
    for center in range(1, centers.shape[0]):
        distance = canonical(x, row, centers[center], before, after, squares)
        if distance < least:
            label, least = center, distance
    return label
