"""FuzzyCMeans: every row belongs to every cluster, by a share."""

from __future__ import annotations

from numbers import Real
from typing import Any

from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval

from .. import _query
from .._solver import LLOYD, Way
from .._typing import Array
from ..estimators._by_means import ByMeans
from ..estimators._place import Rows
from ..estimators._rows import ArrayRows
from ..estimators._run import Outcome
from . import _fuzzy


class FuzzyCMeans(ByMeans):
    """Fuzzy c-means clustering of arrays of any array API library.

    Each row belongs to every cluster by a membership u between 0 and 1, and a row's memberships
    sum to 1.  They and the centers, each the mean of all rows by ``u ** m``, are sought in turn, so
    that the sum of ``u ** m`` times squared distances never rises [1]_ [2]_.  For rows between
    clusters `predict_proba` says what a label alone does not.

    Memberships are formed from canonical distances by operations that every library rounds alike,
    and sums by whole numbers: one seed, one answer, for any ``m``.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters and of centers.
    m : float, default=2.0
        The fuzzifier, 1 or more.  The nearer to 1, the crisper: 1 is k-means itself, with the
        labels and centers of `KMeans`.  With a large one all memberships come near
        ``1 / n_clusters``, and centers may fall together.
    init : {"k-means++", "random", "random-partition", "k-means||"}, callable or array-like \
of shape (n_clusters, n_features), default="k-means++"
        Where the centers start; see `KMeans`.
    n_init : "auto" or int, default="auto"
        Number of starts, of which the one with the lowest objective is kept.  "auto" is 1 for
        "k-means++", "k-means||" and an array, 10 for "random", "random-partition" and a callable.
    max_iter : int or None, default=300
        Largest number of iterations of a start; None: no limit.
    tol : float, default=1e-6
        A run ends when the squared movement of the centers in an iteration is at most ``tol``
        times the weighted variance of the features (their average).  0: when the objective falls
        no more.  (Near the end each iteration makes a like share of the way that is left, so this
        is less than `KMeans` needs.)
    random_state : int, RandomState instance or None, default=None
        One 64-bit seed is drawn from it.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where the work happens; see `KMeans`.

    Attributes
    ----------
    cluster_centers_ : array of shape (n_clusters, n_features)
        Centers, in X's library, dtype and device (float64 for other dtypes).
    labels_ : array of shape (n_samples,), int32
        For each row the cluster that it belongs to most, which is that of the nearest center; the
        lowest index among equals.
    inertia_ : float
        The objective: weighted sum of ``u ** m`` times squared distances, over rows and clusters.
    partition_coefficient_ : float
        Weighted mean over the rows of the sum of squared memberships: 1 where all are crisp,
        ``1 / n_clusters`` where all are equal [1]_.
    normalized_partition_coefficient_ : float
        The same, brought to the range from 0 (all equal) to 1 (crisp) [3]_; 1 for one cluster.
    n_iter_ : int
        Iterations of the run that was kept.
    history_ : tuple of Iteration
        One record an iteration: rows whose label changed, the movement of the centers, and in
        ``inertia`` the objective before they moved (None with ``m=1``).
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
        For parameters, shapes or values that cannot be clustered; the text names them.
    DeviceError
        When a device asked for by name cannot be used; the text says what to install.
    DeviceMemoryError
        When a device has too little memory, in small blocks of rows too.

    Warns
    -----
    DataWarning
        As from `KMeans`: when one column of X decides.
    ConvergenceWarning
        When some clusters are the nearest of no row: their centers fell together, or lie between.

    See Also
    --------
    KMeans : Every row belongs to one cluster.

    Notes
    -----
    The memberships of the rows fitted are ``predict_proba(X)``: `fit` itself holds them for a few
    rows at a time.

    References
    ----------
    .. [1] J. C. Bezdek, "Pattern Recognition with Fuzzy Objective Function Algorithms", Plenum
           Press, 1981.
    .. [2] J. C. Dunn, "A fuzzy relative of the ISODATA process and its use in detecting compact
           well-separated clusters", Journal of Cybernetics 3, 1973.
    .. [3] R. N. Dave, "Validating fuzzy partitions obtained through c-shells clustering", Pattern
           Recognition Letters 17, 1996.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import FuzzyCMeans
    >>> X = np.array([[0.0, 0], [0, 2], [5, 1], [10, 0], [10, 2]])
    >>> model = FuzzyCMeans(n_clusters=2, random_state=0).fit(X)
    >>> model.predict_proba(X).round(2)
    array([[0.01, 0.99],
           [0.01, 0.99],
           [0.5 , 0.5 ],
           [0.99, 0.01],
           [0.99, 0.01]])
    >>> round(model.partition_coefficient_, 3)
    0.877
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **ByMeans._parameter_constraints,
        "m": [Interval(Real, 1, None, closed="left")],
    }
    _few = (
        "only {found} of the {asked} centers are the nearest of any row: the others fell together "
        "with these, or lie between them. Use fewer n_clusters or a smaller m, or look for "
        "duplicate rows in X."
    )

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        m: float = 2.0,
        init: Any = "k-means++",
        n_init: Any = "auto",
        max_iter: int | None = 300,
        tol: float = 1e-6,
        random_state: Any = None,
        device: str | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.m = m
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.device = device

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> FuzzyCMeans:
        """Compute the centers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to cluster, of any array API library.
        y : Ignored
            For compatibility.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, finite and not negative; None is 1 each.  A row of weight 0
            gets memberships and changes nothing else.

        Returns
        -------
        self : FuzzyCMeans
            The fitted estimator.
        """
        return self._fit(X, sample_weight)

    def predict_proba(self, X: Any) -> Array:
        """Return the memberships of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, in the library and on the device of those passed to fit.

        Returns
        -------
        memberships : array of shape (n_samples, n_clusters), X's dtype
            Between 0 and 1; each row sums to 1.  A row that lies on a center belongs to it alone,
            or in equal shares to all centers there.
        """
        rows = self._placed(X, None, "predict_proba")
        if self.m == 1:
            return self._crisp(rows, self.predict(X))
        with rows.place.work.scope():
            found = _fuzzy.memberships(*self._question(rows), float(self.m))
            return rows.place.send_home(found)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return minus the objective of rows under the centers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, in the library and on the device of those passed to fit.
        y : Ignored
            For compatibility.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            Minus the weighted sum of ``u ** m`` times squared distances.
        """
        rows = self._placed(X, sample_weight, "score")
        with rows.place.work.scope():
            if self.m == 1:
                return -_query.inertia_of(*self._question(rows))
            return -_fuzzy.objective(*self._question(rows), float(self.m))

    def _crisp(self, rows: ArrayRows, labels: Array) -> Array:
        home = rows.place.home
        with home.scope():
            numbers = home.xp.arange(self.n_clusters, dtype=labels.dtype, device=home.device)
            return home.xp.astype(labels[:, None] == numbers[None, :], rows.x.dtype)

    def _way(self) -> Way:
        return LLOYD if self.m == 1 else _fuzzy.Fuzzy(float(self.m))

    def _keep_run(self, outcome: Outcome, rows: Rows) -> None:
        super()._keep_run(outcome, rows)
        partition, least = outcome.result.facts.get("partition", 1.0), 1.0 / self.n_clusters
        self.partition_coefficient_ = partition
        self.normalized_partition_coefficient_ = (
            1.0 if self.n_clusters == 1 else (partition - least) / (1.0 - least)
        )
