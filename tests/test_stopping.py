"""How a fit ends before it converges, and what the model says of it: callback, Ctrl-C, history."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from kmeans_xp import Iteration, KMeans


@pytest.fixture(scope="module")
def rows():
    return load_digits().data


def assert_belongs_together(model, X):
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    assert model.score(X) == -model.inertia_
    assert len(model.history_) == model.n_iter_


def test_history_is_plain_numbers(rows):
    model = KMeans(10, init=rows[:10], callback=lambda record, centers: None).fit(rows)
    assert [item.iteration for item in model.history_] == list(range(1, model.n_iter_ + 1))
    assert all(type(item.changed) is int and type(item.shift) is float for item in model.history_)
    inertias = [item.inertia for item in model.history_]
    assert inertias == sorted(inertias, reverse=True)
    assert model.history_[0].changed == len(rows)
    assert model.history_[-1].changed == 0
    assert model.history_[-1].shift == 0.0
    assert model.status_ == "converged: no row changed its cluster"
    silent = KMeans(10, init=rows[:10]).fit(rows)
    assert {item.inertia for item in silent.history_} == {None}


def test_callback_stops_the_run(rows):
    seen = []

    def stop(record, centers):
        seen.append((record, np.array(centers)))
        return record.iteration == 3

    model = KMeans(10, init=rows[:10], callback=stop).fit(rows)
    assert [type(record) for record, _ in seen] == [Iteration] * 3
    np.testing.assert_array_equal(model.cluster_centers_, seen[-1][1])
    assert model.n_iter_ == 3
    assert model.status_ == "stopped by the callback"
    assert_belongs_together(model, rows)


def test_max_iter_is_kept_and_said(rows):
    model = KMeans(10, init=rows[:10], max_iter=2).fit(rows)
    assert model.n_iter_ == 2
    assert model.status_ == "stopped at max_iter before convergence"
    assert_belongs_together(model, rows)
    unlimited = KMeans(10, init=rows[:10], max_iter=None, tol=0).fit(rows)
    assert unlimited.history_[-1].changed == 0


@pytest.mark.parametrize("at", [1, 4])
def test_ctrl_c_keeps_the_best_state_and_goes_on_up(rows, at):
    def interrupt(record, centers):
        if record.iteration == at:
            raise KeyboardInterrupt

    model = KMeans(10, init=rows[:10], callback=interrupt)
    with pytest.raises(KeyboardInterrupt, match="best state so far"):
        model.fit(rows)
    assert model.status_ == "interrupted: the best state so far was kept"
    assert model.n_iter_ in (at - 1, at)
    assert_belongs_together(model, rows)
    done = KMeans(10, init=rows[:10], max_iter=max(model.n_iter_, 1)).fit(rows)
    if model.n_iter_:
        np.testing.assert_array_equal(model.cluster_centers_, done.cluster_centers_)


@pytest.mark.parametrize("at", [1, 2])
def test_ctrl_c_in_a_later_run_keeps_the_best_run(rows, at):
    runs = []

    def interrupt(record, centers):
        runs.append(record.iteration)
        if runs.count(1) == 2 and record.iteration == at:
            raise KeyboardInterrupt

    model = KMeans(10, init="random", n_init=5, random_state=0, callback=interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(rows)
    assert model.status_.startswith("interrupted")
    assert_belongs_together(model, rows)
    first = KMeans(10, init="random", n_init=1, random_state=0).fit(rows)
    assert model.inertia_ <= first.inertia_


def test_ctrl_c_in_a_callable_start_keeps_the_run_before(rows):
    calls = []

    def start(X, n_clusters, random_state):
        calls.append(n_clusters)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return X[:n_clusters]

    model = KMeans(10, init=start, n_init=3)
    with pytest.raises(KeyboardInterrupt):
        model.fit(rows)
    done = KMeans(10, init=rows[:10]).fit(rows)
    np.testing.assert_array_equal(model.labels_, done.labels_)
    assert model.inertia_ == done.inertia_


def test_ctrl_c_before_there_is_a_state_leaves_the_model_unfitted(rows):
    def start(X, n_clusters, random_state):
        raise KeyboardInterrupt

    model = KMeans(10, init=start)
    with pytest.raises(KeyboardInterrupt):
        model.fit(rows)
    assert not hasattr(model, "cluster_centers_")


def test_an_error_in_the_callback_is_the_users(rows):
    def fail(record, centers):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        KMeans(3, random_state=0, callback=fail).fit(rows)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", [7, 10, 20, 26, 33, 36])
def test_rounded_means_of_equal_rows_keep_no_run_going(seed, dtype):
    """Fewer different rows than clusters: a mean that is off by a rounding is not worth a move."""
    random = np.random.default_rng(seed)
    d = int(random.integers(2, 9))
    few = random.normal(size=(4, d)).astype(dtype)
    x, weight = few[random.integers(0, 4, 13)], random.exponential(10.0, size=13)
    start = random.normal(size=(7, d)).astype(dtype)
    model = KMeans(7, init=start, n_init=1, max_iter=200).fit(x, sample_weight=weight)
    assert model.n_iter_ < 10
    assert len(np.unique(model.labels_)) == len(np.unique(x, axis=0))
    assert model.inertia_ < 1e-10
