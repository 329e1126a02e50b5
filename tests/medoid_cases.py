"""Rows for KMedoids, and all their distances."""

from __future__ import annotations

from typing import Any

import numpy as np
from conftest import Backend
from scipy.spatial.distance import cdist


def distances(x: Any, metric: str = "manhattan") -> Any:
    return cdist(x, x, {"manhattan": "cityblock"}.get(metric, metric))


def clusters(n: int, k: int, d: int = 3, seed: int = 0, spread: float = 4.0) -> Any:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(k, d))[generator.integers(0, k, size=n)] * spread + (
        generator.normal(size=(n, d))
    )


NUMPY = Backend("numpy", np, None)
