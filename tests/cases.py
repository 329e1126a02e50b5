"""Data sets that are hard on the numerics, all of one shape so that JAX compiles it once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Backend

N, D, K = 1500, 4, 5
"""Large enough that labels go by products and bounds, not straight to the last rung."""

Case = tuple[Any, Any]


def _blobs(seed: int, spread: float = 1.0) -> Case:
    random = np.random.default_rng(seed)
    centers = random.uniform(-4, 4, size=(K, D))
    x = centers[random.integers(K, size=N)] + spread * random.normal(size=(N, D))
    return x, x[random.choice(N, K, replace=False)]


def blobs() -> Case:
    return _blobs(1)


def blobs32() -> Case:
    x, start = _blobs(2)
    return x.astype(np.float32), start.astype(np.float32)


def lattice() -> Case:
    """Every sum of squares is an integer, and most rows have several nearest centers."""
    grid = np.asarray(list(itertools.product(range(-2, 3), repeat=D)), dtype=np.float64)
    start = np.asarray([[1, 1, 0, 0], [-1, -1, 0, 0], [1, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 2, 0]])
    return np.resize(grid, (N, D)), start.astype(np.float64)


def shifted32() -> Case:
    x, start = _blobs(3)
    return (x + 1e4).astype(np.float32), (start + 1e4).astype(np.float32)


def two_groups() -> Case:
    x, _ = _blobs(4, 0.5)
    x[: N // 2] += 1e4
    x[N // 2 :] -= 1e4
    return x.astype(np.float32), x[[0, 1, 2, N - 1, N - 2]].astype(np.float32)


def shifted64() -> Case:
    x, start = _blobs(5)
    return x + 1e8, start + 1e8


def huge() -> Case:
    x, start = _blobs(6)
    return x * 1e299, start * 1e299


def tiny() -> Case:
    x, start = _blobs(7)
    return x * 1e-300, start * 1e-300


def huge32() -> Case:
    x, start = _blobs(8)
    return (x * 1e30).astype(np.float32), (start * 1e30).astype(np.float32)


def tiny32() -> Case:
    x, start = _blobs(9)
    return (x * 1e-30).astype(np.float32), (start * 1e-30).astype(np.float32)


def far_center() -> Case:
    """One row a million times farther out than the small clusters are apart."""
    x, start = _blobs(10, 0.01)
    x[7] = 1e6
    start[3] = 1e6
    return x, start


def far_center32() -> Case:
    x, start = far_center()
    return x.astype(np.float32), start.astype(np.float32)


def repeated_centers() -> Case:
    x, start = _blobs(11)
    start[3] = start[1]
    start[4] = start[0]
    return x, start


def repeated_rows() -> Case:
    x, _ = _blobs(12)
    x = x[np.arange(N) % 11]
    return x, x[:K].copy()


CASES: dict[str, Callable[[], Case]] = {
    make.__name__: make
    for make in (
        blobs,
        blobs32,
        lattice,
        shifted32,
        two_groups,
        shifted64,
        huge,
        tiny,
        huge32,
        tiny32,
        far_center,
        far_center32,
        repeated_centers,
        repeated_rows,
    )
}
STAND_INS = ("lattice", "two_groups", "far_center", "tiny32")
ON_JAX = (*STAND_INS, "blobs32", "huge", "tiny")  # it compiles each step for each shape


def skip_where_slow(xp: Backend, case: str) -> None:
    """Let a few cases stand for all where they are slow or much like another backend's."""
    few = ON_JAX if xp.id == "jax" else STAND_INS
    if xp.id in ("jax", "strict-device1", "strict-strictest") and case not in few:
        pytest.skip(f"on {xp.id} a few cases stand for all")


def wide(d: int, seed: int, dtype: Any, n: int = 300, k: int = 7) -> Case:
    """Rows of many features, shifted away from the origin."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, d)) * random.uniform(0.1, 10, size=d) + 50
    return x.astype(dtype), x[random.choice(n, k, replace=False)].astype(dtype)


def clumped(n: int, d: int) -> Any:
    """Rows in overlapping clumps on a grid, of which many are equal."""
    rng = np.random.default_rng(3)
    x = np.round(rng.normal(size=(n, d)) * 8) / 8 + 3 * rng.integers(0, 3, (n, 1))
    x[::9] = x[0]
    return x


def few_weights(n: int) -> Any:
    """Weights of four values; a quarter is 0."""
    return np.random.default_rng(4).integers(0, 4, n) * 0.3


def check_same_bits(here: Any, there: Any) -> None:
    """Two fits that ended alike, the second with arrays of any library."""
    for name in ("cluster_centers_", "labels_"):
        assert np.asarray(getattr(there, name)).tobytes() == getattr(here, name).tobytes()
    assert here.inertia_ == there.inertia_
    assert here.history_ == there.history_
