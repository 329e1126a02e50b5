"""Devices: one vocabulary, no hidden copies, no fallback but "auto" (and that one says so)."""

from __future__ import annotations

import dataclasses
import inspect
import logging

import numpy as np
import pytest
from sklearn.utils import _array_api

from kmeans_xp import DeviceError, KMeans, _feed, kmeans_plusplus
from kmeans_xp._backend import context_of
from kmeans_xp._cuda import CudaProbe, cuda_problem, probe_cuda

ROWS = np.random.default_rng(0).normal(size=(200, 3))
USABLE = CudaProbe(
    driver_version=13000, cupy_version="14.2.0", cupy_error=None, device_count=2, nvrtc_error=None
)


@pytest.fixture
def without_gpu():
    if cuda_problem(probe_cuda()) is None:
        pytest.skip("there is a GPU that CuPy can use")


@pytest.mark.parametrize(
    ("changes", "index", "words"),
    [
        ({"driver_version": None}, 0, ("no NVIDIA driver", "apt-get install", "[cuda13]")),
        ({"driver_version": 11080}, 0, ("CUDA 11.8", "Update the driver", "[cuda12]")),
        ({"cupy_version": None}, 0, ("CuPy is not installed", "CUDA 13.0", "[cuda13]")),
        ({"cupy_version": None, "driver_version": 12040}, 0, ("CUDA 12.4", "[cuda12]")),
        ({"cupy_version": None, "driver_version": 14000}, 0, ("CUDA 14.0", "[cuda13]")),
        (
            {"device_count": 0, "cupy_error": "insufficient driver"},
            0,
            ("sees no GPU", "insufficient driver", "pip uninstall", "[cuda13]"),
        ),
        ({"device_count": 0}, 0, ("CuPy 14.2.0 sees no GPU", "nvidia-smi", "[cuda13]")),
        ({}, 2, ("no GPU number 2", "has 2", "cuda:0 to cuda:1")),
        ({"nvrtc_error": "libnvrtc.so.13 not found"}, 1, ("NVRTC", "libnvrtc.so.13", "[cuda13]")),
    ],
)
def test_the_first_missing_piece_is_named_with_its_command(changes, index, words):
    problem = cuda_problem(dataclasses.replace(USABLE, **changes), index)
    for word in words:
        assert word in problem


@pytest.mark.parametrize("driver", [12000, 12080, 13000, 14000])
def test_a_usable_gpu_is_no_problem(driver):
    probe = dataclasses.replace(USABLE, driver_version=driver)
    assert cuda_problem(probe) is None
    assert cuda_problem(probe, 1) is None


def test_the_driver_is_missed_before_all_else():
    nothing = CudaProbe(None, None, None, 0, "no NVRTC")
    assert "driver" in cuda_problem(nothing, 5)


def test_default_follows_x(xp, monkeypatch):
    # compiled loops come in between two fits, once they have paid
    monkeypatch.setenv("KMEANS_XP_NUMBA", "0")
    X = xp.array(ROWS)
    model = KMeans(4, random_state=0).fit(X)
    where = context_of(X)
    for array in (model.cluster_centers_, model.labels_, model.predict(X), model.transform(X)):
        assert context_of(array) == where
    on_host = xp.id in ("numpy", "torch", "jax")
    assert model.backend_ == ("numpy" if on_host else where.backend)
    assert isinstance(model.kernel_, str)
    if on_host:
        assert model.kernel_ == KMeans(4, random_state=0).fit(ROWS).kernel_
    assert model.device_ == where.device_name
    assert isinstance(model.inertia_, float)
    assert isinstance(model.score(X), float)


def test_cpu_is_a_word_for_every_library(xp):
    X = xp.array(ROWS)
    model = KMeans(4, random_state=0, device="cpu").fit(X)
    assert model.device_ in ("cpu", "CPU_DEVICE") or "CPU_DEVICE" in model.device_
    for array in (model.cluster_centers_, model.labels_, model.predict(X), model.transform(X)):
        assert context_of(array) == context_of(X)
    plain = KMeans(4, random_state=0).fit(ROWS)
    np.testing.assert_array_equal(xp.host(model.labels_), plain.labels_)
    np.testing.assert_array_equal(xp.host(model.cluster_centers_), plain.cluster_centers_)
    assert model.inertia_ == plain.inertia_


