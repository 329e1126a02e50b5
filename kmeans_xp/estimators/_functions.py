"""k_means and kmeans_plusplus: the functions beside the estimator."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_params

from .._plusplus import plusplus
from .._random import Purpose, mix
from .._sparse import is_sparse
from .._typing import Array
from .._validation import check_device_word, is_foreign
from ._kmeans import KMeans
from ._rows import ArrayRows, array_rows
from ._run import draw_seed
from ._streamed import HostRows, stream_rows


@validate_params(
    {
        "sample_weight": ["array-like", None],
        "return_n_iter": [bool],
    },
    prefer_skip_nested_validation=False,
)
def k_means(
    X: Any,
    n_clusters: int,
    *,
    sample_weight: Any = None,
    init: Any = "k-means++",
    n_init: Any = "auto",
    max_iter: int | None = 300,
    verbose: bool = False,
    tol: float = 1e-4,
    random_state: Any = None,
    copy_x: bool = True,
    algorithm: str = "lloyd",
    return_n_iter: bool = False,
    device: str | Sequence[str] | None = None,
    empty_cluster: str = "farthest",
    search: int | str | None = "auto",
) -> Any:
    """Perform k-means clustering; the function form of `KMeans`.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, n_features), path, or blocks
        Rows to cluster, of any array API library, a stream as in `KMeans.fit`, or a dask array or
        data frame.
    n_clusters : int
        Number of clusters and of centers.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, finite and not negative; None is 1 each.
    init : {"k-means++", "random", "random-partition", "k-means||"}, callable or array-like \
