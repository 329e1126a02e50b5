"""Compiled loops over rows in doubt that keep bounds for groups of centers; see `_groups`.

Some rows at a time are shifted and scaled into a buffer that stays in a near cache.  Then come
the groups in turn: the rows that need a group are brought into tiles, 16 by 16 values in
registers, and scored against its panels.  A loser's error needs no other score (see
`_primitives`), so that the bound of a group follows at once from its best score.

Loaded only when numba was chosen by routing; compiled code is kept on disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._groups import TABLE
from ._group_tile import gather_tile, needed_groups, own_products
from ._loops import DOWN, UP, jit, keep
from ._tile import GROUP, LANES, score_tile

_MORE, _LESS = 1.0 + TABLE, 1.0 - TABLE
_VALUES = 1 << 15  # of rows at a time
_ROWS = 1 << 10


@jit
def _move(frame: Any, x: Any, row: Any, here: Any) -> None:
    """Shift and scale a row."""
    shift, scale, _ = frame
    for f in range(x.shape[1]):
        here[f] = (x[row, f] - shift[f]) * scale


@jit
def _list_needs(
    frame: Any,
    centers: Any,
    groups: Any,
    tables: Any,
    x: Any,
    rows: Any,
    state: Any,
    kept: Any,
    buffers: Any,
    work: Any,
) -> Any:
    """Move the rows whose label is not proven to the buffer, with a bit for each group they need.

    The distance to the own center is taken anew, for the proof and the groups alike.
    """
    _, _, error = frame
    _, _, weights, bias = centers
    home, members, spent = groups
    labels, slack, upper, lower, _ = state
    moved, half, _, _, _, _, _ = buffers
    picked, needs, rest = work
    flat, width, dtype = kept.reshape(-1), kept.shape[1], kept.dtype.type
    beyond, products = np.empty(1, kept.dtype), np.empty(2, moved.dtype)
    every = (np.int64(1) << members.shape[0]) - 1
    count = 0
    for row in rows:
        label = labels[row]
        here = moved[count]
        _move(frame, x, row, here)
        own_products(here, weights, label * here.size, here.size, products)
        score, mine = bias[label] + products[0], products[1] * products.dtype.type(0.5)
        room = error[0] * mine + error[1] * abs(mine + score) + error[2]
        near = np.sqrt(2.0 * max(mine + score + room, 0.0)) * UP
        near = dtype(near * _MORE) if mine <= error[3] else dtype(np.inf)
        needed = every & needed_groups(flat, row * width, width, spent[1], near, beyond)
        far = beyond[0]
        known = (lower[row] - tables[2, 1, label]) * _LESS
        if needed == 0 or near < known:
            known = max(far, known) if needed == 0 else known
            keep(row, label, near, known, tables, slack, upper, lower)
            continue
        picked[count], rest[count], half[count] = row, far, mine
        needs[count] = needed | (np.int64(1) << home[label])
        count += 1
    return count


@jit
def _members(needs: Any, count: Any, g: Any, listed: Any) -> Any:
    """The rows that need a group; without a branch, which none could foresee."""
    found = 0
    for place in range(count):
        listed[found] = place
        found += (needs[place] >> g) & 1
    return found


@jit
def _score_group(
    frame: Any,
    centers: Any,
    size: Any,
    g: Any,
    spent: Any,
    buffers: Any,
    listed: Any,
    rows: Any,
    kept: Any,
) -> None:
    """Score the listed rows against a group; the best two so far, and the bound of the group."""
    _, _, error = frame
    panels, bias, _, _ = centers
    moved, half, best, rival, runner, winner, tile = buffers
    work = panels.dtype.type
    step, width = size // GROUP, panels.shape[1]
    panels, bias = (
        panels[g * step : (g + 1) * step],
        bias[g * step * GROUP : (g + 1) * step * GROUP],
    )
    least, share, room = kept.dtype.type(spent[0, g]), work(error[0]), work(error[2])
    first, second = np.empty(LANES, panels.dtype), np.empty(LANES, panels.dtype)
    label, places = np.empty(LANES, np.int32), np.empty(LANES, np.int64)
    halves, limits = np.empty(LANES, panels.dtype), np.empty(LANES, kept.dtype)
    for start in range(0, listed.shape[0], LANES):
        lanes = min(LANES, listed.shape[0] - start)
        for lane in range(LANES):
            places[lane] = listed[start + min(lane, lanes - 1)]
            halves[lane] = half[places[lane]]
        gather_tile(moved, moved.shape[1], width, places, tile)
        score_tile(tile, panels, bias, width, step, first, second, label)
        for lane in range(LANES):
            mine = halves[lane]
            far = mine + first[lane] - (share * mine + room)
            limit = np.sqrt(work(2) * max(far, work(0))) * work(DOWN)
            limits[lane] = (kept.dtype.type(limit) + least) * kept.dtype.type(_LESS)
        for lane in range(lanes):
            place, score = places[lane], first[lane]
            kept[rows[place], g] = limits[lane]
            leads = score < best[place]
            loser = min(best[place], second[lane]) if leads else score
            rival[place] = min(rival[place], loser)
            best[place] = score if leads else best[place]
            runner[place] = second[lane] if leads else runner[place]
            winner[place] = g * step * GROUP + label[lane] if leads else winner[place]


@jit
def _close(
    frame: Any, groups: Any, tables: Any, buffers: Any, work: Any, count: Any, state: Any, kept: Any
) -> Any:
    """Write labels and bounds of the rows that were scored; how many stay open."""
    _, _, error = frame
    _, members, spent = groups
    labels, slack, upper, lower, is_open = state
    _, half, best, rival, runner, winner, _ = buffers
    picked, _, rest = work
    size = members.shape[1]
    left = 0
    for place in range(count):
        row, mine = picked[place], half[place]
        group = winner[place] // size
        own = members[group, winner[place] - group * size]
        room = error[0] * mine + error[1] * abs(mine + best[place]) + error[2]
        settled = mine <= error[3] and best[place] + room < rival[place]
        labels[row] = own
        if not settled:
            is_open[row] = True
            left += 1
            kept[row, :] = -np.inf
            keep(row, own, np.inf, -np.inf, tables, slack, upper, lower)
            continue
        far = np.sqrt(2.0 * max(mine + runner[place] - room, 0.0)) * DOWN
        kept[row, group] = (far + spent[0, group]) * _LESS
        near = np.sqrt(2.0 * max(mine + best[place] + room, 0.0)) * UP
        far = np.sqrt(2.0 * max(mine + rival[place] - room, 0.0)) * DOWN
        keep(row, own, near, min(far, rest[place]), tables, slack, upper, lower)
    return left


@jit
def score_groups(
    frame: Any, centers: Any, groups: Any, tables: Any, x: Any, rows: Any, state: Any, kept: Any
) -> Any:
    """Label the listed rows by the groups that they need, and leave their bounds.

    How many were scored, how many of those stay open, and how many (row, group) pairs it took.
    """
    panels = centers[0]
    _, members, spent = groups
    dtype, width = panels.dtype, panels.shape[1]
    step = max(LANES, min(_ROWS, _VALUES // width))
    # one more: rows are moved there before it is known that they stay
    filled = -(-width // (2 * LANES)) * 2 * LANES
    moved, tile = np.zeros((step + 1, filled), dtype), np.empty((width, LANES), dtype)
    half, best, rival, runner = (
        np.empty(step, dtype),
        np.empty(step, dtype),
        np.empty(step, dtype),
        np.empty(step, dtype),
    )
    winner, listed = np.empty(step, np.int32), np.empty(step + 1, np.int32)
    picked, needs, rest = (
        np.empty(step, np.int32),
        np.empty(step, np.int64),
        np.empty(step, kept.dtype),
    )
    buffers, work = (moved, half, best, rival, runner, winner, tile), (picked, needs, rest)
    total = left = pairs = 0
    for start in range(0, rows.shape[0], step):
        some = rows[start : start + step]
        count = _list_needs(frame, centers, groups, tables, x, some, state, kept, buffers, work)
        best[:], rival[:], runner[:], winner[:] = np.inf, np.inf, np.inf, 0
        for g in range(members.shape[0]):
            found = _members(needs, count, g, listed)
            _score_group(
                frame, centers, members.shape[1], g, spent, buffers, listed[:found], picked, kept
            )
            pairs += found
        left += _close(frame, groups, tables, buffers, work, count, state, kept)
        total += count
    return total, left, pairs
