"""Rows that are passed over: the answer is that of the full pass, and every bound is true."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import oracle
import pytest
from cases import CASES, K, skip_where_slow
from conftest import Backend, make_backend
from engine import opened, problem_of, solve

from kmeans_xp import _bounds
from kmeans_xp._distances import squared_distances
from kmeans_xp._empty import repair
from kmeans_xp._outcome import Rules
from kmeans_xp._passes import sweep
from kmeans_xp._pruning import Pruner

LOOPS = ("numpy", "reference", "numba", "cuda")


def _need(kernel: str) -> None:
    if kernel == "numba":
        pytest.importorskip("numba", reason="numba is not installed")


def _summary(xp: Backend, problem: Any, start: Any, rules: Rules) -> list[Any]:
    result = solve(problem, xp.array(start), rules)
    return [
        xp.host(result.labels).tolist(),
        xp.host(result.centers).tolist(),
        result.inertia,
        result.n_iter,
        result.status,
        [(record.changed, record.shift) for record in result.history],
    ]


def _same(xp: Backend, x: Any, start: Any, k: int, rules: Rules, **options: Any) -> None:
    with opened(xp):
        full, pruned = (
            _summary(xp, problem_of(xp, x, k=k, prunes=prunes, **options), start, rules)
            for prunes in (False, True)
        )
    assert pruned == full


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("max_iter", [None, 3])
def test_pruning_changes_nothing(xp: Backend, case: str, max_iter: int | None) -> None:
    skip_where_slow(xp, case)
    x, start = CASES[case]()
    if xp.id == "jax":
        if max_iter is not None:
            pytest.skip("on jax, which compiles every shape anew, one limit stands for both")
        max_iter = 6
    for first in ("float64", "float32"):
        _same(xp, x, start, K, Rules(max_iter, 0.0), first=first, block_rows=400)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kernel", LOOPS)
def test_pruning_changes_nothing_with_any_kernel(case: str, kernel: str) -> None:
    _need(kernel)
    x, start = CASES[case]()
    numpy = make_backend("numpy")
    expected = None
    for first, rows in (("float64", 4096), ("float32", 100), ("float32", 1000)):
        with opened(numpy):
            problem = problem_of(numpy, x, k=K, first=first, block_rows=rows, kernel=kernel)
            found = _summary(numpy, problem, start, Rules(None, 0.0))
        expected = expected or found
        assert found == expected


def _crowded(seed: int, d: int, dtype: str) -> tuple[Any, Any]:
    """Rows without clusters and many centers: near ties in every sweep, for many sweeps."""
    random = np.random.default_rng(seed)
    x = random.uniform(size=(6000, d)).astype(dtype) + np.asarray(30, dtype)
    return x, x[:60].copy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("d", [1, 2, 5, 33])
@pytest.mark.parametrize("kernel", LOOPS)
def test_rows_that_are_settled_late_keep_no_bound_of_another_center(
    kernel: str, d: int, dtype: str
) -> None:
    _need(kernel)
    x, start = _crowded(d, d, dtype)
    rules = Rules(60, 0.0)
    if kernel == "cuda":
        x, start, rules = x[::6], start[:40], Rules(20, 0.0)
    k = len(start)
    _same(make_backend("numpy"), x, start, k, rules, first="float32", kernel=kernel)


@pytest.mark.parametrize("kernel", LOOPS)
def test_a_relocated_row_is_looked_at_anew(kernel: str) -> None:
    _need(kernel)
    random = np.random.default_rng(3)
    x = random.normal(size=(2000, 3)) + 5 * random.integers(0, 4, size=(2000, 1))
    start = np.concatenate([x[:6], x[:4] + 1e4])
    for rule in ("farthest", "random"):
        rules = Rules(None, 0.0, rule)
        _same(make_backend("numpy"), x, start, 10, rules, first="float64", kernel=kernel)


def test_a_relocated_row_keeps_no_bounds() -> None:
    """They speak of the cluster that it left."""
    numpy = make_backend("numpy")
    x = np.random.default_rng(4).normal(size=(1000, 3))
    start = np.concatenate([x[:3], [[1e3, 1e3, 1e3]]])
    with opened(numpy):
        problem = problem_of(numpy, x, k=4, first="float64", block_rows=100)
        problem.cover(start)
        nearest = problem.nearest_to(start)
        stats = sweep(problem, nearest, 4)
        assert all("bounds" in block.state for block in problem.source.blocks)
        assert repair(problem, nearest, stats.totals, "farthest", (0, 1)).moved == 1
    [block] = [block for block in problem.source.blocks if "bounds" not in block.state]
    assert (block.state["labels"] == 3).sum() == 1


def _drifting(x: Any, centers: Any) -> Iterator[Any]:
    """Centers as they move in a loop: together, one by one, back and forth, not at all."""
    random = np.random.default_rng(0)
    for step in range(8):
        moves = random.normal(size=centers.shape) * np.ptp(x, axis=0) * 10.0 ** -(step % 4 + 1)
        if step % 3 == 1:
            moves[1:] = 0.0
        centers = (centers + moves).astype(x.dtype)
        yield centers


@pytest.mark.parametrize("case", ["blobs", "blobs32", "two_groups", "shifted64", "far_center32"])
@pytest.mark.parametrize("kernel", LOOPS)
def test_every_bound_is_true(case: str, kernel: str) -> None:
    """What rows keep, against exact distances, while the centers move and labels stay."""
    _need(kernel)
    numpy = make_backend("numpy")
    x, centers = CASES[case]()
    x = x[::5]
    with opened(numpy) as context:
        first = "float64" if case == "two_groups" else "float32"
        problem = problem_of(numpy, x, k=K, first=first, kernel=kernel)
        drift = _bounds.no_drift(K, "float32", x, xp=context.xp)
        state: dict[str, Any] = {}
        nearest = problem.nearest_to(centers)
        problem.kernel.look(x, nearest, drift, state)
        labels, bounds = state["labels"], state["bounds"]
        scored = np.isfinite(bounds.slack)
        assert scored.any()
        for moved in _drifting(x, centers):
            squared = squared_distances(centers, moved, nearest.scale, xp=context.xp)
            drift = _bounds.drifted(drift, squared, xp=context.xp)
            centers = moved
            _check(x, centers, labels, bounds, drift, scored)


def _check(x: Any, centers: Any, labels: Any, bounds: Any, drift: Any, scored: Any) -> None:
    spent, own, rival = drift.tables[:, 1, :]
    _, bits = oracle.whole(np.concatenate([x, centers]).astype(np.float64))
    for row, exact in enumerate(oracle.exact_distances(x, centers)):
        if not scored[row]:
            continue
        distances = [math.sqrt(value) * 2.0**bits for value in exact]
        mine = distances.pop(labels[row])
        assert mine <= bounds.upper[row] + own[labels[row]]
        assert min(distances) >= bounds.lower[row] - rival[labels[row]]
        if bounds.slack[row] > spent[labels[row]]:
            assert mine < min(distances)


@pytest.mark.parametrize("kernel", LOOPS)
def test_most_rows_of_clear_clusters_are_passed_over(kernel: str) -> None:
    _need(kernel)
    numpy = make_backend("numpy")
    random = np.random.default_rng(5)
    x = random.normal(size=(3000, 4)) + 20 * random.integers(0, 3, size=(3000, 1))
    start = np.asarray([x[x[:, 0] < 10][0], x[x[:, 0] > 30][0], x[np.abs(x[:, 0] - 20) < 5][0]])
    with opened(numpy):
        problem = problem_of(numpy, x, k=3, first="float32", kernel=kernel)
        kernel_ = problem.kernel
        drift, state = _bounds.no_drift(3, "float32", x, xp=np), {}
        assert kernel_.look(x, problem.nearest_to(start), drift, state)[0] == 3000
        moved = start + 0.5
        squared = squared_distances(start, moved, problem.frame.scale, xp=np)
        drift = _bounds.drifted(drift, squared, xp=np)
        scored, _ = kernel_.look(x, problem.nearest_to(moved), drift, state)
    assert scored == 0


def test_twins_give_no_proof(xp: Backend) -> None:
    """Equal centers may part: rows of the first know nothing of the second's distance."""
    x = np.asarray([[0.0, 0.0], [0.1, 0.0], [5.0, 5.0], [5.1, 5.0]])
    centers = np.asarray([[0.0, 0.0], [5.0, 5.0], [0.0, 0.0]])
    with opened(xp) as context:
        problem = problem_of(xp, x, k=3, first="float64")
        drift = _bounds.no_drift(3, "float64", xp.array(centers), xp=context.xp)
        state: dict[str, Any] = {}
        problem.kernel.look(xp.array(x), problem.nearest_to(xp.array(centers)), drift, state)
        slack = xp.host(state["bounds"].slack).tolist()
    assert slack[:2] == [-math.inf, -math.inf]
    assert min(slack[2:]) > 0


def test_bounds_pause_where_they_rule_out_too_little() -> None:
    numpy = make_backend("numpy")
    x = np.random.default_rng(0).normal(size=(50, 2))
    with opened(numpy):
        nearest = problem_of(numpy, x, k=4, first="float64").nearest_to(x[:4])
    pruner = Pruner(True, np)
    used = []
    for _ in range(60):
        drift, is_new = pruner.drift_for(nearest)
        used.append(drift is not None and not is_new)
        pruner.learn(50, 50)
        pruner.moved(np.ones(4))
    assert 3 < sum(used) < 30
    pruner.begin()
    for scored in (50, 5, 5, 5):
        drift, is_new = pruner.drift_for(nearest)
        pruner.learn(scored, 50)
        pruner.moved(np.ones(4))
    assert drift is not None
    assert not is_new
    assert Pruner(False, np).drift_for(nearest) == (None, False)
