"""Rule 3, consistent results: labels, centers and inertia belong together however a run ends."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
import oracle
import pytest
from cases import CASES, N
from conftest import Backend
from engine import NO_LIMIT, opened, problem_of, solve
from sklearn.exceptions import ConvergenceWarning

from kmeans_xp import KMeans
from kmeans_xp._outcome import Rules, Status
from kmeans_xp.exceptions import EmptyClusterError


def _stop_after(count: int) -> Any:
    return lambda record, centers: record.iteration >= count


ENDS = {
    "max_iter": ({"max_iter": 2, "tol": 0}, Status.MAX_ITER),
    "max_iter 1": ({"max_iter": 1, "tol": 0}, Status.MAX_ITER),
    "tolerance": ({"tol": 0.05}, Status.TOLERANCE),
    "callback": ({"callback": _stop_after(3), "tol": 0}, Status.CALLBACK),
    "converged": ({"tol": 0, "max_iter": None}, Status.CONVERGED),
}


def _check(xp: Backend, model: Any, x: Any, weight: Any = None) -> None:
    """Everything that a fitted model says of its own rows agrees with everything else."""
    rows = xp.array(x)
    labels, centers = xp.host(model.labels_), xp.host(model.cluster_centers_)
    assert labels.tolist() == oracle.labels(x, centers)
    assert model.inertia_ == pytest.approx(
        oracle.inertia(x, centers, labels, weight), rel=2.3e-16, abs=0
    )
    exact = oracle.exact_inertia(x, centers, labels, weight)
    assert model.inertia_ == pytest.approx(float(exact), rel=2e-15, abs=0)
    assert xp.host(model.predict(rows)).tobytes() == labels.tobytes()
    assert -model.score(rows, sample_weight=weight) == model.inertia_
    limit = model.max_iter
    assert 1 <= model.n_iter_ <= (math.inf if limit is None else limit)
    assert model.n_iter_ == len(model.history_)
    assert [record.iteration for record in model.history_] == list(range(1, model.n_iter_ + 1))


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_results_belong_together(xp: Backend, end: str, weighted: bool) -> None:
    options, status = ENDS[end]
    x, start = CASES["blobs32"]()
    # whole weights keep the sum of exact terms short
    weight = np.random.default_rng(1).integers(0, 3, size=N) * 0.5 if weighted else None
    model = KMeans(5, init=xp.array(start), n_init=1, **options)
    model.fit(xp.array(x), sample_weight=None if weight is None else xp.array(weight))
    assert model.status_ == status.value
    _check(xp, model, x, weight)


EMPTY = ("farthest", "random")


def _with_empties() -> Any:
    """Three of five starting centers lie where no row will come to them."""
    x, _ = CASES["blobs32"]()
    start = np.asarray([x[0], x[1], [90] * 4, [-90] * 4, [91] * 4], dtype=np.float32)
    return x, start


@pytest.mark.parametrize("rule", EMPTY)
@pytest.mark.parametrize("max_iter", [1, 2, None])
def test_results_belong_together_after_relocation(
    xp: Backend, rule: str, max_iter: int | None
) -> None:
    x, start = _with_empties()
    # of this seed's first draws, two are the same row
    rules = {"tol": 0, "max_iter": max_iter, "empty_cluster": rule, "random_state": 11}
    repeats = rule == "random" and max_iter == 1
    with pytest.warns(ConvergenceWarning) if repeats else contextlib.nullcontext():
        model = KMeans(5, init=xp.array(start), n_init=1, **rules).fit(xp.array(x))
    _check(xp, model, x)
    assert np.abs(xp.host(model.cluster_centers_)).max() < 20
    if max_iter is None:
        assert set(xp.host(model.labels_).tolist()) == set(range(5))


def test_the_farthest_rows_take_over_empty_clusters(xp: Backend) -> None:
    """Largest distance first, then the lowest row; the old cluster loses the row."""
    x = np.asarray([[0.0], [1.0], [2.0], [9.0], [-9.0], [3.0], [20.0]])
    start = np.asarray([[0.0], [100.0], [200.0], [300.0]])
    with opened(xp):
        problem = problem_of(xp, x, k=4)
        result = solve(problem, xp.array(start), Rules(max_iter=1, tol=0.0))
        centers = xp.host(result.centers)
    # 20 is farthest, then 9 and -9 are equally far and row 3 comes before row 4
    assert centers.tolist() == [[1.5], [20.0], [9.0], [-9.0]]


def test_random_observations_take_over_empty_clusters(xp: Backend) -> None:
    x, start = _with_empties()
    with opened(xp):
        problem = problem_of(xp, x, k=5)
        rules = Rules(max_iter=1, tol=0.0, empty_cluster="random")
        centers = xp.host(solve(problem, xp.array(start), rules).centers)
    rows = {tuple(row) for row in x.tolist()}
    assert all(tuple(center) in rows for center in centers[2:].tolist())
    assert not any(tuple(center) in rows for center in centers[:2].tolist())


def test_a_run_goes_on_until_random_observations_fill_every_cluster() -> None:
    """Half of the draws repeat a center and change no label; that is no convergence."""
    x = np.asarray([[0.0]] * 20 + [[10.0]] * 20 + [[11.0]])
    for seed in range(12):
        problem = problem_of(_numpy(), x, k=3)
        rules = Rules(max_iter=None, tol=0.0, empty_cluster="random")
        result = solve(problem, np.asarray([[0.0], [10.2], [500.0]]), rules, seed)
        assert result.status is Status.CONVERGED
        assert sorted(result.centers[:, 0].tolist()) == [0.0, 10.0, 11.0]
        assert result.inertia == 0.0


@pytest.mark.parametrize("light", [2.0**-30, 2.0**-60, 1e-290, 1e-310])
def test_rows_of_hardly_any_weight_end_a_run_too(xp: Backend, light: float) -> None:
    """The heavy rows are their clusters' means: only light ones gain by the empty cluster."""
    x = np.asarray([[0.0], [64.0], [65.0], [66.0]])
    weight = np.asarray([1.0, 2.0**30, light, light])
    for seed in range(4):
        model = KMeans(
            4,
            init=xp.array([[0.0], [64.2], [500.0], [600.0]]),
            n_init=1,
            random_state=seed,
            max_iter=None,
            tol=0,
            empty_cluster="random",
            callback=lambda record, centers: record.iteration >= 100,
        ).fit(xp.array(x), sample_weight=xp.array(weight))
        assert model.status_ == Status.CONVERGED.value
        assert sorted(xp.host(model.cluster_centers_)[:, 0].tolist()) == [0.0, 64.0, 65.0, 66.0]


