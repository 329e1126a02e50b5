"""Few rows in compiled loops, and compiled means: not one bit may differ from the plain way."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import oracle
import pytest

pytest.importorskip("numba", reason="numba is not installed")

from conftest import make_backend
from engine import NO_LIMIT, opened, problem_of, solve
from kernels import KINDS, data_of, kernel_of, poison

from kmeans_xp import _exact as exact
from kmeans_xp import _primitives as p
from kmeans_xp._distances import Scale
from kmeans_xp._kernels import Shape, _center_loops, _few, select

# tiles and panels by one less and one more; one row, one feature, one center
SHAPES = [(1, 1, 1), (15, 1, 2), (16, 2, 3), (17, 3, 4), (150, 4, 5), (333, 33, 7), (90, 70, 90)]


def _nearest(x: Any, centers: Any, shift: Any) -> p.Nearest:
    away = x if shift is None else x - shift
    return p.Nearest(centers, shift, Scale(), float(np.abs(away).max()), "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_labels_are_the_exact_ones(shape: tuple[int, int, int], kind: str, dtype: str) -> None:
    x, centers = data_of(shape, kind, dtype)
    wanted = oracle.labels(x, centers)
    for rows in (x, np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2]):
        for shift in (None, x.astype(np.float64).mean(axis=0)):
            poison()
            found = _few.label(rows, _nearest(x, centers, shift), {})[0]
            assert found.dtype == np.int32
            assert found.tolist() == wanted


def test_labels_of_ties_go_to_the_first_center() -> None:
    grid = np.stack(np.meshgrid(np.arange(9.0), np.arange(9.0)), axis=-1).reshape(-1, 2)
    centers = grid[(grid % 2 == 0).all(axis=1)][::-1].copy()
    found, _ = _few.label(grid, _nearest(grid, centers, grid.mean(axis=0)), {})
    assert found.tolist() == oracle.labels(grid, centers)


@pytest.mark.parametrize("reach", p.FLOAT32_REACH)
def test_labels_at_the_ends_of_the_range_of_float32_products(reach: float) -> None:
    """Scores come near overflow or lose bits there; what they leave open is settled."""
    x, centers = data_of((60, 5, 6), "fresh", "float64")
    exponent = int(np.log2(reach / np.abs(x).max()))
    x, centers = np.ldexp(x, exponent), np.ldexp(centers, exponent)
    for shift in (None, x.mean(axis=0)):
        found, _ = _few.label(x, _nearest(x, centers, shift), {})
        assert found.tolist() == oracle.labels(x, centers)


def test_rows_whose_scores_overflow_are_settled() -> None:
    """Rows of no weight may lie anywhere, beyond the reach that the scores were made for."""
    x, centers = data_of((60, 5, 6), "fresh", "float64")
    nearest = _nearest(x, centers, None)
    x[[7, 23, 59]] *= 2.0**90
    found, _ = _few.label(x, nearest, {})
    assert found.tolist() == oracle.labels(x, centers)


def test_tiles_are_made_anew_when_rows_are_measured_otherwise() -> None:
    x, centers = data_of((100, 3, 4), "fresh", "float64")
    state: dict[str, Any] = {}
    first = _nearest(x, centers, x.mean(axis=0))
    _few.label(x, first, state)
    kept = state["tiles"]
    _few.label(x, dataclasses.replace(first, centers=centers[::-1].copy()), state)
    assert state["tiles"] is kept
    # a shift that shares no object with the first, a wider reach
    for other in (_nearest(x, centers, x.min(axis=0)), dataclasses.replace(first, reach=1e3)):
        assert _few.label(x, other, state)[0].tolist() == oracle.labels(x, centers)
        assert state["tiles"] is not kept
        kept = state["tiles"]


@pytest.mark.parametrize("kind", ["plain", "weighted", "far groups", "repeated rows"])
def test_fits_are_those_of_the_other_kernels(kind: str) -> None:
    random = np.random.default_rng(KINDS.index("fresh"))
    x = random.normal(size=(700, 3)) + 4 * random.integers(0, 3, size=(700, 1))
    weight = random.integers(0, 4, 700) * 0.5 if kind == "weighted" else None
    if kind == "far groups":
        # nearly every row stays open
        x[::2] += 1e7
    if kind == "repeated rows":
        x = np.round(x)
    start = np.concatenate([x[:6], x[:2]])
    numpy, results = make_backend("numpy"), []
    with opened(numpy):
        for options in ({"kernel": "reference"}, {"kernel": "numba"}, {"few": True}):
            plan = {"kernel": "numba", "prunes": "few" not in options} | options
            problem = problem_of(numpy, x, weight, k=len(start), first="float32", **plan)
            results.append(solve(problem, start, NO_LIMIT))
            (block,) = problem.source.blocks
            assert ("tiles" in block.state) is ("few" in options)
            if kind == "far groups" and "few" in options:
                # then NumPy goes on, from the next precision in the end
                assert block.state["many open"]
                assert problem.first == "float64"
    wanted = results[0]
    for found in results[1:]:
        assert found.labels.tolist() == wanted.labels.tolist()
        assert found.centers.tobytes() == wanted.centers.tobytes()
        assert (found.inertia, found.n_iter) == (wanted.inertia, wanted.n_iter)


def test_routing_takes_few_rows_there() -> None:
    small, large = Shape(150, 4, 3, "float64"), Shape(50_000, 16, 32, "float64")
    plan = select(small, backend="numpy", threads=8, compiled=True)
    assert (plan.kernel, plan.first, plan.few, plan.prunes) == ("numba", "float32", True, False)
    plan = select(small, backend="numpy", threads=8)
    assert (plan.kernel, plan.first, plan.few) == ("numpy", "exact", False)
    plan = select(large, backend="numpy", threads=8, compiled=True)
    assert (plan.kernel, plan.few, plan.prunes) == ("numba", False, True)
    # compiled loops serve host arrays alone
    plan = select(small, backend="torch", threads=8, compiled=True)
    assert (plan.kernel, plan.first, plan.few) == ("reference", "exact", False)


@pytest.mark.parametrize("words", [1, 2])
@pytest.mark.parametrize("limbs", [1, 2, 3, 5])
@pytest.mark.parametrize("weights", ["counts", "masses"])
def test_means_are_those_of_the_primitive(words: int, limbs: int, weights: str) -> None:
    random = np.random.default_rng([words, limbs])
    k, d = 40, 7
    size = 2.0 ** random.integers(0, 52, size=(k, d * limbs + 1))
    sums = (random.uniform(-1, 1, size.shape) * size).astype(np.int64)
    sums[:, 0] = 0
    sums[0] = 2**53
    sums[1] = -(2**53)
    totals = exact.in_words(sums, words, xp=np)
    if words == 2:
        totals[0] += random.integers(-(2**20), 2**20, size.shape)
    divisors = np.floor(10.0 ** random.uniform(0, 7, k))
    if weights == "masses":
        divisors = divisors * random.uniform(1, 2, k)
    for short in {limbs <= 2, False}:
        kind = {"whole": weights == "counts", "short": short}
        found = kernel_of("numba").means(totals, divisors, d, limbs, **kind)
        assert found.tobytes() == exact.means(totals, divisors, d, limbs, **kind).tobytes()
        cached = kernel_of("numpy").means(totals, divisors, d, limbs, **kind)
        assert cached.tobytes() == found.tobytes()


@pytest.mark.parametrize("most", [0, 1 << 16])
@pytest.mark.parametrize("kind", KINDS)
def test_open_rows_are_settled_either_way(
    monkeypatch: pytest.MonkeyPatch, kind: str, most: int
) -> None:
    monkeypatch.setattr("kmeans_xp._kernels._numba._FEW_DISTANCES", most)
    for shape in SHAPES:
        x, centers = data_of(shape, kind, "float64")
        poison()
        found = kernel_of("numba").settle(x, _nearest(x, centers, x.mean(axis=0)))
        assert found.tolist() == oracle.labels(x, centers)


def test_all_but_the_first_of_equal_centers_get_no_score() -> None:
    random = np.random.default_rng(3)
    centers = random.integers(0, 2, size=(60, 4)).astype(np.float64)
    bias, twinned = np.zeros(60), np.zeros(60, np.bool_)
    _center_loops.mark_repeats(centers, bias, twinned)
    rows = [tuple(center) for center in centers.tolist()]
    assert twinned.tolist() == [rows.count(row) > 1 for row in rows]
    assert np.isinf(bias).tolist() == [row in rows[:i] for i, row in enumerate(rows)]
