"""A run goes on from a snapshot between any two iterations to the same end, bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import CASES
from conftest import Backend, make_backend
from engine import opened, problem_of, solve

from kmeans_xp import CheckpointError
from kmeans_xp._effort import Effort
from kmeans_xp._outcome import Rules, Snapshot
from kmeans_xp._progress import Progress, pack, unpack
from kmeans_xp._search import search
from kmeans_xp._solver import labels_of
from kmeans_xp._trials import Stage, Trial


def bits(backend: Backend, result: Any) -> tuple[Any, ...]:
    labels, centers = backend.host(result.labels), backend.host(result.centers)
    numbers = result.inertia, result.n_iter, result.history, result.status, result.n_distinct
    return labels.tolist(), centers.tobytes(), *numbers


def away(x: Any, k: int) -> Any:
    """Centers among the rows and far outside of them, most of which no row is nearest to."""
    random = np.random.default_rng(4)
    start = x[random.choice(len(x), k, replace=False)].astype(np.float64)
    start[k // 2 :] += 3.0 * np.ptp(x, axis=0) * random.normal(size=(k - k // 2, x.shape[1]))
    return start.astype(x.dtype)


def go_on_from_each(
    backend: Backend, x: Any, weight: Any, start: Any, rules: Rules, **options: Any
) -> list[Snapshot]:
    """Assert that each snapshot of a run leads to its end; return the snapshots."""

    def problem() -> Any:
        return problem_of(backend, x, weight, k=k, variance=True, **options)

    k = len(start)
    taken: list[Snapshot] = []
    start = backend.array(start)
    whole = solve(problem(), start, replace(rules, keep=taken.append), seed=5)
    wanted = bits(backend, whole)
    for snapshot in taken:
        assert bits(backend, solve(problem(), snapshot, rules, seed=5)) == wanted
    labels = labels_of(problem(), whole.centers)
    assert backend.host(labels).tolist() == wanted[0]
    return taken


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rule", ["farthest", "random"])
def test_each_case(case: str, rule: str) -> None:
    x, start = CASES[case]()
    numpy = make_backend("numpy")
    weight = np.random.default_rng(1).exponential(size=len(x)) if rule == "random" else None
    with opened(numpy):
        go_on_from_each(numpy, x, weight, start, Rules(12, 1e-4, rule))


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("rule", ["farthest", "random"])
def test_centers_outside_of_the_rows_that_lose_all(rule: str, weighted: bool) -> None:
    x = np.random.default_rng(3).normal(size=(300, 3)).astype(np.float32)
    weight = np.random.default_rng(1).exponential(size=len(x)) if weighted else None
    numpy = make_backend("numpy")
    with opened(numpy):
        taken = go_on_from_each(
            numpy, x, weight, away(x, 12), Rules(None, 0.0, rule), block_rows=70
        )
    assert taken[1].is_wide
    assert taken[-1].history[-1].iteration > 5
    assert not taken[-1].is_wide


def test_on_every_library(xp: Backend) -> None:
    if xp.id == "jax":
        pytest.skip("JAX compiles the loop for ten seconds: its own tests hold it to the others")
    x, _ = CASES["blobs"]()
    with opened(xp):
        taken = go_on_from_each(xp, x, None, away(x, 5), Rules(2, 0.0))
    assert taken[1].is_wide


@pytest.mark.parametrize("scale", [1e-155, 1e160])
def test_distances_are_measured_as_before(scale: float) -> None:
    """Far centers make another unit of distances, until they are among the rows."""
    x = np.random.default_rng(3).normal(size=(300, 3)) * scale
    start = away(x, 12) * 1e90
    with opened(make_backend("numpy")):
        go_on_from_each(make_backend("numpy"), x, None, start, Rules(None, 0.0))


def test_the_next_start_is_measured_as_if_it_were_the_first() -> None:
    few = np.random.default_rng(3).normal(size=(4, 3))
    x, start = np.repeat(few, 20, axis=0), np.concatenate([few, few[:2] + 50.0])
    numpy = make_backend("numpy")
    with opened(numpy):
        problem = problem_of(numpy, x, k=6)
        before = problem.frame.reach
        result = solve(problem, start, Rules(3, 0.0))
        # no row gains by a center of its own, so two stay where they were
        assert result.centers[4:].tolist() == start[4:].tolist()
        assert (problem.is_wide, problem.frame.reach) == (False, before)


@pytest.mark.parametrize("before", [None, 1], ids=["endless", "thrifty"])
@pytest.mark.parametrize("effort", [Effort(), Effort(40)])
def test_a_search_goes_on_from_each_stage(effort: Effort, before: int | None) -> None:
    numpy, x = make_backend("numpy"), np.random.default_rng(0).normal(size=(400, 2))
    rules, stages = Rules(None, 1e-4), list[Stage]()
    with opened(numpy):
        found = solve(problem_of(numpy, x, k=12, variance=True), x[:12], rules)
        problem = problem_of(numpy, x, k=12, variance=True)
        best, trials = search(problem, found, rules, effort, 3, keep=stages.append, before=before)
        assert len(stages) > 2
        earlier = (Trial(12, 1, 9.0, False),)  # as of the best centers on a line
        for stage in stages:
            problem = problem_of(numpy, x, k=12, variance=True)
            progress = Progress(1, 1, stage.best, stage=replace(stage, earlier=earlier))
            written = json.loads(json.dumps(pack(progress)[0]))
            read = unpack(written, pack(progress)[1], problem.context).stage
            assert read is not None
            read = replace(read, best=stage.best)  # with labels, which no file has
            again, same = search(problem, read, rules, effort, 3)
            assert (bits(numpy, again), same) == (bits(numpy, best), [*earlier, *trials])


def test_other_rows_are_noticed_where_they_lead_elsewhere() -> None:
    x = np.random.default_rng(3).normal(size=(300, 3))
    numpy = make_backend("numpy")
    taken: list[Snapshot] = []
    with opened(numpy):
        solve(problem_of(numpy, x, k=9), x[:9], Rules(4, 0.0, keep=taken.append))
        with pytest.raises(CheckpointError, match="made again, lead to other centers"):
            solve(problem_of(numpy, x + 1e-9, k=9), taken[-1], Rules(4, 0.0))
