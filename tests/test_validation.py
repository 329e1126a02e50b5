"""Bad input: one clear error each, before work begins, that names value and remedy."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from kmeans_xp import DeviceError, KMeans, k_means, kmeans_plusplus

ROWS = np.random.default_rng(0).normal(size=(20, 3))


def no_work(record, centers):
    raise AssertionError("work began")


def refused(message, X=ROWS, sample_weight=None, error=ValueError, **parameters):
    """Fit, and return the error, which must come before the first iteration."""
    parameters = {"n_clusters": 3, "random_state": 0, "callback": no_work, **parameters}
    with pytest.raises(error, match=message) as caught:
        KMeans(**parameters).fit(X, sample_weight=sample_weight)
    return str(caught.value)


def spoiled(value, row=7, column=2):
    X = ROWS.copy()
    X[row, column] = value
    # a later one must not be the one that is named
    X[row + 1, 0] = -value
    return X


@pytest.mark.parametrize(
    ("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")]
)
def test_first_bad_cell_of_x_is_named(xp, value, word):
    bad = xp.array(spoiled(value))
    text = refused(f"Input X contains {word}", bad)
    assert "row 7, column 2" in text
    assert "SimpleImputer" in text
    model = KMeans(3, random_state=0).fit(xp.array(ROWS))
    for method in (model.predict, model.transform, model.score):
        with pytest.raises(ValueError, match=f"X contains {word}: the first is at row 7, column 2"):
            method(bad)


def test_bad_cell_in_a_later_block_is_named():
    X = np.zeros((40_000, 40))
    X[:, 0] = np.arange(40_000)
    X[31_234, 17] = np.nan
    refused("row 31234, column 17", X)


def test_bad_cell_of_init_is_named(xp):
    start = ROWS[:3].copy()
    start[1, 2] = np.nan
    refused("Input init contains NaN: the first is at row 1, column 2", init=xp.array(start))
    refused(
        "Input init contains NaN: the first is at row 1, column 2",
        xp.array(ROWS),
        init=lambda X, k, random_state: xp.array(start),
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "sample_weight contains NaN or infinity: nan at row 4"),
        (np.inf, "sample_weight contains NaN or infinity: inf at row 4"),
        (-2.5, "Negative values in data passed to `sample_weight`: -2.5 at row 4"),
    ],
)
def test_bad_weights_are_named(xp, value, message):
    weight = np.ones(20)
    weight[4] = value
    weight[9] = value
    refused(re.escape(message), xp.array(ROWS), xp.array(weight))
    refused(re.escape(message), xp.array(ROWS), weight.tolist())


def test_weights_of_wrong_shape_or_without_rows_to_count(xp):
    X = xp.array(ROWS)
    refused(r"sample_weight.shape == \(19,\), expected \(20,\)", X, xp.array(np.ones(19)))
    refused(
        r"must be 1D array or scalar, got 2D array of shape \(20, 1\)",
        X,
        xp.array(np.ones((20, 1))),
    )
    refused("sample_weight is zero for every row", X, xp.array(np.zeros(20)))
    refused("only 2 rows have a positive sample_weight", X, xp.array([1.0] * 2 + [0.0] * 18))
    model = KMeans(3, random_state=0).fit(X)
    with pytest.raises(ValueError, match=r"sample_weight.shape == \(19,\)"):
        model.score(X, sample_weight=xp.array(np.ones(19)))


@pytest.mark.parametrize("weight", ["heavy", ["a"] * 20])
def test_text_as_weights(weight):
    refused("sample_weight must hold real numbers", sample_weight=weight)


def test_complex_numbers_are_named(xp):
    data = ROWS + 1j
    refused("Complex data not supported: X .*Pass its parts", xp.array(data))
    refused(
        "Complex data not supported: sample_weight", xp.array(ROWS), xp.array(data[:, 0].copy())
    )
    refused("Complex data not supported: init", xp.array(ROWS), init=xp.array(data[:3]))


@pytest.mark.parametrize("shape", [(20,), (20, 3, 1), ()])
def test_wrong_dimensions(xp, shape):
    refused("Expected 2D array|Found array with dim 3", xp.array(np.ones(shape)))


@pytest.mark.parametrize(("shape", "what"), [((0, 3), "0 sample"), ((20, 0), "0 feature")])
def test_empty(xp, shape, what):
    text = refused(re.escape(f"Found array with {what}(s)"), xp.array(np.ones(shape)))
    assert "KMeans" in text


def test_fewer_rows_than_clusters(xp):
    refused("n_samples=20 should be >= n_clusters=21", xp.array(ROWS), n_clusters=21)


def test_wrong_feature_count_at_predict(xp):
    model = KMeans(3, random_state=0).fit(xp.array(ROWS))
    message = "X has 2 features, but KMeans is expecting 3 features as input"
    for method in (model.predict, model.transform, model.score):
        with pytest.raises(ValueError, match=message):
            method(xp.array(ROWS[:, :2]))


def test_init_of_the_wrong_shape(xp):
    X = xp.array(ROWS)
    start = "The shape of the initial centers "
    clusters, features = "does not match the number of clusters 3", "number of features of the data"
    for init, shape, message in (
        (ROWS[:2], "(2, 3)", clusters),
        (ROWS[:3, :2], "(3, 2)", features),
        (ROWS[:3, 0], "(3,)", "is not that of a 2D array"),
        (ROWS[:3, :, None], "(3, 3, 1)", "is not that of a 2D array"),
    ):
        array = xp.array(np.ascontiguousarray(init))
        wanted = re.escape(start + shape) + ".*" + message
        refused(wanted, X, init=array)
        refused(wanted, X, init=lambda X, k, random_state, array=array: array)


def test_init_beyond_the_range_of_float32(xp):
    X = xp.array(ROWS.astype(np.float32))
    refused("init has values beyond the range of X's dtype float32", X, init=ROWS[:3] * 1e200)


def test_text_is_named():
    refused("X must hold real numbers.*'red'.*OneHotEncoder", [["red", "1"], ["blue", "2"]])
    refused("init must hold real numbers", init=[["a", "b", "c"]] * 3)


@pytest.mark.parametrize(
    ("parameter", "value", "listed"),
    [
        ("init", "best", "a callable or an array-like. Got 'best'"),
        ("algorithm", "hamerly", "'elkan'.*Got 'hamerly'"),
        ("empty_cluster", "drop", "'farthest'.*Got 'drop'"),
        ("device", "gpu", "'cpu', 'cuda', 'cuda:1' .* 'auto'"),
        ("device", "cuda:x", "'cpu', 'cuda', 'cuda:1' .* 'auto'"),
        ("device", 0, "Got 0"),
        ("n_clusters", 0, r"\[1, inf\).*Got 0"),
        ("n_clusters", 2.5, "Got 2.5"),
        ("n_init", 0, r"\[1, inf\).*Got 0"),
        ("n_init", "many", "'auto'.*Got 'many'"),
        ("max_iter", 0, r"\[1, inf\).*Got 0"),
        ("tol", -1.0, r"\[0.0, inf\).*Got -1.0|\[0, inf\).*Got -1.0"),
        ("tol", float("nan"), "Got nan"),
        ("verbose", -1, "Got -1"),
        ("random_state", "seed", "Got 'seed'"),
        ("copy_x", "no", "Got 'no'"),
        ("callback", 3, "callable.*Got 3"),
    ],
)
def test_bad_parameters_come_before_the_data_is_looked_at(parameter, value, listed):
    unreadable = object()
    text = refused(listed, unreadable, **{parameter: value})
    assert parameter in text
    refused("does not match the number of clusters", unreadable, init=ROWS[:2])


def test_every_name_is_listed():
    text = refused("Got 'best'", init="best")
    for name in ("k-means++", "random", "random-partition", "k-means||"):
        assert repr(name) in text
    text = refused("Got 'drop'", empty_cluster="drop")
    for name in ("farthest", "random", "error"):
        assert repr(name) in text


def test_sparse_weights_say_what_to_do():
    sparse = pytest.importorskip("scipy.sparse")
    text = r"Sparse data was passed for sample_weight .*sample_weight\.toarray\(\)"
    refused(text, ROWS, sparse.csr_array(ROWS), TypeError)


def test_sparse_torch_says_what_to_do():
    torch = pytest.importorskip("torch")
    X = torch.asarray(ROWS).to_sparse()
    refused(r"Sparse data was passed for X .*X\.to_dense\(\)", X, error=TypeError)


def test_dask_beside_rows_in_memory_is_refused_not_computed():
    dask_array = pytest.importorskip("dask.array")
    lazy = dask_array.from_array(ROWS)
    refused(r"sample_weight is lazy.*compute", ROWS, lazy[:, 0], TypeError)
    refused(r"init is lazy.*compute", init=lazy[:3], error=TypeError)


@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_unfitted(xp, method):
    with pytest.raises(NotFittedError, match="This KMeans instance is not fitted yet"):
        getattr(KMeans(), method)(xp.array(ROWS))
    with pytest.raises(NotFittedError):
        KMeans().get_feature_names_out()


def test_device_word_is_checked_at_predict():
    model = KMeans(3, random_state=0).fit(ROWS).set_params(device="gpu")
    with pytest.raises(ValueError, match="device='gpu' is not known"):
        model.predict(ROWS)


def test_failed_fit_raises_the_same_types_for_every_face():
    bad = spoiled(np.nan)
    with pytest.raises(ValueError, match="KMeans needs finite values"):
        k_means(bad, 3)
    with pytest.raises(ValueError, match="kmeans_plusplus needs finite values"):
        kmeans_plusplus(bad, 3)
    assert issubclass(DeviceError, Exception)
