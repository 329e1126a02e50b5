"""Rows against uniform rows of the same extent: the gap statistic, and whether there is structure.

Reference rows are drawn in the box along the principal axes of a sample (Tibshirani's second
choice): a box along the features would take one long slanted cloud for structure.  Sample and
references lie on the host until they are clustered, so every device sees the same numbers.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .._backend import to_host
from .._problem import Training, training_problem
from .._random import Purpose, mix, row_bits, row_uniform
from .._solver import Rules
from .._typing import Array
from ._ladder import climb

Host = npt.NDArray[np.float64]

_RULES = Rules(50, 1e-3)
_SHORT_RULES = Rules(10, 1e-3)  # a test holds for any rules that are the same for all tables
_SETS = 19  # one of 20 uniform tables would stand out against 19 others
_DEVIATIONS = 3.0
_LEAST_SAMPLE, _ROWS_A_CLUSTER, _MOST_SAMPLE = 1000, 20, 4000
_LEAST_TOP, _GRID = 16, 6
_LEAST_ROWS = 8


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

    def logs(self, rows: Host, ks: Sequence[int], seed: int, rules: Rules = _RULES) -> list[float]:
        """Logarithms of the inertia of some rows for each k."""
        context, dtype = self.problem.context, self.problem.dtype
        x = context.from_host(np.ascontiguousarray(rows.astype(dtype)))
        small = training_problem(x, self.weight, context, ks[-1], variance=True)
        with small.source.working():
            found = [rung.result.inertia for rung in climb(small, ks, seed, rules)]
        return [math.log(value) if value > 0.0 else -math.inf for value in found]

    def against(
        self, ks: Sequence[int], sets: int, seed: int, rules: Rules = _RULES
    ) -> tuple[list[float], list[list[float]]]:
        """Logarithms for the rows, and for each of some sets of reference rows."""
        mine = self.logs(self.rows, ks, seed, rules)
        references = self._references(sets, seed)
        return mine, [self.logs(rows, ks, seed, rules) for rows in references]

    def _references(self, sets: int, seed: int) -> Iterator[Host]:
        n, _ = self.rows.shape
        middle = np.sum(self.rows / n, axis=0)
        _, _, axes = np.linalg.svd(self.rows - middle, full_matrices=False)
        turned = (self.rows - middle) @ axes.T
        low, high = turned.min(axis=0), turned.max(axis=0)
        like = np.zeros(1)
        for number in range(sets):
            key = (seed, Purpose.REFERENCE, number)
            drawn = row_uniform(0, turned.size, like, *key, xp=np)
            yield (low + np.reshape(drawn, turned.shape) * (high - low)) @ axes + middle


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
    mine, references = sample.against(fits, sets, mix(seed, Purpose.REFERENCE, 1))
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
    """
    count = min(max(_LEAST_SAMPLE, _ROWS_A_CLUSTER * most), _MOST_SAMPLE)
    sample = Sample.of(problem, count, seed)
    grid = _grid(max(most, _LEAST_TOP), len(sample.rows))
    if len(grid) == 1:
        return Verdict(None, f"structure was not judged: {len(sample.rows)} rows are too few")
    mine, references = sample.against(grid, _SETS, mix(seed, Purpose.REFERENCE, 0), _SHORT_RULES)
    rows = f"{len(sample.rows):,} of {problem.source.n_rows:,} rows"
    if mine[0] == -math.inf:
        return Verdict(False, f"no clear structure: {rows} are all equal")
    gains = np.asarray([[logs[0] - log for log in logs[1:]] for logs in (mine, *references)])
    best, lead = _stand_out(gains)
    against = f"({rows} against {_SETS} tables of uniform rows)"
    if best is None:
        return Verdict(
            False,
            f"no clear structure: up to k={grid[-1]} clusters explain no more of the variance "
            f"than they do of uniform rows {against}; what criteria suggest is no evidence",
        )
    by = "infinitely many" if math.isinf(lead) else f"{lead:.0f}"
    return Verdict(
        True,
        f"clear structure: {grid[best + 1]} clusters explain more of the variance than they do of "
        f"uniform rows, by {by} standard deviations {against}",
    )


def _grid(top: int, n_rows: int) -> list[int]:
    """1 and some k up to a quarter of the rows, each a fixed factor above the one before."""
    top = min(top, n_rows // 4)
    if n_rows < _LEAST_ROWS or top < 2:
        return [1]
    steps = np.geomspace(2, top, _GRID)
    return [1, *sorted({int(step) for step in np.round(steps)})]


def _stand_out(gains: Host) -> tuple[int | None, float]:
    """Where the first row of a table is above all others, and by how many deviations of theirs.

    None where it is not.
    """
    others = gains[1:, :]
    if np.isinf(gains[0, :]).any():
        # no distance is left: the rows repeat a few
        return int(np.argmax(gains[0, :])), math.inf
    spread = np.maximum(gains.std(axis=0), np.finfo(np.float64).tiny)
    tops = ((gains - gains.mean(axis=0)) / spread).max(axis=1)
    apart = np.maximum(others.std(axis=0, ddof=1), np.finfo(np.float64).tiny)
    leads = (gains[0, :] - others.mean(axis=0)) / apart
    best = int(np.argmax(leads))
    if tops[0] <= tops[1:].max() or leads[best] < _DEVIATIONS:
        return None, 0.0
    return best, float(leads[best])
