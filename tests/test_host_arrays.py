"""Arrays of torch and JAX in host memory are worked on as NumPy views, and answer in kind."""

from __future__ import annotations

import os
import pathlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Backend, make_backend

from kmeans_xp import KMeans, k_means, kmeans_plusplus, load_model, save_model
from kmeans_xp._backend import context_of, numpy_context, resolve

ROWS = np.random.default_rng(3).normal(size=(300, 4)) * 5 + 20
NUMPY = make_backend("numpy")


@pytest.fixture(params=["torch", "jax"])
def guest(request: pytest.FixtureRequest) -> Backend:
    return make_backend(request.param)


def _bits(backend: Backend, model: Any) -> tuple[bytes, bytes, float, int]:
    centers = backend.host(model.cluster_centers_).tobytes()
    return backend.host(model.labels_).tobytes(), centers, model.inertia_, model.n_iter_


def _subnormal(dtype: str) -> tuple[Any, Any]:
    """Blobs of subnormal numbers; with float32 rows the weights are subnormal too."""
    random = np.random.default_rng(0)
    unit = float(np.finfo(dtype).smallest_subnormal)
    corners = random.integers(-4000, 4000, size=(6, 3))
    x = corners[random.integers(6, size=400)] + random.integers(-300, 300, size=(400, 3))
    weight = random.integers(1, 9, size=400) * (5e-324 if dtype == "float32" else 1.0)
    return (x * unit).astype(dtype), weight


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("init", ["k-means++", "random", "random-partition", "k-means||", "array"])
def test_subnormal_rows_have_one_answer(xp: Backend, dtype: str, init: str) -> None:
    x, weight = _subnormal(dtype)
    models = [
        KMeans(
            6, init=backend.array(x[:6]) if init == "array" else init, n_init=1, random_state=2
        ).fit(backend.array(x), sample_weight=backend.array(weight))
        for backend in (NUMPY, xp)
    ]
    assert len(set(models[0].labels_.tolist())) == 6
    assert _bits(xp, models[1]) == _bits(NUMPY, models[0])
    other = np.roll(x, 1, axis=1)
    predicted = xp.host(models[1].predict(xp.array(other)))
    assert predicted.tobytes() == models[0].predict(other).tobytes()
    score = models[1].score(xp.array(other), sample_weight=xp.array(weight))
    assert score == models[0].score(other, sample_weight=weight)
    start, rows = kmeans_plusplus(xp.array(x), 6, random_state=0)
    assert xp.host(start).tobytes() == x[xp.host(rows)].tobytes()


def _address(x: Any) -> int:
    """Where an array's first value lies in memory, by its own library's word."""
    return int(x.data_ptr() if hasattr(x, "data_ptr") else x.unsafe_buffer_pointer())


