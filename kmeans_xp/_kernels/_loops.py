"""Compiled loops over the rows of a block: proofs, scores, and the bounds they leave.

The formulas are those of `_bounds` and `_primitives`, row by row.  Loaded only when numba was
chosen by routing; compiled code is kept on disk.
"""

from __future__ import annotations

import math
import pathlib
from typing import Any, TypeAlias

import numpy as np
from numba import njit

from .. import _primitives as p
from .._bounds import OUTWARDS
from .._groups import TABLE
from .._typing import Array
from ._proof_tile import doubtful_rows, half_norms, keep_bounds, open_rows
from ._row_tile import fill_tile
from ._tile import GROUP, LANES, prefetch, score_tile

Frame: TypeAlias = "tuple[Array, np.floating[Any], Array]"
"""Shift (d,), scale, and the error terms: own, slope, common, largest half norm."""

_LINE, _MOST_LINES = 64, 4
UP, DOWN, _MORE, _LESS = 1.0 + OUTWARDS, 1.0 - OUTWARDS, 1.0 + TABLE, 1.0 - TABLE


def _stamp() -> tuple[tuple[str, int, int], ...]:
    """What tells one state of the package's sources from another."""
    files = sorted(pathlib.Path(__file__).parent.parent.rglob("*.py"))
    return tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)


_STAMP = _stamp()


def jit(function: Any, **options: Any) -> Any:
    """Compile when first called, and keep the result on disk where a place can be written."""
    options |= {"nogil": True, "error_model": "numpy"}
    try:
        compiled = njit(function, cache=True, **options)
    except RuntimeError:
        return njit(function, **options)
    # numba looks at the function's own file, but constants and intrinsics come from others
    compiled._cache._cache_file._source_stamp = _STAMP
    return compiled


def make_frame(
    nearest: p.Nearest, errors: tuple[float, float, float], work: np.dtype[Any], read: np.dtype[Any]
) -> Frame:
    """How rows of a dtype are brought into tiles of another, and what their scores prove."""
    wide, d = np.result_type(read, work), nearest.centers.shape[1]
    shift = np.zeros(d) if nearest.shift is None else nearest.shift.astype(work)
    scale = nearest.scale.factor
    # beyond this half norm a score may overflow; rows without weight may lie there
    most = float(np.finfo(work).max) / 64
    largest = d * min(nearest.reach * scale, math.sqrt(most / d)) ** 2
    own, common, slope = p.exclusion_terms(*errors)
    terms = np.asarray([own, slope, common, largest])
    return shift.astype(wide), wide.type(scale), terms


def any_order(function: Any) -> Any:
    """The same, for sums that may be taken in any order."""
    return jit(function, fastmath={"reassoc", "contract"})


@jit
def list_doubtful(apart: Any, tables: Any, state: Any, rows: Any) -> Any:
    """List the rows whose label is not proven: by slack, then by both sides."""
    labels, slack, upper, lower = state
    n_rows, k = labels.shape[0], apart.shape[0]
    apart = (apart * _LESS).astype(tables.dtype)
    whole = n_rows // LANES * LANES
    count = 0
    for start in range(0, whole, LANES):
        bits = doubtful_rows(labels, slack, upper, lower, apart, tables, k, start)
        if bits:
            # without a branch on the outcome, which no processor could foresee
            for lane in range(LANES):
                rows[count] = start + lane
                count += bits >> lane & 1
    if whole < n_rows:
        left = n_rows - whole
        label = np.zeros(LANES, np.int32)
        sides = np.empty((3, LANES), tables.dtype)
        label[:left] = labels[whole:]
        sides[0, :left], sides[1, :left], sides[2, :left] = (
            slack[whole:],
            upper[whole:],
            lower[whole:],
        )
        bits = doubtful_rows(label, sides[0], sides[1], sides[2], apart, tables, k, 0)
        slack[whole:] = sides[0, :left]
        for lane in range(left):
            if bits >> lane & 1:
                rows[count] = whole + lane
                count += 1
    return count


