"""Compiled loops along rows against plain NumPy: sums, distances, statistics, bounds, labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
from conftest import make_backend
from engine import opened, problem_of, solve
from kernels import kernel_of, poison

from kmeans_xp import _exact as exact
from kmeans_xp._bounds import Bounds, Drift, unproven
from kmeans_xp._kernels import Shape, select
from kmeans_xp._outcome import Rules
from kmeans_xp._stats import NonFiniteError, Surveyor
from kmeans_xp._typing import Block

pytest.importorskip("numba", reason="numba is not installed")

WIDTHS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 32, 33, 70)
LENGTHS = (1, 15, 16, 17, 511, 513, 1041)
LAYOUTS = ("C", "Fortran", "columns of a wider array", "rows backwards", "packed records")
K = 5


def laid_out(x: Any, layout: str) -> Any:
    """The same rows elsewhere in memory, with NaN in what lies between them."""
    n, d = x.shape
    if layout == "Fortran":
        return np.asfortranarray(x)
    if layout == "columns of a wider array":
        wide = np.full((n, d + 3), np.nan, x.dtype)
        wide[:, 2 : 2 + d] = x
        return wide[:, 2 : 2 + d]
    if layout == "rows backwards":
        return x[::-1].copy()[::-1]
    if layout == "packed records":
        records = np.zeros(n, dtype=[("row", x.dtype, (d,)), ("flag", "u1")])
        records["row"] = x
        return records["row"]
    return x


def rows_of(n: int, d: int, dtype: str, limbs: int = 1) -> Any:
    """Rows whose sums need about so many limbs."""
    random = np.random.default_rng([n, d, limbs])
    x = random.normal(size=(n, d))
    if limbs == 1:
        return (np.round(x * 64) / 64).astype(dtype)
    return (x * 2.0 ** random.integers(-40 * (limbs - 2), 1, size=(n, d))).astype(dtype)


def _labels(n: int, share: float) -> tuple[Any, Any]:
    random = np.random.default_rng([n, int(100 * share)])
    before = random.integers(0, K, n).astype(np.int32)
    moved = random.random(n) < share
    return before, np.where(moved, random.integers(0, K, n), before).astype(np.int32)


def _check_sums(x: Any, weight: Any, before: Any, after: Any) -> int:
    """Compare with the integers of the ledger, added up one by one; how many limbs it took."""
    problem = problem_of(make_backend("numpy"), x, weight, k=K, first="float32")
    ledger, unit_weight = problem.ledger, problem.source.blocks[0].weight
    whole = ledger.columns(x, unit_weight).astype(np.int64)
    moved = np.ones(len(x), np.bool_) if before is None else before != after
    wanted = np.zeros((K, ledger.n_columns), np.int64)
    np.add.at(wanted, after[moved], whole[moved])
    if before is not None:
        np.subtract.at(wanted, before[moved], whole[moved])
    carrying = int(np.count_nonzero(moved if weight is None else moved & (weight > 0)))
    sums = exact.Accumulator(np, 1)
    block = Block(x, unit_weight, 0, 0, {"labels": after})
    poison()
    assert kernel_of("numba").add_changes(block, before, ledger, K, sums) == carrying
    found = sums.total()
    assert found is not None
    assert np.array_equal(found[0], wanted)
    return int(ledger.scales[1])


@pytest.mark.parametrize("d", WIDTHS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_rows(d: int, dtype: str) -> None:
    seen = set()
    for n in LENGTHS:
        weight = np.random.default_rng(n).exponential(size=n) * (np.arange(n) % 3 > 0)
        weight[-1] = 1.0
        for limbs in (1, 2, 3):
            x = rows_of(n, d, dtype, limbs)
            for share in (0.0, 0.02, 1.0):
                before, after = _labels(n, share)
                seen.add(_check_sums(x, None, before, after))
                seen.add(_check_sums(x, weight, before, after))
            seen.add(_check_sums(x, None, None, after))
            seen.add(_check_sums(x, weight, None, after))
    assert {1, 2} <= seen


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("d", [1, 3, 8, 16, 21])
def test_sums_and_distances_of_rows_anywhere_in_memory(layout: str, d: int) -> None:
    for dtype in ("float32", "float64"):
        x = laid_out(rows_of(1041, d, dtype), layout)
        before, after = _labels(len(x), 0.3)
        _check_sums(x, None, before, after)
        _check_sums(x, None, None, after)
        _check_distances(x, x[:K] + x.dtype.type(0.25), after)


def _check_distances(x: Any, centers: Any, labels: Any) -> None:
    problem = problem_of(make_backend("numpy"), x, k=K, first="float64")
    problem.cover(centers)
    nearest = problem.nearest_to(centers)
    wanted = kernel_of("reference").own_distances(x, nearest, labels)
    poison()
    assert np.array_equal(kernel_of("numba").own_distances(x, nearest, labels), wanted)


@pytest.mark.parametrize("d", WIDTHS)
@pytest.mark.parametrize("size", [1.0, 1e-30, 1e30])
def test_distances_to_the_own_centers(d: int, size: float) -> None:
    """Far from 1 the scale takes part, before the difference or after it."""
    for dtype in ("float32", "float64"):
        for n in LENGTHS:
            x = (rows_of(n, d, "float64", 2) * size).astype(dtype)
            centers = (np.random.default_rng(d).normal(size=(K, d)) * size).astype(dtype)
            _check_distances(x, centers, _labels(n, 1.0)[1])


@pytest.mark.parametrize("n", [1, 7, 8, 9, 1000])
def test_two_limbs(n: int) -> None:
    random = np.random.default_rng(n)
    values = random.exponential(size=n) * 2.0 ** random.integers(-80, 1, size=n)
    up = 2.0 ** (exact.LIMB_BITS - exact.exponent_above(float(values.max())))
    found = kernel_of("numba").limb_sums(values, up)
    assert found == exact.limb_sums(values, up, xp=np)
    parts = exact.quantise(values, up, 2, xp=np)
    assert found == tuple(sum(map(int, part.tolist())) for part in parts)
    assert all(type(limb) is int for limb in found)


@pytest.mark.parametrize("kernel", ["numpy", "numba"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("order", ["rising", "falling", "one row"])
def test_inertia_whatever_block_holds_the_largest_distance(
    kernel: str, threads: int, order: str
) -> None:
    """Blocks are added on the grid of the largest so far; those on another grid come again."""
    numpy = make_backend("numpy")
    size = 2.0 ** np.linspace(-30, 10, 700)
    x = np.random.default_rng(0).normal(size=(700, 3)) * size[:, None]
    if order == "falling":
        x = x[::-1].copy()
    if order == "one row":
        x[:] = 1.0
        x[350] = 1e-9
    start = x[[0, 699]]
    for rows in (700, 64):
        with opened(numpy):
            problem = problem_of(
                numpy, x, k=2, first="float64", block_rows=rows, threads=threads, kernel=kernel
            )
            result = solve(problem, start, Rules(max_iter=2, tol=0.0))
        assert result.inertia == oracle.inertia(x, result.centers, result.labels)


@pytest.mark.parametrize("d", WIDTHS)
@pytest.mark.parametrize("layout", ["C", "Fortran", "packed records"])
def test_statistics(d: int, layout: str) -> None:
    compiled, plain = kernel_of("numba").surveyor, Surveyor(np)
    for n in (1, 2, 31, 255, 257, 600):
        for dtype in ("float32", "float64"):
            x = laid_out(rows_of(n, d, dtype, 2), layout)
            found, wanted = (taker.ranges(x, None) for taker in (compiled, plain))
            assert np.array_equal(found.low, wanted.low)
            assert np.array_equal(found.high, wanted.high)
            exponents = tuple(exact.exponent_above(value) for value in wanted.largest.tolist())
            grid = exact.Grid(exponents, 1)
            for hint in ([1, 1], [2, 1]):
                found, wanted = (
                    taker.sums(x, None, grid, None, hint) for taker in (compiled, plain)
                )
                assert found.sums.tolist() == wanted.sums.tolist()
                assert (found.limbs, found.weight_limbs) == (wanted.limbs, wanted.weight_limbs)
            grid = exact.Grid((12,) * d, 1)
            mean = x.mean(axis=0).astype(np.float64)
            found, wanted = (taker.squares(x, None, mean, 0.5, grid) for taker in (compiled, plain))
            assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_statistics_refuse_what_is_not_finite(bad: float, dtype: str) -> None:
    """In the rows that go side by side, and in those that are left over."""
    numpy = make_backend("numpy")
    for d in (1, 3, 8, 300):
        for row in (0, 17, 299):
            x = rows_of(300, d, dtype)
            x[row, d - 1] = bad
            with pytest.raises(NonFiniteError):
                problem_of(numpy, x, k=1, first="float64", kernel="numba")


@pytest.mark.parametrize("n", [1, 15, 16, 17, 64, 1001])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_in_doubt(n: int, dtype: str) -> None:
    """Those whose slack is spent, less those that both sides prove; others keep their slack."""
    from kmeans_xp._kernels._loops import list_doubtful

    random = np.random.default_rng(n)
    moved = random.random((2, K))
    drift = Drift.of(moved[0], moved[1], np.dtype(dtype), xp=np)
    labels = random.integers(0, K, n).astype(np.int32)
    upper, lower = (random.normal(size=n).astype(dtype) + shift for shift in (0, 1.5))
    slack = (random.random(n) * 4).astype(dtype)
    slack[random.random(n) < 0.05] = -np.inf
    apart = random.random(K) * 4
    spent = unproven(Bounds(slack, upper, lower), labels, drift, xp=np)
    near = upper.astype(float) + moved[0][labels]
    far = np.maximum(lower.astype(float) - moved[1][labels], apart[labels] - near)
    kept, rows = slack.copy(), np.empty(n, np.int32)
    count = list_doubtful(apart, drift.tables, (labels, kept, upper, lower), rows)
    listed = np.zeros(n, np.bool_)
    listed[rows[:count]] = True
    assert np.all(np.diff(rows[:count]) > 0)
    assert not np.any(listed & ~spent)
    # never too few, and too many within the roundings alone
    assert np.all(listed[spent & (near >= far)])
    assert not np.any(listed & (near < far - 1e-5))
    assert np.array_equal(kept[~spent], slack[~spent])
    left = (far - near + (moved[0] + moved[1])[labels])[spent]
    assert np.all(kept[spent] <= left + 1e-12)
    assert kept[spent] == pytest.approx(left, abs=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("d", [1, 2, 3, 5, 8, 11, 16, 19])
def test_fits_from_rows_anywhere_in_memory(layout: str, d: int) -> None:
    """Bit for bit those of plain NumPy: duplicates, repeated centers, bounds early and late."""
    numpy = make_backend("numpy")
    random = np.random.default_rng(d)
    x = rows_of(700, d, "float32", 2) + 3
    x[100:300] = x[random.integers(0, 100, 200)]
    start = x[[0, 1, 2, 3, 3]]
    found = []
    for kernel, block_rows in (("numpy", 700), ("numba", 700), ("numba", 83)):
        with opened(numpy):
            problem = problem_of(
                numpy, laid_out(x, layout), k=K, first="float32", block_rows=block_rows,
                kernel=kernel,
            )  # fmt: skip
            for late in (False, True):
                problem.pruner._late = late
                result = solve(problem, start, Rules(max_iter=None, tol=0.0))
                found.append(
                    (
                        result.labels.tolist(),
                        result.centers.tolist(),
                        result.inertia,
                        result.history,
                    )
                )
    assert all(one == found[0] for one in found)
    labels, centers = found[0][:2]
    assert labels == oracle.labels(x, np.asarray(centers, np.float32))


def test_late_bounds_are_for_compiled_loops_and_cheap_rows() -> None:
    def late(d: int, k: int, **options: Any) -> bool:
        shape = Shape(1_000_000, d, k, "float32")
        return select(shape, backend="numpy", threads=2, **options).prunes_late

    assert late(8, 16, compiled=True)
    assert not late(8, 17, compiled=True)
    assert not late(8, 1, compiled=True)
    assert not late(8, 16)
