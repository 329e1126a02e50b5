"""Compiled loop over rows that have a head: few centers are scored in full; see `_head`.

Loaded only when numba was chosen by routing; compiled code is kept on disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._loops import DOWN, UP, jit, keep
from ._tile import GROUP, LANES, dot, list_near

_ROUND_UP = 2.0**-22


@jit
def _begin(
    frame: Any, centers: Any, terms: Any, x: Any, row: Any, lane: Any, own: Any, work: Any
) -> Any:
    """Score a row against one center, and say which heads' scores rule a center out."""
    shift, scale, error = frame
    weights, bias, _ = centers
    moved, limits, half, best, second, target = work
    width = moved.shape[0] // LANES
    here = lane * width
    for f in range(x.shape[1]):
        moved[here + f] = limits.dtype.type((x[row, f] - shift[f]) * scale)
    mine = 0.5 * np.float64(dot(moved, here, moved, here, width))
    score = np.float64(bias[own]) + np.float64(dot(weights, own * width, moved, here, width))
    room = error[0] * mine + error[1] * abs(mine + score) + error[2]
    half[lane], best[lane], second[lane] = mine, score, np.inf
    target[lane] = score + 2.0 * room + terms[0] * max(mine + score, 0.0)
    limit = target[lane] + terms[1] * mine + terms[2]
    # what is not a number, or may have overflowed, takes no part
    takes_part = mine <= error[3]
    limits[lane] = limit + abs(limit) * _ROUND_UP if takes_part else -np.inf
    return takes_part


@jit
def _share_out(
    near: Any, count: Any, takes_part: Any, label: Any, lists: Any, lengths: Any
) -> None:
    """From rows of centers to centers of rows; without a branch, which none could foresee."""
    numbers, masks = near
    lengths[:] = 0
    for place in range(count):
        center, mask = numbers[place], masks[place] & takes_part
        for lane in range(LANES):
            lists[lane, lengths[lane]] = center
            lengths[lane] += ((mask >> lane) & 1) & (center != label[lane])


@jit
def _score(centers: Any, lists: Any, lengths: Any, work: Any, label: Any) -> Any:
    """Score what the heads did not rule out; how many scores that were."""
    weights, bias, _ = centers
    moved, _, _, best, second, _ = work
    width = moved.shape[0] // LANES
    scores = 0
    for lane in range(LANES):
        for place in range(lengths[lane]):
            center = lists[lane, place]
            if center >= bias.shape[0]:
                continue
            product = dot(weights, center * width, moved, lane * width, width)
            score = np.float64(bias[center]) + np.float64(product)
            leads = score < best[lane]
            loser = best[lane] if leads else score
            second[lane] = min(second[lane], loser) if loser == loser else second[lane]
            best[lane] = score if leads else best[lane]
            label[lane] = center if leads else label[lane]
        scores += lengths[lane]
    return scores


@jit
def score_heads(
    frame: Any, centers: Any, head: Any, tables: Any, x: Any, rows: Any, state: Any
) -> Any:
    """`_loops.score_rows` by heads: how many rows stay open, and how many full scores it took."""
    _, _, error = frame
    weights, bias, twinned = centers
    heads, panels, head_bias, terms = head
    labels, slack, upper, lower, is_open = state
    width = weights.shape[0] // bias.shape[0]
    moved = np.zeros(LANES * width, panels.dtype)
    tile = np.empty((heads.shape[1], LANES), panels.dtype)
    limits, label = np.empty(LANES, panels.dtype), np.empty(LANES, np.int32)
    half, best, second, target = np.empty(LANES), np.empty(LANES), np.empty(LANES), np.empty(LANES)
    work = moved, limits, half, best, second, target
    near = np.empty(head_bias.shape[0], np.int32), np.empty(head_bias.shape[0], np.int32)
    lists = np.empty((LANES, head_bias.shape[0] + 1), np.int32)
    lengths = np.empty(LANES, np.int32)
    left = scores = 0
    for start in range(0, rows.shape[0], LANES):
        count = min(LANES, rows.shape[0] - start)
        limits[:] = -np.inf
        takes_part = np.int64(0)
        for lane in range(LANES):
            row = rows[start + min(lane, count - 1)]
            for f in range(tile.shape[0]):
                tile[f, lane] = heads[row, f]
            if lane < count:
                label[lane] = labels[row]
                fine = _begin(frame, centers, terms, x, row, lane, label[lane], work)
                takes_part |= np.int64(fine) << lane
        listed = list_near(
            tile, panels, head_bias, tile.shape[0], head_bias.shape[0] // GROUP, limits, *near
        )
        _share_out(near, listed, takes_part, label, lists, lengths)
        scores += count + _score(centers, lists, lengths, work, label)
        for lane in range(count):
            row, mine, own = rows[start + lane], half[lane], label[lane]
            room = error[0] * mine + error[1] * abs(mine + best[lane]) + error[2]
            # a center that was not scored has a score above the target
            rival = min(second[lane], target[lane])
            settled = mine <= error[3] and best[lane] + room < rival
            labels[row] = own
            if not settled:
                is_open[row] = True
                left += 1
            if slack.shape[0] == 0:
                continue
            near_side = np.sqrt(2.0 * max(mine + best[lane] + room, 0.0)) * UP
            far_side = np.sqrt(2.0 * max(mine + rival - room, 0.0)) * DOWN
            if not settled or twinned[own]:
                near_side, far_side = np.inf, -np.inf
            keep(row, own, near_side, far_side, tables, slack, upper, lower)
    return left, scores
