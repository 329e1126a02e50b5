"""What a new center could gain: which rows it may bring nearer, and bounds on the sum.

Seeding knows for each row i the canonical squared distance q_i to its nearest seed a(i), and
asks of a few candidates c by how much each would lower the weighted sum of the q_i.  Almost all
of that is settled without a canonical distance.

Which rows.  Let p = D(x, a), r = D(x, c) and s = D(c, a) be true distances, so that r >= s - p,
and let e bound the relative error of a canonical square (see `_primitives`).  If the
canonical p^2 is at most (1 - m) s^2 / 4 for the canonical s^2, then p <= f s / 2 with
f^2 = (1 - m)(1 + e)/(1 - e), hence r >= (2/f - 1) p, and the canonical r^2 is at least
(1 - e)/(1 + e) (2/f - 1)^2 times the canonical p^2: not below it once m >= 4 e (to first order
3 e; second order is far below e).  Taken is m = 16 e, which also covers the roundings of the
limit itself.  e leaves out underflow: squares and scaled differences lose at most
d 2**-540 in all (differences are below 2**482), which is below e s^2 as long as s^2 >= 2**-450;
for a smaller s nothing is excluded.  So one limit a seed, the least of the candidates' limits,
rules out the rows whose q is not above it.  A lower bound of the canonical s^2 does as well:
|c'|^2 + |a'|^2 - 2 c'.a' by a float64 product, less 4 theta (|c'|^2 + |a'|^2) + 4 eta (of which the
bound of `_primitives` needs 2 theta and 2 eta, and the roundings here less than the rest).
A kernel may add up the float64 squares of the differences in any order instead: that sum is at
most (d + 3) u64 too large relatively, for which the limit is lowered by the share (d + 8) u64.

By how much.  `screen` gives L_c and h = |x'|^2 / 2, with D^2 / 2 >= L + (1 - 5 theta) h - eta
for the canonical D^2.  With M = (1 + 4 theta) q / 2 - ((1 - 5 theta) h - eta), a row gains nothing
where M - L <= 0, and elsewhere at most 2 (M - L).  In the other direction, with C = |c'|^2:
L errs by at most theta (h + C) and holds theta C back, M exceeds q / 2 - h by at most
theta (2.5 q + 8 h) + eta, the subtraction rounds by theta (q + 2 h + 2 C) / 17 at most, and
the canonical D^2 / 2 errs by theta (h + C / 2) + eta.  Since q <= 2 max(M, 0) + 2.1 h, all told
M - L exceeds half the gain by at most theta (8 max(M, 0) + 20 h + 4 C) + 3 eta.
Added over the rows that may gain, this bounds the sum from both sides; where that does not
tell which candidate gains most, canonical distances do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ._distances import widened
from ._primitives import Nearest, Rung, build_rung, errors, screen
from ._typing import Array, Namespace, Source

LEAST_SQUARE = 2.0**-450
_PIECES_AT_ONCE = 16


@dataclass(frozen=True)
class Units:
    """The integers in which gains are told apart: numbers times a power of two, rounded."""

    up: float
    more: float  # the rest of the power: 2**1114 is no number

    def of(self, mass: Array, /, *, xp: Namespace) -> Array:
        """The numbers as integers (in float64)."""
        scaled = mass * self.up
        return xp.round(scaled if self.more == 1.0 else scaled * self.more)


@dataclass(frozen=True)
class Trials:
    """Candidates for one seed: ready for a product, with the limits that rule out rows."""

    nearest: Nearest
    rung: Rung
    limits: Array  # float64, by seed so far (what stands behind those is padding)
    rows_at_once: int

    def margins(self, closest: Array, half: Array, /, *, xp: Namespace) -> Array:
        """M of each row, in the precision of the product."""
        theta = self.rung.theta
        limit = xp.astype(closest, half.dtype, copy=False) * (0.5 * (1.0 + 4.0 * theta))
        return limit - ((1.0 - 5.0 * theta) * half - self.rung.underflow)

    def width(self, margin: float, half: float, bias: float, /) -> float:
        """By how much M - L may exceed half a gain, from the largest M, h and bias."""
        widest = 8.0 * max(margin, 0.0) + 20.0 * half + 9.0 * bias
        return self.rung.theta * widest + 3.0 * self.rung.underflow


@dataclass(frozen=True)
class Appraisal:
    """Upper bounds of the candidates' gains, how far they may be too high, and marked pairs."""

    high: Sequence[float]
    slack: float
    pairs: int

    def __add__(self, other: Appraisal) -> Appraisal:
        high = [a + b for a, b in zip(self.high, other.high, strict=True)]
        return Appraisal(high, self.slack + other.slack, self.pairs + other.pairs)

    def leaders(self, unit: float, /) -> list[int]:
        """The candidates that may gain most, once gains are rounded to ``unit`` a row."""
        if not all(map(math.isfinite, self.high)) or not math.isfinite(self.slack):
            return list(range(len(self.high)))
        # each pair rounds twice, by half a unit
        rounding = 1.01 * unit * self.pairs
        floor = max(self.high) - self.slack - 2.0 * rounding
        return [trial for trial, high in enumerate(self.high) if high >= floor]


