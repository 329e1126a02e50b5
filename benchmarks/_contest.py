"""What a contest of a relative of k-means is, and losses that are one function for both sides."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from _data import Rows

ABSOLUTE = "sum of absolute differences"


@dataclass(frozen=True)
class Case:
    """Rows (dense or CSR), clusters to find, and the neighbourhood that DBSCAN looks at."""

    X: Any
    k: int
    eps: float = 0.0
    min_samples: int = 0


@dataclass(frozen=True)
class Contest:
    """Calls that take a seed, what their results cost, and what is missing, with the reason."""

    fits: dict[str, Callable[[int], Any]]
    loss: Callable[[Any], float]
    what: str
    """What the loss is."""
    missing: dict[str, str] = field(default_factory=dict)


def found(module: str) -> tuple[Any, str]:
    """A peer, or why there is none."""
    try:
        return importlib.import_module(module), ""
    except ImportError as error:
        return None, f"cannot be imported here: {error}"


def start_rows(case: Case, seed: int) -> Any:
    """Positions of different rows: the same start on both sides."""
    return np.random.default_rng(seed).choice(case.X.shape[0], case.k, replace=False)


def inertia_of_labels(X: Rows, labels: Any) -> float:
    """Squared distances of rows to the means of their clusters."""
    parts = (X[labels == label] for label in np.unique(labels))
    return float(sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts))


def absolute_to_nearest(X: Rows, centers: Rows) -> float:
    """Absolute differences of rows from the nearest of some centers."""
    from scipy.spatial.distance import cdist

    return float(cdist(X, centers, "cityblock").min(axis=1).sum())


def squares_of_kept(X: Rows, centers: Rows, trim: float) -> float:
    """Squared distances to the nearest of some centers, those of the farthest share left out."""
    from scipy.spatial.distance import cdist

    squares = np.sort(cdist(X, centers, "sqeuclidean").min(axis=1))
    return float(squares[: len(X) - int(trim * len(X))].sum())


def squares_of_sparse(X: Any, centers: Rows) -> float:
    """Squared distances of CSR rows to the nearest of some centers."""
    of_rows = X.multiply(X).sum(axis=1)
    of_pairs = (centers**2).sum(axis=1) - 2.0 * (X @ centers.T)
    return float(of_rows.sum() + of_pairs.min(axis=1).sum())


def unlike_nearest(X: Rows, centers: Rows) -> float:
    """1 - cosine of rows and the center of the largest cosine."""
    units, directions = unit(X), unit(np.asarray(centers, dtype=np.float64))
    return float((1.0 - (units @ directions.T).max(axis=1)).sum())


def unit(X: Rows) -> Rows:
    """Rows of length 1."""
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def memberships(X: Rows, centers: Rows) -> Rows:
    """Of fuzzifier 2; a row that is a center belongs to it alone."""
    from scipy.spatial.distance import cdist

    near = 1.0 / np.maximum(cdist(X, centers, "sqeuclidean"), 1e-300)
    return near / near.sum(axis=1, keepdims=True)


def fuzzy_objective(X: Rows, centers: Rows) -> float:
    """Squared memberships times squared distances."""
    from scipy.spatial.distance import cdist

    squares = cdist(X, centers, "sqeuclidean")
    return float((memberships(X, centers) ** 2 * squares).sum())
