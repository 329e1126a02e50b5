"""Rows against uniform rows of the same extent: the gap statistic, and whether there is structure.

Reference rows are drawn in the box along the principal axes of a sample (Tibshirani's second
choice): a box along the features would take one long slanted cloud for structure.  Sample and
references lie on the host until they are clustered, so every device sees the same numbers.

The verdict is sought by quick fits first.  Only where these leave it open do the fits follow that
climb from k to k, which tell weak structure from none better and take four times as long.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .._backend import to_host
from .._outcome import Rules
from .._problem import Training, training_problem
from .._random import Purpose, mix, row_bits, row_uniform
from .._typing import Array
from ._ladder import climb, leap

Host = npt.NDArray[np.float64]

_RULES = Rules(50, 1e-3)
_SHORT_RULES = Rules(10, 1e-3)  # a test holds for any rules that are the same for all tables
_QUICK_RULES, _QUICK_TRIALS = Rules(2, 1e-3), 2
_SETS = 19  # one of 20 uniform tables would stand out against 19 others
_DEVIATIONS = 3.0
_OPEN_DEVIATIONS = 1.0, 6.0  # between which quick fits leave the verdict to those that climb
_LEAST_SAMPLE, _ROWS_A_CLUSTER, _MOST_SAMPLE = 1000, 20, 4000
_LEAST_TOP, _QUICK_GRID, _GRID = 16, 4, 6
_LEAST_ROWS = 8
_TURNED_AXES = 64  # more take long to turn back

Fits = Callable[[Training, Sequence[int], int], list[float]]
"""The inertia for each of ascending k, as a seed leads to it."""


@dataclass(frozen=True)
class Sample:
    """Some rows on the host, their weights, and the place where they are clustered."""

    problem: Training
    rows: Host
    weight: Array | None

    @classmethod
    def of(cls, problem: Training, count: int, seed: int) -> Sample:
        """Rows that carry weight: all of them, or ``count`` drawn without repetition."""
        chosen = sample_rows(problem, count, seed)
        rows = to_host(problem.source.take(chosen)).astype(np.float64)
        return cls(problem, rows, problem.source.take_weights(chosen))

    def logs(self, rows: Host, ks: Sequence[int], seed: int, fits: Fits) -> list[float]:
        """Logarithms of the inertia of some rows for each k."""
        context, dtype = self.problem.context, self.problem.dtype
        x = context.from_host(np.ascontiguousarray(rows.astype(dtype)))
        small = training_problem(x, self.weight, context, ks[-1], variance=True)
        with small.source.working():
            found = fits(small, ks, seed)
        return [math.log(value) if value > 0.0 else -math.inf for value in found]

    def against(
        self, ks: Sequence[int], sets: int, seed: int, fits: Fits
    ) -> tuple[list[float], list[list[float]]]:
        """Logarithms for the rows, and for each of some sets of reference rows."""
        mine = self.logs(self.rows, ks, seed, fits)
        return mine, [self.logs(rows, ks, seed, fits) for rows in self._references(sets, seed)]

    @functools.cached_property
    def _box(self) -> tuple[Host, Host, Host, Host]:
        """The middle of the rows, their principal axes, and the least and largest along these."""
        middle = np.sum(self.rows / self.rows.shape[0], axis=0)
        _, _, axes = np.linalg.svd(self.rows - middle, full_matrices=False)
        turned = (self.rows - middle) @ axes.T
        return middle, axes, turned.min(axis=0), turned.max(axis=0)

    def _references(self, sets: int, seed: int) -> Iterator[Host]:
        """Rows in the box: in the coordinates of the rows, or of its axes where these are many.

        Turning changes no distance.  Either way they lie as far from zero as the rows, and so are
        as coarse in their dtype.
        """
        middle, axes, low, high = self._box
        shape, like = (self.rows.shape[0], low.size), np.zeros(1)
        for number in range(sets):
            key = (seed, Purpose.REFERENCE, number)
            drawn = row_uniform(0, math.prod(shape), like, *key, xp=np)
            rows = low + np.reshape(drawn, shape) * (high - low)
            if low.size > _TURNED_AXES:
                yield rows + middle[: low.size]
            else:
                yield rows @ axes + middle


def _climbing(rules: Rules) -> Fits:
    """Each k from the centers before."""

    def fits(problem: Training, ks: Sequence[int], seed: int) -> list[float]:
        return [rung.result.inertia for rung in climb(problem, ks, seed, rules)]

    return fits


def _quick(problem: Training, ks: Sequence[int], seed: int) -> list[float]:
    """Each k by itself: in doubt about more, but in a quarter of the time."""
    found = leap(problem, ks, seed, _QUICK_RULES, trials=_QUICK_TRIALS)
    return [result.inertia for result in found]


def sample_rows(problem: Training, count: int, seed: int) -> list[int]:
    """Positions of rows that carry weight, in ascending order: those with the smallest keys."""
    n = problem.source.n_rows
    weight = problem.source.take_weights(range(n)) if problem.summary.weight_grid else None
    rows = np.arange(n) if weight is None else np.flatnonzero(to_host(weight) > 0.0)
    if count < len(rows):
        keys = row_bits(0, n, np.zeros(1), seed, Purpose.SAMPLE, xp=np)[rows]
        rows = np.sort(rows[np.argsort(keys, kind="stable")[:count]])
    return [int(row) for row in rows]


def gap(
    problem: Training, ks: Sequence[int], rows: int, sets: int, seed: int
) -> tuple[list[float | None], list[float | None]]:
    """The gap statistic for each k, and its standard error, simulation included.

    Source: R. Tibshirani, G. Walther, T. Hastie, "Estimating the number of clusters in a data
    set via the gap statistic", J. R. Statist. Soc. B 63, 2001.
    """
    sample = Sample.of(problem, rows, seed)
    fits = [k for k in ks if k <= len(sample.rows)]
    mine, references = sample.against(
        fits, sets, mix(seed, Purpose.REFERENCE, 1), _climbing(_RULES)
    )
    gaps: list[float | None] = [None] * len(ks)
    errors: list[float | None] = [None] * len(ks)
    for place, (own, theirs) in enumerate(zip(mine, zip(*references, strict=True), strict=True)):
        if math.isfinite(own) and all(map(math.isfinite, theirs)):
            gaps[place] = math.fsum(theirs) / sets - own
            errors[place] = statistics.pstdev(theirs) * math.sqrt(1.0 + 1.0 / sets)
    return gaps, errors


@dataclass(frozen=True)
class Verdict:
    """Whether the rows have structure, and the sentence that says so."""

    has_structure: bool | None
    text: str


def judge(problem: Training, most: int, seed: int) -> Verdict:
    """Compare how much clusters explain with what they explain of uniform rows.

    A Monte Carlo test: for each k of a grid log(W_1 / W_k) in standard deviations of all tables
    together, then the largest of these.  There is structure if that of the rows is above those
    of all 19 reference tables (by chance 1 time in 20), and the rows stand clearly apart.

    Quick fits settle it where the rows stand very far apart, or not at all.  The latter can only
    take claims away; by the former uniform rows could gain one at six deviations alone.
    """
    count = min(max(_LEAST_SAMPLE, _ROWS_A_CLUSTER * most), _MOST_SAMPLE)
    sample = Sample.of(problem, count, seed)
    top, n_rows = max(most, _LEAST_TOP), len(sample.rows)
    if len(_grid(top, n_rows, _GRID)) == 1:
        return Verdict(None, f"structure was not judged: {n_rows} rows are too few")
    key = mix(seed, Purpose.REFERENCE, 0)
    found = _compare(sample, _grid(top, n_rows, _QUICK_GRID), key, _quick)
    if found is not None and found.is_open:
        found = _compare(sample, _grid(top, n_rows, _GRID), key, _climbing(_SHORT_RULES))
    rows = f"{n_rows:,} of {problem.source.n_rows:,} rows"
    if found is None:
        return Verdict(False, f"no clear structure: {rows} are all equal")
    against = f"({rows} against {_SETS} tables of uniform rows)"
    if not found.stands_out:
        return Verdict(
            False,
            f"no clear structure: up to k={found.top} clusters explain no more of the variance "
            f"than they do of uniform rows {against}; what criteria suggest is no evidence",
        )
    by = "infinitely many" if math.isinf(found.lead) else f"{found.lead:.0f}"
    return Verdict(
        True,
        f"clear structure: {found.k} clusters explain more of the variance than they do of "
        f"uniform rows, by {by} standard deviations {against}",
    )


@dataclass(frozen=True)
class _Comparison:
    """Rows beside reference tables: the largest k, and where the rows lead them most."""

    top: int
    k: int
    lead: float  # in standard deviations of the reference tables
    stands_out: bool

    @property
    def is_open(self) -> bool:
        """Whether quick fits leave the verdict to better ones."""
        least, enough = _OPEN_DEVIATIONS
        return self.lead >= least and not (self.stands_out and self.lead >= enough)


def _compare(sample: Sample, ks: Sequence[int], seed: int, fits: Fits) -> _Comparison | None:
    """Compare a sample with uniform tables; None if its rows are all equal."""
    mine, references = sample.against(ks, _SETS, seed, fits)
    if mine[0] == -math.inf:
        return None
    gains = np.asarray([[logs[0] - log for log in logs[1:]] for logs in (mine, *references)])
    best, lead, is_highest = _leads(gains)
    return _Comparison(ks[-1], ks[best + 1], lead, is_highest and lead >= _DEVIATIONS)


def _grid(top: int, n_rows: int, count: int) -> list[int]:
    """1 and some k up to a quarter of the rows, each a fixed factor above the one before."""
    top = min(top, n_rows // 4)
    if n_rows < _LEAST_ROWS or top < 2:
        return [1]
    steps = np.geomspace(2, top, count)
    return [1, *sorted({int(step) for step in np.round(steps)})]


def _leads(gains: Host) -> tuple[int, float, bool]:
    """Where the first row of a table leads the others most, and by how many deviations of theirs.

    Last, whether its largest gain is above those of all others.
    """
    others = gains[1:, :]
    if np.isinf(gains[0, :]).any():
        # no distance is left: the rows repeat a few
        return int(np.argmax(gains[0, :])), math.inf, True
    spread = np.maximum(gains.std(axis=0), np.finfo(np.float64).tiny)
    tops = ((gains - gains.mean(axis=0)) / spread).max(axis=1)
    apart = np.maximum(others.std(axis=0, ddof=1), np.finfo(np.float64).tiny)
    leads = (gains[0, :] - others.mean(axis=0)) / apart
    best = int(np.argmax(leads))
    return best, float(leads[best]), bool(tops[0] > tops[1:].max())
