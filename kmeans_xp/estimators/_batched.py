"""k_means_batched: many small problems of one shape at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions, validate_params

from .._backend import dtype_name
from .._batch_checks import check_batch, check_batch_centers, check_batch_weight, check_values
from .._outcome import Rules, Status
from .._typing import Array
from .._validation import check_device_word
from .._warnings import warn
from ._batch_run import Batch, Solved, random_states, seeds_of, solve
from ._kmeans import KMeans
from ._place import Place, place_of
from ._run import NAMED_STARTS, count_runs, draw_seed

_WHO = "k_means_batched"


class BatchedKMeansResult(NamedTuple):
    """What `k_means_batched` returns.

    Attributes
    ----------
    cluster_centers : array of shape (batch, n_clusters, n_features)
        Centers of each problem, in X's library, dtype and device (float64 for other dtypes).
    labels : array of shape (batch, n_samples), int32
        For each row the nearest center of its problem; the lowest index among equals.
    inertia : array of shape (batch,), float64
        Weighted sum of squared distances of the rows to their centers.
    n_iter : array of shape (batch,), int64
        Iterations of the run that was kept.
    status : tuple of Status
        Why that run ended.
    random_states : ndarray of shape (batch,), int64
        On the host: with ``random_state=random_states[b]`` and ``search=None`` `k_means` and
        `KMeans` give the answer of problem b, bit for bit.
    device : str
        Where the work happened: "cpu", "cuda:0", ...
    backend : str
        The array library that did it; see ``KMeans.backend_``.
    kernel : tuple of str
        The kernel that did it, of each problem.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import k_means_batched
    >>> X = np.array([[[0.0], [1], [8]], [[5.0], [9], [9]]])
    >>> found = k_means_batched(X, n_clusters=2, random_state=0)
    >>> found.inertia
    array([0.5, 0. ])
    """

    cluster_centers: Array
    labels: Array
    inertia: Array
    n_iter: Array
    status: tuple[Status, ...]
    random_states: npt.NDArray[np.int64]
    device: str
    backend: str
    kernel: tuple[str, ...]


@validate_params(
    {
        **{
            name: KMeans._parameter_constraints[name]
            for name in (
                "n_clusters",
                "n_init",
                "max_iter",
                "tol",
                "random_state",
                "device",
                "empty_cluster",
            )
        },
        "X": ["array-like", "sparse matrix"],
        "sample_weight": ["array-like", "sparse matrix", float, int, None],
        "init": [StrOptions(set(NAMED_STARTS)), "array-like"],
    },
    prefer_skip_nested_validation=True,
)
def k_means_batched(
    X: Any,
    n_clusters: int,
    *,
    sample_weight: Any = None,
    init: Any = "k-means++",
    n_init: Any = "auto",
    max_iter: int | None = 300,
    tol: float = 1e-4,
    random_state: Any = None,
    device: str | None = None,
    empty_cluster: str = "farthest",
) -> BatchedKMeansResult:
    """Cluster many problems of the same shape, each for itself.

    Problem b gets what ``k_means(X[b], ..., random_state=result.random_states[b], search=None)``
    gives it, bit for bit: there is no search for a better optimum.  Its answer depends on its rows,
    on the parameters and on b, not on the other problems nor on their number.  There is no
    `DataWarning`: `check_features` looks at the columns of a problem.

    Parameters
    ----------
    X : array-like of shape (batch, n_samples, n_features)
        Rows of each problem, of any array API library.
    n_clusters : int
        Number of clusters and of centers of each problem.
    sample_weight : array-like of shape (batch, n_samples) or (n_samples,), default=None
        Weights of the rows, finite and not negative; None is 1 each.  Those of shape
        (n_samples,) hold for every problem.  A row of weight 0 gets a label and changes
        nothing else.
    init : {"k-means++", "random", "random-partition", "k-means||"} or array-like of shape \
