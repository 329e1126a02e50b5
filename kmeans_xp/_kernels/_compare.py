"""Candidates of k-means++ compared with the rows that they may bring nearer, in array API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .. import _exact as exact
from .._gains import Trials
from .._stats import weigh
from .._typing import Array, Block, Kernel, Namespace, slices


@dataclass(frozen=True)
class _Compared:
    """Some rows that a candidate may bring nearer, with their distances before and after."""

    mask: Array  # over all rows of the block, or those listed
    rows: Array
    better: Array  # false for padding
    before: Array
    after: Array
    gained: Array  # in the lottery's integers


def gained(
    kernel: Kernel, block: Block, trials: Trials, trial: int, lottery: Any, /, *, xp: Namespace
) -> int:
    """By how much a candidate lowers the sum over a block, in the lottery's integers."""
    return sum(
        int(exact.exact_sums(found.gained, xp=xp))
        for found in _compared(kernel, block, trials, trial, lottery, xp)
    )


def improve(
    kernel: Kernel,
    block: Block,
    trials: Trials,
    trial: int,
    number: int,
    lottery: Any,
    /,
    *,
    xp: Namespace,
) -> None:
    """Let a candidate, now the seed of this number, have the rows that it brings nearer."""
    state = block.state
    for found in _compared(kernel, block, trials, trial, lottery, xp):
        seeds = xp.take(state["seeds"], found.rows)
        for name, values in (
            ("closest", xp.where(found.better, found.after, found.before)),
            ("seeds", xp.where(found.better, xp.full_like(seeds, number), seeds)),
        ):
            state[name] = kernel.put(state[name], found.mask, found.rows, values)
        lottery.lower(block, found.rows, found.gained)
    del state["trial"]


def _compared(
    kernel: Kernel, block: Block, trials: Trials, trial: int, lottery: Any, xp: Namespace
) -> Iterator[_Compared]:
    """Compare the rows that a candidate may bring nearer, not too many at a time."""
    positions, marks = block.state["trial"]
    marked = marks[trial, :]
    for part in slices(int(marks.shape[1]), trials.rows_at_once):
        mask = marked[part]
        count = int(xp.count_nonzero(mask))
        if not count:
            continue
        rows, valid = kernel.compress(mask, count)
        if positions is not None:
            rows = positions[part][rows]
        elif part.start:
            rows = rows + part.start
        center = trials.nearest.centers[trial, :]
        after = kernel.distances_at(block.x, rows, center, trials.nearest.scale)
        before = xp.take(block.state["closest"], rows)
        better = after < before if valid is None else (after < before) & valid
        weight = None if block.weight is None else xp.take(block.weight, rows)
        whole = [lottery.whole(weigh(some, weight, xp=xp)) for some in (before, after)]
        gain = xp.where(better, whole[0] - whole[1], xp.zeros_like(after))
        whole_mask = mask if positions is not None else _over_all(marked, part, xp)
        yield _Compared(whole_mask, rows, better, before, after, gain)


def _over_all(marked: Array, part: slice, xp: Namespace) -> Array:
    """The marks of a part among all rows of the block, none outside of it."""
    if part == slice(0, int(marked.shape[0])):
        return marked
    before, after = marked[: part.start], marked[part.stop :]
    return xp.concat([xp.zeros_like(before), marked[part], xp.zeros_like(after)])
