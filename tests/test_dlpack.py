"""Arrays from elsewhere: who works on them, and that the same memory is seen."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import make_backend

from kmeans_xp import KMeans, _backend
from kmeans_xp._backend import context_of, numpy_context
from kmeans_xp._dlpack import as_cupy_stream, copy_between_gpus, cuda_index, share, worked_on_by

ROWS = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("backend", "device", "index", "usable", "worker"),
    [
        ("numpy", "cpu", None, True, "numpy"),
        ("array_api_strict", "CPU_DEVICE", None, True, "array_api_strict"),
        ("cupy", "cuda:0", 0, True, "cupy"),
        ("cupy", "cuda:1", 1, True, "cupy"),
        ("torch", "cpu", None, True, "numpy"),
        ("jax", "cpu", None, False, "numpy"),
        ("torch", "cuda:0", 0, True, "cupy"),
        ("torch", "cuda:1", 1, True, "cupy"),
        ("jax", "cuda:0", 0, True, "cupy"),
        # without CuPy the primitives run in the library itself
        ("torch", "cuda:0", 0, False, "torch"),
        ("jax", "cuda:1", 1, False, "jax"),
        # ROCm is "cuda" to torch; JAX has host memory that a GPU reads; others are no GPUs of ours
        ("torch", "cuda:0", None, True, "torch"),
        ("jax", "cuda:0", None, True, "jax"),
        ("torch", "mps:0", None, True, "torch"),
        ("jax", "tpu:0", None, True, "jax"),
    ],
)
def test_who_works_where(backend, device, index, usable, worker):
    assert worked_on_by(backend, device, index, usable=usable) == worker


def test_arrays_on_the_cpu_are_in_no_gpu(xp):
    if xp.id.startswith("strict") or xp.id == "cupy":
        pytest.skip("array-api-strict's devices are its own, CuPy's are GPUs")
    rows = xp.array(ROWS)
    if xp.id == "jax":
        # where there is a GPU, JAX puts arrays there unless it is told not to
        jax = pytest.importorskip("jax")
        rows = jax.device_put(rows, jax.devices("cpu")[0])
    assert cuda_index(rows) is None
    assert context_of(rows).gpu is None


@pytest.mark.parametrize("device", ["cuda:0", "cuda:3"])
def test_the_number_of_a_gpu(device):
    kind, _, number = device.partition(":")
    there = _backend.Context(np, SimpleNamespace(type=kind, index=int(number)), "torch")
    assert there.device_name == device
    assert there.gpu == int(number)


def test_devices_of_jax_are_numbered_by_their_machine():
    """The id goes on over all processes of a job."""
    device = SimpleNamespace(platform="gpu", id=9, local_hardware_id=1)
    assert _backend.Context(np, device, "jax").device_name == "cuda:1"


def views(torch):
    """Rows as torch may hold them."""
    plain = torch.asarray(ROWS.copy())
    yield plain
    yield plain.T.contiguous().T
    yield torch.asarray(np.repeat(ROWS, 3, axis=1))[:, ::3]
    yield torch.asarray(ROWS.copy()).requires_grad_()
    yield plain[:1].expand(5, -1)
    yield plain[:0]
    yield torch.empty((3, 0))
    yield plain[5]


def test_torch_shows_its_memory():
    torch = make_backend("torch").xp
    for tensor in views(torch):
        seen = share(tensor, numpy_context().xp)
        assert type(seen) is np.ndarray
        assert seen.shape == tuple(tensor.shape)
        np.testing.assert_array_equal(seen, tensor.detach().numpy())
        if seen.size:
            assert seen.ctypes.data == tensor.data_ptr()
            assert seen.strides == tuple(4 * step for step in tensor.stride())


def test_negatives_that_torch_keeps_as_a_mark_are_made():
    torch = make_backend("torch").xp
    pairs = torch.complex(torch.asarray(ROWS.copy()), torch.asarray(ROWS + 1)).conj().imag
    assert pairs.is_neg()
    np.testing.assert_array_equal(share(pairs, numpy_context().xp), -(ROWS + 1))


def test_jax_shows_its_memory():
    array = make_backend("jax").array(ROWS)
    seen = share(array, numpy_context().xp)
    assert seen.ctypes.data == array.unsafe_buffer_pointer()
    np.testing.assert_array_equal(seen, ROWS)
    assert share(array[:0], numpy_context().xp).shape == (0, 4)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, np.float64])
def test_results_are_seen_by_torch(dtype):
    backend = make_backend("torch")
    result = ROWS.astype(dtype)
    seen = share(result, backend.xp)
    assert seen.data_ptr() == result.ctypes.data
    assert str(seen.dtype).endswith(np.dtype(dtype).name)
    # torch ends the process when it meets negative strides
    np.testing.assert_array_equal(
        backend.host(share(result[::-1, ::-1], backend.xp)), result[::-1, ::-1]
    )
    assert share(result[:0], backend.xp).shape == (0, 4)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float64])
def test_results_keep_their_dtype_in_jax(dtype):
    backend = make_backend("jax")
    result = np.asfortranarray(ROWS.astype(dtype))
    home = context_of(backend.array(ROWS))
    with home.scope():
        seen = share(result, home.xp)
    assert str(seen.dtype) == np.dtype(dtype).name
    np.testing.assert_array_equal(backend.host(seen), result)


def test_a_stream_of_torch_becomes_one_of_cupy():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    for pointer in (0, 1, 123456):
        assert as_cupy_stream(SimpleNamespace(cuda_stream=pointer), cupy).ptr == pointer


class Gpu(str):
    """A device in the place of one of CuPy's: it says what enters and leaves it."""

    said: list[str]

    def __new__(cls, name, said):
        found = super().__new__(cls, name)
        found.said = said
        return found

    def __enter__(self):
        self.said.append(f"into {self}")

    def __exit__(self, *error):
        self.said.append(f"out of {self}")

    def synchronize(self):
        self.said.append(f"wait for {self}")


