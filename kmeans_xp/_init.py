"""Starts: where the first centers come from, over any source, with draws keyed by the seed."""

from __future__ import annotations

import math

from . import _exact as exact
from ._backend import to_host
from ._draws import Lottery, distinct_rows, weighted_rows
from ._passes import Training, as_centers, own_distances
from ._primitives import Nearest, screen, squared_distances
from ._random import Purpose, mix, row_bits, row_uniform
from ._stats import weigh
from ._typing import Array, Block

PARALLEL_ROUNDS = 5
OVERSAMPLING = 2.0


def seed_centers(problem: Training, name: str, n_clusters: int, seed: int, /) -> Array:
    """Centers (k, d) by the named start."""
    if name == "random-partition":
        return random_partition(problem, n_clusters, seed)
    if name == "random":
        return problem.source.take(distinct_rows(problem, n_clusters, seed))
    if name == "k-means||":
        return parallel(problem, n_clusters, seed)
    return problem.source.take(plusplus(problem, n_clusters, seed))


def random_partition(problem: Training, n_clusters: int, seed: int, /) -> Array:
    """Every row gets a random cluster; the start is the means (Forgy's partition).

    A cluster that no row was given starts at a random row.
    """
    xp = problem.context.xp

    def task(block: Block) -> Array:
        bits = row_bits(block.start, block.n_rows, block.x, seed, Purpose.PARTITION, xp=xp)
        labels = xp.astype(bits % n_clusters, xp.int32)
        columns = problem.ledger.columns(block.x, block.weight)
        return exact.widen(problem.kernel.group_sums(columns, labels, n_clusters), xp=xp)

    totals = exact.add_up(problem.source.map(task), xp=xp)
    centers = as_centers(problem.ledger.means(totals), problem)
    empty = problem.ledger.counts(totals) == 0
    if not bool(xp.any(empty)):
        return centers
    spare = problem.source.take(distinct_rows(problem, n_clusters, seed))
    return xp.where(empty[:, None], spare, centers)


def plusplus(
    problem: Training, n_clusters: int, seed: int, /, trials: int | None = None
) -> list[int]:
    """Greedy k-means++ (Arthur and Vassilvitskii, SODA 2007; trials as in their code).

    Each new center is the best of ``trials`` rows drawn in proportion to the weighted
    squared distance to the nearest center so far, judged by the sum that it leaves.
    """
    if trials is None:
        trials = 2 + int(math.log(n_clusters))
    rows = weighted_rows(problem, [(seed, Purpose.SEEDING, 0, 0)])
    largest = _update(problem, rows[0], first=True)
    for step in range(1, n_clusters):
        if largest == 0.0:
            # fewer distinct rows than clusters: any rows will do
            return rows + distinct_rows(problem, n_clusters - step, seed, rows)
        lottery = Lottery(problem, lambda block: _potential(problem, block), largest)
        drawn = lottery.rows([(seed, Purpose.SEEDING, step, trial) for trial in range(trials)])
        best = drawn[_best_trial(problem, lottery, drawn)] if trials > 1 else drawn[0]
        rows.append(best)
        if step < n_clusters - 1:
            largest = _update(problem, best)
    return rows


def _potential(problem: Training, block: Block) -> Array:
    return weigh(block.state["closest"], block.weight, xp=problem.context.xp)


def _update(problem: Training, row: int, /, *, first: bool = False) -> float:
    """Let a new center improve the closest distances; leave the largest weighted one."""
    xp = problem.context.xp
    center = problem.source.take([row])
    nearest = problem.nearest_to(center)

    def task(block: Block) -> float:
        if first:
            block.state["closest"] = squared_distances(block.x, center, nearest.scale, xp=xp)
        else:
            block.state["closest"] = _improved(problem, block, nearest)
        return float(xp.max(_potential(problem, block)))

    return max(problem.source.map(task))


def _improved(problem: Training, block: Block, nearest: Nearest) -> Array:
    closest = block.state["closest"]
    xp = problem.context.xp
    rows = _may_improve(problem, block, nearest)
    if rows is None:
        distances = squared_distances(block.x, nearest.centers, nearest.scale, xp=xp)
        return xp.where(distances < closest, distances, closest)
    mask = rows[:, 0]
    count = int(xp.sum(xp.astype(mask, xp.int64)))
    if count == 0:
        return closest
    few, _ = problem.kernel.compress(mask, count)
    distances = squared_distances(
        xp.take(block.x, few, axis=0), nearest.centers, nearest.scale, xp=xp
    )
    old = xp.take(closest, few)
    return problem.kernel.put(closest, mask, few, xp.where(distances < old, distances, old))


def _may_improve(problem: Training, block: Block, nearest: Nearest) -> Array | None:
    """Mark (m, t) the rows that a candidate may bring nearer; None to try them all.

    D^2 >= 2 (L + (1 - 3 theta) |x'|^2 / 2 - eta), see `_primitives`.
    """
    if nearest.first == "exact" or nearest.scale.squared != 1.0:
        return None
    xp = problem.context.xp
    rung = nearest.rung(nearest.first, xp=xp)
    lower, half = screen(block.x, rung, xp=xp)
    floor = lower + ((1.0 - 3.0 * rung.theta) * half - rung.underflow)[:, None]
    limit = block.state["closest"] * (0.5 * rung.scale**2 * (1.0 + 4.0 * rung.theta))
    return ~(floor > xp.astype(limit, floor.dtype)[:, None])


