"""Too little device memory: smaller blocks and the same bits, then one error; what a fit takes."""

from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from emulator import Emulator, compiler

from kmeans_xp import DeviceError, DeviceMemoryError, KMeans, _problem, kmeans_plusplus
from kmeans_xp._backend import context_of, numpy_context
from kmeans_xp._kernels import LEAST_ROWS, Shape, _select, select
from kmeans_xp._kernels.cuda._kernel import CudaKernel
from kmeans_xp._kernels.cuda._source import Unit
from kmeans_xp._memory import memory_errors, needed_bytes

X = np.random.default_rng(0).normal(size=(1500, 6)).astype(np.float32)
X += 4 * np.random.default_rng(1).integers(0, 3, size=(1500, 1))
STARTS = ("k-means++", "random", "random-partition", "k-means||")


class Tight(Emulator):
    """An emulated device where a launch may touch so many bytes, or whose n-th launch fails."""

    def __init__(self, most_bytes: float = float("inf"), failing: int = -1) -> None:
        super().__init__()
        self.most_bytes, self.failing, self.refused = most_bytes, failing, 0

    def launch(
        self, unit: Unit, name: str, grid: int, shared: int, arguments: Sequence[Any], /
    ) -> None:
        arrays = {id(part): part for part in arguments if isinstance(part, np.ndarray)}
        wanted = sum(part.nbytes for part in arrays.values())
        self.failing -= 1
        if wanted > self.most_bytes or self.failing == 0:
            self.refused += 1
            raise MemoryError(f"Out of memory allocating {wanted} bytes")
        super().launch(unit, name, grid, shared, arguments)


def routed(patch: pytest.MonkeyPatch, launcher: Emulator, **changes: int) -> None:
    """Route NumPy arrays as CuPy's, to an emulated device, by a plan with these changes."""
    compiler()
    kernel = CudaKernel(numpy_context().xp, launcher=launcher)
    patch.setattr(_select, "kernel_for", lambda context: kernel)
    patch.setattr(
        _problem,
        "select",
        lambda shape, **options: dataclasses.replace(
            select(shape, **(options | {"backend": "cupy"})), **changes
        ),
    )


def bits(model: KMeans) -> tuple[Any, ...]:
    return (
        model.labels_.tobytes(),
        model.cluster_centers_.tobytes(),
        model.inertia_,
        model.n_iter_,
        [(record.changed, record.shift) for record in model.history_],
    )


