"""The passes over rows that the loop is made of; each leaves something that adds."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from . import _exact as exact
from ._assign import Look, batches, label, relabel, relabelled, together
from ._backend import to_host
from ._bounds import Drift
from ._ledger import Stats
from ._primitives import Nearest
from ._problem import Problem, Training
from ._totals import weighted_total
from ._typing import FEW, Array, Block, Namespace, some


@dataclass(frozen=True)
class Moves:
    """Rows that left one cluster for another; padding rows count for nothing."""

    x: Array
    weight: Array | None
    before: Array
    after: Array
    counts: Array | None = None  # 0.0 for padding

    @property
    def n_rows(self) -> int:
        return int(self.x.shape[0])

    def piece(self, part: slice) -> Moves:
        """Some of the rows."""
        return Moves(
            self.x[part, :],
            None if self.weight is None else self.weight[part],
            self.before[part],
            self.after[part],
            None if self.counts is None else self.counts[part],
        )


def sweep(
    problem: Training, nearest: Nearest, n_clusters: int, known: Array | None = None, /
) -> Stats:
    """Assign every row, remember its label, and leave what changed.

    ``known`` are the labels of all rows, where they are known before; no row is scored then.
    """
    if known is not None:
        return _sweep_known(problem, known, n_clusters)
    drift, is_new = problem.pruner.drift_for(nearest)
    if is_new:
        problem.source.forget("bounds")
    away = _together if problem.source.is_resident else _by_block
    look, changed, totals = away(problem, nearest, drift, n_clusters)
    problem.pruner.learn(look.scored, problem.source.n_rows)
    if totals is None:
        totals = _nothing(problem, n_clusters)
    return Stats(totals, changed, look.open, look.scored)


def _sweep_known(problem: Training, known: Array, n_clusters: int) -> Stats:
    """Take labels over; rows stay with their blocks."""
    blocks = problem.source.blocks
    befores = [block.state.get("labels") for block in blocks]
    problem.pruner.passed_over()
    for block in blocks:
        block.state["labels"] = known[block.start : block.start + block.n_rows]
    changed, totals = changes(problem, befores, n_clusters)
    return Stats(totals, changed, 0, 0)


def _nothing(problem: Training, n_clusters: int) -> Array:
    shape = (problem.ledger.words, n_clusters, problem.ledger.n_columns)
    xp = problem.context.xp
    return xp.zeros(shape, dtype=xp.int64, device=problem.context.device)


Swept = tuple[Look, int, Array | None]
"""What was looked at, rows that changed, and the change of the sums if there is one."""


def _together(problem: Training, nearest: Nearest, drift: Drift | None, n_clusters: int) -> Swept:
    """Labels of all blocks, then sums: few open rows, and few that changed, wait for one go."""
    befores = [block.state.get("labels") for block in problem.source.blocks]
    look = relabel(problem, nearest, drift)
    return look, *changes(problem, befores, n_clusters)


def changes(
    problem: Training, befores: Sequence[Array | None], n_clusters: int, /
) -> tuple[int, Array]:
    """How many labels differ from those before (None: there were none), and the sums' change."""
    xp = problem.context.xp
    sums = exact.Accumulator(xp, problem.ledger.words)

    def task(block: Block) -> tuple[int, Moves | None]:
        return _changes(problem, block, befores[block.number], n_clusters, sums, waits=True)

    parts = problem.source.map(task)
    waiting = [moves for _, moves in parts if moves is not None]
    for batch in batches(waiting, problem.plan.block_rows):
        moves = _gather(batch, xp)
        sums.add(moved_sums(problem, moves, n_clusters), 2 * moves.n_rows)
    totals = sums.total()
    if totals is None:
        totals = _nothing(problem, n_clusters)
    return sum(changed for changed, _ in parts), totals


def _by_block(problem: Training, nearest: Nearest, drift: Drift | None, n_clusters: int) -> Swept:
    """Labels and sums of a block while its rows are there."""

    def task(block: Block, sums: exact.Accumulator) -> tuple[Look, int]:
        before = block.state.get("labels")
        look = label(problem, block, nearest, drift)
        changed, _ = _changes(problem, block, before, n_clusters, sums, waits=False)
        return look, changed

    parts, totals = problem.source.add_up(task, problem.ledger.words)
    # not before: the task above needs the labels that were there
    problem.source.remake("labels", functools.partial(relabelled, problem, nearest))
    looks, changed = zip(*parts, strict=True)
    return together(looks), sum(changed), totals


def _changes(
    problem: Training,
    block: Block,
    before: Array | None,
    n_clusters: int,
    sums: exact.Accumulator,
    *,
    waits: bool,
) -> tuple[int, Moves | None]:
    """How many rows changed; their sums are added here, unless few wait for one go."""
    xp, labels = problem.context.xp, block.state["labels"]
    changed = problem.kernel.add_changes(block, before, problem.ledger, n_clusters, sums)
    if changed is not None:
        return changed, None
    if before is None:
        sums.add(cluster_sums(problem, block, labels, n_clusters), block.n_rows)
        return _carrying(block, None, xp), None
    moved = labels != before
    count = int(xp.count_nonzero(moved))
    if count == 0:
        return 0, None
    changed = count if block.weight is None else _carrying(block, moved, xp)
    rows, valid = problem.kernel.compress(moved, count)
    moves = Moves(
        some(block.x, rows, xp=xp),
        None if block.weight is None else xp.take(block.weight, rows),
        xp.take(before, rows),
        xp.take(labels, rows),
        None if valid is None else xp.astype(valid, xp.float64),
    )
    if waits and count * FEW <= block.n_rows:
        return changed, moves
    sums.add(moved_sums(problem, moves, n_clusters), 2 * moves.n_rows)
    return changed, None


