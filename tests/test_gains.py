"""What candidates of k-means++ gain, by every kernel, against all distances."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from engine import problem_of
from kernels import KERNELS, KINDS, data_of, kernel_of, poison

from kmeans_xp import _gains, _lottery
from kmeans_xp import _primitives as p
from kmeans_xp._distances import Scale
from kmeans_xp._lottery import Lottery
from kmeans_xp._stats import weigh


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
    from kmeans_xp._kernels._gain_tile import TRIALS

    listed = state["trial"]
    for trial in range(count):
        marks = listed.marks[trial // TRIALS, : listed.rows.size] >> (trial % TRIALS) & 1
        found[trial, listed.rows] = marks.astype(bool)
    return found


def _some_rows(seeds: Any, n_rows: int) -> Any:
    """As much of a source as trials ask for."""
    return SimpleNamespace(
        take=lambda rows: seeds[list(rows)],
        n_rows=n_rows,
        n_features=seeds.shape[1],
        piece_rows=70,
        sample=seeds,
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
    kernel = kernel_of(name)
    x, seeds = data_of(shape, "fresh", dtype)
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
    poison()
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
    monkeypatch.setattr(_lottery, "_FEW_ROWS", 0)
    n, d, k, count = shape
    kernel, random = kernel_of(name), np.random.default_rng(shape)
    x = data_of((n, d, 1), kind if kind in KINDS else "fresh", dtype)[0]
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
    kernel = kernel_of(name)
    with np.errstate(over="ignore", invalid="ignore"):
        trials = kernel.trials(nearest, [0], _some_rows(x, 3))
        found = kernel.appraise(x, None, state, trials)
    assert _marks(state, 3, 1)[0, 0]
    assert found.leaders(1e-9) == [0]