def test_empty_clusters_can_be_an_error(xp: Backend) -> None:
    x, start = _with_empties()
    model = KMeans(5, init=xp.array(start), n_init=1, empty_cluster="error")
    with pytest.raises(EmptyClusterError, match=r"\[2, 3, 4\]"):
        model.fit(xp.array(x))


@pytest.mark.parametrize("rule", EMPTY)
@pytest.mark.parametrize("init", ["k-means++", "random", "random-partition", "k-means||"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fewer_distinct_rows_than_clusters_ends_early(init: str, rule: str, dtype: str) -> None:
    x = np.random.default_rng(2).normal(size=(6, 3)).astype(dtype)
    x = x[np.arange(90) % 6]
    model = KMeans(9, init=init, n_init=3, random_state=0, tol=0, max_iter=None, empty_cluster=rule)
    with pytest.warns(ConvergenceWarning, match=r"clusters \(\d\) found smaller than n_clusters"):
        model.fit(x)
    assert model.status_ == Status.CONVERGED.value
    assert model.n_iter_ < 30
    assert len(set(model.labels_.tolist())) <= 6
    if rule == "farthest":
        assert model.inertia_ == 0.0
        assert len(set(model.labels_.tolist())) == 6
        distinct = {tuple(row) for row in x.tolist()}
        assert distinct <= {tuple(center) for center in model.cluster_centers_.tolist()}


def test_the_inertia_of_equal_rows_is_zero(xp: Backend) -> None:
    model = KMeans(3, random_state=0, max_iter=None, tol=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(xp.array(np.full((12, 2), 0.1)))
    assert model.inertia_ == 0.0
    assert xp.host(model.cluster_centers_).tolist() == [[0.1, 0.1]] * 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shift", [0.0, 1e4, 2.0**24])
def test_rounded_centers_do_not_run_in_circles(dtype: str, shift: float) -> None:
    """Centers are rounded to the rows' dtype; the loop must end without a limit all the same."""
    for seed in range(40):
        random = np.random.default_rng(seed)
        x = (random.integers(0, 40, size=(60, 1 + seed % 2)) / 8 + shift).astype(dtype)
        problem = problem_of(_numpy(), x, k=5)
        result = solve(problem, x[:5].copy(), Rules(max_iter=500, tol=0.0))
        assert result.status is Status.CONVERGED


def _numpy() -> Backend:
    return Backend("numpy", np, None)


def test_history_is_plain_and_tells_what_happened() -> None:
    x, start = CASES["blobs"]()
    seen: list[Any] = []
    model = KMeans(5, init=start, n_init=1, tol=0, callback=lambda r, c: seen.append((r, c.copy())))
    model.fit(x)
    before, labels_before = start, None
    for record, centers in seen:
        labels = np.asarray(oracle.labels(x, before))
        changed = N if labels_before is None else int((labels != labels_before).sum())
        assert record.changed == changed
        assert record.inertia == pytest.approx(oracle.inertia(x, before, labels), rel=2.3e-16)
        assert record.shift == pytest.approx(np.sqrt(((centers - before) ** 2).sum()), rel=1e-12)
        assert type(record.inertia) is float
        before, labels_before = centers, labels
    assert seen[-1][0].changed == 0
    assert tuple(record for record, _ in seen) == model.history_


def test_the_same_run_without_a_callback_keeps_the_same_result() -> None:
    x, start = CASES["blobs"]()
    one = solve(problem_of(_numpy(), x, k=5), start, NO_LIMIT)
    two = solve(
        problem_of(_numpy(), x, k=5), start, Rules(None, 0.0, observe=lambda record, centers: False)
    )
    assert one.centers.tobytes() == two.centers.tobytes()
    assert one.labels.tobytes() == two.labels.tobytes()
    assert (one.inertia, one.n_iter) == (two.inertia, two.n_iter)
