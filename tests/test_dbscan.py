"""DBSCAN: scikit-learn's labels outright, ties at eps by exact arithmetic, the same everywhere."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import array_api_compat
import numpy as np
import pytest
from conftest import Backend, make_backend
from engine import opened
from scipy.spatial.distance import cdist
from sklearn.cluster import DBSCAN as Theirs
from sklearn.datasets import make_blobs, make_moons

from kmeans_xp import DBSCAN
from kmeans_xp._backend import numpy_context
from kmeans_xp._distances import squared_distances
from kmeans_xp.exceptions import DeviceMemoryError
from kmeans_xp.relatives import _leaves, _neighbours
from kmeans_xp.relatives._density import clusters
from kmeans_xp.relatives._neighbours import neighbourhood
from kmeans_xp.relatives._pairs import Measure

MANY = 1 << 30


def shuffled(x: Any, seed: int = 0) -> Any:
    return np.random.default_rng(seed).permutation(x)


def spiral() -> Any:
    turn = np.linspace(1, 60, 2500)[:, None]
    return shuffled(np.hstack([turn * np.cos(turn), turn * np.sin(turn)]))


def chain(n: int) -> Any:
    return shuffled(np.stack([np.arange(float(n)), np.zeros(n)], axis=1))


def some_rows(n: int, d: int, high: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, high, size=(n, d)).astype(float)


def blobs(n: int = 600, d: int = 2, **options: Any) -> Any:
    return make_blobs(n, d, centers=6, random_state=3, **options)[0]


CASES: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "blobs": (blobs, {"eps": 0.5}),
    "few cores": (blobs, {"eps": 0.25, "min_samples": 8}),
    "moons": (lambda: make_moons(700, noise=0.06, random_state=0)[0], {"eps": 0.12}),
    "20 features": (lambda: blobs(d=20), {"eps": 5.6}),
    "20 features in float32": (lambda: blobs(d=20).astype(np.float32), {"eps": 5.6}),
    "blobs far away": (lambda: blobs(d=8) + 1e7, {"eps": 2.5}),
    "repeated rows": (lambda: np.repeat(blobs(80), 9, axis=0), {"eps": 0.4, "min_samples": 9}),
    "equal rows": (lambda: np.ones((200, 2)), {"min_samples": 200}),
    "equal rows, too few": (lambda: np.ones((200, 2)), {"min_samples": 201}),
    "one row": (lambda: np.zeros((1, 3)), {"min_samples": 1}),
    "one row of noise": (lambda: np.zeros((1, 3)), {"min_samples": 2}),
    "all noise": (lambda: some_rows(300, 2, 100_000), {"min_samples": 2}),
    "one cluster": (lambda: some_rows(300, 3, 9), {"eps": 50.0}),
    "eps squared overflows": (lambda: some_rows(300, 3, 9), {"eps": 1e200}),
    "chain": (lambda: chain(2000), {"eps": 1, "min_samples": 3}),
    "spiral": (spiral, {"eps": 1.5, "min_samples": 3}),
    "whole numbers": (lambda: some_rows(400, 2, 25), {"eps": 1, "min_samples": 4}),
    "whole numbers, two away": (lambda: some_rows(400, 2, 40), {"eps": 2, "min_samples": 5}),
    "whole numbers, 8 features": (lambda: some_rows(400, 8, 4), {"eps": 2, "min_samples": 3}),
    "manhattan": (lambda: some_rows(400, 3, 9), {"eps": 2, "metric": "manhattan"}),
    "cityblock": (lambda: blobs(d=3), {"eps": 0.9, "metric": "cityblock"}),
    "chebyshev": (lambda: some_rows(400, 3, 14), {"eps": 1, "metric": "chebyshev"}),
    "cosine": (lambda: blobs(d=4), {"eps": 0.002, "metric": "cosine"}),
    "sqeuclidean": (lambda: some_rows(400, 2, 25), {"eps": 2, "metric": "sqeuclidean"}),
    "l2": (blobs, {"eps": 0.4, "metric": "l2"}),
}


def assert_equal(ours: Any, theirs: Any) -> None:
    assert ours.labels_.tolist() == theirs.labels_.tolist()
    assert ours.core_sample_indices_.tolist() == theirs.core_sample_indices_.tolist()
    assert ours.components_.tobytes() == theirs.components_.tobytes()
    assert ours.components_.shape == theirs.components_.shape
    assert ours.n_features_in_ == theirs.n_features_in_


@pytest.mark.parametrize("case", CASES)
def test_labels_are_those_of_scikit_learn(case: str) -> None:
    make, options = CASES[case]
    x = make()
    ours = DBSCAN(**options).fit(x)
    assert_equal(ours, Theirs(**options).fit(x))
    assert ours.labels_.dtype == np.int32
    assert ours.fit_predict(x).tolist() == ours.labels_.tolist()


def test_labels_are_those_of_scikit_learn_on_real_sets(battery: Any) -> None:
    x = battery("s1")[0][::2]
    for eps in (15_000, 30_000, 45_000):
        assert_equal(DBSCAN(eps, min_samples=8).fit(x), Theirs(eps=eps, min_samples=8).fit(x))


@pytest.mark.parametrize("case", ["blobs", "whole numbers", "20 features", "one cluster"])
def test_weights_are_those_of_scikit_learn(case: str) -> None:
    make, options = CASES[case]
    x, generator = make(), np.random.default_rng(1)
    for low, high in ((0, 3), (-3, 5), (-1, 3), (5, 6)):
        weight = generator.integers(low, high, size=len(x)).astype(float)
        theirs = Theirs(**options).fit(x, sample_weight=weight)
        assert_equal(DBSCAN(**options).fit(x, sample_weight=weight), theirs)


def expanded(near: Any, core: Any) -> list[int]:
    """The paper's loop: each cluster is expanded from its first core row until nothing is left."""
    labels, clusters = [-1] * len(near), 0
    for first in range(len(near)):
        if labels[first] != -1 or not core[first]:
            continue
        waiting = [first]
        while waiting:
            row = waiting.pop()
            if labels[row] == -1:
                labels[row] = clusters
                waiting += np.flatnonzero(near[row]).tolist() if core[row] else []
        clusters += 1
    return labels


