"""The CUDA sources on the emulated device: exact where numbers allow it."""

from __future__ import annotations

import importlib.resources
import re

import numpy as np
import pytest
from checks import check_doubt, check_exact, check_scores, views, whole
from emulator import cuda_kernel

from kmeans_xp import _primitives as p
from kmeans_xp._distances import Scale
from kmeans_xp._kernels.cuda._route import depth, dtype_of, screens
from kmeans_xp._kernels.cuda._source import TILES, UNITS

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
    cuda_kernel().calls.score(x, nearest, work, labels, scores=scores)
    true = x.astype(np.longdouble) @ centers[0].astype(np.longdouble)
    error = np.abs(scores[0] + true) / true * 2.0 ** (53 if dtype == "float64" else 24)
    # the rows themselves are rounded to the product's dtype
    assert error.max() <= depth(work, d) + 1
    if work in ("tf32", "float16"):
        assert error.max() > 1000
    np.testing.assert_allclose(scores[2], (x.astype(np.float64) ** 2).sum(axis=1) / 2, rtol=1e-5)


def test_which_products_are_tried_first() -> None:
    for first, d, k, capability, wanted in (
        ("float32", 128, 1024, 90, ("float16", "3xtf32")),
        ("float32", 31, 64, 80, ("tf32", "3xtf32")),
        ("float32", 128, 1024, 75, ()),
        ("float64", 128, 1024, 90, ()),
        ("float32", 15, 1024, 90, ()),
        ("float32", 128, 63, 90, ()),
        ("float32", 8000, 64, 90, ("float16",)),
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
