"""What few rows are spared, against the plain way: not one bit may differ."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import oracle
import pytest
from conftest import Backend, make_backend
from engine import NO_LIMIT, opened, problem_of, solve

from kmeans_xp import _exact as exact
from kmeans_xp import _primitives as p
from kmeans_xp._distances import Scale, halving_sum, halving_total, squared_distances
from kmeans_xp._kernels import Shape, _numpy_few, _numpy_scores, select
from kmeans_xp._typing import Block, some

SHAPES = [(1, 1, 1), (2, 1, 2), (150, 4, 3), (1000, 2, 20), (300, 70, 5), (7000, 3, 40)]
SCALES = [Scale(), Scale(0.25, 2.0**40), Scale(1.0, 2.0**-300)]


def _rows(shape: tuple[int, int, int], limbs: int = 1) -> Any:
    """Rows that need so many limbs."""
    n, d, k = shape
    random = np.random.default_rng([n, d, k, limbs])
    x = random.normal(size=(n, d)) + random.integers(0, k, size=(n, 1))
    if limbs == 1:
        return x.astype(np.float32).astype(np.float64)
    if limbs == 3:
        x[0, :] *= 1e-13
    return x


def _weights(shape: tuple[int, int, int], kind: str) -> Any:
    random = np.random.default_rng(shape)
    if kind == "plain":
        return None
    weight = random.random(shape[0]) if kind == "real" else random.integers(0, 3, shape[0]) * 1.0
    weight[: shape[2]] = 1.0
    return weight


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("limbs", [1, 2])
def test_a_quotient_of_one_word_is_that_of_two(xp: Backend, limbs: int, whole: bool) -> None:
    random = np.random.default_rng(limbs)
    size = 3000
    scale = 2 ** random.integers(0, 54, size=(limbs, size))
    totals = random.integers(-scale, scale, endpoint=True)
    totals[0, :200] = 0
    totals[:, 200:210] = [[2**53], [-(2**53)]][:limbs]
    weight = np.floor(10.0 ** random.uniform(0, 3.9, size))
    with opened(xp) as context:
        one = [xp.array(total[None, :]) for total in totals]
        two = [exact.widen(total[0, :], xp=context.xp) for total in one]
        found, wanted = (
            xp.host(
                exact.ratio(
                    [context.xp.astype(total, context.xp.float64) for total in words],
                    xp.array(weight),
                    whole=short,
                )
            )
            for words, short in ((one, whole), (two, False))
        )
    assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("kind", ["plain", "real", "whole"])
@pytest.mark.parametrize("limbs", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_means_and_columns(shape: tuple[int, int, int], limbs: int, kind: str) -> None:
    numpy = make_backend("numpy")
    n, _, k = shape
    with opened(numpy):
        x, weight = _rows(shape, limbs), _weights(shape, kind)
        problem = problem_of(numpy, x, weight, k=k, first="float32")
        ledger, weight = problem.ledger, problem.source.blocks[0].weight
        assert n == 1 or ledger.scales[1] >= limbs
        block = Block(x, weight, 0, 0)
        plain = ledger.columns(x, weight)
        assert _numpy_few.columns_of(block, ledger).tobytes() == plain.tobytes()
        assert _numpy_few.columns_of(block, ledger) is block.state["columns"]
        # the last cluster stays empty where there are several
        labels = np.random.default_rng(n).integers(0, max(k - 1, 1), n).astype(np.int32)
        sums = problem.kernel.group_sums(plain, labels, k)
        totals = exact.in_words(sums, ledger.words, xp=np)
        counts = ledger.counts(totals)
        found = ledger.means(totals, counts)
        wanted = ledger.means(exact.two_words(totals, xp=np), counts)
        assert found.tobytes() == wanted.tobytes()
        full = np.flatnonzero(counts)
        alone = ledger.means(totals[:, full], counts[full], any_empty=False)
        assert alone.tobytes() == wanted[full].tobytes()


@pytest.mark.parametrize("kind", ["plain", "real", "whole"])
@pytest.mark.parametrize("limbs", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_moved_rows_are_added_and_taken_away(
    shape: tuple[int, int, int], limbs: int, kind: str
) -> None:
    numpy = make_backend("numpy")
    n, _, k = shape
    random = np.random.default_rng(n)
    with opened(numpy):
        x = _rows(shape, limbs)
        problem = problem_of(numpy, x, _weights(shape, kind), k=k, first="float32")
        ledger, kernel = problem.ledger, problem.kernel
        weight = problem.source.blocks[0].weight
        columns = ledger.columns(x, weight)
        block = Block(x, weight, 0, 0)
        before = random.integers(0, k, n).astype(np.int32)
        for share in (0.0, 0.01, 0.3, 0.9):
            after = np.where(random.random(n) < share, random.integers(0, k, n), before)
            block.state["labels"] = after.astype(np.int32)
            sums = exact.Accumulator(np, ledger.words)
            moved = after != before
            carrying = kernel.add_changes(block, before, ledger, k, sums)
            if moved.sum() > exact.EXACT_ROWS:
                assert carrying is None
                continue
            assert carrying == np.count_nonzero(moved if weight is None else moved & (weight > 0))
            wanted = kernel.group_sums(columns, block.state["labels"], k)
            wanted = wanted - kernel.group_sums(columns, before, k)
            found = sums.total()
            if found is None:
                assert not wanted.any()
            else:
                assert found.tolist() == exact.in_words(wanted, ledger.words, xp=np).tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["fresh", "repeated", "far"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_labels_of_rows_that_come_back(shape: tuple[int, int, int], kind: str, dtype: str) -> None:
    """Sweep after sweep over one block, with centers that leave the rows' range and return."""
    numpy = make_backend("numpy")
    n, d, k = shape
    random = np.random.default_rng([n, d, k])
    x = (_rows(shape) + 100.0).astype(dtype)
    with opened(numpy):
        problem = problem_of(numpy, x, k=k, first="float32", prunes=False)
        block, kernel = Block(x, None, 0, 0), problem.kernel
        for turn in range(4):
            centers = x[random.integers(0, n, k)] + random.normal(size=(k, d)) * 0.1
            if kind == "repeated":
                centers = centers[np.arange(k) // 2]
            if kind == "far" and turn % 2:
                centers[0] += 1e6
            centers = centers.astype(dtype)
            problem.cover(centers)
            nearest = problem.nearest_to(centers)
            assert nearest.first == "float32"
            scored, is_open = kernel.look(x, nearest, None, block.state)
            wanted = kernel.distances(x, centers, nearest.scale).argmin(axis=0)
            labels = block.state["labels"]
            assert scored == n
            assert labels.dtype == np.int32
            assert labels[~is_open].tolist() == wanted[~is_open].tolist()
            assert kernel.settle(x[is_open], nearest).tolist() == wanted[is_open].tolist()
            if kind == "fresh":
                assert is_open.mean() < 0.1


def test_a_row_whose_scores_overflow_stays_open() -> None:
    """Such a row carries no weight: it lies outside the range that the scores are made for."""
    numpy = make_backend("numpy")
    x = np.random.default_rng(0).normal(size=(200, 2))
    x[7] = 1e30
    weight = np.ones(200)
    weight[7] = 0.0
    with opened(numpy):
        problem = problem_of(numpy, x, weight, k=3, first="float32", prunes=False)
        nearest = problem.nearest_to(x[:3])
        state: dict[str, Any] = {}
        _, is_open = problem.kernel.look(x, nearest, None, state)
        assert is_open[7]
        wanted = oracle.labels(x, x[:3])
        closed = np.flatnonzero(~is_open)
        assert state["labels"][closed].tolist() == [wanted[row] for row in closed]


@pytest.mark.parametrize("scale", SCALES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_distances_in_place(scale: Scale, dtype: str) -> None:
    random = np.random.default_rng(1)
    for n, d, k in SHAPES:
        x, centers = (random.normal(size=(size, d)).astype(dtype) for size in (n, k))
        kept = x.copy(), centers.copy()
        crossed = _numpy_scores.squared_distances(x.T, centers[:, :, None], scale)
        assert crossed.tobytes() == p.cross_distances(x, centers, scale, xp=np).tobytes()
        paired = _numpy_scores.squared_distances(centers.T, centers[::-1].T, scale)
        wanted = squared_distances(centers, centers[::-1], scale, xp=np)
        assert paired.tobytes() == wanted.tobytes()
        assert (x == kept[0]).all()
        assert (centers == kept[1]).all()


def test_each_row_to_the_center_of_its_number(xp: Backend) -> None:
    random = np.random.default_rng(2)
    for name in ("float32", "float64"):
        old, new = (xp.array(random.normal(size=(17, 3)).astype(name)) for _ in range(2))
        with opened(xp) as context:
            problem = problem_of(xp, xp.host(old), k=17)
            nearest = problem.nearest_to(old)
            numbers = context.xp.asarray(np.arange(17, dtype=np.int32), device=context.device)
            found = xp.host(problem.kernel.own_distances(new, nearest))
            wanted = xp.host(problem.kernel.own_distances(new, nearest, numbers))
        assert found.tobytes() == wanted.tobytes()


def test_plain_numbers_are_added_up_like_arrays() -> None:
    random = np.random.default_rng(3)
    for size in range(1, 70):
        values = 10.0 ** random.uniform(-8, 8, size)
        assert halving_total(values) == float(halving_sum(values, xp=np))


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("shape", [(150, 4, 3), (6000, 2, 20), (9000, 3, 4), (700, 90, 6)], ids=str)
def test_fits_are_those_of_many_blocks(shape: tuple[int, int, int], weighted: bool) -> None:
    """Small blocks, bounds and float64 from the start take the other ways."""
    numpy = make_backend("numpy")
    x = _rows(shape, 2)
    weight = _weights(shape, "real" if weighted else "plain")
    start = x[np.random.default_rng(0).choice(len(x), shape[2], replace=False)]
    found = []
    with opened(numpy):
        for options in (
            {},
            {"first": "float32", "prunes": False},
            {"first": "float32", "block_rows": 500},
            {"first": "float64"},
        ):
            problem = problem_of(numpy, x, weight, k=shape[2], **options)
            result = solve(problem, start, NO_LIMIT)
            found.append(
                (
                    result.labels.tobytes(),
                    result.centers.tobytes(),
                    result.inertia,
                    [record.shift for record in result.history],
                )
            )
    assert all(one == found[0] for one in found)


def test_few_rows_keep_no_bounds() -> None:
    def prunes(n: int, d: int, k: int, **options: Any) -> bool:
        plan = select(Shape(n, d, k, "float64"), backend="numpy", threads=1, **options)
        return plan.prunes

    assert not prunes(5000, 2, 15)
    assert not prunes(1797, 64, 10)
    assert prunes(5000, 64, 50, compiled=True)
    assert prunes(50_000, 2, 15)
    assert prunes(5000, 64, 15)
    assert prunes(5000, 4, 500)


def test_rows_are_picked_alike_from_a_view() -> None:
    """NumPy's take copies an array that is not contiguous; the pick must not, nor differ."""
    wide = np.random.default_rng(4).normal(size=(50, 7))
    rows = np.asarray([3, 3, 49, 0])
    for x in (wide, wide[:, :4], wide[::2], wide[:, 0], wide.T[:, :25]):
        some_rows = rows % len(x)
        assert some(x, some_rows, xp=np).tolist() == np.take(x, some_rows, axis=0).tolist()
        assert np.shares_memory(some(x, slice(1, 3), xp=np), x)


def test_rows_are_picked_from_any_address_without_a_copy_of_all() -> None:
    """A message between processes leaves rows at odd addresses, where NumPy's take copies them."""
    rows, lies = np.asarray([5, 0, 4999]), np.empty(5000 * 8 * 4 + 1, np.uint8)
    x = lies[1:].view(np.float32).reshape(5000, 8)
    x[:] = np.random.default_rng(4).normal(size=x.shape)
    assert not x.flags.aligned
    tracemalloc.start()
    try:
        found = some(x, rows, xp=np)
        assert tracemalloc.get_traced_memory()[1] < x.nbytes / 2
    finally:
        tracemalloc.stop()
    assert found.tolist() == [x[row].tolist() for row in rows]
