"""The CUDA sources on the emulated device: exact where numbers allow it."""

from __future__ import annotations

import importlib.resources
import math
import re
from typing import Any

import numpy as np
import pytest
from checks import (
    check_doubt,
    check_errors,
    check_exact,
    check_far_centers,
    check_high_scores,
    check_scores,
    device_of,
    far_centers,
    little_scratch,
    views,
    whole,
)
from conftest import make_backend
from emulator import cuda_kernel
from engine import problem_of
from survey_checks import check_statistics

from kmeans_xp import _primitives as p
from kmeans_xp._distances import Scale
from kmeans_xp._kernels.cuda._route import depth, half_range, is_wgmma, plan, screens
from kmeans_xp._kernels.cuda._source import TENSOR_PRODUCTS, TILES, UNITS


def at_the_end_of_range(first: int) -> tuple[Any, Any, Any, list[int]]:
    """Rows, two centers whose squares hardly fit float64 in their scale, and canonical labels."""
    far = math.sqrt(np.finfo(np.float64).max) * 2.0**-737
    centers = np.asarray([[far * (1 - 2.0**-40), 0.0], [far * (1 + 2.0**-39), 2.0**-257]])
    centers = centers[[first, 1 - first]]
    x = far * np.asarray([[0.125, 0.1], [0.125, -0.1], [-0.0625, 0.0], [0.0, 0.0], [-0.0625, 0.1]])
    problem = problem_of(make_backend("numpy"), x, k=2, first="float64")
    problem.cover(centers)
    scale = problem.label_scale(centers)
    assert scale.factor == 2.0**737
    with np.errstate(over="ignore"):
        distances = p.cross_distances(x, centers, scale, xp=np)
    assert np.isfinite(distances[:, :2]).all()
    assert np.isinf(distances[:, 2]).all()
    return problem, x, centers, distances.argmin(axis=0).tolist()


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
    (128, 64, 128),
    (33, 129, 257),
]
TYPES = [(row, work) for row in ("float32", "float64") for work in TILES]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("row", "work"), TYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_scores_of_whole_numbers(
    shape: tuple[int, int, int], row: str, work: str, seed: int
) -> None:
    x, centers = whole(shape, row, seed)
    check_scores(cuda_kernel(seed=1000 * seed, capability=device_of(work)), x, centers, work)


@pytest.mark.parametrize(
    ("work", "capability", "d"),
    [
        ("float16", 80, 140),
        ("float16", 86, 140),
        ("tf32", 80, 70),
        ("tf32", 86, 70),
        ("3xtf32", 86, 70),
        ("float16 wgmma", 90, 140),
        ("float16 wgmma", 90, 270),
        ("tf32 wgmma", 90, 70),
        ("tf32 wgmma", 90, 140),
        ("3xtf32 wgmma", 90, 50),
        ("3xtf32 wgmma", 90, 70),
    ],
)
@pytest.mark.parametrize("view", [1, 3])
def test_scores_on_tensor_cores(work: str, capability: int, d: int, view: int) -> None:
    """Rows kept and rows fetched again, in several tiles of a block, at any strides."""
    kept = {"float16 wgmma": 256, "tf32 wgmma": 128, "3xtf32 wgmma": 64}.get(work, 256)
    assert plan(work, d, capability).keeps == (capability != 86 and d <= kept)
    x, centers = whole((300, d, 70), "float32")
    with little_scratch():
        check_scores(cuda_kernel(capability=capability), list(views(x))[view], centers, work)


