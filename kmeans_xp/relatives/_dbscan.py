"""DBSCAN: clusters are what dense rows connect, and the rest is noise."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from sklearn.base import BaseEstimator, ClusterMixin, _fit_context
from sklearn.utils._param_validation import Interval

from .._opening import memory_limit_of
from .._picks import compress
from .._problem import bring
from .._typing import Array, Namespace
from .._validation import check_device_word, check_rows
from .._weight_checks import check_weight
from ..estimators._place import place_of
from ..estimators._portable import Portable
from ._density import clusters
from ._neighbours import neighbourhood
from ._pairs import check_metric
from ._spaces import within_memory


class DBSCAN(Portable, ClusterMixin, BaseEstimator):
    """Clusters of any shape and number by density, of arrays of any array API library.

    A drop-in for :class:`sklearn.cluster.DBSCAN`, with its labels [1]_, [2]_.  A row is a *core
    row* if it has at least ``min_samples`` neighbours, itself included, at distances of at most
    ``eps``.  Core rows that are neighbours belong to one cluster; another row belongs to the first
    cluster that has a core row among its neighbours, and is noise if none has.  Clusters are
    numbered by their first core row.

    No more than a few million pairs of rows are looked at at a time.  The labels are exact, and the
    same on NumPy, CuPy, torch and JAX.

    Parameters
    ----------
    eps : float, default=0.5
        The largest distance between neighbours, in the units of ``metric``.
    min_samples : int, default=5
        Neighbours (or their weight) that make a core row, itself included.
    metric : {"euclidean", "manhattan", "chebyshev", "cosine", "sqeuclidean", "precomputed"} or \
callable, default="euclidean"
        The distance.  Also "l2", "l1" and "cityblock".  A callable takes two arrays of rows, (m, d)
        and (p, d), and returns their distances (m, p); they must be symmetric.  "precomputed": X
        holds the distances between all rows.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where the work happens; see `KMeans`.
    memory_limit : int, str or None, default=None
        Bytes, or a text such as "500MB", for what is remembered of pairs between passes; pairs
        beyond it are looked at anew, with the same labels.  None is a quarter of what is available.

    Attributes
    ----------
    core_sample_indices_ : array of shape (n_core_samples,), int64
        Positions of the core rows, rising, in X's library and on its device.
    components_ : array of shape (n_core_samples, n_features)
        The core rows.
    labels_ : array of shape (n_samples,), int32
        The cluster of each row, from 0; -1 for noise.
    device_ : str
        Where the work happened: "cpu", "cuda:0", ...
    backend_ : str
        The array library that did it; see `KMeans`.
    n_features_in_ : int
        Features seen during fit.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, when X had string names.

    Raises
    ------
    ValueError
        For parameters, shapes or values that cannot be clustered; the text names them.
    DeviceError
        When a device asked for by name cannot be used; the text says what to install.
    DeviceMemoryError
        When a device has too little memory.

    See Also
    --------
    KMeans : A given number of clusters, each around its mean.

    Notes
    -----
    Rows are halved at medians until parts of some tens of rows are left, and parts whose boxes are
    too far apart hold no neighbours.  Time is that of the pairs that are left: few where ``eps`` is
    small and there are few features, and ``n_samples**2`` at worst.  Memory is that of three more
    X in float64, and what ``memory_limit`` says.

    Euclidean distances are compared as squares: the canonical float64 one with ``eps * eps``,
    rounded once.  So rows at a distance of just ``eps`` are neighbours wherever both squares are
    exact, as on a grid of whole numbers.  scikit-learn compares the same squares, in roundings of
    its own: where a distance differs from ``eps`` by a rounding alone, it may decide otherwise.

    References
    ----------
    .. [1] M. Ester, H.-P. Kriegel, J. Sander, X. Xu, "A density-based algorithm for discovering
           clusters in large spatial databases with noise", KDD 1996.
    .. [2] E. Schubert, J. Sander, M. Ester, H.-P. Kriegel, X. Xu, "DBSCAN revisited, revisited: why
           and how you should (still) use DBSCAN", ACM Transactions on Database Systems 42, 2017.

    Examples
    --------
    >>> from kmeans_xp import DBSCAN
    >>> X = [[1.0, 2], [2, 2], [2, 3], [8, 7], [8, 8], [25, 80]]
    >>> model = DBSCAN(eps=3, min_samples=2).fit(X)
    >>> model.labels_
    array([ 0,  0,  0,  1,  1, -1], dtype=int32)
    >>> model.core_sample_indices_
    array([0, 1, 2, 3, 4])
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "eps": [Interval(Real, 0.0, None, closed="neither")],
        "min_samples": [Interval(Integral, 1, None, closed="left")],
        "metric": [str, callable],
        "device": [str, list, tuple, None],
        "memory_limit": [Interval(Integral, 1, None, closed="left"), str, None],
    }

    def __init__(
        self,
        eps: float = 0.5,
        *,
        min_samples: int = 5,
        metric: Any = "euclidean",
        device: str | None = None,
        memory_limit: int | str | None = None,
    ) -> None:
        self.eps = eps
        self.min_samples = min_samples
        self.metric = metric
        self.device = device
        self.memory_limit = memory_limit

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> DBSCAN:
        """Find the core rows and the clusters that they connect.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, n_samples)
            Rows to cluster, of any array API library; with ``metric="precomputed"`` the distances
            between them.
        y : Ignored
            For compatibility.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, finite and not all zero; None is 1 each.  A row that weighs
            ``min_samples`` is core by itself; a negative weight keeps its neighbours from being
            core rows.  Sums of weights are exact.

        Returns
        -------
        self : DBSCAN
            The fitted estimator.
        """
        check_device_word(self.device)
        who = type(self).__name__
        metric, limit = check_metric(self.metric, who), memory_limit_of(self.memory_limit)
        x = check_rows(self, X, reset=True)
        place, n_rows = place_of(x, self.device), int(x.shape[0])
        work = place.work
        with work.scope(), within_memory(work, f"pairs of {n_rows} rows", "lower memory_limit"):
            weight = check_weight(sample_weight, n_rows, work, signed=True)
            _refuse_no_weight(weight, xp=work.xp)
            there = bring(x, work, 1)
            if self.memory_limit is None and work.free_memory is not None:
                limit = work.free_memory // 4
            hood = neighbourhood(there, metric, float(self.eps), work, limit, who=who)
            labels, core = clusters(hood, weight, int(self.min_samples))
            found = _positions(core, xp=work.xp)
            components = work.xp.take(there, found, axis=0)
        self.labels_ = place.send_home(labels)
        self.core_sample_indices_ = place.send_home(found)
        self.components_ = place.send_home(components)
        self.device_, self.backend_ = work.device_name, work.backend
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Array:
        """Find the clusters and return the label of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, n_samples)
            Rows to cluster, as in `fit`.
        y : Ignored
            For compatibility.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, as in `fit`.

        Returns
        -------
        labels : array of shape (n_samples,), int32
            The same as ``labels_``.
        """
        return self.fit(X, sample_weight=sample_weight).labels_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.pairwise = self.metric == "precomputed"
        return tags