@jit
def keep(
    row: Any, label: Any, near: Any, far: Any, tables: Any, slack: Any, upper: Any, lower: Any
) -> None:
    slack[row] = (far - near + tables[0, 0, label]) * _LESS
    upper[row] = near * _MORE - tables[1, 0, label]
    lower[row] = (far + tables[2, 0, label]) * _LESS


@jit
def _ask(x: Any, rows: Any, start: Any) -> None:
    """Ask for the first lines of the rows of the next tile."""
    base, size = x.ctypes.data, min(x.shape[1] * x.itemsize, _MOST_LINES * _LINE)
    for place in range(start, min(start + LANES, rows.shape[0])):
        address = base + rows[place] * x.strides[0]
        for byte in range(0, size, _LINE):
            prefetch(address + byte)
        prefetch(address + size - 1)


@jit
def fill(tile: Any, half: Any, places: Any, x: Any, rows: Any, start: Any, frame: Any) -> Any:
    """Bring the next rows into a tile, features first, shifted and scaled; half square norms."""
    shift, scale, _ = frame
    work = tile.dtype.type
    d, count = x.shape[1], min(LANES, rows.shape[0] - start)
    if x.strides[1] == x.itemsize and x.strides[0] % x.itemsize == 0:
        step = x.strides[0] // x.itemsize
        for lane in range(LANES):
            places[lane] = np.int64(rows[start + min(lane, count - 1)]) * step
        fill_tile(tile, x, places, d, shift, scale)
        if x.strides[0] >= _LINE:
            _ask(x, rows, start + LANES)
    else:
        for lane in range(LANES):
            row = rows[start + min(lane, count - 1)]
            for f in range(d):
                tile[f, lane] = work((x[row, f] - shift[f]) * scale)
    half_norms(tile, d, half)
    return count


@jit
def score_rows(frame: Any, centers: Any, tables: Any, x: Any, rows: Any, state: Any) -> Any:
    """Label the listed rows, leave their bounds, and mark those that stay open."""
    panels, bias, twinned = centers
    labels, slack, upper, lower, is_open = state
    d, k, keeps, any_twins = x.shape[1], twinned.shape[0], slack.shape[0] > 0, twinned.any()
    terms = frame[2].astype(panels.dtype)
    tile = np.empty((d, LANES), panels.dtype)
    half = np.empty(LANES, panels.dtype)
    best, second = np.empty_like(half), np.empty_like(half)
    label, places = np.empty(LANES, np.int32), np.empty(LANES, np.int64)
    kept = np.empty(LANES, slack.dtype), np.empty(LANES, slack.dtype), np.empty(LANES, slack.dtype)
    left = 0
    for start in range(0, rows.shape[0], LANES):
        count = fill(tile, half, places, x, rows, start, frame)
        score_tile(tile, panels, bias, d, bias.shape[0] // GROUP, best, second, label)
        never = open_rows(half, best, second, terms, count)
        for lane in range(count):
            labels[rows[start + lane]] = label[lane]
        if never:
            for lane in range(count):
                if never >> lane & 1:
                    is_open[rows[start + lane]] = True
                    left += 1
        if not keeps:
            continue
        if any_twins:
            # a twin may part from the own center
            for lane in range(count):
                never |= np.int64(twinned[label[lane]]) << lane
        first = rows[start]
        if count == LANES and rows[start + LANES - 1] - first == LANES - 1:
            keep_bounds(
                half, best, second, terms, never, label, tables, k, slack, upper, lower, first
            )
            continue
        keep_bounds(
            half, best, second, terms, never, label, tables, k, kept[0], kept[1], kept[2], 0
        )
        for lane in range(count):
            row = rows[start + lane]
            slack[row], upper[row], lower[row] = kept[0][lane], kept[1][lane], kept[2][lane]
    return left


@jit
def canonical(x: Any, row: Any, center: Any, before: Any, after: Any, squares: Any) -> Any:
    """Canonical squared distance of a row to a center: `_distances`, bit for bit."""
    width = x.shape[1]
    for f in range(width):
        value = np.float64(x[row, f]) * before - np.float64(center[f]) * before
        squares[f] = value * after * (value * after)
    while width > 1:
        half = (width + 1) // 2
        for f in range(width - half):
            squares[f] += squares[half + f]
        width = half
    return squares[0]
