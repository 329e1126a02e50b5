"""The lower bound: never above the optimum, and near it where it can be."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pytest
import threadpoolctl
from conftest import Backend, make_backend
from engine import opened, problem_of

from kmeans_xp import KMeans, load_model, save_model
from kmeans_xp._lower_bound import lower_bound


def bound(
    x: Any, k: int, weight: Any = None, backend: Backend | None = None, **plan: Any
) -> float | None:
    backend = backend or make_backend("numpy")
    with opened(backend):
        problem = problem_of(backend, x, weight, k=k, **plan)
        with problem.source.working():
            return lower_bound(problem, k)


@functools.cache
def partitions(n: int, k: int) -> list[Any]:
    return [np.asarray(labels) for labels in itertools.product(range(k), repeat=n - 1)]


def optimum(x: Any, k: int, weight: Any) -> float:
    """The least inertia of all partitions."""
    best = np.inf
    for labels in partitions(len(x), k):
        labels = np.append(labels, 0)
        total = 0.0
        for cluster in range(k):
            mine = weight * (labels == cluster)
            if mine.sum() > 0.0:
                middle = (mine[:, None] * x).sum(axis=0) / mine.sum()
                total += float((mine[:, None] * (x - middle) ** 2).sum())
        best = min(best, total)
    return best


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(("k", "d"), [(1, 3), (2, 2), (2, 5), (3, 4)])
@pytest.mark.parametrize("unit", [1.0, 1e-100, 1e100])
def test_no_clustering_is_below(k: int, d: int, weighted: bool, unit: float) -> None:
    random = np.random.default_rng([k, d])
    for far in (0.0, 1e3):
        x = random.normal(size=(7, d)) + far
        # one direction that matters, where the bound is tight
        x[:, 0] *= 30.0
        weight = random.random(7) * 5.0 if weighted else np.ones(7)
        least = optimum(x, k, weight)
        found = bound(x * unit, k, weight if weighted else None)
        assert found is not None
        assert 0.0 <= found / unit / unit <= least
        assert k > 1 or found / unit / unit > (0.99 if weighted else 0.9999) * least
        assert k < 3 or d < 4 or far or found > 0.0


def test_it_is_the_sum_of_the_smallest_eigenvalues() -> None:
    random = np.random.default_rng(0)
    true = random.normal(size=(10, 64)) * 4
    x = true[random.integers(0, 10, 600)] + random.normal(size=(600, 64))
    values = np.linalg.eigvalsh(np.cov(x.T, bias=True) * len(x))
    found = bound(x, 10)
    expected = float(values[: 64 - 9].sum())
    assert found is not None
    assert 0.999 * expected < found < expected
    inertia = KMeans(10, random_state=0, search="auto").fit(x).inertia_
    assert 0.8 * inertia < found < inertia


def test_far_rows_that_weigh_nothing_do_not_matter() -> None:
    x = np.random.default_rng(1).normal(size=(50, 4))
    weight = np.ones(51)
    weight[50] = 0.0
    found = bound(np.concatenate([x, [[1e200] * 4]]), 2, weight)
    alone = bound(x, 2, np.ones(50))
    assert found is not None
    assert alone is not None
    assert found == pytest.approx(alone, rel=1e-2)


def test_where_it_says_nothing_or_costs_too_much_there_is_none() -> None:
    x = np.random.default_rng(1).normal(size=(50, 4))
    assert bound(x, 5) is None
    assert bound(x * 1e140, 2) is None
    assert bound(np.random.default_rng(1).normal(size=(5, 3000)), 2) is None
    assert bound(np.repeat(x[:3], 4, axis=0), 3) == 0.0


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_libraries_and_blocks_agree(xp: Backend, weighted: bool) -> None:
    if xp.id == "jax" and weighted:
        pytest.skip("JAX compiles this for seconds: once is enough")
    random = np.random.default_rng(2)
    x = random.normal(size=(300, 6)).astype(np.float32)
    weight = random.random(300) if weighted else None
    expected = bound(x, 3, weight)
    assert bound(x, 3, weight, xp) == expected
    if xp.id == "numpy":
        assert bound(x, 3, weight, first="float32", block_rows=37, threads=3) == expected


def test_the_model_has_it_where_it_searched(tmp_path: Any) -> None:
    x = np.random.default_rng(3).normal(size=(80, 5))
    assert KMeans(3, random_state=0, search=None).fit(x).lower_bound_ is None
    model = KMeans(3, random_state=0, search="auto").fit(x)
    assert 0.0 < model.lower_bound_ <= model.inertia_
    assert model.lower_bound_ == bound(x, 3)
    save_model(model, tmp_path / "model.npz")
    assert load_model(tmp_path / "model.npz").lower_bound_ == model.lower_bound_


def test_the_bound_does_not_wait_for_threads_of_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    values = np.linalg.eigvalsh

    def spied(matrix: Any) -> Any:
        pools = threadpoolctl.threadpool_info()
        seen.extend(pool["num_threads"] for pool in pools if pool["user_api"] == "blas")
        return values(matrix)

    monkeypatch.setattr(np.linalg, "eigvalsh", spied)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        assert bound(np.random.default_rng(0).normal(size=(50, 5)), 3) is not None
    assert set(seen) <= {1}
