"""What splits would gain and merges cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from engine import problem_of, solve
from search_cases import TRUE, planted

from kmeans_xp._random import Purpose
from kmeans_xp._split import Outlook, outlook


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
