"""The search: it repairs planted bad starts, makes nothing worse, and keeps to its budget."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cases import CASES, K, skip_where_slow
from conftest import Backend, make_backend
from engine import opened, problem_of, solve

from kmeans_xp import EmptyClusterError, KMeans, Trial, k_means, load_model, metrics, save_model
from kmeans_xp._random import Purpose
from kmeans_xp._search import Effort, _Hunt, _swapped, search
from kmeans_xp._solver import Result, Rules, Status
from kmeans_xp._split import Outlook, outlook

RULES = Rules(max_iter=50, tol=0.0)
TRUE = np.asarray([[0, 0], [10, 0], [0, 10], [10, 10], [20, 0], [20, 10]], dtype=np.float64)


def planted(dtype: Any = np.float64, rows: int = 40) -> tuple[Any, Any]:
    """Six groups, and a start with two centers in the first and one for the last two."""
    random = np.random.default_rng(1)
    x = np.concatenate([center + random.normal(size=(rows, 2)) for center in TRUE])
    start = np.concatenate([TRUE[:4], [TRUE[4:].mean(axis=0), [0.0, 0.5]]])
    return x.astype(dtype), start.astype(dtype)


def found_by(
    backend: Backend,
    x: Any,
    start: Any,
    weight: Any = None,
    effort: Effort | None = None,
    **plan: Any,
) -> tuple[Result, Result, list[Trial]]:
    """The plain run, what the search makes of it, and its trials."""
    with opened(backend):
        problem = problem_of(backend, x, weight, k=len(start), variance=True, **plan)
        plain = solve(problem, backend.array(start), RULES)
        with problem.source.working():
            best, trials = search(problem, plain, RULES, effort or Effort(), 7)
        return plain, best, trials


def bits(backend: Backend, result: Result, trials: list[Trial]) -> Any:
    labels, centers = backend.host(result.labels), backend.host(result.centers)
    return labels.tobytes(), centers.tobytes(), result.inertia, result.n_iter, trials


def test_a_planted_bad_start_is_repaired(xp: Backend) -> None:
    if xp.id == "jax":
        pytest.skip("JAX compiles this for seconds: test_libraries_agree has one such start")
    x, start = planted()
    plain, best, trials = found_by(xp, x, start)
    assert metrics.centroid_index(xp.host(plain.centers), TRUE) == 1
    assert metrics.centroid_index(xp.host(best.centers), TRUE) == 0
    assert best.inertia < 0.4 * plain.inertia
    assert trials[0].kept
    assert trials[0].swaps == 1


@pytest.mark.parametrize("wrong", [2, 4])
def test_several_faults_are_repaired_by_few_runs(wrong: int) -> None:
    numpy = make_backend("numpy")
    random = np.random.default_rng(2)
    true = np.asarray(list(itertools.product(range(0, 60, 10), range(0, 40, 10))), dtype=float)
    x = (true[:, None, :] + random.normal(size=(24, 30, 2))).reshape(-1, 2)
    start = true.copy()
    for fault in range(wrong):
        # one center of a pair leaves for another group
        start[fault] = true[fault : fault + 2].mean(axis=0) if fault % 2 else true[fault]
        start[fault] = true[23 - fault] + 0.5
    plain, best, trials = found_by(numpy, x, start)
    assert metrics.centroid_index(plain.centers, true) >= 1
    assert metrics.centroid_index(best.centers, true) == 0
    assert sum(trial.kept for trial in trials) <= wrong
    assert trials[0].swaps > 1


@functools.cache
def standard(case: str, weighted: bool) -> Any:
    return answer(make_backend("numpy"), case, weighted)


def answer(backend: Backend, case: str, weighted: bool, **plan: Any) -> Any:
    rows = {"planted": 250, "few": 20}
    x, start = planted(np.float32, rows[case]) if case in rows else CASES[case]()
    weight = np.random.default_rng(3).integers(0, 4, len(x)) / 3.0 if weighted else None
    _, best, trials = found_by(backend, x, start, weight, Effort(16), **plan)
    return bits(backend, best, trials)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("case", ["planted", "lattice", "tiny32"])
def test_libraries_agree(xp: Backend, case: str, weighted: bool) -> None:
    if case != "planted":
        skip_where_slow(xp, case)
    if weighted and case == "tiny32":
        pytest.skip("weights are scaled alike in every case")
    if xp.id == "jax" and (case != "planted" or weighted):
        pytest.skip("JAX compiles each of these for seconds: once is enough")
    assert answer(xp, case, weighted) == standard(case, weighted)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("case", ["planted", "blobs32", "lattice", "repeated_rows", "far_center"])
def test_blocks_and_threads_change_nothing(case: str, weighted: bool) -> None:
    numpy = make_backend("numpy")
    first = "float32" if case in ("planted", "blobs32") else "float64"
    for block_rows, threads in ((97, 1), (200, 3)):
        plan = {"first": first, "block_rows": block_rows, "threads": threads}
        assert answer(numpy, case, weighted, **plan) == standard(case, weighted)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_compiled_loops_agree(weighted: bool) -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    plan = {"first": "float32", "kernel": "numba", "block_rows": 64}
    assert answer(make_backend("numpy"), "few", weighted, **plan) == standard("few", weighted)


@pytest.mark.parametrize("case", CASES)
def test_never_worse_and_what_is_kept_is_lower(case: str) -> None:
    x, start = CASES[case]()
    plain, best, trials = found_by(make_backend("numpy"), x, start, effort=Effort(60))
    kept = [trial.inertia for trial in trials if trial.kept]
    assert [plain.inertia, *kept] == sorted([plain.inertia, *kept], reverse=True)
    assert best.inertia == [plain.inertia, *kept][-1]
    if not kept:
        assert best is plain


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
    assert [trial.kept for trial in auto.trials_[-3:]] != [True] * 3


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


def rows_of(x: Any, labels: Any, n_clusters: int) -> Iterator[Any]:
    return (x[labels == cluster] for cluster in range(n_clusters))


def scatter(rows: Any) -> float:
    return float(((rows - rows.mean(axis=0)) ** 2).sum())


@pytest.fixture
def seen() -> tuple[Any, Any, Outlook]:
    numpy = make_backend("numpy")
    x, start = planted()
    problem = problem_of(numpy, x, k=len(start))
    plain = solve(problem, start)
    view = outlook(problem, plain.centers, plain.labels, (1, Purpose.SEARCH, 1))
    assert view is not None
    return x, plain.labels, view


def test_costs_are_those_of_merging(seen: tuple[Any, Any, Outlook]) -> None:
    x, labels, view = seen
    parts = list(rows_of(x, labels, len(TRUE)))
    for one, partner in enumerate(view.partners):
        costs = {
            other: scatter(np.concatenate([parts[one], rows])) - scatter(parts[one]) - scatter(rows)
            for other, rows in enumerate(parts)
            if other != one
        }
        assert partner == min(costs, key=costs.__getitem__)
        assert view.costs[one] == pytest.approx(costs[partner], rel=1e-9)
        middle = np.concatenate([parts[one], parts[partner]]).mean(axis=0)
        np.testing.assert_allclose(view.merged[one], middle, rtol=1e-12)


def test_gains_are_those_of_the_halves(seen: tuple[Any, Any, Outlook]) -> None:
    x, labels, view = seen
    for cluster, rows in enumerate(rows_of(x, labels, len(TRUE))):
        halves = np.stack([view.first[cluster], view.second[cluster]])
        left = ((rows[:, None, :] - halves[None]) ** 2).sum(axis=2).min(axis=1).sum()
        before = ((rows - view.centers[cluster]) ** 2).sum()
        assert view.gains[cluster] == pytest.approx(before - left, rel=1e-9)
    # the cluster that holds two true ones gains by far most, and its halves are those two
    order = np.argsort([view.first[4, 1], view.second[4, 1]])
    halves = np.stack([view.first[4], view.second[4]])[order]
    groups = [x[at : at + 40].mean(axis=0) for at in (160, 200)]
    np.testing.assert_allclose(halves, groups, rtol=1e-12)
    assert np.argmax(view.gains) == 4
    assert sorted(view.gains)[-2] < 0.2 * max(view.gains)


@pytest.mark.parametrize("k", [1, 2, 3, 7])
@pytest.mark.parametrize("effort", ["auto", 5])
def test_few_clusters_rows_and_duplicates(k: int, effort: Any) -> None:
    random = np.random.default_rng(4)
    for x in (random.normal(size=(7, 3)), np.repeat(random.normal(size=(7, 3)), 3, axis=0)):
        plain = KMeans(k, random_state=0).fit(x)
        model = KMeans(k, random_state=0, search=effort).fit(x)
        assert model.inertia_ <= plain.inertia_
        if k in (1, 2, 7):
            # nothing to swap, or nothing to gain
            assert len(model.trials_) == 1
    same = KMeans(3, random_state=0, search=effort)
    with pytest.warns(UserWarning, match="distinct clusters"):
        assert same.fit(np.ones((9, 2))).inertia_ == 0.0


def test_given_starts_and_numbers_of_starts_run_plainly() -> None:
    x, start = CASES["blobs"]()
    for options in (
        {"init": start},
        {"init": lambda X, n, random_state: X[:n], "n_init": 1},
        {"init": lambda X, n, random_state: X[:n]},
        {"n_init": 1},
        {"n_init": 2, "init": "random"},
    ):
        plain = KMeans(K, random_state=0, **options).fit(x)
        auto = KMeans(K, random_state=0, search="auto", **options).fit(x)
        assert auto.inertia_ == plain.inertia_
        assert auto.trials_ == plain.trials_
        with pytest.raises(ValueError, match="search=9 goes with a named init"):
            KMeans(K, random_state=0, search=9, **options).fit(x)


@pytest.mark.parametrize("init", ["k-means++", "random", "random-partition", "k-means||"])
def test_every_named_start_is_searched_from(init: str) -> None:
    x = planted(rows=20)[0]
    plain = KMeans(6, init=init, random_state=3, n_init=1).fit(x)
    model = KMeans(6, init=init, random_state=3, search="auto").fit(x)
    assert metrics.centroid_index(model.cluster_centers_, TRUE) == 0
    assert model.inertia_ <= plain.inertia_
    assert sum(trial.swaps == 0 for trial in model.trials_) == (10 if init.startswith("r") else 1)
    assert model.n_best_ >= 1
    assert sum(t.inertia <= model.inertia_ * (1 + 1e-6) for t in model.trials_) == model.n_best_


class Keys:
    """A callback that acts in the iterations of the search, at the given one."""

    def __init__(self, at: int, *, raises: bool) -> None:
        self.at, self.raises, self.runs, self.count = at, raises, 0, 0

    def __call__(self, record: Any, centers: Any) -> bool:
        self.runs += record.iteration == 1
        self.count += self.runs > 1
        if self.count == self.at and self.raises:
            raise KeyboardInterrupt
        return self.count == self.at


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


def test_the_error_rule_is_for_the_users_start() -> None:
    x, start = planted()
    problem = problem_of(make_backend("numpy"), x, k=len(start))
    rules = Rules(max_iter=50, tol=0.0, empty_cluster="error")
    plain = solve(problem, start, rules)
    view = outlook(problem, plain.centers, plain.labels, (1, Purpose.SEARCH, 1))
    assert view is not None
    # a half so far away that no row goes there
    far = dataclasses.replace(view, second=view.second + 1e6)
    hunt = _Hunt(problem, plain, rules, Effort(), 1)
    with pytest.raises(EmptyClusterError):
        solve(problem, _swapped(far, [(4, 0)]), rules)
    assert hunt._try(far, [(4, 0)]) is None
    assert hunt.best is plain
    assert hunt._try(view, [(4, 0)]) is Status.CONVERGED
    assert hunt.best.inertia < plain.inertia


def test_the_function_and_the_file_know_of_it(tmp_path: Any) -> None:
    x = planted()[0]
    model = KMeans(6, random_state=5, search="auto").fit(x)
    assert k_means(x, 6, random_state=5, search="auto")[2] == model.inertia_
    save_model(model, tmp_path / "model.npz")
    again = load_model(tmp_path / "model.npz")
    assert (again.trials_, again.n_best_, again.search) == (model.trials_, model.n_best_, "auto")


def test_a_file_from_before_the_search_is_read_and_written(tmp_path: Any) -> None:
    save_model(KMeans(3, random_state=0).fit(planted()[0]), tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as archive:
        arrays = dict(archive)
    header = json.loads(str(arrays["header"]))
    del header["trials"], header["state"]["n_best_"], header["parameters"]["search"]
    np.savez(tmp_path / "old.npz", **{**arrays, "header": np.asarray(json.dumps(header))})
    old = load_model(tmp_path / "old.npz")
    save_model(old, tmp_path / "again.npz")
    again = load_model(tmp_path / "again.npz")
    assert (again.trials_, again.n_best_, again.search) == ((), 0, None)


@pytest.mark.parametrize("name", ["s1", "s2", "a1", "unbalance"])
def test_the_true_structure_of_the_battery_is_found(battery: Any, name: str) -> None:
    x, labels = battery(name)
    true = np.stack([x[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
    best = KMeans(len(true), init=true, tol=0).fit(x).inertia_
    for seed in range(3):
        model = KMeans(len(true), random_state=seed, search="auto").fit(x)
        assert metrics.centroid_index(model.cluster_centers_, true) == 0
        assert model.inertia_ <= 1.001 * best
