"""Rows in dask partitions, and what a fit of them must share with one of the same rows here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kmeans_xp import KMeans

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask is not installed")

N = 1500


def in_parts(x: Any, count: int) -> Any:
    """Rows in partitions of different sizes, an empty one and a split column among them."""
    rng = np.random.default_rng(count)
    edges = np.sort(rng.integers(0, len(x), count - 1)).tolist()
    sizes = np.diff([0, *edges, len(x)]).tolist()
    if count > 3:
        sizes[1:2] = [sizes[1], 0]
    return da.from_array(x, chunks=(tuple(sizes), *([3] if x.ndim == 2 else [])))


def check_same(here: KMeans, there: KMeans) -> None:
    assert here.cluster_centers_.tobytes() == there.cluster_centers_.tobytes()
    assert here.inertia_ == there.inertia_
    assert here.history_ == there.history_
    assert isinstance(there.labels_, da.Array)
    labels = there.labels_.compute()
    assert labels.dtype == np.int32
    assert labels.tobytes() == here.labels_.tobytes()


def check_same_search(here: KMeans, there: KMeans) -> None:
    for name in ("trials_", "status_", "n_best_", "lower_bound_"):
        assert getattr(there, name) == getattr(here, name)
