"""What KMedoids takes and gives: where results live, given distances, bad input."""

from __future__ import annotations

import pickle
from typing import Any

import array_api_compat
import medoid_oracle as oracle
import numpy as np
import pytest
from conftest import Backend, make_backend
from medoid_cases import clusters, distances
from scipy.spatial.distance import cdist

from kmeans_xp import KMedoids
from kmeans_xp.exceptions import DeviceMemoryError


def test_given_distances_are_those_of_the_metric() -> None:
    x = clusters(80, 3)
    named = KMedoids(3, metric="euclidean").fit(x)
    table = named.set_params(n_clusters=80).fit(x).transform(x)
    table = table[:, np.argsort(named.medoid_indices_)]
    named.set_params(n_clusters=3).fit(x)
    for method in ("auto", "clara"):
        options = {"metric": "precomputed", "method": method, "sample_size": 80}
        model = KMedoids(3, **options).fit(table)
        assert model.medoid_indices_.tolist() == named.medoid_indices_.tolist()
        assert model.cluster_centers_ is None
        assert model.inertia_ == named.inertia_
        assert model.predict(table[:9]).tolist() == named.labels_[:9].tolist()
        assert model.transform(table).tobytes() == named.transform(x).tobytes()
        assert model.score(table) == -model.inertia_


def test_distances_need_not_be_symmetric() -> None:
    table = np.random.default_rng(0).random((11, 11))
    model = KMedoids(3, metric="precomputed").fit(table)
    medoids = model.medoid_indices_.tolist()
    assert model.inertia_ == pytest.approx(oracle.loss(table, medoids), rel=1e-14)
    assert model.inertia_ <= oracle.best_swap(table, medoids) * (1 + 1e-9)
    assert model.labels_.tolist() == table[:, medoids].argmin(axis=1).tolist()


def test_a_function_is_a_metric() -> None:
    x = clusters(60, 3)
    model = KMedoids(3, metric=lambda a, b: cdist(a, b, "canberra")).fit(x)
    table = cdist(x, x, "canberra")
    assert model.inertia_ == pytest.approx(
        oracle.loss(table, model.medoid_indices_.tolist()), rel=1e-12
    )
    assert model.predict(x).tolist() == model.labels_.tolist()
    rows = KMedoids(3, metric="precomputed").fit(table)
    assert rows.medoid_indices_.tolist() == model.medoid_indices_.tolist()


def test_results_live_where_the_rows_do(xp: Backend) -> None:
    x = clusters(40, 3).astype("float32")
    rows = xp.array(x)
    model = KMedoids(3, init=xp.array([1, 2, 3])).fit(rows)
    namespace, device = array_api_compat.array_namespace(rows), array_api_compat.device(rows)
    arrays = {
        "float32": (model.cluster_centers_, model.transform(rows)),
        "int32": (model.labels_, model.predict(rows), model.fit_predict(rows)),
        "int64": (model.medoid_indices_,),
    }
    for dtype, some in arrays.items():
        for array in some:
            assert array_api_compat.array_namespace(array) is namespace
            assert array_api_compat.device(array) == device
            assert str(array.dtype).rpartition(".")[2] == dtype
    assert xp.host(rows).tobytes() == x.tobytes()
    centers = xp.host(model.cluster_centers_).astype(float)
    wanted = cdist(x.astype(float), centers, "cityblock")
    np.testing.assert_allclose(xp.host(model.transform(rows)), wanted, rtol=1e-6)
    again = pickle.loads(pickle.dumps(model))
    assert xp.host(again.predict(rows)).tolist() == xp.host(model.labels_).tolist()


GOOD = np.arange(12.0).reshape(6, 2)


@pytest.mark.parametrize(
    ("options", "x", "weight", "message"),
    [
        ({"n_clusters": 7}, GOOD, None, "n_samples=6 should be >= n_clusters=7"),
        ({}, GOOD, [1, 0, 0, 0, 0, 0], "only 1 rows have a positive sample_weight"),
        ({}, GOOD, [1, 1], "sample_weight.shape == .2,., expected .6,."),
        ({"metric": "canberra"}, GOOD, None, "metric='canberra' is not known to KMedoids"),
        ({"metric": "precomputed"}, GOOD, None, r"square X .* got shape \(6, 2\)"),
        ({"metric": "precomputed"}, -np.ones((3, 3)), None, "Negative values in data: X of"),
        ({"metric": "precomputed"}, np.full((3, 3), np.nan), None, "holds NaN .row 0, column 0"),
        ({"metric": "cosine"}, GOOD * [[0], [1], [1], [1], [1], [1]], None, "row 0 is all zeros"),
        ({}, np.where(GOOD == 5.0, np.nan, GOOD), None, "NaN: the first is at row 2, column 1"),
        ({"init": [0, 0]}, GOOD, None, r"init=\[0, 0\] names a row twice"),
        ({"init": [0, 6]}, GOOD, None, "init names row 6, but X has rows 0 to 5"),
        ({"init": [0.0, 1.0]}, GOOD, None, "must be the positions of 2 rows"),
        ({"init": [0, 1, 2]}, GOOD, None, r"shape \(3,\) and dtype int64"),
        ({"init": [0, 3]}, GOOD, [1, 1, 1, 0, 1, 1], "init names row 3, whose sample_weight is 0"),
        ({"sample_size": 1}, GOOD, None, "sample_size=1 is less than n_clusters=2"),
        ({"memory_limit": "much"}, GOOD, None, "memory_limit='much' is no size"),
        ({"device": "gpu"}, GOOD, None, "device='gpu' is not known"),
        ({"init": "heuristic"}, GOOD, None, "The 'init' parameter of KMedoids must be"),
    ],
)
def test_what_cannot_be_clustered_is_refused(
    options: dict[str, Any], x: Any, weight: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        KMedoids(**{"n_clusters": 2, **options}).fit(x, sample_weight=weight)


def test_a_device_without_memory_says_what_to_do() -> None:
    def metric(a: Any, b: Any) -> Any:
        raise MemoryError("out of 12 bytes")

    x = make_backend("strict").array(GOOD)
    with pytest.raises(DeviceMemoryError, match=r"6 rows \(288 bytes.*memory_limit.*12 bytes"):
        KMedoids(2, metric=metric).fit(x)
    with pytest.raises(MemoryError, match=r"^out of 12 bytes$"):
        KMedoids(2, metric=metric).fit(GOOD)


def test_questions_are_checked() -> None:
    model = KMedoids(2).fit(GOOD)
    with pytest.raises(ValueError, match="X has 3 features, but KMedoids is expecting 2"):
        model.predict(np.ones((2, 3)))
    with pytest.raises(ValueError, match="Input X contains infinity"):
        model.predict(np.full((2, 2), np.inf))
    table = KMedoids(2, metric="precomputed").fit(distances(GOOD))
    with pytest.raises(ValueError, match="Negative values in data"):
        table.predict(-np.ones((2, 6)))
