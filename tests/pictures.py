"""What the tests of pictures share: rows, fits, a result, and a maker for each display."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sklearn.datasets import make_blobs

from kmeans_xp import ChooseKResult, KMeans, choose_k, plot


def blobs(n: int = 200, d: int = 2, k: int = 4) -> Any:
    return make_blobs(n, d, centers=k, random_state=5, cluster_std=1.5)[0]


def fitted(x: Any, k: int = 4, **options: Any) -> KMeans:
    return KMeans(k, random_state=0, **options).fit(x)


def result() -> ChooseKResult:
    """A result with what a picture must cope with: criteria and errors that are not defined."""
    inertia = (100.0, 40.0, 12.0, 9.0, 8.0)
    nothing: tuple[None, ...] = (None,) * 5
    found = choose_k(blobs(), 5, criteria="elbow", structure=False, random_state=0)
    return replace(
        found,
        inertia=inertia,
        variance_explained=tuple(100 - value for value in inertia),
        seconds=(0.1, 0.2, 0.3, 0.4, 0.5),
        criteria={
            "elbow": tuple(100 - value for value in inertia),
            "silhouette": nothing,
            "calinski_harabasz": (None, 50.0, 90.0, 70.0, 60.0),
            "gap": (0.1, 0.2, 0.5, 0.4, 0.4),
        },
        gap_error=(0.01, 0.02, 0.03, 0.04, None),
        suggestions={"elbow": 3, "silhouette": None, "calinski_harabasz": 3, "gap": 3},
        stable={"elbow": True, "calinski_harabasz": True},
        bands={"elbow": (2, 4), "gap": None},
    )


MAKERS: dict[str, Callable[..., Any]] = {
    "elbow": lambda **ax: plot.ElbowDisplay.from_result(result(), **ax),
    "clusters": lambda **ax: plot.ClustersDisplay.from_estimator(fitted(blobs()), blobs(), **ax),
    "silhouette": lambda **ax: plot.SilhouetteDisplay.from_estimator(
        fitted(blobs()), blobs(), **ax
    ),
    "convergence": lambda **ax: plot.ConvergenceDisplay.from_estimator(fitted(blobs()), **ax),
    "centers": lambda **ax: plot.CentersDisplay.from_estimator(fitted(blobs()), **ax),
    "dendrogram": lambda **ax: plot.DendrogramDisplay.from_estimator(fitted(blobs()), **ax),
    "sizes": lambda **ax: plot.SizesDisplay.from_estimator(fitted(blobs()), **ax),
}


def contents(figure: Any) -> bytes:
    figure.canvas.draw()
    return bytes(figure.canvas.buffer_rgba())
