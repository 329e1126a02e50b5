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
from kmeans_xp._effort import Effort, Thrift
from kmeans_xp._outcome import Status
from kmeans_xp._search import search
from kmeans_xp._split import outlook
from kmeans_xp.estimators._run import TIMED


@pytest.mark.parametrize("passes", [1, 2, 3, 10, 25])
def test_the_budget_is_kept(passes: int) -> None:
    x, _ = CASES["blobs"]()
    model = KMeans(12, random_state=0, search=passes, tol=0).fit(x)
    plain = KMeans(12, random_state=0, search=None, tol=0).fit(x)
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


def noise() -> Any:
    """Rows without clusters, where exchanges go on and on for next to nothing."""
    return np.random.default_rng(1).normal(size=(1000, 10))


def test_auto_takes_no_longer_than_what_it_lowers_is_worth() -> None:
    x, runs = noise(), [0, 0]
    for seed in range(3):
        model = KMeans(8, random_state=seed).fit(x)
        first, *more = model.trials_
        fall = 1.0 - model.inertia_ / first.inertia
        spent = [trial.n_iter + 4 for trial in more]
        # swaps, half as much for exchanges, what came back, and the run that went too far
        assert sum(spent) <= (first.n_iter + 30) * (1.5 + 200 * fall) + max(spent, default=0)
        problem = problem_of(make_backend("numpy"), x, k=8, variance=True)
        start = KMeans(8, random_state=seed, search=None).fit(x).cluster_centers_
        with problem.source.working():
            plain = solve(problem, start, RULES)
            endless = search(problem, plain, RULES, Effort(), seed)
            thrifty = search(problem, plain, RULES, Effort(), seed, before=30)
        assert endless[0].inertia <= thrifty[0].inertia < plain.inertia
        runs = [runs[0] + len(endless[1]), runs[1] + len(thrifty[1])]
    assert runs[0] > 2 * runs[1]


def test_thrift_pays_and_earns() -> None:
    thrift = Thrift.after(10)
    assert (thrift.allowance, thrift.left, thrift.is_out) == (40, 40, False)
    thrift.looked()
    thrift.ran(7, 0.0)
    assert thrift.left == 40 - 9 - 11
    thrift.ran(1, 0.001)
    assert thrift.left == 20 - 5 + 8
    thrift.ran(16, 0.5)
    assert thrift.left == 40
    thrift.ran(36, 0.0)
    assert thrift.is_out
    thrift.halve()
    assert (thrift.allowance, thrift.left) == (20, 20)
    endless = Thrift.after(None)
    endless.ran(10**6, 0.0)
    assert not endless.is_out


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
    plain = KMeans(3, random_state=0, search=None, tol=0).fit(x)
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
    plain = KMeans(12, random_state=0, search=None).fit(x)
    assert model.status_.startswith("interrupted")
    assert model.inertia_ <= plain.inertia_
    np.testing.assert_array_equal(model.predict(x), model.labels_)
    assert model.score(x) == -model.inertia_


def test_a_callback_ends_the_search() -> None:
    x, _ = CASES["blobs"]()
    keys = Keys(2, raises=False)
    model = KMeans(12, random_state=0, search=100, callback=keys).fit(x)
    assert keys.count == 2, "no iteration came after the one that it stopped"
    assert model.inertia_ <= KMeans(12, random_state=0, search=None).fit(x).inertia_


def test_a_callback_ends_the_search_wherever_it_says_so() -> None:
    x, _ = CASES["blobs"]()
    made: list[int] = []
    KMeans(12, random_state=0, callback=lambda record, _: made.append(record.iteration)).fit(x)
    assert made.count(1) > 2
    for last in range(1, len(made) + 1):
        seen: list[int] = []

        def stop(record: Any, _: Any, seen: list[int] = seen, last: int = last) -> bool:
            seen.append(record.iteration)
            return len(seen) == last

        KMeans(12, random_state=0, callback=stop).fit(x)
        assert seen == made[:last], "the last iteration of a run ends the search too"


def test_a_run_that_was_stopped_is_not_searched() -> None:
    x, _ = CASES["blobs"]()
    model = KMeans(12, random_state=0, search="auto", max_iter=1).fit(x)
    assert len(model.trials_) == 1
    assert model.n_iter_ == 1
