"""Rule 4, draws: keyed by row and seed, in exact proportion, whatever holds the rows."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from conftest import Backend, make_backend
from engine import opened, problem_of
from scipy.stats import chisquare

from kmeans_xp import KMeans
from kmeans_xp._draws import distinct_rows, gaining_rows, weighted_rows
from kmeans_xp._init import random_partition, seed_centers
from kmeans_xp._lottery import Lottery
from kmeans_xp._passes import relabel
from kmeans_xp._plusplus import plusplus
from kmeans_xp._random import Purpose, below, mix, row_bits, row_uniform

STARTS = ("k-means++", "random", "random-partition", "k-means||")
WEIGHT = np.asarray([3.0, 0.0, 1.0, 0.5, 0.0, 2.0])
POINTS = np.asarray([[0.0], [50.0], [1.0], [4.0], [60.0], [-3.0]])


def _fits(observed: dict[Any, int], expected: dict[Any, float]) -> None:
    """Chi-square against exact probabilities; what has none must not occur."""
    assert set(observed) <= {key for key, share in expected.items() if share > 0}
    total = sum(observed.values())
    rare = [key for key, share in expected.items() if share * total < 5]
    left = {key: share for key, share in expected.items() if key not in rare}
    counts = [observed.get(key, 0) for key in left]
    if rare:
        left["rare"] = sum(expected[key] for key in rare)
        counts.append(sum(observed.get(key, 0) for key in rare))
    keys = [key for key, share in left.items() if share > 0]
    counts = [count for count, share in zip(counts, left.values(), strict=True) if share > 0]
    found = chisquare(counts, [total * left[key] for key in keys])
    assert found.pvalue > 1e-3


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_rows_are_drawn_by_weight(weighted: bool) -> None:
    weight = WEIGHT if weighted else None
    problem = problem_of(make_backend("numpy"), POINTS, weight, k=2, first="exact", block_rows=4)
    drawn = weighted_rows(problem, [(7, Purpose.SEEDING, i) for i in range(4000)])
    share = (WEIGHT if weighted else np.ones(6)) / (WEIGHT.sum() if weighted else 6)
    _fits(Counter(drawn), dict(enumerate(share.tolist())))


@pytest.mark.parametrize("block_rows", [1, 2, 4, 6])
def test_each_ticket_belongs_to_one_row(block_rows: int) -> None:
    """The first and last ticket of every row, and none for rows of weight zero."""
    numpy = make_backend("numpy")
    plan = {"first": "exact", "block_rows": block_rows}
    problem = problem_of(numpy, POINTS[::-1], WEIGHT[::-1], k=2, **plan)
    lottery = Lottery(problem, lambda block, rows: block.weight[rows], 0.75)  # the weights over 4
    assert lottery.total == int(6.5 * 2**38)
    begin, tickets, owners = 0, [], []
    for row, weight in enumerate(WEIGHT[::-1]):
        end = begin + int(weight * 2**38)
        if weight:
            tickets += [begin, end - 1]
            owners += [row, row]
        begin = end
    assert lottery._tickets.locate(tickets) == owners
    problem = problem_of(numpy, POINTS[[1, 0]], WEIGHT[[1, 0]], k=1, **plan)
    lottery = Lottery(problem, lambda block, rows: block.weight[rows], 0.75)
    assert lottery._tickets.locate([0]) == [1]


def test_tickets_are_found_in_any_order_and_company() -> None:
    """Pieces of seven rows, the last of each block shorter; the last rows carry most."""
    weight = np.arange(50.0) % 6
    numpy, x = make_backend("numpy"), np.arange(50.0)[:, None]
    problem = problem_of(numpy, x, weight, k=1, first="exact", block_rows=23)
    assert problem.source.piece_rows == 7
    lottery = Lottery(problem, lambda block, rows: block.weight[rows], 5.0 / 8)
    owners = np.repeat(np.arange(50), weight.astype(int))
    order = np.random.default_rng(0).permutation(len(owners))
    # the weights over 8, quantised to 40 bits of 1
    tickets = [int(at) * 2**37 for at in order]
    for step in (1, 4, len(tickets)):
        for start in range(0, len(tickets), step):
            found = lottery._tickets.locate(tickets[start : start + step])
            assert found == owners[order[start : start + step]].tolist()


def test_the_total_of_the_tickets_is_a_sum_of_whole_numbers(xp: Backend) -> None:
    if xp.id == "jax":
        pytest.skip("JAX compiles other shapes slowly: its starts are compared elsewhere")
    weight = np.random.default_rng(1).exponential(size=100)
    unit = 2.0 ** (40 - int(np.ceil(np.log2(weight.max()))))
    with opened(xp):
        plan = {"first": "exact", "block_rows": 64}
        problem = problem_of(xp, weight[:, None], weight, k=2, **plan)
        lottery = Lottery(
            problem, lambda block, rows: block.weight[rows], weight.max() * unit / 2.0**40
        )
    assert lottery.total == sum(round(value * unit) for value in weight.tolist())


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_rows_off_their_centers_are_drawn_by_weight(weighted: bool) -> None:
    """Never the rows on a center, here the first and the second, nor one without weight."""
    weight = WEIGHT if weighted else None
    problem = problem_of(make_backend("numpy"), POINTS, weight, k=2, first="exact", block_rows=4)
    nearest = problem.nearest_to(POINTS[:2])
    relabel(problem, nearest)
    drawn = gaining_rows(problem, nearest, [(7, Purpose.EMPTY, i) for i in range(4000)])
    share = np.where([0, 0, 1, 1, 1, 1], WEIGHT if weighted else 1.0, 0.0)
    _fits(Counter(drawn), dict(enumerate((share / share.sum()).tolist())))
    nearest = problem.nearest_to(POINTS)
    relabel(problem, nearest)
    assert gaining_rows(problem, nearest, [(7, Purpose.EMPTY, 0)]) == []


@pytest.mark.parametrize("light", [1e-300, 1e-306, 1e-310, 5e-324])
@pytest.mark.parametrize("init", ["random", "k-means++", "k-means||"])
def test_rows_of_any_weight_can_start_a_cluster(init: str, light: float) -> None:
    weight = np.asarray([1.0, light, 0.0, light, light, 0.0])
    problem = problem_of(make_backend("numpy"), POINTS, weight, k=4)
    for seed in range(5):
        centers = seed_centers(problem, init, 4, seed)
        assert sorted(centers[:, 0].tolist()) == [0.0, 4.0, 50.0, 60.0]


def test_distinct_rows_are_drawn_one_after_the_other() -> None:
    problem = problem_of(make_backend("numpy"), POINTS, WEIGHT, k=2, first="exact", block_rows=4)
    found = Counter(tuple(distinct_rows(problem, 2, seed)) for seed in range(3000))
    total = WEIGHT.sum()
    expected = {
        (i, j): WEIGHT[i] / total * WEIGHT[j] / (total - WEIGHT[i])
        for i, j in itertools.permutations(range(6), 2)
    }
    _fits(found, expected)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_plusplus_draws_by_weighted_squared_distance(weighted: bool) -> None:
    """With one trial a step, the pairs of first centers have these exact probabilities."""
    weight = WEIGHT if weighted else np.ones(6)
    given = weight if weighted else None
    problem = problem_of(make_backend("numpy"), POINTS, given, k=2, first="exact", block_rows=4)
    found = Counter(tuple(plusplus(problem, 2, mix(seed), trials=1)) for seed in range(3000))
    expected = {}
    for i in range(6):
        potential = weight * ((POINTS - POINTS[i]) ** 2)[:, 0]
        for j in range(6):
            expected[i, j] = weight[i] / weight.sum() * potential[j] / potential.sum()
    _fits(found, expected)


def test_greedy_plusplus_takes_the_best_of_its_trials() -> None:
    numpy = make_backend("numpy")
    x = np.random.default_rng(3).normal(size=(500, 2))
    problem = problem_of(numpy, x, k=8)

    def left(trials: int, seed: int) -> float:
        rows = plusplus(problem, 8, seed, trials=trials)
        return float(((x[:, None] - x[rows]) ** 2).sum(axis=2).min(axis=1).sum())

    gains = [left(1, seed) - left(4, seed) for seed in range(30)]
    assert np.mean(gains) > 0
    assert sum(gain > 0 for gain in gains) > 20


def test_screened_trials_choose_as_all_distances_do() -> None:
    numpy = make_backend("numpy")
    for seed, shift in itertools.product(range(4), (0.0, 1e4)):
        random = np.random.default_rng(seed)
        x = (random.normal(size=(9000, 8)) * 3 + shift).astype(np.float32)
        weight = random.integers(0, 3, size=9000).astype(float)
        chosen = [
            plusplus(problem_of(numpy, x, weight, k=6, first=first), 6, seed)
            for first in ("exact", "float32", "float64")
        ]
        assert chosen[0] == chosen[1] == chosen[2]


@pytest.mark.parametrize("init", STARTS)
def test_whole_numbers_and_lists_are_clustered_as_float64(init: str) -> None:
    x = np.random.default_rng(4).integers(-128, 128, size=(120, 3))
    options = {"n_clusters": 6, "init": init, "n_init": 1, "random_state": 1}
    wanted = KMeans(**options).fit(x.astype(np.float64))
    for rows in (x.astype(np.int8), x.tolist(), x.astype(np.float16), x.astype(">i4")):
        found = KMeans(**options).fit(rows)
        assert found.cluster_centers_.dtype == np.float64
        assert found.cluster_centers_.tobytes() == wanted.cluster_centers_.tobytes()
        assert found.labels_.tobytes() == wanted.labels_.tobytes()
        assert found.inertia_ == wanted.inertia_


def test_int8_on_every_library(xp: Backend) -> None:
    x = np.random.default_rng(4).integers(-128, 128, size=(120, 3))
    model = KMeans(4, random_state=1).fit(xp.array(x, np.int8))
    wanted = KMeans(4, random_state=1).fit(x.astype(np.float64))
    assert xp.host(model.cluster_centers_).tobytes() == wanted.cluster_centers_.tobytes()


def test_random_bits_are_those_of_splitmix(xp: Backend) -> None:
    """Array words against the same mixing in Python's unbounded integers."""
    word = (1 << 64) - 1

    def mixed(bits: int) -> int:
        bits = (bits + 0x9E3779B97F4A7C15) & word
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & word
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & word
        return (bits ^ (bits >> 31)) & ((1 << 63) - 1)

    key = (12345678901234567, Purpose.PARTITION)
    with opened(xp) as context:
        found = row_bits(5, 40, xp.array(np.zeros(1)), *key, xp=context.xp)
        uniform = row_uniform(5, 40, xp.array(np.zeros(1)), *key, xp=context.xp)
        bits = [mixed(row ^ mix(*key)) for row in range(5, 45)]
        assert xp.host(found).tolist() == bits
        assert xp.host(uniform).tolist() == [(value >> 10) / 2**53 for value in bits]


