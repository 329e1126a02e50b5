"""k-means++ that skips rows picks what a plain loop over all rows and candidates picks."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import oracle
import pytest
from cases import CASES, N, skip_where_slow
from conftest import Backend, make_backend
from engine import opened, problem_of

from kmeans_xp import _closest, _plusplus
from kmeans_xp._closest import Closest
from kmeans_xp._init import seed_centers
from kmeans_xp._plusplus import plusplus
from kmeans_xp._problem import Training
from kmeans_xp._random import Purpose, below

CLUSTERS, TRIALS, SEED = 9, 4, 11


def _whole(mass: list[float]) -> list[int]:
    """The numbers as integers below 2**40 of the power of two that is not below the largest."""
    mantissa, exponent = np.frexp(max(mass))
    exponent -= mantissa == 0.5
    return [round(float(np.ldexp(value, 40 - exponent))) for value in mass]


def _draw(whole: list[int], *key: int) -> int:
    ticket = below(sum(whole), *key)
    for row, count in enumerate(whole):
        if ticket < count:
            return row
        ticket -= count
    raise AssertionError("the ticket is not below the sum")


def plain(x: Any, weight: Any, n_clusters: int) -> tuple[list[int], list[int]]:
    """Rows picked, and for each row the first of its nearest picks; whole numbers throughout."""
    rows = oracle.in_units(x, oracle.unit_of(x))
    weights = np.ones(len(rows)) if weight is None else weight / 2.0 ** np.frexp(weight.max())[1]
    key = (SEED, Purpose.SEEDING)
    first = below(len(rows), *key, 0, 0)
    picked = [first if weight is None else _draw(_whole(weight.tolist()), *key, 0, 0)]
    closest = [oracle.canonical(row, rows[picked[0]]) for row in rows]
    labels = [0] * len(rows)
    for step in range(1, n_clusters):
        mass = [w * q for w, q in zip(weights.tolist(), closest, strict=True)]
        whole, largest = _whole(mass), max(mass)
        tries = []
        for trial in range(TRIALS):
            row = _draw(whole, *key, step, trial)
            tried = [oracle.canonical(other, rows[row]) for other in rows]
            after = [min(pair) for pair in zip(tried, closest, strict=True)]
            tries.append((_left(weights.tolist(), after, largest), trial, row, tried))
        _, _, row, tried = min(tries)
        picked.append(row)
        labels = [step if t < q else a for t, q, a in zip(tried, closest, labels, strict=True)]
        closest = [min(pair) for pair in zip(tried, closest, strict=True)]
    return picked, labels


def _left(weights: list[float], after: list[float], largest: float) -> int:
    """The sum that a candidate leaves, on the grid of the largest before."""
    mass = [w * q for w, q in zip(weights, after, strict=True)]
    return sum(_whole([*mass, largest])[:-1])


def weights() -> Any:
    random = np.random.default_rng(5)
    return np.where(random.random(N) < 0.2, 0.0, random.exponential(size=N))


@functools.cache
def _wanted(case: str, weighted: bool) -> tuple[list[int], list[int]]:
    return plain(CASES[case]()[0], weights() if weighted else None, CLUSTERS)


@pytest.fixture
def always_screened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small data would be compared with every candidate directly."""
    monkeypatch.setattr(_closest, "_SMALL_WORK", 0)


def _found(
    backend: Backend, x: Any, weight: Any, k: int, **plan: Any
) -> tuple[list[int], list[int]]:
    class Kept(Closest):
        def accept(self, best: int) -> None:
            super().accept(best)
            seeds.append([backend.host(block.state["seeds"]) for block in self._blocks])

    seeds: list[Any] = []
    with opened(backend), pytest.MonkeyPatch.context() as patch:
        patch.setattr(_plusplus, "Closest", Kept)
        problem = problem_of(backend, x, weight, k=k, **plan)
        with problem.source.working():
            rows = plusplus(problem, k, SEED, TRIALS)
    labels = np.concatenate(seeds[-1])
    assert labels.dtype == np.int32
    return rows, labels.tolist()


@pytest.mark.usefixtures("always_screened")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_picks_are_those_of_a_plain_loop(xp: Backend, case: str, weighted: bool) -> None:
    skip_where_slow(xp, case)
    x, _ = CASES[case]()
    weight = weights() if weighted else None
    for first in {"float64", x.dtype.name}:
        found = _found(xp, x, weight, CLUSTERS, first=first, block_rows=700)
        assert found == _wanted(case, weighted)


