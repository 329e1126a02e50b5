"""Rows that tensor cores left open, settled by their shortlists, on the emulated device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from checks import device_of, little_scratch
from conftest import make_backend
from emulator import cuda_kernel
from engine import problem_of

from kmeans_xp import _primitives as p
from kmeans_xp._bounds import no_drift
from kmeans_xp._kernels.cuda import _shortlist
from kmeans_xp._kernels.cuda._calls import Picked
from kmeans_xp._kernels.cuda._source import MOST_LISTED

WORKS = ["float16", "tf32", "3xtf32", "float16 wgmma", "tf32 wgmma", "3xtf32 wgmma"]


@pytest.fixture(autouse=True)
def for_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shortlist, "LEAST_ROWS", 1)


def rows_between_centers(n: int, d: int, k: int) -> tuple[Any, Any]:
    """Rows in the middle of two centers or of ten, hardly nearer to one, or near one alone."""
    random = np.random.default_rng([n, d, k])
    centers = random.normal(size=(k, d)).astype(np.float32)
    # ten corners of one cross, as near to its middle as each other
    centers[:10] = 3.0
    for j in range(10):
        centers[j, j // 2] += (-1) ** j
    first, second = random.integers(10, k, size=(2, n))
    x = centers[first] + random.normal(size=(n, d)) * 0.05
    pair = np.arange(n) % 4 == 0
    x[pair] = ((centers[first] + centers[second]) / 2)[pair]
    x[1::4] += 1e-6
    x[2:60:4] = 3.0
    return x.astype(np.float32), centers


@pytest.mark.parametrize("d", [40, 300])
@pytest.mark.parametrize("work", WORKS)
def test_labels_are_those_of_canonical_distances(work: str, d: int) -> None:
    kernel = cuda_kernel(capability=device_of(work))
    x, centers = rows_between_centers(700, d, 150)
    problem = problem_of(make_backend("numpy"), x, k=len(centers), first="float32")
    problem.cover(centers)
    nearest, labels = problem.nearest_to(centers), np.full(len(x), -1, np.int32)
    drift = no_drift(len(centers), "float32", x, xp=np)
    # room for fewer than stay open
    short, opened = _shortlist.Shortlist.of(x[:250], xp=np), Picked.none(x, xp=np)
    bounds = kernel._no_bounds(x, drift)
    is_open = np.zeros(len(x), bool)
    kept = {"is_open": is_open, "drift": drift, "bounds": bounds}
    limits = short.limits, short.beyond
    args = kernel.calls, x, nearest, work, labels, opened, short
    with little_scratch():
        kernel.calls.score(x, nearest, work, labels, left=opened, limits=limits, **kept)
        count = int(opened.count[0])
        assert short.room < count < len(x)
        left = _shortlist.resolve(*args, **kept)
    distances = p.cross_distances(x, centers, nearest.scale, xp=np)
    listed, again = opened.rows[:count], left.rows[: int(left.count[0])]
    # rows that are as near to ten centers, and those that there was no room for
    assert set(listed[short.room :]) <= set(again)
    crowded = np.flatnonzero((x == 3.0).all(axis=1))
    assert set(crowded) <= set(again)
    assert len(again) < count
    assert is_open[again].all()
    closed = np.setdiff1d(np.arange(len(x)), again)
    assert not is_open[closed].any()
    assert labels[closed].tolist() == distances.argmin(axis=0)[closed].tolist()
    # bounds are those of the true distances, and tight for the rows that were measured
    true = np.sqrt(((x[:, None, :].astype("f8") - centers[None].astype("f8")) ** 2).sum(axis=2))
    own = true[closed, labels[closed]]
    true[closed, labels[closed]] = np.inf
    rival = true[closed].min(axis=1)
    assert (bounds.upper[closed] >= own * (1 - 1e-7)).all()
    assert (bounds.lower[closed] <= rival * (1 + 1e-7)).all()
    measured = np.isin(closed, listed)
    assert measured.any()
    np.testing.assert_allclose(bounds.upper[closed][measured], own[measured], rtol=1e-5, atol=1e-6)
    assert (bounds.lower[closed][measured] > 0.9 * own[measured]).all()


def test_the_lowest_of_equal_centers_wins() -> None:
    """Whatever the order in which a shortlist was written."""
    kernel = cuda_kernel(capability=80)
    random = np.random.default_rng(0)
    x = np.zeros((200, 33), np.float32)
    x[:, 0] = random.integers(-9, 9, len(x))
    centers = np.zeros((MOST_LISTED, 33), np.float32)
    centers[:, 1:] = np.where(random.integers(0, 2, size=(MOST_LISTED, 32)) > 0, 1.0, -1.0)
    problem = problem_of(make_backend("numpy"), x, k=len(centers), first="float32")
    problem.cover(centers)
    nearest, state = problem.nearest_to(centers), {}
    looked = kernel.launch_look(x, nearest, None, state)
    # there was room for half of them
    assert int(looked.steps[0][1].count[0]) == len(x)
    kernel.launch_settle(x, nearest, state["labels"], looked)
    assert (state["labels"] == 0).all()


def far_offset(n: int) -> tuple[Any, Any, Any]:
    """One feature like a point in time: rounding the shift leaves centers that no half can hold."""
    random = np.random.default_rng(5)
    x, centers = random.normal(size=(n, 40)), random.normal(size=(20, 40))
    x[:, 0] += 1.7e9 + 28
    centers[:, 0] += 1.7e9 + 28
    return x, centers, None


def far_rows(n: int) -> tuple[Any, Any, Any]:
    """Rows without weight that no half can hold: their scores end at -infinity, of some centers."""
    random = np.random.default_rng(5)
    x = random.uniform(-1, 1, size=(n, 40)).astype(np.float32)
    weight = np.ones(n)
    x[:40], weight[:40] = 0.0, 0.0
    x[:40, :2] = 17.0, 12.0
    centers = random.uniform(-0.5, 0.5, size=(10, 40)).astype(np.float32)
    centers[:, 0] = -0.01
    centers[3, :2], centers[7, 1] = (0.01, -1.0), 1.0
    return x, centers, weight


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("n", [256, 200])  # room for whole tiles, and for less
@pytest.mark.parametrize("case", [far_offset, far_rows])
def test_scores_at_the_end_of_halves_are_on_no_list(case: Any, n: int, capability: int) -> None:
    """Nor is anything written beside the lists."""
    kernel = cuda_kernel(capability=capability)
    x, centers, weight = case(n)
    problem = problem_of(make_backend("numpy"), x, weight, k=len(centers), first="float32")
    nearest, state = problem.nearest_to(centers), {}
    looked = kernel.launch_look(x, nearest, None, state)
    assert looked.works[0].startswith("float16")
    kernel.launch_settle(x, nearest, state["labels"], looked)
    wanted = p.cross_distances(x, centers, nearest.scale, xp=np).argmin(axis=0)
    assert state["labels"].tolist() == wanted.tolist()
