"""FeatureScaler: scikit-learn's numbers, the same bits on every library, and the way back."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from conftest import Backend
from sklearn import datasets, preprocessing
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from kmeans_xp import FeatureScaler, KMeans
from kmeans_xp._backend import context_of
from kmeans_xp.prepare import _scalers
from kmeans_xp.prepare._measures import middle_and_deviation, quantiles, ranges
from kmeans_xp.prepare._scalers import METHODS

X = np.concatenate(
    [datasets.load_wine().data, np.full((178, 1), 0.1), np.arange(178.0)[:, None] // 50], axis=1
)
THEIRS = {
    "standard": preprocessing.StandardScaler(),
    "minmax": preprocessing.MinMaxScaler(),
    "maxabs": preprocessing.MaxAbsScaler(),
    "quantile": preprocessing.QuantileTransformer(n_quantiles=100),
}


@pytest.mark.parametrize("method", THEIRS)
def test_the_numbers_are_scikit_learns(method: str) -> None:
    ours = FeatureScaler(method, n_quantiles=100).fit(X)
    theirs = THEIRS[method].fit(X)
    varies = np.ptp(X, axis=0) > 0
    got, wanted = ours.transform(X)[:, varies], theirs.transform(X)[:, varies]
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)
    assert np.ptp(ours.transform(X)[:, ~varies]) == 0


def test_robust_is_scikit_learns_but_where_the_quartiles_coincide() -> None:
    mostly = np.where(np.arange(178) < 20, np.arange(178.0), 0.0)[:, None]
    x = np.concatenate([X, mostly], axis=1)
    ours, theirs = FeatureScaler("robust").fit(x), preprocessing.RobustScaler().fit(x)
    got, wanted = ours.transform(x), theirs.transform(x)
    np.testing.assert_allclose(got[:, :-1], wanted[:, :-1], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(ours.scale_[-1], mostly.std(), rtol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", METHODS)
def test_the_same_bits_on_every_library(xp: Backend, method: str, dtype: str) -> None:
    host = X.astype(dtype)
    ours = FeatureScaler(method, n_quantiles=50).fit(host)
    there = FeatureScaler(method, n_quantiles=50).fit(xp.array(host))
    scaled = there.transform(xp.array(host))
    assert type(scaled) is type(xp.array(host))
    assert xp.host(scaled).tobytes() == ours.transform(host).tobytes()
    back = xp.host(there.inverse_transform(scaled))
    assert back.tobytes() == ours.inverse_transform(ours.transform(host)).tobytes()
    assert str(back.dtype) == dtype


def test_measures_hold_in_any_order_and_far_from_the_origin(xp: Backend) -> None:
    rng = np.random.default_rng(1)
    host = rng.normal(size=(5000, 2)) + np.asarray([0.0, 1e12])
    # the oracle: values near the mean lose nothing by the shift
    near = host - np.asarray([0.0, 1e12])
    low, high = host.min(axis=0), host.max(axis=0)
    found = []
    for rows in (host, host[::-1], host[rng.permutation(5000)]):
        x = xp.array(np.ascontiguousarray(rows))
        context = context_of(x)
        with context.scope():
            np.testing.assert_array_equal(ranges(x, context), [low, high])
            middle, deviation = middle_and_deviation(x, low, high, context)
            thirds = quantiles(x, np.asarray([0.0, 1 / 3, 0.9, 1.0]), context)
        wanted = np.quantile(host, [0.0, 1 / 3, 0.9, 1.0], axis=0)
        np.testing.assert_allclose(thirds, wanted, rtol=1e-15)
        np.testing.assert_allclose(deviation, near.std(axis=0), rtol=1e-8)
        assert middle[0] == pytest.approx(near[:, 0].mean(), rel=1e-8)
        assert middle[1] - 1e12 == pytest.approx(near[:, 1].mean(), abs=2e-4)
        found.append(middle.tobytes() + deviation.tobytes())
    assert len(set(found)) == 1


@pytest.mark.parametrize("method", METHODS)
def test_the_way_back(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scaler = FeatureScaler(method).fit(X)
    scaled = scaler.transform(X)
    np.testing.assert_allclose(scaler.inverse_transform(scaled), X, rtol=1e-9, atol=1e-12)
    # some rows at a time
    monkeypatch.setattr(_scalers, "CELLS", 50)
    assert scaler.transform(X).tobytes() == scaled.tobytes()


@pytest.mark.parametrize("method", METHODS)
def test_what_comes_back_is_the_users(xp: Backend, method: str) -> None:
    if xp.id == "jax":
        pytest.skip("JAX arrays cannot be changed")
    for dtype in (np.float32, np.float64):
        host = X[:20].astype(dtype)
        x = xp.array(host.copy())
        scaler = FeatureScaler(method).fit(x)
        for found in (scaler.fit_transform(x), scaler.inverse_transform(x)):
            found[...] = -7.0
            assert xp.host(x).tobytes() == host.tobytes()


def test_quantiles_beyond_the_rows_and_of_one_row() -> None:
    scaler = FeatureScaler("quantile").fit([[1.0], [2.0], [4.0]])
    assert scaler.transform([[0.0], [1.0], [3.0], [9.0]]).ravel().tolist() == [0.0, 0.0, 0.75, 1.0]
    assert scaler.inverse_transform([[-1.0], [0.75], [2.0]]).ravel().tolist() == [1.0, 3.0, 4.0]
    alone = FeatureScaler("quantile").fit([[3.0]])
    assert alone.transform([[3.0]]).tolist() == [[0.0]]
    assert alone.inverse_transform([[0.0]]).tolist() == [[3.0]]


@pytest.mark.parametrize("method", METHODS)
def test_in_a_pipeline_on_every_library(xp: Backend, method: str) -> None:
    if method == "none":
        pytest.skip("wine needs a scale: KMeans warns")
    x = xp.array(X)
    model = make_pipeline(FeatureScaler(method), KMeans(3, random_state=0)).fit(x)
    wanted = make_pipeline(FeatureScaler(method), KMeans(3, random_state=0)).fit(X)
    assert xp.host(model.predict(x)).tobytes() == wanted.predict(X).tobytes()
    centers = model[:-1].inverse_transform(model[-1].cluster_centers_)
    assert type(centers) is type(x)
    if method != "quantile":
        means = [X[wanted[-1].labels_ == label].mean(axis=0) for label in range(3)]
        np.testing.assert_allclose(xp.host(centers), means, rtol=1e-9, atol=1e-9)


def test_names_and_output() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X[:, :3], columns=["a", "b", "c"])
    scaler = FeatureScaler().fit(frame)
    assert scaler.get_feature_names_out().tolist() == ["a", "b", "c"]
    framed = clone(scaler).set_output(transform="pandas").fit_transform(frame)
    np.testing.assert_array_equal(framed["b"], scaler.transform(frame)[:, 1])
    # centers carry no names
    assert scaler.inverse_transform(np.zeros((1, 3))).shape == (1, 3)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="Input X contains NaN: the first is at row 1, column 0"):
        FeatureScaler().fit([[1.0], [np.nan]])
    with pytest.raises(ValueError, match=r"column 1 of X is wider than the largest float64"):
        FeatureScaler("minmax").fit([[1.0, 1e308], [2.0, -1e308]])
    with pytest.raises(ValueError, match="'method' parameter"):
        FeatureScaler("center").fit([[1.0]])
    with pytest.raises(ValueError, match="X has 2 features, but FeatureScaler is expecting 1"):
        FeatureScaler().fit([[1.0]]).inverse_transform([[1.0, 2.0]])


def test_pickles_and_places(xp: Backend) -> None:
    x = xp.array(X)
    scaler = FeatureScaler().fit(x)
    assert type(scaler.center_) is type(x)
    again = pickle.loads(pickle.dumps(scaler))
    assert xp.host(again.transform(x)).tobytes() == xp.host(scaler.transform(x)).tobytes()
    if xp.id != "numpy":
        with pytest.raises(ValueError, match=r"passed to FeatureScaler\.transform\(\) must"):
            scaler.transform(X)


def test_fitting_again_leaves_nothing_of_before() -> None:
    scaler = FeatureScaler("quantile").fit(X)
    scaler.set_params(method="standard").fit(X)
    assert not hasattr(scaler, "quantiles_")
    again = pickle.loads(pickle.dumps(scaler))
    assert again.transform(X).tobytes() == scaler.transform(X).tobytes()
