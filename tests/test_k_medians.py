"""KMedians against plain loops, brute force, and itself on other libraries."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from conftest import Backend
from sklearn.exceptions import ConvergenceWarning

from kmeans_xp import KMedians
from kmeans_xp._backend import context_of
from kmeans_xp.relatives import _medians
from kmeans_xp.relatives._medians import Rows, run
from kmeans_xp.relatives._pairs import Measure

NUMPY = Backend("numpy", np, None)


def cost(x: Any, centers: Any, weight: Any = None) -> float:
    nearest = np.abs(x[:, None, :] - np.asarray(centers)[None, :, :]).sum(axis=2).min(axis=1)
    return float(nearest.sum() if weight is None else nearest @ weight)


def lloyd(x: Any, centers: Any) -> tuple[Any, Any, int]:
    """Plain loops: the nearest center, then the median, until no row changes its cluster."""
    labels, n_iter = None, 0
    while True:
        table = [
            [sum(abs(a - b) for a, b in zip(row, c, strict=True)) for c in centers] for row in x
        ]
        found = [row.index(min(row)) for row in table]
        if found == labels:
            return np.asarray(centers), np.asarray(labels), n_iter
        labels, n_iter = found, n_iter + 1
        groups = [
            [row for row, at in zip(x, labels, strict=True) if at == k] for k in range(len(centers))
        ]
        centers = [
            np.median(group, axis=0) if group else center
            for group, center in zip(groups, centers, strict=True)
        ]


def judge_against_loops() -> None:
    for seed in range(12):
        generator = np.random.default_rng(seed)
        k = 1 + seed % 5
        x = generator.integers(-9, 9, size=(40, 3)) / 2.0
        start = x[generator.choice(40, size=k, replace=False)]
        centers, labels, _ = lloyd(x.tolist(), start.tolist())
        if len(set(labels.tolist())) < k:
            continue
        model = KMedians(k, init=start).fit(x)
        assert model.cluster_centers_.tolist() == centers.tolist()
        assert model.labels_.tolist() == labels.tolist()
        assert model.inertia_ == cost(x, centers)
        assert model.status_ == "converged: the loss falls no more"


def test_the_loop_is_the_plain_one() -> None:
    judge_against_loops()


def lower_medians(real: Any) -> Any:
    def medians(values: Any, order: Any, labels: Any, whole: Any, *rest: Any, xp: Any) -> Any:
        # a weight too many at the end of each sum
        before, totals = rest
        return real(values, order, labels, whole, before, totals - 1, xp=xp)

    return medians


def unsorted(real: Any) -> Any:
    def medians(values: Any, order: Any, *rest: Any, xp: Any) -> Any:
        return real(values, xp.sort(order), *rest, xp=xp)

    return medians


@pytest.mark.parametrize("wrong", [lower_medians, unsorted])
def test_wrong_medians_are_caught(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_medians, "_medians", wrong(_medians._medians))
    with pytest.raises(AssertionError):
        judge_against_loops()


def test_many_starts_find_the_optimum() -> None:
    for seed in range(4):
        x = np.random.default_rng(seed).normal(size=(9, 2))
        least = np.inf
        for labels in itertools.product([0, 1], repeat=9):
            parts = [x[np.asarray(labels) == at] for at in (0, 1)]
            if all(map(len, parts)):
                least = min(least, sum(np.abs(p - np.median(p, axis=0)).sum() for p in parts))
        for init in ("k-means++", "random"):
            model = KMedians(2, init=init, n_init=20, random_state=seed).fit(x)
            assert model.inertia_ == pytest.approx(least, rel=1e-12)
            one = KMedians(2, init=init, n_init=1, random_state=seed).fit(x)
            assert one.inertia_ >= model.inertia_


def test_whole_weights_are_repeated_rows() -> None:
    generator = np.random.default_rng(5)
    x = generator.integers(0, 20, size=(40, 2)).astype(float)
    weight = generator.integers(0, 4, size=40)
    start = x[weight > 0][:4]
    weighted = KMedians(4, init=start).fit(x, sample_weight=weight)
    repeated = KMedians(4, init=start).fit(np.repeat(x, weight, axis=0))
    assert weighted.cluster_centers_.tolist() == repeated.cluster_centers_.tolist()
    assert (weighted.inertia_, weighted.n_iter_) == (repeated.inertia_, repeated.n_iter_)
    assert weighted.labels_.tolist() == weighted.predict(x).tolist()
    assert weighted.score(x, sample_weight=weight) == -weighted.inertia_
    heavy = KMedians(4, init=start).fit(x, sample_weight=np.ldexp(weight.astype(float), 1000))
    assert heavy.cluster_centers_.tolist() == weighted.cluster_centers_.tolist()
    assert heavy.inertia_ == np.ldexp(weighted.inertia_, 1000)


def test_far_rows_move_no_median() -> None:
    x = np.concatenate([np.random.default_rng(0).normal(size=(60, 2)), [[1e30, 1e30]]])
    center = KMedians(1).fit(x).cluster_centers_
    assert np.abs(center).max() < 1.0
    assert center.tolist() == [np.median(x, axis=0).tolist()]


@pytest.mark.parametrize("power", [-1060, 1005])
def test_rows_of_any_size_are_clustered(power: int) -> None:
    x = np.random.default_rng(1).integers(-40, 40, size=(50, 2)).astype(float)
    start = x[:3]
    model = KMedians(3, init=start).fit(x)
    scaled = KMedians(3, init=np.ldexp(start, power)).fit(np.ldexp(x, power))
    assert scaled.cluster_centers_.tolist() == np.ldexp(model.cluster_centers_, power).tolist()
    assert scaled.labels_.tolist() == model.labels_.tolist()
    assert scaled.inertia_ == np.ldexp(model.inertia_, power)


def test_empty_clusters_go_on_from_rows_that_pay() -> None:
    x = np.array([[0.0], [1.0], [2.0], [50.0], [51.0], [90.0]])
    model = KMedians(4, init=[[1.0], [1e6], [2e6], [3e6]]).fit(x)
    assert sorted(model.cluster_centers_[:, 0].tolist()) == [1.0, 50.0, 51.0, 90.0]
    assert model.inertia_ == 2.0
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(2\)"):
        model = KMedians(3, init=[[0.0], [7.0], [9.0]]).fit(np.repeat([[0.0], [5.0]], 4, axis=0))
    assert model.inertia_ == 0.0


def answer(model: KMedians, xp: Backend) -> tuple[Any, ...]:
    arrays = (xp.host(model.cluster_centers_), xp.host(model.labels_))
    return (*(array.tobytes() for array in arrays), model.inertia_.hex(), model.n_iter_)


@pytest.mark.parametrize(("init", "dtype"), [("k-means++", "float32"), ("random", "float64")])
def test_one_seed_has_one_answer(xp: Backend, init: str, dtype: str) -> None:
    x = np.random.default_rng(0).normal(size=(150, 3)).astype(dtype)
    weight = np.random.default_rng(1).random(150)
    weight[::9] = 0.0
    options = {"n_clusters": 5, "init": init, "random_state": 0}
    wanted = KMedians(**options).fit(x, sample_weight=weight)
    assert wanted.n_iter_ > 2
    rows = xp.array(x)
    model = KMedians(**options).fit(rows, sample_weight=xp.array(weight))
    assert answer(model, xp) == answer(wanted, NUMPY)
    assert type(model.cluster_centers_) is type(rows)
    assert xp.host(model.predict(rows)).tobytes() == wanted.labels_.tobytes()


def run_on(backend: Backend, x: Any, weight: Any) -> tuple[Any, ...]:
    """A run in a library's own functions, in which host memory is worked on by NumPy else."""
    rows = backend.array(x)
    context = context_of(rows)
    with context.scope():
        start = rows[:4, :]
        measure = Measure.over("manhattan", [rows], context, who="a test")
        found = run(Rows.of(measure, rows, backend.array(weight)), start, 50)
        arrays = (found.centers, found.labels, found.distances)
        return (*(backend.host(array).tobytes() for array in arrays), found.loss, found.n_iter)


