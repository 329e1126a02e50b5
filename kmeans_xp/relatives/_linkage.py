"""Trees over clusters as scipy's linkage matrices, on the host: clusters are few beside rows.

Ward's merges come from chains of nearest neighbours, O(k^2) in time and memory: a chain goes on to
the cluster that is cheapest to merge with, until two are each other's cheapest; these merge.  A
merged cluster costs no less to merge with than the cheaper of its halves did, so that the rest of
the chain stands, and the merges are those of always taking the cheapest pair (F. Murtagh, "A
survey of recent advances in hierarchical clustering algorithms", The Computer Journal 26, 1983).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from .._distances import Scale, squared_distances
from .._stats import Extent
from .._typing import slices

Host = npt.NDArray[np.float64]
Pairs = Sequence[tuple[int, int]]
_CELLS = 1 << 20  # numbers of a temporary array


def linkage_of(pairs: Pairs, heights: Sequence[float], /) -> Host:
    """A linkage matrix (k-1, 4) of merges in any order in which halves come before their whole.

    Numbers below k are leaves, k + i is what pair i became.  A height below that of a half is
    raised to it; merges are sorted by their heights, and stay in order where these are equal, so
    that halves come first there too.  The last column counts leaves.
    """
    k = len(pairs) + 1
    raised: list[float] = []
    for pair, height in zip(pairs, heights, strict=True):
        raised.append(max(height, *(raised[half - k] for half in pair if half >= k), 0.0))
    order = np.argsort(np.asarray(raised), kind="stable").tolist()
    numbers = dict(zip(order, range(k, 2 * k - 1), strict=True))
    counts = [1] * k
    linkage = np.empty((k - 1, 4))
    for place, pair in enumerate(order):
        first, second = sorted(half if half < k else numbers[half - k] for half in pairs[pair])
        counts.append(counts[first] + counts[second])
        linkage[place] = first, second, raised[pair], counts[-1]
    return linkage


def cut(linkage: Host, n_clusters: int, /) -> npt.NDArray[np.int32]:
    """The group (k,) of each leaf once so many are left, numbered by their first leaves."""
    k = len(linkage) + 1
    pairs = linkage[:, :2].astype(np.int64)
    roots = np.arange(2 * k - 1)
    for merge in range(k - n_clusters - 1, -1, -1):
        roots[pairs[merge]] = roots[k + merge]
    _, first, groups = np.unique(roots[:k], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[groups].astype(np.int32)


def ward(centers: Host, sizes: Host, /) -> tuple[list[tuple[int, int]], list[float]]:
    """Pairs and heights of Ward's merges, for `linkage_of`.

    The height is sqrt(2 m_a m_b / (m_a + m_b)) |c_a - c_b|, scipy's: half its square is what a
    merge adds to the inertia.  Clusters without a size go to the nearest other one first, at 0.
    """
    k = len(centers)
    scale = Extent(centers.min(axis=0), centers.max(axis=0), centers[0]).scale()
    # taken out as a power of four, whose root is one of two
    half = math.frexp(float(sizes.max()))[1] // 2
    masses = sizes * math.ldexp(1.0, -half) * math.ldexp(1.0, -half)
    kept = np.flatnonzero(masses > 0.0)
    names, pairs = kept.tolist(), []
    for empty in np.flatnonzero(masses == 0.0).tolist():
        nearest = int(squared_distances(centers[kept], centers[empty], scale, xp=np).argmin())
        pairs.append((names[nearest], empty))
        names[nearest] = k + len(pairs) - 1
    costs = _costs(centers[kept], masses[kept], scale)
    heights = [0.0] * len(pairs)
    for a, b, cost in _merges(costs, masses[kept]):
        pairs.append((names[a], names[b]))
        names[a] = k + len(pairs) - 1
        heights.append(math.sqrt(2.0 * cost) / scale.factor * math.ldexp(1.0, half))
    return pairs, heights


def _costs(centers: Host, masses: Host, scale: Scale) -> Host:
    """What merging costs (k, k), the same both ways to the last bit; infinite with itself."""
    costs = np.empty((len(centers), len(centers)))
    for part in slices(len(centers), max(1, _CELLS // centers.size)):
        mine = masses[part, None]
        apart = squared_distances(centers[part, None, :], centers, scale, xp=np)
        costs[part] = mine * masses / (mine + masses) * apart
    np.fill_diagonal(costs, np.inf)
    return costs


def _merges(costs: Host, masses: Host) -> Iterator[tuple[int, int, float]]:
    """Merge all, in the order of the chains: places a < b, of which a is their whole's, and cost.

    Among equals a chain goes back, or to the lowest place: so costs along it fall, and it ends.
    """
    chain: list[int] = []
    is_left = np.ones(len(masses), dtype=np.bool_)
    for _ in range(len(masses) - 1):
        chain = chain or [int(is_left.argmax())]
        while True:
            row = costs[chain[-1]]
            nearest = int(row.argmin())
            if len(chain) > 1 and row[chain[-2]] <= row[nearest]:
                break
            chain.append(nearest)
        a, b = sorted((chain.pop(), chain.pop()))
        yield a, b, float(costs[a, b])
        _merge(costs, masses, a, b)
        is_left[b] = False


def _merge(costs: Host, masses: Host, a: int, b: int) -> None:
    """Let a be both (G. N. Lance, W. T. Williams, The Computer Journal 9, 1967)."""
    cost, both = costs[a, b], masses[a] + masses[b]
    row = (masses[a] + masses) * costs[a] + (masses[b] + masses) * costs[b] - masses * cost
    row /= both + masses
    # as it is but for roundings
    np.maximum(row, cost, out=row)
    row[[a, b]] = np.inf
    costs[a], costs[:, a] = row, row
    costs[b], costs[:, b] = np.inf, np.inf
    masses[a] = both
