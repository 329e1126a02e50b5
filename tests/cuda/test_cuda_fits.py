"""Whole fits through the CUDA kernel on an emulated device: the bits of the NumPy kernel."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pytest
from cases import CASES, wide
from checks import views
from conftest import make_backend
from emulator import cuda_kernel
from engine import first_centers, opened, problem_of, solve

from kmeans_xp import BisectingKMeans, KMeans, _problem
from kmeans_xp._kernels import Shape, _select, select
from kmeans_xp._kernels.cuda import _loop
from kmeans_xp._outcome import Rules

STARTS = ("k-means++", "random", "random-partition", "k-means||")
ROWS = 400  # of the cases: the emulated device is slow


def weights(n: int) -> Any:
    random = np.random.default_rng(1)
    return np.where(random.random(n) < 0.1, 0.0, random.exponential(size=n))


def case_of(name: str) -> tuple[Any, Any]:
    x, start = CASES[name]()
    rows = np.random.default_rng(0).permutation(len(x))[:ROWS]
    return x[rows], start


def bits(problem: Any, start: Any) -> tuple[Any, ...]:
    result = solve(problem, start, Rules(15, 1e-4))
    return result.labels.tolist(), result.centers.tobytes(), result.inertia, result.history


@functools.cache
def wanted(name: str, weighted: bool) -> tuple[Any, ...]:
    x, start = case_of(name)
    weight = weights(len(x)) if weighted else None
    numpy = make_backend("numpy")
    with opened(numpy):
        problem = problem_of(
            numpy, x, weight, k=len(start), variance=True, first="float64", kernel="numpy"
        )
        return bits(problem, start)


def take_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pass that labels rows and adds them up, however few they are."""
    monkeypatch.setattr(_loop, "_MOST_SWEEP_WORK", 0)
    monkeypatch.setattr(_loop, "sweeps", lambda *_: False)


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sweep of several iterations, however few the rows."""
    take_apart(monkeypatch)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("first", ["float32", "float64", "exact"])
def test_several_iterations_at_once(case: str, weighted: bool, first: str) -> None:
    x, start = case_of(case)
    weight = weights(len(x)) if weighted else None
    numpy = make_backend("numpy")
    with opened(numpy):
        options = {"first": first, "kernel": "cuda", "variance": True}
        problem = problem_of(numpy, x, weight, k=len(start), **options)
        assert bits(problem, start) == wanted(case, weighted)
    assert "sweep" in problem.kernel.launcher.launches


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(("first", "rows"), [("float32", 1000), ("float64", 150), ("exact", 150)])
def test_the_loop(case: str, weighted: bool, first: str, rows: int, one_at_a_time: None) -> None:
    x, start = case_of(case)
    weight = weights(len(x)) if weighted else None
    numpy = make_backend("numpy")
    with opened(numpy):
        options = {"first": first, "block_rows": rows, "kernel": "cuda", "variance": True}
        problem = problem_of(numpy, x, weight, k=len(start), **options)
        assert bits(problem, start) == wanted(case, weighted)


def both(x: Any, start: Any, **kernel: Any) -> tuple[Any, Any]:
    """Problems for the emulated device and for NumPy, with the same question."""
    options = {"k": len(start), "variance": True, "first": "float32"}
    numpy = make_backend("numpy")
    found, expected = (problem_of(numpy, x, kernel=name, **options) for name in ("cuda", "numpy"))
    found.kernel = cuda_kernel(**kernel)
    return found, expected


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
def test_starting_centers_at_any_strides(at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not at_once:
        take_apart(monkeypatch)
    x = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    with opened(make_backend("numpy")):
        for start in views(x[:6].copy()):
            found, expected = both(x, start)
            assert bits(found, start) == bits(expected, start)


def test_bounds_do_not_outlive_iterations_that_pass_them_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where float32 products fit a sweep and float64's, which come later, do not."""
    ways = itertools.cycle([False, True])
    monkeypatch.setattr(_loop, "sweeps_at_once", lambda *_: next(ways))
    monkeypatch.setattr(_loop, "sweeps", lambda *_: False)
    x = np.random.default_rng(4).normal(size=(400, 3)).astype(np.float32)
    with opened(make_backend("numpy")):
        found, expected = both(x, x[:9])
        assert bits(found, x[:9].copy()) == bits(expected, x[:9].copy())
    assert {"sweep", "assign float32"} <= set(found.kernel.launcher.launches)


