"""What a GPU alone can show: hand-over, streams, several devices, memory.  Skipped without one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import make_backend

from kmeans_xp import DeviceMemoryError, KMeans, k_means_batched, kmeans_plusplus
from kmeans_xp._backend import context_of, resolve
from kmeans_xp._kernels import Shape
from kmeans_xp._memory import passing_bytes

ROWS = np.random.default_rng(0).normal(size=(3000, 20)).astype(np.float32)
ROWS += 3 * np.random.default_rng(1).integers(0, 4, size=(3000, 1))
K = 9


@pytest.fixture
def cupy() -> Any:
    return make_backend("cupy").xp


@pytest.fixture
def torch(cupy: Any) -> Any:
    found = make_backend("torch").xp
    if not found.cuda.is_available():
        pytest.skip("this torch sees no GPU")
    return found


@pytest.fixture
def jax(cupy: Any) -> Any:
    found = pytest.importorskip("jax", reason="jax is not installed")
    try:
        found.devices("cuda")
    except RuntimeError:
        pytest.skip("this JAX sees no GPU")
    return found


@pytest.fixture
def two_gpus(cupy: Any) -> int:
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one GPU")
    return 1


@pytest.fixture
def slow(cupy: Any) -> Any:
    """A kernel that keeps the current stream busy for so many clock ticks."""
    source = """extern "C" __global__ void spin(long long ticks) {
        long long start = clock64();
        while (clock64() - start < ticks) {}
    }"""
    kernel = cupy.RawKernel(source, "spin")
    return lambda ticks=200_000_000: kernel((1,), (1,), (np.int64(ticks),))


def plain(rows: Any = ROWS, **options: Any) -> KMeans:
    return KMeans(K, random_state=0, device="cpu", **options).fit(rows)


def assert_same(model: KMeans, expected: KMeans, host: Any) -> None:
    assert host(model.labels_).tobytes() == expected.labels_.tobytes()
    assert host(model.cluster_centers_).tobytes() == expected.cluster_centers_.tobytes()
    assert (model.inertia_, model.n_iter_) == (expected.inertia_, expected.n_iter_)


SHAPES = (
    (1, 1, 1), (2, 3, 2), (63, 2, 5), (127, 16, 64), (131, 33, 130), (256, 31, 3), (257, 70, 17),
    (1000, 5, 8), (1025, 128, 66), (600, 200, 100), (2000, 16, 300), (5000, 3, 40),
)  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(cupy: Any, shape: tuple[int, int, int], dtype: str) -> None:
    """Every kernel on ragged shapes; without a pool, so that compute-sanitizer sees each array."""
    n, d, k = shape
    random = np.random.default_rng([n, d, k])
    rows = (random.normal(size=(n, d)) + 5 * random.integers(0, 3, size=(n, 1))).astype(dtype)
    weight = random.integers(0, 3, size=n) * 0.5
    weight[:k] = 1.0
    with cupy.cuda.using_allocator(None):
        for weights in (None, weight):
            options = {"random_state": 0, "n_init": 1, "max_iter": 8}
            model = KMeans(k, **options).fit(cupy.asarray(rows), sample_weight=weights)
            expected = KMeans(k, **options).fit(rows, sample_weight=weights)
            assert model.kernel_ == "cuda"
            assert_same(model, expected, cupy.asnumpy)
            found = model.predict(cupy.asarray(rows[::-1]))
            assert cupy.asnumpy(found).tolist() == expected.predict(rows[::-1]).tolist()


def torch_views(torch: Any) -> Iterator[Any]:
    """Rows as torch may hold them on a GPU."""
    there = torch.asarray(ROWS, device="cuda")
    yield there
    yield there.T.contiguous().T
    yield torch.asarray(np.repeat(ROWS, 2, axis=1), device="cuda")[:, ::2]
    yield there.clone().requires_grad_()


def test_torch_goes_to_cupy_and_back(torch: Any) -> None:
    expected = plain()
    for X in torch_views(torch):
        model = KMeans(K, random_state=0).fit(X)
        assert (model.backend_, model.kernel_, model.device_) == ("cupy", "cuda", "cuda:0")
        results = model.labels_, model.cluster_centers_, model.predict(X), model.transform(X)
        for result in results:
            assert isinstance(result, torch.Tensor)
            assert result.device == X.device
            assert not result.requires_grad
        assert_same(model, expected, lambda array: array.cpu().numpy())
        assert model.score(X) == expected.score(ROWS)
        centers, indices = kmeans_plusplus(X, K, random_state=0)
        assert (centers == X[indices]).all()


def test_the_memory_of_torch_is_seen_where_it_is(torch: Any) -> None:
    for X in (*torch_views(torch), torch.asarray(ROWS, device="cuda")[:0]):
        work, home = resolve(X, None)
        with work.scope():
            seen = work.move(X)
            assert seen.shape == tuple(X.shape)
            assert seen.data.ptr == X.data_ptr()
            back = home.move(seen.copy())
        assert context_of(back) == home
        assert (back == X.detach()).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_jax_goes_to_cupy_and_back(jax: Any, weighted: bool) -> None:
    weight = np.linspace(0.5, 2.0, len(ROWS)) if weighted else None
    expected = KMeans(K, random_state=0).fit(ROWS, sample_weight=weight)
    X = jax.device_put(ROWS, jax.devices("cuda")[0])
    model = KMeans(K, random_state=0).fit(X, sample_weight=weight)
    assert (model.backend_, model.kernel_) == ("cupy", "cuda")
    for result in (model.labels_, model.cluster_centers_, model.predict(X), model.transform(X)):
        assert isinstance(result, jax.Array)
        assert result.devices() == X.devices()
    assert_same(model, expected, np.asarray)
    np.testing.assert_array_equal(np.asarray(X), ROWS)


def test_work_joins_the_current_stream_of_cupy(cupy: Any, slow: Any) -> None:
    expected, source = plain(), cupy.asarray(ROWS)
    KMeans(K, random_state=0).fit(source)  # compiled
    for _ in range(3):
        X = cupy.zeros_like(source)
        cupy.cuda.Device().synchronize()
        with cupy.cuda.Stream(non_blocking=True) as stream:
            slow()
            X[...] = source
            model = KMeans(K, random_state=0).fit(X)
            labels = model.predict(X)
            assert cupy.cuda.get_current_stream() == stream
        stream.synchronize()
        assert_same(model, expected, cupy.asnumpy)
        assert (labels == model.labels_).all()


def test_work_joins_the_current_stream_of_torch(torch: Any, slow: Any, cupy: Any) -> None:
    expected, source = plain(), torch.asarray(ROWS, device="cuda")
    model = KMeans(K, random_state=0).fit(source)
    stream = torch.cuda.Stream()
    for _ in range(3):
        X = torch.zeros_like(source)
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            with cupy.cuda.Device(0), resolve(X, None)[0].scope():
                slow()
            X.copy_(source)
            # what comes after on torch's stream waits for the labels, and nothing else does
            labels = model.predict(X) + 0
            again = KMeans(K, random_state=0).fit(X)
        stream.synchronize()
        assert (labels == model.labels_).all()
        assert_same(again, expected, lambda array: array.cpu().numpy())


def test_results_for_jax_are_complete(jax: Any, slow: Any, cupy: Any) -> None:
    """JAX may use the rows' memory again as soon as they are gone."""
    X = jax.device_put(ROWS, jax.devices("cuda")[0])
    model = KMeans(K, random_state=0).fit(X)
    expected = np.asarray(model.labels_)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        slow()
        labels = model.predict(X)
        assert stream.done
    assert np.asarray(labels).tolist() == expected.tolist()


