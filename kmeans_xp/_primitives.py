"""Which center is nearest: found by a matrix product, proven by a bound.

Labels are found by a matrix product and proven by a bound.  With a shift t,
x' = x - t, c' = c - t, half the squared distance is |x'|^2 / 2 + s_j with
s_j = |c'_j|^2 / 2 - x'.c'_j, and one product and one addition give
L_j = (1/2 - theta) |c'_j|^2 - x'.c'_j, which is s_j - theta |c'_j|^2 but for rounding.
Let u be the unit roundoff of the product (twice that of the format for hardware that
truncates), d the number of features, and e = (ceil(log2 d) + 4) u64.

* x' and c' are correct to u a component, |c'_j|^2 and |x'|^2 to (d + 3) u.
* A dot product of d terms errs by at most d u / (1 - d u) times the sum of magnitudes, in
  any order, fused or not; the bias, its addition and the sum round three times more.  (A
  kernel that adds up in parts has fewer additions above each term; that depth stands for d.)  All
  told the computed L_j errs by at most theta' (|x'| |c'_j| + |c'_j|^2 / 2), with
  theta' = 1.02 (d + 8) u while (d + 8) u < 0.0025.
* The canonical distance errs by e relatively, and D^2 / 2 <= |x'|^2 + |c'_j|^2.
* Gradual or flushed underflow, the canonical distance's included, adds
  eta = tiny (4 d + 16) (1 + max|x'| + max|c'|).

Take theta = 1.05 (d + 16 + 2 (ceil(log2 d) + 4)) u, which covers theta' + 2 e.  A loser's
canonical half distance is at least |x'|^2/2 + L_j - theta |x'|^2 / 2 - e |x'|^2 - eta, because
|x'| |c'_j| <= (|x'|^2 + |c'_j|^2) / 2 and L_j holds theta |c'_j|^2 back.  That of the winner j*
of min L, with r = |c'_j*|, is at most
|x'|^2/2 + L* + theta (|x'| r + 3 r^2 / 2) + e |x'|^2 + eta.  Since
D_j*^2 <= |x'|^2 + 2 L* + theta (2 |x'| r + 3 r^2) and r <= |x'| + D_j*, r is at most
R = 1.25 (|x'| + sqrt(max(0, T))) with T = |x'|^2 + 2 L*; and R^2 <= 3.125 (|x'|^2 + |T|).
So every center with
L_j > L* + theta (|x'|^2 / 2 + |x'| R + 3 R^2 / 2) + 2 e |x'|^2 + 2 eta, which is at most
L* + theta (7.25 |x'|^2 + 6.25 |T|) + 2 e |x'|^2 + 2 eta, is provably not the nearest; a row
that excludes all centers but one is done, the others go to the next rung.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import array_api_compat

from ._distances import Scale, squared_distances, widened
from ._picks import compress, first_true, scatter
from ._typing import Array, Namespace, slices

UNIT_ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53}
_TINY = {"float32": 2.0**-126, "float64": 2.0**-1022}
FLOAT32_REACH = (2.0**-40, 2.0**40)
"""Magnitudes whose squares float32 holds with room to spare; others start in float64."""

_AT_ONCE = 1 << 18  # values of centers that are widened together

MAX_FEATURES = {"float32": 30_000, "float64": 1 << 40}
"""Features up to which the bound of a rung is proven (theta stays below 0.0025)."""


@dataclass
class Rung:
    """The centers made ready for a product in one precision."""

    weights: Array  # (k, d), -c'
    bias: Array  # (k,), (1/2 - theta) |c'|^2; infinite for a center that repeats another
    twinned: Array | None  # (k,), centers that another one equals; None where there are none
    shift: Array | None  # (d,); None for no shift
    origin: Array | None  # what the shift was rounded from; tells two shifts apart
    scale: float
    theta: float
    canonical: float
    underflow: float


@dataclass
class Nearest:
    """The question "which center is nearest?", prepared once a sweep for all blocks."""

    centers: Array  # (k, d), as stored
    shift: Array | None  # (d,) float64, a point amid the data: it decides speed, never labels
    scale: Scale
    reach: float  # largest |x - shift| of a component, for the underflow term
    first: str  # dtype name of the first product; "exact" skips products
    rungs: dict[tuple[str, int], Rung] = field(default_factory=dict)
    notes: dict[Any, Any] = field(default_factory=dict)  # what a kernel makes of the centers

    def rung(self, dtype: str, /, *, xp: Namespace, depth: int | None = None) -> Rung:
        """The centers for a product whose sums are so many additions deep (default: all d)."""
        depth = int(self.centers.shape[1]) if depth is None else depth
        if (dtype, depth) not in self.rungs:
            self.rungs[dtype, depth] = build_rung(self, dtype, depth, xp=xp)
        return self.rungs[dtype, depth]


def errors(nearest: Nearest, dtype: str, depth: int, /) -> tuple[float, float, float]:
    """theta, e and eta of the module's doc, for products in a precision."""
    features = int(nearest.centers.shape[1])
    digits = max(1, features).bit_length() + 4
    theta = 1.05 * (depth + 16 + 2 * digits) * UNIT_ROUNDOFF[dtype]
    reach = nearest.reach * nearest.scale.factor * math.sqrt(features)
    underflow = _TINY[dtype] * (4 * features + 16) * (1.0 + 2.0 * reach)
    return theta, digits * UNIT_ROUNDOFF["float64"], underflow


