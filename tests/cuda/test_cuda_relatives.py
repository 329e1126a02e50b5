"""Relatives of k-means through the CUDA kernel on an emulated device: the bits of NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from engine import problem_of, solve

from kmeans_xp._outcome import Result, Rules
from kmeans_xp._solver import Way
from kmeans_xp.relatives._fuzzy import Fuzzy, memberships
from kmeans_xp.relatives._spherical import SPHERICAL
from kmeans_xp.relatives._trimmed import Trimmed

WAYS = {
    "fuzzy": lambda: Fuzzy(1.8),
    "spherical": lambda: SPHERICAL,
    "trimmed": lambda: Trimmed(0.1),
}


def ended(way: Way, kernel: str) -> Result:
    random = np.random.default_rng(12)
    x: Any = random.normal(size=(400, 5)) + random.integers(3, size=(400, 1)) * 3.0
    weight = random.choice([0.0, 0.5, 1.0], len(x))
    backend = make_backend("numpy")
    problem = problem_of(backend, x, weight, k=3, first="float32", kernel=kernel, block_rows=97)
    return solve(problem, x[:3], Rules(3, 0.0), way=way)


@pytest.mark.parametrize("name", WAYS)
def test_runs_are_those_of_the_numpy_kernel(name: str) -> None:
    wanted, found = (ended(WAYS[name](), kernel) for kernel in ("numpy", "cuda"))
    assert found.centers.tobytes() == wanted.centers.tobytes()
    assert found.labels.tobytes() == wanted.labels.tobytes()
    assert (found.inertia, found.history) == (wanted.inertia, wanted.history)
    assert found.facts == wanted.facts


def test_memberships_are_those_of_the_numpy_kernel_down_to_subnormal_ones() -> None:
    random = np.random.default_rng(3)
    x: Any = random.normal(size=(40, 3)).astype(np.float32)
    x[:20] = np.asarray([0.0, 0.0, 1.0], np.float32) + x[:20] * np.float32(1e-20)
    centers = np.asarray([[0.0, 0.0, 1.0 + 3e-7], [40.0, 0.0, 0.0]], np.float32)
    backend, found = make_backend("numpy"), []
    for kernel in ("numpy", "cuda"):
        problem = problem_of(backend, x, None, k=2, first="float32", kernel=kernel, block_rows=17)
        found.append(memberships(problem, centers, 1.4))
    assert np.any((found[0] > 0.0) & (found[0] < np.finfo(np.float32).tiny))
    assert found[1].tobytes() == found[0].tobytes()