def test_nothing_is_copied_to_the_host_behind_the_back(monkeypatch):
    """On array-api-strict's device1 `np.asarray` raises, as on a GPU; DLPack is watched."""
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    X = strict.asarray(ROWS, device=device)
    with pytest.raises(RuntimeError):
        np.asarray(X)
    biggest = []
    hand_over = type(X).__dlpack__

    def watched(array, **options):
        biggest.append(array.size)
        return hand_over(array, **options)

    monkeypatch.setattr(type(X), "__dlpack__", watched)
    model = KMeans(4, random_state=0).fit(X, sample_weight=strict.ones(200, device=device))
    for result in (model.predict(X), model.transform(X), model.fit_transform(X)):
        assert result.device == device
    assert model.score(X) <= 0.0
    assert kmeans_plusplus(X, 4, random_state=0)[0].device == device
    # sums, counts and ranges come over, rows do not
    assert biggest
    assert max(biggest) < len(ROWS)


def test_weights_and_start_follow_x(xp):
    weight = np.linspace(1.0, 2.0, 200)
    model = KMeans(4, init=ROWS[:4]).fit(xp.array(ROWS), sample_weight=weight)
    same = KMeans(4, init=xp.array(ROWS[:4])).fit(xp.array(ROWS), sample_weight=xp.array(weight))
    for name in ("cluster_centers_", "labels_"):
        assert context_of(getattr(model, name)) == context_of(xp.array(ROWS))
        np.testing.assert_array_equal(xp.host(getattr(model, name)), xp.host(getattr(same, name)))
    assert model.inertia_ == same.inertia_


def test_start_and_weights_of_another_library(xp):
    """They follow X wherever they come from; X itself never moves."""
    weight = np.linspace(1.0, 2.0, 200)
    plain = KMeans(4, init=ROWS[:4]).fit(ROWS, sample_weight=weight)
    mixed = KMeans(4, init=xp.array(ROWS[:4])).fit(ROWS, sample_weight=xp.array(weight))
    np.testing.assert_array_equal(mixed.labels_, plain.labels_)
    np.testing.assert_array_equal(mixed.cluster_centers_, plain.cluster_centers_)


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_by_name_is_an_error_without_one(xp, device, without_gpu):
    with pytest.raises(DeviceError, match=f"device='{device}' cannot be used: ") as caught:
        KMeans(4, device=device).fit(xp.array(ROWS))
    assert 'pip install "kmeans-xp[cuda1' in str(caught.value)
    with pytest.raises(DeviceError):
        kmeans_plusplus(xp.array(ROWS), 4, device=device)
    model = KMeans(4, random_state=0).fit(xp.array(ROWS)).set_params(device=device)
    with pytest.raises(DeviceError):
        model.predict(xp.array(ROWS))


def test_auto_falls_back_with_one_line(xp, without_gpu, caplog):
    X = xp.array(ROWS)
    with caplog.at_level(logging.DEBUG, logger="kmeans_xp"):
        model = KMeans(4, random_state=0, device="auto")
        distances = model.fit_transform(X)
        labels = model.predict(X)
    (record,) = caplog.records
    assert record.name == "kmeans_xp"
    assert record.getMessage().startswith(f"device='auto' falls back to {model.device_}: no ")
    assert model.device_ == context_of(X).device_name
    assert context_of(distances) == context_of(X)
    np.testing.assert_array_equal(xp.host(labels), KMeans(4, random_state=0).fit(ROWS).labels_)


@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_another_library_or_device_at_predict_is_refused(xp, method):
    strict = pytest.importorskip("array_api_strict")
    model = KMeans(4, random_state=0).fit(xp.array(ROWS))
    elsewhere = strict.asarray(ROWS, device=strict.Device("device2"))
    with pytest.raises(ValueError, match="must use the same namespace and the same device") as e:
        getattr(model, method)(elsewhere)
    assert f"KMeans.{method}()" in str(e.value)
    if xp.id != "numpy":
        with pytest.raises(ValueError, match="must use the same namespace"):
            getattr(model, method)(ROWS)