def dbscan(
    X: Any,
    eps: float = 0.5,
    *,
    min_samples: int = 5,
    metric: Any = "euclidean",
    sample_weight: Any = None,
    device: str | None = None,
    memory_limit: int | str | None = None,
) -> tuple[Array, Array]:
    """Return the core rows and the cluster of each row; see `DBSCAN`.

    Rows that have enough neighbours are connected with these; what nothing connects is noise [1]_.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features) or (n_samples, n_samples)
        Rows to cluster, of any array API library, or the distances between them.
    eps : float, default=0.5
        The largest distance between neighbours.
    min_samples : int, default=5
        Neighbours (or their weight) that make a core row, itself included.
    metric : str or callable, default="euclidean"
        The distance; see `DBSCAN`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, finite; None is 1 each.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where the work happens; see `KMeans`.
    memory_limit : int, str or None, default=None
        For what is remembered of pairs; see `DBSCAN`.

    Returns
    -------
    core_samples : array of shape (n_core_samples,), int64
        Positions of the core rows, rising.
    labels : array of shape (n_samples,), int32
        The cluster of each row, from 0; -1 for noise.

    References
    ----------
    .. [1] M. Ester, H.-P. Kriegel, J. Sander, X. Xu, "A density-based algorithm for discovering
           clusters in large spatial databases with noise", KDD 1996.

    Examples
    --------
    >>> from kmeans_xp import dbscan
    >>> dbscan([[1.0], [1.5], [2.0], [8.0], [8.5], [20.0]], eps=0.5, min_samples=2)
    (array([0, 1, 2, 3, 4]), array([ 0,  0,  0,  1,  1, -1], dtype=int32))
    """
    model = DBSCAN(
        eps, min_samples=min_samples, metric=metric, device=device, memory_limit=memory_limit
    ).fit(X, sample_weight=sample_weight)
    return model.core_sample_indices_, model.labels_


def _refuse_no_weight(weight: Array | None, /, *, xp: Namespace) -> None:
    """Raise where every weight is zero, as scikit-learn does."""
    if weight is not None and not bool(xp.any(weight != 0.0)):
        raise ValueError(
            "sample_weight is zero for every row, so that no row can be a core row. Give some rows "
            "a weight, or leave sample_weight out."
        )


def _positions(mask: Array, /, *, xp: Namespace) -> Array:
    """Positions of the true entries, int64."""
    count = int(xp.count_nonzero(mask))
    found, _ = compress(mask, max(1, count), xp=xp)
    return xp.astype(found[:count], xp.int64, copy=False)
