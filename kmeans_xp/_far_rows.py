"""Rows that are far from their centers, and gain by one of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._backend import to_host
from ._distances import squared_distances
from ._primitives import Nearest
from ._problem import Training, as_centers
from ._typing import Array, Block

_ROUNDINGS = 4  # of a row's numbers, by which a center may be off


@dataclass(frozen=True, order=True)
class Far:
    """A row far from its center; sorts by distance, largest first, then by row."""

    nearness: float
    row: int
    label: int


def gains(problem: Training, nearest: Nearest, block: Block, /) -> tuple[Array, Array]:
    """Distances of rows to their centers, and which weighted rows gain by one of their own.

    A row does not when a cluster of its own would bring it no nearer: its center then
    stands where its own would, so that moving it could go on for ever.  So it could where the
    weighted mean of equal rows is rounded: a distance of a few roundings is none.
    """
    xp = problem.context.xp
    distances = problem.kernel.own_distances(block.x, nearest, block.state["labels"])
    if block.weight is None:
        # the mean of one row is that row
        return distances, distances > 0.0
    left, rounding = [], (_ROUNDINGS * float(np.finfo(problem.dtype).eps)) ** 2
    for x, weight in block.pieces(problem.source.piece_rows):
        x = problem.kernel.widened(x)
        alone = problem.kernel.widened(as_centers(problem.ledger.alone(x, weight), problem))
        least = squared_distances(x, xp.zeros_like(x[:1, :]), nearest.scale, xp=xp) * rounding
        apart = squared_distances(x, alone, nearest.scale, xp=xp)
        left.append(xp.where(apart > least, apart, least))
    return distances, (xp.concat(left) < distances) & (block.weight > 0.0)


def farthest(problem: Training, nearest: Nearest, count: int, /) -> list[Far]:
    """Find the ``count`` weighted rows that gain most by a center of their own."""
    xp = problem.context.xp

    def task(block: Block) -> list[Far]:
        distances, gaining = gains(problem, nearest, block)
        distances = xp.where(gaining, distances, xp.full_like(distances, -1.0))
        order = xp.argsort(-distances, stable=True)[: min(count, block.n_rows)]
        chosen = [to_host(xp.take(part, order)) for part in (distances, block.state["labels"])]
        rows = to_host(order) + block.start
        found = zip(chosen[0].tolist(), rows.tolist(), chosen[1].tolist(), strict=True)
        return [Far(-distance, row, label) for distance, row, label in found if distance > 0.0]

    found = sorted(far for part in problem.source.map(task) for far in part)
    return found[:count]