def _best_trial(problem: Training, lottery: Lottery, drawn: list[int]) -> int:
    """Index of the draw that leaves the smallest sum; the first among equals."""
    xp = problem.context.xp
    nearest = problem.nearest_to(problem.source.take(drawn))

    def gains(block: Block) -> list[int]:
        rows = _may_improve(problem, block, nearest)
        return [
            _gain(problem, lottery, block, nearest, trial, None if rows is None else rows[:, trial])
            for trial in range(len(drawn))
        ]

    def gains_of_all(block: Block) -> list[int]:
        distances = squared_distances(
            block.x[None, :, :], nearest.centers[:, None, :], nearest.scale, xp=xp
        )
        closest = block.state["closest"][None, :]
        distances = xp.where(distances < closest, distances, closest)
        if block.weight is not None:
            distances = distances * block.weight
        left = exact.exact_column_sums(lottery.whole(distances).T, xp=xp)
        return [-int(value) for value in to_host(left)]

    whole = nearest.first == "exact"
    parts = problem.source.map(gains_of_all if whole else gains)
    totals = [sum(trial) for trial in zip(*parts, strict=True)]
    return totals.index(max(totals))


def _gain(
    problem: Training,
    lottery: Lottery,
    block: Block,
    nearest: Nearest,
    trial: int,
    mask: Array | None,
) -> int:
    """By how much one candidate lowers the sum of a block, in the lottery's integers."""
    xp = problem.context.xp
    x, closest, weight = block.x, block.state["closest"], block.weight
    valid = None
    if mask is not None:
        count = int(xp.sum(xp.astype(mask, xp.int64)))
        if count == 0:
            return 0
        few, valid = problem.kernel.compress(mask, count)
        x, closest = xp.take(x, few, axis=0), xp.take(closest, few)
        weight = None if weight is None else xp.take(weight, few)
    distances = squared_distances(x, nearest.centers[trial : trial + 1, :], nearest.scale, xp=xp)
    better = distances < closest
    better = better if valid is None else better & valid
    before = lottery.whole(weigh(closest, weight, xp=xp))
    after = lottery.whole(weigh(distances, weight, xp=xp))
    gained = xp.where(better, before - after, xp.zeros_like(before))
    return int(exact.exact_column_sums(gained[:, None], xp=xp)[0])


def parallel(problem: Training, n_clusters: int, seed: int, /) -> Array:
    """k-means|| (Bahmani et al., VLDB 2012): few rounds of oversampling, then k-means++.

    In each round every row is taken with probability min(1, 2 k w D^2 / sum); the rows
    taken are weighted by the rows nearest to them, and k-means++ picks the centers.
    """
    rows = weighted_rows(problem, [(seed, Purpose.SEEDING, 0, 0)])
    largest = _update(problem, rows[0], first=True)
    for step in range(PARALLEL_ROUNDS):
        if largest == 0.0:
            break
        taken = _oversample(problem, n_clusters, largest, seed, step)
        if taken:
            rows += taken
            largest = _update_many(problem, problem.source.take(taken))
    rows = list(dict.fromkeys(rows))
    if len(rows) < n_clusters:
        rows += distinct_rows(problem, n_clusters - len(rows), seed, rows)
    candidates = problem.source.take(rows)
    if len(rows) == n_clusters:
        return candidates
    small = problem.over(candidates, _mass_of(problem, candidates), n_clusters)
    return small.source.take(plusplus(small, n_clusters, mix(seed, Purpose.OVERSAMPLE)))


def _oversample(
    problem: Training, n_clusters: int, largest: float, seed: int, step: int
) -> list[int]:
    """Rows of one round, each taken or not by its own key."""
    xp = problem.context.xp
    lottery = Lottery(problem, lambda block: _potential(problem, block), largest)
    share = OVERSAMPLING * n_clusters / lottery.total

    def task(block: Block) -> list[int]:
        key = (seed, Purpose.OVERSAMPLE, step)
        uniform = row_uniform(block.start, block.n_rows, block.x, *key, xp=xp)
        taken = uniform < lottery.whole(_potential(problem, block)) * share
        count = int(xp.sum(xp.astype(taken, xp.int64)))
        rows, _ = problem.kernel.compress(taken, count)
        return [block.start + int(row) for row in to_host(rows)[:count]] if count else []

    return [row for rows in problem.source.map(task) for row in rows]


def _update_many(problem: Training, centers: Array) -> float:
    """Let several new centers improve the closest distances at once."""
    xp = problem.context.xp
    nearest = problem.nearest_to(centers)

    def task(block: Block) -> float:
        labels, _ = problem.kernel.assign(block.x, nearest)
        distances = own_distances(block, nearest, labels, xp=xp)
        closest = block.state["closest"]
        block.state["closest"] = xp.where(distances < closest, distances, closest)
        return float(xp.max(_potential(problem, block)))

    return max(problem.source.map(task))


def _mass_of(problem: Training, candidates: Array) -> Array:
    """Weight of the rows nearest to each candidate (float64)."""
    xp = problem.context.xp
    nearest = problem.nearest_to(candidates)
    count = int(candidates.shape[0])

    def task(block: Block) -> Array:
        labels, _ = problem.kernel.assign(block.x, nearest)
        columns = problem.ledger.columns(block.x, block.weight)
        return exact.widen(problem.kernel.group_sums(columns, labels, count), xp=xp)

    return problem.ledger.masses(exact.add_up(problem.source.map(task), xp=xp))
