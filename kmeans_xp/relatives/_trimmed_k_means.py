"""TrimmedKMeans: the rows farthest from their centers are left out."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval

from .._backend import to_host
from .._solver import Way
from ..estimators._by_means import ByMeans
from ..estimators._place import Rows
from ..estimators._rows import ArrayRows, checked_rows
from ..estimators._run import Outcome
from ._trimmed import Trimmed


class TrimmedKMeans(ByMeans):
    """K-means clustering that leaves out a share of the rows: those farthest from their centers.

    A single row that lies far away moves a mean as far as it likes.  Here the rows that are left
    out are sought together with the clusters [1]_: rows go to the nearest center, the farthest
    share of them is left out, and each center goes to the mean of the rest, until no row changes;
    the sum of squared distances of the rows that are kept never rises [2]_.

    One seed, one answer, as for `KMeans`; with ``trim=0`` everything is that of `KMeans`.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters and of centers.
    trim : float, default=0.05
        The share of the rows that is left out, from 0 to less than 1: of n rows
        ``floor(trim * n)``.  With ``sample_weight`` it is a share of the weight; see `fit`.
    init : {"random", "k-means++", "random-partition", "k-means||"}, callable or array-like \
of shape (n_clusters, n_features), default="random"
        Where the centers start; see `KMeans`.  "k-means++" looks for rows that lie far away, and
        so begins among those that should be left out.
    n_init : "auto" or int, default="auto"
        Number of starts, of which the one with the smallest inertia is kept.  "auto" is 10 for
        "random", "random-partition" and a callable, 1 for "k-means++", "k-means||" and an array.
    max_iter : int or None, default=300
        Largest number of iterations of a start; None: no limit.
    tol : float, default=0.0
        A run also ends when the squared movement of the centers in an iteration is at most
        ``tol`` times the weighted variance of the features (their average): that of all rows,
        which those far away make large.  0: when no row changes.
    random_state : int, RandomState instance or None, default=None
        One 64-bit seed is drawn from it.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where the work happens; see `KMeans`.

    Attributes
    ----------
    cluster_centers_ : array of shape (n_clusters, n_features)
        Centers, in X's library, dtype and device (float64 for other dtypes).
    labels_ : array of shape (n_samples,), int32
        For each row the nearest of ``cluster_centers_``, the lowest index among equals; -1 for
        rows that are left out.
    outliers_ : array of shape (n_outliers,), int64
        The rows that are left out, in rising order.
    radius_ : float
        The distance of the farthest row that is kept to its center.  Rows whose least distance
        by `transform` is above it are farther out than any row that was kept.
    inertia_ : float
        Weighted sum of squared distances of the rows that are kept to their centers.
    n_iter_ : int
        Iterations of the run that was kept.
    history_ : tuple of Iteration
        One record an iteration, of rows that changed their cluster or were left out or taken
        back, the movement of the centers, and the inertia before they moved (None with
        ``trim=0``).
    status_ : str
        Why the run ended.
    n_best_ : int
        How many starts ended with an inertia as low as the best.
    device_ : str
        Where the work happened: "cpu", "cuda:0", ...
    backend_ : str
        The array library that did it; see `KMeans`.
    kernel_ : str
        The kernel that worked on the rows.
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
        When a device has too little memory, in small blocks of rows too.

    Warns
    -----
    ConvergenceWarning
        When fewer different clusters than ``n_clusters`` were found.

    See Also
    --------
    KMeans : No row is left out.

    Notes
    -----
    `predict` gives the nearest center of every row, -1 of none; `score` counts all rows.  Columns
    on scales of their own decide as in `KMeans`, but no warning tells it: the rows that are left
    out may be what makes the variance of a column large.

    References
    ----------
    .. [1] J. A. Cuesta-Albertos, A. Gordaliza, C. Matran, "Trimmed k-means: an attempt to
           robustify quantizers", Annals of Statistics 25, 1997.
    .. [2] L. A. Garcia-Escudero, A. Gordaliza, C. Matran, A. Mayo-Iscar, "A general trimming
           approach to robust cluster analysis", Annals of Statistics 36, 2008.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import TrimmedKMeans
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0], [500, 500]])
    >>> model = TrimmedKMeans(n_clusters=2, trim=0.15, random_state=0).fit(X)
    >>> model.labels_
    array([ 1,  1,  1,  0,  0,  0, -1], dtype=int32)
    >>> model.outliers_
    array([6])
    >>> model.cluster_centers_
    array([[10.,  2.],
           [ 1.,  2.]])
    >>> model.radius_
    2.0
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **ByMeans._parameter_constraints,
        "trim": [Interval(Real, 0, 1, closed="left")],
    }
    # rows that are left out may be what makes the variance of a column large
    _warns = False

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        trim: float = 0.05,
        init: Any = "random",
        n_init: Any = "auto",
        max_iter: int | None = 300,
        tol: float = 0.0,
        random_state: Any = None,
        device: str | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.trim = trim
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.device = device

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> TrimmedKMeans:
        """Compute the clusters and the rows that are left out.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to cluster, of any array API library.
        y : Ignored
            For compatibility.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, finite and not negative; None is 1 each.  Of a summed weight of W
            as much as ``trim * W`` is left out: whole rows, and a part of the weight of one, which
            keeps the label of its cluster.  Where all weights are whole numbers they are repeated
            rows, and ``floor(trim * W)`` is left out.  A row of weight 0 gets a label (-1 where it
            is farther out than every row that is kept) and changes nothing else.

        Returns
        -------
        self : TrimmedKMeans
            The fitted estimator.
        """
        return self._fit(X, sample_weight)

    def _way(self) -> Way:
        return Trimmed(float(self.trim))

    def _rows_to_fit(self, X: Any, sample_weight: Any) -> ArrayRows:
        rows = checked_rows(self, X, sample_weight)
        self._check_rows_left(rows.n_rows)
        return rows

    def _check_rows_left(self, n_rows: int) -> None:
        left = n_rows - math.floor(self.trim * n_rows)
        if left < self.n_clusters <= n_rows:
            raise ValueError(
                f"trim={self.trim!r} leaves {left} of {n_rows} rows, fewer than n_clusters="
                f"{self.n_clusters}. Use a smaller trim, or fewer clusters."
            )

    def _keep_run(self, outcome: Outcome, rows: Rows) -> None:
        super()._keep_run(outcome, rows)
        left_out, home = np.flatnonzero(to_host(outcome.result.labels) < 0), rows.place.home
        with home.scope():
            self.outliers_ = home.from_host(left_out)
        self.radius_ = outcome.result.facts["radius"]