@pytest.mark.usefixtures("always_screened")
@pytest.mark.parametrize("library", ["numpy", "strict"])
def test_blocks_may_hold_more_rows_than_are_compared_at_a_time(library: str) -> None:
    """As those of a GPU, which `choose_k` asks for the next seeds."""
    backend, (x, _) = make_backend(library), CASES["blobs"]()
    with opened(backend):
        problem = problem_of(backend, x, k=CLUSTERS, first="float64", block_rows=len(x))
        problem.source.cut(len(x), 2)
        assert plusplus(problem, CLUSTERS, SEED, TRIALS) == _wanted("blobs", False)[0]


@pytest.mark.usefixtures("always_screened")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("always", [True, False], ids=["always", "in turns"])
def test_compiled_loops_pick_the_same(
    monkeypatch: pytest.MonkeyPatch, case: str, weighted: bool, always: bool
) -> None:
    """They may be brought in between two steps."""
    pytest.importorskip("numba", reason="numba is not installed")
    from kmeans_xp._kernels import _numba_gains

    turns = itertools.cycle([True, always])
    monkeypatch.setattr(_numba_gains, "pays", lambda *_: next(turns))
    x, _ = CASES[case]()
    weight = weights() if weighted else None
    for first in ("float32", "float64"):
        plan = {"first": first, "block_rows": 700, "kernel": "numba"}
        found = _found(make_backend("numpy"), x, weight, CLUSTERS, **plan)
        assert found == _wanted(case, weighted)


@pytest.mark.parametrize("case", ["lattice", "shifted32", "repeated_rows", "huge"])
@pytest.mark.parametrize("first", ["exact", None])
def test_few_rows_are_compared_directly(case: str, first: str | None) -> None:
    numpy = make_backend("numpy")
    found = _found(numpy, CASES[case]()[0], weights(), CLUSTERS, first=first)
    assert found == _wanted(case, True)


@pytest.mark.usefixtures("always_screened")
@pytest.mark.parametrize("block_rows", [3, 100, 4096])
@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_and_threads_pick_the_same(block_rows: int, threads: int) -> None:
    numpy = make_backend("numpy")
    plan = {"first": "float32", "block_rows": block_rows, "threads": threads}
    found = _found(numpy, CASES["blobs32"]()[0], weights(), CLUSTERS, **plan)
    assert found == _wanted("blobs32", True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("d", [1, 2, 7, 40])
@pytest.mark.parametrize("kernel", ["numpy", "numba"])
def test_many_seeds_rule_out_rows_as_no_rule_would(
    monkeypatch: pytest.MonkeyPatch, kernel: str, dtype: str, d: int
) -> None:
    """Most rows are skipped here: distances to all candidates say the same."""
    if kernel == "numba":
        pytest.importorskip("numba", reason="numba is not installed")
    monkeypatch.setenv("KMEANS_XP_NUMBA", "1")
    numpy = make_backend("numpy")
    random = np.random.default_rng(d)
    x = random.normal(size=(60, d)) * 3
    x = (x[random.integers(60, size=20_000)] + 0.3 * random.normal(size=(20_000, d))).astype(dtype)
    found = []
    for small in (0, 1 << 60):
        monkeypatch.setattr(_closest, "_SMALL_WORK", small)
        plan = {"first": dtype, "block_rows": 512, "threads": 2, "kernel": kernel}
        found.append(_found(numpy, x, None, 150, **plan))
    assert found[0] == found[1]


@pytest.mark.parametrize("case", ["blobs32", "lattice", "repeated_rows", "tiny"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_candidates_weigh_what_the_rows_nearest_to_them_weigh(
    xp: Backend, monkeypatch: pytest.MonkeyPatch, case: str, weighted: bool
) -> None:
    """Of k-means||, whose rounds keep count of the nearest; the first of equals has the row."""
    skip_where_slow(xp, case)
    x, _ = CASES[case]()
    weight = weights() if weighted else None
    seen = []

    def over(self: Any, candidates: Any, mass: Any, n_clusters: int) -> Any:
        seen.append((xp.host(candidates), xp.host(mass)))
        return reached(self, candidates, mass, n_clusters)

    reached = Training.over
    monkeypatch.setattr(Training, "over", over)
    with opened(xp):
        problem = problem_of(xp, x, weight, k=6, first="float64", block_rows=700)
        with problem.source.working():
            seed_centers(problem, "k-means||", 6, SEED)
        assert not {"closest", "seeds"} & set(problem.source.blocks[0].state)
    ((candidates, mass),) = seen
    assert len(candidates) > 6
    labels = oracle.labels(x, candidates)
    shares = None if weight is None else weight / 2.0 ** np.frexp(weight.max())[1]
    wanted = np.bincount(labels, shares, len(candidates))
    np.testing.assert_allclose(mass, wanted, rtol=1e-12 if weighted else 0)
