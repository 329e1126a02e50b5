"""The CUDA sources on the emulated device: exact where numbers allow it, and bugs do not pass."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from emulator import EmulationError, cuda_kernel
from engine import problem_of

from kmeans_xp import _exact as exact
from kmeans_xp import _primitives as p
from kmeans_xp._bounds import drifted, no_drift
from kmeans_xp._distances import Scale, squared_distances
from kmeans_xp._kernels._cuda_calls import Picked
from kmeans_xp._kernels._cuda_route import depth, dtype_of, screens
from kmeans_xp._kernels._cuda_source import TILES, UNITS
from kmeans_xp._kernels._cupy import CudaKernel
from kmeans_xp._typing import Block

SHAPES = [
    # n, d, k: around the edges of tiles of rows, features and centers
    (1, 1, 1),
    (2, 1, 3),
    (63, 31, 15),
    (65, 32, 64),
    (128, 33, 65),
    (129, 3, 63),
    (257, 70, 17),
    (130, 96, 130),
]
TYPES = [(row, work) for row in ("float32", "float64") for work in TILES]


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
    kernel._calls.score(x, nearest, work, labels, is_open=is_open, left=left, scores=scores)
    wanted = half[None, :] - x.astype(np.float64) @ centers.astype(np.float64).T
    ordered = np.sort(np.concatenate([wanted, np.full((len(x), 1), np.inf)], axis=1), axis=1)
    assert labels.tolist() == wanted.argmin(axis=1).tolist()
    assert scores[0].tolist() == ordered[:, 0].tolist()
    assert scores[1].tolist() == ordered[:, 1].tolist()
    assert scores[2].tolist() == ((x.astype(np.float64) ** 2).sum(axis=1) / 2).tolist()
    ties = ordered[:, 0] == ordered[:, 1]
    assert is_open.tolist() == ties.tolist()
    assert sorted(left.rows[: left.count[0]].tolist()) == np.flatnonzero(ties).tolist()


def check_exact(kernel: CudaKernel, x: Any, centers: Any, scale: Scale) -> None:
    """Canonical distances and the labels that follow from them: every bit."""
    every = p.cross_distances(x, centers, scale, xp=np)
    assert kernel.distances(x, centers, scale).tobytes() == every.tobytes()
    nearest = p.Nearest(centers, None, scale, float(np.abs(x).max()), "exact")
    labels = every.argmin(axis=0).astype(np.int32)
    assert kernel.propose(x, nearest, {}).labels.tolist() == labels.tolist()
    picked = Picked(np.arange(len(x))[::-1].copy(), np.asarray([len(x) - len(x) // 2]))
    found = np.full(len(x), -1, dtype=np.int32)
    kernel._calls.judge(x, nearest, found, picked)
    assert found[len(x) // 2 :].tolist() == labels[len(x) // 2 :].tolist()
    assert (found[: len(x) // 2] == -1).all()
    own = kernel.own_distances(x, nearest, labels)
    assert own.tobytes() == every[labels, np.arange(len(x))].tobytes()
    few = min(len(x), len(centers))
    itself = kernel.own_distances(x[:few], p.Nearest(centers[:few], None, scale, 1.0, "exact"))
    assert itself.tobytes() == np.diagonal(every[:few, :few]).tobytes()


def check_sums(kernel: CudaKernel, x: Any, weight: Any, k: int) -> None:
    """Sums of all rows and of those that moved."""
    random = np.random.default_rng(2)
    before, after = random.integers(0, k, size=(2, len(x))).astype(np.int32)
    problem = problem_of(make_backend("numpy"), x, weight, k=k, first="float64")
    columns = problem.ledger.columns(x, weight).astype(np.int64)
    for old in (None, before):
        sums = exact.Accumulator(np, 1)
        block = Block(x, weight, 0, 0, {"labels": after})
        count = kernel.add_changes(block, old, problem.ledger, k, sums)
        wanted = np.zeros((k, columns.shape[1]), dtype=np.int64)
        np.add.at(wanted, after, columns)
        moved = np.ones(len(x), dtype=bool)
        if old is not None:
            moved = old != after
            np.subtract.at(wanted, old, columns)
        assert count == np.count_nonzero(moved & (weight > 0) if weight is not None else moved)
        assert sums.total()[0].tolist() == wanted.tolist()


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
    _, is_open = kernel.look(x, problem.nearest_to(centers), drift, state)
    slack = state["bounds"].slack.copy()
    assert is_open is not None
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
        scored, is_open = kernel.look(x, problem.nearest_to(centers), drift, state)
        proven = slack > drift.tables[0, 1][labels]
        assert scored <= len(x) - np.count_nonzero(proven)
        wanted = p.cross_distances(x, centers, Scale(), xp=np).argmin(axis=0)
        closed = np.ones(len(x), bool) if is_open is None else ~is_open
        assert state["labels"][closed].tolist() == wanted[closed].tolist()
        # those passed over kept their label and what they know
        assert (state["labels"][proven] == labels[proven]).all()
        assert (state["bounds"].slack[proven] == slack[proven]).all()
        slack = state["bounds"].slack.copy()
        if is_open is not None:
            state["labels"] = np.where(closed, state["labels"], wanted).astype(np.int32)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("row", "work"), TYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_scores_of_whole_numbers(
    shape: tuple[int, int, int], row: str, work: str, seed: int
) -> None:
    x, centers = whole(shape, row, seed)
    check_scores(cuda_kernel(seed=1000 * seed), x, centers, work)


@pytest.mark.parametrize("row", ["float32", "float64"])
@pytest.mark.parametrize("work", TILES)
@pytest.mark.parametrize("d", [1, 8, 33, 200])
def test_sums_err_no_more_than_the_bound_is_told(d: int, work: str, row: str) -> None:
    """On an emulated device that rounds as badly as tensor cores may."""
    random = np.random.default_rng(d)
    x, centers = random.lognormal(size=(130, d)).astype(row), random.lognormal(size=(1, d))
    # one center, without bias: the best score is the sum
    dtype = dtype_of(work)
    centers = centers.astype(dtype).astype(row)
    rung = p.Rung(-centers.astype(dtype), np.zeros(1, dtype), None, None, None, 1.0, 0.0, 0.0, 0.0)
    nearest = p.Nearest(centers, None, Scale(), 99.0, dtype, {(dtype, depth(work, d)): rung})
    if work == "float64" and row == "float32":
        nearest = p.Nearest(centers.astype(dtype), None, Scale(), 99.0, dtype, nearest.rungs)
    scores, labels = np.full((3, len(x)), np.nan, dtype), np.full(len(x), -1, np.int32)
    cuda_kernel()._calls.score(x, nearest, work, labels, scores=scores)
    true = x.astype(np.longdouble) @ centers[0].astype(np.longdouble)
    error = np.abs(scores[0] + true) / true * 2.0 ** (53 if dtype == "float64" else 24)
    # the rows themselves are rounded to the product's dtype
    assert error.max() <= depth(work, d) + 1
    if work == "tf32":
        assert error.max() > 1000
    np.testing.assert_allclose(scores[2], (x.astype(np.float64) ** 2).sum(axis=1) / 2, rtol=1e-5)


def test_which_products_are_tried_first() -> None:
    for first, d, k, capability, wanted in (
        ("float32", 128, 1024, 90, ("tf32", "3xtf32")),
        ("float32", 128, 1024, 80, ("tf32", "3xtf32")),
        ("float32", 128, 1024, 75, ()),
        ("float64", 128, 1024, 90, ()),
        ("float32", 15, 1024, 90, ()),
        ("float32", 128, 63, 90, ()),
        ("float32", 8000, 64, 90, ("tf32",)),
        ("float32", 30_000, 64, 90, ()),
    ):
        assert screens(first, d, k, capability) == wanted
        for work in wanted:
            # what the bound is proven for
            assert (depth(work, d) + 16 + 2 * 19) * 1.05 * 2.0**-24 < 0.0027


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [Scale(), Scale(0.25, 2.0**40)], ids=["plain", "scaled"])
@pytest.mark.parametrize("d", [1, 2, 3, 5, 7, 31, 32, 33, 63, 64, 65, 100, 257])
def test_canonical_distances(d: int, scale: Scale, dtype: str) -> None:
    random = np.random.default_rng(d)
    x, centers = random.normal(size=(21, d)).astype(dtype), random.normal(size=(9, d))
    centers = centers.astype(dtype)
    centers[6], x[4] = centers[2], centers[2]
    for rows in views(x):
        check_exact(cuda_kernel(), rows, centers, scale)


def test_subnormal_numbers_are_widened_as_they_are() -> None:
    x = (np.random.default_rng(0).integers(-(2**24), 2**24, size=(50, 7)) * 2.0**-149).astype("f4")
    x[0] = [0.0, -0.0, 2.0**-149, -(2.0**-149), 2.0**-126, -(2.0**-126), 1.0]
    assert cuda_kernel()._calls.wide(x).tobytes() == x.astype(np.float64).tobytes()


@pytest.mark.parametrize("view", range(4))
def test_rows_at_any_strides(view: int) -> None:
    x, centers = whole((129, 33, 17), "float32")
    rows = list(views(x))[view]
    check_scores(cuda_kernel(), rows, centers, "float32")
    check_sums(cuda_kernel(), rows, None, 17)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "d", "k"), [(1, 1, 1), (1025, 3, 4), (700, 40, 300)])
def test_sums_in_shared_memory_and_without(n: int, d: int, k: int, weighted: bool) -> None:
    random = np.random.default_rng(n)
    # wide columns: several limbs
    x = random.normal(size=(n, d)) * 10.0 ** random.integers(-12, 12, size=(n, d))
    weight = random.integers(0, 3, n) * 0.3 + (np.arange(n) == 0) if weighted else None
    kernel = cuda_kernel()
    check_sums(kernel, x, weight, k)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_in_doubt(dtype: str) -> None:
    random = np.random.default_rng(3)
    x = random.normal(size=(300, 3)).astype(dtype)
    check_doubt(cuda_kernel(), x, x[:12].copy())


def test_the_package_holds_the_sources() -> None:
    folder = importlib.resources.files("kmeans_xp") / "_kernels" / "cuda"
    names = {file.name for file in folder.iterdir()}
    assert names == {"common.cuh", *(unit.file for unit in UNITS)}
    for unit in UNITS:
        assert unit.text.endswith((folder / unit.file).read_text(encoding="utf-8"))


BUGS = [
    (
        "assign.cu",
        "const int width = min(PART, d - start);\n      __syncthreads();",
        "const int width = min(PART, d - start);",
    ),
    ("assign.cu", "      __syncthreads();\n      if (center == 0", "      if (center == 0"),
    ("assign.cu", "if (score < best)", "if (score <= best)"),
    ("assign.cu", "|| (other.best == best && other.label < label)", ""),
    ("assign.cu", "if (behind < second) second = behind;", ""),
    ("assign.cu", "} else if (score < second) {", "} else {"),
    ("assign.cu", "if (c >= k) continue;", ""),
    ("assign.cu", "down * LANE_ROWS + i];", "down + i * SIDE];"),
    ("assign.cu", "if (center == 0 && thread < ROWS)", "if (thread < ROWS)"),
    ("assign.cu", "ROW_STRIDE = ROWS + 1", "ROW_STRIDE = ROWS - 1"),
    ("assign.cu", "best + room < second;", "best + room <= second;"),
    ("assign.cu", "  __syncthreads();\n  if (thread >= ROWS", "  if (thread >= ROWS"),
    ("assign.cu", "!settled || (twinned && twinned[found.label])", "!settled"),
    (
        "assign.cu",
        "!settled || (twinned && twinned[found.label])",
        "twinned && twinned[found.label]",
    ),
    ("assign.cu", "> kept.table(k + label)", "< kept.table(k + label)"),
    ("assign.cu", "if (!(near < far)) append", "if (near < far) append"),
    ("exact.cu", "at = level;", "at = 0;"),
    ("exact.cu", "if (lane + half < width) value", "value"),
    ("exact.cu", "if (found < best)", "if (found <= best)"),
    ("exact.cu", "|| (other == mine && theirs < label[threadIdx.x])", ""),
    ("exact.cu", "__dmul_rn(widen(x), before)", "widen(x)"),
    ("exact.cu", "labels[place] = label[0]", "labels[place] = label[1]"),
    ("sums.cu", "if (from) add(from + column, -value);", ""),
    ("sums.cu", "__dmul_rn(__dsub_rn(rest, whole), ONE_LIMB)", "__dsub_rn(rest, whole)"),
    ("sums.cu", "if (before && before[row] == label) continue;", ""),
    ("sums.cu", "__syncthreads();\n  }\n  const Cells", "}\n  const Cells"),
    ("sums.cu", "heavy += f == d && !(weight && !(weight[row] > 0.0));", "heavy += f == d;"),
    (
        "assign_mma.cu",
        "    __syncthreads();\n    if (next_center < k) fetch",
        "    if (next_center < k) fetch",
    ),
    ("assign_mma.cu", "store(buffers + (turn ^ 1) * BUFFER)", "store(buffers + turn * BUFFER)"),
    (
        "assign_mma.cu",
        "group + r % 2 * 8) * STRIDE + f + member + r / 2 * 4",
        "group + r / 2 * 8) * STRIDE + f + member + r % 2 * 4",
    ),
    ("assign_mma.cu", "j * 8 + member * 2 + side;", "j * 8 + member + side * 4;"),
    ("assign_mma.cu", "c < k && f < d ? weights", "c < k ? weights"),
    ("assign_mma.cu", "        sum = 0;", ""),
    ("assign_mma.cu", "found[i].join_lane(2);", ""),
    (
        "assign_mma.cu",
        "mine.join({best[ROWS + thread], second[ROWS + thread], label[ROWS + thread]});",
        "",
    ),
    ("assign_mma.cu", "  __syncthreads();\n  if (thread >= ROWS", "  if (thread >= ROWS"),
    ("assign_mma.cu", "half[r] = 0.5f * squares", "half[r] = squares"),
    ("assign_mma.cu", "? bias[c] : (float)infinity()", "? bias[c] : 0.0f"),
]


@pytest.mark.parametrize(("file", "before", "after"), BUGS)
def test_planted_bugs_are_caught(file: str, before: str, after: str) -> None:
    texts = [unit.text for unit in UNITS if unit.file == file]
    assert all(before in text for text in texts), "the text that the bug replaces is gone"
    kernel = cuda_kernel(lambda text: text.replace(before, after))
    with pytest.raises((AssertionError, EmulationError, IndexError)):
        everything(kernel, file)


def everything(kernel: CudaKernel, file: str) -> None:
    """What the tests above hold, as far as it concerns one source."""
    random = np.random.default_rng(7)
    if file.startswith("assign"):
        for shape in ((129, 33, 130), (5, 70, 3)):
            for seed in range(3):
                work = "tf32" if "mma" in file else "float32"
                check_scores(kernel, *whole(shape, "float32", seed), work)
    if file == "assign.cu":
        x = random.normal(size=(300, 3))
        check_doubt(kernel, x, x[:12])
    elif file == "exact.cu":
        for d in (3, 33, 101):
            x = random.integers(-3, 4, size=(21, d)) + 0.1
            centers = x[:19] + random.integers(-1, 2, size=(19, d))
            centers[17], centers[11] = centers[3], centers[3]
            check_exact(kernel, x, centers, Scale(0.25, 2.0**40))
    elif file == "sums.cu":
        x = random.normal(size=(1500, 3)) * 10.0 ** random.integers(-12, 12, size=(1500, 3))
        weight = random.integers(0, 3, len(x)) * 0.3
        check_sums(kernel, x, weight, 4)
        check_sums(kernel, x, None, 2200)


@pytest.mark.parametrize("file", sorted({unit.file for unit in UNITS}))
def test_no_bug_is_seen_where_none_was_planted(file: str) -> None:
    everything(cuda_kernel(), file)