@pytest.mark.parametrize(
    ("features", "high", "eps"),
    [
        (1, 80, 1),
        (2, 18, 1),
        (2, 18, 2.5),
        (2, 25, 5),
        (3, 9, 3),
        (8, 3, 2),
        (12, 3, 3),
        (9, 4, 2.5),
    ],
)
@pytest.mark.parametrize("kind", ["float64", "float32", "far", "tiny", "huge"])
def test_ties_on_grids_are_decided_by_exact_arithmetic(
    features: int, high: int, eps: float, kind: str
) -> None:
    """Neighbours at a distance of just eps are neighbours; Python's whole numbers decide here."""
    whole = some_rows(150, features, high, seed=features).astype(int)
    squares = ((whole[:, None, :] - whole[None, :, :]) ** 2).sum(axis=2)
    near = squares <= Fraction(eps) ** 2
    assert (squares == Fraction(eps) ** 2).any() or eps == 2.5
    core = near.sum(axis=1) >= 4
    x: Any = whole.astype(np.float32 if kind == "float32" else np.float64)
    power = {"tiny": 2.0**-700, "huge": 2.0**800}.get(kind, 1.0)
    x = x * power + (2.0**40 if kind == "far" else 0.0)
    model = DBSCAN(eps * power, min_samples=4).fit(x)
    assert model.core_sample_indices_.tolist() == np.flatnonzero(core).tolist()
    assert model.labels_.tolist() == expanded(near, core)


def test_sums_of_weights_are_exact() -> None:
    """Twenty tenths are two as float64 adds them up, and more than two truly."""
    generator = np.random.default_rng(4)
    x = some_rows(500, 2, 12)
    near = (
        squared_distances(
            x[:, None, :],
            x[None, :, :],
            Measure.over("sqeuclidean", [x], numpy_context(), who="a test").scale,
            xp=np,
        )
        <= 4.0
    )
    kinds = {
        "tenths": np.full(500, 0.1),
        "tenths of both signs": generator.choice([0.1, -0.1, 0.3, -0.2], size=500),
        "far apart": generator.choice(
            [1e300, -1e300, 3.0, 1e-300], size=500, p=[0.02, 0.02, 0.06, 0.9]
        ),
        "large": generator.choice([2.0**60, -(2.0**60)], size=500),
        "small": generator.choice([2.0**-60, 1.0, -1.0, 2.0], size=500, p=[0.5, 0.22, 0.25, 0.03]),
    }
    for name, weight in kinds.items():
        exact = [sum(Fraction(w) for w in weight[row].tolist()) for row in near]
        core = np.array([total >= 2 for total in exact])
        assert 0 < core.sum() < 500, name
        model = DBSCAN(2, min_samples=2).fit(x, sample_weight=weight)
        assert model.core_sample_indices_.tolist() == np.flatnonzero(core).tolist(), name
        assert model.labels_.tolist() == expanded(near, core), name


