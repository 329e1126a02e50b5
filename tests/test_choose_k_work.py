"""What a run leaves for the next one is what that one would find by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Backend

from kmeans_xp import KMeans, _solver
from kmeans_xp._assign import relabel
from kmeans_xp._backend import Context, to_host
from kmeans_xp._outcome import Result, Rules
from kmeans_xp._passes import changes
from kmeans_xp._problem import Training, bring, training_problem
from kmeans_xp._solver import lloyd
from kmeans_xp.estimators._place import place_of
from kmeans_xp.selection import _ladder
from kmeans_xp.selection._ladder import climb


def kept_is_right(problem: Training, result: Result) -> None:
    """The distances and the sums that a run left are those of its labels."""
    kept = result.kept
    assert kept is not None
    nearest = problem.nearest_to(result.centers, scale=kept.scale)
    k, begun = int(result.centers.shape[0]), 0
    problem.source.forget("labels")
    for block in problem.source.blocks:
        here = slice(begun, begun + block.n_rows)
        block.state["labels"], begun = result.labels[here], here.stop
        own = problem.kernel.own_distances(block.x, nearest, result.labels[here])
        np.testing.assert_array_equal(to_host(kept.own[here]), to_host(own))
    _, totals = changes(problem, [None] * len(problem.source.blocks), k)
    np.testing.assert_array_equal(to_host(kept.totals), to_host(totals))


def follow(x: Any, weight: Any, ks: list[int], monkeypatch: pytest.MonkeyPatch) -> int:
    """Climb, and run each fit again from its start alone; how many began with what is known."""
    context = place_of(x, None).work
    with context.scope():
        return _follow(bring(x, context, ks[-1]), weight, ks, context, monkeypatch)


def _follow(
    x: Any, weight: Any, ks: list[int], context: Context, monkeypatch: pytest.MonkeyPatch
) -> int:
    weight = None if weight is None else context.from_host(weight)
    problem = training_problem(x, weight, context, ks[-1], variance=True)
    begun = []

    def both(*start: Any, known: Any, keeps: bool) -> Result:
        again = training_problem(x, weight, context, ks[-1], variance=True)
        wanted = lloyd(again, *start[1:])
        found = lloyd(*start, known=known, keeps=keeps)
        begun.append(known is not None)
        for name in ("centers", "labels"):
            pair = getattr(found, name), getattr(wanted, name)
            np.testing.assert_array_equal(*map(to_host, pair))
        for name in ("inertia", "n_iter", "status", "n_distinct"):
            assert getattr(found, name) == getattr(wanted, name)
        kept_is_right(again, found)
        return found

    monkeypatch.setattr(_ladder, "lloyd", both)
    with problem.source.working():
        assert [rung.k for rung in climb(problem, ks, 3, Rules(8, 1e-3))] == ks
    return sum(begun)


def test_a_rung_finds_what_a_run_alone_finds(xp: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)) * [1.0, 20.0, 0.3] + 7.0
    weight = rng.integers(0, 3, 60).astype(float)
    on_gpu = xp.id == "cupy"
    assert follow(xp.array(x), None, [1, 2, 4], monkeypatch) == (0 if on_gpu else 2)
    assert follow(xp.array(x), weight, [2, 3], monkeypatch) == (0 if on_gpu else 1)


@pytest.mark.parametrize("compiled", ["0", "1"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_rung_finds_the_same_where_rows_keep_bounds(
    compiled: str, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KMEANS_XP_NUMBA", compiled)
    for module in ("_problem", "_threads"):
        monkeypatch.setattr(f"kmeans_xp.{module}.thread_count", lambda: 2)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(6000, 9)) + 4.0 * rng.normal(size=(6, 9))[rng.integers(0, 6, 6000)]
    weight = rng.random(6000) if weighted else None
    assert follow(x, weight, [3, 4, 9], monkeypatch) == 2


def test_rows_that_bounds_prove_are_not_scored_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMEANS_XP_NUMBA", "0")  # compiled, so few rows keep no bounds
    looks = []

    def watched(*question: Any) -> Any:
        looks.append(relabel(*question))
        return looks[-1]

    monkeypatch.setattr(_solver, "relabel", watched)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30_000, 8)) + 2.0 * rng.normal(size=(6, 8))[rng.integers(0, 6, 30_000)]
    model = KMeans(8, n_init=1, tol=1e-2, random_state=1).fit(X)
    assert model.n_iter_ > 2
    assert [look.scored < 15_000 for look in looks] == [True]
    np.testing.assert_array_equal(model.labels_, model.predict(X))