@pytest.mark.parametrize(
    ("work", "capability"),
    [
        (work, capability)
        for work in TENSOR_PRODUCTS
        for capability in (80, 86, 87, 89, 90, 100, 103, 110, 120, 121)
        if not is_wgmma(work) or capability == 90
    ],
)
def test_tiles_fit_twice_on_a_multiprocessor(work: str, capability: int) -> None:
    room = {80: 164, 87: 164, 86: 100, 89: 100, 120: 100, 121: 100}.get(capability, 228) << 10
    # the table of the function's doc
    most = {100: 128, 164: 256, 228: 384}[room >> 10] // (2 if "tf32" in work else 1)
    part, planes = 64, 1
    if is_wgmma(work):
        most = {"float16 wgmma": 256, "tf32 wgmma": 128, "3xtf32 wgmma": 64}[work]
        part, planes = (64, 2) if work == "3xtf32 wgmma" else (128, 1)
    assert [d for d in range(1, 600) if plan(work, d, capability).keeps] == [*range(1, most + 1)]
    for d in (1, 31, most, most + 1, 10_000):
        found = plan(work, d, capability)
        assert 2 * (found.shared + (1 << 10)) <= room
        assert 2 <= found.stages <= 4
        buffers = found.stages * (1 if found.keeps else 2) + (found.parts if found.keeps else 0)
        # a ring besides: the tile whose scores are looked at, and all that may be begun by then
        turns = range(-found.parts, found.stages)  # from its first to the last before the next's
        biases = sum(turn % found.parts == 0 for turn in turns)
        ring = biases * 128 * 4 + 88 if is_wgmma(work) else 0
        assert found.shared == buffers * 128 * part * planes + 128 * 8 + ring
        assert found.parts * part >= d * (4 if "tf32" in work else 2) > (found.parts - 1) * part
        assert found.tile_bytes == 128 * part * planes * found.parts


@pytest.mark.parametrize("work", [work for work, kind in TENSOR_PRODUCTS.items() if kind == 16])
def test_centers_that_no_half_can_hold_leave_rows_open(work: str) -> None:
    check_far_centers(cuda_kernel(capability=device_of(work)), work)


def test_labels_are_exact_where_centers_lie_far_from_all_rows() -> None:
    """As where a model predicts rows of one place alone."""
    x, centers = far_centers(0)
    nearest = problem_of(make_backend("numpy"), x, k=10, first="float32").nearest_to(centers)
    kernel, state = cuda_kernel(), {}
    looked = kernel.launch_look(x, nearest, None, state)
    assert looked.works == ["float16", "float32"]
    kernel.launch_settle(x, nearest, state["labels"], looked)
    wanted = p.cross_distances(x, centers, Scale(), xp=np).argmin(axis=0)
    assert state["labels"].tolist() == wanted.tolist()


@pytest.mark.parametrize("first", [0, 1])
def test_labels_are_canonical_where_squares_of_centers_overflow(first: int) -> None:
    """Centers so close together, and so far from the rows, that their scale lifts them there."""
    problem, x, centers, wanted = at_the_end_of_range(first)
    nearest = problem.nearest_to(centers, scale=problem.label_scale(centers))
    assert cuda_kernel().settle(x, nearest).tolist() == wanted
    state: dict[str, np.ndarray] = {}
    kernel = cuda_kernel()
    looked = kernel.launch_look(x, nearest, None, state)
    kernel.launch_settle(x, nearest, state["labels"], looked)
    assert state["labels"].tolist() == wanted


@pytest.mark.parametrize("work", TILES)
def test_scores_at_the_end_of_their_range_leave_rows_open(work: str) -> None:
    """Where the score of a center that is nearer has overflowed, and lost."""
    check_high_scores(cuda_kernel(capability=device_of(work)), work)


def test_rows_that_no_half_can_hold_stay_open() -> None:
    """Too large, not finite, or of a size that a center alone has."""
    x, centers = whole((130, 40, 70), "float32")
    x[3, 7], x[64, 0], x[129, 39] = 4e5, np.nan, -np.inf
    rung = p.Rung(-centers, np.zeros(70, "f4"), None, None, None, 1.0, 0.0, 0.0, 0.0)
    nearest = p.Nearest(centers, None, Scale(), 4.0, "float32", {})
    nearest.rungs["float32", depth("float16", 40)] = rung
    labels, is_open = np.full(130, -1, np.int32), np.zeros(130, bool)
    cuda_kernel().calls.score(x, nearest, "float16", labels, is_open=is_open)
    assert is_open[[3, 64, 129]].all()
    assert ((labels >= 0) & (labels < 70)).all()