def make_trials(
    nearest: Nearest, seeds: Sequence[int], source: Source, /, *, xp: Namespace
) -> Trials:
    """Make candidates ready: equal ones gain alike, and the first of them is taken."""
    rung = build_rung(nearest, nearest.first, source.n_features, xp=xp, told_apart=True)
    # few lengths, for libraries that compile for each shape
    count = max(64, 4 ** -(-(len(seeds) - 1).bit_length() // 2))
    padded = [*seeds, *seeds[:1] * (count - len(seeds))]
    at_most = limits(nearest, source.take(padded), xp=xp)
    return Trials(nearest, rung, at_most, _PIECES_AT_ONCE * source.piece_rows)


def limits(candidates: Nearest, seeds: Array, /, *, xp: Namespace) -> Array:
    """Squared distances up to which rows of each seed gain by no candidate."""
    theta, canonical, underflow = errors(candidates, "float64", int(seeds.shape[1]))
    tried, seeds = widened(candidates.centers, xp=xp), widened(seeds, xp=xp)
    if candidates.shift is not None:
        tried, seeds = tried - candidates.shift, seeds - candidates.shift
    if candidates.scale.factor != 1.0:
        tried, seeds = tried * candidates.scale.factor, seeds * candidates.scale.factor
    ours, theirs = xp.sum(tried * tried, axis=1), xp.sum(seeds * seeds, axis=1)
    products = xp.matmul(tried, seeds.T)
    least = xp.min((1.0 - 4.0 * theta) * ours[:, None] - 2.0 * products, axis=0)
    squares = least + ((1.0 - 4.0 * theta) * theirs - 4.0 * underflow)
    usable = squares >= LEAST_SQUARE
    return xp.where(usable, squares * (0.25 - 4.0 * canonical), -xp.ones_like(squares))


def appraise(
    x: Array, weight: Array | None, state: dict[str, Any], trials: Trials, /, *, xp: Namespace
) -> Appraisal:
    """Bound the candidates' gains; leave in ``state["trial"]`` the rows that may gain by each.

    ``state`` holds ``closest`` and ``seeds``.  What is left is (positions, marks): marks
    (candidates, m) over the rows at these positions, all rows for None.
    """
    closest, rung = state["closest"], trials.rung
    lower, half = screen(x, rung, xp=xp)
    margin = trials.margins(closest, half, xp=xp)
    over = margin[None, :] - lower
    reached = closest > xp.take(trials.limits, state["seeds"])
    marks = ~(over <= 0.0) & reached[None, :]
    state["trial"] = None, marks
    gains = xp.where(marks, xp.astype(over, xp.float64), xp.zeros_like(closest)[None, :])
    high = 2.0 * xp.sum(gains if weight is None else gains * weight, axis=1)
    width = trials.width(float(xp.max(margin)), float(xp.max(half)), float(xp.max(rung.bias)))
    pairs = int(xp.count_nonzero(marks))
    return bounded([float(value) for value in high], int(x.shape[0]), 2.0**-53, width, pairs)


def bounded(
    high: Sequence[float], terms: int, unit: float, width: float, pairs: int, /
) -> Appraisal:
    """The appraisal from sums of so many terms, added up with that unit roundoff."""
    rounding = 1.01 * (terms + 4) * unit * max(high)
    return Appraisal([value + rounding for value in high], 2.0 * (rounding + width * pairs), pairs)
