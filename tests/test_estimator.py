"""KMeans as scikit-learn's users know it: parameters, methods, warnings, results."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
import sklearn.cluster
from sklearn import config_context, datasets
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from kmeans_xp import EmptyClusterError, KMeans

OURS = {
    "device",
    "empty_cluster",
    "callback",
    "search",
    "checkpoint",
    "checkpoint_every",
    "memory_limit",
}
METHODS = ("fit", "predict", "transform", "fit_predict", "fit_transform", "score")
NAMED = ("k-means++", "random", "random-partition", "k-means||")

# (set, n_clusters, seed of the start).  Left out: digits 10/0, whose integer rows lie at equal
# distances from two centers, which scikit-learn's rounding decides otherwise.
SAME_PATH = [
    *(("iris", k, seed) for k in (2, 3) for seed in range(3)),
    *(("wine", k, seed) for k in (3, 8, 10) for seed in range(3)),
    *(("breast_cancer", k, seed) for k in (2, 10) for seed in range(3)),
    *(("digits", 10, seed) for seed in (1, 2)),
]


@pytest.fixture(scope="module")
def blobs():
    return datasets.make_blobs(n_samples=300, n_features=4, centers=5, random_state=1)[0]


def real(name):
    return getattr(datasets, f"load_{name}")().data.astype(np.float64)


def assert_belongs_together(model, X):
    """Labels, inertia and centers are of one clustering."""
    distances = ((X[:, None, :] - model.cluster_centers_[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(model.labels_, distances.argmin(axis=1))
    assert model.inertia_ == pytest.approx(distances.min(axis=1).sum(), rel=1e-12)
    np.testing.assert_array_equal(model.predict(X), model.labels_)


@pytest.mark.filterwarnings("ignore::kmeans_xp.exceptions.DataWarning")  # wine has such a column
@pytest.mark.parametrize("tol", [0, 1e-4])
@pytest.mark.parametrize(("name", "k", "seed"), SAME_PATH)
def test_same_as_scikit_learn_from_the_same_start(name, k, seed, tol):
    X = real(name)
    start = X[np.random.default_rng(seed).choice(len(X), k, replace=False)]
    theirs = sklearn.cluster.KMeans(k, init=start, n_init=1, tol=tol).fit(X)
    ours = KMeans(k, init=start, tol=tol).fit(X)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=0, atol=1e-10)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-10)
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), rtol=1e-7, atol=1e-5)
    assert ours.score(X) == pytest.approx(theirs.score(X), rel=1e-10)


def test_parameters_are_scikit_learns_and_ours_come_last():
    theirs = inspect.signature(sklearn.cluster.KMeans).parameters
    ours = inspect.signature(KMeans).parameters
    assert set(ours) - set(theirs) == OURS
    assert [name for name in ours if name not in OURS] == list(theirs)
    for name, parameter in theirs.items():
        assert ours[name].default == parameter.default
        assert ours[name].kind == parameter.kind


@pytest.mark.parametrize("method", METHODS)
def test_methods_take_what_scikit_learns_take_and_are_documented(method):
    theirs = inspect.signature(getattr(sklearn.cluster.KMeans, method))
    ours = getattr(KMeans, method)
    assert list(inspect.signature(ours).parameters) == list(theirs.parameters)
    text = inspect.getdoc(ours)
    assert re.search(r"Parameters\n-{10}\nX : ", text)
    assert re.search(r"Returns\n-{7}\n\w", text)


@pytest.mark.parametrize("init", NAMED)
def test_named_starts_find_the_blobs(blobs, init):
    model = KMeans(5, init=init, random_state=0, n_init=10).fit(blobs)
    assert_belongs_together(model, blobs)
    best = sklearn.cluster.KMeans(5, n_init=10, random_state=0).fit(blobs).inertia_
    assert model.inertia_ == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize(
    ("init", "runs"), [("k-means++", 1), ("k-means||", 1), ("random", 10), ("random-partition", 10)]
)
def test_n_init_auto(blobs, capsys, init, runs):
    KMeans(3, init=init, random_state=0, verbose=1).fit(blobs)
    assert capsys.readouterr().out.count("Initialization complete") == runs


def test_n_init_auto_of_a_callable_is_ten(blobs):
    calls = []

    def first_rows(X, n_clusters, random_state):
        calls.append(random_state)
        return X[:n_clusters]

    KMeans(3, init=first_rows, random_state=0).fit(blobs)
    assert len(calls) == 10
    assert all(isinstance(state, np.random.RandomState) for state in calls)


def test_more_runs_are_never_worse(blobs):
    def inertia(n_init):
        model = KMeans(5, init="random", n_init=n_init, max_iter=1, random_state=3)
        return model.fit(blobs).inertia_

    assert inertia(1) >= inertia(5) >= inertia(20)
    assert inertia(1) > inertia(20)


def test_callable_gets_x_as_given_and_is_read_in_its_coordinates():
    X = np.array([[100, 0], [101, 0], [200, 0], [201, 0]], dtype=np.int16)
    seen = []

    def init(given, n_clusters, random_state):
        seen.append(given)
        return [[150.0, 0.0], [201.0, 0.0]]

    records = []
    model = KMeans(2, init=init, n_init=1, callback=lambda record, _: records.append(record))
    model.fit(X)
    assert seen[0] is X
    # from (150, 0): 100, 101 and no other; the first inertia is measured from those centers
    assert records[0].inertia == 50.0**2 + 49.0**2 + 1.0
    np.testing.assert_array_equal(model.cluster_centers_, [[100.5, 0], [200.5, 0]])


def test_array_start_is_not_changed_or_shared(blobs):
    start = blobs[:5].copy()
    model = KMeans(5, init=start, max_iter=1).fit(blobs)
    np.testing.assert_array_equal(start, blobs[:5])
    assert not np.may_share_memory(model.cluster_centers_, start)
    again = KMeans(5, init=start.tolist(), max_iter=1).fit(blobs)
    np.testing.assert_array_equal(again.cluster_centers_, model.cluster_centers_)


def test_numpy_string_is_a_name(blobs):
    named = KMeans(3, init=np.str_("random"), n_init=1, random_state=0).fit(blobs)
    plain = KMeans(3, init="random", n_init=1, random_state=0).fit(blobs)
    np.testing.assert_array_equal(named.labels_, plain.labels_)


def test_array_start_with_several_runs_warns(blobs):
    message = (
        "Explicit initial center position passed: performing only one init in KMeans instead of "
        "n_init=10."
    )
    with pytest.warns(RuntimeWarning, match=re.escape(message)) as caught:
        KMeans(5, init=blobs[:5], n_init=10).fit(blobs)
    assert caught[0].filename == __file__


def test_elkan_is_the_same_and_warns_for_one_cluster(blobs):
    lloyd, elkan = (
        KMeans(5, algorithm=name, random_state=0).fit(blobs) for name in ("lloyd", "elkan")
    )
    np.testing.assert_array_equal(lloyd.cluster_centers_, elkan.cluster_centers_)
    assert lloyd.n_iter_ == elkan.n_iter_
    with pytest.warns(RuntimeWarning, match="algorithm='elkan' doesn't make sense for a single"):
        KMeans(1, algorithm="elkan").fit(blobs)


@pytest.mark.parametrize("given_rows", [False, True])
def test_fewer_distinct_rows_than_clusters_warn_and_stop(given_rows):
    X = np.array([[0.0, 0], [1, 1], [1, 1], [1, 0], [0, 1]])
    model = KMeans(5, init=X if given_rows else "k-means++", random_state=0)
    message = (
        r"Number of distinct clusters \(4\) found smaller than n_clusters \(5\)\. "
        r"Possibly due to duplicate points in X\."
    )
    with pytest.warns(ConvergenceWarning, match=message) as caught:
        model.fit(X)
    assert caught[0].filename == __file__
    assert model.n_iter_ <= 2
    assert len(set(model.labels_.tolist())) == 4


def test_empty_cluster_takes_the_farthest_row():
    X, start = np.array([[-1.0], [1.0]]), np.array([[-1.0], [10.0]])
    model = KMeans(2, init=start).fit(X, sample_weight=[1.9, 0.1])
    np.testing.assert_array_equal(np.sort(model.cluster_centers_, axis=0), X)
    with pytest.raises(EmptyClusterError, match=r"clusters \[1\] have no rows left"):
        KMeans(2, init=[[0.0], [50.0]], empty_cluster="error").fit(X)


def test_tolerance_is_relative_to_the_weighted_variance(capsys):
    X = np.random.RandomState(0).normal(size=(3000, 10)) * 7.0
    KMeans(8, init=X[:8], tol=1e-2, verbose=1).fit(X)
    said = capsys.readouterr().out
    found = re.search(r"center shift (\S+) within tolerance (\S+)\.", said)
    assert float(found[1]) <= float(found[2])
    # both are distances; scikit-learn compares squares
    assert float(found[2]) ** 2 == pytest.approx(1e-2 * X.var(axis=0).mean(), rel=1e-9)


def test_verbose_says_what_scikit_learn_says(blobs, capsys):
    model = KMeans(5, init="random", n_init=1, random_state=0, tol=0, verbose=1).fit(blobs)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Initialization complete"
    assert all(re.fullmatch(r"Iteration \d+, inertia [\d.]+\.", line) for line in lines[1:-1])
    assert len(lines) - 2 == model.n_iter_
    assert lines[-1] == f"Converged at iteration {model.n_iter_}: strict convergence."


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("copy_x", [True, False])
def test_x_and_weights_stay_as_they_are(blobs, copy_x, order):
    X = np.array(blobs, order=order)
    weight = np.linspace(0.5, 2.0, len(X))
    X.flags.writeable = weight.flags.writeable = False
    model = KMeans(5, copy_x=copy_x, random_state=0).fit(X, sample_weight=weight)
    np.testing.assert_array_equal(X, blobs)
    np.testing.assert_array_equal(weight, np.linspace(0.5, 2.0, len(X)))
    assert model.score(X, sample_weight=weight) == -model.inertia_


def test_transform_gives_distances_and_zero_on_the_centers(blobs):
    model = KMeans(5, random_state=0).fit(blobs)
    between = model.transform(model.cluster_centers_)
    np.testing.assert_array_equal(between.diagonal(), np.zeros(5))
    exact = np.sqrt(((blobs[:, None] - model.cluster_centers_[None]) ** 2).sum(axis=2))
    np.testing.assert_allclose(model.transform(blobs), exact, rtol=1e-12)
    np.testing.assert_array_equal(clone(model).fit_transform(blobs), model.transform(blobs))
    np.testing.assert_array_equal(clone(model).fit_predict(blobs), model.labels_)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.bool_, np.float16])
def test_other_dtypes_become_float64(dtype):
    X = np.array([[0, 0], [10, 10], [12, 9], [1, 1], [2, 0], [8, 10]]).astype(dtype)
    model = KMeans(2, random_state=0).fit(X)
    assert model.cluster_centers_.dtype == np.float64
    assert_belongs_together(model, X.astype(np.float64))


def test_float32_results_are_float32(blobs):
    model = KMeans(5, random_state=0).fit(blobs.astype(np.float32))
    assert model.cluster_centers_.dtype == np.float32
    assert model.transform(blobs.astype(np.float32)).dtype == np.float32
    # another float dtype at predict is exact
    assert model.predict(blobs).dtype == np.int32


def test_feature_names_out_and_set_output(blobs):
    model = KMeans(3, random_state=0).fit(blobs)
    assert model.get_feature_names_out().tolist() == ["kmeans0", "kmeans1", "kmeans2"]
    for library in ("pandas", "polars"):
        frames = pytest.importorskip(library)
        names = ["a", "b", "c", "d"]
        X = frames.DataFrame(dict(zip(names, blobs.T, strict=True)))
        made = KMeans(3, random_state=0).set_output(transform=library)
        for frame in (made.fit_transform(X), made.transform(X)):
            assert isinstance(frame, frames.DataFrame)
            assert list(frame.columns) == ["kmeans0", "kmeans1", "kmeans2"]
            np.testing.assert_array_equal(frame.to_numpy(), model.transform(blobs))
        assert made.feature_names_in_.tolist() == names


def test_pandas_index_survives_transform(blobs):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(blobs, columns=list("abcd"), index=np.arange(len(blobs)) + 7)
    made = KMeans(3, random_state=0).set_output(transform="pandas").fit_transform(X)
    assert made.index.equals(X.index)


def test_mismatched_feature_names_are_refused(blobs):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(blobs, columns=list("abcd"))
    model = KMeans(3, random_state=0).fit(X)
    with pytest.raises(ValueError, match="feature names should match those that were passed"):
        model.predict(X.rename(columns={"a": "z"}))
    with pytest.warns(UserWarning, match="X does not have valid feature names, but KMeans"):
        model.predict(blobs)


@pytest.mark.parametrize("method", ["fit", "score"])
def test_sample_weight_is_routed(blobs, method):
    weight = np.random.default_rng(0).integers(1, 5, len(blobs)).astype(float)
    with config_context(enable_metadata_routing=True):
        step = KMeans(5, random_state=0).set_fit_request(sample_weight=True)
        step.set_score_request(sample_weight=True)
        pipe = Pipeline([("scale", StandardScaler().set_fit_request(sample_weight=False))])
        pipe.steps.append(("cluster", step))
        pipe.fit(blobs, sample_weight=weight)
        scaled = pipe[0].transform(blobs)
        alone = KMeans(5, random_state=0).fit(scaled, sample_weight=weight)
        if method == "fit":
            np.testing.assert_array_equal(pipe[-1].cluster_centers_, alone.cluster_centers_)
        else:
            expected = alone.score(scaled, sample_weight=weight)
            assert pipe.score(blobs, sample_weight=weight) == expected


def test_pipeline_and_grid_search(blobs):
    pipe = make_pipeline(StandardScaler(), KMeans(random_state=0))
    search = GridSearchCV(pipe, {"kmeans__n_clusters": [1, 3, 5]}, cv=3).fit(blobs)
    assert search.best_params_ == {"kmeans__n_clusters": 5}
    assert search.predict(blobs).shape == (300,)


def test_clone_params_and_repr(blobs):
    model = KMeans(3, device="cpu", empty_cluster="random", random_state=0).fit(blobs)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "labels_")
    assert repr(copy) == (
        "KMeans(device='cpu', empty_cluster='random', n_clusters=3, random_state=0)"
    )
    assert copy.set_params(n_clusters=4).fit(blobs).cluster_centers_.shape == (4, 4)
    assert clone(KMeans(5, init=blobs[:5])).fit(blobs).n_iter_ >= 1
