"""The pass that labels many rows and adds them up, on emulated devices: NumPy's bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from emulator import cuda_kernel
from engine import opened, problem_of, solve
from loop_checks import pass_bits, spread

from kmeans_xp._kernels.cuda import _loop
from kmeans_xp._kernels.cuda._route import bounds_pay, most_shared, sweeps
from kmeans_xp._kernels.cuda._sweep import sweep_bytes
from kmeans_xp._outcome import Rules


@pytest.fixture(autouse=True)
def scope() -> Any:
    with opened(make_backend("numpy")):
        yield


@pytest.mark.parametrize(
    ("n", "d", "k", "dtype", "capability", "is_one_pass"),
    [
        # tiles of 128 rows, images of 32 and 16 features, 64 centers at a time
        (4, 3, 1, "float32", 75, True),
        (129, 2, 5, "float32", 60, True),
        (260, 15, 16, "float32", 80, True),
        (150, 40, 17, "float64", 75, True),
        (257, 16, 8, "float64", 80, True),
        (270, 33, 65, "float32", 100, True),
        (530, 64, 130, "float32", 100, True),
        (270, 130, 63, "float32", 86, False),
    ],
)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_ragged_shapes(
    n: int, d: int, k: int, dtype: str, capability: int, is_one_pass: bool, weighted: bool
) -> None:
    x, weight, _ = spread(n, d, k, dtype)
    # several of a cluster, none of another: some iterations
    start = x[n - k :].copy()
    weight = weight + 0.1 if weighted else None
    kernel, words = cuda_kernel(capability=capability), 1 + weighted
    found = pass_bits(x, weight, start, kernel, words=words)
    assert found == pass_bits(x, weight, start, None, words=words)
    assert ("sweep" in kernel.launcher.launches) == is_one_pass


KINDS = ["lattice", "duplicates", "far away", "far rows", "empty", "limbs"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [3, 33])
def test_rows_that_are_hard(kind: str, d: int) -> None:
    """Ties and repeats, offsets, numbers that no half can hold, clusters that become empty."""
    random, k = np.random.default_rng(d), 9
    x, weight, start = spread(300, d, k, "float32")
    if kind == "lattice":
        x = random.integers(0, 3, size=x.shape).astype("float32")
        start = x[:k].copy()
    if kind == "duplicates":
        x[150:], start[4] = x[:150], start[2]
    if kind == "far away":
        x, start = x + np.float32(1e4), start + np.float32(1e4)
    if kind == "far rows":
        x[::7] *= np.float32(10.0) ** np.arange(len(x[::7])).clip(0, 30)[:, None]
        weight = (np.arange(300) % 7 > 0) * 1.0
    if kind == "empty":
        start[3:5] = 40.0 + x[:2]
    if kind == "limbs":
        x[:, 0] *= np.float32(10.0) ** random.integers(-12, 3, size=300)
    kernel = cuda_kernel()
    assert pass_bits(x, weight, start, kernel) == pass_bits(x, weight, start, None)
    assert "sweep" in kernel.launcher.launches


def test_float64_products_where_they_are_fast() -> None:
    x, weight, start = spread(300, 5, 7, "float64")
    kernel = cuda_kernel()
    found = pass_bits(x, weight, start, kernel, first="float64")
    assert found == pass_bits(x, weight, start, None, first="float64")
    assert "sweep" in kernel.launcher.launches


def test_many_open_rows_are_left_to_the_rungs() -> None:
    """After the first iteration of a run; the next run begins with one pass again."""
    x, _, start = spread(300, 33, 9, "float32")
    x[150:] += 1e3
    start[5:] = x[290:294]
    problems = [
        problem_of(
            make_backend("numpy"), x, k=9, kernel=name, variance=True, first="float32",
            block_rows=150,
        )
        for name in ("cuda", "numpy")
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_loop, "_MOST_SWEEP_WORK", 0)
        for run in range(2):
            results = [solve(problem, start.copy(), Rules(5, 0.0)) for problem in problems]
            assert results[0].history == results[1].history
            assert results[0].centers.tobytes() == results[1].centers.tobytes()
            assert results[0].labels.tolist() == results[1].labels.tolist()
            launches = problems[0].kernel.launcher.launches
            # four were launched, and the first was the last; then labels come first
            assert launches.count("sweep") == 8 * (run + 1)
            assert any(launch.startswith("assign") for launch in launches)
        # what the rungs learned is kept: the second run begins with other products
        assert problems[0].first == "float64"


def test_bounds_take_over_when_few_rows_change() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(900, 16)).astype("float32")
    kernel = cuda_kernel()
    options: dict[str, Any] = {"k": 8, "variance": True, "first": "float32", "block_rows": 500}
    runs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_loop, "_MOST_SWEEP_WORK", 0)
        for name in ("cuda", "numpy"):
            problem = problem_of(make_backend("numpy"), x, kernel=name, **options)
            if name == "cuda":
                problem.kernel = kernel
            result = solve(problem, x[:8].copy(), Rules(40, 0.0))
            runs.append((result.labels.tolist(), result.centers.tobytes(), result.history))
    assert runs[0] == runs[1]
    launches = kernel.launcher.launches
    changes = [iteration.changed for iteration in runs[0][2]]
    last = launches.count("sweep") // 2 - 1
    assert 64 * changes[last] < 900 <= 64 * changes[last - 4]
    assert "list_doubtful" in launches[launches.index("assign tf32") :]
    assert "sweep" not in launches[launches.index("assign tf32") :]


def test_a_batch_is_short_where_a_pass_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(300, 16)).astype("float32")
    start = x[:9].copy()
    monkeypatch.setattr(_loop, "_MOST_BATCH_BYTES", 2 * x.nbytes)
    waits = []
    to_host = _loop.to_host
    monkeypatch.setattr(_loop, "to_host", lambda array: waits.append(array) or to_host(array))
    assert pass_bits(x, None, start, cuda_kernel()) == pass_bits(x, None, start, None)
    assert all(len(records) <= 2 for records in waits)
    assert len(waits) > 1


def test_where_memory_bounds_the_pass() -> None:
    for n, d, k, size, work, capability, wanted in (
        (10**8, 16, 64, 4, "tf32", 80, True),
        (10**8, 32, 64, 4, "float16", 100, True),
        (10**7, 128, 64, 4, "float16", 100, True),
        (10**7, 256, 64, 4, "float16", 100, True),
        (10**7, 32, 128, 4, "float16", 100, True),
        (10**7, 16, 128, 4, "tf32", 90, False),
        (10**7, 128, 1024, 4, "float16", 90, False),
        (10**7, 128, 64, 4, "3xtf32", 90, False),
        (10**8, 4, 16, 4, "float32", 75, True),
        (10**8, 4, 17, 4, "float32", 90, False),
        (10**8, 8, 16, 8, "float64", 90, True),
        (10**8, 8, 17, 8, "float64", 90, False),
        (10**8, 8, 16, 8, "float64", 86, False),
        (200, 32, 64, 4, "float16", 100, False),
        # measured: labels alone are faster there
        (10**7, 128, 64, 4, "float16", 90, False),
    ):
        assert sweeps(n, d, k, d * size, work, capability) == wanted, (d, k, work)


def test_sums_fit_the_shared_memory_of_a_card() -> None:
    for d, capability, most in ((128, 80, 90), (128, 86, 43), (128, 90, 138), (256, 90, 61)):
        fitting = [
            k
            for k in range(8, 200)
            if sweep_bytes("float16", d, np.empty((k, d + 1))) <= most_shared(capability)
        ]
        assert fitting == [*range(8, most + 1)], fitting[-1]
    assert [most_shared(capability) >> 10 for capability in (60, 70, 75, 80, 86, 90, 121)] == [
        48, 96, 64, 163, 99, 227, 99,
    ]  # fmt: skip


def test_when_bounds_pay() -> None:
    assert bounds_pay(9, 1000, 64)
    assert not bounds_pay(16, 1000, 64)
    assert not bounds_pay(0, 1000, 60)
