"""Where to cut a sorted line into k pieces: dynamic programming over groups of cuts.

The least cost of j pieces up to a cut is the least over the cut before of the cost up to there and
of the piece between (H. Wang and M. Song, "Ckmeans.1d.dp", The R Journal 3, 2011, after
W. D. Fisher, J. Am. Stat. Assoc. 53, 1958).  The best cut before moves right as the cut does, so
the cuts in the middle of others need a look at what lies between their neighbours' best alone
(X. Wu, "Optimal quantization by matrix searching", J. Algorithms 12, 1991; A. Grønlund et al.,
"Fast exact k-means, k-medians and Bregman divergence clustering in 1D", arXiv 1701.07204, 2017);
here all cuts of a level of that recursion are one array.

A *group* of neighbouring cuts stands for all of them: what comes before its first cut and after
its last costs no more than it would with any cut of the group, since values that are left out
cost nothing.  So a pass over groups gives lower bounds, with the same structure, and over groups of
one cut the least cost itself.  `_line` begins with few groups, leaves out those that a bound proves
to be above the cost of a partition already known, and splits the others: that is our own.

All is done on the host, of sums at the groups' ends, in the doubled precision of `_doubled`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ._doubled import Pair, minus, over, plus, square

Host = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Picks = npt.NDArray[np.int32]
_NEVER = -(2.0**200)  # below all that is gained; infinity has no rest
_AT_ONCE = 1 << 15  # pairs of cuts, whose temporaries stay in a cache


class Points(NamedTuple):
    """Sums over all values before some cuts: of w, w y and w y**2."""

    weight: Pair
    first: Pair
    second: Pair

    def at(self, index: Index | slice) -> Points:
        """Some of them."""
        return Points(*((high[index], low[index]) for high, low in self))

    def mirrored(self) -> Points:
        """Sums as the line seen from its other end has them."""
        return Points(*((-high[::-1], -low[::-1]) for high, low in self))


@dataclass(frozen=True)
class Groups:
    """Sums before the first and the last cut of each group, in order, and at the line's ends."""

    opening: Points
    closing: Points
    start: Points
    end: Points
    single: bool  # one cut each

    def mirrored(self) -> Groups:
        """The line seen from its other end."""
        return Groups(
            self.closing.mirrored(),
            self.opening.mirrored(),
            self.end.mirrored(),
            self.start.mirrored(),
            self.single,
        )


@dataclass(frozen=True)
class Windows:
    """For each cut the groups that it may be in: from the first to the last, by number."""

    low: Index
    high: Index

    def __len__(self) -> int:
        return len(self.low)

    def __getitem__(self, cut: int) -> slice:
        return slice(int(self.low[cut]), int(self.high[cut]) + 1)

    def mirrored(self, n_groups: int) -> Windows:
        """The same, seen from the line's other end."""
        return Windows(n_groups - 1 - self.high[::-1], n_groups - 1 - self.low[::-1])


@dataclass(frozen=True)
class Sweep:
    """What a pass found.

    ``costs`` holds for each cut, and each group in its window, the least cost before the group;
    ``total`` is the least cost of all pieces, and ``cuts`` the groups that have it.
    """

    costs: list[Host]
    cuts: Index
    total: float


def sweep(groups: Groups, windows: Windows, /) -> Sweep:
    """The least costs: lower bounds by groups of several cuts, exact where each is one."""
    # what is gained by means: sums of w y**2 less of it are costs
    gained = _gains(groups.start, groups.opening.at(windows[0]))
    gained = plus(gained, groups.start.second)
    inside = minus(groups.closing.second, groups.opening.second)
    costs, picks = [_cost(groups, windows[0], gained)], []
    for cut in range(1, len(windows)):
        before, here = windows[cut - 1], windows[cut]
        after = plus(gained, _part(inside, before))
        better, pick = _best(groups, before, after, here)
        if not groups.single:
            _let_share(better, pick, gained, before, here)
        gained = better
        costs.append(_cost(groups, here, gained))
        picks.append(pick)
    before = windows[len(windows) - 1]
    gained = plus(gained, _part(inside, before))
    gained = plus(gained, _gains(groups.closing.at(before), groups.end))
    best = int(np.lexsort((-gained[1], -gained[0]))[0])
    total = minus(groups.end.second, (gained[0][best], gained[1][best]))
    return Sweep(costs, _follow(windows, picks, best), float(total[0][0]))


def cost_of(pieces: Points, /) -> float:
    """What the pieces between some cuts cost; the first and the last are the line's ends."""
    gained = _gains(pieces.at(slice(0, -1)), pieces.at(slice(1, None)))
    second = minus(_part(pieces.second, slice(-1, None)), _part(pieces.second, slice(0, 1)))
    return math.fsum([*second[0], *second[1], *-gained[0], *-gained[1]])


