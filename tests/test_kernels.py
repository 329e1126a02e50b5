"""Every kernel against plain loops over ragged shapes, and the routing between them."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import oracle
import pytest
from cases import CASES, K
from conftest import Backend, make_backend
from engine import opened, plan_of, problem_of

from kmeans_xp import _draws, _gains
from kmeans_xp import _exact as exact
from kmeans_xp import _primitives as p
from kmeans_xp._distances import Scale
from kmeans_xp._draws import Lottery
from kmeans_xp._kernels import Shape, _numpy, load, select
from kmeans_xp._stats import NonFiniteError, weigh

SHAPES = [
    (1, 1, 1),
    (1, 5, 1),
    (2, 1, 2),
    (9, 1, 9),
    (13, 4, 13),
    (63, 3, 5),
    (64, 3, 5),
    (65, 3, 5),
    (300, 2, 17),
    (255, 70, 4),
    (256, 70, 4),
    (257, 70, 4),
]
KERNELS = ("numpy", "reference", "numba")
KINDS = ("fresh", "repeated rows", "repeated centers", "far centers")


def _kernel(name: str) -> Any:
    if name == "numba":
        pytest.importorskip("numba", reason="numba is not installed")
    numpy = make_backend("numpy")
    with opened(numpy) as context:
        return load(plan_of(name, "float64"), context)


def _data(shape: tuple[int, int, int], kind: str, dtype: str) -> tuple[Any, Any]:
    n, d, k = shape
    random = np.random.default_rng([n, d, k, KINDS.index(kind)])
    x = random.normal(size=(n, d)) + 3
    if kind == "repeated rows":
        x = x[random.integers(0, (n + 3) // 4, n)]
    centers = x[random.permutation(n)[:k]] + 0.1 * random.normal(size=(k, d))
    if kind == "repeated centers":
        centers = centers[np.arange(k) // 2]
    if kind == "far centers":
        # clusters that stay without rows
        centers[1::2] += 1e6
    return x.astype(dtype), centers.astype(dtype)


def _poison() -> None:
    """Leave NaN and garbage in freed memory, so that what a kernel forgets to write shows."""
    junk = [np.full(1 << power, np.nan) for power in range(4, 18)]
    junk += [np.full(1 << power, -1, dtype=np.int32) for power in range(4, 14)]
    del junk


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_labels(name: str, kind: str, shape: tuple[int, int, int], dtype: str) -> None:
    kernel = _kernel(name)
    x, centers = _data(shape, kind, dtype)
    wanted = np.asarray(oracle.labels(x, centers))
    numpy = make_backend("numpy")
    for first in ("exact", "float64", dtype):
        problem = problem_of(numpy, x, k=shape[2], first=first)
        problem.cover(centers)
        nearest = problem.nearest_to(centers)
        _poison()
        labels, unsure, _ = kernel.propose(x, nearest, {})
        closed = np.ones(len(x), dtype=bool) if unsure is None else ~unsure
        assert labels.dtype == np.int32
        assert labels[closed].tolist() == wanted[closed].tolist()
        _poison()
        assert kernel.settle(x, nearest).tolist() == wanted.tolist()
        own = kernel.own_distances(x, nearest, wanted.astype(np.int32))
        every = kernel.distances(x, centers, nearest.scale)
        assert every.shape == (len(centers), len(x))
        assert own.tolist() == every[wanted, np.arange(len(x))].tolist()
        assert every.T.tolist() == [
            [oracle.canonical(row, center) for center in centers.tolist()] for row in x.tolist()
        ]


@pytest.mark.parametrize(("dtype", "step"), [("float32", 128), ("float64", 64)])
def test_labels_around_the_edge_of_a_block_of_scores(dtype: str, step: int) -> None:
    """With 4096 centers, so many rows make a block."""
    random = np.random.default_rng(0)
    centers = random.normal(size=(4096, 3)).astype(dtype)
    numpy, reference = _kernel("numpy"), _kernel("reference")
    for n in (step - 1, step, step + 1, 2 * step + 1):
        x = random.normal(size=(n, 3)).astype(dtype)
        problem = problem_of(make_backend("numpy"), x, k=4096, first=dtype)
        problem.cover(centers)
        nearest = problem.nearest_to(centers)
        exact = numpy.distances(x, centers, nearest.scale).argmin(axis=0)
        for kernel in (numpy, reference):
            labels, unsure, _ = kernel.propose(x, nearest, {})
            assert labels[~unsure].tolist() == exact[~unsure].tolist()
            assert kernel.settle(x, nearest).tolist() == exact.tolist()


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_that_overflow_a_product_are_left_open(name: str, dtype: str) -> None:
    """No score is a number for such a row; it must be judged by the last rung, not dropped."""
    kernel = _kernel(name)
    x = np.asarray([[1.0, 2.0], [3.0, 4.0]], dtype=dtype)
    big = np.finfo(dtype).max
    rung = p.Rung(
        weights=np.asarray([[-big, -big], [-big, -big]], dtype=dtype),
        bias=np.asarray([np.inf, np.inf], dtype=dtype),
        twinned=None,
        shift=None,
        origin=None,
        scale=1.0,
        theta=1e-6,
        canonical=1e-15,
        underflow=0.0,
    )
    centers = np.asarray([[3.0, 3.0], [1.0, 1.0]], dtype=dtype)
    rungs = {("float32", 2): rung, ("float64", 2): rung}
    nearest = p.Nearest(centers, None, Scale(), 10.0, dtype, rungs)
    with np.errstate(over="ignore", invalid="ignore"):
        _, unsure, _ = kernel.propose(x, nearest, {})
        settled = kernel.settle(x, nearest)
    assert unsure.tolist() == [True, True]
    assert settled.tolist() == [1, 0]


@pytest.mark.parametrize("name", KERNELS)
def test_labels_of_rows_whose_squares_overflow(name: str) -> None:
    kernel = _kernel(name)
    x = np.asarray([[0.0, 0.0], [1.0, 1.0], [1e300, 0.0]])
    nearest = p.Nearest(x[:2], None, Scale(), 1e300, "float64")
    with np.errstate(over="ignore", invalid="ignore"):
        labels, unsure, _ = kernel.propose(x, nearest, {})
    assert labels[:2].tolist() == [0, 1]
    assert unsure.tolist() in ([False, False, True], [True, True, True])


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("rows", [1, 2, 63, 4095, 4096, 4097, 20_001])
@pytest.mark.parametrize(("groups", "columns"), [(1, 1), (3, 1), (3, 4), (200, 5)])
def test_group_sums(name: str, rows: int, groups: int, columns: int) -> None:
    kernel = _kernel(name)
    random = np.random.default_rng([rows, groups, columns])
    values = random.integers(-(2**40), 2**40, size=(rows, columns)).astype(float)
    # odd numbers: beyond 2**53 float64 would lose their last bit
    values[:, 0] = 2.0**40 - 1
    # the last group stays empty where there are several
    labels = random.integers(0, max(groups - 1, 1), size=rows).astype(np.int32)
    wanted = np.zeros((groups, columns), dtype=object)
    for row, label in zip(values.tolist(), labels.tolist(), strict=True):
        wanted[label] += [int(value) for value in row]
    _poison()
    found = kernel.group_sums(values, labels, groups)
    assert found.dtype == np.int64
    assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 257, 4097])
def test_compress_and_put(name: str, n: int) -> None:
    kernel = _kernel(name)
    random = np.random.default_rng(n)
    for share in (0.0, 0.01, 0.5, 1.0):
        mask = random.random(n) < share
        mask[random.integers(n)] = True
        rows, valid = kernel.compress(mask, int(mask.sum()))
        good = np.ones(len(rows), dtype=bool) if valid is None else valid
        assert rows[good].tolist() == np.flatnonzero(mask).tolist()
        values = random.normal(size=n)
        wanted = np.where(mask, np.arange(n) + 0.5, values)
        found = kernel.put(values.copy(), mask, rows, rows + 0.5)
        assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (65, 3, 5), (257, 70, 4)], ids=str)
def test_screens(name: str, dtype: str, shape: tuple[int, int, int]) -> None:
    kernel = _kernel(name)
    x, centers = _data(shape, "fresh", dtype)
    problem = problem_of(make_backend("numpy"), x, k=shape[2], first=dtype)
    nearest = problem.nearest_to(centers)
    rung = nearest.rung(dtype, xp=np)
    lower, half = kernel.screen(x, rung, {})
    shift = 0.0 if rung.shift is None else rung.shift.astype(np.float64)
    rows = (x.astype(np.float64) - shift) * rung.scale
    seeds = (centers.astype(np.float64) - shift) * rung.scale
    norms = (rows**2).sum(axis=1)
    wanted = (seeds**2).sum(axis=1)[:, None] * (0.5 - rung.theta) - seeds @ rows.T
    slack = 4 * rung.theta * (norms.max() + (seeds**2).sum(axis=1).max())
    np.testing.assert_allclose(lower, wanted, rtol=0, atol=slack)
    np.testing.assert_allclose(half, norms / 2, rtol=2 * rung.theta)


@pytest.mark.parametrize("name", ["numpy", "reference"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(2, 1, 2), (65, 3, 5), (300, 2, 17), (257, 70, 4)], ids=str)
def test_distances_at(name: str, dtype: str, shape: tuple[int, int, int]) -> None:
    kernel = _kernel(name)
    x, centers = _data(shape, "fresh", dtype)
    for scale in (Scale(), Scale(0.25, 2.0**40)):
        every = kernel.distances(x, centers, scale)
        rows = np.random.default_rng(0).integers(0, len(x), size=2 * len(x))
        _poison()
        for center, wanted in zip(centers, every, strict=True):
            assert kernel.distances_at(x, rows, center, scale).tolist() == wanted[rows].tolist()


def _seeded(kernel: Any, x: Any, seeds: Any, scale: Scale) -> dict[str, Any]:
    distances = kernel.distances(x, seeds, scale)
    return {"closest": distances.min(axis=0), "seeds": distances.argmin(axis=0).astype(np.int32)}


def _marks(state: dict[str, Any], n_rows: int, count: int) -> Any:
    """Which rows may gain by each candidate, from what a kernel left."""
    found = np.zeros((count, n_rows), dtype=bool)
    if isinstance(state["trial"], tuple):
        positions, marks = state["trial"]
        found[:, slice(None) if positions is None else positions] = marks
        return found
    listed = state["trial"]
    for trial in range(count):
        marks = listed.marks[trial // 8, : listed.rows.size] >> (trial % 8) & 1
        found[trial, listed.rows] = marks.astype(bool)
    return found


def _some_rows(seeds: Any, n_rows: int) -> Any:
    """As much of a source as trials ask for."""
    return SimpleNamespace(
        take=lambda rows: seeds[list(rows)],
        n_rows=n_rows,
        n_features=seeds.shape[1],
        piece_rows=70,
    )


@pytest.fixture
def compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeding by compiled loops from the first step on, where there are any."""
    monkeypatch.setenv("KMEANS_XP_NUMBA", "1")


