"""What must hold of the CUDA kernels, for the tests and for bugs that are planted to fail them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from batch_checks import check_fits, check_surveys
from conftest import make_backend
from emulator import Emulator
from engine import problem_of
from group_checks import check_groups, check_tensor_groups
from loop_checks import check_drift, check_passes, check_reasons, check_recenter, check_sweeps
from seeding_checks import check_rounds, check_seeds
from survey_checks import check_statistics
from tensor_checks import (
    check_chosen,
    check_limits,
    check_listed,
    check_proofs,
    check_room,
    lost,
    nothing_lost,
)

from kmeans_xp import _exact as exact
from kmeans_xp import _primitives as p
from kmeans_xp._bounds import drifted, no_drift
from kmeans_xp._distances import Scale, squared_distances
from kmeans_xp._kernels.cuda import _centers
from kmeans_xp._kernels.cuda._calls import Calls, Picked
from kmeans_xp._kernels.cuda._errors import grain_of
from kmeans_xp._kernels.cuda._kernel import CudaKernel
from kmeans_xp._kernels.cuda._looked import Looked
from kmeans_xp._kernels.cuda._route import depth, dtype_of, half_range
from kmeans_xp._kernels.cuda._source import TENSOR_PRODUCTS
from kmeans_xp._kernels.cuda._sums import Way, grid_of
from kmeans_xp._typing import Block


def whole(shape: tuple[int, int, int], dtype: str, seed: int = 0) -> tuple[Any, Any]:
    """Small whole numbers, whose products and sums are exact; many centers are equally near."""
    n, d, k = shape
    random = np.random.default_rng([*shape, seed])
    x = random.integers(-4, 5, size=(n, d)).astype(dtype)
    centers = random.integers(-4, 5, size=(k, d)).astype(dtype)
    if k > 8:
        centers[5] = centers[2]
        centers[k - 1] = centers[1]
    return x, centers


def views(x: Any) -> Iterator[Any]:
    """The same rows at other strides."""
    yield x
    yield np.asfortranarray(x)
    yield np.repeat(x, 3, axis=1)[:, ::3]
    yield x[::-1, ::-1].copy()[::-1, ::-1]


def check_scores(kernel: CudaKernel, x: Any, centers: Any, work: str) -> None:
    """Best, second-best, half norm and label of whole numbers: every bit."""
    # theta = 0: bias and scores are whole numbers, or halves
    dtype = dtype_of(work)
    weights, half = -centers.astype(dtype), (centers.astype(np.float64) ** 2).sum(axis=1) / 2
    rung = p.Rung(weights, half.astype(dtype), None, None, None, 1.0, 0.0, 0.0, 0.0)
    rungs = {(dtype, depth(work, x.shape[1])): rung}
    stored = centers.astype(np.result_type(centers, dtype))
    nearest = p.Nearest(stored, None, Scale(), 4.0, dtype, rungs)
    labels = np.full(len(x), -1, dtype=np.int32)
    scores = np.full((3, len(x)), np.nan, dtype=dtype)
    is_open = np.ones(len(x), dtype=bool)
    left = Picked.none(x, xp=np)
    picked = Picked(np.arange(len(x))[::-1].copy(), np.asarray([len(x) - len(x) // 3]))
    some = np.full(len(x), -1, dtype=np.int32)
    with nothing_lost():
        kernel.calls.score(x, nearest, work, labels, is_open=is_open, left=left, scores=scores)
        kernel.calls.score(x, nearest, work, some, picked=picked)
    assert (some == np.where(np.arange(len(x)) < len(x) // 3, -1, labels)).all()
    wanted = half[None, :] - x.astype(np.float64) @ centers.astype(np.float64).T
    ordered = np.sort(np.concatenate([wanted, np.full((len(x), 1), np.inf)], axis=1), axis=1)
    assert labels.tolist() == wanted.argmin(axis=1).tolist()
    assert scores[0].tolist() == ordered[:, 0].tolist()
    assert scores[1].tolist() == ordered[:, 1].tolist()
    assert scores[2].tolist() == ((x.astype(np.float64) ** 2).sum(axis=1) / 2).tolist()
    ties = ordered[:, 0] == ordered[:, 1]
    assert is_open.tolist() == ties.tolist()
    assert sorted(left.rows[: left.count[0]].tolist()) == np.flatnonzero(ties).tolist()


def check_packed(kernel: CudaKernel, work: str) -> None:
    """Rows that are read 16 bytes at a time, with strangers behind; rows that cannot be."""
    x, centers = whole((20, 33, 5), "float32")
    for start, step, width in ((0, 1, 36), (1, 1, 36), (0, 4, 132)):
        wide = np.full((20, width), np.nan, np.float32)
        wide[:, start::step][:, :33] = x
        check_scores(kernel, wide[:, start::step][:, :33], centers, work)


def check_errors(kernel: CudaKernel, d: int, work: str, row: str) -> None:
    """Sums of an emulated device that rounds as badly as tensor cores may: within the bound."""
    random = np.random.default_rng(d)
    x, centers = random.lognormal(size=(130, d)).astype(row), random.lognormal(size=(1, d))
    # one center, without bias: the best score is the sum, and what is held back
    dtype = dtype_of(work)
    centers = centers.astype(dtype).astype(row)
    rung = p.Rung(-centers.astype(dtype), np.zeros(1, dtype), None, None, None, 1.0, 0.0, 0.0, 0.0)
    nearest = p.Nearest(centers, None, Scale(), 99.0, dtype, {(dtype, depth(work, d)): rung})
    if work == "float64" and row == "float32":
        nearest = p.Nearest(centers.astype(dtype), None, Scale(), 99.0, dtype, nearest.rungs)
    scores, labels = np.full((3, len(x)), np.nan, dtype), np.full(len(x), -1, np.int32)
    kernel.calls.score(x, nearest, work, labels, scores=scores)
    rows, center = x.astype(np.longdouble), centers[0].astype(np.longdouble)
    true, unit = rows @ center, 2.0 ** -(53 if dtype == "float64" else 24)
    # the rows themselves are rounded to the product's dtype
    summed = (depth(work, d) + 1) * unit * true
    np.testing.assert_allclose(scores[2], (rows**2).sum(axis=1) / 2, rtol=1e-5)
    grain = grain_of(work)
    if not grain:
        assert (np.abs(scores[0] + true) <= summed).all()
        return
    # the parts of the row and of the center, as the module tells them
    up = half_range(work, 99.0)
    by_row = ((lost(rows, work, up) ** 2).sum(axis=1) / grain + grain * (rows**2).sum(axis=1)) / 2
    own = ((lost(center, work, up) ** 2).sum() / grain + grain * (center**2).sum()) / 2
    error = scores[0] + true + own
    assert (np.abs(error) <= (by_row + own) * (1 + 2.0**-9) + summed).all()
    assert (np.abs(error) > 200 * unit * true).any()
    held = nearest.notes["cuda", work, row].held[0]
    assert 2 * own <= held <= 2 * own * (1 + 2.0**-9)


def check_exact(kernel: CudaKernel, x: Any, centers: Any, scale: Scale) -> None:
    """Canonical distances and the labels that follow from them: every bit."""
    every = p.cross_distances(x, centers, scale, xp=np)
    assert kernel.distances(x, centers, scale).tobytes() == every.tobytes()
    nearest = p.Nearest(centers, None, scale, float(np.abs(x).max()), "exact")
    labels = every.argmin(axis=0).astype(np.int32)
    assert kernel.propose(x, nearest, {}).labels.tolist() == labels.tolist()
    picked = Picked(np.arange(len(x))[::-1].copy(), np.asarray([len(x) - len(x) // 2]))
    found = np.full(len(x), -1, dtype=np.int32)
    kernel.calls.judge(x, nearest, found, picked)
    assert found[len(x) // 2 :].tolist() == labels[len(x) // 2 :].tolist()
    assert (found[: len(x) // 2] == -1).all()
    own = kernel.own_distances(x, nearest, labels)
    assert own.tobytes() == every[labels, np.arange(len(x))].tobytes()
    few = min(len(x), len(centers))
    itself = kernel.own_distances(x[:few], p.Nearest(centers[:few], None, scale, 1.0, "exact"))
    assert itself.tobytes() == np.diagonal(every[:few, :few]).tobytes()


def check_conversions(kernel: CudaKernel) -> None:
    """Numbers of every size to float64 and back, rounded once: every bit."""
    random = np.random.default_rng(8)
    wide = random.normal(size=(9, 70)) * 2.0 ** random.integers(-152, -120, size=(9, 70))
    wide[0, :4] = 0.0, -0.0, 2.0**-126, -(2.0**-150)
    wide[1:3] *= 2.0**140
    narrow = wide.astype(np.float32)
    assert kernel.rounded(wide[:, ::3], "float32").tobytes() == narrow[:, ::3].tobytes()
    assert kernel.rounded(wide, "float64") is wide
    assert kernel.widened(narrow.T).tolist() == narrow.T.astype(np.float64).tolist()


def check_grid_sums(kernel: CudaKernel) -> None:
    """The largest of values that are not negative, and sums on its grid or on a wider one."""
    random = np.random.default_rng(9)
    for n, least in ((1, 0.0), (2500, 0.0), (2500, 5e300), (700, 1e-300)):
        values = random.exponential(size=n) * 10.0 ** random.integers(-200, 9, size=n)
        found = kernel.grid_sums(values, least)
        assert found == exact.grid_sums(values, least, xp=np)
        assert found[0] == values.max()
    assert kernel.grid_sums(np.zeros(3), 0.0) == (0.0, 0, 0)


def check_sums(
    kernel: CudaKernel, x: Any, weight: Any, k: int, labels: tuple[Any, Any] | None = None
) -> None:
    """Sums of all rows and of those that moved, in every way, and in pieces."""
    if labels is None:
        labels = tuple(np.random.default_rng(2).integers(0, k, size=(2, len(x))).astype(np.int32))
    before, after = labels
    problem = problem_of(make_backend("numpy"), x, weight, k=k, first="float64")
    columns = problem.ledger.columns(x, weight).astype(np.int64)
    few = replace(kernel.calls, rows_at_once=500, chunk=40)
    ways: list[tuple[Calls, Way]] = [(kernel.calls, "global"), (kernel.calls, "sorted")]
    ways += [(few, "sorted")] if len(x) > 500 else []
    if grid_of(len(x), k, columns.shape[1], "shared").shared < 48_000:
        ways.append((kernel.calls, "shared"))
    for old in (None, before):
        block = Block(x, weight, 0, 0, {"labels": after})
        wanted = np.zeros((k, columns.shape[1]), dtype=np.int64)
        np.add.at(wanted, after, columns)
        moved = np.ones(len(x), dtype=bool)
        if old is not None:
            moved = old != after
            np.subtract.at(wanted, old, columns)
        heavy = np.count_nonzero(moved if weight is None else moved & (weight > 0))
        sums = exact.Accumulator(np, 1)
        assert kernel.add_changes(block, old, problem.ledger, k, sums) == heavy
        assert sums.total()[0].tolist() == wanted.tolist()
        for calls, way in ways:
            out = np.zeros_like(wanted)
            count = calls.add_rows_by(way, block, old, problem.ledger.scales, out)
            assert count.tolist() == [heavy], way
            assert out.tolist() == wanted.tolist(), way


def check_group_sums(kernel: CudaKernel, values: Any, k: int) -> None:
    """Sums by label of whole numbers."""
    labels = np.random.default_rng(4).integers(0, k, len(values)).astype(np.int32)
    wanted = np.zeros((k, values.shape[1]), dtype=np.int64)
    np.add.at(wanted, labels, values.astype(np.int64))
    assert kernel.group_sums(values, labels, k).tolist() == wanted.tolist()


def opened(looked: Looked, n_rows: int) -> Any:
    """Mark the rows that a look left open."""
    _, left = looked.steps[-1]
    is_open = np.zeros(n_rows, dtype=bool)
    is_open[left.rows[: left.count[0]]] = True
    return is_open


def check_doubt(kernel: CudaKernel, x: Any, centers: Any) -> None:
    """Bounds of rows, then the rows in doubt after moves of the centers."""
    x, centers = x.copy(), centers.copy()
    # a row in the middle between two centers, and one whose center has a twin
    x[0], x[1] = 20.0, -30.0
    centers[:2], centers[2:4] = [[19.0], [21.0]], -29.0
    problem = problem_of(make_backend("numpy"), x, k=len(centers), first="float64")
    problem.cover(centers)
    drift = no_drift(len(centers), "float32", x, xp=np)
    state: dict[str, Any] = {}
    looked = kernel.launch_look(x, problem.nearest_to(centers), drift, state)
    slack = state["bounds"].slack.copy()
    is_open = opened(looked, len(x))
    assert is_open[0]
    never = is_open | np.isin(state["labels"], (2, 3))
    assert (slack[never] == -np.inf).all()
    assert (slack[~never] > 0).all()
    for step in range(3):
        moved = centers.copy()
        moved[:: step + 2] += 0.25 * (step + 1)
        squared = squared_distances(centers, moved, Scale(), xp=np)
        drift, centers = drifted(drift, squared, xp=np), moved
        labels = state["labels"]
        looked = kernel.launch_look(x, problem.nearest_to(centers), drift, state)
        closed = ~opened(looked, len(x))
        scored = looked.read([int(count[0]) for count in looked.counts]).scored
        proven = slack > drift.tables[0, 1][labels]
        assert scored <= len(x) - np.count_nonzero(proven)
        wanted = p.cross_distances(x, centers, Scale(), xp=np).argmin(axis=0)
        assert state["labels"][closed].tolist() == wanted[closed].tolist()
        # those passed over kept their label and what they know
        assert (state["labels"][proven] == labels[proven]).all()
        assert (state["bounds"].slack[proven] == slack[proven]).all()
        slack = state["bounds"].slack.copy()
        kernel.launch_settle(x, problem.nearest_to(centers), state["labels"], looked)
        assert state["labels"].tolist() == wanted.tolist()


def far_centers(far: int) -> tuple[Any, Any]:
    """Rows, and centers far from them: the nearest has a value that no half of these rows can hold.

    The others are farther away, and each apart from the others, but none has a value as large.
    """
    x = np.random.default_rng(3).uniform(-1, 1, size=(50, 40)).astype(np.float32)
    centers = np.zeros((10, 40), np.float32)
    for j in range(10):
        centers[j, : 3 + j] = 14.5
    centers[far] = 0.0
    centers[far, 30] = 17.0
    return x, centers


def check_far_centers(kernel: CudaKernel, work: str) -> None:
    """A center that no half can hold leaves all rows open; its scores may have overflowed."""
    for far in (0, 4, 9):
        x, centers = far_centers(far)
        rung = p.Rung(-centers, (centers**2).sum(axis=1) / 2, None, None, None, 1.0, 0.0, 0.0, 0.0)
        nearest = p.Nearest(centers, None, Scale(), 1.0, "float32", {})
        nearest.rungs["float32", depth(work, 40)] = rung
        labels, is_open = np.full(50, -1, np.int32), np.zeros(50, bool)
        kernel.calls.score(x, nearest, work, labels, is_open=is_open)
        assert is_open.all()
        assert ((labels >= 0) & (labels < 10)).all()


def check_high_scores(kernel: CudaKernel, work: str) -> None:
    """Near the end of their range: the score of a center that is nearer may have overflowed."""
    dtype = dtype_of(work)
    largest = float(np.finfo(dtype).max)
    x, centers = np.zeros((3, 40), dtype), np.zeros((3, 40), dtype)
    x[1, 1], x[2, 1] = 1.0, -1.0
    for high, is_high in ((0.8, True), (0.13, True), (0.12, False)):
        bias = np.asarray([high * largest, np.inf, largest], dtype)
        rung = p.Rung(centers, bias, None, None, None, 1.0, 0.0, 0.0, 0.0)
        nearest = p.Nearest(centers, None, Scale(), 1.0, dtype, {(dtype, depth(work, 40)): rung})
        labels, is_open = np.full(3, -1, np.int32), np.zeros(3, bool)
        kernel.calls.score(x, nearest, work, labels, is_open=is_open)
        assert is_open.tolist() == [is_high] * 3
        assert (labels == 0).all()


@contextlib.contextmanager
def little_scratch() -> Iterator[None]:
    """Tiles whose rows do not stay in shared memory, or that wgmma labels, are one block's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_centers, "SCRATCH_BYTES", 1)
        patch.setattr(_centers, "BLOCKS_AT_ONCE", 1)
        yield


