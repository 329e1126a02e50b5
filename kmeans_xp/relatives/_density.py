"""Clusters as connected core rows: labels that spread from neighbour to neighbour.

Core rows begin with labels of their own.  In a round each group of rows with one label finds the
least label among the neighbours of its rows, and hooks itself to that if it is lower than its own.
A group that has lower neighbours hooks at once.  One that has higher neighbours alone sees each of
them hook, to itself or to a lower group, which then is its neighbour, so that it hooks in the next
round.  So in two rounds each group that has a neighbour is joined with another one, which leaves at
most half of them: there are about 2 log2(n) rounds at most, however long a chain of rows is.
Chains of hooks are shortened by pointer jumping (Y. Shiloach, U. Vishkin, "An O(log n) parallel
connectivity algorithm", Journal of Algorithms 3, 1982).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import array_api_compat
import numpy as np
import numpy.typing as npt

from .._backend import to_host
from .._typing import Array, Block, Namespace
from ._cores import Counted, Crowd, Weighed, core_rows
from ._leaves import Leaves
from ._neighbours import Neighbourhood

Host = npt.NDArray[np.integer]
_MOST_INT32 = 1 << 31


def hooked(labels: Array, low: Array, /, *, xp: Namespace) -> Array:
    """Labels (n,) after each group hooked to the least label (at most its own) that rows reach."""
    n = int(labels.shape[0])
    numbers = xp.arange(n, dtype=labels.dtype, device=array_api_compat.device(labels))
    # among sorted pairs of label and reached label a group's first is its least
    keys = xp.sort(labels * n + low)
    found = xp.take(keys, xp.clip(xp.searchsorted(keys, numbers * n), 0, n - 1))
    parents = xp.where(found // n == numbers, found % n, numbers)
    # each step doubles the length of the hooks
    for _ in range(n.bit_length()):
        parents = xp.take(parents, parents)
    return xp.take(parents, labels)


@dataclass(frozen=True)
class Values:
    """Numbers of marked rows by leaf (n_leaves, leaf_rows), and their range in each leaf."""

    each: Array  # the number of places where a row is not marked
    least: Host  # (n_leaves,)
    most: Host  # -1 where no row is marked

    @classmethod
    def of(cls, values: Array, marked: Array, leaf_rows: int, /, *, xp: Namespace) -> Values:
        """Look at values (n_places,); a device is waited for."""
        n = int(values.shape[0])
        values = xp.astype(values, xp.int32 if n < _MOST_INT32 else xp.int64, copy=False)
        each = xp.reshape(xp.where(marked, values, xp.full_like(values, n)), (-1, leaf_rows))
        below = xp.reshape(xp.where(marked, values, xp.full_like(values, -1)), (-1, leaf_rows))
        ends = to_host(xp.stack([xp.min(each, axis=1), xp.max(below, axis=1)]))
        return cls(each, ends[0, :], ends[1, :])

    @property
    def some(self) -> npt.NDArray[np.bool_]:
        """Which leaves have a marked row."""
        return np.asarray(self.most >= 0)

    def agree(self, leaf: int, leaves: Leaves, /) -> npt.NDArray[np.bool_]:
        """Which leaves have no other values than the only one of a leaf."""
        least, most = self.least[leaf], self.most[leaf]
        return np.asarray((self.least[leaves] == most) & (self.most[leaves] == least))


def reach(hood: Neighbourhood, values: Values, wanted: Sequence[Leaves], /) -> Array:
    """The least value among the marked neighbours of each row, (n_places,) int64.

    Those in the open leaves that are wanted count, and those in leaves all of whose rows are
    neighbours.  Without any a row has the number of places.
    """
    xp, none = hood.context.xp, hood.order.n_places

    def task(block: Block) -> Array:
        inside = hood.relation.inside[block.number]
        low = xp.full_like(values.each[0, :], int(values.least[inside].min(initial=none)))
        for leaves, near in hood.pieces(block, wanted[block.number]):
            theirs = xp.take(values.each, hood.context.from_host(leaves), axis=0)
            theirs = xp.reshape(theirs, (1, -1))
            found = xp.min(xp.where(near, theirs, xp.full_like(theirs, none)), axis=1)
            low = xp.minimum(low, found)
        return low

    return xp.astype(xp.concat(hood.source.map(task)), xp.int64)


def clusters(hood: Neighbourhood, weight: Array | None, min_samples: int, /) -> tuple[Array, Array]:
    """Labels (n_rows,), int32, and marks of the core rows."""
    xp, order = hood.context.xp, hood.order
    crowd: Crowd
    if weight is None:
        crowd = Counted.over(order, min_samples, hood.context)
    else:
        crowd = Weighed.over(order, weight, min_samples, hood.context)
    with hood.source.working():
        core = core_rows(hood, crowd)
        labels = numbered(hood, core, components(hood, core))
    return labels, xp.take(core, order.places(xp=xp))


def components(hood: Neighbourhood, core: Array, /) -> Array:
    """A label (n_places,), the same for core rows that neighbours connect, and for no others."""
    xp, order = hood.context.xp, hood.order
    labels = xp.arange(order.n_places, dtype=xp.int64, device=hood.context.device)
    while True:
        values = Values.of(labels, core, order.leaf_rows, xp=xp)
        low = reach(hood, values, _unsettled(hood, values))
        # a row that is no core hooks to nothing
        low = xp.where(core, xp.minimum(low, labels), labels)
        if not bool(xp.any(low != labels)):
            return labels
        labels = hooked(labels, low, xp=xp)


def _unsettled(hood: Neighbourhood, values: Values) -> list[Leaves]:
    """For each leaf the open ones that may connect it to another label."""
    found, some = [], values.some
    for leaf, leaves in enumerate(hood.relation.open):
        kept = leaves[some[leaves]] if some[leaf] else leaves[:0]
        found.append(kept[~values.agree(leaf, kept)])
    return found


def numbered(hood: Neighbourhood, core: Array, labels: Array, /) -> Array:
    """Labels (n_rows,) in the rows' order: clusters by their first core row, -1 for noise.

    A row that is no core is in the first cluster that has a core row among its neighbours.
    """
    xp, order = hood.context.xp, hood.order
    n = order.n_rows
    # the first row of each cluster, found among sorted pairs of label and row
    last = xp.full_like(labels, order.n_places * n)
    keys = xp.sort(xp.where(core, labels * n + order.rows, last))
    at = xp.clip(xp.searchsorted(keys, labels * n), 0, order.n_places - 1)
    places = order.places(xp=xp)
    first = xp.where(core, xp.take(keys, at) % n, xp.full_like(labels, -1))
    first = xp.take(first, places)
    rows = xp.arange(n, dtype=xp.int64, device=hood.context.device)
    ranks = xp.cumulative_sum(xp.astype(first == rows, xp.int64)) - 1
    numbers = xp.where(first < 0, first, xp.take(ranks, xp.clip(first, 0, n - 1)))
    values = Values.of(xp.take(numbers, order.rows), core, order.leaf_rows, xp=xp)
    reached = xp.take(reach(hood, values, _borders(hood, core, values)), places)
    border = xp.where(reached < order.n_places, reached, xp.full_like(reached, -1))
    return xp.astype(xp.where(first < 0, border, numbers), xp.int32)


def _borders(hood: Neighbourhood, core: Array, values: Values) -> list[Leaves]:
    """For each leaf the open ones with core rows, if it has a row that is none."""
    xp = hood.context.xp
    ready = to_host(xp.all(xp.reshape(core, values.each.shape), axis=1))
    return [
        leaves[:0] if ready[leaf] else leaves[values.some[leaves]]
        for leaf, leaves in enumerate(hood.relation.open)
    ]