@pytest.mark.usefixtures("compiles")
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("shift", [0.0, 300.0])
@pytest.mark.parametrize(
    ("dtype", "first"), [("float32", "float32"), ("float64", "float64"), ("float64", "float32")]
)
@pytest.mark.parametrize("shape", [(1, 1, 1), (65, 3, 5), (5000, 2, 40), (257, 70, 4)], ids=str)
def test_appraisals_hold_the_gains(
    name: str, weighted: bool, shift: float, dtype: str, first: str, shape: tuple[int, int, int]
) -> None:
    """No row that gains is left out, and the bounds stand on both sides of the exact gain."""
    kernel = _kernel(name)
    x, seeds = _data(shape, "fresh", dtype)
    x, seeds = x + np.asarray(shift, dtype), seeds + np.asarray(shift, dtype)
    random = np.random.default_rng(shape)
    # more than a vector holds, some of them alike
    candidates = x[random.integers(0, len(x), size=11)]
    weight = random.random(len(x)) if weighted else None
    problem = problem_of(make_backend("numpy"), x, weight, k=shape[2], first=first)
    nearest = problem.nearest_to(candidates)
    state = _seeded(kernel, x, seeds, nearest.scale)
    trials = kernel.trials(nearest, list(range(len(seeds))), _some_rows(seeds, len(x)))
    limits = trials.limits[: len(seeds)]
    between = kernel.distances(seeds, candidates, nearest.scale).min(axis=0)
    assert (limits <= between / 4).all()
    assert (limits[between > 1e-3] >= between[between > 1e-3] / 4 * (1 - 1e-6)).all()
    _poison()
    found = kernel.appraise(x, weight, state, trials)
    marks = _marks(state, len(x), len(candidates))
    after = kernel.distances(x, candidates, nearest.scale)
    gains = np.maximum(state["closest"] - after, 0.0)
    assert not gains[~marks].any()
    sums = (gains if weight is None else gains * weight).sum(axis=1)
    assert (np.asarray(found.high) * (1 + 1e-12) >= sums).all()
    assert (np.asarray(found.high) - found.slack <= sums * (1 + 1e-12)).all()
    assert found.pairs == marks.sum()
    top = int(sums.argmax())
    assert top in found.leaders(1e-12)