@pytest.mark.parametrize(("capability", "k"), [(60, 20), (75, 40), (86, 80)])
def test_sums_beyond_the_shared_memory_of_a_card(capability: int, k: int) -> None:
    """A sweep has room for the sums of so many clusters, and of some more it has not."""
    x = np.random.default_rng(0).normal(size=(110, 90)).astype(np.float32)
    with opened(make_backend("numpy")):
        for count in (k, k + 20):
            found, expected = both(x, x[:count], capability=capability)
            assert bits(found, x[:count]) == bits(expected, x[:count])
            assert ("sweep" in found.kernel.launcher.launches) == (count == k)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("d", [31, 200])
def test_wide_rows(d: int, dtype: str, one_at_a_time: None) -> None:
    x, start = wide(d, 1, dtype)
    numpy = make_backend("numpy")
    with opened(numpy):
        found, expected = (
            bits(problem_of(numpy, x, k=7, variance=True, first="float32", kernel=kernel), start)
            for kernel in ("cuda", "numpy")
        )
    assert found == expected


KINDS = [
    "uniform", "blobs", "clear", "close", "repeated centers", "two groups", "far away", "far rows"
]  # fmt: skip


@pytest.mark.parametrize(
    ("d", "work", "dtype"), [(17, "tf32", "float64"), (33, "float16", "float32")]
)
@pytest.mark.parametrize("kind", KINDS)
def test_tensor_cores(kind: str, d: int, work: str, dtype: str, one_at_a_time: None) -> None:
    """Labels that few bits prove, and those that they cannot; few and many of them."""
    random = np.random.default_rng(3)
    x, k = random.uniform(size=(400, d)), 66
    if kind == "blobs":
        x += 10 * random.normal(size=(k, d))[random.integers(0, k, 400)]
    if kind == "clear":
        x = x[np.arange(400) % k] + 0.01 * x
    if kind == "close":
        x = 100 * x[:1] + 1e-4 * x - 50 * (np.arange(400) % 2)[:, None]
    if kind == "two groups":
        x[200:] += 1e3
    if kind == "far away":
        x += 1e6
    x = x.astype(dtype)
    start = x[:k].copy()
    if kind == "repeated centers":
        start[k // 2 :] = start[: k // 2]
    weight = None
    if kind == "far rows":
        # without weight they may lie anywhere; halves end at 2**16
        x[::7] *= 10.0 ** np.arange(len(x[::7]))[:, None].clip(0, 30)
        weight = (np.arange(400) % 7 > 0) * 1.0
    numpy = make_backend("numpy")
    with opened(numpy):
        found, expected = (
            problem_of(numpy, x, weight, k=k, variance=True, first="float32", kernel=kernel)
            for kernel in ("cuda", "numpy")
        )
        assert bits(found, start) == bits(expected, start)
    ready = "prepare", "draw_centers", "widened", "rounded"
    launches = [launch for launch in found.kernel.launcher.launches if launch not in ready]
    assert launches[0] == f"assign {work}"
    if kind != "far rows":
        # products that leave many rows open make way for better ones
        crowded = "close", "repeated centers", "two groups"
        assert ("assign 3xtf32" in launches) == (kind in crowded)


def test_old_cards_do_without_tensor_cores(one_at_a_time: None) -> None:
    x = np.random.default_rng(3).uniform(size=(200, 17)).astype(np.float32)
    numpy = make_backend("numpy")
    with opened(numpy):
        problem = problem_of(numpy, x, k=66, variance=True, first="float32", kernel="cuda")
        problem.kernel = cuda_kernel(capability=75)
        expected = problem_of(numpy, x, k=66, variance=True, first="float32", kernel="numpy")
        assert bits(problem, x[:66]) == bits(expected, x[:66])
    assert not any("tf32" in launch for launch in problem.kernel.launcher.launches)


@pytest.mark.parametrize(
    ("d", "poor", "work"),
    [
        (33, (), "float16 wgmma"),
        (20, (), "tf32 wgmma"),
        (33, ("float16 wgmma",), "3xtf32 wgmma"),
    ],
)
def test_wgmma_where_it_is_asked_for(
    d: int,
    poor: tuple[str, ...],
    work: str,
    monkeypatch: pytest.MonkeyPatch,
    one_at_a_time: None,
) -> None:
    monkeypatch.setenv("KMEANS_XP_WGMMA", "1")
    x = np.random.default_rng(3).uniform(size=(200, d)).astype(np.float32)
    numpy = make_backend("numpy")
    with opened(numpy):
        problem = problem_of(numpy, x, k=66, variance=True, first="float32", kernel="cuda")
        problem.kernel = cuda_kernel(capability=90)
        problem.kernel._poor.update(poor)
        expected = problem_of(numpy, x, k=66, variance=True, first="float32", kernel="numpy")
        assert bits(problem, x[:66]) == bits(expected, x[:66])
    assert f"assign {work}" in problem.kernel.launcher.launches


@pytest.mark.parametrize("init", STARTS)
@pytest.mark.parametrize("case", ["shifted32", "lattice", "huge"])
def test_starts(init: str, case: str) -> None:
    x, _ = case_of(case)
    numpy = make_backend("numpy")
    with opened(numpy):
        found, expected = (
            first_centers(problem_of(numpy, x, k=9, first="float64", kernel=kernel), init, 9, 5)
            for kernel in ("cuda", "numpy")
        )
    assert found.tobytes() == expected.tobytes()


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Route NumPy arrays as CuPy's, to an emulated device; its launches."""
    kernel = cuda_kernel()
    monkeypatch.setattr(_select, "kernel_for", lambda context: kernel)
    monkeypatch.setattr(
        _problem,
        "select",
        lambda shape, **options: select(shape, **(options | {"backend": "cupy"})),
    )
    launches: list[str] = kernel.launcher.launches
    return launches


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
def test_the_estimator(
    routed: list[str],
    dtype: str,
    weighted: bool,
    at_once: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not at_once:
        take_apart(monkeypatch)
    random = np.random.default_rng(2)
    x = (random.normal(size=(500, 5)) + 4 * random.integers(0, 3, size=(500, 1))).astype(dtype)
    weight = weights(len(x)) if weighted else None
    model = KMeans(6, n_init=2, random_state=3)
    model.fit(x, sample_weight=weight)
    assert model.kernel_ == "cuda"
    alone = {"assign float32", "list_doubtful", "add_rows"}
    assert ({"sweep"} if at_once else alone) | {"recenter", "distances"} <= set(routed)
    labels, score = model.predict(x[::-1]), model.score(x, sample_weight=weight)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_problem, "select", select)
        plain = KMeans(6, n_init=2, random_state=3).fit(x, sample_weight=weight)
        assert plain.kernel_ != "cuda"
        assert (labels == plain.predict(x[::-1])).all()
        assert score == plain.score(x, sample_weight=weight)
    assert model.labels_.tobytes() == plain.labels_.tobytes()
    assert model.cluster_centers_.tobytes() == plain.cluster_centers_.tobytes()
    assert (model.inertia_, model.n_iter_) == (plain.inertia_, plain.n_iter_)


@pytest.mark.parametrize(("dtype", "weighted"), [("float32", True), ("float64", False)])
def test_bisections(routed: list[str], dtype: str, weighted: bool) -> None:
    x = CASES["blobs"]()[0][:200].astype(dtype)
    weight = weights(len(x)) if weighted else None
    options = {"n_clusters": 5, "random_state": 3, "bisecting_strategy": "largest_cluster"}
    model = BisectingKMeans(**options).fit(x, sample_weight=weight)
    assert model.kernel_ == "cuda"
    labels, score = model.predict(x[::-1]), model.score(x, sample_weight=weight)
    assert {"sweep", "distances"} <= set(routed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_problem, "select", select)
        plain = BisectingKMeans(**options).fit(x, sample_weight=weight)
        assert plain.kernel_ != "cuda"
    assert model.cluster_centers_.tobytes() == plain.cluster_centers_.tobytes()
    assert model.linkage_.tobytes() == plain.linkage_.tobytes()
    assert model.labels_.tolist() == plain.labels_.tolist() == labels[::-1].tolist()
    assert (model.inertia_, model.n_iter_) == (plain.inertia_, plain.n_iter_)
    assert score == -model.inertia_


def test_tiny_data_goes_straight_to_canonical_distances(routed: list[str]) -> None:
    x = np.random.default_rng(4).normal(size=(60, 2))
    assert KMeans(3, n_init=1, random_state=0).fit(x).kernel_ == "cuda"
    assert "sweep" in routed
    assert not any("assign" in launch for launch in routed)


def test_cupy_is_routed_to_the_cuda_kernel() -> None:
    for n, d, k in ((10, 2, 3), (10**6, 128, 1024), (10**8, 2, 10**5)):
        plan = select(Shape(n, d, k, "float32"), backend="cupy", threads=8)
        assert (plan.kernel, plan.threads, plan.group_size) == ("cuda", 1, 0)
        # twice as many rows as move must add up in int64
        assert plan.block_rows <= 1 << 21
        # other passes write k scores a row
        assert plan.piece_rows * 8 * (k + 4 * d) <= max(1 << 25, 256 * 8 * (k + 4 * d))