def scatter(before: Points, after: Points, /) -> Host:
    """The cost of each piece."""
    cost: Host = minus(minus(after.second, before.second), _gains(before, after))[0]
    return cost


def _gains(before: Points, after: Points) -> Pair:
    """What pieces gain by a mean of their own: (sum w y)**2 / sum w."""
    first = minus(after.first, before.first)
    return over(square(first), minus(after.weight, before.weight))


def _part(values: Pair, window: slice) -> Pair:
    return values[0][window], values[1][window]


def _cost(groups: Groups, window: slice, gained: Pair) -> Host:
    cost: Host = minus(_part(groups.opening.second, window), gained)[0]
    return cost


def _let_share(better: Pair, pick: Picks, gained: Pair, before: slice, here: slice) -> None:
    """Let two cuts be in the same group: the piece between them may cost nothing."""
    low, high = max(before.start, here.start), min(before.stop, here.stop)
    there, mine = (
        slice(low - before.start, high - before.start),
        slice(low - here.start, high - here.start),
    )
    old, new = _part(gained, there), _part(better, mine)
    wins = (old[0] > new[0]) | ((old[0] == new[0]) & (old[1] > new[1]))
    for value, other in zip(new, old, strict=True):
        value[wins] = other[wins]
    pick[mine][wins] = np.arange(there.start, there.stop)[wins]


def _follow(windows: Windows, picks: list[Picks], best: int) -> Index:
    """The groups of all cuts, from the last one's place in its window."""
    cuts = np.empty(len(windows), dtype=np.int64)
    cuts[-1] = windows.low[-1] + best
    for cut in range(len(windows) - 2, -1, -1):
        place = picks[cut][cuts[cut + 1] - windows.low[cut + 1]]
        cuts[cut] = windows.low[cut] + place
    return cuts


def _best(groups: Groups, before: slice, after: Pair, here: slice) -> tuple[Pair, Picks]:
    """For each group here what is gained with the best of those before it, and which that is.

    By levels: groups in the middle of others first, whose bests then bound those of the rest.
    """
    n_here, n_before = here.stop - here.start, before.stop - before.start
    gained = np.full(n_here, _NEVER), np.zeros(n_here)
    # one more at either end, for the bounds; a group with none before it has place 0
    best = np.zeros(n_here + 2, dtype=np.int32)
    best[-1] = n_before - 1
    stride = 1 << (n_here.bit_length() - 1)
    while stride:
        place = np.arange(stride, n_here + 1, 2 * stride)
        low = best[place - stride].astype(np.int64)
        before_it = here.start + place - 2 - before.start
        high = np.minimum(best[np.minimum(place + stride, n_here + 1)], before_it)
        some = high >= low
        place, low, high = place[some] - 1, low[some], high[some]
        ends = np.cumsum(high - low + 1)
        begin = 0
        while begin < len(place):
            done = ends[begin - 1] if begin else 0
            stop = max(begin + 1, int(np.searchsorted(ends, done + _AT_ONCE, side="right")))
            part = slice(begin, stop)
            rows = groups.opening.at(here.start + place[part])
            values, found = _look(rows, groups.closing, before.start, after, low[part], high[part])
            gained[0][place[part]], gained[1][place[part]] = values
            best[place[part] + 1] = found
            begin = stop
        stride //= 2
    return gained, best[1:-1]


def _look(
    rows: Points, closing: Points, offset: int, after: Pair, low: Index, high: Index
) -> tuple[Pair, Index]:
    """The best for each row among groups from low to high, and its place; the first of equals."""
    counts = high - low + 1
    starts = np.cumsum(counts) - counts
    columns = np.arange(int(counts.sum())) + np.repeat(low - starts, counts)
    there = columns + offset
    weight, first = (
        minus(
            (np.repeat(row[0], counts), np.repeat(row[1], counts)),
            (column[0][there], column[1][there]),
        )
        for row, column in ((rows.weight, closing.weight), (rows.first, closing.first))
    )
    high_part, low_part = plus(_part(after, columns), over(square(first), weight))
    largest = np.repeat(np.maximum.reduceat(high_part, starts), counts)
    ties = np.flatnonzero(high_part == largest)
    if len(ties) > len(counts):
        row = np.searchsorted(starts, ties, side="right")
        order = np.lexsort((-low_part[ties], row))
        row, ties = row[order], ties[order]
        ties = ties[np.flatnonzero(np.diff(row, prepend=0))]
    return (high_part[ties], low_part[ties]), columns[ties]