def device_of(work: str) -> int:
    """The compute capability that products are tested at."""
    return 90 if "wgmma" in work else 80


def check_tensor_scores(kernel: CudaKernel, work: str) -> None:
    """Rows that stay in shared memory, and rows that do not, on a device with less of it."""
    launcher = kernel.launcher
    assert isinstance(launcher, Emulator)
    streamed = {"float16": 159, "float16 wgmma": 310, "tf32 wgmma": 140}.get(work, 70)
    for capability, d in ((device_of(work), 33), (90 if "wgmma" in work else 86, streamed)):
        launcher.capability = capability
        with little_scratch():
            check_scores(kernel, *whole((129, d, 130), "float32"), work)
            check_listed(kernel, work, (133, d, 130))
    launcher.capability = device_of(work)
    for d in (1, 33):
        check_room(kernel, d, work)
        check_errors(kernel, d, work, "float32")
    check_packed(kernel, work)
    check_limits(kernel, work)
    check_proofs(kernel, work)
    check_high_scores(kernel, work)
    if TENSOR_PRODUCTS[work] == 16:
        check_far_centers(kernel, work)


def everything(kernel: CudaKernel, file: str) -> None:
    """What the tests above hold, as far as it concerns one source."""
    random = np.random.default_rng(7)
    if file == "assign_mma.cu":
        for work in ("float16", "tf32", "3xtf32"):
            check_tensor_scores(kernel, work)
    elif file == "groups_mma.cu":
        for work in ("float16", "tf32", "3xtf32"):
            check_tensor_groups(kernel, work)
    elif file == "groups.cu":
        check_groups(kernel)
    elif file == "assign_wgmma.cu":
        for work in ("float16 wgmma", "tf32 wgmma", "3xtf32 wgmma"):
            check_tensor_scores(kernel, work)
    elif file == "assign.cu":
        for shape in ((129, 33, 130), (5, 70, 3)):
            for seed in range(3):
                check_scores(kernel, *whole(shape, "float32", seed), "float32")
        check_high_scores(kernel, "float32")
        check_high_scores(kernel, "float64")
        x = random.normal(size=(300, 3))
        check_doubt(kernel, x, x[:12])
    elif file == "batch.cu":
        check_fits(kernel.launcher)
    elif file == "batch_survey.cu":
        check_surveys(kernel.launcher)
    elif file == "choose.cu":
        for d in (3, 33):
            check_chosen(kernel, d)
    elif file == "exact.cu":
        for d in (3, 21, 33, 101):
            x = random.integers(-3, 4, size=(21, d)) + 0.1
            centers = x[:19] + random.integers(-1, 2, size=(19, d))
            centers[17], centers[11] = centers[3], centers[3]
            check_exact(kernel, x, centers, Scale(0.25, 2.0**40))
        check_conversions(kernel)
        check_grid_sums(kernel)
    elif file == "sums.cu":
        x = random.normal(size=(1500, 3)) * 10.0 ** random.integers(-12, 12, size=(1500, 3))
        weight = random.integers(0, 3, len(x)) * 0.3
        check_sums(kernel, x, weight, 4)
        check_sums(kernel, x, None, 2200)
        check_group_sums(kernel, np.trunc(random.normal(size=(600, 3)) * 2.0**40), 7)
    elif file == "survey.cu":
        check_statistics(kernel)
    elif file == "recenter.cu":
        check_recenter(kernel)
        check_reasons(kernel)
    elif file == "drift.cu":
        check_drift(kernel)
    elif file == "fused.cu":
        check_sweeps(kernel)
    elif file == "fused_mma.cu":
        check_passes(kernel)
    elif file == "seed.cu":
        check_seeds(kernel)
    elif file == "oversample.cu":
        check_rounds(kernel)
    elif file == "segments.cu":
        # several limbs, blocks that share counters, more parts than threads that share an entry
        x = random.normal(size=(700, 67)) * 10.0 ** random.integers(-12, 12, size=(700, 1))
        weight = random.integers(0, 3, len(x)) * 0.3
        before, after = (random.integers(0, k, len(x)).astype(np.int32) for k in (9, 3))
        check_sums(kernel, x, weight, 9, (before, after))
        check_sums(kernel, x[:, :2], None, 300)
