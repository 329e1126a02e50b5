"""Sample weights: whole ones are repetitions, ones change nothing, zeros take part in nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
from cases import CASES, D, N
from conftest import Backend, make_backend
from engine import first_centers, problem_of

from kmeans_xp import KMeans

STARTS = ("k-means++", "random", "random-partition", "k-means||")


def _same(backend: Backend, one: Any, two: Any) -> None:
    assert (
        backend.host(one.cluster_centers_).tobytes() == backend.host(two.cluster_centers_).tobytes()
    )
    assert (one.inertia_, one.n_iter_) == (two.inertia_, two.n_iter_)


@pytest.mark.parametrize("case", ["blobs", "shifted32", "lattice"])
def test_whole_weights_are_repeated_rows(xp: Backend, case: str) -> None:
    x, start = CASES[case]()
    weight = np.random.default_rng(1).integers(1, 5, size=N)
    options = {"n_clusters": 5, "init": xp.array(start), "n_init": 1, "tol": 0, "max_iter": 12}
    one = KMeans(**options).fit(xp.array(x), sample_weight=xp.array(weight, np.float64))
    two = KMeans(**options).fit(xp.array(np.repeat(x, weight, axis=0)))
    np.testing.assert_array_equal(np.repeat(xp.host(one.labels_), weight), xp.host(two.labels_))
    np.testing.assert_allclose(
        xp.host(one.cluster_centers_), xp.host(two.cluster_centers_), rtol=1e-12
    )
    assert one.inertia_ == pytest.approx(two.inertia_, rel=1e-12)
    assert one.n_iter_ == two.n_iter_


@pytest.mark.parametrize("tol", [0, 1e-2])
@pytest.mark.parametrize("outlier", [0.5, 1e3, 1e30])
def test_rows_of_weight_zero_change_nothing(xp: Backend, outlier: float, tol: float) -> None:
    x, start = CASES["blobs"]()
    random = np.random.default_rng(2)
    weight = random.exponential(size=N)
    extra = outlier * random.normal(size=(20, D))
    at = np.sort(random.integers(0, N, size=20))
    more, heavier = np.insert(x, at, extra, axis=0), np.insert(weight, at, 0.0)
    options = {"n_clusters": 5, "init": xp.array(start), "n_init": 1, "tol": tol}
    one = KMeans(**options).fit(xp.array(x), sample_weight=xp.array(weight))
    two = KMeans(**options).fit(xp.array(more), sample_weight=xp.array(heavier))
    _same(xp, one, two)
    labels, centers = xp.host(two.labels_), xp.host(two.cluster_centers_)
    np.testing.assert_array_equal(labels[heavier > 0], xp.host(one.labels_))
    assert labels.tolist() == oracle.labels(more, centers)


def test_rows_of_weight_zero_keep_no_loop_going() -> None:
    """So many of them that some change cluster after the last row that counts has settled."""
    random = np.random.default_rng(3)
    x, start = CASES["blobs"]()
    more = np.concatenate([x, random.uniform(-8, 8, size=(60_000, D))])
    weight = np.append(np.ones(N), np.zeros(60_000))
    options = {"n_clusters": 5, "init": start, "n_init": 1, "tol": 0}
    one = KMeans(**options).fit(x, sample_weight=np.ones(N))
    two = KMeans(**options).fit(more, sample_weight=weight)
    changes = [[record.changed for record in model.history_] for model in (one, two)]
    assert changes[0] == changes[1]
    assert one.cluster_centers_.tobytes() == two.cluster_centers_.tobytes()
    assert two.labels_.tobytes() == two.predict(more).tobytes()


@pytest.mark.parametrize("outlier", [1e100, 1e200, 1e300])
def test_even_an_absurd_row_of_weight_zero_changes_nothing(outlier: float) -> None:
    x, start = CASES["blobs"]()
    more, weight = np.concatenate([x, np.full((1, D), outlier)]), np.append(np.ones(N), 0.0)
    options = {"n_clusters": 5, "init": start, "n_init": 1}
    one = KMeans(**options).fit(x, sample_weight=np.ones(N))
    two = KMeans(**options).fit(more, sample_weight=weight)
    assert one.cluster_centers_.tobytes() == two.cluster_centers_.tobytes()
    assert (one.inertia_, one.n_iter_) == (two.inertia_, two.n_iter_)


@pytest.mark.parametrize("rule", ["farthest", "random"])
def test_rows_of_weight_zero_take_over_no_empty_cluster(rule: str) -> None:
    x, start = CASES["blobs"]()
    # the third one has rows, but none that counts; the others have none at all
    start = np.concatenate([start[:2], [[50.0] * D, [-900.0] * D, [901.0] * D]])
    x = np.concatenate([x, 50.0 * np.sign(x[:690]), np.full((10, D), 50.0)])
    weight = np.append(np.ones(N), np.zeros(700))
    options = {"n_clusters": 5, "init": start, "n_init": 1, "tol": 0, "empty_cluster": rule}
    one = KMeans(**options, random_state=0).fit(x, sample_weight=weight)
    assert np.abs(one.cluster_centers_).max() < 20
    first = KMeans(**options, random_state=0, max_iter=1).fit(x, sample_weight=weight)
    assert np.abs(first.cluster_centers_).max() < 20
    # each cluster has rows of its own that count
    assert set(one.labels_[:N].tolist()) == set(range(5))


@pytest.mark.parametrize("init", STARTS)
def test_ones_are_no_weights(xp: Backend, init: str) -> None:
    x, _ = CASES["blobs32"]()
    options = {"n_clusters": 5, "init": init, "n_init": 2, "random_state": 3}
    one = KMeans(**options).fit(xp.array(x))
    two = KMeans(**options).fit(xp.array(x), sample_weight=xp.array(np.ones(N)))
    _same(xp, one, two)
    assert xp.host(one.labels_).tobytes() == xp.host(two.labels_).tobytes()


@pytest.mark.parametrize("init", STARTS)
def test_rows_of_weight_zero_are_never_picked(init: str) -> None:
    random = np.random.default_rng(5)
    x = random.normal(size=(200, 2)) + 1000
    weight = np.zeros(200)
    chosen = random.choice(200, 8, replace=False)
    x[chosen] -= 1000
    weight[chosen] = random.exponential(size=8)
    numpy = make_backend("numpy")
    problem = problem_of(numpy, x, weight, k=6)
    for seed in range(30):
        centers = first_centers(problem, init, 6, seed)
        if init == "random-partition":
            assert np.abs(centers).max() < 10
        else:
            assert set(centers[:, 0]) <= set(x[chosen, 0])
            assert len(np.unique(centers, axis=0)) == 6


@pytest.mark.parametrize("factor", [2.0**-30, 2.0**40, 2.0**-500])
def test_a_common_power_of_two_in_the_weights_changes_no_center(factor: float) -> None:
    x, _ = CASES["blobs"]()
    weight = np.random.default_rng(6).exponential(size=N)
    one = KMeans(5, random_state=0).fit(x, sample_weight=weight)
    two = KMeans(5, random_state=0).fit(x, sample_weight=weight * factor)
    assert one.cluster_centers_.tobytes() == two.cluster_centers_.tobytes()
    assert one.labels_.tobytes() == two.labels_.tobytes()
    assert one.inertia_ * factor == two.inertia_


@pytest.mark.filterwarnings("ignore::kmeans_xp.exceptions.DataWarning")  # light rows hardly count
def test_a_cluster_of_very_light_rows_still_has_its_mean() -> None:
    x = np.asarray([[0.0, 0.0], [0.0, 1.0], [10.0, 10.0], [10.0, 11.0]])
    for light in (1e-3, 1e-12, 1e-30):
        weight = np.asarray([1.0, 1.0, light, light])
        model = KMeans(2, init=x[[0, 2]], n_init=1).fit(x, sample_weight=weight)
        np.testing.assert_allclose(model.cluster_centers_, [[0, 0.5], [10, 10.5]], rtol=1e-12)
        assert model.labels_.tolist() == [0, 0, 1, 1]
