"""Summed distances to clusters, each pair of rows taken once: plain loops as the judge."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from kmeans_xp._distances import Scale
from kmeans_xp._kernels import _numpy_pairs
from kmeans_xp._kernels._numpy_pairs import distance_sums


def plain(x, edges):
    rows = np.asarray(x, np.float64).tolist()
    spans = list(itertools.pairwise(edges))
    return np.array(
        [
            [math.fsum(math.dist(row, other) for other in rows[a:b]) for a, b in spans]
            for row in rows
        ]
    )


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(_numpy_pairs, "_HEIGHT", 8)
    monkeypatch.setattr(_numpy_pairs, "_WIDTH", 20)
    monkeypatch.setattr(_numpy_pairs, "_FEW", 3)


EDGES = {
    "one cluster a part and more": [0, 20, 45, 46, 97],
    "many in a part": [*range(0, 60, 2), 61, 97],
    "single rows": list(range(98)),
    "two": [0, 96, 97],
}


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("edges", EDGES.values(), ids=EDGES)
@pytest.mark.parametrize(("d", "dtype"), [(1, np.float64), (3, np.float32), (20, np.float64)])
def test_sums_are_those_of_plain_loops(edges, d, dtype):
    x = np.random.default_rng(d).normal(size=(97, d)).astype(dtype)
    found = distance_sums(x, edges, Scale(), 2)
    np.testing.assert_allclose(found, plain(x, edges), rtol=1e-13)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("gap", [0.0, 1e7])
def test_near_and_repeated_rows_lose_nothing(gap):
    # all pairs of a group cancel in a product about any point between the groups
    rng = np.random.default_rng(1)
    x = rng.integers(0, 3, size=(50, 2)) * 2.0**-20
    x[::2] += gap
    edges = [0, 7, 30, 50]
    np.testing.assert_allclose(distance_sums(x, edges, Scale(), 1), plain(x, edges), rtol=1e-12)
    assert not distance_sums(np.full((50, 2), 0.1), edges, Scale(), 1).any()


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("exponent", [-700, 1018])
def test_units(exponent):
    x = np.random.default_rng(2).uniform(-1.0, 1.0, size=(41, 3))
    edges = [0, 13, 41]
    unit = math.ldexp(1.0, exponent)
    scale = Scale.of_range(unit, unit)
    found = distance_sums(x * unit, edges, scale, 1)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(
        found / (unit * scale.before * scale.after), plain(x, edges), rtol=1e-13
    )


@pytest.mark.usefixtures("small_tiles")
def test_the_number_of_threads_changes_no_bit():
    x = np.random.default_rng(3).normal(size=(301, 4))
    edges = [0, 30, 31, 200, 301]
    wanted = distance_sums(x, edges, Scale(), 1)
    for threads in (2, 3, 7):
        assert np.array_equal(distance_sums(x, edges, Scale(), threads), wanted)


def test_tiles_as_they_are():
    x = np.random.default_rng(4).normal(size=(1100, 2))
    edges = [0, 256, 512, 700, 1100]
    found = distance_sums(x, edges, Scale(), 2)
    apart = np.sqrt(((x[:, None, :] - x) ** 2).sum(axis=2))
    wanted = np.add.reduceat(apart, edges[:-1], axis=1)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
