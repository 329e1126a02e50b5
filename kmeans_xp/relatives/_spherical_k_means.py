"""SphericalKMeans: rows by their direction alone, centers of length 1."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sklearn.base import _fit_context
from sklearn.utils._param_validation import StrOptions

from .. import _query
from .._problem import bring
from .._solver import Way
from .._typing import Array
from ..estimators._by_means import ByMeans
from ..estimators._rows import ArrayRows, checked_rows
from ._spherical import SPHERICAL, unit_rows


class SphericalKMeans(ByMeans):
    """Spherical k-means clustering of arrays of any array API library, by cosine similarity.

    Rows are scaled to length 1, so that their direction alone counts, as for texts and embeddings.
    Each belongs to the center with the largest cosine, and a center is the direction of the mean of
    its rows [1]_ [2]_.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters and of centers.
    init : {"k-means++", "random"}, callable or array-like of shape (n_clusters, n_features), \
default="k-means++"
        Where the centers start: among the scaled rows, or at given centers, which are scaled
        likewise; see `KMeans`.
    n_init : "auto" or int, default="auto"
        Number of starts, of which the one with the lowest objective is kept.  "auto" is 1 for
        "k-means++" and an array, 10 for "random" and a callable.
    max_iter : int or None, default=300
        Largest number of iterations of a start; None: no limit.
    tol : float, default=1e-4
        A run ends when the squared movement of the centers in an iteration is at most ``tol``
        times the weighted variance of the features (their average) of the scaled rows.  0: when no
        row changes cluster.
    random_state : int, RandomState instance or None, default=None
        One 64-bit seed is drawn from it.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where the work happens; see `KMeans`.

    Attributes
    ----------
    cluster_centers_ : array of shape (n_clusters, n_features)
        Centers of length 1, in X's library, dtype and device (float64 for other dtypes).
    labels_ : array of shape (n_samples,), int32
        The nearest center of each scaled row, which has the largest cosine (up to rounding).
    inertia_ : float
        The objective: weighted sum of 1 - cosine, half the squared distances of the scaled rows.
    n_iter_ : int
        Iterations of the run that was kept.
    history_ : tuple of Iteration
        One record an iteration: rows whose label changed, the movement of the centers, and in
        ``inertia`` the objective before they moved.
    status_ : str
        Why the run ended.
    n_best_ : int
        How many starts ended with an objective as low as the best.
    device_ : str
        Where the work happened: "cpu", "cuda:0", ...
    backend_ : str
        The array library that did it; see `KMeans`.
    kernel_ : str
        The kernel that measured distances.
    n_features_in_ : int
        Features seen during fit.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, when X had string names.

    Raises
    ------
    ValueError
        For rows of zeros, which have no direction, and for parameters, shapes or values that cannot
        be clustered; the text names them.
    DeviceError
        When a device asked for by name cannot be used; the text says what to install.
    DeviceMemoryError
        When a device has too little memory, in small blocks of rows too.

    Warns
    -----
    ConvergenceWarning
        When fewer distinct clusters than ``n_clusters`` are found.

    See Also
    --------
    KMeans : Rows by their distance.

    References
    ----------
    .. [1] I. S. Dhillon, D. S. Modha, "Concept decompositions for large sparse text data using
           clustering", Machine Learning 42, 2001.
    .. [2] K. Hornik, I. Feinerer, M. Kober, C. Buchta, "Spherical k-means clustering", Journal of
           Statistical Software 50(10), 2012.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import SphericalKMeans
    >>> X = np.array([[1.0, 0], [90, 10], [0, 2], [1, 30]])
    >>> SphericalKMeans(n_clusters=2, init=X[[0, 2]]).fit(X).labels_
    array([0, 0, 1, 1], dtype=int32)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **ByMeans._parameter_constraints,
        "init": [StrOptions({"k-means++", "random"}), callable, "array-like"],
    }
    _few = (
        "Number of distinct clusters ({found}) found smaller than n_clusters ({asked}). Possibly "
        "due to rows of one direction in X."
    )
    _warns = False

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_init: Any = "auto",
        max_iter: int | None = 300,
        tol: float = 1e-4,
        random_state: Any = None,
        device: str | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.device = device

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> SphericalKMeans:
        """Compute the clusters.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to cluster, of any array API library; none of zeros.
        y : Ignored
            For compatibility.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, finite and not negative; None is 1 each.

        Returns
        -------
        self : SphericalKMeans
            The fitted estimator.
        """
        return self._fit(X, sample_weight)

    def predict(self, X: Any) -> Array:
        """Return the index of the center with the largest cosine to each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, in the library and on the device of those passed to fit; none of zeros.

        Returns
        -------
        labels : array of shape (n_samples,), int32
            Judged by the float64 distance of the scaled rows.
        """
        rows = self._rows_of(X, None, "predict")
        with rows.place.work.scope():
            return rows.place.send_home(_query.predict(*self._question(rows)))

    def transform(self, X: Any) -> Array:
        """Return the cosine distance, 1 - cosine, of each row to each center.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, in the library and on the device of those passed to fit; none of zeros.

        Returns
        -------
        X_new : array of shape (n_samples, n_clusters), X's dtype
            Between 0 and 2.
        """
        return self._distances(X, "transform")

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return minus the objective of rows under the centers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, in the library and on the device of those passed to fit; none of zeros.
        y : Ignored
            For compatibility.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            Minus the weighted sum of 1 - cosine.
        """
        return 0.5 * super().score(X, sample_weight=sample_weight)

    def _distances(self, X: Any, method: str) -> Array:
        rows = self._rows_of(X, None, method)
        with rows.place.work.scope():
            apart = _query.distances(*self._question(rows))
            return rows.place.send_home(0.5 * apart * apart)

    def _way(self) -> Way:
        return SPHERICAL

    def _rows_to_fit(self, X: Any, sample_weight: Any) -> ArrayRows:
        return self._scaled(checked_rows(self, X, sample_weight))

    def _rows_of(self, X: Any, sample_weight: Any, method: str) -> ArrayRows:
        return self._scaled(self._placed(X, sample_weight, method))

    def _scaled(self, rows: ArrayRows) -> ArrayRows:
        work = rows.place.work
        with work.scope():
            there = bring(rows.x, work, self.n_clusters)
            return replace(rows, x=unit_rows(there, "X", type(self).__name__))
