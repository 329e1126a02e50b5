"""Finite data at the ends of the number range: answers, not overflows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from engine import problem_of
from scipy.spatial.distance import cdist

from kmeans_xp import KMeans

RANDOM = np.random.default_rng(0)
BLOBS = np.concatenate([RANDOM.normal(size=(50, 2)) + c for c in ((0, 0), (8, 0), (0, 8))])


@pytest.mark.parametrize("weight", [1e308, 1e307, 1e-305, 1e-310])
def test_equal_weights_of_any_size_give_the_same_clusters(weight: float) -> None:
    plain = KMeans(3, random_state=0).fit(BLOBS)
    model = KMeans(3, random_state=0).fit(BLOBS, sample_weight=np.full(150, weight))
    assert model.labels_.tolist() == plain.labels_.tolist()
    np.testing.assert_allclose(model.cluster_centers_, plain.cluster_centers_, rtol=1e-12)


@pytest.mark.parametrize("value", [1e-315, 1e-200, 1e170, 1e300])
def test_one_row_at_an_end_of_the_range(value: float) -> None:
    x = np.vstack([BLOBS, [[value, value]]])
    start = np.vstack([BLOBS[[0, 50, 100]], [[value, value]]])
    model = KMeans(4, init=start, n_init=1).fit(x)
    assert model.predict(x).tolist() == model.labels_.tolist()
    if value > 1:
        assert np.bincount(model.labels_).tolist() == [50, 50, 50, 1]
        inner = KMeans(3, init=start[:3], n_init=1).fit(BLOBS)
        assert model.cluster_centers_[:3].tobytes() == inner.cluster_centers_.tobytes()


@pytest.mark.parametrize("weight", [(1.0, 2.0), (0.75, 0.25), (1e-300, 3e-300), (1e300, 1e308)])
def test_weighted_means_at_the_end_of_the_range_are_numbers(weight: tuple[float, float]) -> None:
    x = np.asarray([[1.7e308, 1.0], [-1.6e308, 3.0], [1.75e308, 1.0]])
    model = KMeans(2, n_init=1, random_state=0).fit(x, sample_weight=[*weight, weight[0]])
    expected = sorted([(-1.6e308, 3.0), (1.725e308, 1.0)])
    np.testing.assert_allclose(sorted(model.cluster_centers_.tolist()), expected, rtol=1e-15)


def test_small_steps_beside_a_huge_row_are_seen() -> None:
    x = np.asarray([[1.0], [2.0], [1e300], [3.0]])
    model = KMeans(3, init=x[[0, 2, 3]], n_init=1, tol=0).fit(x)
    assert model.labels_.tolist() == [0, 0, 1, 2]
    assert model.cluster_centers_.tolist() == [[1.5], [1e300], [3.0]]
    assert model.inertia_ == 0.5


def test_a_start_far_outside_the_rows_comes_back_to_them() -> None:
    model = KMeans(2, init=np.asarray([[1e170] * 2, [-1e170] * 2]), n_init=1).fit(BLOBS)
    assert model.status_.startswith("converged")
    assert np.abs(model.cluster_centers_).max() < 10
    assert model.predict(BLOBS).tolist() == model.labels_.tolist()


def test_the_grid_does_not_depend_on_which_thread_was_first() -> None:
    """A few rows need a finer grid than all others, in one block of many."""
    x = np.round(np.random.default_rng(1).normal(size=(60_000, 4)) * 8) / 8
    x[20_000:20_003] = 2.0**-70
    limbs = set()
    for threads in (1, 2, 3):
        for _ in range(5):
            problem = problem_of(
                make_backend("numpy"), x, k=4, first="float64", block_rows=1000, threads=threads
            )
            limbs.add(problem.summary.grid.limbs)
    assert limbs == {2}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_transform_is_accurate_where_products_cancel(dtype: str) -> None:
    random = np.random.default_rng(2)
    sides = np.where(random.random(500) < 0.5, 300.0, -300.0)
    x = (random.normal(size=(500, 64)) + sides[:, None]).astype(dtype)
    model = KMeans(5, n_init=1, random_state=0).fit(x)
    wanted = cdist(x.astype(float), model.cluster_centers_.astype(float))
    np.testing.assert_allclose(model.transform(x), wanted, rtol=64 * np.finfo(dtype).eps)


def _where_scores_overflow() -> dict[str, tuple[Any, Any, int]]:
    """Centers, a row, and the nearest center: the lowest where all distances overflow."""
    # squares of such centers are lifted to the end of the range, and those of the row go beyond it
    end = math.sqrt(np.finfo(np.float64).max)
    step = 2.0**-257
    far = end * (1.0 - 2.0**-50) * 2.0**-738
    wide = end * 2.0**-737
    return {
        "all overflow": (np.array([[-step], [-step / 2]]), np.array([[far]]), 0),
        "one score does": (
            np.array([[wide, 0.0], [wide * (1.0 + 2.0**-39), step]]),
            np.array([[wide / 2, wide / 9]]),
            1,
        ),
    }


@pytest.mark.parametrize("case", _where_scores_overflow().values(), ids=_where_scores_overflow())
@pytest.mark.parametrize("n", [1, 20_000])
@pytest.mark.filterwarnings("ignore::kmeans_xp.exceptions.DataWarning")
def test_a_score_that_overflows_does_not_lose(case: tuple[Any, Any, int], n: int) -> None:
    centers, row, wanted = case
    model = KMeans(2, init=centers, n_init=1, max_iter=1).fit(centers)
    assert model.cluster_centers_.tolist() == centers.tolist()
    # few rows are judged by canonical distances, many by scores first
    assert set(model.predict(np.repeat(row, n, axis=0)).tolist()) == {wanted}
