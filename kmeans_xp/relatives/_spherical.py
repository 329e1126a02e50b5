"""Spherical k-means: rows and centers of length 1, where the nearest center has the largest cosine.

Half the squared distance of two points of the unit sphere is 1 minus their cosine.  To the nearest
center, to the mean, and from there out to the sphere: neither of the two raises the weighted sum of
1 - cosine, since of all points of the sphere the mean's direction has the largest sum of cosines
(Dhillon and Modha, 2001).
"""

from __future__ import annotations

import math
from dataclasses import replace

import array_api_compat

from .._backend import bits_of, to_host
from .._distances import halving_sum, widened
from .._empty import repair
from .._exact import quotient, root
from .._outcome import Result, Rules
from .._passes import sweep
from .._problem import Training, as_centers
from .._solver import LLOYD, State, added, concluded
from .._totals import weighted_total
from .._typing import Array, Block, Namespace, slices
from .._validation import refuse_non_finite
from ._objective import ended, falls, in_units_of_rows, relative
from ._powers import two_to

_MOST_CELLS = 1 << 20  # of float64 temporaries
_MOST_EXPONENT = 1000


def scaled(x: Array, /, *, xp: Namespace) -> tuple[Array, Array]:
    """Rows as float64, near 1 by a power of two each, and their lengths then."""
    x = widened(x, xp=xp)
    exponents = (bits_of(xp.max(xp.abs(x), axis=1)) >> 52) - 1023
    exponents = xp.clip(exponents, -_MOST_EXPONENT, _MOST_EXPONENT)
    x = x * two_to(-exponents, xp)[:, None]
    return x, root(halving_sum(x * x, xp=xp), xp=xp)


def unit_rows(x: Array, name: str, who: str, /) -> Array:
    """Rows scaled to length 1, in their dtype; refuse those without a direction."""
    xp, parts = array_api_compat.array_namespace(x), []
    for part in slices(int(x.shape[0]), max(1, _MOST_CELLS // int(x.shape[1]))):
        rows, length = scaled(x[part, :], xp=xp)
        if not bool(xp.all((length > 0.0) & (length < math.inf))):
            refuse_non_finite(x, name, who)
            row = part.start + to_host(length).tolist().index(0.0)
            raise ValueError(
                f"row {row} of {name} is all zeros: it has no direction, and so no cosine. Leave "
                "such rows out, as X[(X != 0).any(axis=1)] does, or use KMeans."
            )
        parts.append(xp.astype(quotient([rows], length[:, None]), x.dtype))
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)


def directions(means: Array, centers: Array, problem: Training, /) -> Array:
    """Means scaled to length 1; where one is zero, the center before."""
    xp = problem.context.xp
    rows, length = scaled(means, xp=xp)
    has_none = (length == 0.0)[:, None]
    length = xp.where(has_none, xp.ones_like(length)[:, None], length[:, None])
    return xp.where(has_none, centers, as_centers(quotient([rows], length), problem))


class _Spherical:
    """The way of spherical k-means: a `_solver.Way`, for rows of length 1."""

    def step(self, problem: Training, state: State, rules: Rules, seed: int, /) -> State:
        """To the nearest center, to the mean, to its direction."""
        centers, number = state.centers, len(state.history) + 1
        if number == 1:
            centers = unit_rows(centers, "init", "SphericalKMeans")
        # means lie between the rows, their directions need not
        problem.cover(centers)
        nearest = problem.nearest_to(centers)
        stats = sweep(problem, nearest, int(centers.shape[0]))
        problem.learn(stats.open_rows, stats.scored)

        def measure(block: Block) -> Array:
            return problem.kernel.own_distances(block.x, nearest, block.state["labels"])

        value = weighted_total(problem, measure, relative(problem, nearest))
        if stats.changed and not falls(state, value):
            return ended(state)
        totals = added(problem, stats.totals, state.totals)
        fixed = repair(problem, nearest, totals, rules.empty_cluster, (seed, number))
        centers = directions(fixed.centers, centers, problem)
        moves = problem.kernel.own_distances(centers, nearest)
        problem.pruner.moved(moves)
        state, changed = replace(state, totals=fixed.totals), stats.changed + fixed.moved
        shown, done = 0.5 * in_units_of_rows(problem, value), changed == 0
        after = concluded(problem, state, rules, nearest, centers, moves, changed, shown, done)
        return replace(after, value=value)

    def finish(self, problem: Training, state: State, keeps: bool, /) -> Result:
        """Labels and objective that belong to the last centers."""
        # the centers may be those before a sweep, of which bounds do not know
        problem.pruner.begin()
        problem.cover(state.centers)
        result = LLOYD.finish(problem, state, keeps)
        return replace(result, inertia=0.5 * result.inertia)


SPHERICAL = _Spherical()
