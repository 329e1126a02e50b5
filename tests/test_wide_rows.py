"""Wide rows in NumPy, against the plain way: not one bit may differ."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import oracle
import pytest
from conftest import make_backend
from engine import NO_LIMIT, opened, problem_of, solve
from kernels import poison

from kmeans_xp import _exact as exact
from kmeans_xp._distances import Scale, squared_distances
from kmeans_xp._kernels import _numpy, _numpy_scores, _numpy_wide
from kmeans_xp._kernels._numpy_survey import WideSurveyor
from kmeans_xp._kernels._space import Space
from kmeans_xp._primitives import Nearest
from kmeans_xp._stats import Surveyor

SHAPES = [(1, 48, 1), (3, 49, 2), (83, 784, 10), (1300, 64, 10), (5000, 50, 3), (700, 131, 40)]
ODD = ("large", "small", "vanishing", "columns", "edge", "far32")
KINDS = ("fresh32", "fresh64", "whole", "deep", *ODD)


def _rows(shape: tuple[int, int, int], kind: str) -> Any:
    """Rows that take each way to the sums: one limb, a few tails, many limbs, no late scaling."""
    n, d, k = shape
    random = np.random.default_rng([n, d, k, KINDS.index(kind)])
    x = random.normal(size=(n, d)) + random.integers(0, k, size=(n, 1))
    if kind == "fresh32":
        return x.astype(np.float32)
    if kind == "whole":
        return np.rint(100.0 * x).astype(np.float32)
    if kind == "deep":
        x[:: max(2, n // 5), ::7] *= 1e-13
    if kind == "large":
        return x * 1e200
    if kind == "small":
        return x * 1e-200
    if kind == "vanishing":
        # a product with the grid's factor is subnormal here, and nothing there
        x[0, :] *= 1e300
        x[-1, ::3] *= 1e-15
        x[-1, 1::3] = 5e-324
    if kind == "edge":
        # sums overflow unless the grid's factor comes first
        return np.ldexp(np.rint(1000.0 * np.abs(x) / np.abs(x).max()), 1013)
    if kind == "far32":
        # float32 cannot hold the smallest in units of the largest
        x[0, :] *= 1e36
        x[-1, ::3] *= 1e-37
        return x.astype(np.float32)
    if kind == "columns":
        x *= 10.0 ** random.integers(-30, 30, size=d)
    return x


def _weights(n: int, kind: str) -> Any:
    random = np.random.default_rng(n)
    if kind == "plain":
        return None
    weight = random.random(n) if kind == "real" else random.integers(0, 3, n) * 1.0
    weight[0] = 1.0
    return weight


@pytest.mark.parametrize("weights", ["plain", "real", "whole"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums(shape: tuple[int, int, int], kind: str, weights: str) -> None:
    """All rows, then those that moved, against columns of integers summed by label."""
    n, _, k = shape
    random = np.random.default_rng(n)
    x, numpy = _rows(shape, kind), make_backend("numpy")
    kernel = _numpy.NumpyKernel(keeps=False)
    with opened(numpy):
        problem = problem_of(numpy, x, _weights(n, weights), k=k, first="float32")
        ledger, (block,) = problem.ledger, problem.source.blocks
        columns = ledger.columns(block.x, block.weight).astype(np.int64)
        before = random.integers(0, k, n).astype(np.int32)
        for share in (None, 0.0, 0.02, 0.4, 1.0):
            after = before
            if share is not None:
                after = np.where(random.random(n) < share, random.integers(0, k, n), before)
            block.state["labels"] = after.astype(np.int32)
            sums = exact.Accumulator(np, ledger.words)
            poison()
            old = None if share is None else before
            carrying = kernel.add_changes(block, old, ledger, k, sums)
            moved = np.ones(n, bool) if old is None else after != old
            if carrying is None:
                assert 0 < moved.sum() < k
                continue
            heavy = moved if block.weight is None else moved & (block.weight > 0)
            assert carrying == np.count_nonzero(heavy)
            wanted = np.zeros((k, ledger.n_columns), dtype=np.int64)
            np.add.at(wanted, after, columns)
            if old is not None:
                np.subtract.at(wanted, old, columns)
            found = sums.total()
            if found is None:
                assert not wanted.any()
            else:
                assert found.tolist() == exact.in_words(wanted, ledger.words, xp=np).tolist()


def test_rows_know_whether_they_are_whole_in_one_limb() -> None:
    numpy = make_backend("numpy")
    x = _rows((1300, 64, 10), "fresh32")
    kernel = _numpy.NumpyKernel(keeps=False)
    with opened(numpy):
        problem = problem_of(numpy, x, k=10, first="float32")
        ledger, (block,) = problem.ledger, problem.source.blocks
        assert ledger.scales[1] == 2
        block.state["labels"] = np.zeros(1300, dtype=np.int32)
        kernel.add_changes(block, None, ledger, 10, exact.Accumulator(np, ledger.words))
    second = ledger.columns(x, None)[:, 64:128]
    assert block.state["whole"].tolist() == (second == 0.0).all(axis=1).tolist()
    assert 0 < block.state["whole"].sum() < 1300


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_statistics_pass(shape: tuple[int, int, int], kind: str) -> None:
    x = _rows(shape, kind)
    found, wanted = WideSurveyor(np, Space()), Surveyor(np)
    ranges = wanted.ranges(x, None)
    assert str(found.ranges(x, None)) == str(ranges)
    grid = exact.Grid(tuple(map(exact.exponent_above, ranges.largest.tolist())), 1)
    for hint in ([1, 1], [2, 1], [3, 1], [25, 1]):
        # pieces of the plain way stay below 4096 rows
        one, other = (each.sums(x[:4000], None, grid, None, hint) for each in (found, wanted))
        assert one.sums.tolist() == other.sums.tolist()
        assert (one.limbs, one.weight_limbs) == (other.limbs, other.weight_limbs)
    mean = x[0].astype(np.float64)
    if kind in ODD:
        return
    squares = exact.Grid(tuple(2 * exponent + 2 for exponent in grid.exponents), 1)
    for factor in (1.0, 0.5):
        one, other = (
            each.squares(x[:4000], None, mean, factor, squares) for each in (found, wanted)
        )
        assert one.tolist() == other.tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_ranges_show_what_is_not_finite(value: float) -> None:
    x = np.ones((500, 60), dtype=np.float32)
    x[321, 45] = value
    ranges = WideSurveyor(np, Space()).ranges(x, None)
    assert not (np.isfinite(ranges.low).all() and np.isfinite(ranges.high).all())


@pytest.mark.parametrize("scale", [Scale(), Scale(0.25, 2.0**40), Scale(1.0, 2.0**-300)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("d", [1, 2, 15, 16, 17, 31, 48, 49, 63, 100, 784, 1025])
def test_own_distances(d: int, dtype: str, scale: Scale) -> None:
    random = np.random.default_rng(d)
    n, k = 1 + (1 << 18) // max(d, 64), 7
    x = random.normal(size=(n, d)).astype(dtype)
    centers = random.normal(size=(n, d)).astype(dtype)
    labels = random.integers(0, k, n).astype(np.int32)
    space = Space()
    with np.errstate(over="ignore"):
        many = random.integers(0, n, n).astype(np.int32)
        for chosen, own in ((labels, centers[labels]), (many, centers[many]), (None, centers)):
            nearest = Nearest(
                centers[:k] if chosen is labels else centers, None, scale, 10.0, "float32"
            )
            poison()
            found = _numpy_wide.own_distances(x, nearest, chosen, space)
            assert found.tolist() == squared_distances(x, own, scale, xp=np).tolist()


@pytest.mark.parametrize("shift", [0.0, 1000.0])
@pytest.mark.parametrize("scale", [Scale(), Scale(1.0, 2.0**20)], ids=["plain", "scaled"])
@pytest.mark.parametrize(
    ("dtype", "work"), [("float32", "float32"), ("float64", "float32"), ("float64", "float64")]
)
@pytest.mark.parametrize("shape", [*SHAPES, (2100, 64, 3), (130, 1000, 32)], ids=str)
def test_scores_are_within_their_bound(
    shape: tuple[int, int, int], dtype: str, work: str, scale: Scale, shift: float
) -> None:
    """L and |x'|^2 / 2 err by no more than the proof allows for, of all rows and of some."""
    n, d, k = shape
    random = np.random.default_rng(shape)
    x = (random.normal(size=(n, d)) + shift).astype(dtype)
    centers = (random.normal(size=(k, d)) + shift).astype(dtype)
    middle = np.full(d, shift) if shift else None
    nearest = Nearest(centers, middle, scale, 10.0, work)
    rung = _numpy_wide.rung_of(nearest, work)
    space, notes = Space(), {}
    own = (x.astype(np.float64) - shift) * scale.factor
    other = (centers.astype(np.float64) - shift) * scale.factor
    norms, squares = (own**2).sum(axis=1), (other**2).sum(axis=1)
    wanted = (0.5 - rung.theta) * squares[:, None] - other @ own.T
    room = rung.theta * (np.sqrt(squares[:, None] * norms) + squares[:, None] / 2)
    room += 1e-12 * (np.sqrt(squares[:, None] * norms) + squares[:, None])
    picks = np.flatnonzero(random.random(n) < 0.6)
    for rows in (None, picks, None):
        if rows is not None and not _numpy_wide.scores_by_row(d, k):
            continue
        scores = _numpy_wide.Scores(x, rung, notes, space, rows)
        m = n if rows is None else rows.size
        poison()
        found = np.concatenate(
            [scores.lower_bounds(slice(0, m // 2)), scores.lower_bounds(slice(m // 2, m))], axis=1
        )
        scores.note()
        at = slice(None) if rows is None else rows
        assert (np.abs(found - wanted[:, at]) <= room[:, at]).all()
        assert np.allclose(scores.half, norms[at] / 2, rtol=rung.theta + 1e-12, atol=0.0)
    assert _numpy_scores.known_half_norms(rung, notes) is scores.half


def test_new_norms_are_not_noted_before_they_are_there() -> None:
    """Ctrl-C may come between two pieces."""
    x = np.random.default_rng(0).normal(size=(900, 64)).astype(np.float32)
    nearest = Nearest(x[:5], None, Scale(), 10.0, "float32")
    notes: dict[str, Any] = {}
    scores = _numpy_wide.Scores(x, _numpy_wide.rung_of(nearest, "float32"), notes, Space())
    scores.lower_bounds(slice(0, 450))
    assert not notes


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("kind", ["fresh32", "fresh64", "deep"])
@pytest.mark.parametrize("shape", [(3000, 150, 12), (2500, 64, 5), (900, 300, 70)], ids=str)
def test_fits_are_those_of_the_primitives(
    shape: tuple[int, int, int], kind: str, weighted: bool
) -> None:
    """Whatever the blocks, the threads, the first product, and whether rows keep bounds."""
    numpy = make_backend("numpy")
    x, weight = _rows(shape, kind), _weights(shape[0], "real" if weighted else "plain")
    start = x[np.random.default_rng(0).choice(len(x), shape[2], replace=False)]
    found = []
    with opened(numpy):
        for options in (
            {"first": "float64", "kernel": "reference"},
            {"first": "float32", "block_rows": 400, "threads": 2},
            {"first": "float32", "block_rows": 1000, "prunes": False},
            {"first": "float64", "block_rows": 700},
            {"first": "float32"},
        ):
            problem = problem_of(numpy, x, weight, k=shape[2], **options)
            with problem.source.working():
                result = solve(problem, start, NO_LIMIT)
            found.append(
                (result.labels.tobytes(), result.centers.tobytes(), result.inertia, result.n_iter)
            )
    assert all(one == found[0] for one in found)
    assert oracle.misjudged(x[:50], result.centers, result.labels[:50]) == []


def test_rows_in_doubt_keep_what_the_primitives_would() -> None:
    """Bounds of a second look belong to their rows; the others keep theirs."""
    numpy = make_backend("numpy")
    random = np.random.default_rng(5)
    x = np.repeat(random.normal(size=(6, 80)) * 3, 300, axis=0) + random.normal(size=(1800, 80))
    start = x[random.choice(1800, 6, replace=False)]
    with opened(numpy):
        problem = problem_of(numpy, x, k=6, first="float32", block_rows=600)
        looks = []
        kernel = problem.kernel
        inner = kernel._look_again

        def spied(rows: Any, nearest: Nearest, drift: Any, state: Any, doubt: Any) -> Any:
            old = {
                name: side.copy()
                for name, side in vars(state["bounds"]).items()
                if side is not None
            }
            asked = doubt.copy()
            left = inner(rows, nearest, drift, state, doubt)
            for name, side in old.items():
                new = getattr(state["bounds"], name)
                assert (new[~asked] == side[~asked]).all()
                assert not left[~asked].any()
            looks.append(int(asked.sum()))
            return left

        kernel._look_again = spied
        solve(problem, start, NO_LIMIT)
    assert any(0 < count < 600 for count in looks)


def test_threads_have_buffers_of_their_own() -> None:
    space = Space()
    mine = space.take("a", (40, 5), np.float64)
    mine[...] = 1.0
    theirs: list[Any] = []

    def work() -> None:
        theirs.append(space.take("a", (40, 5), np.float64))
        theirs[0][...] = 2.0

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert (mine == 1.0).all()
    assert not np.shares_memory(mine, theirs[0])


def test_buffers_are_used_again_and_told_apart_by_name() -> None:
    space = Space()
    first = space.take("a", (100, 7), np.float64)
    assert first.ctypes.data % 64 == 0
    assert np.shares_memory(first, space.take("a", (7, 30), np.float32))
    assert not np.shares_memory(first, space.take("b", (100, 7), np.float64))
    assert space.take("a", (0, 7), np.float64).shape == (0, 7)
    grown = space.take("a", (1000, 7), np.float64)
    assert grown.shape == (1000, 7)
    assert grown.flags.c_contiguous