def test_the_mathematics_is_the_same_in_every_library(xp: Backend) -> None:
    x = np.random.default_rng(3).normal(size=(60, 2)).astype("float32")
    x[3] = 1e6  # takes a center that no other row is near, so that another one is empty
    x[1] = x[0]
    weight = np.random.default_rng(4).random(60)
    wanted = run_on(NUMPY, x, weight)
    assert wanted[-1] > 1
    assert run_on(xp, x, weight) == wanted


def test_the_last_iteration_and_ctrl_c_leave_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(2).normal(size=(200, 2))
    model = KMedians(6, init=x[:6], max_iter=1).fit(x)
    assert (model.n_iter_, model.status_) == (1, "stopped at max_iter before convergence")
    real, left = Rows.medians, [2]

    def medians(self: Any, found: Any) -> Any:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return real(self, found)

    monkeypatch.setattr(Rows, "medians", medians)
    model = KMedians(6, init=x[:6])
    with pytest.raises(KeyboardInterrupt, match="the best state so far was kept"):
        model.fit(x)
    assert model.n_iter_ == 2
    assert model.labels_.tolist() == model.predict(x).tolist()
    assert model.inertia_ == pytest.approx(cost(x, model.cluster_centers_), rel=1e-12)


@pytest.mark.parametrize(
    ("options", "x", "message"),
    [
        ({"n_clusters": 4}, np.ones((3, 2)), "n_samples=3 should be >= n_clusters=4"),
        ({"init": [[0.0]]}, np.ones((3, 2)), "does not match the number of clusters 2"),
        ({"init": [[0.0], [1.0]]}, np.ones((3, 2)), "does not match the number of features"),
        ({"init": "build"}, np.ones((3, 2)), "The 'init' parameter of KMedians must be"),
        ({}, np.array([[1.0], [np.inf], [0.0]]), "infinity: the first is at row 1, column 0"),
    ],
)
def test_what_cannot_be_clustered_is_refused(options: dict[str, Any], x: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KMedians(**{"n_clusters": 2, **options}).fit(x)