GAINS = [
    # rows, features, seeds, candidates: ragged tiles, one value a row, more than a vector holds
    (1, 1, 1, 1),
    (7, 1, 2, 3),
    (64, 2, 3, 8),
    (65, 5, 4, 9),
    (300, 33, 6, 17),
    (600, 3, 300, 4),
]


@pytest.mark.usefixtures("compiles")
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("kind", ["fresh", "repeated rows", "lattice", "far"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", GAINS, ids=str)
def test_gains_and_improvements_are_those_of_all_distances(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: str,
    weighted: bool,
    dtype: str,
    shape: tuple[int, int, int, int],
) -> None:
    """Whole gains, distances, seeds and the lottery's sums, bit for bit, step after step."""
    # sums by piece, however few the rows
    monkeypatch.setattr(_draws, "_FEW_ROWS", 0)
    n, d, k, count = shape
    kernel, random = _kernel(name), np.random.default_rng(shape)
    x = _data((n, d, 1), kind if kind in KINDS else "fresh", dtype)[0]
    if kind == "lattice":
        x = np.round(x)
    if kind == "far":
        x = (x * 1e-3 + 1e3).astype(dtype)
    weight = np.where(random.random(n) < 0.3, 0.0, random.random(n)) if weighted else None
    problem = problem_of(
        make_backend("numpy"), x, weight, k=k, first=dtype, block_rows=n, kernel=name
    )
    block, scale = problem.source.blocks[0], problem.frame.scale
    seeds = random.integers(0, n, size=k).tolist()
    state = block.state
    state.update(_seeded(kernel, x, x[seeds], scale))

    def mass(distances: Any) -> Any:
        return weigh(distances, block.weight, xp=np)

    for _ in range(3):
        drawn = random.integers(0, n, size=count).tolist()
        nearest = problem.nearest_to(x[drawn], screens=False)
        before = state["closest"].copy()
        largest = max(float(mass(before).max()), 1e-9)
        numbers = mass(before)
        lottery = Lottery(problem, lambda _, rows, numbers=numbers: numbers[rows], largest)
        trials = kernel.trials(nearest, seeds, problem.source)
        kernel.appraise(x, block.weight, state, trials)
        tried = kernel.distances(x, nearest.centers, scale)
        gains = lottery.whole(mass(before)) - lottery.whole(mass(np.minimum(tried, before)))
        wanted = gains.sum(axis=1).astype(int).tolist()
        assert [kernel.gained(block, trials, i, lottery) for i in range(count)] == wanted
        best = wanted.index(max(wanted))
        owners = np.where(tried[best] < before, len(seeds), state["seeds"])
        totals, size = lottery.pieces(block)
        lowered = totals - np.add.reduceat(gains[best], np.arange(0, n, size)).astype(int)
        kernel.improve(block, trials, best, len(seeds), lottery)
        assert state["closest"].tolist() == np.minimum(tried[best], before).tolist()
        assert state["seeds"].tolist() == owners.tolist()
        assert totals.tolist() == lowered.tolist()
        seeds.append(drawn[best])


def test_an_appraisal_without_numbers_tells_nothing() -> None:
    for high, slack in (([1.0, float("nan")], 0.1), ([9.0, 1.0], float("inf"))):
        assert _gains.Appraisal(high, slack, 3).leaders(1e-9) == [0, 1]
    sure = _gains.Appraisal([1.0, 3.0, 2.5], 0.25, 3)
    assert sure.leaders(1e-9) == [1]
    assert (sure + sure).leaders(1e-9) == [1]
    assert sure.leaders(0.2) == [1, 2]


@pytest.mark.usefixtures("compiles")
@pytest.mark.parametrize("name", KERNELS)
def test_rows_that_overflow_a_product_may_gain(name: str) -> None:
    """What is no number must stay marked, and the bounds must not decide."""
    x = np.asarray([[1e30, 1e30], [1.0, 2.0], [3.0, 4.0]], dtype=np.float32)
    nearest = p.Nearest(np.asarray([[1e30, -1e30]], np.float32), None, Scale(), 1e30, "float32")
    state = {"closest": np.full(3, 1e62), "seeds": np.zeros(3, dtype=np.int32)}
    kernel = _kernel(name)
    with np.errstate(over="ignore", invalid="ignore"):
        trials = kernel.trials(nearest, [0], _some_rows(x, 3))
        found = kernel.appraise(x, None, state, trials)
    assert _marks(state, 3, 1)[0, 0]
    assert found.leaders(1e-9) == [0]


def test_the_reference_runs_on_every_library(xp: Backend) -> None:
    x, centers = _data((65, 3, 5), "fresh", "float32")
    with opened(xp) as context:
        problem = problem_of(xp, x, k=5, first="float32")
        kernel = load(plan_of("reference", "float32"), context)
        nearest = problem.nearest_to(xp.array(centers))
        assert xp.host(kernel.settle(xp.array(x), nearest)).tolist() == oracle.labels(x, centers)


TABLE = [
    # n, d, k, dtype, backend, float32 products -> kernel, first precision
    ((100, 4, 3, "float32"), "numpy", True, "numpy", "exact"),
    ((100, 4, 3, "float32"), "torch", True, "reference", "exact"),
    ((100_000, 4, 3, "float32"), "numpy", True, "numpy", "float32"),
    ((100_000, 4, 3, "float64"), "numpy", True, "numpy", "float32"),
    ((100_000, 4, 3, "float64"), "torch", False, "reference", "float64"),
    ((100_000, 4, 3, "float32"), "torch", True, "reference", "float32"),
    ((100_000, 4, 3, "float32"), "torch", False, "reference", "float64"),
    ((100_000, 4, 3, "float32"), "jax", True, "reference", "float32"),
    ((1000, 30_000, 3, "float32"), "numpy", True, "numpy", "float32"),
    ((1000, 30_001, 3, "float32"), "numpy", True, "numpy", "float64"),
]


@pytest.mark.parametrize(("shape", "backend", "products", "kernel", "first"), TABLE)
def test_select(
    shape: tuple[int, int, int, str], backend: str, products: bool, kernel: str, first: str
) -> None:
    plan = select(Shape(*shape), backend=backend, threads=4, float32_products=products)
    assert (plan.kernel, plan.first) == (kernel, first)
    assert plan == select(Shape(*shape), backend=backend, threads=4, float32_products=products)


def test_select_keeps_blocks_and_threads_within_bounds() -> None:
    sizes = (1, 255, 4097, 10**6, 10**8)
    for n, d, k, threads in itertools.product(sizes, (1, 17, 4096), (1, 100, 10**5), (1, 8)):
        for dtype, backend in itertools.product(("float32", "float64"), ("numpy", "torch", "jax")):
            plan = select(Shape(n, d, k, dtype), backend=backend, threads=threads)
            # blocks of 2**40 a row must add up in int64
            assert 256 <= plan.block_rows <= 1 << 22
            assert 1 <= plan.threads <= threads
            assert plan.threads == 1 or backend == "numpy"
            one = select(Shape(n, d, k, dtype), backend=backend, threads=1)
            # threads may share the work out, and change nothing that decides a number
            assert (one.kernel, one.first) == (plan.kernel, plan.first)


@pytest.mark.parametrize("case", [*CASES, "one value far below the others", "not finite"])
@pytest.mark.parametrize("kernel", ["reference", "numba"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_statistics_pass(case: str, kernel: str, weighted: bool) -> None:
    """A kernel may take it faster; it leaves the same numbers, bit for bit."""
    _kernel(kernel)
    numpy = make_backend("numpy")
    x = CASES[case]()[0] if case in CASES else CASES["blobs"]()[0].copy()
    weight = np.random.default_rng(0).integers(0, 3, len(x)) * 0.3 if weighted else None
    if case == "one value far below the others":
        x[1000, 2] = 1e-150
    if case == "not finite":
        x[700, 1] = np.inf
        with opened(numpy), pytest.raises(NonFiniteError):
            problem_of(numpy, x, weight, k=K, first="float64", kernel=kernel)
        return
    with opened(numpy):
        found, wanted = (
            problem_of(
                numpy, x, weight, k=K, first="float64", block_rows=rows, kernel=name, variance=True
            ).summary
            for name, rows in ((kernel, 170), ("numpy", 4096))
        )
    assert str(found) == str(wanted)
    assert (found.grid, found.weight_grid) == (wanted.grid, wanted.weight_grid)
    assert found.variance == wanted.variance
    for name in ("low", "high", "middle"):
        assert getattr(found.extent, name).tolist() == getattr(wanted.extent, name).tolist()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("name", "rows"), [("numba", None), ("numpy", 300), ("numpy", None)])
def test_sums_of_rows_that_moved(
    monkeypatch: pytest.MonkeyPatch, name: str, rows: int | None, case: str, weighted: bool
) -> None:
    """All rows, then those that moved, against columns of integers summed by label."""
    monkeypatch.setattr(_numpy, "_COLUMN_VALUES", 1)  # the least rows at a time
    few = rows is not None
    kernel = _numpy.NumpyKernel(keeps=few) if name == "numpy" else _kernel(name)
    numpy = make_backend("numpy")
    x = CASES[case]()[0][:rows]
    random = np.random.default_rng(1)
    before, after = random.integers(0, K, size=(2, len(x))).astype(np.int32)
    weight = random.integers(0, 3, len(x)) * 0.3 if weighted else None
    with opened(numpy):
        problem = problem_of(numpy, x, weight, k=K, first="float64")
        block = problem.source.blocks[0]
        columns = problem.ledger.columns(block.x, block.weight).astype(np.int64)
        for old in (None, before):
            sums = exact.Accumulator(np, 2)
            block.state["labels"] = after
            carrying = kernel.add_changes(block, old, problem.ledger, K, sums)
            wanted = np.zeros((K, problem.ledger.n_columns), dtype=np.int64)
            np.add.at(wanted, after, columns)
            moved = np.ones(len(x), bool) if old is None else old != after
            if old is not None:
                np.subtract.at(wanted, old, columns)
            heavy = moved if weight is None else moved & (weight > 0)
            assert carrying == np.count_nonzero(heavy)
            assert sums.total().tolist() == exact.widen(wanted, xp=np).tolist()
