"""Rows that pay in another cluster: found as by plain loops, moved exactly, the same everywhere."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from cases import CASES
from conftest import Backend, make_backend
from engine import opened, problem_of, solve
from search_cases import RULES, found_by
from sklearn.datasets import load_iris

from kmeans_xp import KMeans
from kmeans_xp._effort import Effort
from kmeans_xp._exchange import Exchanges, exchanges
from kmeans_xp._search import search

SEEN = ["blobs32", "lattice", "repeated_rows", "far_center"]


def looked(
    backend: Backend, case: str, weighted: bool = False, **plan: Any
) -> tuple[Any, Any, Any, Exchanges | None, Any]:
    """Rows, weights, labels of a converged run, the look at them, and means after all moves."""
    if case == "few_pay":
        x = np.random.default_rng(8).normal(size=(90, 5)).astype(np.float32)
        start = x[:9]
    else:
        x, start = CASES[case]()
    weight = np.random.default_rng(5).integers(0, 5, len(x)) / 2.0 if weighted else None
    with opened(backend):
        problem = problem_of(backend, x, weight, k=len(start), **plan)
        result = solve(problem, backend.array(start), RULES)
        with problem.source.working():
            view = exchanges(problem, result.centers, result.labels)
            after = None if view is None else view.after(problem, len(view.rows))
        return x, weight, result, view, after


def by_loops(x: Any, weight: Any, labels: Any, k: int) -> dict[int, tuple[float, int]]:
    """What each row gains where it gains most."""
    x = x.astype(np.float64)
    weight = np.ones(len(x)) if weight is None else weight
    mass = np.bincount(labels, weight, k)
    means = np.stack(
        [(weight[:, None] * x)[labels == j].sum(axis=0) / max(mass[j], 1e-300) for j in range(k)]
    )
    found = {}
    for row, own in enumerate(labels.tolist()):
        w = weight[row]
        if w == 0.0 or mass[own] <= w:
            continue
        apart = ((x[row] - means) ** 2).sum(axis=1)
        gains = w * (mass[own] / (mass[own] - w) * apart[own] - mass / (mass + w) * apart)
        gains[(mass == 0.0) | (np.arange(k) == own)] = -np.inf
        if gains.max() > 1e-9 * w * apart[own]:
            found[row] = float(gains.max()), int(gains.argmax())
    return found


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("first", ["float32", "float64", "exact"])
@pytest.mark.parametrize("case", ["blobs", "blobs32"])
def test_rows_are_those_that_plain_loops_find(case: str, first: str, weighted: bool) -> None:
    numpy = make_backend("numpy")
    x, weight, result, view, after = looked(numpy, case, weighted, first=first, block_rows=97)
    k = len(result.centers)
    expected = by_loops(x, weight, result.labels, k)
    assert expected
    assert view is not None
    found = dict(zip(view.rows.tolist(), view.targets.tolist(), strict=True))
    assert found == {row: target for row, (_, target) in expected.items()}
    gains = [expected[row][0] for row in view.rows.tolist()]
    assert gains == pytest.approx(sorted(gains, reverse=True))
    labels = result.labels.copy()
    np.testing.assert_array_equal(labels[view.rows], view.sources)
    labels[view.rows] = view.targets
    weight = np.ones(len(x)) if weight is None else weight
    for cluster in range(k):
        mine = weight * (labels == cluster)
        if mine.sum() > 0:
            middle = (mine[:, None] * x).sum(axis=0) / mine.sum()
            np.testing.assert_allclose(after[cluster], middle, rtol=1e-5)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_the_row_that_pays_most_lowers_the_inertia_by_its_gain(weighted: bool) -> None:
    x, start = CASES["blobs"]()
    weight = np.random.default_rng(5).integers(0, 5, len(x)) / 2.0 if weighted else None
    problem = problem_of(make_backend("numpy"), x, weight, k=len(start))
    plain = solve(problem, start, RULES)
    view = exchanges(problem, plain.centers, plain.labels)
    assert view is not None
    row = int(view.rows[0])
    gain, _ = by_loops(x, weight, plain.labels, len(start))[row]
    labels = plain.labels.copy()
    labels[row] = view.targets[0]
    centers = view.after(problem, 1)
    apart = ((x - centers[labels]) ** 2).sum(axis=1)
    left = float((apart if weight is None else weight * apart).sum())
    assert plain.inertia - left == pytest.approx(gain, rel=1e-6)
    # the row is nearest there, so that Lloyd's loop keeps it
    assert np.argmin(((x[row] - centers) ** 2).sum(axis=1)) == view.targets[0]


def bits(backend: Backend, view: Exchanges | None, after: Any) -> Any:
    if view is None:
        return None
    parts = (view.rows, view.sources, view.targets, backend.host(after))
    return [part.tobytes() for part in parts]


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_libraries_and_blocks_agree(xp: Backend, weighted: bool) -> None:
    if xp.id == "jax":
        pytest.skip("JAX compiles this for tens of seconds")
    numpy = make_backend("numpy")
    for case in SEEN:
        expected = bits(numpy, *looked(numpy, case, weighted)[3:])
        assert bits(xp, *looked(xp, case, weighted)[3:]) == expected
        if xp.id == "numpy":
            for first in ("float64", "exact"):
                plan = {"first": first, "block_rows": 97, "threads": 3}
                assert bits(xp, *looked(xp, case, weighted, **plan)[3:]) == expected


def test_the_optimum_of_iris_is_found_where_no_swap_leads_to_it() -> None:
    x = load_iris().data
    found = [KMeans(3, random_state=seed, search="auto").fit(x) for seed in range(6)]
    plain = [KMeans(3, random_state=seed, search=None).fit(x).inertia_ for seed in range(6)]
    assert max(plain) > 78.855
    assert {round(model.inertia_, 5) for model in found} == {78.85144}
    assert any(trial.exchanges and trial.kept for model in found for trial in model.trials_)


def test_two_clusters_have_no_swap_but_rows_that_change() -> None:
    # 3 is nearer to the mean of 0 and 3 than to 5, and belongs there all the same
    x = np.asarray([[0.0, 0.0], [3.0, 0.0], *[[5.0, 0.0]] * 10])
    plain, best, trials = found_by(
        make_backend("numpy"), x, np.asarray([[1.5, 0.0], [5.0, 0.0]]), effort=Effort()
    )
    assert plain.inertia == 4.5
    assert best.inertia == pytest.approx(40.0 / 11.0)
    assert [(trial.swaps, trial.exchanges, trial.kept) for trial in trials] == [(0, 1, True)]


def test_fewer_rows_go_where_all_together_lower_nothing() -> None:
    random = np.random.default_rng(3)
    less = 0
    for _ in range(4):
        x = random.normal(size=(100, 10))
        problem = problem_of(make_backend("numpy"), x, k=40, variance=True)
        plain = solve(problem, x[:40], RULES)
        with problem.source.working():
            best, trials = search(problem, plain, RULES, Effort(), 1)
        assert best.inertia <= plain.inertia
        told = [trial for trial in trials if trial.exchanges]
        pairs = itertools.pairwise(told)
        less += sum(b.kept and not a.kept and b.exchanges == a.exchanges // 8 for a, b in pairs)
    assert less