@pytest.mark.parametrize("row", ["float32", "float64"])
@pytest.mark.parametrize("work", TILES)
@pytest.mark.parametrize("d", [1, 8, 33, 200])
def test_sums_err_no_more_than_the_bound_is_told(d: int, work: str, row: str) -> None:
    check_errors(cuda_kernel(capability=device_of(work)), d, work, row)


def test_which_products_are_tried_first() -> None:
    for first, d, k, capability, wanted in (
        ("float32", 128, 1024, 90, ("float16", "3xtf32")),
        ("float32", 31, 64, 80, ("tf32", "3xtf32")),
        ("float32", 128, 1024, 75, ()),
        ("float64", 128, 1024, 90, ()),
        ("float32", 15, 1024, 90, ()),
        ("float32", 128, 8, 90, ("float16", "3xtf32")),
        ("float32", 128, 7, 90, ()),
        ("float32", 16, 8, 80, ("tf32", "3xtf32")),
        ("float32", 32, 8, 80, ("float16", "3xtf32")),
        ("float32", 5368, 64, 90, ("float16", "3xtf32")),
        ("float32", 5369, 64, 90, ("float16",)),
        ("float32", 16_400, 64, 90, ("float16",)),
        ("float32", 16_401, 64, 90, ()),
    ):
        assert screens(first, d, k, capability, wgmma=False) == wanted
        for work in wanted:
            # what the bound is proven for
            assert (depth(work, d) + 8) * 2.0**-24 < 0.0025


@pytest.mark.parametrize("reach", [1.0, 0.3, 1e-9, 2.0**40])
def test_numbers_are_brought_to_the_range_of_halves(reach: float) -> None:
    assert half_range("tf32", reach) == 1.0
    assert half_range("float16 wgmma", reach) == half_range("float16", reach)
    assert 2.0**12 <= half_range("float16", reach) * reach <= 2.0**13


def test_wgmma_is_used_where_it_is_not_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    usual, grouped = ("float16", "3xtf32"), ("float16 wgmma", "3xtf32 wgmma")
    monkeypatch.delenv("KMEANS_XP_WGMMA", raising=False)
    assert screens("float32", 128, 1024, 90) == grouped
    for capability in (80, 89, 100, 103, 120):
        assert screens("float32", 128, 1024, capability, wgmma=True) == usual
    for value, wanted in (("1", grouped), ("0", usual), ("", grouped)):
        monkeypatch.setenv("KMEANS_XP_WGMMA", value)
        assert screens("float32", 128, 1024, 90) == wanted
        few = tuple(work.replace("float16", "tf32") for work in wanted)
        assert screens("float32", 31, 1024, 90) == few
    assert screens("float32", 128, 1024, 90, wgmma=False) == usual
    for work in ("float16", "tf32", "3xtf32"):
        assert depth(f"{work} wgmma", 128) == depth(work, 128)


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
    assert cuda_kernel().calls.wide(x).tobytes() == x.astype(np.float64).tobytes()


@pytest.mark.parametrize("view", range(4))
def test_rows_at_any_strides(view: int) -> None:
    x, centers = whole((129, 33, 17), "float32")
    rows = list(views(x))[view]
    check_scores(cuda_kernel(), rows, centers, "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_in_doubt(dtype: str) -> None:
    random = np.random.default_rng(3)
    x = random.normal(size=(300, 3)).astype(dtype)
    check_doubt(cuda_kernel(), x, x[:12].copy())


def test_statistics() -> None:
    check_statistics(cuda_kernel())


def test_the_package_holds_the_sources() -> None:
    folder = importlib.resources.files("kmeans_xp") / "_kernels" / "cuda"
    texts = {
        file.name: file.read_text(encoding="utf-8")
        for file in folder.iterdir()
        if file.name.endswith((".cu", ".cuh"))
    }
    included = {name for text in texts.values() for name in re.findall('#include "(.*)"', text)}
    assert set(texts) == included | {unit.file for unit in UNITS}
    for unit in UNITS:
        assert "#include" not in unit.text
        assert unit.text.count("typedef long long i64;") == 1
        assert unit.text.endswith(texts[unit.file].rpartition("#include")[2].partition("\n")[2])