(batch, n_clusters, n_features) or (n_clusters, n_features), default="k-means++"
        Where the centers start; see `KMeans`.  Centers of shape (n_clusters, n_features) hold
        for every problem.
    n_init : "auto" or int, default="auto"
        Number of runs of each problem, of which the one with the smallest inertia is kept.
    max_iter : int or None, default=300
        Largest number of iterations of a run; None for no limit.
    tol : float, default=1e-4
        Relative tolerance of the movement of the centers; see `KMeans`.
    random_state : int, RandomState instance or None, default=None
        One 64-bit seed is drawn from it; with the number of a problem it gives 32 bits, the
        problem's own ``random_state``.  The result tells these.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where the work happens; None is where X is.
    empty_cluster : {"farthest", "random", "error"}, default="farthest"
        What happens to a cluster without rows; see `KMeans`.

    Returns
    -------
    result : BatchedKMeansResult
        A named tuple of cluster_centers, labels, inertia, n_iter (arrays in X's library and on
        its device), status, random_states, and where the work happened (device, backend, kernel).

    Raises
    ------
    ValueError
        For parameters, shapes or values that cannot be clustered; the text names them.
    DeviceError
        When a device asked for by name cannot be used.
    EmptyClusterError
        With ``empty_cluster="error"``; the text names the problem.

    See Also
    --------
    k_means : One problem.
    KMeans : The estimator, with the sources of the algorithms.

    Notes
    -----
    Ctrl-C raises KeyboardInterrupt and gives no partial result; nothing that was passed has
    been changed.

    On CuPy arrays a thread block of the GPU fits a whole problem where it is small enough; what a
    block cannot do goes the way of `k_means`.  The bits are the same.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import k_means, k_means_batched
    >>> X = np.array([[[0.0], [1], [8], [9]], [[5.0], [5], [6], [0]]])
    >>> found = k_means_batched(X, n_clusters=2, random_state=0)
    >>> found.labels
    array([[1, 1, 0, 0],
           [0, 0, 0, 1]], dtype=int32)
    >>> found.inertia.round(3)
    array([1.   , 0.667])

    One problem again, alone:

    >>> state = found.random_states[1]
    >>> alone = k_means(X[1], n_clusters=2, random_state=state, search=None)
    >>> bool((alone[1] == found.labels[1]).all())
    True
    """
    check_device_word(device)
    rows = check_batch(X, n_clusters)
    place = place_of(rows, device)
    model = KMeans(n_clusters, init=init, n_init=n_init)
    states = random_states(draw_seed(check_random_state(random_state)), int(rows.shape[0]))
    rules = Rules(max_iter, float(tol), empty_cluster)
    with place.work.scope():
        batch = _prepare(rows, sample_weight, model, rules, seeds_of(states), place)
        solved = solve(batch)
        result = _at_home(solved, states, place)
    _warn_of_duplicates(solved, n_clusters)
    return result


def _prepare(
    x: Array, sample_weight: Any, model: KMeans, rules: Rules, seeds: list[int], place: Place
) -> Batch:
    """Check what is left to check, and move the data once."""
    context, k = place.work, model.n_clusters
    size, n, d = (int(extent) for extent in x.shape)
    starts = None
    if not isinstance(model.init, str):
        starts = check_batch_centers(model.init, (size, k, d), dtype_name(x), context)
    weight = check_batch_weight(sample_weight, (size, n), context)
    x = context.move(x)
    check_values(x, weight, k, context)
    runs = count_runs(model, starts, _WHO)
    name = "given" if starts is not None else model.init
    return Batch(x, weight, starts, context, k, name, runs, rules, seeds)


def _at_home(solved: Solved, states: npt.NDArray[np.int64], place: Place) -> BatchedKMeansResult:
    work, status = place.work, tuple(status for status in solved.status if status is not None)
    inertia = work.from_host(np.asarray(solved.inertia, dtype=np.float64))
    n_iter = work.from_host(np.asarray(solved.n_iter, dtype=np.int64))
    return BatchedKMeansResult(
        place.send_home(solved.centers),
        place.send_home(solved.labels),
        place.send_home(inertia),
        place.send_home(n_iter),
        status,
        states,
        work.device_name,
        work.backend,
        tuple(solved.kernel),
    )


def _warn_of_duplicates(solved: Solved, n_clusters: int) -> None:
    """One warning for all problems, of the kind that `KMeans` gives."""
    poor = [b for b, found in enumerate(solved.n_distinct) if found < n_clusters]
    if poor:
        warn(
            f"Number of distinct clusters found smaller than n_clusters ({n_clusters}) in "
            f"{len(poor)} of {len(solved.n_distinct)} problems; the first is problem {poor[0]} "
            f"with {solved.n_distinct[poor[0]]}. Possibly due to duplicate points in X.",
            ConvergenceWarning,
        )