def test_the_second_gpu(cupy: Any, two_gpus: int) -> None:
    expected = plain()
    with cupy.cuda.Device(two_gpus):
        there = cupy.asarray(ROWS)
    here = cupy.asarray(ROWS)
    for X, device in ((there, None), (there, "cuda"), (here, "cuda:1"), (there, "cuda:0")):
        model = KMeans(K, random_state=0, device=device).fit(X)
        assert model.device_ == (device if device in ("cuda:0", "cuda:1") else "cuda:1")
        for result in (model.labels_, model.cluster_centers_, model.predict(X)):
            assert result.device == X.device
        assert_same(model, expected, cupy.asnumpy)
    assert cupy.cuda.Device().id == 0


def test_torch_on_the_second_gpu(torch: Any, two_gpus: int) -> None:
    expected, X = plain(), torch.asarray(ROWS, device="cuda:1")
    for device in (None, "cuda:0"):
        model = KMeans(K, random_state=0, device=device).fit(X)
        assert model.device_ == (device or "cuda:1")
        assert model.labels_.device == X.device
        assert_same(model, expected, lambda array: array.cpu().numpy())
    assert torch.cuda.current_device() == 0


@pytest.mark.parametrize("device", ["cpu,cuda:0", "cuda:0,cpu"])
@pytest.mark.parametrize("start", ["k-means++", "k-means||"])
def test_a_gpu_and_the_host_share_rows(cupy: Any, device: str, start: str) -> None:
    expected = plain(init=start)
    for rows, host in ((ROWS, np.asarray), (cupy.asarray(ROWS), cupy.asnumpy)):
        model = KMeans(K, init=start, random_state=0, device=device).fit(rows)
        assert_same(model, expected, host)
        assert model.device_ == device
        assert host(model.predict(rows)).tobytes() == expected.labels_.tobytes()


def test_all_gpus_share_rows(cupy: Any, two_gpus: int) -> None:
    with cupy.cuda.Device(1):
        rows = cupy.asarray(ROWS)
    for given, host in ((ROWS, np.asarray), (rows, cupy.asnumpy)):
        model = KMeans(K, random_state=0, device="cuda:all").fit(given)
        assert_same(model, plain(), host)
        assert model.device_.startswith("cuda:0,cuda:1")


