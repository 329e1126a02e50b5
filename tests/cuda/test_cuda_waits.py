"""How often the host waits for the device: once an iteration, or once for several."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from device_arrays import WAITS, DeviceArray, DeviceNamespace, on_device, to_host
from emulator import cuda_kernel
from engine import opened, problem_of, solve
from seeding_checks import seeding_case

from kmeans_xp import _backend
from kmeans_xp._kernels.cuda import _loop
from kmeans_xp._kernels.cuda._kernel import CudaKernel
from kmeans_xp._outcome import Rules

STEP = ["count_pieces", "draw_candidates", "limit_seeds", "appraise", "accept_best"]


@contextlib.contextmanager
def counting() -> Iterator[list[str]]:
    """Count, also what is brought to the host by name."""
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("kmeans_xp") and getattr(module, "to_host", None) is not None:
                patch.setattr(module, "to_host", to_host)
        WAITS.clear()
        yield WAITS


def problem_on_device(
    x: Any, k: int, weight: Any = None, wrap: Callable[[Any], Any] = on_device, **options: Any
) -> Any:
    numpy = make_backend("numpy")
    problem = problem_of(numpy, x, weight, k=k, variance=True, kernel="cuda", **options)
    xp = DeviceNamespace(problem.context.xp, wrap)
    kernel = cuda_kernel()
    problem.kernel = CudaKernel(xp, launcher=kernel.launcher)
    problem.context = dataclasses.replace(problem.context, xp=xp)
    source = problem.source
    source.xp, source._x, source._weight = xp, wrap(source._x), wrap(source._weight)
    for block in problem.source.blocks:
        block.x = wrap(block.x)
    problem.ledger._xp, problem.pruner._xp = xp, xp
    problem.ledger._up, problem.ledger._down = map(wrap, (problem.ledger._up, problem.ledger._down))
    problem.ledger._widen = problem.kernel.widened
    return problem


def rows(n: int, d: int, k: int) -> tuple[Any, Any]:
    random = np.random.default_rng(5)
    x = random.normal(size=(n, d)).astype(np.float32)
    return x, x[:k].copy()


def test_what_waits_is_counted() -> None:
    values = on_device(np.arange(3.0))
    with counting():
        total = values.sum()
        assert isinstance(total, DeviceArray)
        assert isinstance(values[1:2] * 2.0, DeviceArray)
        assert WAITS == []
        assert float(total) == 3.0
        assert bool((values == 1.0).any())
        assert values.tolist() == [0.0, 1.0, 2.0]
        assert _loop.to_host(values)[2] == 2.0
        assert WAITS == ["__float__", "__bool__", "tolist", "to_host"]
    assert _loop.to_host is _backend.to_host


@pytest.mark.parametrize("first", ["float32", "float64"])
@pytest.mark.parametrize(("d", "k", "rows_a_block"), [(3, 7, 1000), (17, 65, 1000), (3, 7, 150)])
def test_one_wait_an_iteration(
    first: str, d: int, k: int, rows_a_block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With bounds and without, with tensor cores, with several blocks."""
    monkeypatch.setattr(_loop, "_MOST_SWEEP_WORK", 0)
    monkeypatch.setattr(_loop, "sweeps", lambda *_: False)
    x, start = rows(400, d, k)
    waits = []
    with opened(make_backend("numpy")):
        for count in (2, 5):
            problem = problem_on_device(x, k, first=first, block_rows=rows_a_block)
            with counting():
                assert solve(problem, on_device(start), Rules(count, 0.0)).n_iter == count
                waits.append(len(WAITS))
    assert waits[1] - waits[0] == 3


@pytest.mark.parametrize("first", ["float32", "exact"])
def test_one_wait_for_several_iterations_of_few_clusters(first: str) -> None:
    x, start = rows(600, 4, 9)
    waits = []
    with opened(make_backend("numpy")):
        for count in (4, 12):
            problem = problem_on_device(x, 9, first=first)
            with counting():
                assert solve(problem, on_device(start), Rules(count, 0.0)).n_iter == count
                waits.append(len(WAITS))
            launches = problem.kernel.launcher.launches
            assert launches.count("sweep") == launches.count("recenter") == count
    # a batch of 4, then one of 8
    assert waits[1] - waits[0] == 1


@pytest.mark.parametrize("d", [4, 16])
def test_one_wait_for_several_iterations_of_many_rows(
    d: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks, whose sums are merged in between; with tensor cores and without."""
    monkeypatch.setattr(_loop, "_MOST_SWEEP_WORK", 0)
    monkeypatch.setattr(_loop, "_ROWS_A_CHANGE", 200)
    monkeypatch.setattr(_loop, "bounds_pay", lambda *_: False)
    x, start = rows(300, d, 9)
    waits = []
    with opened(make_backend("numpy")):
        for count in (4, 8):
            problem = problem_on_device(x, 9, first="float32", block_rows=150)
            with counting():
                assert solve(problem, on_device(start), Rules(count, 0.0)).n_iter == count
                waits.append(len(WAITS))
            launches = problem.kernel.launcher.launches
            assert launches.count("sweep") == 2 * count
            assert launches.count("merge") == launches.count("recenter") == count
            assert launches.count("draw_centers") >= (count if d == 16 else 0)
    assert waits[1] - waits[0] == 1


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_one_wait_for_all_seeds(weighted: bool) -> None:
    x, weight = seeding_case("blobs", 300, 4, weighted, 3)
    with opened(make_backend("numpy")):
        for k in (1, 2, 15):
            problem = problem_on_device(x, k, weight, first="float32")
            with counting():
                seeds = problem.kernel.plusplus(problem, k, 7, 3)
            assert len(set(seeds)) == k
            assert WAITS == ["to_host"]
            launches = problem.kernel.launcher.launches
            assert launches[:3] == [*STEP[:2], STEP[-1]]
            assert launches[3:] == STEP * (k - 1)


def test_two_waits_a_round_of_oversampling() -> None:
    """For the number of rows taken, and for whether some of them are equal."""
    x, _ = seeding_case("blobs", 300, 4, False, 3)
    with opened(make_backend("numpy")):
        for rounds in (1, 5):
            problem = problem_on_device(x, 5, first="float32", block_rows=200)
            with counting():
                taken = problem.kernel.oversample(problem, 7, 10.0, rounds)
            assert len(taken) > rounds
            assert list(WAITS) == ["__int__", "__bool__"] * rounds + ["to_host"]
