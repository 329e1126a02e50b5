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
from .._exact import ONE_LIMB
from .._groups import TABLE
from .._typing import Array
from ._tile import GROUP, LANES, PART, fill_columns, score_tile

Frame: TypeAlias = "tuple[Array, np.floating[Any], Array]"
"""Shift (d,), scale, and the error terms: own, slope, common, largest half norm."""

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
    """List the rows whose label is not proven: by slack, then by both sides.

    Loops without a branch on the outcome, which no processor could foresee.
    """
    labels, slack, upper, lower = state
    spent = tables[0, 1]
    count = 0
    for row in range(labels.shape[0]):
        rows[count] = row
        count += not slack[row] > spent[labels[row]]
    few, count = count, 0
    for row in rows[:few]:
        # so far from its own; so far from the others, by memory or by the triangle inequality
        label = labels[row]
        near = (upper[row] + tables[1, 1, label]) * _MORE
        far = max((lower[row] - tables[2, 1, label]) * _LESS, apart[label] - near)
        slack[row] = (far - near + tables[0, 0, label]) * _LESS
        rows[count] = row
        count += not near < far
    return count


@jit
def keep(
    row: Any, label: Any, near: Any, far: Any, tables: Any, slack: Any, upper: Any, lower: Any
) -> None:
    slack[row] = (far - near + tables[0, 0, label]) * _LESS
    upper[row] = near * _MORE - tables[1, 0, label]
    lower[row] = (far + tables[2, 0, label]) * _LESS


@jit
def fill(tile: Any, half: Any, part: Any, x: Any, rows: Any, start: Any, frame: Any) -> Any:
    """Bring the next rows into a tile, features first, shifted and scaled; half square norms."""
    shift, scale, _ = frame
    work = tile.dtype.type
    count = min(LANES, rows.shape[0] - start)
    places = np.empty(LANES, np.int64)
    for lane in range(LANES):
        places[lane] = np.int64(rows[start + min(lane, count - 1)]) * (x.strides[0] // x.itemsize)
    # whole squares of features and rows at a time, where a row lies in one piece
    whole = x.shape[1] // LANES * LANES if x.strides[1] == x.itemsize else 0
    for first in range(0, whole, LANES):
        fill_columns(tile, first, x, places, shift, scale)
    for lane in range(LANES):
        row = rows[start + min(lane, count - 1)]
        for f in range(whole, x.shape[1]):
            tile[f, lane] = work((x[row, f] - shift[f]) * scale)
    half[:] = 0
    for first in range(0, x.shape[1], PART):
        part[:] = 0
        for f in range(first, min(first + PART, x.shape[1])):
            for lane in range(LANES):
                part[lane] += tile[f, lane] * tile[f, lane]
        for lane in range(LANES):
            half[lane] += part[lane] * work(0.5)
    return count


@jit
def score_rows(frame: Any, centers: Any, tables: Any, x: Any, rows: Any, state: Any) -> Any:
    """Label the listed rows, leave their bounds, and mark those that stay open."""
    _, _, error = frame
    panels, bias, twinned = centers
    labels, slack, upper, lower, is_open = state
    d = x.shape[1]
    tile = np.empty((d, LANES), panels.dtype)
    half = np.empty(LANES, panels.dtype)
    best, second = np.empty_like(half), np.empty_like(half)
    label = np.empty(LANES, np.int32)
    left = 0
    for start in range(0, rows.shape[0], LANES):
        count = fill(tile, half, best, x, rows, start, frame)
        score_tile(tile, panels, bias, d, bias.shape[0] // GROUP, best, second, label)
        for lane in range(count):
            row, mine, own = rows[start + lane], half[lane], label[lane]
            room = error[0] * mine + error[1] * abs(mine + best[lane]) + error[2]
            # what is not a number, or may have overflowed, is open too
            settled = mine <= error[3] and best[lane] + room < second[lane]
            labels[row] = own
            if not settled:
                is_open[row] = True
                left += 1
            if slack.shape[0] == 0:
                continue
            near = np.sqrt(2.0 * max(mine + best[lane] + room, 0.0)) * UP
            far = np.sqrt(2.0 * max(mine + second[lane] - room, 0.0)) * DOWN
            if not settled or twinned[own]:
                # the label may become another's, a twin may part from the own center
                near, far = np.inf, -np.inf
            keep(row, own, near, far, tables, slack, upper, lower)
    return left


@jit
def _quantise(x: Any, row: Any, weight: Any, scales: Any, rest: Any, cells: Any) -> None:
    """A row's integers, cut as `_exact.quantise` cuts them; ``rest`` (d,) is scratch."""
    up, limbs, weight_up, weight_limbs = scales
    d = x.shape[1]
    heavy = weight.shape[0] > 0
    factor = weight[row] if heavy else 1.0
    own = x[row]
    for f in range(d):
        rest[f] = np.float64(own[f]) * factor * up[f]
    for limb in range(limbs - 1):
        part = cells[limb * d : (limb + 1) * d]
        for f in range(d):
            whole = np.trunc(rest[f])
            part[f] = np.int64(whole)
            rest[f] = (rest[f] - whole) * ONE_LIMB
    part = cells[(limbs - 1) * d : limbs * d]
    for f in range(d):
        part[f] = np.int64(np.rint(rest[f]))
    last = limbs * d
    if not heavy:
        cells[last] = 1
        return
    left = factor * weight_up
    for limb in range(weight_limbs):
        whole = np.trunc(left) if limb < weight_limbs - 1 else np.rint(left)
        cells[last + limb] = np.int64(whole)
        left = (left - whole) * ONE_LIMB
    cells[last + weight_limbs] = factor > 0.0


@jit
def add_rows(x: Any, weight: Any, before: Any, after: Any, scales: Any, out: Any) -> Any:
    """Add rows to the sums (k, columns) of their clusters; those that moved leave their old.

    Without labels before, every row is new.  Returns the rows that moved, and how many of
    them carry weight.
    """
    moved = carrying = 0
    is_new = before.shape[0] == 0
    columns = out.shape[1]
    rest, cells = np.empty(x.shape[1]), np.empty(columns, np.int64)
    for row in range(x.shape[0]):
        if not is_new and before[row] == after[row]:
            continue
        _quantise(x, row, weight, scales, rest, cells)
        own = out[after[row]]
        for column in range(columns):
            own[column] += cells[column]
        if not is_new:
            own = out[before[row]]
            for column in range(columns):
                own[column] -= cells[column]
        moved += 1
        if weight.shape[0] == 0 or weight[row] > 0.0:
            carrying += 1
    return moved, carrying


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


@jit
def own_distances(x: Any, centers: Any, labels: Any, before: Any, after: Any, out: Any) -> None:
    """Canonical squared distance of each row to its center."""
    squares = np.empty(x.shape[1])
    for row in range(x.shape[0]):
        out[row] = canonical(x, row, centers[labels[row]], before, after, squares)