@pytest.mark.parametrize("mixed", [False, True])
def test_partitions_of_dask_on_a_gpu(cupy: Any, mixed: bool) -> None:
    da = pytest.importorskip("dask.array", reason="dask is not installed")

    def place(part: Any, block_id: Any = None) -> Any:
        return part if mixed and block_id[0] == 1 else cupy.asarray(part)

    empty = cupy.empty((0, 0), dtype=ROWS.dtype)
    lazy = da.from_array(ROWS, chunks=(1000, -1)).map_blocks(place, meta=empty)
    model, expected = KMeans(K, random_state=0).fit(lazy), plain()
    assert model.inertia_ == expected.inertia_
    assert model.cluster_centers_.tobytes() == expected.cluster_centers_.tobytes()
    parts = [model.labels_.blocks[number].compute() for number in range(3)]
    assert [isinstance(part, cupy.ndarray) for part in parts] == [True, not mixed, True]
    labels = np.concatenate([cupy.asnumpy(part) for part in parts])
    assert labels.tobytes() == expected.labels_.tobytes()


def test_host_rows_go_to_the_gpu_by_name(cupy: Any) -> None:
    expected = plain()
    for name in ("numpy", "torch", "jax"):
        if name != "numpy":
            pytest.importorskip(name, reason=f"{name} is not installed")
        backend = make_backend(name)
        model = KMeans(K, random_state=0, device="cuda").fit(backend.array(ROWS))
        assert (model.backend_, model.kernel_, model.device_) == ("cupy", "cuda", "cuda:0")
        assert context_of(model.labels_) == context_of(backend.array(ROWS))
        assert_same(model, expected, backend.host)


def test_little_memory_is_answered_by_smaller_blocks(cupy: Any) -> None:
    rows = np.random.default_rng(2).normal(size=(400_000, 8)).astype(np.float32)
    expected = plain(rows, n_init=1, max_iter=5)
    X, pool = cupy.asarray(rows), cupy.get_default_memory_pool()
    cupy.cuda.Device().synchronize()
    pool.free_all_blocks()
    try:
        # room for what is kept of rows, not for all that is gathered from them at once
        pool.set_limit(size=pool.total_bytes() + 96 * len(rows))
        model = KMeans(K, random_state=0, n_init=1, max_iter=5).fit(X)
        assert_same(model, expected, cupy.asnumpy)
        pool.set_limit(size=pool.used_bytes() + (1 << 20))
        pool.free_all_blocks()
        with pytest.raises(DeviceMemoryError, match="cuda:0 has too little memory"):
            KMeans(K, random_state=0, n_init=1).fit(X)
    finally:
        pool.set_limit(size=0)


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_rows_that_a_device_has_no_room_for(
    cupy: Any, slow: Any, share: float, pinned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copied block by block while kernels run, some of them held; the kernels begin late."""
    rows = np.random.default_rng(2).normal(size=(400_000, 32)).astype(np.float32)
    expected = plain(rows, n_init=1, max_iter=5, init="random")
    if pinned:
        there = cupy.cuda.alloc_pinned_memory(rows.nbytes)
        kept = np.ndarray(rows.shape, rows.dtype, buffer=there)
        kept[...] = rows
        rows = kept
    monkeypatch.setattr("kmeans_xp._streams.BLOCK_BYTES", rows.nbytes // 20)
    pool = cupy.get_default_memory_pool()
    cupy.cuda.Device().synchronize()
    pool.free_all_blocks()
    room = passing_bytes(Shape(*rows.shape, K, "float32"), 20_000)
    try:
        pool.set_limit(size=pool.used_bytes() + room + int((share + 0.12) * rows.nbytes))
        slow()
        model = KMeans(K, init="random", n_init=1, max_iter=5, random_state=0, device="cuda")
        assert_same(model.fit(rows), expected, np.asarray)
        held = "10 of 20" if share else "none of 20"
        assert f"{held} blocks held on cuda:0" in model.reading_
        assert (model.predict(rows) == expected.labels_).all()
    finally:
        pool.set_limit(size=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("d", [2, 16, 20])
def test_a_batch_of_problems(cupy: Any, d: int, dtype: str) -> None:
    """Blocks that fit whole problems, on a device whose threads really run at once."""
    rows = np.repeat(ROWS, 2, axis=1)[:, :d].reshape(100, 30, d).astype(dtype)
    weight = np.random.default_rng(2).integers(1, 4, size=rows.shape[:2]) / 3.0
    for init in ("k-means++", "random", "random-partition", rows[:, :4].copy()):
        for weights in (None, weight):
            runs = 2 if isinstance(init, str) else 1
            more: dict[str, Any] = {"init": init, "n_init": runs, "random_state": 0}
            wanted = k_means_batched(rows, 4, sample_weight=weights, **more)
            there = k_means_batched(cupy.asarray(rows), 4, sample_weight=weights, **more)
            for mine, theirs in zip(there[:4], wanted[:4], strict=True):
                assert mine.get().tobytes() == theirs.tobytes()
            assert there.status == wanted.status
