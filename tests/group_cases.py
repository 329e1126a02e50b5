"""Rows and centers on which groups of centers are tested."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Rows = np.ndarray[Any, Any]
Case = tuple[Rows, Rows, Rows | None]
LOOPS = ("numpy", "reference", "numba")
N, D, K = 900, 5, 43


def crowd(seed: int, dtype: str, n: int = N, d: int = D, at: float = 0.0) -> Rows:
    random = np.random.default_rng(seed)
    return (random.uniform(size=(n, d)) + at).astype(dtype)


def crowded(dtype: str, d: int = D, at: float = 0.0) -> Callable[[], Case]:
    def make() -> Case:
        x = crowd(d, dtype, d=d, at=at)
        return x, x[:K].copy(), None

    return make


def ties() -> Case:
    """Whole numbers, rows on the bisectors of their start, and one step beside."""
    random = np.random.default_rng(1)
    start = random.permutation(np.indices((4,) * D).reshape(D, -1).T)[:K].astype(np.float32)
    pairs = random.integers(0, K, size=(300, 2))
    x = (start[pairs[:, 0]] + start[pairs[:, 1]]) / 2
    x[::3, 1] = np.nextafter(x[::3, 1], np.float32(100))
    count = N - len(pairs) - K
    others = start[random.integers(0, K, count)] + random.normal(size=(count, D))
    return np.concatenate([x, start, others.astype(np.float32)]), start, None


def twins() -> Case:
    x = crowd(2, "float32")
    start = x[:K].copy()
    start[K // 2 :] = start[: K - K // 2]
    return x, start, None


def _empty() -> Case:
    """Far centers stay without rows, and get rows of others."""
    x = crowd(3, "float64")
    start = x[:K].copy()
    start[::6] += 1e3
    return x, start, None


def _two_groups() -> Case:
    x = crowd(4, "float32")
    x[::2] += np.float32(1e4)
    return x, x[:K].copy(), None


def _two_clouds() -> Case:
    """Norms are large beside distances, so that scores round by more than usual."""
    x = crowd(5, "float32")
    x[::2] += np.float32(6)
    return x, x[:K].copy(), None


def _heavy() -> Case:
    """Weights, and rows far out that carry none."""
    x = crowd(6, "float32")
    weight = np.random.default_rng(6).uniform(0.5, 2.0, size=len(x))
    x[::50] *= np.float32(1e15)
    weight[::50] = 0.0
    return x, x[np.flatnonzero(weight)[:K]].copy(), weight


def _huge() -> Case:
    x = crowd(7, "float64") * 1e299
    return x, x[:K].copy(), None


SETS: dict[str, Callable[[], Case]] = {
    "crowded32": crowded("float32"),
    "crowded64": crowded("float64"),
    "shifted32": crowded("float32", at=3000.0),
    "shifted64": crowded("float64", at=1e8),
    "one feature": crowded("float32", d=1),
    "33 features": crowded("float32", d=33),
    "ties": ties,
    "twins": twins,
    "empty": _empty,
    "two groups": _two_groups,
    "two clouds": _two_clouds,
    "weights": _heavy,
    "huge": _huge,
}
