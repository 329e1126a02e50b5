"""Every kernel against plain loops over ragged shapes, and the routing between them."""

from __future__ import annotations

import itertools

import numpy as np
import oracle
import pytest
from cases import CASES, K
from conftest import Backend, make_backend
from engine import opened, plan_of, problem_of
from kernels import KERNELS, KINDS, data_of, kernel_of, poison

from kmeans_xp import _exact as exact
from kmeans_xp import _primitives as p
from kmeans_xp._distances import Scale
from kmeans_xp._kernels import Shape, _numpy, load, select
from kmeans_xp._stats import NonFiniteError

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


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_labels(name: str, kind: str, shape: tuple[int, int, int], dtype: str) -> None:
    kernel = kernel_of(name)
    x, centers = data_of(shape, kind, dtype)
    wanted = np.asarray(oracle.labels(x, centers))
    numpy = make_backend("numpy")
    for first in ("exact", "float64", dtype):
        problem = problem_of(numpy, x, k=shape[2], first=first)
        problem.cover(centers)
        nearest = problem.nearest_to(centers)
        poison()
        labels, unsure, _ = kernel.propose(x, nearest, {})
        closed = np.ones(len(x), dtype=bool) if unsure is None else ~unsure
        assert labels.dtype == np.int32
        assert labels[closed].tolist() == wanted[closed].tolist()
        poison()
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
    numpy, reference = kernel_of("numpy"), kernel_of("reference")
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


# compiled loops make their weights themselves; the next test is theirs too
@pytest.mark.parametrize("name", ["numpy", "reference"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_that_overflow_a_product_are_left_open(name: str, dtype: str) -> None:
    """No score is a number for such a row; it must be judged by the last rung, not dropped."""
    kernel = kernel_of(name)
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
    kernel = kernel_of(name)
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
    kernel = kernel_of(name)
    random = np.random.default_rng([rows, groups, columns])
    values = random.integers(-(2**40), 2**40, size=(rows, columns)).astype(float)
    # odd numbers: beyond 2**53 float64 would lose their last bit
    values[:, 0] = 2.0**40 - 1
    # the last group stays empty where there are several
    labels = random.integers(0, max(groups - 1, 1), size=rows).astype(np.int32)
    wanted = np.zeros((groups, columns), dtype=object)
    for row, label in zip(values.tolist(), labels.tolist(), strict=True):
        wanted[label] += [int(value) for value in row]
    poison()
    found = kernel.group_sums(values, labels, groups)
    assert found.dtype == np.int64
    assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 257, 4097])
def test_compress_and_put(name: str, n: int) -> None:
    kernel = kernel_of(name)
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
    kernel = kernel_of(name)
    x, centers = data_of(shape, "fresh", dtype)
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


@pytest.mark.parametrize("name", ["numpy", "reference", "cuda"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(2, 1, 2), (65, 3, 5), (300, 2, 17), (257, 70, 4)], ids=str)
def test_distances_at(name: str, dtype: str, shape: tuple[int, int, int]) -> None:
    kernel = kernel_of(name)
    x, centers = data_of(shape, "fresh", dtype)
    for scale in (Scale(), Scale(0.25, 2.0**40)):
        every = kernel.distances(x, centers, scale)
        rows = np.random.default_rng(0).integers(0, len(x), size=2 * len(x))
        poison()
        for center, wanted in zip(centers, every, strict=True):
            assert kernel.distances_at(x, rows, center, scale).tolist() == wanted[rows].tolist()


def test_the_reference_runs_on_every_library(xp: Backend) -> None:
    x, centers = data_of((65, 3, 5), "fresh", "float32")
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
    kernel_of(kernel)
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
@pytest.mark.parametrize(
    ("name", "rows"), [("numba", None), ("numpy", 300), ("numpy", None), ("cuda", None)]
)
def test_sums_of_rows_that_moved(
    monkeypatch: pytest.MonkeyPatch, name: str, rows: int | None, case: str, weighted: bool
) -> None:
    """All rows, then those that moved, against columns of integers summed by label."""
    monkeypatch.setattr(_numpy, "_COLUMN_VALUES", 1)  # the least rows at a time
    few = rows is not None
    kernel = _numpy.NumpyKernel(keeps=few) if name == "numpy" else kernel_of(name)
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