of shape (n_clusters, n_features), default="k-means++"
        Where the centers start; see `KMeans`.
    n_init : "auto" or int, default="auto"
        Number of runs, of which the one with the smallest inertia is kept.
    max_iter : int or None, default=300
        Largest number of iterations of a run; None for no limit.
    verbose : bool, default=False
        Print the inertia of each iteration, which costs a pass each.
    tol : float, default=1e-4
        Relative tolerance of the movement of the centers; see `KMeans`.
    random_state : int, RandomState instance or None, default=None
        One 64-bit seed is drawn from it.
    copy_x : bool, default=True
        For compatibility.  X is never changed.
    algorithm : {"lloyd", "elkan"}, default="lloyd"
        For compatibility.  Both give the same exact answer.
    return_n_iter : bool, default=False
        Whether to return the number of iterations.
    device : None, "cpu", "cuda", "cuda:N" or "auto", or several devices, default=None
        Where the work happens; None is where X is.  Several: see `KMeans`.
    empty_cluster : {"farthest", "random", "error"}, default="farthest"
        What happens to a cluster without rows; see `KMeans`.
    search : None, "auto", int or str, default="auto"
        Whether and how long to search for a better optimum, in passes or seconds; see `KMeans`.

    Returns
    -------
    centroid : array of shape (n_clusters, n_features)
        Centers, in X's library and on its device.
    label : array of shape (n_samples,), int32
        For each row the nearest center.
    inertia : float
        Weighted sum of squared distances of the rows to their centers.
    best_n_iter : int
        Iterations of the best run; only with ``return_n_iter=True``.

    Raises
    ------
    ValueError
        For parameters, shapes or values that cannot be clustered; the text names them.
    DeviceError
        When a device asked for by name cannot be used.
    EmptyClusterError
        With ``empty_cluster="error"``.

    Warns
    -----
    DataWarning
        When one column outweighs the others; see `KMeans`.
    ConvergenceWarning
        When fewer different clusters than ``n_clusters`` were found.

    See Also
    --------
    KMeans : The estimator, with the sources of the algorithms; it takes checkpoints, callbacks
        and a memory limit, too.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import k_means
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> centroid, label, inertia = k_means(X, n_clusters=2, random_state=0)
    >>> centroid
    array([[10.,  2.],
           [ 1.,  2.]])
    >>> label
    array([1, 1, 1, 0, 0, 0], dtype=int32)
    >>> inertia
    16.0
    """
    model = KMeans(
        n_clusters,
        init=init,
        n_init=n_init,
        max_iter=max_iter,
        verbose=verbose,
        tol=tol,
        random_state=random_state,
        copy_x=copy_x,
        algorithm=algorithm,
        device=device,
        empty_cluster=empty_cluster,
        search=search,
    ).fit(X, sample_weight=sample_weight)
    found = (model.cluster_centers_, model.labels_, model.inertia_)
    return (*found, model.n_iter_) if return_n_iter else found


@validate_params(
    {
        "X": ["array-like", "sparse matrix"],
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "sample_weight": ["array-like", None],
        "x_squared_norms": ["array-like", None],
        "random_state": ["random_state"],
        "n_local_trials": [Interval(Integral, 1, None, closed="left"), None],
        "device": [str, list, tuple, None],
    },
    prefer_skip_nested_validation=True,
)
def kmeans_plusplus(
    X: Any,
    n_clusters: int,
    *,
    sample_weight: Any = None,
    x_squared_norms: Any = None,
    random_state: Any = None,
    n_local_trials: int | None = None,
    device: str | None = None,
) -> tuple[Array, Array]:
    """Choose rows as starting centers by greedy k-means++.

    Each next row is the best of a few that are drawn in proportion to the weighted squared
    distance to the nearest row chosen so far [1]_.  With the same ``random_state`` these are the
    centers that the first run of `KMeans` starts from.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, n_features)
        Rows to choose from, of any array API library.
    n_clusters : int
        Number of rows to choose.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, finite and not negative; rows of weight 0 are not chosen.
    x_squared_norms : array-like of shape (n_samples,), default=None
        For compatibility: its length is checked, its values are not used.
    random_state : int, RandomState instance or None, default=None
        One 64-bit seed is drawn from it.
    n_local_trials : int, default=None
        Number of rows drawn for each center except the first, of which the one that lowers
        the inertia most is kept; None is ``2 + int(log(n_clusters))``, 1 is plain k-means++.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where the work happens; None is where X is.

    Returns
    -------
    centers : array of shape (n_clusters, n_features)
        The rows, in X's library, dtype and device (float64 for lists and data frames of
        other dtypes).
    indices : array of shape (n_clusters,), int64
        Their positions: ``centers[i]`` is ``X[indices[i]]``.

    Raises
    ------
    ValueError
        For parameters, shapes or values that have no answer; the text names them.
    DeviceError
        When a device asked for by name cannot be used.

    References
    ----------
    .. [1] D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful seeding",
           SODA 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import kmeans_plusplus
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> centers, indices = kmeans_plusplus(X, n_clusters=2, random_state=0)
    >>> bool((X[indices] == centers).all())
    True
    """
    check_device_word(device)
    model = KMeans(n_clusters, device=device)
    stream = stream_rows(model, X, sample_weight) if is_sparse(X) else None
    rows = stream or array_rows(model, X, sample_weight)
    _check_norms(x_squared_norms, rows.n_rows)
    place = rows.place
    with place.work.scope():
        problem = rows.training(n_clusters, who="kmeans_plusplus", variance=False)
        seed = mix(draw_seed(check_random_state(random_state)), Purpose.RUN, 0)
        with problem.source.working():
            chosen = problem.within_memory(
                lambda: plusplus(problem, n_clusters, seed, n_local_trials)
            )
        taken = place.send_home(problem.source.take(chosen)) if stream is not None else None
    with place.home.scope():
        indices = place.home.from_host(np.asarray(chosen, dtype=np.int64))
        if isinstance(rows, ArrayRows | HostRows):
            taken_from = X if isinstance(X, np.ndarray) or is_foreign(X) else rows.x
            taken = place.home.xp.take(taken_from, indices, axis=0)
        return taken, indices


def _check_norms(norms: Any, n_rows: int) -> None:
    if norms is None:
        return
    count = int(norms.shape[0]) if hasattr(norms, "shape") else len(norms)
    if count != n_rows:
        raise ValueError(
            f"The length of x_squared_norms {count} should be equal to the length of n_samples "
            f"{n_rows}. Leave it out: it is not used."
        )
