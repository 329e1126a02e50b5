"""KMeans and MiniBatchKMeans of sparse rows beside scikit-learn's, from the same start."""

from __future__ import annotations

from typing import Any

from _contest import Case, Contest, squares_of_sparse, start_rows

_SQUARES = "inertia"
_MOST_STEPS = 300
_PASSES = 5


def sparse(case: Case) -> Contest:
    """From the same rows as centers until no row changes its cluster."""
    import sklearn.cluster

    import kmeans_xp

    return _contest(case, kmeans_xp.KMeans, sklearn.cluster.KMeans, max_iter=_MOST_STEPS, tol=0.0)


def minibatch(case: Case) -> Contest:
    """The same number of batches, of other rows: losses are means over the seeds."""
    import sklearn.cluster

    import kmeans_xp

    return _contest(
        case,
        kmeans_xp.MiniBatchKMeans,
        sklearn.cluster.MiniBatchKMeans,
        max_iter=_PASSES,
        max_no_improvement=None,
        batch_size=1024,
    )


def _contest(case: Case, our: Any, their: Any, **options: Any) -> Contest:
    def centers(kind: Any, seed: int) -> Any:
        start = case.X[start_rows(case, seed)].toarray()
        model = kind(case.k, init=start, n_init=1, random_state=seed, **options)
        return model.fit(case.X).cluster_centers_

    return Contest(
        {
            "kmeans_xp": lambda seed: centers(our, seed),
            "scikit-learn": lambda seed: centers(their, seed),
        },
        lambda found: squares_of_sparse(case.X, found),
        _SQUARES,
    )
