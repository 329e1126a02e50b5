"""The optimum in one dimension: rows on a line are cut where dynamic programming says.

In an optimal clustering of numbers each cluster is a piece of the sorted line, so k - 1 cuts
decide it.  `_line_sums` sorts and sums up the rows where they are; the host asks for the sums at
the cuts in question, and finds the best of them by `_cuts`.

It begins with groups of neighbouring cuts.  Lower bounds of the cost with a cut in some group,
from the line's two ends, rule the group out if they are above the cost of the best partition so
far.  The others are split, those of the largest scatter first, until each is one cut.  A pass takes
time in proportion to the groups that each cut may be in, and the logarithm of their number;
where no more than `MOST` (all cuts together) are left at last, the optimum is found.  Else the
best partition so far is left, and a lower bound of all others.

Costs are right to about 2**-92 of the squared range for each row (of the largest weight) and
cluster; a partition that is better by less than that may be missed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import _exact as exact
from ._cuts import Groups, Host, Index, Windows, cost_of, scatter, sweep
from ._line_sums import Sums
from ._problem import Training
from ._typing import Array

MOST = 1 << 23
"""Groups of all cuts together in a pass."""

_FEW = 1 << 10  # of each cut, that a pass may have without more ado
_FINER = 4  # from pass to pass
_FIRST = 64
_MOST_CUTS = 512  # to begin with groups, which tell something when they are many more
_ALL = 1 << 20  # places of more cuts than that, each a group
_MARGIN = 2.0**-40  # of a cost, by which two surely differ
_LARGE = 0.125  # of the largest scatter
_LEAST = 2.0**-300  # that is one: differences of sums may be rounded to 0
_NONE = np.zeros(1, dtype=np.int64)
Mask = npt.NDArray[np.bool]


@dataclass(frozen=True)
class Line:
    """The best centers, ascending, and a lower bound of any inertia.

    ``proven``: no centers are better, and the bound is their inertia but for roundings.
    """

    centers: Array  # (k, 1)
    bound: float
    proven: bool


def best_on_a_line(problem: Training, n_clusters: int, /) -> Line | None:
    """The optimum for rows of one feature; None where there are too many cuts to look for."""
    is_many = n_clusters > _MOST_CUTS
    sums = Sums.of(problem, most=n_clusters + _ALL // n_clusters if is_many else None)
    if sums is None:
        return None
    n_pieces = min(n_clusters, sums.n_values)
    if n_pieces == sums.n_values:
        found = _Found(np.arange(1, n_pieces), 0.0, proven=True)
    elif n_clusters == 1:
        found = _Found(np.arange(0), cost_of(sums.pieces(np.arange(0))), proven=True)
    else:
        found = _best_cuts(sums, n_clusters)
    centers = sums.centers(found.cuts).astype(problem.dtype)
    # what has no value of its own lies on the last
    centers = np.concatenate([centers, np.repeat(centers[-1:], n_clusters - len(centers))])
    bound = max(0.0, found.bound - sums.error(n_clusters)) * (1.0 - _MARGIN)
    return Line(
        exact.to_device(centers[:, None], problem.source.sample, xp=problem.context.xp),
        sums.in_units(bound),
        found.proven,
    )


@dataclass(frozen=True)
class _Found:
    """Before which distinct values the line is cut, and what no cuts cost less than."""

    cuts: Index
    bound: float
    proven: bool


def _best_cuts(sums: Sums, n_clusters: int) -> _Found:
    """Rule out groups of cuts until the best are left."""
    left = _Left(sums, n_clusters)
    best, cost, bound = np.arange(1, n_clusters), math.inf, 0.0
    while left.split():
        groups, windows = left.groups(), left.windows()
        there = sweep(groups, windows)
        cuts = np.unique(left.first[there.cuts])
        if groups.single:
            return _Found(cuts, there.total, proven=True)
        bound = max(bound, there.total)
        price = cost_of(sums.pieces(cuts))
        if price < cost:
            best, cost = cuts, price
        back = sweep(groups.mirrored(), windows.mirrored(len(left.first)))
        most = cost * (1.0 + _MARGIN) + 2.0 * sums.error(n_clusters)
        pairs = zip(there.costs, back.costs[::-1], strict=True)
        kept = [np.flatnonzero(before + after[::-1] <= most)[[0, -1]] for before, after in pairs]
        left.keep(*(np.asarray(kept).T + windows.low))
    return _Found(best, bound, proven=False)


class _Left:
    """The cuts that are not ruled out: a range of places for each, and groups of places."""

    def __init__(self, sums: Sums, n_clusters: int) -> None:
        self._sums, n_places = sums, sums.n_values - 1
        # every cut may be anywhere that leaves enough values for the others
        self._order = np.arange(n_clusters - 1)
        self._low, self._high = self._order + 1, self._order + n_places + 2 - n_clusters
        edges = np.arange(min(_FIRST, n_places) + 1) * n_places // min(_FIRST, n_places)
        self.first, self._last = edges[:-1] + 1, edges[1:]
        self._scatter = self._scatters(self.first, self._last)

    def split(self) -> bool:
        """Make more groups, or one of each place; false where they are too many."""
        pairs, places = self._pairs(), int((self._high - self._low + 1).sum())
        most = min(max(_FEW * len(self._low), _FINER * pairs), MOST)
        if places <= 2 * most or (len(self._low) >= _MOST_CUTS and places <= _ALL):
            self.first = self._last = self._all_places()
            return True
        if 2 * pairs > most:
            return False
        while 2 * pairs <= most:
            self._halve_the_largest()
            pairs = self._pairs()
        return True

    def groups(self) -> Groups:
        """The sums at their ends."""
        before, n_values = self._sums.before, self._sums.n_values
        single = self.first is self._last
        opening = before(self.first)
        closing = opening if single else before(self._last)
        return Groups(opening, closing, before(_NONE), before(_NONE + n_values), single)

    def windows(self) -> Windows:
        """For each cut the groups in its range."""
        low = np.searchsorted(self._last, self._low)
        return Windows(low, np.searchsorted(self.first, self._high, side="right") - 1)

    def keep(self, first: Index, last: Index) -> None:
        """For each cut, leave the groups from the first to the last."""
        low, high = self.first[first], self._last[last]
        low, high = np.maximum(self._low, low), np.minimum(self._high, high)
        # no two cuts are in one place
        self._low = np.maximum.accumulate(low - self._order) + self._order
        self._high = np.minimum.accumulate((high - self._order)[::-1])[::-1] + self._order
        windows = self.windows()
        edges = np.zeros(len(self.first) + 1, dtype=np.int64)
        np.add.at(edges, windows.low, 1)
        np.add.at(edges, windows.high + 1, -1)
        self._take(np.cumsum(edges[:-1]) > 0)

    def _take(self, some: Index | Mask) -> None:
        self.first, self._last = self.first[some], self._last[some]
        self._scatter = self._scatter[some]

    def _pairs(self) -> int:
        windows = self.windows()
        return int((windows.high - windows.low + 1).sum())

    def _all_places(self) -> Index:
        """The places of all ranges, once each."""
        before = np.concatenate([[0], self._high[:-1]])
        first = np.maximum(self._low, before + 1)
        counts = self._high - first + 1
        begin = np.repeat(first - np.cumsum(counts) + counts, counts)
        places: Index = np.arange(len(begin)) + begin
        return places

    def _halve_the_largest(self) -> None:
        first, last = self.first, self._last
        split = self._scatter >= _LARGE * self._scatter.max()
        middle = (first[split] + last[split]) // 2
        halves = np.concatenate([first[split], middle + 1]), np.concatenate([middle, last[split]])
        self.first = np.concatenate([first[~split], halves[0]])
        self._last = np.concatenate([last[~split], halves[1]])
        self._scatter = np.concatenate([self._scatter[~split], self._scatters(*halves)])
        self._take(np.argsort(self.first))

    def _scatters(self, first: Index, last: Index) -> Host:
        """Of the values next to the cuts of a group; 0 for a single cut."""
        before = self._sums.before
        some = np.maximum(scatter(before(first - 1), before(last)), _LEAST)
        return np.where(first < last, some, 0.0)
