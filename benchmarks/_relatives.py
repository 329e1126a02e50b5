"""Each relative of k-means and the public implementations of it, as calls and losses."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from _data import Rows

NO_PEER = "scikit-learn and SciPy have none; no other was measured"
_L1 = "sum of absolute differences"
_OBJECTIVE = "sum of squared memberships times squared distances"
_MOST_PAIRS = 11_000
_FUZZY_STEPS = 50


@dataclass(frozen=True)
class Case:
    """Rows, clusters to find, and the neighbourhood that DBSCAN looks at."""

    X: Rows
    k: int
    eps: float
    min_samples: int


@dataclass(frozen=True)
class Contest:
    """Calls that take a seed, what their results cost, and what is missing, with the reason."""

    fits: dict[str, Callable[[int], Any]]
    loss: Callable[[Any], float]
    what: str
    """What the loss is."""
    missing: dict[str, str] = field(default_factory=dict)


def start_rows(case: Case, seed: int) -> Any:
    """Positions of different rows: the same start on both sides."""
    return np.random.default_rng(seed).choice(len(case.X), case.k, replace=False)


def inertia_of_labels(X: Rows, labels: Any) -> float:
    """Squared distances of rows to the means of their clusters."""
    parts = (X[labels == label] for label in np.unique(labels))
    return float(sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts))


def bisecting(case: Case) -> Contest:
    """Draws are others on both sides: losses are means over the seeds."""
    import sklearn.cluster

    import kmeans_xp

    return Contest(
        {
            "kmeans_xp": lambda seed: kmeans_xp.BisectingKMeans(case.k, random_state=seed).fit(
                case.X
            ),
            "scikit-learn": lambda seed: sklearn.cluster.BisectingKMeans(
                case.k, random_state=seed
            ).fit(case.X),
        },
        lambda model: inertia_of_labels(case.X, model.labels_),
        "inertia around means",
    )


def ward(case: Case) -> Contest:
    """All rows merged, beside the centers of a k-means with 10 times the clusters."""
    import sklearn.cluster

    import kmeans_xp

    def over_centers(seed: int) -> Any:
        fine = kmeans_xp.KMeans(min(10 * case.k, len(case.X) // 3), random_state=seed).fit(case.X)
        return kmeans_xp.cut_linkage(kmeans_xp.centers_linkage(fine), case.k, fine.labels_)

    fits: dict[str, Callable[[int], Any]] = {"kmeans_xp, k-means and its centers": over_centers}
    missing = {}
    if len(case.X) <= _MOST_PAIRS:
        fits["kmeans_xp, all rows"] = lambda seed: kmeans_xp.cut_linkage(
            kmeans_xp.centers_linkage(case.X, np.ones(len(case.X))), case.k, np.arange(len(case.X))
        )
    else:
        missing["kmeans_xp, all rows"] = "a table of all pairs"
    fits["scikit-learn (scipy's ward), all rows"] = lambda seed: (
        sklearn.cluster.AgglomerativeClustering(case.k).fit_predict(case.X)
    )
    return Contest(
        fits, lambda labels: inertia_of_labels(case.X, labels), "inertia around means", missing
    )


def dbscan(case: Case) -> Contest:
    """The loss is the number of rows that are noise: labels are the same or not."""
    import sklearn.cluster

    import kmeans_xp

    options = {"eps": case.eps, "min_samples": case.min_samples}
    return Contest(
        {
            "kmeans_xp": lambda seed: kmeans_xp.DBSCAN(**options).fit(case.X).labels_,
            "scikit-learn": lambda seed: sklearn.cluster.DBSCAN(**options).fit(case.X).labels_,
        },
        lambda labels: float((labels == -1).sum()),
        "rows that are noise",
    )


def kmedoids(case: Case) -> Contest:
    """Sums of absolute differences; both take the distances in the time that counts."""
    import kmeans_xp

    def ours(seed: int, **options: Any) -> Any:
        model = kmeans_xp.KMedoids(case.k, random_state=seed, **options)
        return case.X[model.fit(case.X).medoid_indices_]

    def given(seed: int) -> Any:
        return ours(seed, init=start_rows(case, seed), method="fasterpam")

    fits: dict[str, Callable[[int], Any]] = {"kmeans_xp, given start": given}
    if len(case.X) > _MOST_PAIRS:
        fits["kmeans_xp, CLARA"] = lambda seed: ours(seed, method="clara")
    else:
        fits["kmeans_xp, default start"] = ours
    peer, problem = found("kmedoids")
    if peer is None:
        return Contest(fits, lambda rows: _to_nearest(case.X, rows), _L1, {"kmedoids": problem})

    def theirs(seed: int) -> Any:
        from scipy.spatial.distance import cdist

        apart = cdist(case.X, case.X, "cityblock")
        return case.X[peer.fasterpam(apart, start_rows(case, seed), n_cpu=1).medoids]

    fits["kmedoids, given start"] = theirs
    return Contest(fits, lambda rows: _to_nearest(case.X, rows), _L1)


def kmedians(case: Case) -> Contest:
    """Ours alone."""
    import kmeans_xp

    return Contest(
        {"kmeans_xp": lambda seed: kmeans_xp.KMedians(case.k, random_state=seed).fit(case.X)},
        lambda model: float(model.inertia_),
        _L1,
        {"others": NO_PEER},
    )


def trimmed(case: Case) -> Contest:
    """Ours alone."""
    import kmeans_xp

    return Contest(
        {"kmeans_xp": lambda seed: kmeans_xp.TrimmedKMeans(case.k, random_state=seed).fit(case.X)},
        lambda model: float(model.inertia_),
        "inertia of the rows that are kept",
        {"others": NO_PEER},
    )


def fuzzy(case: Case) -> Contest:
    """The same number of iterations from the same centers, which the peer gets as memberships."""
    import kmeans_xp

    def ours(seed: int) -> Any:
        model = kmeans_xp.FuzzyCMeans(
            case.k, init=case.X[start_rows(case, seed)], max_iter=_FUZZY_STEPS, tol=0.0
        )
        return model.fit(case.X).cluster_centers_

    fits: dict[str, Callable[[int], Any]] = {"kmeans_xp": ours}
    peer, problem = found("skfuzzy")
    missing = {"fuzzy-c-means": "takes no NumPy above 1, and kmeans_xp none below 2"}
    if peer is None:
        missing["scikit-fuzzy"] = problem
        return Contest(fits, lambda centers: _fuzzy_loss(case.X, centers), _OBJECTIVE, missing)

    def theirs(seed: int) -> Any:
        start = _memberships(case.X, case.X[start_rows(case, seed)])
        return peer.cmeans(case.X.T, case.k, 2.0, error=0.0, maxiter=_FUZZY_STEPS, init=start.T)[0]

    fits["scikit-fuzzy"] = theirs
    return Contest(fits, lambda centers: _fuzzy_loss(case.X, centers), _OBJECTIVE, missing)


CONTESTS = {
    "BisectingKMeans": bisecting,
    "Ward": ward,
    "KMedoids": kmedoids,
    "KMedians": kmedians,
    "FuzzyCMeans": fuzzy,
    "TrimmedKMeans": trimmed,
    "DBSCAN": dbscan,
}


def found(module: str) -> tuple[Any, str]:
    """A peer, or why there is none."""
    try:
        return importlib.import_module(module), ""
    except ImportError as error:
        return None, f"cannot be imported here: {error}"


def _to_nearest(X: Rows, rows: Rows) -> float:
    from scipy.spatial.distance import cdist

    return float(cdist(X, rows, "cityblock").min(axis=1).sum())


def _memberships(X: Rows, centers: Rows) -> Rows:
    """Of fuzzifier 2; a row that is a center belongs to it alone."""
    from scipy.spatial.distance import cdist

    near = 1.0 / np.maximum(cdist(X, centers, "sqeuclidean"), 1e-300)
    return near / near.sum(axis=1, keepdims=True)


def _fuzzy_loss(X: Rows, centers: Rows) -> float:
    from scipy.spatial.distance import cdist

    squares = cdist(X, centers, "sqeuclidean")
    return float((_memberships(X, centers) ** 2 * squares).sum())
