"""The measurements of `benchmarks/gpu.py` as they are, on an emulated device; no time is kept."""

from __future__ import annotations

import importlib
import pathlib
import sys
from typing import Any

import numpy as np
import pytest
from emulator import cuda_kernel
from late_copies import Gpu, on_gpu

from kmeans_xp import _problem, _streams
from kmeans_xp._kernels import _select, select

FOLDER = pathlib.Path(__file__).parents[2] / "benchmarks"


class Emulated:
    """What the measurements ask of a GPU, on NumPy arrays."""

    xp = np

    def time(self, task: Any) -> float:
        task()
        return 1.0

    def wait(self) -> None:
        """Nothing runs behind the back."""

    def release(self) -> None:
        """Nothing is kept."""

    def taken(self) -> int:
        return 12345


@pytest.fixture
def measures(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, with NumPy arrays routed as CuPy's, and one round of each."""
    monkeypatch.syspath_prepend(str(FOLDER))
    found = importlib.import_module("_gpu_measures")
    monkeypatch.setattr(importlib.import_module("_gpu_kit"), "_ROUNDS", 1)
    kernel = cuda_kernel()
    monkeypatch.setattr(_select, "kernel_for", lambda context: kernel)
    monkeypatch.setattr(
        _problem,
        "select",
        lambda shape, **options: select(shape, **(options | {"backend": "cupy"})),
    )
    return found


def test_what_the_card_reaches(measures: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUPY_TF32", "0")  # put back afterwards
    keeper = measures.Keeper(None, 1e6)
    measures.limits(keeper, Emulated(), values=1000, size=8)
    assert keeper.record["copy"]["GB/s"] == 2 * 4000 / 1e6
    assert keeper.record["tf32"]["TFLOP/s"] == 2 * 8**3 / 1e9


def test_a_pass_by_each_product(measures: Any) -> None:
    keeper = measures.Keeper(None, 1e6)
    measures.passes(keeper, Emulated(), [("uniform", 130, 32, 64), ("blobs", 250, 16, 3)], size=4)
    for case, n, k in zip(keeper.record["cases"], (130, 250), (64, 3), strict=True):
        assert (case["n"], case["k"]) == (n, k)
        assert set(case["products"]) == set(measures.PRODUCTS)
        shares = [case["products"][work]["share of rows open"] for work in measures.PRODUCTS]
        assert all(0 <= share <= 1 for share in shares)
        assert case["flash-kmeans"] == {"absent": case["flash-kmeans"]["absent"]}
        # halves prove less than float32 does
        assert shares[0] <= shares[-1]
        assert case["exact labels"]["products"][-1] == "float32"
    wide = keeper.record["cases"][0]
    assert wide["exact labels"]["ms over the first"] == 0.0
    assert wide["products"]["tf32"]["TFLOP/s"] == 2 * 130 * 32 * 64 / 1e9
    assert wide["flops a byte"] == 2 * 130 * 32 * 64 / (130 * 32 * 4 + 5 * 130)


def test_fits_starts_and_memory(measures: Any) -> None:
    keeper = measures.Keeper(None, 1e6)
    measures.small(keeper, Emulated(), [("blobs", 300, 4, 3, 5.0)], rounds=1)
    assert [fit["start"] for fit in keeper.record["fits"]] == ["default", "given rows"]
    assert all(fit["kernel"] == "cuda" and fit["iterations"] > 0 for fit in keeper.record["fits"])
    keeper = measures.Keeper(None, 1e6)
    measures.batches(keeper, Emulated(), [(3, 40, 2, 3)], rounds=1)
    (batch,) = keeper.record["batches"]
    assert min(batch["ms"], batch["ms a problem alone"], batch["inertia"]) > 0
    assert batch["iterations"] >= 1
    keeper = measures.Keeper(None, 1e6)
    measures.seeding(keeper, Emulated(), [("uniform", 150, 4, 3)])
    assert [start["start"] for start in keeper.record["starts"]] == ["k-means++", "k-means||"]
    keeper = measures.Keeper(None, 1e6)
    measures.memory(keeper, Emulated(), [("uniform", 300, 4, 5)])
    (fit,) = keeper.record["fits"]
    assert (fit["peak bytes"], fit["data bytes"]) == (12345, 300 * 4 * 4)
    assert fit["target bytes"] >= 256 << 20


def test_rows_that_a_gpu_is_given_no_room_for(
    measures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Little(Emulated):
        def limit(self, size: int | None) -> None:
            there.free = 10**9 if size is None else size

    monkeypatch.undo()
    monkeypatch.setattr(_streams, "BLOCK_BYTES", 64 * 4 * 4)
    keeper, there = measures.Keeper(None, 1e6), Gpu(10**9, 10**9)
    with on_gpu(there):
        measures.streams(keeper, Little(), [(640, 4, 5)], iterations=2)
    fits = keeper.record["fits"]
    held = [fit["reading"].partition(" held")[0].removeprefix("rows of one array") for fit in fits]
    assert held == ["", ", 5 of 10 blocks", ", none of 10 blocks"]
    assert fits[0]["GB/s"] == 0.0
    assert all(fit["iterations"] == 4 for fit in fits)


def test_no_time_no_work(measures: Any) -> None:
    for section in (measures.passes, measures.small, measures.seeding, measures.memory):
        keeper = measures.Keeper(None, -1.0)
        section(
            keeper,
            Emulated(),
            [("uniform", 300, 4, 5, None)[: 5 if section is measures.small else 4]],
        )
        assert keeper.record["left out, the time was over"]
        assert not {"cases", "fits", "starts"} & set(keeper.record)


def test_libraries_take_turns(measures: Any) -> None:
    """Those without a GPU here: the processes, the judgement, and a library that fails."""
    peers, on_gpu = (importlib.import_module(name) for name in ("_peers", "_gpu_peers"))
    data = importlib.import_module("_data")
    cell = data.Cell("blobs", data.blobs, 400, 3, 4, "float32", "rows", 2, max_iter=20)
    here = (peers.BY_NAME["kmeans_xp"], peers.BY_NAME["sklearn lloyd"])
    torch = [peer for peer in on_gpu.GPU_PEERS if peer.name in ("torch loop", "flash-kmeans")]
    keeper = measures.Keeper(None, 60.0)
    measures.fits(keeper, Emulated(), [cell], [*here, *torch])
    results = keeper.record["cells"][cell.name]
    assert results["kmeans_xp"]["times ours"] == 1.0
    assert results["kmeans_xp"]["labels differing"] == 0.0
    assert results["sklearn lloyd"]["iterations"] > 0
    for name in ("torch loop", "flash-kmeans"):
        assert set(results[name]) & {"absent", "failed", "seconds"}


def test_rows_are_what_they_are_called(measures: Any) -> None:
    uniform = measures.rows_of("uniform", 1000, 3, 5, Emulated())
    assert uniform.dtype == np.float32
    assert 0 <= uniform.min() < uniform.max() < 1
    blobs = measures.rows_of("blobs", 1000, 3, 5, Emulated())
    assert blobs.std() > 2
    assert "_gpu_measures" in sys.modules
