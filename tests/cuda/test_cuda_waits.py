"""How often the host waits for the device: once an iteration, or once for several."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from device_arrays import WAITS, DeviceArray, DeviceNamespace, on_device, to_host
from emulator import cuda_kernel
from engine import opened, problem_of, solve

from kmeans_xp import _backend
from kmeans_xp._kernels.cuda import _loop
from kmeans_xp._kernels.cuda._kernel import CudaKernel
from kmeans_xp._solver import Rules


@contextlib.contextmanager
def counting() -> Iterator[list[str]]:
    """Count, also what is brought to the host by name."""
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("kmeans_xp") and getattr(module, "to_host", None) is not None:
                patch.setattr(module, "to_host", to_host)
        WAITS.clear()
        yield WAITS


def problem_on_device(x: Any, k: int, **options: Any) -> Any:
    numpy = make_backend("numpy")
    problem = problem_of(numpy, x, k=k, variance=True, kernel="cuda", **options)
    xp = DeviceNamespace(problem.context.xp)
    kernel = cuda_kernel()
    problem.kernel = CudaKernel(xp, launcher=kernel.launcher)
    problem.context = dataclasses.replace(problem.context, xp=xp)
    problem.source.xp = xp
    for block in problem.source.blocks:
        block.x = on_device(block.x)
    problem.ledger._xp, problem.pruner._xp = xp, xp
    problem.ledger._up, problem.ledger._down = map(
        on_device, (problem.ledger._up, problem.ledger._down)
    )
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
