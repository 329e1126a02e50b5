"""Bounds that prove a label without a look at the row's distances.

The idea is Hamerly's ("Making k-means even faster", SDM 2010).  When a row is scored it is
known to lie within u of its own center and beyond l of every other.  When centers move, by
delta_j each, the own center is still the nearest as long as

    u + delta_a < l - max_{j != a} delta_j,        a the row's label,

and as movements add up over sweeps, so may the two sides.  What a row of cluster a loses in
one sweep, delta_a + max_{j != a} delta_j, is the same for all of them.  So a row keeps one
number, its slack l - u plus what its cluster had spent when it was scored, and its label is
proven while that exceeds what the cluster has spent by now: one look-up and one comparison,
and nothing is written.  (A row that leaves its cluster is scored anew.)

Rounding.  u and l come from the scores of `_primitives`.  With S the distance of the
exclusion threshold from the best score, half the squared distance of the best center is at
most half + best + S, and that of any other at least half + second - S, for canonical and true
distances alike: S holds the error terms of a winner and of a loser, of which each of the two
needs one.  Each root is moved outwards by 2**-20 of itself, far more than the roundings of
float32 here and than the relative difference of canonical and true distances, so u < l
implies the strict order of the canonical distances.  Movements are rounded up, and an
absolute 1e-150 stands for squares that underflowed.  Sums of movements are kept in float64;
the tables of them round by 2**-22 to the safe side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import array_api_compat

from ._groups import TABLE, Groups, group
from ._picks import first_true
from ._primitives import Nearest, Rung, cross_distances, exclusion_threshold, not_excluded, screen
from ._typing import Array, Namespace

OUTWARDS = 2.0**-20
LEAST_MOVE = 1e-150


@dataclass(frozen=True)
class Drift:
    """What the rows of each cluster have lost to movements since the bounds were begun.

    ``own`` (k,) adds up the movements of each center, ``rival`` (k,) the largest of the others
    sweep by sweep; both float64.  ``tables`` (3, 2, k) holds their sum and the two, rounded
    down and rounded up, in the dtype of the rows' bounds.  ``groups`` are those of `_groups`.
    """

    own: Array
    rival: Array
    tables: Array
    groups: Groups | None = None

    @classmethod
    def of(cls, own: Array, rival: Array, dtype: Any, /, *, xp: Namespace) -> Drift:
        """Make the tables."""
        edges = (1.0 - TABLE, 1.0 + TABLE)
        tables = [xp.stack([lost * edge for edge in edges]) for lost in (own + rival, own, rival)]
        return cls(own, rival, xp.astype(xp.stack(tables), dtype, copy=False))

    def grouped(self, centers: Array, size: int, /, *, xp: Namespace) -> Drift:
        """The same, with groups of centers from now on."""
        return replace(self, groups=group(centers, size, self.tables.dtype, xp=xp))

    def ungrouped(self) -> Drift:
        """The same without groups."""
        return replace(self, groups=None)


@dataclass(frozen=True)
class Bounds:
    """What rows keep, (m,) each in the dtype of the tables; see the module's doc.

    ``upper`` and ``lower`` are the two sides for when the slack is spent: less what the own
    center, plus what the others had moved by when the row was scored.  ``groups`` (m, G) are the
    bounds of `_groups`, if there are any; a row whose slack sufficed may have none yet (-inf).
    """

    slack: Array
    upper: Array
    lower: Array
    groups: Array | None = None


class Proposal(NamedTuple):
    """Labels (int32) by the first rung, the rows it leaves open (None: none), and bounds."""

    labels: Array
    open: Array | None
    bounds: Bounds | None


def no_drift(n_clusters: int, dtype: str, like: Array, /, *, xp: Namespace) -> Drift:
    """Begin: no center has moved yet."""
    zero = xp.zeros(n_clusters, dtype=xp.float64, device=array_api_compat.device(like))
    return Drift.of(zero, zero, getattr(xp, dtype), xp=xp)


def drifted(drift: Drift, squared: Array, /, *, xp: Namespace) -> Drift:
    """Add movements, given as canonical squared distances (k,) of centers old and new."""
    moves = xp.sqrt(squared) * (1.0 + OUTWARDS) + LEAST_MOVE
    place = xp.arange(int(moves.shape[0]), dtype=xp.int64, device=array_api_compat.device(moves))
    is_fastest = place == xp.argmax(moves)
    second = xp.max(xp.where(is_fastest, xp.zeros_like(moves), moves))
    rival = xp.where(is_fastest, second, xp.max(moves))
    after = Drift.of(drift.own + moves, drift.rival + rival, drift.tables.dtype, xp=xp)
    if drift.groups is None:
        return after
    return replace(after, groups=drift.groups.after(moves, xp=xp))


def kept(
    best: Array,
    second: Array,
    half: Array,
    labels: Array,
    never: Array | None,
    rung: Rung,
    drift: Drift,
    /,
    *,
    xp: Namespace,
) -> Bounds:
    """What to keep of rows that were scored just now; ``never`` marks those without a proof."""
    room = exclusion_threshold(best, half, rung, xp=xp) - best
    near, far = half + best + room, half + second - room
    zero = xp.zeros_like(half)
    upper = xp.sqrt(2.0 * xp.where(near > 0.0, near, zero)) * (1.0 + OUTWARDS)
    lower = xp.sqrt(2.0 * xp.where(far > 0.0, far, zero)) * (1.0 - OUTWARDS)
    dtype = drift.tables.dtype
    upper, lower = (xp.astype(edge, dtype, copy=False) for edge in (upper, lower))
    if never is not None:
        infinite = xp.full_like(lower, float("inf"))
        upper, lower = xp.where(never, infinite, upper), xp.where(never, -infinite, lower)
    return between(upper, lower, labels, drift, xp=xp)


def between(upper: Array, lower: Array, labels: Array, drift: Drift, /, *, xp: Namespace) -> Bounds:
    """What to keep of rows within ``upper`` of their center and beyond ``lower`` of the others."""
    spent, own, rival = (xp.take(drift.tables[place, 0, :], labels) for place in range(3))
    return Bounds(
        ((lower - upper) + spent) * (1.0 - TABLE),
        upper * (1.0 + TABLE) - own,
        (lower + rival) * (1.0 - TABLE),
    )


def unproven(bounds: Bounds, labels: Array, drift: Drift, /, *, xp: Namespace) -> Array:
    """Mark the rows whose label no longer follows from their slack."""
    return ~(bounds.slack > xp.take(drift.tables[0, 1, :], labels))


def propose(x: Array, nearest: Nearest, drift: Drift | None, /, *, xp: Namespace) -> Proposal:
    """Labels by the first rung, and with a drift the bounds of the rows."""
    if nearest.first == "exact":
        distances = cross_distances(x, nearest.centers, nearest.scale, xp=xp)
        return Proposal(xp.astype(xp.argmin(distances, axis=0), xp.int32), None, None)
    rung = nearest.rung(nearest.first, xp=xp)
    lower, half = screen(x, rung, xp=xp)
    near = not_excluded(lower, half, rung, xp=xp)
    labels = first_true(near.T, xp=xp)
    is_open = xp.count_nonzero(near, axis=0) > 1
    if drift is None:
        return Proposal(labels, is_open, None)
    infinite = xp.full_like(half, float("inf"))
    best = xp.min(lower, axis=0)
    second = xp.min(xp.where(near, infinite[None, :], lower), axis=0)
    # a twin of the own center is not among the others: it may part from it any time
    never = is_open if rung.twinned is None else is_open | xp.take(rung.twinned, labels)
    return Proposal(labels, is_open, kept(best, second, half, labels, never, rung, drift, xp=xp))
