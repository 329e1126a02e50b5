"""Canonical distances of rows whose places are almost all empty.

The halving tree of `_distances` adds the squares of all features in a fixed order.  Where a place
is empty its square is that of the center alone, so that the tree over the center's own squares,
which is made once, holds each of its inner sums over empty places.  What a stored value changes is
the path from its leaf to the root: at each level its sum meets the sibling's, which is the tree's
or that of another stored value.  Additions are the same ones, of the same numbers: so are the bits.

The levels fold index j to j or j - half.  The bits of what was taken off, the first level's lowest,
make a key of each feature; in the order of the keys siblings are neighbours at every level.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .._distances import Scale, widened
from .._typing import Array
from ._sparse_block import Host, SparseBlock

_PRICE = 8
"""Steps of dense rows, for each feature, in the time of one level of a path.  By counting: a level
goes over the stored values a dozen times, and looks numbers up; not measured."""
_MOST_VALUES = 1 << 24


@dataclass(frozen=True)
class _Tree:
    """The halving tree over so many features."""

    widths: tuple[int, ...]  # of the levels, the root's left out
    keys: npt.NDArray[np.int64]  # of the features
    siblings: tuple[npt.NDArray[np.int64], ...]  # by level, of the node of a key; -1 for none

    @property
    def depth(self) -> int:
        return len(self.widths)


@functools.lru_cache(maxsize=4)
def tree_over(n_features: int) -> _Tree:
    """The tree, made once."""
    widths, width = [], n_features
    while width > 1:
        widths.append(width)
        width = (width + 1) // 2
    node = np.arange(n_features)
    keys, at = np.zeros(n_features, dtype=np.int64), []
    for level, width in enumerate(widths):
        half = (width + 1) // 2
        sibling = np.where(node >= half, node - half, node + half)
        at.append(np.where(sibling < width, sibling, -1))
        is_second = node >= half
        keys |= is_second.astype(np.int64) << level
        node = np.where(is_second, node - half, node)
    tables = []
    for level, sibling in enumerate(at):
        table = np.full(1 << (len(widths) - level), -1)
        table[keys >> level] = sibling
        tables.append(table)
    return _Tree(tuple(widths), keys, tuple(tables))


class Folded:
    """Some centers, and the sums of their own squares at each level of the tree.

    Parameters
    ----------
    centers : array of shape (k, n_features), as stored
    scale : of the distances
    """

    def __init__(self, centers: Array, scale: Scale) -> None:
        self.tree, self.scale = tree_over(centers.shape[1]), scale
        self.centers: Host = widened(centers, xp=np)
        if scale.before != 1.0:
            self.centers = self.centers * scale.before
        level = self.squares(0.0 - self.centers)
        self.levels = [level]
        for width in self.tree.widths:
            half = (width + 1) // 2
            folded = level[:, :half].copy()
            folded[:, : width - half] += level[:, half:width]
            self.levels.append(level := folded)

    def squares(self, difference: Host) -> Host:
        """Squared differences in units of the scale."""
        if self.scale.after != 1.0:
            difference = difference * self.scale.after
        return difference * difference

    def distances(self, x: SparseBlock, labels: Array) -> Host:
        """Canonical squared distance (m,) of each row to the center of its label."""
        tree, labels = self.tree, labels.astype(np.int64)
        code, columns, values = x.in_order(tree.keys, tree.depth)
        if self.scale.before != 1.0:
            values = values * self.scale.before
        mine = labels[code >> tree.depth]
        sums = self.squares(values - self.centers[mine, columns])
        for level, width in enumerate(tree.widths):
            node = code & ((1 << (tree.depth - level)) - 1)
            sibling = tree.siblings[level][node]
            code >>= 1
            meets = np.zeros(len(code) + 1, dtype=np.bool_)  # the one before
            np.equal(code[1:], code[:-1], out=meets[1:-1])
            is_alone = (sibling >= 0) & ~(meets[:-1] | meets[1:])
            alone = np.flatnonzero(is_alone)
            own = self.levels[level].reshape(-1)
            sums[alone] += own[mine[alone] * width + sibling[alone]]
            second = np.flatnonzero(meets[:-1])
            if second.size:
                sums[second - 1] += sums[second]
                kept = ~meets[:-1]
                sums, code, mine = sums[kept], code[kept], mine[kept]
        found: Host = self.levels[-1][labels, 0]
        # of the code the row is left
        found[code] = sums
        return found


def folds_pay(x: SparseBlock, n_clusters: int) -> bool:
    """Whether the paths take less time than dense rows, and the trees not too much memory."""
    n_features = x.shape[1]
    work = _PRICE * tree_over(n_features).depth * x.n_stored
    return work <= x.size and n_clusters * n_features <= _MOST_VALUES