NATIVE: dict[str, tuple[Callable[[], Any], str, float]] = {
    "2 features": (lambda: blobs(160), "euclidean", 0.7),
    "8 features": (lambda: blobs(160, 8), "euclidean", 2.6),
    "8 features in float32": (lambda: some_rows(160, 8, 3).astype(np.float32), "euclidean", 2.0),
    "far away": (lambda: (blobs(160, 8) * 16 + 1e6).astype(np.float32), "euclidean", 40.0),
    "manhattan": (lambda: some_rows(160, 3, 9), "manhattan", 2.0),
    "cosine": (lambda: blobs(160, 3), "cosine", 0.004),
}


@pytest.mark.parametrize("case", NATIVE)
def test_each_library_finds_the_same(
    xp: Backend, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each by its own functions, torch and JAX too, which `fit` leaves to NumPy on the CPU."""
    kinds = (None, np.random.default_rng(2).choice([0.5, 1.0, -1.0, 3.0], size=160))
    if xp.id == "jax":
        if case != "2 features":
            pytest.skip("JAX compiles for seconds: one case tells")
        kinds = (None,)
    make, metric, eps = NATIVE[case]
    x, rows = make(), 40
    if xp.id == "jax":
        x, rows = x[:36], 18
    wanted = [DBSCAN(eps, min_samples=4, metric=metric).fit(x, sample_weight=w) for w in kinds]
    for name in ("_HOST_ROWS", "_DEVICE_ROWS"):
        monkeypatch.setattr(_neighbours, name, rows)
    with opened(xp) as context:
        hood = neighbourhood(xp.array(x), metric, eps, context, MANY, who="a test")
        for model, weights in zip(wanted, kinds, strict=True):
            there = None if weights is None else xp.array(weights)
            labels, core = clusters(hood, there, 4)
            assert xp.host(labels).tolist() == model.labels_.tolist()
            found = np.flatnonzero(xp.host(core))
            assert found.tolist() == model.core_sample_indices_.tolist()
            assert 0 < found.size < len(x)


@pytest.mark.parametrize("metric", ["euclidean", "precomputed"])
def test_results_live_where_the_rows_do(xp: Backend, metric: str) -> None:
    x = blobs(90).astype(np.float32)
    if metric == "precomputed":
        x = cdist(x, x).astype(np.float32)
    rows = xp.array(x)
    model = DBSCAN(0.8, min_samples=3, metric=metric).fit(rows, sample_weight=np.ones(90))
    theirs = Theirs(eps=0.8, min_samples=3, metric=metric).fit(x)
    for name, dtype in (
        ("labels_", "int32"),
        ("core_sample_indices_", "int64"),
        ("components_", "float32"),
    ):
        found = getattr(model, name)
        assert array_api_compat.array_namespace(found) is array_api_compat.array_namespace(rows)
        assert array_api_compat.device(found) == array_api_compat.device(rows)
        assert str(found.dtype).rpartition(".")[2] == dtype
        assert xp.host(found).tolist() == getattr(theirs, name).tolist()
    assert xp.host(rows).tobytes() == x.tobytes()


def test_clusters_that_only_just_hold_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows about as near as connects them, in leaves of a few: labels meet in every way."""
    monkeypatch.setattr(_neighbours, "_HOST_ROWS", 4)
    for seed in range(60):
        generator = np.random.default_rng(seed)
        features, least = 1 + seed % 3, 1 + seed % 4
        x = generator.integers(0, 200, size=(150, features)).astype(float)
        near = np.sort(cdist(x, x), axis=1)[:, least]
        eps = float(np.quantile(near, generator.uniform(0.5, 1.0)))
        options = {"eps": max(eps, 1.0), "min_samples": least + 1}
        assert_equal(DBSCAN(**options).fit(x), Theirs(**options, algorithm="brute").fit(x))


@pytest.mark.parametrize("metric", ["euclidean", "precomputed", "callable"])
@pytest.mark.parametrize("rows", [6, 50])
def test_leaves_pieces_threads_and_memory_change_nothing(
    metric: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = blobs(300, 7)
    options: dict[str, Any] = {"eps": 2.2, "metric": metric}
    if metric == "precomputed":
        x = cdist(x, x)
    if metric == "callable":
        options["metric"] = cdist
    wanted = DBSCAN(**options).fit(x)
    assert wanted.labels_.min() < 0 < wanted.labels_.max()
    monkeypatch.setattr(_neighbours, "_HOST_ROWS", rows)
    monkeypatch.setattr(_neighbours, "_HOST_CELLS", 3 * rows * rows)
    monkeypatch.setattr(_neighbours, "thread_count", lambda: 3)
    monkeypatch.setattr(_leaves, "_CELLS", 40)
    for limit in (1, 20_000, "1GB"):
        assert_equal(DBSCAN(memory_limit=limit, **options).fit(x), wanted)


def test_there_is_never_a_table_of_all_pairs() -> None:
    x = np.random.default_rng(0).normal(size=(6000, 8))
    tracemalloc.start()
    try:
        DBSCAN(1.5, memory_limit="1MB").fit(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6000**2 / 2


def test_distances_that_are_given_or_asked_for() -> None:
    x = blobs(200, 3)
    table = cdist(x, x)
    wanted = Theirs(eps=0.9).fit(x)
    for metric, rows in ((cdist, x), ("precomputed", table)):
        model = DBSCAN(0.9, metric=metric).fit(rows)
        assert model.labels_.tolist() == wanted.labels_.tolist()
        assert model.components_.tobytes() == rows[wanted.core_sample_indices_].tobytes()
    # eps as float32, as scikit-learn compares: the nearest float32 to 0.1 is above it
    tenths = np.array([[0.0, 0.1], [0.1, 0.0]], dtype=np.float32)
    for rows in (tenths, tenths.astype(float)):
        ours = DBSCAN(0.1, min_samples=2, metric="precomputed").fit(rows)
        theirs = Theirs(eps=0.1, min_samples=2, metric="precomputed").fit(rows)
        assert ours.labels_.tolist() == theirs.labels_.tolist()
    table[3, 5] = 99.0
    with pytest.raises(ValueError, match=r"not symmetric: X\[3, 5\] is 99.0 and X\[5, 3\]"):
        DBSCAN(table[5, 3], metric="precomputed").fit(table)


@pytest.mark.parametrize(
    ("options", "fit", "text"),
    [
        ({"eps": 0.0}, {}, "'eps' parameter of DBSCAN must be a float in the range"),
        ({"min_samples": 0}, {}, "'min_samples' parameter of DBSCAN must be an int"),
        ({"metric": "hamming"}, {}, "metric='hamming' is not known to DBSCAN"),
        ({"metric": "precomputed"}, {}, "needs a square X"),
        ({"device": "tpu"}, {}, "device='tpu' is not known"),
        ({"memory_limit": "much"}, {}, "memory_limit='much' is no size"),
        ({}, {"sample_weight": [1.0, np.nan, 1.0]}, "nan at row 1. Weights are finite; 0 leaves"),
        ({}, {"sample_weight": [0.0, 0.0, 0.0]}, "sample_weight is zero for every row"),
        ({}, {"sample_weight": [1.0]}, "give one weight for each row"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], fit: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        DBSCAN(**options).fit(np.arange(6.0).reshape(3, 2), **fit)
    bad = np.arange(6.0).reshape(3, 2)
    bad[1, 0] = np.inf
    with pytest.raises(ValueError, match="infinity: the first is at row 1, column 0"):
        DBSCAN().fit(bad)


def test_a_device_without_memory_says_what_to_do() -> None:
    def metric(a: Any, b: Any) -> Any:
        raise MemoryError("out of 12 bytes")

    x = some_rows(6, 2, 9)
    with pytest.raises(DeviceMemoryError, match=r"pairs of 6 rows.*lower memory_limit.*12 bytes"):
        DBSCAN(metric=metric).fit(make_backend("strict").array(x))
    with pytest.raises(MemoryError, match=r"^out of 12 bytes$"):
        DBSCAN(metric=metric).fit(x)
