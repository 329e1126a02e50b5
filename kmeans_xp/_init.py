"""Starts: where the first centers come from, over any source, with draws keyed by the seed."""

from __future__ import annotations

from . import _exact as exact
from ._backend import to_host
from ._closest import Closest
from ._draws import distinct_rows, weighted_rows
from ._passes import add_rows
from ._plusplus import plusplus
from ._problem import Training, as_centers
from ._random import Purpose, mix, row_bits, row_uniform
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

    def task(block: Block, sums: exact.Accumulator) -> None:
        bits = row_bits(
            block.start, block.n_rows, problem.source.sample, seed, Purpose.PARTITION, xp=xp
        )
        labels = xp.astype(bits % n_clusters, xp.int32)
        add_rows(problem, block, labels, n_clusters, sums)

    _, totals = problem.source.add_up(task, problem.ledger.words)
    counts = problem.ledger.counts(totals)
    centers = as_centers(problem.ledger.means(totals, counts), problem)
    empty = counts == 0
    if not bool(xp.any(empty)):
        return centers
    spare = problem.source.take(distinct_rows(problem, n_clusters, seed))
    return xp.where(empty[:, None], spare, centers)


def parallel(problem: Training, n_clusters: int, seed: int, /) -> Array:
    """k-means|| (Bahmani et al., VLDB 2012): few rounds of oversampling, then k-means++.

    In each round every row is taken with probability min(1, 2 k w D^2 / sum); the rows
    taken are weighted by the rows nearest to them, and k-means++ picks the centers.
    """
    wanted = OVERSAMPLING * n_clusters
    rows = None
    if problem.source.is_resident:
        rows = problem.kernel.oversample(problem, seed, wanted, PARALLEL_ROUNDS)
    if rows is None:
        rows = _rounds(problem, wanted, seed)
    if len(rows) < n_clusters:
        rows += distinct_rows(problem, n_clusters - len(rows), seed, rows)
    candidates = problem.source.take(rows)
    mass = None if len(rows) == n_clusters else _mass_of(problem, len(rows))
    problem.source.forget("closest", "seeds")
    if mass is None:
        return candidates
    small = problem.over(candidates, mass, n_clusters)
    return small.source.take(plusplus(small, n_clusters, mix(seed, Purpose.OVERSAMPLE)))


def _rounds(problem: Training, wanted: float, seed: int) -> list[int]:
    """A first row, and those taken in all rounds."""
    rows = weighted_rows(problem, [(seed, Purpose.SEEDING, 0, 0)])
    closest = Closest(problem, problem.source.blocks)
    closest.begin(rows[0])
    for step in range(PARALLEL_ROUNDS):
        if closest.lottery.total == 0:
            break
        taken = _oversample(problem, closest, wanted, seed, step)
        if taken:
            closest.take_many(problem.source.take(taken))
            rows += taken
    return rows


def _oversample(
    problem: Training, closest: Closest, wanted: float, seed: int, step: int
) -> list[int]:
    """Rows of one round, each taken or not by its own key."""
    xp = problem.context.xp
    lottery = closest.lottery
    share = wanted / lottery.total

    def task(block: Block) -> list[int]:
        key = (seed, Purpose.OVERSAMPLE, step)
        uniform = row_uniform(block.start, block.n_rows, problem.source.sample, *key, xp=xp)
        taken = uniform < lottery.whole(closest.mass(block, slice(0, block.n_rows))) * share
        count = int(xp.count_nonzero(taken))
        rows, _ = problem.kernel.compress(taken, count)
        return [block.start + int(row) for row in to_host(rows)[:count]] if count else []

    return [row for rows in problem.source.map(task) for row in rows]


def _mass_of(problem: Training, count: int) -> Array:
    """Weight of the rows nearest to each candidate (float64)."""

    def task(block: Block, sums: exact.Accumulator) -> None:
        columns = problem.ledger.weight_columns(block.x, block.weight)
        sums.add(problem.kernel.group_sums(columns, block.state["seeds"], count), block.n_rows)

    _, totals = problem.source.add_up(task, problem.ledger.words)
    return problem.ledger.masses(totals)
