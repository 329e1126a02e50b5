"""Rows in leaves: near rows together, and which leaves can hold neighbours of which.

The rows are halved at the median of their widest feature until the parts are small (the leaves of a
k-d tree, J. L. Bentley, 1975).  A leaf lies in a box.  For rows of two boxes each feature's
difference is at least the gap between the boxes and at most the distance of their far sides.  The
canonical distances round each difference, square and sum, and rounding keeps order; so the same
operations on gaps and on far sides give bounds that hold for the rounded distances, to the last
bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import array_api_compat
import numpy as np
import numpy.typing as npt

from .._backend import to_host
from .._exact import to_device
from .._typing import Array, Namespace, slices
from ._pairs import Measure

Leaves = npt.NDArray[np.int64]
"""Numbers of some leaves, rising."""

_CELLS = 1 << 20


@dataclass(frozen=True)
class Order:
    """Where the rows lie in leaves of one size; rows are repeated until the last leaf is full."""

    rows: Array  # (n_places,) int64, the row at each place
    counts: Array  # (n_places,) bool, false where a row is repeated
    n_rows: int
    leaf_rows: int

    @property
    def n_places(self) -> int:
        return int(self.rows.shape[0])

    @property
    def n_leaves(self) -> int:
        return self.n_places // self.leaf_rows

    def places(self, /, *, xp: Namespace) -> Array:
        """The place (n_rows,) of each row."""
        last = xp.full_like(self.rows, self.n_rows)
        return xp.argsort(xp.where(self.counts, self.rows, last))[: self.n_rows]


def in_given_order(n_rows: int, most_rows: int, like: Array, /, *, xp: Namespace) -> Order:
    """Leaves of consecutive rows, for distances that know no boxes."""
    n_leaves = -(-n_rows // most_rows)
    return _order(_first(n_leaves * -(-n_rows // n_leaves), like, xp=xp), n_rows, n_leaves)


def by_halves(by: Array, most_rows: int, /, *, xp: Namespace) -> Order:
    """Leaves of near rows, given by feature (d, n)."""
    n_rows = int(by.shape[1])
    depth = max(0, -(-n_rows // most_rows) - 1).bit_length()
    numbers = _first(-(-n_rows // (1 << depth)) << depth, by, xp=xp)[None, :]
    flat = xp.reshape(by, (-1,))
    for level in range(depth):
        parts, width = 1 << level, int(numbers.shape[1])
        feature = xp.argmax(_widths(by, numbers % n_rows, xp=xp), axis=0)
        values = xp.take(flat, xp.reshape(feature[:, None] * n_rows + numbers % n_rows, (-1,)))
        order = xp.argsort(xp.reshape(values, (parts, width)), axis=1)
        starts = _first(parts, by, xp=xp)[:, None] * width
        moved = xp.take(xp.reshape(numbers, (-1,)), xp.reshape(order + starts, (-1,)))
        numbers = xp.reshape(moved, (2 * parts, width // 2))
    return _order(xp.reshape(numbers, (-1,)), n_rows, 1 << depth)


def _first(count: int, like: Array, /, *, xp: Namespace) -> Array:
    return xp.arange(count, dtype=xp.int64, device=array_api_compat.device(like))


def _order(numbers: Array, n_rows: int, n_leaves: int) -> Order:
    # numbers from n_rows on stand for the first rows once more
    return Order(numbers % n_rows, numbers < n_rows, n_rows, int(numbers.shape[0]) // n_leaves)


def _widths(by: Array, rows: Array, /, *, xp: Namespace) -> Array:
    """Range (d, parts) of each feature among the rows (parts, m) of each part."""
    features, shape = int(by.shape[0]), tuple(int(size) for size in rows.shape)
    flat, found = xp.reshape(rows, (-1,)), []
    for part in slices(features, max(1, _CELLS // int(flat.shape[0]))):
        values = xp.reshape(xp.take(by[part, :], flat, axis=1), (-1, *shape))
        found.append(xp.max(values, axis=2) - xp.min(values, axis=2))
    return xp.concat(found)


@dataclass(frozen=True)
class Relation:
    """For each leaf, those all of whose rows are neighbours of its rows, and those to look at."""

    inside: list[Leaves]
    open: list[Leaves]


def all_open(n_leaves: int) -> Relation:
    """Nothing is known of the leaves."""
    every, none = np.arange(n_leaves), np.arange(0)
    return Relation([none] * n_leaves, [every] * n_leaves)


def by_boxes(
    measure: Measure, ordered: Array, leaf_rows: int, threshold: float, /, *, xp: Namespace
) -> Relation:
    """Judge leaves of `by_halves` by the boxes of their rows, given by feature (d, n_places).

    Groups of leaves are judged first.  A device is waited for once a group.
    """
    boxes = _Boxes.around(ordered, leaf_rows, xp=xp)
    group = 1 << (boxes.count.bit_length() // 2)
    wide = boxes.merged(group, xp=xp)
    near_groups = to_host(_least(wide, wide, measure, xp=xp) <= threshold)
    relation = Relation([], [])
    for number, row in enumerate(near_groups):
        mine = boxes.some(slice(number * group, (number + 1) * group), xp=xp)
        leaves = (np.flatnonzero(row)[:, None] * group + np.arange(group)).reshape(-1)
        near, inside = [], []
        for part in slices(leaves.size, max(group, _CELLS // group)):
            theirs = boxes.some(to_device(leaves[part], ordered, xp=xp), xp=xp)
            near.append(to_host(_least(mine, theirs, measure, xp=xp) <= threshold))
            inside.append(to_host(_most(mine, theirs, measure, xp=xp) <= threshold))
        within = np.concatenate(inside, axis=1)
        relation.inside.extend(leaves[marks] for marks in within)
        relation.open.extend(leaves[marks] for marks in np.concatenate(near, axis=1) & ~within)
    return relation


@dataclass(frozen=True)
class _Boxes:
    low: Array  # (d, n_boxes)
    high: Array

    @classmethod
    def around(cls, ordered: Array, size: int, /, *, xp: Namespace) -> _Boxes:
        """Boxes around so many consecutive rows each, given by feature."""
        blocks = xp.reshape(ordered, (ordered.shape[0], -1, size))
        return cls(xp.min(blocks, axis=2), xp.max(blocks, axis=2))

    @property
    def count(self) -> int:
        return int(self.low.shape[1])

    def merged(self, size: int, /, *, xp: Namespace) -> _Boxes:
        shape = (self.low.shape[0], -1, size)
        low, high = xp.reshape(self.low, shape), xp.reshape(self.high, shape)
        return _Boxes(xp.min(low, axis=2), xp.max(high, axis=2))

    def some(self, which: Array | slice, /, *, xp: Namespace) -> _Boxes:
        if isinstance(which, slice):
            return _Boxes(self.low[:, which], self.high[:, which])
        return _Boxes(xp.take(self.low, which, axis=1), xp.take(self.high, which, axis=1))


def _least(mine: _Boxes, theirs: _Boxes, measure: Measure, /, *, xp: Namespace) -> Array:
    """What no distance of rows of two boxes is below (m, k)."""

    def gap(feature: int) -> Array:
        below = mine.low[feature, :][:, None] - theirs.high[feature, :][None, :]
        above = theirs.low[feature, :][None, :] - mine.high[feature, :][:, None]
        apart = xp.maximum(below, above)
        return xp.where(apart > 0.0, apart, xp.zeros_like(apart))

    return measure.combined(gap, int(mine.low.shape[0]))


def _most(mine: _Boxes, theirs: _Boxes, measure: Measure, /, *, xp: Namespace) -> Array:
    """What no distance of rows of two boxes is above (m, k)."""

    def far(feature: int) -> Array:
        down = mine.high[feature, :][:, None] - theirs.low[feature, :][None, :]
        up = theirs.high[feature, :][None, :] - mine.low[feature, :][:, None]
        return xp.maximum(down, up)

    return measure.combined(far, int(mine.low.shape[0]))