def test_the_remedy_of_that_error_works():
    if not hasattr(_array_api, "move_estimator_to"):
        pytest.skip("this scikit-learn is older than move_estimator_to")
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    model = KMeans(4, random_state=0).fit(ROWS)
    moved = _array_api.move_estimator_to(model, strict, device)
    X = strict.asarray(ROWS, device=device)
    assert moved.predict(X).device == device
    assert moved.score(X) == -model.inertia_


@pytest.mark.parametrize("fitted", [np.float32, np.float64])
def test_another_float_dtype_at_predict_is_exact(xp, fitted):
    other = np.float64 if fitted is np.float32 else np.float32
    X = ROWS * 3.0 + 1e4
    model = KMeans(4, random_state=0).fit(xp.array(X, fitted))
    asked = X.astype(other)
    centers = xp.host(model.cluster_centers_).astype(np.float64)
    exact = ((asked.astype(np.float64)[:, None] - centers[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(xp.host(model.predict(xp.array(asked))), exact.argmin(axis=1))
    assert model.score(xp.array(asked)) == pytest.approx(-exact.min(axis=1).sum(), rel=1e-12)


def test_a_device_without_float64_is_one_error():
    strict = pytest.importorskip("array_api_strict")
    X = strict.asarray(ROWS.astype(np.float32), device=strict.Device("no_float64"))
    whole = strict.astype(X, strict.int32)
    for rows in (X, whole):
        with pytest.raises(DeviceError, match="has no float64") as caught:
            KMeans(4).fit(rows)
        assert "device='cpu'" in str(caught.value)
    # the remedy that it names
    model = KMeans(4, random_state=0, device="cpu").fit(X)
    assert model.labels_.device == strict.Device("no_float64")


def test_integers_of_every_library_become_float64(xp):
    X = xp.array(np.arange(60, dtype=np.int32).reshape(20, 3))
    model = KMeans(3, random_state=0).fit(X)
    assert str(model.cluster_centers_.dtype).endswith("float64")
    plain = KMeans(3, random_state=0).fit(np.arange(60).reshape(20, 3))
    np.testing.assert_array_equal(xp.host(model.cluster_centers_), plain.cluster_centers_)


def test_the_cuda_kernel_does_not_run_without_a_gpu(without_gpu):
    """It fails with CuPy's words, and nothing else takes its place."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    from kmeans_xp._kernels.cuda._source import UNITS, CupyLauncher

    with pytest.raises(RuntimeError, match=r"driver|device"):
        CupyLauncher(cupy).launch(UNITS[0], "assign", 1, 0, ())


def test_cupy_has_what_copies_beside_kernels_need():
    """The names that a stand-in for the device has in other tests."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    cuda = cupy.cuda
    wanted = {
        cuda.Stream: {"non_blocking"},
        cuda.Event: {"disable_timing"},
        cuda.Stream.wait_event: {"event"},
        cuda.Stream.record: {"event"},
        cupy.empty: {"shape", "dtype"},
    }
    for called, names in wanted.items():
        assert names <= set(inspect.signature(called).parameters)
    for called in (cuda.Stream.synchronize, cuda.Event.synchronize, cuda.get_current_stream):
        assert callable(called)
    assert "stream (cupy.cuda.Stream)" in cupy.ndarray.set.__doc__
    assert cuda.runtime.PointerAttributes(0, 0, 0, cuda.runtime.memoryTypeHost).type == 1
    assert "out of memory" in str(cuda.runtime.CUDARuntimeError(_feed._OUT_OF_MEMORY))
    assert cuda.runtime.CUDARuntimeError(2).status == 2
    pool = cupy.get_default_memory_pool()
    for called in (pool.free_bytes, pool.get_limit, pool.used_bytes, cuda.alloc_pinned_memory):
        assert callable(called)
