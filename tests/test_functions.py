"""k_means, kmeans_plusplus and to_sklearn: the functions beside the estimator."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import sklearn.cluster
from sklearn.datasets import load_digits, load_iris, make_blobs
from sklearn.exceptions import NotFittedError

from kmeans_xp import KMeans, k_means, kmeans_plusplus, to_sklearn


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(n_samples=60, n_features=3, centers=4, random_state=3)[0]


@pytest.mark.parametrize(
    ("ours", "theirs", "more"),
    [
        (k_means, sklearn.cluster.k_means, ["device", "empty_cluster", "search"]),
        (kmeans_plusplus, sklearn.cluster.kmeans_plusplus, ["device"]),
    ],
)
def test_signatures_are_scikit_learns_with_ours_last(ours, theirs, more):
    mine, wanted = (inspect.signature(function).parameters for function in (ours, theirs))
    assert list(mine) == list(wanted) + more
    for name, parameter in wanted.items():
        assert (mine[name].default, mine[name].kind) == (parameter.default, parameter.kind)


def test_k_means_is_the_estimator(xp, blobs):
    X, weight = xp.array(blobs), np.linspace(1.0, 2.0, len(blobs))
    model = KMeans(4, random_state=0, tol=0).fit(X, sample_weight=weight)
    found = k_means(X, 4, sample_weight=weight, random_state=0, tol=0, return_n_iter=True)
    assert type(found[0]) is type(X)
    np.testing.assert_array_equal(xp.host(found[0]), xp.host(model.cluster_centers_))
    np.testing.assert_array_equal(xp.host(found[1]), xp.host(model.labels_))
    assert found[2:] == (model.inertia_, model.n_iter_)
    assert len(k_means(X, 4, random_state=0, device="cpu")) == 3


def test_k_means_has_every_parameter_of_the_estimator(blobs, capsys):
    start = np.full((4, 3), 1e3)
    start[:3] = blobs[:3]
    common = {"init": start, "max_iter": 1, "algorithm": "elkan", "empty_cluster": "random"}
    centers, labels, inertia = k_means(
        blobs, 4, n_init=1, verbose=True, copy_x=False, random_state=0, tol=0, **common
    )
    assert "Iteration 1" in capsys.readouterr().out
    model = KMeans(4, random_state=0, **common).fit(blobs)
    np.testing.assert_array_equal(labels, model.labels_)
    assert inertia == model.inertia_
    relocated = KMeans(4, random_state=0, **{**common, "empty_cluster": "farthest"}).fit(blobs)
    assert np.any(relocated.cluster_centers_ != centers)
    with pytest.raises(ValueError, match="The 'return_n_iter' parameter of k_means"):
        k_means(blobs, 4, return_n_iter="yes")


def test_plusplus_is_the_start_of_the_estimator(xp, blobs):
    X = xp.array(blobs)
    centers, indices = kmeans_plusplus(X, 4, random_state=5)
    assert type(centers) is type(X)
    assert str(indices.dtype).endswith("int64")
    rows = xp.host(indices)
    assert len(set(rows.tolist())) == 4
    np.testing.assert_array_equal(xp.host(centers), blobs[rows])
    drawn = KMeans(4, random_state=5, max_iter=1).fit(X)
    given = KMeans(4, init=centers, max_iter=1).fit(X)
    np.testing.assert_array_equal(xp.host(drawn.labels_), xp.host(given.labels_))


def test_plusplus_is_one_answer(xp, blobs):
    weight = np.linspace(1.0, 2.0, len(blobs))
    expected = kmeans_plusplus(blobs, 4, sample_weight=weight, random_state=1)[1]
    found = kmeans_plusplus(xp.array(blobs), 4, sample_weight=xp.array(weight), random_state=1)[1]
    np.testing.assert_array_equal(xp.host(found), expected)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float32, np.bool_])
def test_plusplus_keeps_the_dtype_of_arrays(dtype):
    X = np.array([[0, 1], [1, 1], [100, 1], [1, 0], [0, 100]]).astype(dtype)
    centers, indices = kmeans_plusplus(X, 2, random_state=0)
    assert centers.dtype == dtype
    np.testing.assert_array_equal(centers, X[indices])


def test_plusplus_takes_lists_and_frames():
    rows = [[1, 2], [1, 4], [10, 2], [10, 4]]
    centers, indices = kmeans_plusplus(rows, 2, random_state=0)
    assert centers.dtype == np.float64
    np.testing.assert_array_equal(centers, np.array(rows)[indices])
    pandas = pytest.importorskip("pandas")
    same = kmeans_plusplus(pandas.DataFrame(rows, columns=["a", "b"]), 2, random_state=0)[1]
    np.testing.assert_array_equal(same, indices)


def test_plusplus_options(blobs):
    weight = np.zeros(len(blobs))
    weight[10:14] = 1.0
    indices = kmeans_plusplus(blobs, 4, sample_weight=weight, random_state=0)[1]
    assert sorted(indices.tolist()) == [10, 11, 12, 13]
    norms = (blobs**2).sum(axis=1)
    ignored = kmeans_plusplus(blobs, 4, x_squared_norms=norms, random_state=0)[1]
    np.testing.assert_array_equal(ignored, kmeans_plusplus(blobs, 4, random_state=0)[1])
    with pytest.raises(ValueError, match="The length of x_squared_norms 2 should be equal to the"):
        kmeans_plusplus(blobs, 4, x_squared_norms=norms[:2])
    with pytest.raises(ValueError, match="'n_local_trials' parameter of kmeans_plusplus must be"):
        kmeans_plusplus(blobs, 4, n_local_trials=0)
    with pytest.raises(ValueError, match="n_samples=60 should be >= n_clusters=61"):
        kmeans_plusplus(blobs, 61)


def test_more_trials_seed_better_on_average():
    X = load_digits().data

    def potential(trials):
        total = 0.0
        for seed in range(5):
            found = kmeans_plusplus(X, 10, n_local_trials=trials, random_state=seed)[0]
            total += ((X[:, None] - found[None]) ** 2).sum(axis=2).min(axis=1).sum()
        return total

    assert potential(8) < potential(1)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_converted_model_is_scikit_learns(xp, dtype, blobs):
    X = blobs.astype(dtype)
    model = KMeans(4, random_state=0).fit(xp.array(X))
    converted = to_sklearn(model)
    assert type(converted) is sklearn.cluster.KMeans
    for name in ("cluster_centers_", "labels_"):
        assert type(getattr(converted, name)) is np.ndarray
        np.testing.assert_array_equal(getattr(converted, name), xp.host(getattr(model, name)))
    assert converted.cluster_centers_.dtype == dtype
    np.testing.assert_array_equal(converted.predict(X), xp.host(model.labels_))
    assert converted.score(X) == pytest.approx(-model.inertia_, rel=1e-5)
    assert (converted.inertia_, converted.n_iter_) == (model.inertia_, model.n_iter_)
    np.testing.assert_allclose(
        converted.transform(X), xp.host(model.transform(xp.array(X))), rtol=1e-3, atol=1e-3
    )


def test_converted_model_owns_its_arrays_and_can_be_fitted_again(blobs):
    model = KMeans(
        4, init="random-partition", max_iter=None, random_state=0, device="cpu", tol=0
    ).fit(blobs)
    converted = to_sklearn(model)
    converted.cluster_centers_[:] = 0.0
    assert np.any(model.cluster_centers_ != 0.0)
    assert converted.get_params()["init"] == "random"
    assert converted.get_feature_names_out().tolist() == [
        "kmeans0",
        "kmeans1",
        "kmeans2",
        "kmeans3",
    ]
    assert converted.fit(blobs).inertia_ > 0.0
    given = to_sklearn(KMeans(4, init=blobs[:4]).fit(blobs))
    assert given.fit(blobs).n_iter_ >= 1


def test_conversion_keeps_feature_names():
    iris = load_iris(as_frame=True).data if pytest.importorskip("pandas") else None
    model = KMeans(3, random_state=0).fit(iris)
    converted = to_sklearn(model)
    assert converted.feature_names_in_.tolist() == list(iris.columns)
    np.testing.assert_array_equal(converted.predict(iris), model.labels_)


def test_what_cannot_be_converted(blobs):
    with pytest.raises(NotFittedError):
        to_sklearn(KMeans())
    with pytest.raises(TypeError, match="model=KMeans cannot be converted"):
        to_sklearn(sklearn.cluster.KMeans(4).fit(blobs))


def test_converted_model_goes_to_skops():
    io = pytest.importorskip("skops.io", reason="skops is not installed")
    X = load_iris().data
    model = KMeans(3, random_state=0).fit(X)
    stored = io.dumps(to_sklearn(model))
    assert io.get_untrusted_types(data=stored) == []
    np.testing.assert_array_equal(io.loads(stored).predict(X), model.labels_)


def test_converted_model_goes_to_onnx():
    skl2onnx = pytest.importorskip("skl2onnx", reason="skl2onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    X = load_iris().data.astype(np.float32)
    model = KMeans(3, random_state=0).fit(X)
    exported = skl2onnx.to_onnx(to_sklearn(model), X[:1]).SerializeToString()
    session = runtime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    labels = session.run(None, {"X": X})[0]
    np.testing.assert_array_equal(labels, model.labels_)
