"""Bounds for groups of centers through the CUDA kernel on an emulated device."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from device_arrays import WAITS, on_device
from emulator import cuda_kernel
from engine import opened, problem_of, solve
from group_checks import check_fit, crowd, few_blocks, groups_forced, lattice
from test_cuda_waits import counting, problem_on_device

from kmeans_xp import _bounds
from kmeans_xp._kernels import Shape, select
from kmeans_xp._kernels.cuda import _kernel
from kmeans_xp._kernels.cuda._group_calls import chunk_bytes
from kmeans_xp._kernels.cuda._route import MOST_GROUPS, group_product, pair_centers
from kmeans_xp._kernels.cuda._source import TILES, assign_bytes, tile_bytes
from kmeans_xp._memory import needed_bytes, shrink
from kmeans_xp._outcome import Rules
from kmeans_xp._pruning import Pruner

CASES: dict[str, tuple[Any, int, int]] = {
    "crowd": (crowd(400, 5, "float32"), 32, 8),
    "far from the origin": (crowd(300, 3, "float32", 3000.0), 43, 6),
    "float64": (crowd(300, 18, "float64"), 80, 128),
    "half precision": (crowd(530, 33, "float32"), 150, 128),
    "ties": (lattice(3), 40, 5),
    "one feature": (crowd(300, 1, "float32"), 33, 4),
}


@pytest.mark.parametrize("rows", [1000, 130], ids=["one block", "blocks"])
@pytest.mark.parametrize("case", CASES)
def test_groups_change_nothing(case: str, rows: int) -> None:
    x, k, size = CASES[case]
    start = np.unique(x, axis=0)[:: max(1, len(np.unique(x, axis=0)) // k)][:k].copy()
    kernel = cuda_kernel()
    with opened(make_backend("numpy")), few_blocks():
        assert sum(check_fit(kernel, x, start, size, block_rows=rows)) > 0
    assert {"list_needs", "score_groups"} <= set(kernel.launcher.launches)


def test_weights_float64_products_and_equal_centers() -> None:
    x = crowd(300, 4, "float64")
    start = x[:36].copy()
    start[20:] = start[:16]
    weight = np.random.default_rng(1).integers(0, 3, size=300) * 0.3
    kernel = cuda_kernel()
    with opened(make_backend("numpy")):
        assert check_fit(kernel, x, start, 6, weight=weight, first="float64")
        assert check_fit(kernel, x, x[:36].copy(), 6, weight=weight, first="float64")


def test_where_centers_are_known_to_repeat_groups_are_forgotten() -> None:
    """One of them has no score, so that no bound would speak of it once they part."""
    numpy, kernel = make_backend("numpy"), cuda_kernel()
    x = crowd(300, 3, "float32")
    centers = x[:20].copy()
    with opened(numpy) as context:
        problem = problem_of(numpy, x, k=20, first="float32")
        drift = _bounds.no_drift(20, "float32", x, xp=context.xp)
        drift = drift.grouped(centers, 5, xp=context.xp)
        state: dict[str, Any] = {}
        kernel.look(x, problem.nearest_to(centers), drift, state)
        kernel.look(x, problem.nearest_to(centers), drift, state)
        assert state["bounds"].groups.shape == (300, 4)
        centers[3] = centers[2]
        kernel.look(x, problem.nearest_to(centers), drift, state)
        assert state["bounds"].groups is None
        # and where there are none any more
        state["bounds"] = dataclasses.replace(state["bounds"], groups=np.zeros((300, 4)))
        kernel.look(x, problem.nearest_to(x[:20]), drift.ungrouped(), state)
        assert state["bounds"].groups is None


@pytest.mark.parametrize(("d", "k", "size"), [(3, 32, 8), (33, 140, 128)])
def test_one_wait_an_iteration(d: int, k: int, size: int) -> None:
    x, waits, launches = crowd(600, d, "float32"), [], []
    with opened(make_backend("numpy")), groups_forced() as scored:
        for count in (3, 5):
            problem = problem_on_device(x, k, first="float32", block_rows=300, group_size=size)
            with counting():
                assert solve(problem, on_device(x[:k]), Rules(count, 0.0)).n_iter == count
                waits.append(len(WAITS))
            launches.append(problem.kernel.launcher.launches.count("score_groups"))
    assert waits[1] - waits[0] == 2
    # two blocks
    assert launches[1] - launches[0] == 4
    assert scored


def test_groups_that_were_given_up_do_not_come_back_with_the_movements() -> None:
    pruner, xp = Pruner(True, np, 4), np
    numpy = make_backend("numpy")
    x = crowd(100, 3, "float64")
    with opened(numpy):
        nearest = problem_of(numpy, x, k=16, first="float64").nearest_to(x[:16])
    drift, _ = pruner.drift_for(nearest)
    assert drift is not None
    grouped = drift.grouped(x[:16], 4, xp=xp)
    pruner.follow(grouped)
    assert pruner.drift is not None
    assert pruner.drift.groups is None
    pruner._drift = grouped
    pruner.follow(_bounds.drifted(grouped, np.ones(16), xp=xp))
    assert pruner.drift.groups is not None


def test_pairs_are_told_in_centers() -> None:
    """What a pair costs beside its centers counts too, and the places of tiles without a row."""
    numpy, kernel = make_backend("numpy"), cuda_kernel()
    x = crowd(300, 3, "float32")
    with opened(numpy) as context:
        problem = problem_of(numpy, x, k=20, first="float32")
        drift = _bounds.no_drift(20, "float32", x, xp=context.xp)
        drift = drift.grouped(x[:20], 5, xp=context.xp)
        state: dict[str, Any] = {}
        kernel.look(x, problem.nearest_to(x[:20]), drift, state)
        # nothing moved: only rows that were left open, centers themselves among them, are seen
        count, _ = kernel.look(x, problem.nearest_to(x[:20]), drift, state)
        assert drift.groups is not None
        (told,) = drift.groups.tally
    assert count <= 300
    assert told % (128 * (5 + pair_centers("float32"))) == 0


class Short:
    """A namespace in which no large array of infinities can be made."""

    def __init__(self, xp: Any) -> None:
        self._xp, self.asked = xp, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)

    def full(self, shape: Any, value: float, **options: Any) -> Any:
        if isinstance(shape, tuple) and len(shape) == 2:
            self.asked += 1
            raise MemoryError("short")
        return self._xp.full(shape, value, **options)


def test_short_memory_goes_without_groups() -> None:
    kernel = cuda_kernel()
    xp: Any = Short(kernel.xp)
    kernel = _kernel.CudaKernel(xp, launcher=kernel.launcher)
    x = crowd(300, 3, "float32")
    with opened(make_backend("numpy")):
        assert check_fit(kernel, x, x[:40].copy(), 8) == []
    assert "score_groups" not in kernel.launcher.launches
    assert "list_doubtful" in kernel.launcher.launches
    assert xp.asked == 1


def test_smaller_blocks_keep_no_bounds_of_groups() -> None:
    numpy, x = make_backend("numpy"), crowd(600, 3, "float32")
    with opened(numpy):
        problem = problem_of(numpy, x, k=40, first="float32", kernel="cuda", group_size=8)
        assert problem.pruner.group_size == problem.plan.group_size == 8
        tries = []

        def task() -> int:
            tries.append(problem.pruner.group_size)
            if len(tries) == 1:
                raise MemoryError("short")
            return 1

        assert problem.within_memory(task) == 1
        assert tries == [8, 0]
        smaller = shrink(problem.plan, problem.source, problem.shape, "")
        assert smaller.group_size == 0


def test_routing() -> None:
    def size(n: int, d: int, k: int, dtype: str = "float32") -> int:
        return select(Shape(n, d, k, dtype), backend="cupy", threads=1).group_size

    assert size(10**6, 128, 2048) == 256
    assert size(10**6, 128, 2000) == 0
    assert size(10**6, 32, 4096) == 0
    assert size(10**6, 32, 4096, "float64") == 512
    assert size(10**6, 128, 10**5) % 256 == 0
    for d in (16, 64, 100, 768, 4096):
        for k in (2048, 3000, 10**5):
            for dtype, row in (("float32", 4 * d), ("float64", 8 * d)):
                if found := size(10**6, d, k, dtype):
                    groups = -(-k // found)
                    assert 4 <= groups <= MOST_GROUPS
                    assert 4 * groups <= row / 8


@pytest.mark.parametrize("k", [2048, 4096, 10**5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("d", [64, 128, 768])
def test_the_target_for_memory(d: int, dtype: str, k: int) -> None:
    """Within 1.6 times the rows and 256 MiB, 32 bytes a row, and what so many centers take."""
    shape = Shape(8 * 10**6, d, k, dtype)
    plan = select(shape, backend="cupy", threads=1)
    assert plan.group_size > 0
    data = shape.n_rows * d * int(dtype[5:]) // 8
    needed = needed_bytes(shape, plan.block_rows, plan.group_size) - 128 * k * d
    assert needed <= 1.6 * data + (256 << 20) + 32 * shape.n_rows


@pytest.mark.parametrize("work", [work for work in TILES if group_product(work) == work])
def test_chunks_fit_the_shared_memory_of_every_device(work: str) -> None:
    if work in ("float32", "float64"):
        assert chunk_bytes(work) + tile_bytes(work) <= 48 << 10
        assert assign_bytes(work) < chunk_bytes(work) + tile_bytes(work)
    else:
        assert chunk_bytes(work) <= 20 << 10
