"""How long a search takes: budgets of passes and seconds, limits, callbacks, Ctrl-C."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
import pytest
from cases import CASES
from conftest import make_backend
from engine import problem_of, solve
from search_cases import RULES, Keys, planted

from kmeans_xp import KMeans
from kmeans_xp._effort import Effort
from kmeans_xp._outcome import Status
from kmeans_xp._search import search
from kmeans_xp._split import outlook
from kmeans_xp.estimators._run import TIMED


@pytest.mark.parametrize("passes", [1, 2, 3, 10, 25])
def test_the_budget_is_kept(passes: int) -> None:
    x, _ = CASES["blobs"]()
    model = KMeans(12, random_state=0, search=passes, tol=0).fit(x)
    plain = KMeans(12, random_state=0, tol=0).fit(x)
    start, *swaps = model.trials_
    assert start == plain.trials_[0]
    # each run of swaps came with a look, which is a pass too
    assert sum(trial.n_iter + 1 for trial in swaps) <= passes
    assert bool(swaps) == (passes > 1)
    assert model.inertia_ <= plain.inertia_


def test_a_budget_is_spent_where_auto_has_given_up() -> None:
    x, _ = CASES["blobs"]()
    auto, more = (KMeans(12, random_state=1, search=effort).fit(x) for effort in ("auto", 400))
    assert sum(trial.n_iter for trial in more.trials_) > sum(trial.n_iter for trial in auto.trials_)
    assert more.trials_[: len(auto.trials_)] == auto.trials_


def test_a_run_that_the_budget_cuts_is_kept_if_it_is_lower() -> None:
    x, _ = CASES["blobs"]()
    seen = set()
    for passes in range(2, 24):
        model = KMeans(12, random_state=0, search=passes, tol=0).fit(x)
        lowest = min(trial.inertia for trial in model.trials_)
        assert model.inertia_ <= lowest * (1 + 1e-6)
        assert model.n_iter_ == len(model.history_)
        np.testing.assert_array_equal(model.predict(x), model.labels_)
        assert model.score(x) == -model.inertia_
        seen.add(model.status_)
    assert seen == {Status.CONVERGED.value, Status.PASSES.value}


def test_a_limit_of_iterations_cuts_each_run() -> None:
    x, start = planted()
    numpy, rules = make_backend("numpy"), dataclasses.replace(RULES, max_iter=1)
    problem = problem_of(numpy, x, k=len(start), variance=True)
    plain = solve(problem, start, RULES)
    with problem.source.working():
        best, trials = search(problem, plain, rules, Effort(), 7)
    assert best.status is Status.MAX_ITER
    assert best.inertia < plain.inertia
    assert {trial.n_iter for trial in trials} == {1}


def test_passes_are_not_spent_where_no_swap_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def counted(*args: Any) -> Any:
        looks.append(args)
        return outlook(*args)

    monkeypatch.setattr("kmeans_xp._search.outlook", counted)
    x = planted(rows=10)[0]
    model = KMeans(3, random_state=0, search=500, tol=0).fit(x)
    # three clusters have three swaps, each tried once for each result that was kept
    assert len(looks) <= len(model.trials_) - 1 + 2 < 50


def test_verbose_tells_of_each_run(capsys: pytest.CaptureFixture[str]) -> None:
    x = planted(rows=10)[0]
    model = KMeans(5, random_state=0, search="auto", tol=0, verbose=1).fit(x)
    lines = capsys.readouterr().out.splitlines()
    ends = [f"Converged at iteration {t.n_iter}: strict convergence." for t in model.trials_]
    assert [line for line in lines if line.startswith("Converged")] == ends
    assert len(ends) > 1


def test_a_truth_value_is_no_search() -> None:
    with pytest.raises(ValueError, match='search=True is no number of passes; "auto"'):
        KMeans(3, search=True).fit(planted()[0])


@pytest.mark.parametrize("seconds", ["60s", ".5 s", "0.000001s"])
def test_seconds_are_a_budget_that_the_status_tells_of(seconds: str) -> None:
    x = planted(rows=10)[0]
    plain = KMeans(3, random_state=0, tol=0).fit(x)
    model = KMeans(3, random_state=0, search=seconds, tol=0).fit(x)
    assert model.status_ == plain.status_ + TIMED
    assert model.inertia_ <= plain.inertia_
    # three clusters have few swaps, on which not even half a second is spent
    assert (len(model.trials_) > 1) == (seconds != "0.000001s")


@pytest.mark.parametrize("search", ["10", "0s", "s", "10 min", "-1s", "", "1e9s"])
def test_what_is_no_budget_is_refused(search: str) -> None:
    with pytest.raises(ValueError, match='is none of "auto"'):
        KMeans(3, search=search).fit(planted()[0])


def test_the_clock_ends_a_run_between_iterations() -> None:
    x, start = CASES["blobs"]()
    problem = problem_of(make_backend("numpy"), x, k=len(start), variance=True)
    rules = dataclasses.replace(RULES, deadline=time.monotonic())
    late = solve(problem, start, rules)
    assert (late.status, late.n_iter) == (Status.SECONDS, 1)
    once = solve(problem, start, dataclasses.replace(RULES, max_iter=1))
    assert late.inertia == once.inertia
    early = dataclasses.replace(RULES, deadline=time.monotonic() + 1e6)
    assert solve(problem, start, early).status is Status.CONVERGED


@pytest.mark.parametrize("at", [1, 3])
def test_ctrl_c_leaves_the_best_so_far(at: int) -> None:
    x, _ = CASES["blobs"]()
    model = KMeans(12, random_state=0, search=100, callback=Keys(at, raises=True))
    with pytest.raises(KeyboardInterrupt):
        model.fit(x)
    plain = KMeans(12, random_state=0).fit(x)
    assert model.status_.startswith("interrupted")
    assert model.inertia_ <= plain.inertia_
    np.testing.assert_array_equal(model.predict(x), model.labels_)
    assert model.score(x) == -model.inertia_


def test_a_callback_ends_the_search() -> None:
    x, _ = CASES["blobs"]()
    keys = Keys(2, raises=False)
    model = KMeans(12, random_state=0, search=100, callback=keys).fit(x)
    assert keys.count == 2, "no iteration came after the one that it stopped"
    assert model.inertia_ <= KMeans(12, random_state=0).fit(x).inertia_


def test_a_run_that_was_stopped_is_not_searched() -> None:
    x, _ = CASES["blobs"]()
    model = KMeans(12, random_state=0, search="auto", max_iter=1).fit(x)
    assert len(model.trials_) == 1
    assert model.n_iter_ == 1
