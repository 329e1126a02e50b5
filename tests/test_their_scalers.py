"""scikit-learn's own scalers in front of KMeans, as they are."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from kmeans_xp import KMeans, load_model, plot, save_model

IRIS = load_iris().data

# Dispatch is for a whole process: SciPy must be told before it is imported.
DISPATCHED = """
import importlib, sys
import numpy as np, sklearn
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler
from sklearn.utils import get_tags
from kmeans_xp import KMeans, load_model, plot, save_model
from kmeans_xp._backend import to_host

path, *libraries = sys.argv[1:]
iris = load_iris().data


def check(scaler, x):
    kind = type(x)
    with sklearn.config_context(array_api_dispatch=True):
        model = make_pipeline(scaler, KMeans(3, random_state=0)).fit(x)
        scaled = model[:-1].transform(x)
        labels, centers = model.predict(x), model[-1].cluster_centers_
        original = model[:-1].inverse_transform(centers)
        found = (scaled, labels, model[-1].labels_, centers, original, model.transform(x))
        assert all(type(one) is kind for one in found), [type(one) for one in found]
        drawn = plot.CentersDisplay.from_estimator(model).centers
        clusters = plot.ClustersDisplay.from_estimator(model, x)
        if isinstance(scaler, MinMaxScaler):
            plot.SilhouetteDisplay.from_estimator(model, x)
            plot.ElbowDisplay.from_estimator(model, x, k=2, structure=False, criteria="elbow")
    labels = to_host(model[-1].labels_)
    # one set of scaled rows has one answer
    alone = KMeans(3, random_state=0).fit(to_host(scaled))
    assert alone.labels_.tobytes() == labels.tobytes()
    assert alone.cluster_centers_.tobytes() == to_host(centers).tobytes()
    host = make_pipeline(sklearn.clone(scaler), KMeans(3, random_state=0)).fit(iris)
    np.testing.assert_allclose(to_host(scaled), host[:-1].transform(iris), atol=1e-12)
    np.testing.assert_array_equal(labels, host[-1].labels_)
    means = [iris[labels == number].mean(axis=0) for number in range(3)]
    np.testing.assert_allclose(to_host(original), means)
    np.testing.assert_allclose(drawn, means)
    np.testing.assert_array_equal(clusters.labels, labels)
    save_model(model, path)
    np.testing.assert_array_equal(load_model(path).predict(iris), labels)


for library in libraries:
    x = importlib.import_module(library).asarray(iris)
    known = [
        scaler
        for scaler in (StandardScaler(), MinMaxScaler(), MaxAbsScaler())
        if get_tags(scaler).array_api_support  # by this scikit-learn
    ]
    assert known
    for scaler in known:
        check(scaler, x)
"""


def test_with_dispatch_all_stays_in_the_library(tmp_path: Any) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    libraries = ["numpy", "array_api_strict", "torch"]
    there = [name for name in libraries if importlib.util.find_spec(name) is not None]
    done = subprocess.run(
        [sys.executable, "-c", DISPATCHED, str(tmp_path / "model.npz"), *there],
        env={**os.environ, "SCIPY_ARRAY_API": "1", "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if "SciPy must be" in done.stderr:
        pytest.skip("this SciPy is too old for array-API dispatch in scikit-learn")
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("pyplot")
@pytest.mark.parametrize(
    "scaler", [StandardScaler(), MinMaxScaler(), MaxAbsScaler(), RobustScaler()], ids=str
)
def test_without_dispatch_arrays_and_frames_do(scaler: Any) -> None:
    pandas = pytest.importorskip("pandas")
    names = ["a", "b", "c", "d"]
    frame = pandas.DataFrame(IRIS, columns=names)
    found = [make_pipeline(clone(scaler), KMeans(3, random_state=0)).fit(x) for x in (IRIS, frame)]
    alone = KMeans(3, random_state=0).fit(scaler.fit_transform(IRIS))
    means = [IRIS[alone.labels_ == number].mean(axis=0) for number in range(3)]
    for model, x in zip(found, (IRIS, frame), strict=True):
        assert model[-1].labels_.tobytes() == alone.labels_.tobytes()
        assert model.predict(x).tobytes() == alone.labels_.tobytes()
        np.testing.assert_allclose(plot.CentersDisplay.from_estimator(model).centers, means)
        display = plot.ClustersDisplay.from_estimator(model, x)
        np.testing.assert_array_equal(display.labels, alone.labels_)
    assert plot.CentersDisplay.from_estimator(found[1]).feature_names == names


def test_without_dispatch_tensors_become_numpy_arrays() -> None:
    x = make_backend("torch").array(IRIS)
    model = make_pipeline(StandardScaler(), KMeans(3, random_state=0)).fit(x)
    assert type(model[-1].labels_) is np.ndarray
    here = make_pipeline(StandardScaler(), KMeans(3, random_state=0)).fit(IRIS)
    assert model[-1].labels_.tobytes() == here[-1].labels_.tobytes()


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler(), MaxAbsScaler()])
def test_a_loaded_scaler_goes_on_with_more_rows(scaler: Any, tmp_path: Any) -> None:
    model = make_pipeline(scaler, KMeans(3, random_state=0)).fit(IRIS[:90])
    save_model(model, tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz")[0].partial_fit(IRIS[90:])
    assert (
        loaded.transform(IRIS).tobytes() == scaler.partial_fit(IRIS[90:]).transform(IRIS).tobytes()
    )
