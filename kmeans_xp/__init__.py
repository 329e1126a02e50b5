"""K-means for every array: one algorithm, one exact answer, on every device.

Names are loaded when they are first used, so that ``import kmeans_xp`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import metrics, plot, prepare
    from ._info import info
    from ._model_file import load_model, save_model
    from ._outcome import Iteration, Status
    from ._trials import Trial
    from .estimators import (
        BatchedKMeansResult,
        KMeans,
        MiniBatchKMeans,
        k_means,
        k_means_batched,
        kmeans_plusplus,
        to_sklearn,
    )
    from .exceptions import (
        CheckpointError,
        ChooseKInterrupted,
        DataWarning,
        DeviceError,
        DeviceMemoryError,
        EmptyClusterError,
    )
    from .prepare import FeatureReport, FeatureScaler, check_features
    from .relatives import (
        DBSCAN,
        BisectingKMeans,
        FuzzyCMeans,
        KMedians,
        KMedoids,
        SphericalKMeans,
        TrimmedKMeans,
        centers_linkage,
        cut_linkage,
        dbscan,
    )
    from .selection import ChooseKResult, choose_k

__version__ = "0.1.0"

_HOMES = {
    "BatchedKMeansResult": "estimators",
    "BisectingKMeans": "relatives",
    "CheckpointError": "exceptions",
    "ChooseKInterrupted": "exceptions",
    "ChooseKResult": "selection",
    "DBSCAN": "relatives",
    "DataWarning": "exceptions",
    "DeviceError": "exceptions",
    "DeviceMemoryError": "exceptions",
    "EmptyClusterError": "exceptions",
    "FeatureReport": "prepare",
    "FeatureScaler": "prepare",
    "FuzzyCMeans": "relatives",
    "Iteration": "_outcome",
    "KMeans": "estimators",
    "KMedians": "relatives",
    "KMedoids": "relatives",
    "MiniBatchKMeans": "estimators",
    "SphericalKMeans": "relatives",
    "Status": "_outcome",
    "Trial": "_trials",
    "TrimmedKMeans": "relatives",
    "centers_linkage": "relatives",
    "check_features": "prepare",
    "choose_k": "selection",
    "cut_linkage": "relatives",
    "dbscan": "relatives",
    "info": "_info",
    "k_means": "estimators",
    "k_means_batched": "estimators",
    "kmeans_plusplus": "estimators",
    "load_model": "_model_file",
    "save_model": "_model_file",
    "to_sklearn": "estimators",
}

_MODULES = ("metrics", "plot", "prepare")

__all__ = [
    "DBSCAN",
    "BatchedKMeansResult",
    "BisectingKMeans",
    "CheckpointError",
    "ChooseKInterrupted",
    "ChooseKResult",
    "DataWarning",
    "DeviceError",
    "DeviceMemoryError",
    "EmptyClusterError",
    "FeatureReport",
    "FeatureScaler",
    "FuzzyCMeans",
    "Iteration",
    "KMeans",
    "KMedians",
    "KMedoids",
    "MiniBatchKMeans",
    "SphericalKMeans",
    "Status",
    "Trial",
    "TrimmedKMeans",
    "__version__",
    "centers_linkage",
    "check_features",
    "choose_k",
    "cut_linkage",
    "dbscan",
    "info",
    "k_means",
    "k_means_batched",
    "kmeans_plusplus",
    "load_model",
    "metrics",
    "plot",
    "prepare",
    "save_model",
    "to_sklearn",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES and name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    if name in _MODULES:
        # which binds it
        return importlib.import_module(f".{name}", __name__)
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
