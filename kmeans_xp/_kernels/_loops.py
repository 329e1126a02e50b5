"""Compiled loops over the rows of a block: proofs, scores, and the bounds they leave.

The formulas are those of `_bounds` and `_primitives`, row by row.  Loaded only when numba was
chosen by routing; compiled code is kept on disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .._bounds import OUTWARDS
from .._exact import ONE_LIMB
from .._groups import TABLE
from ._tile import GROUP, LANES, PART, score_tile

UP, DOWN, _MORE, _LESS = 1.0 + OUTWARDS, 1.0 - OUTWARDS, 1.0 + TABLE, 1.0 - TABLE


def jit(function: Any, **options: Any) -> Any:
    """Compile when first called, and keep the result on disk where a place can be written."""
    try:
        return njit(function, nogil=True, cache=True, error_model="numpy", **options)
    except RuntimeError:
        return njit(function, nogil=True, error_model="numpy", **options)


def _any_order(function: Any) -> Any:
    """The same, for sums that may be taken in any order."""
    return jit(function, fastmath={"reassoc", "contract"})


@_any_order
def _own_score(x: Any, row: Any, shift: Any, scale: Any, weights: Any, label: Any) -> Any:
    """Product with one center and half the squared norm, of one row; sums as in a tile."""
    work = weights.dtype.type
    product = square = work(0)
    for start in range(0, x.shape[1], PART):
        part = part_square = work(0)
        for f in range(start, min(start + PART, x.shape[1])):
            value = work((x[row, f] - shift[f]) * scale)
            part += value * weights[label, f]
            part_square += value * value
        product += part
        square += part_square
    return product, square * work(0.5)


@jit
def list_doubtful(apart: Any, tables: Any, state: Any, rows: Any) -> Any:
    """List the rows whose label is not proven by their slack or by both sides.

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
def look_closer(frame: Any, centers: Any, tables: Any, x: Any, state: Any, rows: Any) -> Any:
    """Keep those of the listed rows that the distance to their own center does not prove."""
    shift, scale, error = frame
    weights, bias, apart = centers
    labels, slack, upper, lower = state
    count = 0
    for row in rows:
        label = labels[row]
        product, half = _own_score(x, row, shift, scale, weights, label)
        score = bias[label] + product
        room = error[0] * half + error[1] * abs(half + score) + error[2]
        near = np.sqrt(2.0 * max(half + score + room, 0.0)) * UP
        far = max((lower[row] - tables[2, 1, label]) * _LESS, apart[label] - near)
        near = near if half <= error[3] else np.inf
        keep(row, label, near, far, tables, slack, upper, lower)
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
def _fill(tile: Any, half: Any, part: Any, x: Any, rows: Any, start: Any, frame: Any) -> Any:
    """Bring the next rows into a tile, features first, shifted and scaled; half square norms."""
    shift, scale, _ = frame
    work = tile.dtype.type
    count = min(LANES, rows.shape[0] - start)
    half[:] = 0
    for first in range(0, x.shape[1], PART):
        end = min(first + PART, x.shape[1])
        for lane in range(LANES):
            row = rows[start + min(lane, count - 1)]
            for f in range(first, end):
                tile[f, lane] = work((x[row, f] - shift[f]) * scale)
        part[:] = 0
        for f in range(first, end):
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
        count = _fill(tile, half, best, x, rows, start, frame)
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
def _add_row(out: Any, sign: Any, x: Any, row: Any, weight: Any, scales: Any) -> Any:
    """Add (or take away) a row's integers, cut as `_exact.quantise` cuts them."""
    up, limbs, weight_up, weight_limbs = scales
    d = x.shape[1]
    heavy = weight.shape[0] > 0
    for f in range(d):
        value = np.float64(x[row, f])
        rest = (value * weight[row] if heavy else value) * up[f]
        for limb in range(limbs - 1):
            whole = np.trunc(rest)
            out[limb * d + f] += sign * np.int64(whole)
            rest = (rest - whole) * ONE_LIMB
        out[(limbs - 1) * d + f] += sign * np.int64(np.rint(rest))
    last = limbs * d
    if not heavy:
        out[last] += sign
        return
    rest = weight[row] * weight_up
    for limb in range(weight_limbs):
        whole = np.trunc(rest) if limb < weight_limbs - 1 else np.rint(rest)
        out[last + limb] += sign * np.int64(whole)
        rest = (rest - whole) * ONE_LIMB
    out[last + weight_limbs] += sign * np.int64(weight[row] > 0.0)


@jit
def add_rows(x: Any, weight: Any, before: Any, after: Any, scales: Any, out: Any) -> Any:
    """Add rows to the sums (k, columns) of their clusters; those that moved leave their old.

    Without labels before, every row is new.  Returns the rows that moved, and how many of
    them carry weight.
    """
    moved = carrying = 0
    is_new = before.shape[0] == 0
    for row in range(x.shape[0]):
        if not is_new:
            if before[row] == after[row]:
                continue
            _add_row(out[before[row]], -1, x, row, weight, scales)
        _add_row(out[after[row]], 1, x, row, weight, scales)
        moved += 1
        if weight.shape[0] == 0 or weight[row] > 0.0:
            carrying += 1
    return moved, carrying


@jit
def own_distances(x: Any, centers: Any, labels: Any, before: Any, after: Any, out: Any) -> None:
    """Canonical squared distance of each row to its center: `_primitives`, bit for bit."""
    squares = np.empty(x.shape[1])
    for row in range(x.shape[0]):
        own = labels[row]
        for f in range(x.shape[1]):
            value = np.float64(x[row, f]) * before - np.float64(centers[own, f]) * before
            squares[f] = value * after * (value * after)
        width = x.shape[1]
        while width > 1:
            half = (width + 1) // 2
            for f in range(width - half):
                squares[f] += squares[half + f]
            width = half
        out[row] = squares[0]
