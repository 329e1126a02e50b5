"""Medoids that go to the best rows of their own clusters, as those found in a sample should.

A sample holds few of the rows near the middle of a cluster.  To find the best row of all, each is
measured to a few others at first; those that do well are measured to more, until few are left,
which are measured to all: correlated sequential halving (Baharav and Tse, "Ultra fast medoid
identification via correlated sequential halving", NeurIPS 2019), here down to an eighth each time.
So a row meets some hundreds of others, and not all of its cluster.

The best row by this may be missed, but what is kept is judged by exact sums over all rows.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .._backend import to_host
from .._distances import halving_sum
from .._random import Purpose, row_bits
from .._typing import Array, slices
from ._spaces import Space, exact_total, nearest_medoids

_FIRST, _FEW, _FACTOR = 32, 32, 8
_PIECE = 4096  # a constant: it decides in which order distances are added
_HOST_CELLS, _DEVICE_CELLS = 1 << 19, 1 << 22
_LARGE = 2.0**980  # distances above it count as that: their sums are numbers
_MOST_ROUNDS = 10

Positions = npt.NDArray[np.int64]


def at_best_rows(
    space: Space, weight: Array | None, medoids: list[int], loss: float, /, *key: int
) -> list[int]:
    """Medoids of a lower loss, each the best row of its cluster as far as was seen, or the same.

    ``loss`` is what all rows pay for those given.
    """
    order = _any_order(space, key)
    labels, _ = nearest_medoids(space, medoids)
    for _ in range(_MOST_ROUNDS):
        moved = _moved(space, weight, medoids, _members(to_host(labels), order, len(medoids)))
        labels, distances = nearest_medoids(space, moved)
        after = exact_total(distances, weight, space.context, space.bound)
        if not after < loss:
            break
        medoids, loss = moved, after
    return medoids


def _any_order(space: Space, key: tuple[int, ...]) -> Positions:
    """All rows in an order in which the first of a cluster are like all of it."""
    xp, context = space.context.xp, space.context
    like = xp.zeros(1, dtype=xp.int64, device=context.device)
    bits = row_bits(0, space.n_rows, like, *key, Purpose.SUBSET, xp=xp)
    found: Positions = to_host(xp.argsort(bits, stable=True)).astype(np.int64)
    return found


def _members(labels: npt.NDArray[np.int32], order: Positions, k: int) -> list[Positions]:
    """The rows of each cluster, in this order."""
    mine = labels[order]
    sizes = np.bincount(mine, minlength=k)
    return np.split(order[np.argsort(mine, kind="stable")], np.cumsum(sizes)[:-1])


def _moved(
    space: Space, weight: Array | None, medoids: list[int], members: list[Positions]
) -> list[int]:
    """The best row of each cluster; its medoid where none is better."""
    found = [
        _best_row(space, weight, rows, own) for own, rows in zip(medoids, members, strict=True)
    ]
    best: list[int] = to_host(space.context.xp.concat(found)).tolist()
    # equal rows may all belong to one of several medoids among them
    return [own if row in medoids else row for own, row in zip(medoids, best, strict=True)]


def _best_row(space: Space, weight: Array | None, members: Positions, own: int) -> Array:
    """Position (1,) of the row to which these have the least summed distance, its medoid first."""
    context, xp = space.context, space.context.xp
    # few different numbers of rows, since some libraries compile anew for each: rows of no weight
    # make up the rest
    count = max(_FEW, 1 << (len(members) - 1).bit_length())
    rest = np.full(count - len(members), own)
    rows = context.from_host(np.concat([members, rest]))
    counts = context.from_host((np.arange(count) < len(members)).astype(np.float64))
    by = counts if weight is None else counts * xp.take(weight, rows)
    candidates, met = rows, _FIRST
    while count > _FEW and met < len(members):
        sums = _sums(space, candidates, rows[:met], by[:met])
        if candidates is rows:
            sums = xp.where(counts > 0.0, sums, xp.full_like(sums, math.inf))
        count, met = max(_FEW, count // _FACTOR), met * _FACTOR
        candidates = xp.take(candidates, xp.argsort(sums, stable=True)[:count])
    candidates = xp.concat([context.from_host(np.asarray([own])), candidates])
    best = xp.argmin(_sums(space, candidates, rows, by))
    return xp.take(candidates, xp.reshape(best, (1,)))


def _sums(space: Space, candidates: Array, rows: Array, by: Array) -> Array:
    """Distances (m,) of some rows, times numbers, to each candidate, added in one order."""
    xp, found = space.context.xp, []
    cells = _HOST_CELLS if space.context.on_host else _DEVICE_CELLS
    wide = min(_PIECE, int(rows.shape[0]))
    for part in slices(int(candidates.shape[0]), cells // wide):
        total: Array = 0.0
        for span in slices(int(rows.shape[0]), _PIECE):
            table = space.to(candidates[part], rows[span])
            if space.bound is None:
                table = xp.where(table > _LARGE, xp.full_like(table, _LARGE), table)
            total = total + halving_sum(table * by[None, span], xp=xp)
        found.append(total)
    return xp.concat(found)