def test_keys_of_other_rows_seeds_and_purposes_share_nothing() -> None:
    numpy = make_backend("numpy")
    like = np.zeros(1)
    with opened(numpy) as context:
        one = row_uniform(0, 4000, like, 1, Purpose.PARTITION, xp=context.xp)
        part = row_uniform(1000, 50, like, 1, Purpose.PARTITION, xp=context.xp)
        np.testing.assert_array_equal(one[1000:1050], part)
        for key in ((2, Purpose.PARTITION), (1, Purpose.OVERSAMPLE)):
            other = row_uniform(0, 4000, like, *key, xp=context.xp)
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.06
    assert chisquare(np.histogram(one, bins=20, range=(0, 1))[0]).pvalue > 1e-3
    draws = Counter(below(10, 3, i) for i in range(4000))
    assert chisquare([draws[i] for i in range(10)]).pvalue > 1e-3


def test_a_random_partition_gives_every_cluster_its_share() -> None:
    numpy = make_backend("numpy")
    x = np.random.default_rng(6).normal(size=(4000, 2))
    problem = problem_of(numpy, x, k=5)
    centers = random_partition(problem, 5, 9)
    # the means of 800 random rows each: near the mean of all, and not the same
    np.testing.assert_allclose(centers, np.tile(x.mean(axis=0), (5, 1)), atol=0.2)
    assert len(np.unique(centers, axis=0)) == 5


@pytest.mark.parametrize("init", ["random", "k-means++", "k-means||"])
def test_starts_are_different_rows_of_the_data(init: str) -> None:
    x = np.random.default_rng(7).normal(size=(300, 2))
    problem = problem_of(make_backend("numpy"), x, k=20)
    rows = {tuple(row) for row in x.tolist()}
    starts = set()
    for seed in range(10):
        centers = [tuple(row) for row in seed_centers(problem, init, 20, seed).tolist()]
        assert len(set(centers)) == 20
        assert set(centers) <= rows
        starts.add(tuple(centers))
    assert len(starts) == 10


@pytest.mark.parametrize("init", ["k-means++", "k-means||"])
@pytest.mark.parametrize("gap", [1e-150, 1e-155, 1e-160])
def test_rows_whose_squared_distance_underflows_can_be_drawn(init: str, gap: float) -> None:
    x = np.asarray([[0.0], [0.0], [gap], [1.0]])
    problem = problem_of(make_backend("numpy"), x, k=3)
    for seed in range(5):
        centers = seed_centers(problem, init, 3, seed)
        assert set(centers[:, 0].tolist()) <= {0.0, gap, 1.0}
