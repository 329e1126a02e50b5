"""Looks by some rows of each cluster: what they find, and that every source draws the same rows."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Backend, make_backend
from engine import opened, problem_of, solve
from search_cases import RULES, TRUE, planted

from kmeans_xp import KMeans, _split, _subset
from kmeans_xp._backend import to_host
from kmeans_xp._random import Purpose
from kmeans_xp._split import Outlook, outlook

KEY = (1, Purpose.SEARCH, 1)
N, K = 700, 6


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let looks at few rows draw some of them, too; how many each drew."""
    monkeypatch.setattr(_subset, "ROWS", 16)
    monkeypatch.setattr(_subset, "_LEAST_WORK", 0)
    draw, counts = _subset.drawn, list[int]()

    def counted(*given: Any) -> Any:
        part, labels = draw(*given)
        counts.append(part.problem.source.n_rows)
        return part, labels

    monkeypatch.setattr(_split, "drawn", counted)
    return counts


def look(backend: Backend, x: Any, start: Any, weight: Any = None, **plan: Any) -> Outlook:
    with opened(backend):
        problem = problem_of(backend, x, weight, k=len(start), **plan)
        plain = solve(problem, backend.array(start), RULES)
        view = outlook(problem, plain.centers, plain.labels, KEY)
    assert view is not None
    return view


def bits(view: Outlook) -> Any:
    parts = (view.centers, view.first, view.second, view.merged)
    return [part.tobytes() for part in parts], view.gains, view.costs, view.partners


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_libraries_blocks_and_threads_draw_the_same(
    xp: Backend, draws: list[int], weighted: bool
) -> None:
    if xp.id == "jax":
        pytest.skip("JAX compiles the parts of a look for twenty seconds")
    x, start = planted(np.float32, 100)
    weight = np.random.default_rng(3).integers(0, 4, len(x)) / 3.0 if weighted else None
    here = look(make_backend("numpy"), x, start, weight)
    there = look(xp, x, start, weight, first="float64", block_rows=77)
    assert bits(there) == bits(here)
    if xp.id == "numpy":
        again = look(xp, x, start, weight, first="float64", block_rows=90, threads=2)
        assert bits(again) == bits(here)
    assert len(set(draws)) == 1
    assert 0 < draws[0] < len(x) // 3


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_compiled_loops_draw_the_same(draws: list[int], weighted: bool) -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    numpy = make_backend("numpy")
    x, start = planted(np.float32, 100)
    weight = np.random.default_rng(3).integers(0, 4, len(x)) / 3.0 if weighted else None
    compiled = look(numpy, x, start, weight, first="float64", kernel="numba")
    assert bits(compiled) == bits(look(numpy, x, start, weight))
    assert len(set(draws)) == 1


def test_what_is_drawn_stands_for_all(draws: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    numpy = make_backend("numpy")
    x, start = planted(rows=1000)
    weight = np.random.default_rng(3).integers(0, 4, len(x)) / 3.0
    monkeypatch.setattr(_subset, "ROWS", 128)
    some = look(numpy, x, start, weight)
    assert draws[0] < len(x) // 5
    monkeypatch.setattr(_split, "pays", lambda *_: False)
    every = look(numpy, x, start, weight)
    # merges are exact
    np.testing.assert_allclose(some.costs, every.costs, rtol=1e-12)
    assert some.partners == every.partners
    np.testing.assert_allclose(some.merged, every.merged, rtol=1e-12)
    np.testing.assert_allclose(sum(some.gains), sum(every.gains), rtol=0.1)
    assert np.argmax(some.gains) == np.argmax(every.gains) == 4
    halves = np.stack([some.first[4], some.second[4]])
    np.testing.assert_allclose(halves[np.argsort(halves[:, 1])], TRUE[4:], atol=0.5)


def test_a_few_rows_far_off_in_a_large_cluster_are_not_missed() -> None:
    """Of 40,000 rows 12 are a cluster of their own; draws without distances would miss them."""
    random = np.random.default_rng(0)
    large = random.normal(size=(40_000, 2))
    small = np.asarray([500.0, 0.0]) + random.normal(size=(12, 2))
    other = np.asarray([0.0, 90.0]) + large[:5000]
    x = np.concatenate([large[:20_000], small, large[20_000:], other])
    view = look(make_backend("numpy"), x, np.asarray([[0.0, 0.0], [0.0, 90.0]]))
    assert np.argmax(view.gains) == 0
    nearest = min(view.first[0], view.second[0], key=lambda half: abs(half[0] - 500.0))
    np.testing.assert_allclose(nearest, small.mean(axis=0), atol=0.5)
    apart = ((small.mean(axis=0) - large.mean(axis=0)) ** 2).sum()
    assert view.gains[0] == pytest.approx(12 * apart, rel=0.2)


def data() -> tuple[Any, Any]:
    """Thin rows, in groups that have features in common."""
    random = np.random.default_rng(7)
    likely = 0.04 * random.exponential(size=(9, 40))
    x = random.poisson(likely[random.integers(0, 9, N)]) * random.uniform(0.5, 2.0, (N, 1))
    return x.astype(np.float64), random.integers(0, 4, N) * 0.3


def on_file(folder: pathlib.Path, x: Any) -> tuple[Any, dict[str, Any]]:
    np.save(folder / "rows.npy", x)
    return folder / "rows.npy", {"memory_limit": 50_000}


def as_sparse(_: pathlib.Path, x: Any) -> tuple[Any, dict[str, Any]]:
    return pytest.importorskip("scipy.sparse").csr_array(x), {}


def on_devices(_: pathlib.Path, x: Any) -> tuple[Any, dict[str, Any]]:
    strict = pytest.importorskip("array_api_strict")
    devices = [strict.Device(name) for name in ("CPU_DEVICE", "device1", "device2")]
    return strict.asarray(x, device=devices[1]), {"device": [str(device) for device in devices]}


def in_partitions(_: pathlib.Path, x: Any) -> tuple[Any, dict[str, Any]]:
    dask = pytest.importorskip("dask", reason="dask is not installed")
    dask.config.set(scheduler="threads")
    arrays = pytest.importorskip("dask.array", reason="dask is not installed")
    return arrays.from_array(x, chunks=(170, 40)), {}


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("place", [on_file, as_sparse, on_devices, in_partitions])
def test_every_source_draws_the_same(
    tmp_path: pathlib.Path,
    draws: list[int],
    place: Callable[[pathlib.Path, Any], tuple[Any, dict[str, Any]]],
    weighted: bool,
) -> None:
    x, weight = data()
    weight = weight if weighted else None
    options = {"init": "k-means||", "random_state": 2, "search": 40}
    here = KMeans(K, **options).fit(x, sample_weight=weight)
    count = len(draws)
    rows, more = place(tmp_path, x)
    there = KMeans(K, **options, **more).fit(rows, sample_weight=weight)
    assert draws[count:] == draws[:count]
    assert count > 1
    assert there.trials_ == here.trials_
    assert there.inertia_ == here.inertia_
    assert to_host(there.cluster_centers_).tobytes() == here.cluster_centers_.tobytes()