@pytest.mark.parametrize("device", [None, "cpu", "auto"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numpy_sees_the_rows_where_they_are(guest: Backend, device: str, dtype: str) -> None:
    x = guest.array(ROWS, dtype)
    if device == "auto" and context_of(x) != resolve(x, "auto")[1]:
        pytest.skip("there is a GPU, to which auto moves the rows")
    work, home = resolve(x, device)
    assert work == numpy_context()
    assert home == context_of(x)
    view = work.move(x)
    assert view.__array_interface__["data"][0] == _address(x)
    assert view.dtype == dtype
    assert view.tobytes() == ROWS.astype(dtype).tobytes()


PEAK = """
import sys
import numpy as np
from kmeans_xp import KMeans

if sys.argv[1] == "torch":
    from torch import from_dlpack
else:
    from jax.numpy import from_dlpack

def rows(n, d=256):
    # handed over without a copy, which JAX does where the address is a multiple of 64
    memory = np.empty(n * d + 16, dtype=np.float32)
    skip = -memory.ctypes.data % 64 // 4
    host = memory[skip : skip + n * d]
    np.random.default_rng(0).random(out=host, dtype=np.float32)
    return from_dlpack(host.reshape(n, d))

def ask(x, start):
    model = KMeans(3, init=start, max_iter=2).fit(x)
    model.predict(x), model.transform(x), model.score(x)

def resident(which):
    # the peak that getrusage tells may be that of the parent, before this program was loaded
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(which))

start = rows(3)
ask(rows(20_000), start)
n = 200_000
x = rows(n)
before = resident("VmRSS")
assert resident("VmHWM") - before < 1 << 22
ask(x, start)
print(n * 1024, resident("VmHWM") - before)
"""


@pytest.mark.skipif(
    not pathlib.Path("/proc/self/status").exists(), reason="memory in use is read from /proc"
)
def test_no_copy_of_the_rows_is_made(guest: Backend) -> None:
    """A process takes far less memory for its questions than the rows take."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, guest.id],
        env={**os.environ, "OMP_NUM_THREADS": "1", "KMEANS_XP_NUMBA": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    size, grown = map(int, done.stdout.split())
    assert grown < size // 4


TORCH_VIEWS: dict[str, Callable[[Any], Any]] = {
    "with a gradient": lambda x: x.clone().requires_grad_(),
    "result of operations with a gradient": lambda x: x.clone().requires_grad_() * 1.0,
    "transposed": lambda x: x.T.clone().T,
    "every other column": lambda x: x.repeat_interleave(2, dim=1)[:, ::2],
    "negated view": lambda x: (-x)._neg_view(),
}


@pytest.mark.parametrize("view", TORCH_VIEWS)
def test_views_of_torch(view: str) -> None:
    torch = make_backend("torch")
    rows = TORCH_VIEWS[view](torch.array(ROWS))
    plain = KMeans(5, random_state=1, n_init=1).fit(ROWS)
    for init in ("k-means++", rows[:5]):
        model = KMeans(5, init=init, random_state=1, n_init=1).fit(rows)
        if init == "k-means++":
            assert _bits(torch, model) == _bits(NUMPY, plain)
        distances, (start, _) = model.transform(rows), kmeans_plusplus(rows, 3, random_state=0)
        assert torch.host(model.predict(rows)).tobytes() == torch.host(model.labels_).tobytes()
        for result in (model.cluster_centers_, distances, start):
            assert not result.requires_grad


def test_one_value_repeated_without_memory() -> None:
    """A stride of zero, and weights with one too."""
    torch = make_backend("torch")
    rows = torch.array(ROWS[:, :1]).expand(-1, 3)
    weight = torch.array([2.0]).expand(len(ROWS))
    model = KMeans(3, random_state=0).fit(rows, sample_weight=weight)
    plain = KMeans(3, random_state=0).fit(
        np.repeat(ROWS[:, :1], 3, axis=1), sample_weight=[2] * 300
    )
    assert _bits(torch, model) == _bits(NUMPY, plain)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8", "int32", "bool"])
def test_other_dtypes_become_float64_in_their_own_library(guest: Backend, dtype: str) -> None:
    rows = guest.array(np.trunc(ROWS / 8 - 3), np.float32)
    rows = rows.to(getattr(guest.xp, dtype)) if guest.id == "torch" else rows.astype(dtype)
    as_seen = guest.host(rows.float() if guest.id == "torch" else rows.astype("float32"))
    plain = KMeans(2, random_state=0).fit(as_seen.astype(np.float64))
    model = KMeans(2, random_state=0).fit(rows)
    assert _bits(guest, model) == _bits(NUMPY, plain)
    assert context_of(model.cluster_centers_) == context_of(rows)
    assert guest.host(model.cluster_centers_).dtype == np.float64
    assert kmeans_plusplus(rows, 2, random_state=0)[0].dtype == rows.dtype


@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_callback_and_callable_start_get_the_callers_arrays(
    xp: Backend, dtype: str, device: str | None
) -> None:
    rows, seen = xp.array(ROWS, dtype), []

    def first_rows(X: Any, n_clusters: int, random_state: Any) -> Any:
        assert X is rows
        return X[:n_clusters, :] * 1.0

    model = KMeans(3, init=first_rows, n_init=1, tol=0, device=device)
    model.callback = lambda record, centers: seen.append(centers)
    model.fit(rows)
    assert len(seen) == model.n_iter_
    for centers in seen:
        assert context_of(centers) == context_of(rows)
        assert centers.dtype == rows.dtype
        assert str(centers.dtype).endswith(dtype)
    assert xp.host(seen[-1]).tobytes() == xp.host(model.cluster_centers_).tobytes()
    plain = KMeans(3, init=ROWS[:3].astype(dtype), n_init=1, tol=0).fit(ROWS.astype(dtype))
    assert _bits(xp, model) == _bits(NUMPY, plain)


def test_functions_and_frames_of_results(guest: Backend) -> None:
    rows = guest.array(ROWS)
    plain = KMeans(3, random_state=0).fit(ROWS)
    for array, name in zip(
        k_means(rows, 3, random_state=0)[:2], ("cluster_centers_", "labels_"), strict=True
    ):
        assert context_of(array) == context_of(rows)
        np.testing.assert_array_equal(guest.host(array), getattr(plain, name))
    made = KMeans(3, random_state=0).fit_transform(rows)
    assert context_of(made) == context_of(rows)
    assert guest.host(made).tobytes() == plain.transform(ROWS).tobytes()
    pandas = pytest.importorskip("pandas")
    frame = KMeans(3, random_state=0).set_output(transform="pandas").fit_transform(rows)
    assert isinstance(frame, pandas.DataFrame)
    np.testing.assert_array_equal(frame.to_numpy(), plain.transform(ROWS))


def test_stored_models(guest: Backend, tmp_path: pathlib.Path) -> None:
    rows = guest.array(ROWS)
    model = KMeans(3, init=rows[:3, :], n_init=1).fit(rows)
    again = pickle.loads(pickle.dumps(model))
    assert context_of(again.predict(rows)) == context_of(rows)
    assert again.score(rows) == -model.inertia_
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert (loaded.backend_, loaded.device_) == ("numpy", "cpu")
    assert loaded.predict(ROWS).tobytes() == guest.host(model.labels_).tobytes()


def test_a_traced_array_is_refused() -> None:
    jax = pytest.importorskip("jax")
    with pytest.raises(TypeError, match="Call kmeans_xp outside of traced functions"):
        jax.jit(lambda x: KMeans(2).fit(x).labels_)(ROWS)


TWO_DEVICES = """
import jax
import numpy as np
from kmeans_xp import DeviceError, KMeans
from kmeans_xp._backend import context_of

one, other = jax.devices()
rows = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
plain = KMeans(3, random_state=0).fit(rows)
mesh = jax.sharding.Mesh(jax.devices(), ("rows",))
for spec in (jax.sharding.PartitionSpec("rows"), jax.sharding.PartitionSpec()):
    spread = jax.device_put(rows, jax.sharding.NamedSharding(mesh, spec))
    asks = [
        lambda: KMeans(3).fit(spread),
        lambda: KMeans(3, device="cpu").fit(spread),
        lambda: KMeans(3, init=spread[:3]).fit(rows),
        lambda: KMeans(3).fit(rows, sample_weight=spread[:, 0] ** 2),
    ]
    for ask in asks:
        try:
            ask()
        except DeviceError as error:
            print("spread over 2 devices" in str(error), "device_put" in str(error))
whole = jax.device_put(rows, other)
model = KMeans(3, random_state=0).fit(whole)
for array in (model.labels_, model.cluster_centers_, model.predict(whole), model.transform(whole)):
    print(array.device == other, context_of(array) == context_of(whole))
print(np.asarray(model.cluster_centers_).tobytes() == plain.cluster_centers_.tobytes(), True)
"""


def test_jax_arrays_on_several_devices() -> None:
    """Spread ones are refused; one on the second CPU device is answered there."""
    make_backend("jax")
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["True True"] * 13
