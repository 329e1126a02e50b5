"""The search: it repairs planted bad starts, makes nothing worse, and is the same everywhere."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any

import numpy as np
import pytest
from cases import CASES, K, skip_where_slow
from conftest import Backend, make_backend
from engine import problem_of, solve
from search_cases import TRUE, answer, found_by, planted, standard

from kmeans_xp import EmptyClusterError, KMeans, k_means, load_model, metrics, save_model
from kmeans_xp._effort import Effort
from kmeans_xp._outcome import Rules, Status
from kmeans_xp._random import Purpose
from kmeans_xp._search import _Hunt
from kmeans_xp._split import outlook
from kmeans_xp._swaps import swapped


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


@pytest.mark.parametrize("k", [1, 2, 3, 7])
@pytest.mark.parametrize("effort", ["auto", 5])
def test_few_clusters_rows_and_duplicates(k: int, effort: Any) -> None:
    random = np.random.default_rng(4)
    for x in (random.normal(size=(7, 3)), np.repeat(random.normal(size=(7, 3)), 3, axis=0)):
        plain = KMeans(k, random_state=0, search=None).fit(x)
        model = KMeans(k, random_state=0, search=effort).fit(x)
        assert model.inertia_ <= plain.inertia_
        if k in (1, 2, 7):
            # nothing to swap, or nothing to gain
            assert len(model.trials_) == 1
    same = KMeans(3, random_state=0, search=effort)
    with pytest.warns(UserWarning, match="distinct clusters"):
        assert same.fit(np.ones((9, 2))).inertia_ == 0.0


@pytest.mark.parametrize("power", [-600, 600])
def test_an_inertia_that_is_no_number_of_its_own_is_not_searched(power: int) -> None:
    x, start = planted()
    numpy = make_backend("numpy")
    plain, best, trials = found_by(numpy, np.ldexp(x, power), np.ldexp(start, power))
    assert plain.inertia in (0.0, np.inf)
    assert best is plain
    assert trials == []
    # the same rows in another unit are
    assert found_by(numpy, x, start)[2]


def test_given_starts_and_numbers_of_starts_run_plainly() -> None:
    x, start = CASES["blobs"]()
    for options in (
        {"init": start},
        {"init": lambda X, n, random_state: X[:n], "n_init": 1},
        {"init": lambda X, n, random_state: X[:n]},
        {"n_init": 1},
        {"n_init": 2, "init": "random"},
    ):
        plain = KMeans(K, random_state=0, search=None, **options).fit(x)
        auto = KMeans(K, random_state=0, **options).fit(x)
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
        solve(problem, swapped(far, [(4, 0)]), rules)
    assert hunt._try(swapped(far, [(4, 0)]), swaps=1) == (None, False)
    assert hunt.best is plain
    result, kept = hunt._try(swapped(view, [(4, 0)]), swaps=1)
    assert kept
    assert result is hunt.best
    assert result.status is Status.CONVERGED
    assert hunt.best.inertia < plain.inertia


def test_the_function_and_the_file_know_of_it(tmp_path: Any) -> None:
    x = np.random.default_rng(0).normal(size=(200, 2))
    model = KMeans(6, random_state=5).fit(x)
    assert any(trial.swaps for trial in model.trials_)
    assert k_means(x, 6, random_state=5)[2] == model.inertia_
    plain = k_means(x, 6, random_state=5, search=None)[2]
    assert KMeans(6, random_state=5, search=None).fit(x).inertia_ == plain > model.inertia_
    save_model(model, tmp_path / "model.npz")
    again = load_model(tmp_path / "model.npz")
    assert (again.trials_, again.n_best_, again.search) == (model.trials_, model.n_best_, "auto")


def test_a_file_from_before_the_search_is_read_and_written(tmp_path: Any) -> None:
    save_model(KMeans(3, random_state=0).fit(planted()[0]), tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as archive:
        arrays = dict(archive)
    header = json.loads(str(arrays["header"]))
    del header["trials"], header["state"]["n_best_"], header["parameters"]["search"]
    del header["state"]["lower_bound_"]
    np.savez(tmp_path / "old.npz", **{**arrays, "header": np.asarray(json.dumps(header))})
    old = load_model(tmp_path / "old.npz")
    save_model(old, tmp_path / "again.npz")
    again = load_model(tmp_path / "again.npz")
    assert (again.trials_, again.n_best_, again.search) == ((), 0, None)
    assert again.lower_bound_ is None


@pytest.mark.parametrize("name", ["s1", "s2", "a1", "unbalance"])
def test_the_true_structure_of_the_battery_is_found(battery: Any, name: str) -> None:
    x, labels = battery(name)
    true = np.stack([x[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
    best = KMeans(len(true), init=true, tol=0).fit(x).inertia_
    for seed in range(3):
        model = KMeans(len(true), random_state=seed, search="auto").fit(x)
        assert metrics.centroid_index(model.cluster_centers_, true) == 0
        assert model.inertia_ <= 1.001 * best
