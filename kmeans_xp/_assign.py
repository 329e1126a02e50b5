"""Labels for all rows: which are looked at, by the first rung, and the few left open."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from ._bounds import Drift
from ._primitives import Nearest
from ._problem import Problem
from ._typing import FEW, Array, Block, some

_MOST_SCORES = 1 << 21


class Look(NamedTuple):
    """How many rows were scored, and how many of those the first rung left open."""

    scored: int
    open: int


@dataclass(frozen=True)
class _Open:
    """The few rows of a block that the first rung left open."""

    block: Block
    mask: Array
    rows: Array
    x: Array

    @property
    def n_rows(self) -> int:
        return int(self.x.shape[0])


def relabel(problem: Problem, nearest: Nearest, drift: Drift | None = None, /) -> Look:
    """Assign every row; with a drift, rows whose label is proven are passed over.

    Where rows stay, few open ones wait until all blocks are done, and are settled in one go.
    """
    source, kernel, xp = problem.source, problem.kernel, problem.context.xp
    if not source.is_resident or len(source.blocks) == 1:
        looks = source.map(lambda block: label(problem, block, nearest, drift))
        source.remake("labels", functools.partial(relabelled, problem, nearest))
        return together(looks)
    parts = source.map(lambda block: _look(problem, block, nearest, drift, waits=True))
    waiting = [left for _, left in parts if left is not None]
    for batch in batches(waiting, problem.plan.block_rows):
        settled = kernel.settle(xp.concat([left.x for left in batch], axis=0), nearest)
        start = 0
        for left in batch:
            _close(problem, left, settled[start : start + left.n_rows])
            start += left.n_rows
    return together([look for look, _ in parts])


def label(problem: Problem, block: Block, nearest: Nearest, drift: Drift | None = None, /) -> Look:
    """Assign the rows of one block, which remembers their labels."""
    return _look(problem, block, nearest, drift, waits=False)[0]


def together(looks: Sequence[Look], /) -> Look:
    """What all blocks saw."""
    return Look(*(sum(column) for column in zip(*looks, strict=True)))


def relabelled(problem: Problem, nearest: Nearest, block: Block) -> None:
    """Make the labels of one block anew."""
    block.state.pop("bounds", None)
    label(problem, block, nearest)


def _look(
    problem: Problem, block: Block, nearest: Nearest, drift: Drift | None, *, waits: bool
) -> tuple[Look, _Open | None]:
    """Labels of a block; few open rows may wait."""
    kernel, xp = problem.kernel, problem.context.xp
    scored, mask = kernel.look(block.x, nearest, drift, block.state)
    count = 0 if mask is None else int(xp.count_nonzero(mask))
    if count == 0:
        return Look(scored, 0), None
    rows, _ = kernel.compress(mask, count)
    left = _Open(block, mask, rows, some(block.x, rows, xp=xp))
    if waits and count * FEW <= block.n_rows:
        return Look(scored, count), left
    _close(problem, left, kernel.settle(left.x, nearest))
    return Look(scored, count), None


def _close(problem: Problem, left: _Open, labels: Array) -> None:
    state = left.block.state
    state["labels"] = problem.kernel.put(state["labels"], left.mask, left.rows, labels)


class _Sized(Protocol):
    @property
    def n_rows(self) -> int: ...


Few = TypeVar("Few", bound=_Sized)


def batches(parts: Sequence[Few], most_rows: int) -> Iterator[list[Few]]:
    """Neighbouring parts with at most so many rows together (or one part alone)."""
    batch: list[Few] = []
    n_rows = 0
    for part in parts:
        if batch and n_rows + part.n_rows > most_rows:
            yield batch
            batch, n_rows = [], 0
        batch.append(part)
        n_rows += part.n_rows
    if batch:
        yield batch


def assign(problem: Problem, block: Block, nearest: Nearest, /) -> Array:
    """Exact labels of one block, which is not asked to remember them.

    The centers may be far more than the plan was made for, so rows are taken in pieces.
    """
    if problem.source.is_stored:
        return _assign_piece(problem, block.x, nearest)
    most_rows = max(256, _MOST_SCORES // int(nearest.centers.shape[0]))
    parts = [_assign_piece(problem, x, nearest) for x, _ in block.pieces(most_rows)]
    return parts[0] if len(parts) == 1 else problem.context.xp.concat(parts)


def _assign_piece(problem: Problem, x: Array, nearest: Nearest) -> Array:
    kernel, xp = problem.kernel, problem.context.xp
    labels, mask, _ = kernel.propose(x, nearest, {})
    count = 0 if mask is None else int(xp.count_nonzero(mask))
    if count == 0:
        return labels
    rows, _ = kernel.compress(mask, count)
    return kernel.put(labels, mask, rows, kernel.settle(some(x, rows, xp=xp), nearest))
