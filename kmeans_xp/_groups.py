"""Bounds for groups of centers: a row in doubt is scored against a few groups alone.

The idea is that of Ding and others ("Yinyang k-means", ICML 2015).  Centers that lie near one
another form a group.  Beside the bounds of `_bounds` a row keeps for each group a distance
beyond which all its centers lie, the row's own excepted:

    l_g <= |x - c_j|   for every j of group g other than the row's label.

When centers move, l_g falls by the largest movement within the group.  Hamerly's one bound falls
by the largest movement of all, which for many centers leaves nearly every row in doubt for many
sweeps, while most groups stay beyond reach.  With u a bound for the distance to the row's own
center, u < l_g proves that no other center of group g is the nearest.  A row in doubt is scored
against its own group and those that are not proven, and what it was not scored against keeps its
bound: neither its old label nor its new one is among it.

Groups are found once, when the bounds begin: the centers are parted across the direction in
which they spread most, and the parts again.  They decide speed, never labels.

Kept is l_g plus what the group has spent by then, so that a sweep writes nothing; rounding is
dealt with as in `_bounds`.  A row that stays open keeps no bound.  Where any two centers are
equal, one of them has no score, and a bound would not speak of it once they part: such a sweep
goes without groups, and forgets them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import array_api_compat

from ._typing import Array, Namespace

TABLE = 2.0**-22
"""The tables of movements round by so much to the safe side."""

_TURNS = 4


@dataclass(frozen=True)
class Groups:
    """Centers by group, and what the groups have lost to movements since they were made.

    ``members`` (G, size) int32 are the centers; where the last group is short its first repeats,
    and ``present`` is false.  ``home`` (k,) int32 is the group of each center.  ``spent`` (G,)
    float64 adds up the largest movement of each group; ``tables`` (2, G) holds it rounded down
    and up in the dtype of the rows' bounds.  ``tally`` gets from each block how many (row,
    center) pairs it scored, in centers of whole groups.
    """

    members: Array
    present: Array
    home: Array
    spent: Array
    tables: Array
    tally: list[int] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many groups there are."""
        return int(self.members.shape[0])

    @property
    def size(self) -> int:
        """Places in a group."""
        return int(self.members.shape[1])

    def after(self, moves: Array, /, *, xp: Namespace) -> Groups:
        """Add movements (k,), which are rounded up."""
        each = xp.reshape(xp.take(moves, xp.reshape(self.members, (-1,))), self.members.shape)
        spent = self.spent + xp.max(each, axis=1)
        tables = _tables(spent, self.tables.dtype, xp=xp)
        return Groups(self.members, self.present, self.home, spent, tables)


def group(centers: Array, size: int, dtype: Any, /, *, xp: Namespace) -> Groups:
    """Part the centers into groups of ``size``; no center has moved yet."""
    k = int(centers.shape[0])
    device = array_api_compat.device(centers)
    parts = [xp.arange(k, dtype=xp.int64, device=device)]
    while any(part.shape[0] > size for part in parts):
        parts = [piece for part in parts for piece in _halves(centers, part, size, xp=xp)]
    count, short = len(parts), len(parts) * size - k
    order = xp.concat([*parts, *(parts[-1][:1] for _ in range(short))])
    place = xp.arange(count * size, dtype=xp.int64, device=device)
    home = xp.take(place // size, xp.argsort(order[:k]))
    spent = xp.zeros(count, dtype=xp.float64, device=device)
    return Groups(
        xp.astype(xp.reshape(order, (count, size)), xp.int32),
        xp.reshape(place < k, (count, size)),
        xp.astype(home, xp.int32),
        spent,
        _tables(spent, dtype, xp=xp),
    )


def _tables(spent: Array, dtype: Any, /, *, xp: Namespace) -> Array:
    """Rounded down and up."""
    return xp.astype(xp.stack([spent * (1.0 - TABLE), spent * (1.0 + TABLE)]), dtype, copy=False)


def _halves(centers: Array, part: Array, size: int, /, *, xp: Namespace) -> tuple[Array, ...]:
    """Cut a part across its leading direction, the first piece to a multiple of ``size``."""
    total = int(part.shape[0])
    if total <= size:
        return (part,)
    rows = xp.astype(xp.take(centers, part, axis=0), xp.float64)
    rows = rows - xp.mean(rows, axis=0)[None, :]
    rows = rows / (xp.max(xp.abs(rows)) + 2.0**-1000)
    spread = xp.sum(rows * rows, axis=0)
    direction = spread / (xp.max(spread) + 2.0**-1000)
    for _ in range(_TURNS):
        direction = xp.matmul(rows.T, xp.matmul(rows, direction))
        direction = direction / (xp.max(xp.abs(direction)) + 2.0**-1000)
    order = xp.argsort(xp.matmul(rows, direction))
    first = -(-total // size) // 2 * size
    part = xp.take(part, order)
    return part[:first], part[first:total]