def build_rung(
    nearest: Nearest, dtype: str, depth: int, /, *, xp: Namespace, told_apart: bool = False
) -> Rung:
    """Make the centers ready; repeated ones are looked for unless they are told apart anyway."""
    work = getattr(xp, dtype)
    theta, canonical, underflow = errors(nearest, dtype, depth)
    factor = nearest.scale.factor
    twinned, k = None, int(nearest.centers.shape[0])
    shift = None if nearest.shift is None else xp.astype(nearest.shift, work)
    step = max(1, _AT_ONCE // int(nearest.centers.shape[1]))
    weights, squares = [], []
    for part in slices(k, step):
        moved = negated(nearest.centers[part, :], shift, factor, xp=xp)
        weights.append(xp.astype(moved, work))
        squares.append(xp.sum(moved * moved, axis=1))
    bias = (0.5 - theta) * xp.concat(squares)
    found = None if k == 1 or told_apart else repeats_of(nearest, xp=xp)
    if found is not None:
        repeats, twinned = found
        bias = xp.where(repeats, xp.full_like(bias, float("inf")), bias)
    return Rung(
        weights=xp.concat(weights),
        bias=xp.astype(bias, work),
        twinned=twinned,
        shift=shift,
        origin=nearest.shift,
        scale=factor,
        theta=theta,
        canonical=canonical,
        underflow=underflow,
    )


def repeats_of(
    nearest: Nearest, wide: Array | None = None, /, *, xp: Namespace
) -> tuple[Array, Array] | None:
    """Centers that repeat an earlier one and centers that have a twin, once for all rungs.

    ``wide`` are the centers as float64, for a library to which subnormal float32 numbers are all
    equal.  A device must be waited for.
    """
    if "repeats" not in nearest.notes:
        nearest.notes["repeats"] = _repeats(nearest.centers if wide is None else wide, xp=xp)
    found: tuple[Array, Array] | None = nearest.notes["repeats"]
    return found


def negated(centers: Array, shift: Array | None, factor: float, /, *, xp: Namespace) -> Array:
    """-c' in float64, for a shift rounded to the precision of the product."""
    moved = widened(centers, xp=xp)
    if shift is not None:
        moved = moved - xp.astype(shift, xp.float64)
    return moved * -factor


def _repeats(centers: Array, /, *, xp: Namespace) -> tuple[Array, Array] | None:
    """Mark centers that repeat an earlier one bit for bit, and those that have any twin.

    None where all keys differ (see below), as they do in almost every sweep.

    A repeat can never be the label.  Equal centers meet after sorting by a key of their
    values.  Should two different centers share a key, or equal ones round to two (a product
    does not add up all of its rows in one way), a repeat may go unmarked, which costs time and
    nothing else: both are scored, and leave a row open.  The first of equal centers never is
    marked, whatever their keys.
    """
    count, features = centers.shape
    device = array_api_compat.device(centers)
    weights = xp.arange(1, features + 1, dtype=centers.dtype, device=device)
    key = xp.matmul(centers, 1.0 / xp.sqrt(weights + 1.0))
    keys = xp.sort(key)
    if not bool(xp.any(keys[1:] == keys[: count - 1])):
        return None
    order = xp.argsort(key, stable=True)
    ordered = xp.take(centers, order, axis=0)
    same = xp.all(ordered[1:, :] == ordered[: count - 1, :], axis=1)
    later = same & (order[1:] > order[: count - 1])
    no = xp.zeros(1, dtype=xp.bool, device=device)
    back = xp.argsort(order)
    twinned = xp.concat([no, same]) | xp.concat([same, no])
    return xp.take(xp.concat([no, later]), back), xp.take(twinned, back)


def cross_distances(x: Array, centers: Array, scale: Scale, /, *, xp: Namespace) -> Array:
    """Canonical squared distances (k, m) of all rows to all centers."""
    return squared_distances(x[None, :, :], centers[:, None, :], scale, xp=xp)


def own_distances(
    x: Array, nearest: Nearest, labels: Array | None = None, /, *, xp: Namespace
) -> Array:
    """Canonical squared distance (m,) of each row to the center of its label, or of its number."""
    centers = nearest.centers if labels is None else xp.take(nearest.centers, labels, axis=0)
    return squared_distances(x, centers, nearest.scale, xp=xp)


def moved_rows(x: Array, rung: Rung, /, *, xp: Namespace) -> Array:
    """The rows x' in the precision of a rung."""
    # shifted in the rows' own precision where that is the higher one
    work = rung.weights.dtype
    moved = x if x.dtype == xp.float64 else xp.astype(x, work, copy=False)
    if rung.shift is not None:
        moved = moved - xp.astype(rung.shift, moved.dtype, copy=False)
    if rung.scale != 1.0:
        moved = moved * rung.scale
    return xp.astype(moved, work, copy=False)


def screen(x: Array, rung: Rung, /, *, xp: Namespace) -> tuple[Array, Array]:
    """Lower bounds L (k, m) and half the squared norms |x'|^2 / 2 (m,) of the shifted rows."""
    moved = moved_rows(x, rung, xp=xp)
    lower = xp.matmul(rung.weights, moved.T) + rung.bias[:, None]
    return lower, 0.5 * xp.sum(moved * moved, axis=1)


# below which share of the norms a product's distance is taken anew, for results of a dtype
_CANCELLED = {"float32": 2.0**-16, "float64": 2.0**-4}
_CELLS = 1 << 16


def distances_by_product(x: Array, nearest: Nearest, dtype: str, /, *, xp: Namespace) -> Array:
    """All squared distances (m, k) in units of the scale, to about d roundings of ``dtype``.

    A float64 product gives them; where it cancels (near a center, relative to the norms)
    the canonical distance takes its place.
    """
    scale = nearest.scale
    rows, centers = widened(x, xp=xp), widened(nearest.centers, xp=xp)
    if nearest.shift is not None:
        rows, centers = rows - nearest.shift, centers - nearest.shift
    rows, centers = rows * scale.factor, centers * scale.factor
    norms = xp.sum(rows * rows, axis=1)[:, None] + xp.sum(centers * centers, axis=1)[None, :]
    squared = norms - 2.0 * xp.matmul(rows, centers.T)
    close = ~(squared > _CANCELLED[dtype] * norms)
    count = int(xp.count_nonzero(close))
    if count == 0:
        return squared
    flat = xp.reshape(close, (-1,))
    cells, _ = compress(flat, count, xp=xp)
    total, k = int(cells.shape[0]), int(nearest.centers.shape[0])
    parts = []
    for start in range(0, total, _CELLS):
        part = cells[start : min(start + _CELLS, total)]
        mine = xp.take(nearest.centers, part % k, axis=0)
        parts.append(squared_distances(xp.take(x, part // k, axis=0), mine, scale, xp=xp))
    exact = scatter(xp.reshape(squared, (-1,)), flat, xp.concat(parts), xp=xp)
    return xp.reshape(exact, squared.shape)


def exclusion_threshold(best: Array, half: Array, rung: Rung, /, *, xp: Namespace) -> Array:
    """The L above which a center is provably not the nearest (see the module's doc)."""
    own, common, slope = exclusion_terms(rung.theta, rung.canonical, rung.underflow)
    return best + ((own * half + slope * xp.abs(half + best)) + common)


def exclusion_terms(
    theta: float, canonical: float, underflow: float, /
) -> tuple[float, float, float]:
    """What is added to L*, from `errors`: own half + common + slope |half + L*|."""
    own = 14.5 * theta + 4.0 * canonical
    return own, 2.0 * underflow, 12.5 * theta


def candidates(x: Array, rung: Rung, /, *, xp: Namespace) -> Array:
    """Mark the centers (m, k) that the product cannot exclude; at least one a row."""
    return not_excluded(*screen(x, rung, xp=xp), rung, xp=xp).T


def not_excluded(lower: Array, half: Array, rung: Rung, /, *, xp: Namespace) -> Array:
    """The same from the scores, as (k, m)."""
    best = xp.min(lower, axis=0)
    near = lower <= exclusion_threshold(best, half, rung, xp=xp)[None, :]
    return near | ~xp.any(near, axis=0)[None, :]


def settle(x: Array, nearest: Nearest, /, *, xp: Namespace) -> Array:
    """Labels of rows that the first rung left open: a float64 product, then the last rung."""
    near = candidates(x, nearest.rung("float64", xp=xp), xp=xp)
    labels = first_true(near, xp=xp)
    unsure = xp.count_nonzero(near, axis=1) > 1
    count = int(xp.count_nonzero(unsure))
    if count == 0:
        return labels
    rows, _ = compress(unsure, count, xp=xp)
    few = xp.take(x, rows, axis=0)
    return scatter(labels, unsure, resolve(few, xp.take(near, rows, axis=0), nearest, xp=xp), xp=xp)


def resolve(x: Array, near: Array, nearest: Nearest, /, *, xp: Namespace) -> Array:
    """Judge the marked centers by canonical distance; equality goes to the lowest index."""
    device = array_api_compat.device(x)
    columns = xp.arange(int(near.shape[1]), dtype=xp.int32, device=device)[None, :]
    best = xp.full((x.shape[0],), float("inf"), dtype=xp.float64, device=device)
    labels = first_true(near, xp=xp)
    for _ in range(int(xp.max(xp.count_nonzero(near, axis=1)))):
        rank = first_true(near, xp=xp)
        center = xp.take(nearest.centers, rank, axis=0)
        distance = squared_distances(x, center, nearest.scale, xp=xp)
        closer = xp.any(near, axis=1) & (distance < best)
        best = xp.where(closer, distance, best)
        labels = xp.where(closer, rank, labels)
        near = near & (columns != rank[:, None])
    return labels
