"""Each relative of k-means and the public implementations of it, as calls and losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from _contest import (
    ABSOLUTE,
    Case,
    Contest,
    absolute_to_nearest,
    found,
    fuzzy_objective,
    inertia_of_labels,
    memberships,
    squares_of_kept,
    start_rows,
    unit,
    unlike_nearest,
)
from _sparse_contests import minibatch, sparse

_OBJECTIVE = "sum of squared memberships times squared distances"
_MOST_MERGED = 11_000
_MOST_COMPARED = 25_000
_MOST_IN_PYTHON = 2_000
_FUZZY_STEPS = 50
_MOST_STEPS = 300
_TRIM = 0.05


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
        fine = kmeans_xp.KMeans(
            min(10 * case.k, len(case.X) // 3), search=None, random_state=seed
        ).fit(case.X)
        return kmeans_xp.cut_linkage(kmeans_xp.centers_linkage(fine), case.k, fine.labels_)

    fits: dict[str, Callable[[int], Any]] = {"kmeans_xp, k-means and its centers": over_centers}
    missing = {}
    if len(case.X) <= _MOST_MERGED:
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
    """Both take the distances in the time that counts; many rows are sampled."""
    import kmeans_xp

    def ours(seed: int, **options: Any) -> Any:
        model = kmeans_xp.KMedoids(case.k, random_state=seed, **options)
        return case.X[model.fit(case.X).medoid_indices_]

    def given(seed: int) -> Any:
        return ours(seed, init=start_rows(case, seed), method="fasterpam")

    fits: dict[str, Callable[[int], Any]] = {}
    missing: dict[str, str] = {}
    all_are_compared = len(case.X) <= _MOST_COMPARED
    if all_are_compared:
        fits["kmeans_xp, given start"] = given
    else:
        missing["all rows"] = "a table of all pairs"
    fits["kmeans_xp, default"] = ours
    peer, problem = found("kmedoids")
    if peer is None:
        missing["kmedoids"] = problem
    else:
        if all_are_compared:
            fits["kmedoids, given start"] = lambda seed: _fasterpam(
                peer, case.X, start_rows(case, seed)
            )
        fits["kmedoids, 10 samples of 80 + 4 k"] = lambda seed: _clara(
            peer, case, 80 + 4 * case.k, 10, seed
        )
        fits["kmedoids, 5 samples of 2000"] = lambda seed: _clara(peer, case, 2000, 5, seed)
    return Contest(fits, lambda rows: absolute_to_nearest(case.X, rows), ABSOLUTE, missing)


def _fasterpam(peer: Any, X: Any, start: Any) -> Any:
    from scipy.spatial.distance import cdist

    return X[peer.fasterpam(cdist(X, X, "cityblock"), start, n_cpu=1).medoids]


def _clara(peer: Any, case: Case, size: int, rounds: int, seed: int) -> Any:
    """Schubert and Rousseeuw's FasterCLARA (2021): the peer on samples, judged by all rows."""
    rng, size = np.random.default_rng(seed), min(size, len(case.X))
    best, least = case.X[: case.k], np.inf
    for _ in range(rounds):
        some = case.X[rng.choice(len(case.X), size, replace=False)]
        rows = _fasterpam(peer, some, rng.choice(size, case.k, replace=False))
        loss = absolute_to_nearest(case.X, rows)
        if loss < least:
            best, least = rows, loss
    return best


def kmedians(case: Case) -> Contest:
    """The same start; a loop of SciPy's distances and NumPy's medians stands beside both."""
    import kmeans_xp

    def ours(seed: int) -> Any:
        model = kmeans_xp.KMedians(case.k, init=case.X[start_rows(case, seed)])
        return model.fit(case.X).cluster_centers_

    fits: dict[str, Callable[[int], Any]] = {"kmeans_xp": ours}
    missing: dict[str, str] = {}
    peer, problem = found("pyclustering.cluster.kmedians")
    if peer is None:
        missing["pyclustering"] = problem
    else:
        if len(case.X) <= _MOST_IN_PYTHON:
            fits["pyclustering"] = lambda seed: _pyclustering(peer, case, seed, ccore=False)
        else:
            missing["pyclustering"] = "a loop of Python over rows and centers"
        fits["pyclustering, compiled"] = lambda seed: _pyclustering(peer, case, seed, ccore=True)
    fits["NumPy"] = lambda seed: _medians(case.X, case.X[start_rows(case, seed)])
    return Contest(fits, lambda centers: absolute_to_nearest(case.X, centers), ABSOLUTE, missing)