def add_rows(
    problem: Training, block: Block, labels: Array, n_clusters: int, sums: exact.Accumulator, /
) -> None:
    """Add a block's rows to sums by labels that are not those of its state."""
    alike = replace(block, state={**block.state, "labels": labels})
    added = problem.kernel.add_changes(alike, None, problem.ledger, n_clusters, sums)
    if added is None:
        sums.add(cluster_sums(problem, block, labels, n_clusters), block.n_rows)


def add_moves(
    problem: Training,
    block: Block,
    before: Array,
    after: Array,
    n_clusters: int,
    sums: exact.Accumulator,
    /,
) -> None:
    """Add what changes when a block's rows go from some labels to others."""
    alike = replace(block, state={**block.state, "labels": after})
    _changes(problem, alike, before, n_clusters, sums, waits=False)


def cluster_sums(problem: Training, block: Block, labels: Array, n_clusters: int, /) -> Array:
    """Exact sums (k, columns) of a block's rows by label."""
    weight = block.weight
    parts = (
        problem.kernel.group_sums(
            problem.ledger.columns(block.x[part, :], None if weight is None else weight[part]),
            labels[part],
            n_clusters,
        )
        for part in _pieces(problem, block.n_rows)
    )
    return functools.reduce(operator.add, parts)


def moved_sums(problem: Training, moves: Moves, n_clusters: int, /) -> Array:
    """Exact change of the sums: each row added to its new cluster, taken from its old."""
    if moves.n_rows <= problem.source.piece_rows:
        return _moved_sums(problem, moves, n_clusters)
    parts = (
        _moved_sums(problem, moves.piece(part), n_clusters)
        for part in _pieces(problem, moves.n_rows)
    )
    return functools.reduce(operator.add, parts)


def _moved_sums(problem: Training, moves: Moves, n_clusters: int) -> Array:
    xp = problem.context.xp
    columns = problem.ledger.columns(moves.x, moves.weight)
    if moves.counts is not None:
        columns = columns * moves.counts[:, None]
    return problem.kernel.group_sums(
        xp.concat([columns, -columns], axis=0),
        xp.concat([moves.after, moves.before]),
        n_clusters,
    )


def _pieces(problem: Training, n_rows: int) -> Iterator[slice]:
    """Slices whose integer columns stay in a cache (and in the allocator's hands)."""
    step = problem.source.piece_rows
    return (slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step))


def _gather(moves: Sequence[Moves], xp: Namespace) -> Moves:
    if len(moves) == 1:
        return moves[0]

    def joined(parts: list[Array | None]) -> Array | None:
        return None if any(part is None for part in parts) else xp.concat(parts, axis=0)

    padded = any(m.counts is not None for m in moves)
    counts = [xp.astype(m.after >= 0, xp.float64) if m.counts is None else m.counts for m in moves]
    return Moves(
        xp.concat([m.x for m in moves], axis=0),
        joined([m.weight for m in moves]),
        xp.concat([m.before for m in moves]),
        xp.concat([m.after for m in moves]),
        xp.concat(counts) if padded else None,
    )


def _carrying(block: Block, chosen: Array | None, xp: Namespace) -> int:
    """How many (chosen) rows carry weight."""
    if block.weight is None:
        return block.n_rows
    positive = block.weight > 0.0
    positive = positive if chosen is None else positive & chosen
    return int(xp.count_nonzero(positive))


def carrying_rows(problem: Problem, /) -> int:
    """How many rows carry weight."""
    xp = problem.context.xp
    return sum(problem.source.map(lambda block: _carrying(block, None, xp)))


def inertia(
    problem: Problem, nearest: Nearest, /, *, keeps: bool = False, only: int | None = None
) -> float:
    """Weighted sum of squared distances to the own center: exact, rounded once.

    If it ``keeps`` them, the distances stay in the blocks' state as ``own``.  ``only`` leaves out
    the rows of all other clusters.
    """
    xp = problem.context.xp

    def measure(block: Block) -> Array:
        distances = problem.kernel.own_distances(block.x, nearest, block.state["labels"])
        if keeps:
            block.state["own"] = distances
        if only is not None:
            mine = block.state["labels"] == only
            distances = xp.where(mine, distances, xp.zeros_like(distances))
        return distances

    return weighted_total(problem, measure, nearest.scale)


def used_clusters(problem: Problem, n_clusters: int, /) -> int:
    """How many clusters have a row (of any weight)."""
    xp = problem.context.xp

    def task(block: Block) -> Array:
        labels = block.state["labels"]
        ones = xp.ones((block.n_rows, 1), dtype=xp.float64, device=problem.context.device)
        return problem.kernel.group_sums(ones, labels, n_clusters)[:, 0]

    first, *rest = problem.source.map(task)
    for part in rest:
        first = first + part
    return int(xp.count_nonzero(first))


def host_counts(problem: Training, totals: Array, /) -> list[int]:
    """Rows with a positive weight in each cluster."""
    counts: list[int] = to_host(problem.ledger.counts(totals)).tolist()
    return counts
