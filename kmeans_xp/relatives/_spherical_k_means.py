"""SphericalKMeans: rows by their direction alone, centers of length 1."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import StrOptions

from .. import _query
from .._outcome import Iteration, Status
from .._problem import bring
from .._typing import Array
from .._validation import check_device_word, check_rows
from ..estimators._clusterer import Clusterer
from ..estimators._kmeans import KMeans
from ..estimators._rows import ArrayRows
from ..estimators._run import Outcome, Place, given_centers, place_of, run_fit
from ._spherical import SPHERICAL, unit_rows

_SAME = ("n_clusters", "n_init", "max_iter", "tol", "random_state", "device")


class SphericalKMeans(Clusterer):
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
        **{name: KMeans._parameter_constraints[name] for name in _SAME},
        "init": [StrOptions({"k-means++", "random"}), callable, "array-like"],
    }
    # what a run of KMeans may be told beside
    verbose: ClassVar[int] = 0
    callback = checkpoint = search = None
    empty_cluster: ClassVar[str] = "farthest"

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
        check_device_word(self.device)
        start = given_centers(self)
        x = check_rows(self, X, reset=True)
        place = place_of(x, self.device)
        with place.work.scope():
            rows = self._scaled(x, sample_weight, place)
            outcome = run_fit(self, rows, X, start, SPHERICAL, warns=False)
            self._keep(outcome, place)
        result = outcome.result
        if result.status is Status.INTERRUPTED:
            raise KeyboardInterrupt(result.status.value)
        if result.n_distinct < self.n_clusters:
            warnings.warn(
                f"Number of distinct clusters ({result.n_distinct}) found smaller than "
                f"n_clusters ({self.n_clusters}). Possibly due to rows of one direction in X.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

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
        rows = self._rows_of(X, sample_weight, "score")
        with rows.place.work.scope():
            return -0.5 * _query.inertia_of(*self._question(rows))

    def _distances(self, X: Any, method: str) -> Array:
        rows = self._rows_of(X, None, method)
        with rows.place.work.scope():
            apart = _query.distances(*self._question(rows))
            return rows.place.send_home(0.5 * apart * apart)

    def _rows_of(self, X: Any, sample_weight: Any, method: str) -> ArrayRows:
        x, place = self._placed(X, method)
        with place.work.scope():
            return self._scaled(x, sample_weight, place)

    def _scaled(self, x: Array, sample_weight: Any, place: Place) -> ArrayRows:
        there = bring(x, place.work, self.n_clusters)
        return ArrayRows(unit_rows(there, "X", type(self).__name__), sample_weight, place)

    def _keep(self, outcome: Outcome, place: Place) -> None:
        result = outcome.result
        self.cluster_centers_ = place.send_home(result.centers)
        self.labels_ = place.send_home(result.labels)
        self.inertia_ = result.inertia
        self.n_iter_ = result.n_iter
        self.history_: tuple[Iteration, ...] = result.history
        self.status_ = outcome.status
        self.n_best_ = outcome.n_best
        self.device_ = place.work.device_name
        self.backend_ = place.work.backend
        self.kernel_ = outcome.kernel
        self._middle = outcome.middle
        self._n_features_out = int(result.centers.shape[0])
