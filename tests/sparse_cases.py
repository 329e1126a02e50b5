"""Sparse rows, and what fits of them must share with those of dense rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

sparse = pytest.importorskip("scipy.sparse")


N, D, K = 403, 37, 5
THIN, THICK = 0.03, 0.2
STARTS = ("k-means++", "random", "random-partition", "k-means||")


SMALL = 20_000  # bytes: blocks of the fewest rows


WEIGHT = np.random.default_rng(4).integers(0, 3, N).astype(np.float64)


def rows(dtype: str = "float64", density: float = THIN, n: int = N, d: int = D) -> Any:
    """Counts of words: empty rows, an empty column, groups that have words in common."""
    rng = np.random.default_rng(7)
    likely = density * rng.exponential(size=(K, d))
    x = rng.poisson(likely[rng.integers(0, K, n)]) * rng.uniform(0.5, 2, (n, 1))
    x[: n // 20] = 0.0
    x[:, 3] = 0.0
    return x.astype(dtype)


def thin(n: int, d: int, density: float, rng: np.random.Generator) -> Any:
    """Numbers at random places."""
    places = rng.choice(n * d, int(n * d * density), replace=False)
    return sparse.csr_array((rng.random(len(places)), np.divmod(places, d)), shape=(n, d))


def check_same(model: Any, dense: Any) -> None:
    assert type(model.cluster_centers_) is np.ndarray
    assert model.cluster_centers_.dtype == dense.cluster_centers_.dtype
    assert model.cluster_centers_.tobytes() == dense.cluster_centers_.tobytes()
    assert model.labels_.tobytes() == dense.labels_.tobytes()
    assert (model.inertia_, model.n_iter_) == (dense.inertia_, dense.n_iter_)
