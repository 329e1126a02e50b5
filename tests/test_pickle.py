"""Pickles and copies: on every library, and of a GPU model where there is no GPU."""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys

import numpy as np
import pytest

from kmeans_xp import KMeans
from kmeans_xp._backend import context_of
from kmeans_xp._cuda import cuda_problem, probe_cuda
from kmeans_xp.estimators import _portable

ROWS = np.random.default_rng(0).normal(size=(60, 3))
ON_GPU = ("cupy", "cuda:0")


def no_gpu():
    return cuda_problem(probe_cuda()) is not None


def same(xp, one, other):
    np.testing.assert_array_equal(xp.host(one), xp.host(other))


@pytest.mark.parametrize(
    "send", [lambda model: pickle.loads(pickle.dumps(model)), copy.deepcopy, copy.copy]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_copies_are_the_model(xp, send, dtype, caplog):
    X = xp.array(ROWS, dtype)
    model = KMeans(4, init=X[:4, :], random_state=0).fit(X)
    again = send(model)
    assert context_of(again.cluster_centers_) == context_of(model.cluster_centers_)
    assert again.cluster_centers_.dtype == model.cluster_centers_.dtype == X.dtype
    same(xp, again.cluster_centers_, model.cluster_centers_)
    same(xp, again.labels_, model.labels_)
    same(xp, again.predict(X), model.labels_)
    same(xp, again.transform(X), model.transform(X))
    assert again.score(X) == -model.inertia_
    assert again.history_ == model.history_
    # the start travelled too
    same(xp, again.fit(X).labels_, model.labels_)
    assert not caplog.records


def test_unfitted_models_travel():
    model = pickle.loads(pickle.dumps(KMeans(3, init="random", device="cuda")))
    assert model.get_params() == KMeans(3, init="random", device="cuda").get_params()


def gpu_state(**more):
    """The state of a fitted model as a GPU machine pickles it."""
    pandas = pytest.importorskip("pandas")
    model = KMeans(4, random_state=0).fit(pandas.DataFrame(ROWS, columns=["a", "b", "c"]))
    state = model.__getstate__()
    state.update(more)
    places = dict.fromkeys(("cluster_centers_", "labels_"), ON_GPU)
    return {**state, "device_": "cuda:0", "backend_": "cupy", _portable._MARK: places}, model


@pytest.mark.parametrize(("device", "after"), [("cuda:0", None), (None, None), ("auto", "auto")])
def test_gpu_model_works_where_there_is_no_gpu(device, after, caplog):
    if not no_gpu():
        pytest.skip("there is a GPU: the model goes back to it")
    state, model = gpu_state(device=device)
    again = KMeans.__new__(KMeans)
    with caplog.at_level(logging.INFO, logger="kmeans_xp"):
        again.__setstate__(state)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.name == "kmeans_xp"
    assert "cupy arrays on cuda:0, which cannot be used here" in record.getMessage()
    assert "NumPy" in record.getMessage()
    assert again.device == after
    assert isinstance(again.cluster_centers_, np.ndarray)
    frame = model.feature_names_in_
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(ROWS, columns=frame)
    np.testing.assert_array_equal(again.predict(X), model.labels_)
    assert again.score(X) == -model.inertia_
    # and it travels on as the NumPy model that it is now
    caplog.clear()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again)).labels_, model.labels_)
    assert not caplog.records


def test_gpu_model_loads_without_the_library(caplog, monkeypatch):
    state, model = gpu_state()
    monkeypatch.setitem(sys.modules, "cupy", None)
    again = KMeans.__new__(KMeans)
    again.__setstate__(state)
    assert len(caplog.records) == 1
    np.testing.assert_array_equal(again.labels_, model.labels_)


@pytest.mark.parametrize(
    ("library", "device"), [("torch", "cuda:0"), ("torch", "cuda:63"), ("jax", "cuda:63")]
)
def test_other_libraries_models_load_without_their_device(library, device, caplog):
    pytest.importorskip(library)
    state, model = gpu_state()
    state[_portable._MARK] = {"cluster_centers_": (library, device), "labels_": (library, device)}
    if device == "cuda:0" and not no_gpu():
        pytest.skip("there is a GPU: the model goes back to it")
    again = KMeans.__new__(KMeans)
    again.__setstate__(state)
    assert len(caplog.records) == 1
    assert isinstance(again.labels_, np.ndarray)
    np.testing.assert_array_equal(again.cluster_centers_, model.cluster_centers_)


def test_arrays_that_were_on_the_host_stay_there():
    """Only what was packed goes back: feature names are no numbers for a device."""
    torch = pytest.importorskip("torch")
    state, _ = gpu_state()
    state[_portable._MARK] = dict.fromkeys(("cluster_centers_", "labels_"), ("torch", "cpu"))
    again = KMeans.__new__(KMeans)
    again.__setstate__(state)
    assert isinstance(again.cluster_centers_, torch.Tensor)
    assert again.cluster_centers_.dtype == torch.float64
    assert isinstance(again.feature_names_in_, np.ndarray)


def test_cupy_model_comes_back_to_its_gpu():
    if no_gpu():
        pytest.skip("there is no GPU that CuPy can use")
    cupy = pytest.importorskip("cupy")
    model = KMeans(4, random_state=0).fit(cupy.asarray(ROWS))
    again = pickle.loads(pickle.dumps(model))
    assert isinstance(again.cluster_centers_, cupy.ndarray)
    assert again.cluster_centers_.device == model.cluster_centers_.device


def test_pickle_loads_without_the_other_libraries(tmp_path):
    """A NumPy model's pickle imports neither torch, JAX nor CuPy."""
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps(KMeans(4, random_state=0).fit(ROWS)))
    code = (
        f"import pickle, sys; model = pickle.load(open({str(path)!r}, 'rb'));"
        "print(model.predict([[0.0, 0.0, 0.0]]), {'torch', 'jax', 'cupy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().endswith("set()")
