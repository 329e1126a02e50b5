"""Rule 1, exact labels: the nearest center by canonical distance, in fit and in every question."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
from cases import CASES, N, skip_where_slow, wide
from conftest import Backend
from engine import opened, problem_of

from kmeans_xp import KMeans
from kmeans_xp._assign import relabel

RUNGS = [
    (case, first)
    for case in CASES
    for first in ("exact", "float64", "float32")
    if first != "float32" or CASES[case]()[0].dtype == np.float32
]


def _fitted(xp: Backend, x: Any, start: Any, **options: Any) -> Any:
    model = KMeans(len(start), init=xp.array(start), n_init=1, tol=0, max_iter=4, **options)
    return model.fit(xp.array(x))


def _check(xp: Backend, x: Any, centers: Any, found: Any) -> None:
    found, centers = xp.host(found), xp.host(centers)
    assert found.tolist() == oracle.labels(x, centers)
    assert oracle.misjudged(x, centers, found) == []


@pytest.mark.parametrize("case", CASES)
def test_labels_are_the_nearest_centers(xp: Backend, case: str) -> None:
    skip_where_slow(xp, case)
    x, start = CASES[case]()
    model = _fitted(xp, x, start)
    _check(xp, x, model.cluster_centers_, model.labels_)
    fresh = np.roll(x, 1, axis=1)[: N // 2]
    _check(xp, fresh, model.cluster_centers_, model.predict(xp.array(fresh)))


@pytest.mark.parametrize(("case", "first"), RUNGS)
def test_any_first_precision_gives_the_nearest_of_any_centers(
    xp: Backend, case: str, first: str
) -> None:
    skip_where_slow(xp, case)
    x, start = CASES[case]()
    with opened(xp):
        problem = problem_of(xp, x, k=len(start), first=first)
        centers = xp.array(start)
        problem.cover(centers)
        relabel(problem, problem.nearest_to(centers))
        _check(xp, x, centers, problem.source.collect("labels"))


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("huge", "tiny")])
def test_score_is_the_exact_sum(xp: Backend, case: str) -> None:
    skip_where_slow(xp, case)
    x, start = CASES[case]()
    model = _fitted(xp, x, start)
    centers = xp.host(model.cluster_centers_)
    wanted = oracle.inertia(x, centers, oracle.labels(x, centers))
    assert -model.score(xp.array(x)) == pytest.approx(wanted, rel=3e-16, abs=0)


@pytest.mark.parametrize(("case", "limit"), [("huge", float("inf")), ("tiny", 0.0)])
def test_sums_of_squares_beyond_float64_become_infinity_or_zero(
    xp: Backend, case: str, limit: float
) -> None:
    skip_where_slow(xp, case)
    x, start = CASES[case]()
    model = _fitted(xp, x, start)
    assert model.inertia_ == limit
    assert -model.score(xp.array(x)) == limit


@pytest.mark.parametrize("case", CASES)
def test_transform_gives_the_distances(xp: Backend, case: str) -> None:
    skip_where_slow(xp, case)
    x, start = CASES[case]()
    model = _fitted(xp, x, start)
    centers = xp.host(model.cluster_centers_)
    wanted = np.sqrt(np.asarray(oracle.distances(x, centers))) * oracle.unit_of(x, centers)
    precision = 1e-6 if x.dtype == np.float32 else 1e-9
    found = xp.host(model.transform(xp.array(x)))
    assert found.dtype == x.dtype
    np.testing.assert_allclose(found, wanted, rtol=precision, atol=0)


@pytest.mark.parametrize("n", [50, 20_000])
def test_a_far_row_changes_no_other_label(n: int) -> None:
    """Neither the few rows judged directly nor the many judged by products share its scale."""
    x = 1e-6 * np.random.default_rng(0).normal(size=(n, 2))
    model = KMeans(3, random_state=0, n_init=1).fit(x)
    more = np.concatenate([x, [[1e300, 1e300], [1e160, 0.0]]])
    assert model.predict(more)[:n].tobytes() == model.labels_.tobytes()


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9])
def test_transform_is_right_close_to_a_center(xp: Backend, gap: float) -> None:
    """There the terms of |x|^2 - 2 x.c + |c|^2 cancel, and nothing of a product is left."""
    start = np.random.default_rng(0).normal(size=(5, 4))
    x = np.concatenate([start + gap * 2.0**-i * np.eye(5, 4) for i in range(3)])
    model = _fitted(xp, x, start)
    centers = xp.host(model.cluster_centers_)
    wanted = np.sqrt(np.asarray(oracle.distances(x, centers))) * oracle.unit_of(x, centers)
    np.testing.assert_allclose(xp.host(model.transform(xp.array(x))), wanted, rtol=1e-9)


@pytest.mark.parametrize("d", [1, 2, 3, 7, 8, 9, 63, 64, 65, 300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_labels_for_few_and_many_features(xp: Backend, d: int, dtype: str) -> None:
    if xp.id == "jax" and d not in (1, 65):
        pytest.skip("JAX compiles each width slowly")
    x, start = wide(d, d, dtype)
    with opened(xp):
        problem = problem_of(xp, x, k=len(start), first=dtype)
        centers = xp.array(start)
        relabel(problem, problem.nearest_to(centers))
        _check(xp, x, centers, problem.source.collect("labels"))


@pytest.mark.parametrize(("trained", "asked"), [("float64", "float32"), ("float32", "float64")])
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_other_float_dtype_at_predict(xp: Backend, trained: str, asked: str, shift: float) -> None:
    x, start = CASES["blobs"]()
    x, start = x + shift, start + shift
    model = _fitted(xp, x.astype(trained), start.astype(trained))
    rows = x.astype(asked)
    centers = xp.host(model.cluster_centers_)
    assert centers.dtype == trained
    _check(xp, rows, model.cluster_centers_, model.predict(xp.array(rows)))
    wanted = oracle.inertia(rows, centers, oracle.labels(rows, centers))
    assert -model.score(xp.array(rows)) == pytest.approx(wanted, rel=3e-16, abs=0)


def test_equal_centers_are_scored_once_and_the_lowest_index_wins(xp: Backend) -> None:
    x, start = CASES["repeated_centers"]()
    with opened(xp):
        problem = problem_of(xp, x, k=len(start), first="float64")
        centers = xp.array(start)
        open_rows = relabel(problem, problem.nearest_to(centers)).open
        found = xp.host(problem.source.collect("labels"))
    assert set(found.tolist()) == {0, 1, 2}
    # were repeats not set aside, every row would be left open
    assert open_rows < N // 100


def test_rows_between_centers_go_to_the_lowest_index(xp: Backend) -> None:
    if xp.id == "jax":
        pytest.skip("JAX compiles other shapes slowly: the lattice stands for this")
    x = np.asarray([[0.0, 0.0]] * 5 + [[1.0, 1.0]] * 4)
    start = np.asarray([[2.0, 0.0], [0.0, 2.0], [-2.0, 0.0], [0.0, -2.0]])
    with opened(xp):
        for first in ("exact", "float64"):
            problem = problem_of(xp, x, k=4, first=first)
            centers = xp.array(start)
            problem.cover(centers)
            relabel(problem, problem.nearest_to(centers))
            assert xp.host(problem.source.collect("labels")).tolist() == [0] * 9
