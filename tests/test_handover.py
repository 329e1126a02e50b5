"""A run that starts near the end of another: the bits of one from nothing, and few rows scored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import CASES
from conftest import Backend, make_backend
from engine import opened, problem_of, solve
from search_cases import bits, planted

from kmeans_xp import _search
from kmeans_xp._effort import Effort
from kmeans_xp._exchange import exchanges
from kmeans_xp._handover import Near, hold, take_over
from kmeans_xp._outcome import Result, Rules
from kmeans_xp._problem import Training
from kmeans_xp._solver import lloyd

FEW, RULES = Rules(max_iter=4, tol=0.0), Rules(max_iter=30, tol=0.0)
SEEN = ["blobs32", "lattice", "repeated_rows", "far_center", "tiny32"]


@pytest.fixture(autouse=True)
def _of_few_rows_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmeans_xp._handover._LEAST_PAIRS", 0)


def rows_of(case: str) -> tuple[Any, Any]:
    """Rows and a start; "many" has clusters enough that a few of them are few."""
    if case != "many":
        return CASES[case]()
    random = np.random.default_rng(4)
    true = random.normal(size=(24, 3)) * 6.0
    x = (true[random.integers(0, 24, 900)] + random.normal(size=(900, 3))).astype(np.float32)
    return x, x[:24].copy()


def skip_most(xp: Backend, case: str, weighted: bool) -> None:
    if xp.id == "jax":
        pytest.skip("JAX compiles this for a minute")
    if xp.id != "numpy" and (case, weighted) not in (("many", False), ("repeated_rows", True)):
        pytest.skip("elsewhere two cases stand for all")


def weights_of(x: Any, weighted: bool) -> Any:
    return np.random.default_rng(3).integers(0, 4, len(x)) / 3.0 if weighted else None


def jumps(x: Any, centers: Any, seed: int) -> tuple[Any, list[int]]:
    """New places of one to three centers: a row, a twin of another center, between two rows."""
    random = np.random.default_rng(seed)
    k, start = len(centers), centers.copy()
    jumped = sorted(random.choice(k, size=min(1 + seed % 3, k // 4), replace=False).tolist())
    for number in jumped:
        rows = random.integers(0, len(x), 2)
        kind = random.integers(0, 3)
        twin = centers[random.integers(0, k)]
        start[number] = x[rows[0]] if kind == 0 else twin if kind == 1 else x[rows].mean(axis=0)
    return start, jumped


def everything(backend: Backend, result: Result) -> Any:
    return *bits(backend, result, []), result.status, result.n_distinct, result.history


def both(
    backend: Backend, problem: Training, end: Result, start: Any, jumped: list[int]
) -> tuple[Any, Any]:
    """What a run leaves from nothing, and near an end that the rows hold."""
    held = hold(problem, end.end)
    assert held is not None
    start = backend.array(start)
    plain = solve(problem, start, FEW, 5)
    with problem.source.working():
        near = lloyd(problem, start, FEW, 5, near=Near(held, end.labels, jumped))
    return everything(backend, plain), everything(backend, near)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("case", [*SEEN, "many"])
def test_bits_are_those_of_a_run_from_nothing(xp: Backend, case: str, weighted: bool) -> None:
    skip_most(xp, case, weighted)
    x, start = rows_of(case)
    with opened(xp):
        problem = problem_of(
            xp, x, weights_of(x, weighted), k=len(start), first=str(x.dtype), block_rows=100
        )
        for seed in range(4 if xp.id == "numpy" else 1):
            end = solve(problem, xp.array(start), RULES)
            place, jumped = jumps(x, xp.host(end.centers), seed)
            plain, near = both(xp, problem, end, place, jumped)
            assert near == plain


@pytest.mark.parametrize(("kernel", "group_size"), [("numpy", 0), ("numba", 0), ("numba", 8)])
def test_many_jumps_on_kernels(kernel: str, group_size: int) -> None:
    if kernel == "numba":
        pytest.importorskip("numba", reason="numba is not installed")
    numpy = make_backend("numpy")
    x, start = rows_of("many")
    plan = {"kernel": kernel, "first": "float32", "block_rows": 300, "group_size": group_size}
    problem = problem_of(numpy, x, k=len(start), **plan)
    for seed in range(12):
        end = solve(problem, start, RULES)
        place, jumped = jumps(x, end.centers, seed)
        plain, near = both(numpy, problem, end, place, jumped)
        assert near == plain


def test_the_first_sweep_scores_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    numpy = make_backend("numpy")
    x, start = rows_of("many")
    problem = problem_of(numpy, x, k=len(start), first="float32", kernel="numpy")
    end = solve(problem, start)
    held = hold(problem, end.end)
    assert held is not None
    place, jumped = jumps(x, end.centers, 1)
    scored: list[int] = []
    look = problem.kernel.look

    def counted(*given: Any) -> Any:
        found = look(*given)
        scored.append(found[0])
        return found

    monkeypatch.setattr(problem.kernel, "look", counted)
    near = lloyd(problem, place, FEW, 5, near=Near(held, end.labels, jumped))
    assert 0 < scored[0] < len(x) // 4
    assert near.history[0].changed == len(x)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("case", [*SEEN, "many"])
def test_rows_that_pay_elsewhere_are_the_same_by_bounds(
    xp: Backend, case: str, weighted: bool
) -> None:
    skip_most(xp, case, weighted)
    x, start = rows_of(case)
    with opened(xp):
        problem = problem_of(
            xp, x, weights_of(x, weighted), k=len(start), first=str(x.dtype), block_rows=100
        )
        end = solve(problem, xp.array(start), RULES)
        held = hold(problem, end.end)
        assert held is not None
        with problem.source.working():
            plain = exchanges(problem, end.centers, end.labels)
            near = exchanges(problem, end.centers, end.labels, held)
    assert (plain is None) == (near is None)
    if plain is not None and near is not None:
        for name in ("rows", "sources", "targets"):
            assert getattr(near, name).tolist() == getattr(plain, name).tolist()
        assert xp.host(near.totals).tobytes() == xp.host(plain.totals).tobytes()


@pytest.mark.parametrize("tol", [0.0, 1e-3])
def test_a_search_ends_the_same_without(tol: float, monkeypatch: pytest.MonkeyPatch) -> None:
    numpy = make_backend("numpy")
    x, start = rows_of("many")

    def found() -> Any:
        rules = _search.Rules(max_iter=50, tol=tol)
        problem = problem_of(
            numpy, x, k=len(start), first="float32", kernel="numpy", variance=True, block_rows=300
        )
        plain = solve(problem, start, rules)
        with problem.source.working():
            best, trials = _search.search(problem, plain, rules, Effort(60), 7)
        assert all("resting" not in block.state for block in problem.source.blocks)
        return everything(numpy, best), trials

    taken: list[bool] = []
    take = take_over

    def counted(*given: Any) -> Any:
        sums = take(*given)
        taken.append(sums is not None)
        return sums

    monkeypatch.setattr("kmeans_xp._solver.take_over", counted)
    with_bounds = found()
    assert sum(taken) > 2
    assert any(trial.exchanges for trial in with_bounds[1])
    monkeypatch.setattr(_search, "hold", lambda problem, end: None)
    assert found() == with_bounds


@pytest.mark.parametrize("kernel", ["numpy", "reference"])
def test_labels_judged_in_another_scale_come_without_bounds(kernel: str) -> None:
    """Far rows of little weight: the scale of the centers alone overflows for them.

    They go to the lowest label in the end, and neither bounds nor sums are those of these labels.
    """
    numpy = make_backend("numpy")
    x, start = rows_of("many")
    x, start = x * np.float64(2.0**300), start * np.float64(2.0**300)
    weight = np.ones(len(x))
    x[-5:], weight[-5:] = x[-5:] * 2.0**35, 2.0**-45
    plan = {"k": len(start), "first": "float64", "kernel": kernel}
    problem = problem_of(numpy, x, weight, **plan)
    with np.errstate(over="ignore", invalid="ignore"):
        end = solve(problem, start)
    scale = problem.label_scale(end.centers)
    assert problem.nearest_to(end.centers, scale=scale).first == "exact"
    assert end.labels[-5:].tolist() == [0] * 5
    assert end.end is None


def test_few_rows_hand_nothing_over(monkeypatch: pytest.MonkeyPatch) -> None:
    x, start = rows_of("many")
    plan = {"k": len(start), "first": "float32", "kernel": "numpy"}
    ends = []
    for least in (len(x) * len(start), len(x) * len(start) + 1):
        monkeypatch.setattr("kmeans_xp._handover._LEAST_PAIRS", least)
        ends.append(solve(problem_of(make_backend("numpy"), x, **plan), start).end)
    assert ends[0] is not None
    assert ends[1] is None


def test_where_nothing_is_held_a_run_begins_from_nothing() -> None:
    numpy = make_backend("numpy")
    x, start = planted(np.float32)
    problem = problem_of(numpy, x, k=len(start), first="float32", kernel="numpy", block_rows=64)
    end = solve(problem, start)
    other = solve(problem, start[::-1].copy())
    # the bounds in the blocks are those of the last run
    assert hold(problem, end.end) is None
    held = hold(problem, other.end)
    assert held is not None
    # most centers jump
    assert take_over(problem, Near(held, other.labels, range(4)), start) is None
    problem.source.cut(32, 32)
    assert take_over(problem, Near(held, other.labels, [1]), start) is None
    assert hold(problem, other.end) is None
