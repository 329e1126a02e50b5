"""Summed distances of rows to clusters of rows, in NumPy: each pair of rows is taken once.

A tile of pairs stays in a cache from its product to its sums.  The product carries the
squared norms in two more columns, about the middle of one side, which keeps them small; where it
cancels even so, the differences take its place.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .._distances import Scale, widened
from .._threads import one_blas_thread
from .._typing import slices

Floats = npt.NDArray[np.float64]

_HEIGHT, _WIDTH = 256, 512
_CANCELLED = 2.0**-8  # of the squared norms: below, a product has lost a few thousand roundings
_FEW = 16  # clusters of a part whose columns a product adds up faster than `reduceat`
_CELLS = 1 << 16


@dataclass(frozen=True)
class _Part:
    """Rows in sequence, and the clusters that they belong to."""

    rows: Floats  # (m, d)
    span: slice
    first: int  # number of the first cluster
    starts: npt.NDArray[np.intp]  # where each begins
    after: float

    @classmethod
    def of(cls, x: Floats, span: slice, edges: npt.NDArray[np.intp], after: float, /) -> _Part:
        first = int(np.searchsorted(edges, span.start, side="right")) - 1
        last = int(np.searchsorted(edges, span.stop, side="left"))
        return cls(x[span, :], span, first, np.maximum(edges[first:last] - span.start, 0), after)

    @property
    def n_clusters(self) -> int:
        return len(self.starts)

    @property
    def clusters(self) -> slice:
        return slice(self.first, self.first + self.n_clusters)

    @functools.cached_property
    def member(self) -> Floats:
        """Which row is in which cluster (m, c)."""
        edges = np.append(self.starts, self.rows.shape[0])
        return np.repeat(np.eye(self.n_clusters), np.diff(edges), axis=0)

    @functools.cached_property
    def middle(self) -> Floats:
        # divided first: values near the largest float64 must not add up beyond it
        middle: Floats = np.sum(self.rows / self.rows.shape[0], axis=0)
        return middle

    @functools.cached_property
    def right(self) -> tuple[Floats, Floats]:
        """The right side of products (d + 2, m), and its squared norms."""
        moved, norms = self.about_middle(self.rows)
        return np.stack([*moved.T, np.ones_like(norms), norms]), norms

    def about_middle(self, rows: Floats, /) -> tuple[Floats, Floats]:
        """Rows about this part's middle, and their squared norms."""
        moved = (rows - self.middle) * self.after
        return moved, np.einsum("ij,ij->i", moved, moved)

    def distances(self, rows: Floats, span: slice, room: Floats, /) -> Floats:
        """Distances (n, m) of rows, which are those of ``span``, to this part's."""
        moved, norms = self.about_middle(rows)
        right, others = self.right
        left = np.stack([*(-2.0 * moved).T, norms, np.ones_like(norms)]).T
        tile = room[: len(rows) * len(others)].reshape(len(rows), len(others))
        np.matmul(left, right, out=tile)
        if self.span.start <= span.start < self.span.stop:
            at = np.arange(len(rows))
            tile[at, at + (span.start - self.span.start)] = math.inf
        # a few more than must be, for a limit that is one number
        self._take_anew(rows, tile, _CANCELLED * float(norms.max() + others.max()))
        if self.span.start <= span.start < self.span.stop:
            tile[at, at + (span.start - self.span.start)] = 0.0
        return np.sqrt(tile, out=tile)

    def _take_anew(self, rows: Floats, tile: Floats, limit: float, /) -> None:
        """Squared distances by differences where the product may cancel."""
        cells = np.flatnonzero(~(tile > limit))
        for some in slices(len(cells), max(1, _CELLS // rows.shape[1])):
            near, other = np.divmod(cells[some], tile.shape[1])
            differences = (rows[near] - self.rows[other]) * self.after
            tile[near, other] = np.einsum("ij,ij->i", differences, differences)

    def across(self, distances: Floats, /) -> Floats:
        """Sums by cluster (n, c) of distances (n, m)."""
        if self.n_clusters <= _FEW:
            return distances @ self.member
        return np.add.reduceat(distances, self.starts, axis=1)

    def down(self, distances: Floats, /) -> Floats:
        """Sums by cluster (n, c) of distances (m, n)."""
        if self.n_clusters <= _FEW:
            return distances.T @ self.member
        return np.add.reduceat(distances, self.starts, axis=0).T


def distance_sums(
    x: npt.NDArray[np.floating[Any]], edges: Sequence[int], scale: Scale, threads: int, /
) -> Floats:
    """Sums (n, k) of the distances of all rows to each cluster, in units of the scale.

    Rows (n, d) are sorted by cluster; ``edges`` tells where the k clusters begin, and the end.
    The sums do not depend on the number of threads.
    """
    work = _Pairs.of(x, edges, scale)
    sums = np.zeros((x.shape[0], len(edges) - 1))
    tasks = [(number, span) for number in range(len(work.parts)) for span in work.heights(number)]
    with one_blas_thread(), ThreadPoolExecutor(threads) as pool:
        for some in slices(len(tasks), 2 * threads):
            batch = tasks[some]
            for (number, span), (own, below) in zip(
                batch, pool.map(lambda task: work.sums(*task), batch), strict=True
            ):
                part = work.parts[number]
                clusters = slice(part.first, part.first + below.shape[1])
                sums[span, :] += own
                sums[part.span.stop :, clusters] += below
    return sums


@dataclass(frozen=True)
class _Pairs:
    """All rows, in parts."""

    x: Floats  # (n, d), times `Scale.before`
    after: float
    edges: npt.NDArray[np.intp]
    parts: list[_Part]

    @classmethod
    def of(cls, x: npt.NDArray[np.floating[Any]], edges: Sequence[int], scale: Scale, /) -> _Pairs:
        rows, ends = widened(x, xp=np) * scale.before, np.asarray(edges)
        parts = [_Part.of(rows, span, ends, scale.after) for span in slices(len(rows), _WIDTH)]
        return cls(rows, scale.after, ends, parts)

    def heights(self, number: int) -> list[slice]:
        """The rows of a part in the heights of tiles."""
        first = self.parts[number].span.start
        return [
            slice(first + span.start, first + span.stop)
            for span in slices(self.parts[number].span.stop - first, _HEIGHT)
        ]

    def sums(self, number: int, span: slice, /) -> tuple[Floats, Floats]:
        """What some rows of a part, and they alone, add.

        Their own sums (m, k) over its rows and those of all later parts, and the sums (l, c) of
        the rows of all later parts over them, by clusters counted from the part's first.
        """
        mine = _Part.of(self.x, span, self.edges, self.after)
        skipped = mine.first - self.parts[number].first
        own = np.zeros((span.stop - span.start, len(self.edges) - 1))
        below = np.zeros((len(self.x) - self.parts[number].span.stop, skipped + mine.n_clusters))
        room = np.empty(_HEIGHT * _WIDTH)
        done = 0
        for part in self.parts[number:]:
            tile = part.distances(mine.rows, span, room)
            own[:, part.clusters] += part.across(tile)
            if part is not self.parts[number]:
                below[done : done + tile.shape[1], skipped:] = mine.down(tile)
                done += tile.shape[1]
        return own, below
