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

from dataclasses import dataclass
from typing import Any, NamedTuple

import array_api_compat

from ._primitives import (
    Nearest,
    Rung,
    cross_distances,
    exclusion_threshold,
    first_true,
    not_excluded,
    screen,
)
from ._typing import Array, Kernel, Namespace, some

OUTWARDS = 2.0**-20
TABLE = 2.0**-22
_LEAST_MOVE = 1e-150
_COMPACT_SHARE = 0.7  # above it, picking the rows costs more than scoring the others


@dataclass(frozen=True)
class Drift:
    """What the rows of each cluster have lost to movements since the bounds were begun.

    ``own`` (k,) adds up the movements of each center, ``rival`` (k,) the largest of the others
    sweep by sweep; both float64.  ``tables`` (3, 2, k) holds their sum and the two, rounded
    down and rounded up, in the dtype of the rows' bounds.
    """

    own: Array
    rival: Array
    tables: Array

    @classmethod
    def of(cls, own: Array, rival: Array, dtype: Any, /, *, xp: Namespace) -> Drift:
        """Make the tables."""
        edges = (1.0 - TABLE, 1.0 + TABLE)
        tables = [xp.stack([lost * edge for edge in edges]) for lost in (own + rival, own, rival)]
        return cls(own, rival, xp.astype(xp.stack(tables), dtype, copy=False))


@dataclass(frozen=True)
class Bounds:
    """What rows keep, (m,) each in the dtype of the tables; see the module's doc.

    ``upper`` and ``lower`` are the two sides for when the slack is spent: less what the own
    center, plus what the others had moved by when the row was scored.
    """

    slack: Array
    upper: Array
    lower: Array


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
    moves = xp.sqrt(squared) * (1.0 + OUTWARDS) + _LEAST_MOVE
    place = xp.arange(int(moves.shape[0]), dtype=xp.int64, device=array_api_compat.device(moves))
    is_fastest = place == xp.argmax(moves)
    second = xp.max(xp.where(is_fastest, xp.zeros_like(moves), moves))
    rival = xp.where(is_fastest, second, xp.max(moves))
    return Drift.of(drift.own + moves, drift.rival + rival, drift.tables.dtype, xp=xp)


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
    tables = drift.tables
    upper, lower = (xp.astype(edge, tables.dtype, copy=False) for edge in (upper, lower))
    if never is not None:
        infinite = xp.full_like(lower, float("inf"))
        upper, lower = xp.where(never, infinite, upper), xp.where(never, -infinite, lower)
    spent, own, rival = (xp.take(tables[place, 0, :], labels) for place in range(3))
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


def look(
    kernel: Kernel, x: Array, nearest: Nearest, drift: Drift | None, state: dict[str, Any], /
) -> tuple[int, Array | None]:
    """Label a block's rows by the first rung: how many were scored, which are left open.

    With bounds and a drift, rows whose label is proven are passed over.
    """
    bounds = state.pop("bounds", None)
    if drift is not None and bounds is not None:
        doubt, count = kernel.unproven(bounds, state["labels"], drift)
        if count == 0:
            state["bounds"] = bounds
            return 0, None
        if count <= _COMPACT_SHARE * int(x.shape[0]):
            return count, _look_again(kernel, x, nearest, drift, state, bounds, doubt, count)
    state["labels"], is_open, bounds = kernel.propose(x, nearest, state, drift)
    if bounds is not None:
        state["bounds"] = bounds
    return int(x.shape[0]), is_open


def _look_again(
    kernel: Kernel,
    x: Array,
    nearest: Nearest,
    drift: Drift,
    state: dict[str, Any],
    bounds: Bounds,
    doubt: Array,
    count: int,
) -> Array | None:
    """Score the rows in doubt alone; leave which of the block's rows are open."""
    xp = array_api_compat.array_namespace(x)
    rows, _ = kernel.compress(doubt, count)
    labels, is_open, fresh = kernel.propose(some(x, rows, xp=xp), nearest, {}, drift)
    # the labels before are still asked for: they are not written over
    state["labels"] = kernel.put(xp.asarray(state["labels"], copy=True), doubt, rows, labels)
    if fresh is not None:
        pairs = zip(vars(bounds).values(), vars(fresh).values(), strict=True)
        state["bounds"] = Bounds(*(kernel.put(old, doubt, rows, new) for old, new in pairs))
    if is_open is None:
        return None
    return kernel.put(xp.zeros_like(doubt), doubt, rows, is_open)