def _pyclustering(peer: Any, case: Case, seed: int, **form: Any) -> Any:
    """Its own distance would be the Euclidean one, squared."""
    from pyclustering.utils.metric import distance_metric, type_metric

    run = peer.kmedians(
        case.X.tolist(),
        case.X[start_rows(case, seed)].tolist(),
        0.0,
        metric=distance_metric(type_metric.MANHATTAN),
        itermax=_MOST_STEPS,
        **form,
    )
    return np.asarray(run.process().get_medians())


def _medians(X: Any, centers: Any) -> Any:
    from scipy.spatial.distance import cdist

    last = None
    for _ in range(_MOST_STEPS):
        labels = cdist(X, centers, "cityblock").argmin(axis=1)
        if last is not None and (labels == last).all():
            break
        last, centers = labels, centers.copy()
        for label in np.unique(labels):
            centers[label] = np.median(X[labels == label], axis=0)
    return centers


def trimmed(case: Case) -> Contest:
    """The same start, once: no package of Python's was found, so a loop stands beside ours."""
    import kmeans_xp

    def ours(seed: int) -> Any:
        start = case.X[start_rows(case, seed)]
        model = kmeans_xp.TrimmedKMeans(case.k, trim=_TRIM, init=start)
        return model.fit(case.X).cluster_centers_

    return Contest(
        {
            "kmeans_xp": ours,
            "NumPy and scikit-learn": lambda seed: _trimmed(case.X, case.X[start_rows(case, seed)]),
        },
        lambda centers: squares_of_kept(case.X, centers, _TRIM),
        "inertia of the rows that are kept",
        {"others": "R's tclust has no twin among Python's packages that was found"},
    )


def _trimmed(X: Any, centers: Any) -> Any:
    from sklearn.metrics import pairwise_distances_argmin_min

    last, n_left = None, int(_TRIM * len(X))
    for _ in range(_MOST_STEPS):
        labels, apart = pairwise_distances_argmin_min(X, centers)
        if n_left:
            labels[np.argpartition(apart, len(X) - n_left)[len(X) - n_left :]] = -1
        if last is not None and (labels == last).all():
            break
        last, centers = labels, centers.copy()
        for label in np.unique(labels[labels >= 0]):
            centers[label] = X[labels == label].mean(axis=0)
    return centers


def spherical(case: Case) -> Contest:
    """The same start; scikit-learn's means of unit rows are scaled to length 1 at the end."""
    import sklearn.cluster

    import kmeans_xp

    def ours(seed: int) -> Any:
        start = case.X[start_rows(case, seed)]
        model = kmeans_xp.SphericalKMeans(case.k, init=start, max_iter=_MOST_STEPS, tol=0.0)
        return model.fit(case.X).cluster_centers_

    def means(seed: int) -> Any:
        rows = unit(case.X)
        model = sklearn.cluster.KMeans(
            case.k, init=rows[start_rows(case, seed)], n_init=1, max_iter=_MOST_STEPS, tol=0.0
        )
        return unit(model.fit(rows).cluster_centers_)

    fits: dict[str, Callable[[int], Any]] = {
        "kmeans_xp": ours,
        "scikit-learn's KMeans of unit rows": means,
    }
    missing: dict[str, str] = {}
    peer, problem = found("faiss")
    if peer is None:
        missing["faiss"] = problem
    else:
        fits["faiss (float32)"] = lambda seed: _faiss(peer, case, seed)
    return Contest(
        fits, lambda centers: unlike_nearest(case.X, centers), "sum of 1 - cosine", missing
    )


def _faiss(peer: Any, case: Case, seed: int) -> Any:
    rows = unit(case.X).astype(np.float32)
    model = peer.Kmeans(
        rows.shape[1],
        case.k,
        niter=_MOST_STEPS,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=len(rows),
    )
    model.train(rows, init_centroids=rows[start_rows(case, seed)])
    return model.centroids


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
        return Contest(fits, lambda centers: fuzzy_objective(case.X, centers), _OBJECTIVE, missing)

    def theirs(seed: int) -> Any:
        start = memberships(case.X, case.X[start_rows(case, seed)])
        return peer.cmeans(case.X.T, case.k, 2.0, error=0.0, maxiter=_FUZZY_STEPS, init=start.T)[0]

    fits["scikit-fuzzy"] = theirs
    return Contest(fits, lambda centers: fuzzy_objective(case.X, centers), _OBJECTIVE, missing)


CONTESTS = {
    "BisectingKMeans": bisecting,
    "Ward": ward,
    "KMedoids": kmedoids,
    "KMedians": kmedians,
    "FuzzyCMeans": fuzzy,
    "TrimmedKMeans": trimmed,
    "SphericalKMeans": spherical,
    "DBSCAN": dbscan,
}
SPARSE = {"KMeans of CSR rows": sparse, "MiniBatchKMeans of CSR rows": minibatch}