def in_place_of_cupy(said, stream):
    """NumPy with the names of CuPy that a hand-over asks for; each device is the CPU."""
    cuda = SimpleNamespace(Device=lambda index: Gpu("cpu", said), get_current_stream=lambda: stream)
    return SimpleNamespace(cuda=cuda, from_dlpack=np.from_dlpack)


def test_work_on_a_stream_begins_and_ends_in_order(monkeypatch):
    said = []
    device, stream = Gpu("device", said), Gpu("stream", said)
    monkeypatch.setitem(sys.modules, "cupy", in_place_of_cupy(said, stream))
    for options, between in (
        ({}, []),
        ({"stream": stream}, ["into stream", "out of stream"]),
        ({"waits": True}, ["wait for stream"]),
    ):
        said.clear()
        with _backend.Context(np, device, "cupy", **options).scope():
            said.append("work")
        into = [word for word in between if word.startswith("into")]
        after = [word for word in between if not word.startswith("into")]
        assert said == ["into device", *into, "work", *after, "out of device"]
    said.clear()
    with pytest.raises(KeyError), _backend.Context(np, device, "cupy", waits=True).scope():
        raise KeyError
    assert "wait for stream" in said


def test_streams_do_not_tell_contexts_apart():
    one = _backend.Context(np, "cuda:0", "cupy", stream=object(), waits=True)
    assert one == _backend.Context(np, "cuda:0", "cupy")


def test_from_gpu_to_gpu_nothing_is_copied_within_one(monkeypatch):
    """The way of a tensor to CuPy and of a result back, with NumPy in CuPy's place."""
    torch = make_backend("torch").xp
    said = []
    monkeypatch.setitem(sys.modules, "cupy", in_place_of_cupy(said, None))
    there = SimpleNamespace(type="cuda", index=0)
    home = _backend.Context(torch, there, "torch")
    work = _backend.Context(np, SimpleNamespace(id=0), "cupy")
    tensor = torch.asarray(ROWS.copy()).requires_grad_()
    seen = work._move_by_cupy(tensor, home)
    assert seen.ctypes.data == tensor.data_ptr()
    back = home._move_by_cupy(seen, work)
    assert back.data_ptr() == tensor.data_ptr()
    # what torch asks CuPy about its current stream is asked on the device
    assert said == ["into cpu", "out of cpu"]


def test_a_copy_to_another_gpu_waits_on_both_sides():
    said = []
    stream, here, there = Gpu("stream", said), Gpu("here", said), Gpu("there", said)
    array = SimpleNamespace(device=here, copy=lambda: said.append("copy"))
    cupy = in_place_of_cupy(said, stream)
    assert copy_between_gpus(array, here, cupy) is array
    assert said == []
    copy_between_gpus(array, there, cupy)
    wait = "wait for stream"
    assert said == ["into here", wait, "out of here", "into there", "copy", wait, "out of there"]


@pytest.mark.parametrize("problem", [None, "CuPy is not installed"])
def test_torch_on_a_gpu_goes_to_cupy_if_that_works(problem, monkeypatch, caplog):
    torch = make_backend("torch").xp
    tensor = torch.asarray(ROWS.copy())
    home = _backend.Context(torch, SimpleNamespace(type="cuda", index=1), "torch")
    asked = []

    def why_not(probe, index):
        asked.append(index)
        return problem

    monkeypatch.setattr(_backend, "context_of", lambda array: home)
    monkeypatch.setattr(_backend, "cuda_index", lambda array: 1)
    monkeypatch.setattr(_backend, "cuda_problem", why_not)
    monkeypatch.setattr(_backend, "_cuda_context", lambda index, joined=None: (index, joined))
    with caplog.at_level(logging.INFO, logger="kmeans_xp"):
        for device in (None, "auto", "cuda", "cuda:1"):
            work, back = _backend.resolve(tensor, device)
            assert back is home
            assert work is home if problem else work == (1, tensor)
    assert asked == [1, 1, 1, 1]
    said = [record.getMessage() for record in caplog.records]
    assert said == ([f"torch works on cuda:1 itself: {problem}"] * 4 if problem else [])


def test_gradients_do_not_matter(xp):
    """A parameter of a model is data like any other."""
    if xp.id != "torch":
        pytest.skip("only torch has gradients")
    X = xp.array(ROWS).requires_grad_()
    model = KMeans(3, random_state=0).fit(X)
    assert not model.cluster_centers_.requires_grad
    np.testing.assert_array_equal(
        xp.host(model.labels_), KMeans(3, random_state=0).fit(ROWS).labels_
    )
