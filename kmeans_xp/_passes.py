"""The passes over rows that the loop is made of; each leaves something that adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from . import _exact as exact
from ._backend import to_host
from ._primitives import Nearest, squared_distances
from ._problem import Problem, Training, as_centers
from ._stats import Stats, weigh
from ._typing import Array, Block, Namespace

_INERTIA_LIMBS = 2
_FEW = 8


@dataclass(frozen=True)
class Moves:
    """Rows that left one cluster for another; padding rows count for nothing."""

    x: Array
    weight: Array | None
    before: Array
    after: Array
    counts: Array | None = None  # 0.0 for padding


@dataclass(frozen=True)
class _Swept:
    """What a block leaves: its own sums, or its few moved rows for one sum over all."""

    changed: int
    open_rows: int
    sums: Array | None = None
    moves: Moves | None = None


def sweep(problem: Training, nearest: Nearest, n_clusters: int, /) -> Stats:
    """Assign every row, remember its label, and leave what changed."""
    xp = problem.context.xp

    def task(block: Block) -> _Swept:
        labels, open_rows = problem.kernel.assign(block.x, nearest)
        before = block.state.get("labels")
        block.state["labels"] = labels
        return _swept(problem, block, before, labels, n_clusters, open_rows)

    parts = problem.source.map(task)
    totals = [exact.widen(part.sums, xp=xp) for part in parts if part.sums is not None]
    moves = [part.moves for part in parts if part.moves is not None]
    if moves:
        totals.append(exact.widen(moved_sums(problem, _gather(moves, xp), n_clusters), xp=xp))
    if not totals:
        shape = (2, n_clusters, problem.ledger.n_columns)
        totals = [xp.zeros(shape, dtype=xp.int64, device=problem.context.device)]
    return Stats(
        exact.add_up(totals, xp=xp),
        sum(part.changed for part in parts),
        sum(part.open_rows for part in parts),
    )


def _swept(
    problem: Training,
    block: Block,
    before: Array | None,
    labels: Array,
    n_clusters: int,
    open_rows: int,
) -> _Swept:
    xp = problem.context.xp
    if before is None:
        columns = problem.ledger.columns(block.x, block.weight)
        sums = problem.kernel.group_sums(columns, labels, n_clusters)
        return _Swept(_carrying(block, None, xp), open_rows, sums)
    moved = labels != before
    count = int(xp.count_nonzero(moved))
    if count == 0:
        return _Swept(0, open_rows)
    changed = count if block.weight is None else _carrying(block, moved, xp)
    rows, valid = problem.kernel.compress(moved, count)
    moves = Moves(
        xp.take(block.x, rows, axis=0),
        None if block.weight is None else xp.take(block.weight, rows),
        xp.take(before, rows),
        xp.take(labels, rows),
        None if valid is None else xp.astype(valid, xp.float64),
    )
    if count * _FEW > block.n_rows:
        return _Swept(changed, open_rows, moved_sums(problem, moves, n_clusters))
    return _Swept(changed, open_rows, moves=moves)


def moved_sums(problem: Training, moves: Moves, n_clusters: int, /) -> Array:
    """Exact change of the sums: each row added to its new cluster, taken from its old."""
    xp = problem.context.xp
    columns = problem.ledger.columns(moves.x, moves.weight)
    if moves.counts is not None:
        columns = columns * moves.counts[:, None]
    return problem.kernel.group_sums(
        xp.concat([columns, -columns], axis=0),
        xp.concat([moves.after, moves.before]),
        n_clusters,
    )


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


def relabel(problem: Problem, nearest: Nearest, /) -> None:
    """Assign every row without summing."""

    def task(block: Block) -> None:
        block.state["labels"], _ = problem.kernel.assign(block.x, nearest)

    problem.source.map(task)


def own_distances(block: Block, nearest: Nearest, labels: Array, /, *, xp: Namespace) -> Array:
    """Canonical squared distance of each row to the center of its label."""
    mine = xp.take(nearest.centers, labels, axis=0)
    return squared_distances(block.x, mine, nearest.scale, xp=xp)


def inertia(problem: Problem, nearest: Nearest, /) -> float:
    """Weighted sum of squared distances to the own center: exact, rounded once."""
    xp = problem.context.xp

    def largest(block: Block) -> float:
        distances = own_distances(block, nearest, block.state["labels"], xp=xp)
        block.state["own"] = weigh(distances, block.weight, xp=xp)
        return float(xp.max(block.state["own"]))

    grid = exact.Grid((exact.exponent_above(max(problem.source.map(largest))),), _INERTIA_LIMBS)
    up = float(grid.up[0])

    def add(block: Block) -> int:
        own = block.state.pop("own")
        parts = exact.quantise(own, up, _INERTIA_LIMBS, xp=xp)
        high, low = to_host(exact.exact_column_sums(xp.stack(parts, axis=1), xp=xp)).tolist()
        return int((high << exact.LIMB_BITS) + low)

    total = sum(problem.source.map(add))
    value = math.ldexp(float(total), -exact.LIMB_BITS) * float(grid.down[0])
    return value / nearest.scale.squared if nearest.scale.squared else value


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
    return int(xp.sum(xp.astype(first > 0, xp.int64)))


@dataclass(frozen=True, order=True)
class Far:
    """A row far from its center; sorts by distance, largest first, then by row."""

    nearness: float
    row: int
    label: int


def farthest(problem: Training, nearest: Nearest, count: int, /) -> list[Far]:
    """Find the ``count`` weighted rows that gain most by a center of their own.

    A row is left out when a cluster of its own would bring it no nearer: its center then
    stands where its own would, so that moving it could go on for ever.
    """
    xp = problem.context.xp

    def task(block: Block) -> list[Far]:
        distances = own_distances(block, nearest, block.state["labels"], xp=xp)
        alone = as_centers(problem.ledger.alone(block.x, block.weight), problem)
        gains = squared_distances(block.x, alone, nearest.scale, xp=xp) < distances
        if block.weight is not None:
            gains = gains & (block.weight > 0.0)
        distances = xp.where(gains, distances, xp.full_like(distances, -1.0))
        order = xp.argsort(-distances, stable=True)[: min(count, block.n_rows)]
        chosen = [to_host(xp.take(part, order)) for part in (distances, block.state["labels"])]
        rows = to_host(order) + block.start
        found = zip(chosen[0].tolist(), rows.tolist(), chosen[1].tolist(), strict=True)
        return [Far(-distance, row, label) for distance, row, label in found if distance > 0.0]

    found = sorted(far for part in problem.source.map(task) for far in part)
    return found[:count]


def host_counts(problem: Training, totals: Array, /) -> list[int]:
    """Rows with a positive weight in each cluster."""
    return [int(count) for count in to_host(problem.ledger.counts(totals))]
