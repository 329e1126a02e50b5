"""Core rows: those whose neighbours, themselves included, are enough or weigh enough."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .._backend import Context, to_host
from .._exact import EXACT_ROWS, LIMB_BITS, exponent_above, limbs_needed, quantise
from .._typing import Array, Block, Namespace, slices
from ._leaves import Leaves, Order
from ._neighbours import Neighbourhood

_SPARE_BITS = 20  # so that 2**42 rows of the largest weight add up below 2**62


class Crowd(Protocol):
    """Adds up rows, and says when they are enough."""

    def always(self, inside: Leaves, /) -> bool:
        """Whether all rows of some leaves are enough, whatever others there are."""
        ...

    def sums(self, near: Array, leaves: Leaves, /) -> Array:
        """Sums over the neighbours in some leaves, of marks (m, k)."""
        ...

    def joined(self, sums: Array, more: Array, /) -> Array:
        """Two such sums together."""
        ...

    def enough(self, sums: Array, inside: Leaves, /) -> Array:
        """Whether they and all rows of some leaves are enough, (m,)."""
        ...


def core_rows(hood: Neighbourhood, crowd: Crowd, /) -> Array:
    """Mark the core rows, (n_places,)."""
    xp, order, relation = hood.context.xp, hood.order, hood.relation
    device = hood.context.device

    def task(block: Block) -> Array:
        inside = relation.inside[block.number]
        if crowd.always(inside):
            return xp.ones(order.leaf_rows, dtype=xp.bool, device=device)
        none = xp.zeros((order.leaf_rows, order.leaf_rows), dtype=xp.bool, device=device)
        sums = crowd.sums(none, np.zeros(1, dtype=np.int64))
        for leaves, near in hood.pieces(block, relation.open[block.number]):
            sums = crowd.joined(sums, crowd.sums(near, leaves))
        return crowd.enough(sums, inside)

    return xp.concat(hood.source.map(task))


@dataclass(frozen=True)
class Counted:
    """Each row counts once."""

    order: Order
    by_leaf: npt.NDArray[np.int64]  # rows of each leaf
    min_samples: int
    context: Context

    @classmethod
    def over(cls, order: Order, min_samples: int, context: Context, /) -> Counted:
        xp = context.xp
        by_leaf = xp.reshape(order.counts, (-1, order.leaf_rows))
        return cls(order, to_host(xp.count_nonzero(by_leaf, axis=1)), min_samples, context)

    def always(self, inside: Leaves, /) -> bool:
        return int(self.by_leaf[inside].sum()) >= self.min_samples

    def sums(self, near: Array, leaves: Leaves, /) -> Array:
        xp = self.context.xp
        if bool((self.by_leaf[leaves] < self.order.leaf_rows).any()):
            by_leaf = xp.reshape(self.order.counts, (-1, self.order.leaf_rows))
            counts = xp.take(by_leaf, self.context.from_host(leaves), axis=0)
            near = near & xp.reshape(counts, (1, -1))
        return xp.count_nonzero(near, axis=1)

    def joined(self, sums: Array, more: Array, /) -> Array:
        return sums + more

    def enough(self, sums: Array, inside: Leaves, /) -> Array:
        return sums >= self.min_samples - int(self.by_leaf[inside].sum())


@dataclass(frozen=True)
class Weighed:
    """Weights, which may be negative, add up exactly: as whole numbers in limbs of 40 bits."""

    order: Order
    limbs: Array  # (n_places, n_limbs) float64, whole numbers, highest first
    by_leaf: npt.NDArray[np.int64]  # (n_leaves, n_limbs)
    least: tuple[int, ...]  # what is enough, in limbs
    context: Context

    @classmethod
    def over(cls, order: Order, weight: Array, min_samples: int, context: Context, /) -> Weighed:
        """Make the weights (n_rows,) ready; each is a whole number on the grid."""
        xp = context.xp
        exponent = exponent_above(float(xp.max(xp.abs(weight)))) + _SPARE_BITS
        up = 2.0 ** (LIMB_BITS - exponent)
        count = limbs_needed(weight, up, 1, xp=xp)
        there = xp.take(weight, order.rows)
        there = xp.where(order.counts, there, xp.zeros_like(there))
        limbs = xp.stack(quantise(there, up, count, xp=xp), axis=1)
        by_leaf = xp.sum(xp.reshape(limbs, (-1, order.leaf_rows, count)), axis=1)
        least = _in_limbs(Fraction(min_samples), exponent, count)
        return cls(order, limbs, to_host(by_leaf).astype(np.int64), least, context)

    def always(self, inside: Leaves, /) -> bool:
        return False  # others may weigh less than nothing

    def sums(self, near: Array, leaves: Leaves, /) -> Array:
        xp, size, total = self.context.xp, self.order.leaf_rows, None
        marks = xp.astype(near, xp.float64)
        for part in slices(leaves.size, max(1, EXACT_ROWS // size)):
            chosen = self.context.from_host(leaves[part])
            limbs = xp.take(xp.reshape(self.limbs, (-1, size, self.limbs.shape[1])), chosen, axis=0)
            some = marks[:, part.start * size : part.stop * size]
            found = xp.astype(
                xp.matmul(some, xp.reshape(limbs, (-1, self.limbs.shape[1]))), xp.int64
            )
            total = found if total is None else self.joined(total, found)
        assert total is not None
        return total

    def joined(self, sums: Array, more: Array, /) -> Array:
        return _carried(sums + more, xp=self.context.xp)

    def enough(self, sums: Array, inside: Leaves, /) -> Array:
        xp, n_limbs = self.context.xp, int(self.limbs.shape[1])
        whole = [sum(column) for column in self.by_leaf[inside, :].T.tolist()]
        total = self.joined(sums, self._row(_split(_joined(whole), n_limbs)))
        # the first limb that differs decides
        at_least = xp.ones(sums.shape[0], dtype=xp.bool, device=self.context.device)
        for limb in reversed(range(n_limbs)):
            mine, least = total[:, limb], self.least[limb]
            at_least = (mine > least) | ((mine == least) & at_least)
        return at_least

    def _row(self, limbs: tuple[int, ...]) -> Array:
        return self.context.from_host(np.asarray([limbs], dtype=np.int64))


def _carried(sums: Array, /, *, xp: Namespace) -> Array:
    """Sums (m, limbs) with all limbs but the first in [0, 2**40)."""
    columns = [sums[:, limb] for limb in range(int(sums.shape[1]))]
    for limb in range(len(columns) - 1, 0, -1):
        over = columns[limb] >> LIMB_BITS
        columns[limb] = columns[limb] - (over << LIMB_BITS)
        columns[limb - 1] = columns[limb - 1] + over
    return xp.stack(columns, axis=1)


def _joined(limbs: list[int]) -> int:
    total = 0
    for limb in limbs:
        total = (total << LIMB_BITS) + limb
    return total


def _split(total: int, n_limbs: int) -> tuple[int, ...]:
    """A number of units of the last limb, as limbs; all but the first are in [0, 2**40)."""
    lower = []
    for _ in range(n_limbs - 1):
        lower.append(total & ((1 << LIMB_BITS) - 1))
        total >>= LIMB_BITS
    return (max(-(1 << 62), min(1 << 62, total)), *reversed(lower))


def _in_limbs(least: Fraction, exponent: int, n_limbs: int) -> tuple[int, ...]:
    """The smallest whole number of units that is at least so much."""
    units = least * Fraction(2) ** (LIMB_BITS * n_limbs - exponent)
    return _split(-(-units.numerator // units.denominator), n_limbs)
