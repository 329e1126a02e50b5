"""Compiled loops of k-means++: which rows a candidate may bring nearer, and what that gains.

The formulas are those of `_gains`.  Loaded only when numba was chosen by routing; compiled code
is kept on disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._gains import LEAST_SQUARE
from ._gain_tile import ROWS, TRIALS, gain_tile
from ._loops import any_order, canonical, jit
from ._tile import prefetch

_AHEAD = 16  # rows that are asked for before their turn
_LINE = 64
_SCATTERED = 0.9  # the share of listed rows from which memory foresees the next by itself
_NEAR_BYTES = 256  # rows up to this size are read where they lie


@any_order
def _square_between(a: Any, b: Any, after: Any) -> Any:
    total = 0.0
    for f in range(a.shape[0]):
        difference = (a[f] - b[f]) * after
        total += difference * difference
    return total


@jit
def prepare(
    candidates: Any, seeds: Any, shift: Any, scale: Any, theta: Any, share: Any, out: Any
) -> None:
    """Candidates as weights, in panels, with their bias; the limit of each seed."""
    before, after = scale
    weights, panels, bias, limits = out
    work = panels.dtype.type
    count, d = candidates.shape
    held, seed = np.empty((count, d)), np.empty(d)
    panels[:] = 0
    bias[:] = np.inf
    for i in range(count):
        square = 0.0
        for f in range(d):
            value = np.float64(candidates[i, f])
            held[i, f] = value * before
            moved = (value - shift[f]) * (before * after)
            square += moved * moved
            weights[i, f] = work(-moved)
            panels[i // TRIALS, f, i % TRIALS] = work(-moved)
        bias[i] = work((0.5 - theta) * square)
    for j in range(seeds.shape[0]):
        for f in range(d):
            seed[f] = np.float64(seeds[j, f]) * before
        least = np.inf
        for i in range(count):
            least = min(least, _square_between(held[i], seed, after))
        limits[j] = least * share if least >= LEAST_SQUARE else -1.0


@jit
def list_reached(closest: Any, seeds: Any, limits: Any, rows: Any) -> Any:
    """List the rows that the limit of their seed does not rule out; how many there are.

    Without a branch on the outcome, which no processor could foresee.
    """
    count = 0
    for row in range(closest.shape[0]):
        rows[count] = row
        count += closest[row] > limits[seeds[row]]
    return count


@jit
def _prefetch_row(x: Any, row: Any) -> None:
    first = x.ctypes.data + np.int64(row) * x.strides[0]
    for at in range(0, x.shape[1] * x.itemsize, _LINE):
        prefetch(first + at)


@jit
def _move(out: Any, x: Any, row: Any, shift: Any, scale: Any) -> None:
    """Write a row, shifted and scaled, in the precision of the product."""
    work = out.dtype.type
    if shift.shape[0] == 0:
        for f in range(x.shape[1]):
            out[f] = work(x[row, f])
    else:
        for f in range(x.shape[1]):
            out[f] = work((x[row, f] - shift[f]) * scale)


@jit
def _margins(terms: Any, closest: Any, half: Any, rows: Any, out: Any) -> Any:
    """M of the listed rows; the largest M and h."""
    work = out.dtype.type
    widest, longest = work(0), work(0)
    for i in range(rows.shape[0]):
        row = rows[i]
        out[i] = work(closest[row]) * terms[0] - (terms[1] * half[row] - terms[2])
        widest, longest = max(widest, out[i]), max(longest, half[row])
    # the last tile may be short
    out[rows.shape[0] : rows.shape[0] + ROWS] = -np.inf
    return widest, longest


@jit
def appraise_rows(
    frame: Any, centers: Any, x: Any, weight: Any, closest: Any, half: Any, rows: Any, out: Any
) -> Any:
    """Score the listed rows; marked pairs, and the largest M and h of the rows."""
    shift, scale, terms = frame
    panels, bias = centers
    margins, marks, sums, tile = out
    widest, longest = _margins(terms, closest, half, rows, margins)
    step, size = x.strides
    runs = size == x.itemsize
    # long rows come faster from memory one by one
    in_place = runs and size == tile.itemsize and x.shape[1] * size <= _NEAR_BYTES
    in_place = in_place and shift.shape[0] == 0
    ahead = runs and rows.shape[0] < _SCATTERED * x.shape[0]
    addresses, factors = np.empty(ROWS, np.int64), np.ones(ROWS)
    for lane in range(ROWS):
        addresses[lane] = tile.ctypes.data + lane * tile.strides[0]
    heavy = weight.shape[0] > 0
    end = rows.shape[0] - 1
    pairs = 0
    for start in range(0, rows.shape[0], ROWS):
        if ahead:
            for lane in range(ROWS):
                _prefetch_row(x, rows[min(start + lane + _AHEAD, end)])
        if in_place:
            for lane in range(ROWS):
                addresses[lane] = x.ctypes.data + np.int64(rows[min(start + lane, end)]) * step
        else:
            for lane in range(ROWS):
                _move(tile[lane], x, rows[min(start + lane, end)], shift, scale)
        if heavy:
            for lane in range(ROWS):
                factors[lane] = weight[rows[min(start + lane, end)]]
        for group in range(panels.shape[0]):
            more = factors, start, sums, marks[group]
            pairs += gain_tile(addresses, panels, bias, x.shape[1], group, margins, heavy, *more)
    return pairs, widest, longest


@jit
def compare_rows(
    x: Any,
    weight: Any,
    center: Any,
    scale: Any,
    units: Any,
    listed: Any,
    bit: Any,
    number: Any,
    state: Any,
    totals: Any,
    size: Any,
) -> Any:
    """What the marked rows gain by a center, in whole units.

    With a number from 0 on, the center becomes the seed of that number: rows that it brings
    nearer get its distance, and ``totals`` of so many rows are lowered.
    """
    before, after = scale
    up, more = units
    rows, marks = listed
    closest, seeds = state
    squares = np.empty(x.shape[1])
    words = marks.view(np.uint64)[: (rows.shape[0] + ROWS - 1) // ROWS]
    mask = np.uint64(0x0101010101010101 << bit)
    gained = np.int64(0)
    for place in range(words.shape[0]):
        if words[place] & mask == 0:
            continue
        for i in range(place * ROWS, min((place + 1) * ROWS, rows.shape[0])):
            if not (marks[i] >> bit) & 1:
                continue
            row = rows[i]
            old, new = closest[row], canonical(x, row, center, before, after, squares)
            if not new < old:
                continue
            was, now = old, new
            if weight.shape[0] > 0:
                heavy = weight[row] > 0.0
                was, now = (was * weight[row], now * weight[row]) if heavy else (0.0, 0.0)
            by = np.int64(np.rint(was * up * more)) - np.int64(np.rint(now * up * more))
            gained += by
            if number >= 0:
                closest[row], seeds[row] = new, number
                totals[row // size] -= by
    return gained