@pytest.mark.parametrize("init", STARTS)
def test_smaller_blocks_give_the_same_answer(init: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = KMeans(7, init=init, n_init=2, random_state=4).fit(X)
    asked = plain.predict(X[::-1]), plain.transform(X), plain.score(X)
    # a quarter of the rows with what is kept of them
    launcher = Tight(most_bytes=X.nbytes)
    routed(monkeypatch, launcher)
    model = KMeans(7, init=init, n_init=2, random_state=4).fit(X)
    assert launcher.refused > 0
    assert model.kernel_ == "cuda"
    assert bits(model) == bits(plain)
    launcher.refused = 0
    assert (model.predict(X[::-1]) == asked[0]).all()
    assert launcher.refused > 0
    assert model.score(X) == asked[2]
    np.testing.assert_allclose(model.transform(X), asked[1], rtol=1e-5)


@pytest.mark.parametrize("failing", [1, 3, 5, 8, 12, 17])
def test_a_run_begins_anew_from_the_same_seed(
    failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory may become short at any launch: another process takes it."""
    plain = KMeans(7, n_init=2, random_state=4).fit(X)
    chosen = kmeans_plusplus(X, 7, random_state=4)[1]
    launcher = Tight(failing=failing)
    routed(monkeypatch, launcher)
    assert bits(KMeans(7, n_init=2, random_state=4).fit(X)) == bits(plain)
    assert launcher.refused == 1
    launcher.failing = 1
    assert (kmeans_plusplus(X, 7, random_state=4)[1] == chosen).all()
    assert launcher.refused == 2


def test_a_function_that_makes_the_start_is_called_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def start(rows: Any, k: int, random_state: np.random.RandomState) -> Any:
        calls.append(k)
        return rows[random_state.permutation(len(rows))[:k]]

    plain = KMeans(5, init=start, n_init=2, random_state=0).fit(X)
    launcher = Tight(failing=6)
    routed(monkeypatch, launcher)
    assert bits(KMeans(5, init=start, n_init=2, random_state=0).fit(X)) == bits(plain)
    assert (launcher.refused, len(calls)) == (1, 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_at_last_one_error_says_what_is_needed(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = KMeans(7, random_state=0).fit(X.astype(dtype))
    launcher = Tight(most_bytes=1000)
    routed(monkeypatch, launcher)
    rows = X.astype(dtype)
    shape = Shape(*rows.shape, 7, rows.dtype.name)
    asked = (
        lambda: KMeans(7, random_state=0).fit(rows),
        lambda: kmeans_plusplus(rows, 7, random_state=0),
        lambda: model.predict(rows),
        lambda: model.score(rows),
    )
    for ask in asked:
        launcher.refused = 0
        with pytest.raises(
            DeviceMemoryError, match="has too little memory for 1500 rows of 6"
        ) as e:
            ask()
        # 1500, 750, 375, 256 rows
        assert launcher.refused == 4
        assert isinstance(e.value, DeviceError)
        assert isinstance(e.value, MemoryError)
        text = str(e.value)
        assert f"{needed_bytes(shape, LEAST_ROWS)} bytes" in text
        assert "device='cpu'" in text
        assert "Out of memory allocating" in text
        assert ("float32" in text.split("Free memory")[1]) == (dtype is np.float64)


def test_the_host_does_not_try_again() -> None:
    assert memory_errors(numpy_context(), "numpy") == ()
    calls = []

    def start(rows: Any, k: int, random_state: Any) -> Any:
        calls.append(k)
        raise MemoryError("mine")

    with pytest.raises(MemoryError, match=r"^mine$"):
        KMeans(5, init=start, n_init=1).fit(X)
    assert len(calls) == 1


def test_the_error_of_torch_is_no_memory_error() -> None:
    backend = make_backend("torch")
    answered = memory_errors(context_of(backend.array(X)), "reference")
    assert issubclass(backend.xp.OutOfMemoryError, answered)
    assert not issubclass(backend.xp.OutOfMemoryError, MemoryError)


@pytest.mark.parametrize("n", [1, 256, 257, 10**5, 10**7])
def test_halves(n: int) -> None:
    plan, steps = select(Shape(n, 16, 8, "float32"), backend="cupy", threads=1), 0
    while (smaller := plan.halved(n)) is not None:
        assert LEAST_ROWS <= smaller.block_rows <= max(min(plan.block_rows, n) // 2, LEAST_ROWS)
        assert LEAST_ROWS <= smaller.piece_rows <= smaller.block_rows
        assert smaller.seeding_rows <= smaller.block_rows
        plan, steps = smaller, steps + 1
    assert steps == (0 if n <= LEAST_ROWS else np.ceil(np.log2(min(n, 1 << 20) / LEAST_ROWS)))


class Watching(Emulator):
    """Notes how much memory was in use at most, without what the emulation takes itself."""

    most = 0

    def launch(
        self, unit: Unit, name: str, grid: int, shared: int, arguments: Sequence[Any], /
    ) -> None:
        self.most = max(self.most, tracemalloc.get_traced_memory()[1])
        super().launch(unit, name, grid, shared, arguments)
        tracemalloc.reset_peak()


def peak(n: int, d: int, dtype: str, block_rows: int) -> int:
    """Bytes in use at most while n rows are fitted, without the rows; pieces are small."""
    rows = np.random.default_rng(0).uniform(size=(n, d)).astype(dtype)
    launcher = Watching()
    changes = {"block_rows": block_rows, "piece_rows": 256, "seeding_rows": 256}
    with pytest.MonkeyPatch.context() as patch:
        routed(patch, launcher, **changes)
        model = KMeans(3, n_init=1, max_iter=3, random_state=0)
        tracemalloc.start()
        try:
            model.fit(rows)
            return max(launcher.most, tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    ("block_rows", "dtype"), [(512, "float64"), (1 << 20, "float32"), (1 << 20, "float64")]
)
def test_rows_take_what_is_said(block_rows: int, dtype: str) -> None:
    """Memory that grows with the rows, of an emulated fit."""
    n, d = (1024, 2560), 5
    peak(512, d, dtype, block_rows)  # what stays is made once
    few, many = (peak(rows, d, dtype, block_rows) for rows in n)
    said = [needed_bytes(Shape(rows, d, 3, dtype), block_rows) for rows in n]
    rows = d * int(dtype[5:]) // 8
    assert many - few <= said[1] - said[0] - rows * (n[1] - n[0])


@pytest.mark.parametrize(
    ("n", "d", "k"), [(10**6, 128, 1024), (8 * 10**6, 128, 4096), (10**7, 16, 64), (10**5, 16, 8)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_target_for_memory(n: int, d: int, k: int, dtype: str) -> None:
    """Within 1.6 times the rows and 256 MiB, and 32 bytes a row."""
    shape = Shape(n, d, k, dtype)
    block = select(shape, backend="cupy", threads=1).block_rows
    data = n * d * int(dtype[5:]) // 8
    assert needed_bytes(shape, block) <= 1.6 * data + (256 << 20) + 32 * n
