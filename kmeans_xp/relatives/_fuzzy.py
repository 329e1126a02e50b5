"""Fuzzy c-means: each row belongs to every cluster by a share, and each center is a weighted mean.

With squared distances D_j of a row, its least one D, and p = 1 / (m - 1), the shares that make the
row's part sum_j u_j**m D_j the least are u_j = q_j / S with q_j = (D / D_j)**p and S = sum_j q_j,
and that least part is D T with T = S**(1 - m) (Bezdek, 1981).  Ratios to the least distance do not
overflow, whatever the data's scale, and a center that a row lies on needs no case of its own: its
ratio is 1 and those of the others 0.  Since q_j**(m - 1) is the ratio itself, u_j**m is
u_j T D / D_j, which takes one power for a row, not one for each cluster.

The weighted means are exact for the u**m as whole numbers of 2**-60 (see `_products`), so that no
order of the rows shows in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from .. import _exact as exact
from .._assign import relabel
from .._backend import dtype_name
from .._distances import Scale, halving_sum
from .._outcome import Result, Rules
from .._passes import used_clusters
from .._picks import first_true
from .._primitives import Nearest
from .._problem import Problem, Training, as_centers
from .._products import numerator, product_sums
from .._solver import State, concluded
from .._totals import weighted_total
from .._typing import Array, Block, Namespace, slices
from ._objective import ended, falls, in_units_of_rows, relative
from ._powers import LEAST, power

_HOST_CELLS = 1 << 15  # whose temporaries stay in a cache
_DEVICE_CELLS = 1 << 22


class Shares(NamedTuple):
    """What some rows belong to: memberships (k, m) and their powers, and each row's part (m,)."""

    memberships: Array  # u
    powers: Array  # u**m
    parts: Array  # sum of u**m D


def shares(apart: Array, fuzzifier: float, /, *, xp: Namespace) -> Shares:
    """The best memberships for squared distances (k, m) and a fuzzifier above 1."""
    least = xp.min(apart, axis=0)
    is_least = apart == least[None, :]
    ones = xp.ones_like(apart)
    # equal ones may both be zero, or infinite
    ratios = xp.where(is_least, ones, least[None, :] / xp.where(is_least, ones, apart))
    strengths = power(ratios, 1.0 / (fuzzifier - 1.0), xp=xp)
    total = halving_sum(strengths, xp=xp, axis=-2)
    memberships = strengths / total[None, :]
    shrinks = power(1.0 / total, fuzzifier - 1.0, xp=xp)
    powers = memberships * ratios * shrinks[None, :]
    powers = xp.where(powers < LEAST, xp.zeros_like(powers), powers)
    return Shares(memberships, powers, least * shrinks)


class _Seen(NamedTuple):
    """What a pass under some centers leaves."""

    changed: int
    totals: Array
    value: float


@dataclass(frozen=True)
class Fuzzy:
    """The way of fuzzy c-means: a `_solver.Way`."""

    fuzzifier: float

    def step(self, problem: Training, state: State, rules: Rules, seed: int, /) -> State:
        """Memberships under the centers, then weighted means; not where the objective rose."""
        if problem.is_wide:
            problem.cover(state.centers)
        nearest = problem.nearest_to(state.centers, screens=False)
        seen = self._pass(problem, nearest)
        if not falls(state, seen.value):
            return ended(state)
        centers = means(problem, seen.totals, nearest.centers)
        moves = problem.kernel.own_distances(centers, nearest)
        value = in_units_of_rows(problem, seen.value)
        after = concluded(
            problem, state, rules, nearest, centers, moves, seen.changed, value, False
        )
        return replace(after, value=seen.value)

    def finish(self, problem: Training, state: State, keeps: bool, /) -> Result:
        """The lower of the last two objectives, and what belongs to it."""
        centers = state.centers
        value, squares = self._measured(problem, centers)
        if state.before is not None and not falls(state, value):
            centers = state.before
            value, squares = self._measured(problem, centers)
        relabel(problem, problem.nearest_to(centers, scale=problem.label_scale(centers)))
        status = state.status
        assert status is not None
        return Result(
            centers,
            problem.source.collect("labels"),
            in_units_of_rows(problem, value),
            len(state.history),
            status,
            state.history,
            used_clusters(problem, int(centers.shape[0])),
            facts={"partition": squares},
        )

    def _pass(self, problem: Training, nearest: Nearest) -> _Seen:
        """Sums by memberships, the objective, and how many rows another cluster has most of."""
        xp, count = problem.context.xp, int(nearest.centers.shape[0])

        def task(block: Block, sums: exact.Accumulator) -> int:
            parts, labels = [], []
            for x, weight in block.pieces(_rows_at_once(problem, count)):
                apart = problem.kernel.distances(x, nearest.centers, nearest.scale)
                found = shares(apart, self.fuzzifier, xp=xp)
                columns = problem.ledger.columns(x, weight)
                sums.add(product_sums(found.powers, columns, xp=xp), 2 * int(x.shape[0]))
                parts.append(found.parts)
                labels.append(first_true((apart == xp.min(apart, axis=0)[None, :]).T, xp=xp))
            before = block.state.get("labels")
            block.state["own"], block.state["labels"] = xp.concat(parts), xp.concat(labels)
            return _changed(block, before, xp)

        changed, totals = problem.source.add_up(task, problem.ledger.words)
        value = weighted_total(
            problem, lambda block: block.state["own"], relative(problem, nearest)
        )
        assert totals is not None
        return _Seen(sum(changed), totals, value)

    def _measured(self, problem: Training, centers: Array) -> tuple[float, float]:
        """The objective under some centers, and the mean of the summed squared memberships."""
        if problem.is_wide:
            problem.cover(centers)
        nearest = problem.nearest_to(centers, screens=False)
        return measured(problem, nearest, self.fuzzifier, relative(problem, nearest))


