"""Sums by cluster on the emulated device: every bit, in each of the ways."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from checks import check_group_sums, check_sums, views
from conftest import make_backend
from emulator import Emulator, cuda_kernel
from engine import problem_of

from kmeans_xp._kernels.cuda._sums import SumCalls, Way, grid_of, route
from kmeans_xp._typing import Block

SORTED = ["list_moves", "allot", "place", "add_segments"]


def rows(n: int, d: int, dtype: str = "float64", wide: int = 0) -> Any:
    """Rows of magnitudes that differ by up to 10**(2 * wide)."""
    random = np.random.default_rng([n, d])
    x = random.normal(size=(n, d)) * 10.0 ** random.integers(-wide, wide + 1, size=(n, d))
    return x.astype(dtype)


def moves(n: int, k: int, share: float) -> tuple[Any, Any]:
    """Labels before and after, of which about this share differs."""
    random = np.random.default_rng([n, k])
    before, after = random.integers(0, k, size=(2, n)).astype(np.int32)
    return before, np.where(random.random(n) < share, after, before).astype(np.int32)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("n", "d", "k"),
    [(1, 1, 1), (2, 1, 3), (255, 1, 2), (257, 3, 4), (90, 63, 9), (90, 65, 9), (40, 5, 700)],
)
def test_ragged_shapes(n: int, d: int, k: int, dtype: str, weighted: bool) -> None:
    weight = np.random.default_rng(n).integers(0, 3, n) * 0.3 + (np.arange(n) == 0)
    check_sums(cuda_kernel(), rows(n, d, dtype), weight if weighted else None, k)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("wide", [4, 12, 30])
def test_numbers_of_several_limbs(wide: int, weighted: bool) -> None:
    x = rows(530, 5, wide=wide)
    weight = 10.0 ** np.random.default_rng(3).integers(-wide, 1, len(x)) if weighted else None
    scales = problem_of(make_backend("numpy"), x, weight, k=5, first="float64").ledger.scales
    assert scales[1] >= 2 + (wide > 4) + (wide > 12)
    assert not weighted or scales[3] >= 2
    check_sums(cuda_kernel(), x, weight, 5)


@pytest.mark.parametrize("view", range(4))
def test_rows_at_any_strides(view: int) -> None:
    x = list(views(rows(129, 33, "float32")))[view]
    check_sums(cuda_kernel(), x, None, 17)


def test_a_field_of_records() -> None:
    records = np.zeros(70, dtype=[("odd", "i1"), ("x", "f8", 3)])
    records["x"] = rows(70, 3)
    check_sums(cuda_kernel(), records["x"], None, 4)


@pytest.mark.parametrize("k", [3, 900])
def test_one_cluster_has_nearly_all_rows(k: int) -> None:
    n = 1300
    after = np.full(n, k - 2, dtype=np.int32)
    after[::200] = 0
    check_sums(cuda_kernel(), rows(n, 2), None, k, (np.roll(after, 1), after))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5])
def test_only_rows_that_moved_are_added(share: float) -> None:
    before, after = moves(1200, 11, share)
    assert np.count_nonzero(before != after) <= share * 1200
    check_sums(cuda_kernel(), rows(1200, 3), None, 11, (before, after))


def test_weights_of_zero() -> None:
    x, weight = rows(300, 3), np.zeros(600)[::2]  # not in one piece
    weight[7] = 2.5
    check_sums(cuda_kernel(), x, weight, 4)


def test_rows_without_weight_are_not_read() -> None:
    x, weight = rows(300, 3), np.ones(300)
    ledger = problem_of(make_backend("numpy"), x, weight, k=4, first="float64").ledger
    x[5], weight[5] = np.nan, 0.0
    labels = np.zeros(300, dtype=np.int32)
    wanted = ledger.columns(np.delete(x, 5, 0), np.delete(weight, 5)).astype(np.int64).sum(axis=0)
    block = Block(x, weight, 0, 0, {"labels": labels})
    ways: tuple[Way, ...] = "shared", "sorted", "global"
    for way in ways:
        out = np.zeros((4, ledger.n_columns), dtype=np.int64)
        cuda_kernel().calls.add_rows_by(way, block, None, ledger.scales, out)
        assert out[0].tolist() == wanted.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_any_schedule_gives_the_same_bits(seed: int) -> None:
    check_sums(cuda_kernel(seed=1000 * seed), rows(600, 7, "float32"), None, 6)


@pytest.mark.parametrize(
    ("n", "columns", "k"), [(1, 1, 1), (700, 1, 2), (300, 5, 9), (70, 300, 40), (20, 2, 5000)]
)
def test_group_sums(n: int, columns: int, k: int) -> None:
    check_group_sums(cuda_kernel(), np.trunc(rows(n, columns, wide=2) * 2.0**33), k)


def test_sums_in_shared_memory_carry_into_their_high_words() -> None:
    edges = np.asarray([1.0, -1.0, 2.0**32, -(2.0**32), 2.0**32 - 1, 2.0**31, -(2.0**40), 0.0])
    for values in (edges[:, None], np.tile(edges, 60)[:, None], np.full((300, 1), 2.0**40 - 1)):
        kernel = cuda_kernel()
        check_group_sums(kernel, values, 1)
        assert grid_of(len(values), 1, 1, "shared").copies == 32


def test_each_way_is_taken_where_the_table_says() -> None:
    table: list[tuple[int, int, int, int, Way]] = [
        # rows, k, columns, capability
        (1_000_000, 8, 17, 80, "shared"),
        (1_000_000, 8, 17, 60, "shared"),
        (31, 8, 17, 80, "global"),
        (1_000_000, 256, 17, 80, "shared"),
        (1_000_000, 400, 17, 80, "sorted"),
        (1_000_000, 400, 17, 60, "global"),
        (10_000, 400, 17, 80, "global"),
        (1_000_000, 300_000, 129, 80, "global"),
        (1 << 31, 1_000_000, 129, 90, "sorted"),
    ]
    for n_rows, k, columns, capability, wanted in table:
        assert route(n_rows, k, columns, capability) == wanted


@pytest.mark.parametrize("columns", [1, 2, 17, 129, 5000, 100_000])
@pytest.mark.parametrize("n_rows", [1, 300, 100_000, 1 << 33])
def test_grids_fit(n_rows: int, columns: int) -> None:
    for k in (1, 8, 300):
        way = route(n_rows, k, columns, 0)
        grid = grid_of(n_rows, k, columns, way)
        assert 1 <= grid.blocks <= min(n_rows, 1 << 14)
        assert 1 <= grid.tile <= 256
        assert grid.tile * columns < 1 << 31
        assert grid.shared <= 46 << 10
        assert (way == "shared") == (grid.copies > 0)
        # lanes of a warp tell their copies apart by the last bits of a row's place
        assert grid.copies in (0, 1, 2, 4, 8, 16, 32)


def test_the_router_sorts_and_the_workspace_is_bounded() -> None:
    x, k = rows(4200, 63, "float32"), 101
    ledger = problem_of(make_backend("numpy"), x, None, k=k, first="float64").ledger
    before, after = moves(len(x), k, 0.1)
    block = Block(x, None, 0, 0, {"labels": after})
    launcher = Sizes()
    calls = SumCalls(cuda_kernel().xp, launcher)
    whole, pieces = (np.zeros((k, ledger.n_columns), dtype=np.int64) for _ in range(2))
    for labels in (None, before):
        calls.add_rows(block, labels, ledger.scales, whole)
    assert launcher.launches == 2 * SORTED
    small = replace(calls, rows_at_once=1000)
    launcher.launches.clear()
    launcher.largest = 0
    for labels in (None, before):
        small.add_rows_by("sorted", block, labels, ledger.scales, pieces)
    assert launcher.launches == 10 * SORTED
    assert launcher.largest == 2000
    assert whole.tolist() == pieces.tolist()
    assert 12 * calls.rows_at_once <= 64 << 20


class Sizes(Emulator):
    """An emulated device that notes the longest list of rows or entries."""

    largest = 0

    def launch(self, unit: Any, name: str, grid: int, shared: int, arguments: Any, /) -> None:
        if name in ("list_moves", "place"):
            lists = arguments[5:6] if name == "list_moves" else (arguments[0], arguments[5])
            self.largest = max(self.largest, *(len(values) for values in lists))
        super().launch(unit, name, grid, shared, arguments)
