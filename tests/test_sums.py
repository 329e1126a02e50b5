"""Rule 2, order-free sums: centers are the exact means, rounded once, of any number of rows."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import oracle
import pytest
from cases import CASES, skip_where_slow
from conftest import Backend, make_backend
from engine import opened, problem_of, solve

from kmeans_xp import KMeans
from kmeans_xp._outcome import Rules

ONE_STEP = Rules(max_iter=1, tol=0.0)


def _one_step(xp: Backend, x: Any, start: Any, weight: Any = None) -> tuple[Any, list[int]]:
    """Centers after one update, and the labels that they are the means of."""
    with opened(xp):
        problem = problem_of(xp, x, weight, k=len(start))
        centers = xp.host(solve(problem, xp.array(start), ONE_STEP).centers)
    return centers, oracle.labels(x, start)


def _check_means(x: Any, centers: Any, labels: Any, weight: Any = None) -> None:
    dtype = centers.dtype
    wanted = oracle.means(x, labels, len(centers), weight)
    for center, mean in zip(centers, wanted, strict=True):
        assert mean is not None
        if weight is None:
            # rounded to float64, then to the result: the oracle's own bits
            assert center.tolist() == oracle.rounded(mean, dtype)
        # the sum of the weights is rounded, too
        assert oracle.ulps(center, mean, dtype) <= (0.501 if weight is None else 1.5)


# an empty cluster is moved in this one, so that its first centers are no plain means
MEANS = [case for case in CASES if case not in ("far_center32", "repeated_centers")]


@pytest.mark.parametrize("case", MEANS)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_centers_are_the_exact_means_rounded_once(xp: Backend, case: str, weighted: bool) -> None:
    skip_where_slow(xp, case)
    x, start = CASES[case]()
    weight = np.random.default_rng(0).exponential(size=len(x)) if weighted else None
    centers, labels = _one_step(xp, x, start, weight)
    _check_means(x, centers, labels, weight)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [0.1, -1 / 3, 1e-7, 12345.678, 1e4 / 3])
def test_the_mean_of_equal_values_is_that_value(dtype: str, value: float) -> None:
    for n in (1, 3, 7, 49, 1000, 4097):
        x = np.full((n, 2), value, dtype=dtype)
        model = KMeans(1, init=x[:1], n_init=1).fit(x)
        assert model.cluster_centers_.tobytes() == x[:1].tobytes()
        assert model.inertia_ == 0.0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_cluster_of_one_row_is_that_row(xp: Backend, dtype: str) -> None:
    if xp.id == "jax":
        pytest.skip("JAX compiles forty centers slowly")
    x = np.random.default_rng(8).normal(size=(40, 3)).astype(dtype)
    centers, labels = _one_step(xp, x, x)
    assert labels == list(range(40))
    assert centers.tobytes() == x.tobytes()


@pytest.mark.parametrize("outlier", [1e6, 1e9, 1e15])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_far_row_leaves_the_other_means_exact(dtype: str, outlier: float) -> None:
    """The grid of the sums is as wide as the farthest row; the others must keep their bits."""
    x = np.random.default_rng(9).normal(size=(60, 2))
    x[:30] += 5
    x[-1] = outlier
    x = x.astype(dtype)
    start = x[[0, 30, 59]]
    centers, labels = _one_step(make_backend("numpy"), x, start)
    _check_means(x, centers, labels)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_small_cluster_near_the_origin_keeps_its_bits(dtype: str) -> None:
    random = np.random.default_rng(10)
    x = np.concatenate([1000 + random.normal(size=(500, 2)), 1e-5 * random.normal(size=(4, 2))])
    x = x.astype(dtype)
    start = x[[0, -1]]
    centers, labels = _one_step(make_backend("numpy"), x, start)
    _check_means(x, centers, labels)


def test_two_million_float32_rows_do_not_drift() -> None:
    """Summed in float32, one after the other, these means are off by parts in a thousand."""
    random = np.random.default_rng(11)
    n = 2_000_000
    x = (random.random(size=(n, 1), dtype=np.float32) + np.float32(1000.1)).astype(np.float32)
    x[n // 2 :] += np.float32(500)
    model = KMeans(2, init=x[[0, n - 1]], n_init=1, max_iter=2).fit(x)
    for cluster in (0, 1):
        rows = x[model.labels_ == cluster, 0].astype(np.float64)
        # float32 rows times 2**20 are integers, and int64 adds them exactly
        mean = Fraction(int((rows * 2**20).astype(np.int64).sum()), 2**20 * len(rows))
        assert oracle.ulps(model.cluster_centers_[cluster], [mean], np.float32) <= 0.5001


def test_long_runs_of_changes_leave_no_trace(xp: Backend) -> None:
    """Sums are kept up to date from the rows that moved; the end is as if summed afresh."""
    if xp.id == "jax":
        pytest.skip("JAX compiles each number of moved rows")
    random = np.random.default_rng(12)
    x = random.uniform(size=(2000, 3)).astype(np.float32)
    weight = random.exponential(size=2000)
    with opened(xp):
        problem = problem_of(xp, x, weight, k=12, first="float32", block_rows=300)
        result = solve(problem, xp.array(x[:12]))
    assert result.n_iter > 10
    _check_means(x, xp.host(result.centers), xp.host(result.labels), weight)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_variance_does_not_depend_on_the_order_and_is_right(dtype: str) -> None:
    numpy = make_backend("numpy")
    random = np.random.default_rng(13)
    x = (random.normal(size=(999, 3)) * [1, 10, 0.1] + [100, 0, -5]).astype(dtype)
    weight = random.integers(0, 4, size=999).astype(float)
    order = random.permutation(999)
    found = [
        problem_of(numpy, x[rows], weight[rows], k=3, variance=True).summary.variance
        for rows in (np.arange(999), order)
    ]
    assert found[0] == found[1]
    copies = np.repeat(x.astype(np.float64), weight.astype(int), axis=0)
    assert found[0] == pytest.approx(copies.var(axis=0).mean(), rel=1e-12)