def measured(
    problem: Problem, nearest: Nearest, fuzzifier: float, scale: Scale, /
) -> tuple[float, float]:
    """The objective of the rows, and the weighted mean of their summed squared memberships."""
    xp = problem.context.xp

    def task(block: Block) -> None:
        parts, squares = [], []
        for found in _pieces(problem, block, nearest, fuzzifier):
            parts.append(found.parts)
            squares.append(halving_sum(found.memberships * found.memberships, xp=xp, axis=-2))
        block.state["own"], block.state["squares"] = xp.concat(parts), xp.concat(squares)

    problem.source.map(task)
    value = weighted_total(problem, lambda block: block.state["own"], scale)
    squares = weighted_total(problem, lambda block: block.state["squares"], Scale())
    mass = weighted_total(problem, lambda block: xp.ones_like(block.state["own"]), Scale())
    problem.source.forget("own", "squares")
    return value, squares / mass


def objective(problem: Problem, centers: Array, fuzzifier: float, /) -> float:
    """The weighted objective of rows that are asked about."""
    nearest = problem.nearest_to(centers, screens=False)

    def task() -> float:
        return measured(problem, nearest, fuzzifier, nearest.scale)[0]

    with problem.source.working():
        return problem.within_memory(task)


def memberships(problem: Problem, centers: Array, fuzzifier: float, /) -> Array:
    """Memberships (n, k) in the rows' dtype; they are measured as labels are."""
    xp, scale = problem.context.xp, problem.label_scale(centers)
    nearest = problem.nearest_to(centers, screens=False, scale=scale)

    def measure(block: Block) -> None:
        found = _pieces(problem, block, nearest, fuzzifier)
        dtype = dtype_name(problem.source.sample)
        parts = [problem.kernel.rounded(part.memberships.T, dtype) for part in found]
        block.state["memberships"] = xp.concat(parts, axis=0)

    def task() -> Array:
        problem.source.map(measure)
        return problem.source.collect("memberships")

    with problem.source.working():
        return problem.within_memory(task)


def means(problem: Training, totals: Array, centers: Array, /) -> Array:
    """Means by memberships, rounded once; a center that no row belongs to stays."""
    xp, ledger = problem.context.xp, problem.ledger
    _, limbs, _, weight_limbs = ledger.scales
    d, end = ledger.n_features, ledger.n_columns - 1
    values = totals[:, :, :, : limbs * d]
    # without weights the last column counts rows, else the limbs before it hold weights
    first, last = (end - weight_limbs, end) if weight_limbs else (end, end + 1)
    weights = totals[:, :, :, first:last]
    high, *rest = numerator(weights, 1, last - first, xp=xp)
    mass = sum(rest, start=high)
    divisor = xp.where(mass > 0.0, mass, xp.ones_like(mass))
    found = exact.quotient(numerator(values, d, limbs, xp=xp), divisor) * ledger.down
    return xp.where(mass > 0.0, as_centers(found, problem), centers)


def _pieces(problem: Problem, block: Block, nearest: Nearest, fuzzifier: float) -> Iterator[Shares]:
    """Shares of the rows of a block, so many at a time."""
    count = int(nearest.centers.shape[0])
    for part in slices(block.n_rows, _rows_at_once(problem, count)):
        apart = problem.kernel.distances(block.x[part, :], nearest.centers, nearest.scale)
        yield shares(apart, fuzzifier, xp=problem.context.xp)


def _rows_at_once(problem: Problem, n_clusters: int) -> int:
    """Rows whose temporaries, one number for each row and cluster, take a fixed room."""
    # the reference's distances come from one for each feature too
    depth = problem.source.n_features if problem.plan.kernel == "reference" else 1
    cells = _HOST_CELLS if problem.context.has_host_memory else _DEVICE_CELLS
    return max(64, cells // (n_clusters * depth))


def _changed(block: Block, before: Array | None, xp: Namespace) -> int:
    """Rows that carry weight and had another label, or none."""
    labels = block.state["labels"]
    moved = xp.ones_like(labels, dtype=xp.bool) if before is None else labels != before
    return int(xp.count_nonzero(moved if block.weight is None else moved & (block.weight > 0.0)))
