"""KMedians: clusters by the sum of absolute differences, which medians lower most."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions

from .._outcome import Status
from .._typing import Array
from ..estimators._place import Place
from ..estimators._rows import ArrayRows
from ._by_distance import ByDistance, Question
from ._median_run import run_fit
from ._spaces import within_memory


class KMedians(ByDistance):
    """K-medians clustering of arrays of any array API library.

    K-means with the sum of absolute differences (L1) in place of squares: each row goes to
    the nearest center, and each center to the median of its rows in every feature [1]_ [2]_, until
    the sum of the distances falls no more.  A few far rows move a median little.

    Sums of distances and of weights are exact, so that one seed gives one answer, bit for bit,
    on NumPy, CuPy, torch and JAX.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters and of centers.
    init : {"k-means++", "random"} or array-like of shape (n_clusters, n_features), \
default="k-means++"
        Where the centers start.  "k-means++" draws rows in proportion to their distance from those
        before, and keeps the best of a few; "random" draws any rows.
    n_init : "auto" or int, default="auto"
        Number of runs, of which the one with the smallest inertia is kept.  "auto" is 1 for
        "k-means++" and 10 for "random"; of an array there is one.
    max_iter : int, default=300
        Largest number of iterations of a run.
    random_state : int, RandomState instance or None, default=None
        One 64-bit seed is drawn from it.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where the work happens; see `KMeans`.

    Attributes
    ----------
    cluster_centers_ : array of shape (n_clusters, n_features)
        Centers, in X's library, dtype and device (float64 for other dtypes).  Between two
        middle values a median is the middle of the two.
    labels_ : array of shape (n_samples,), int32
        For each row the nearest of ``cluster_centers_``; the lowest index among equals.
    inertia_ : float
        Weighted sum of the distances (not squared) of all rows to their centers.
    n_iter_ : int
        Iterations of the run that was kept.
    status_ : str
        Why that run ended.
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

    Warns
    -----
    ConvergenceWarning
        When fewer different clusters than ``n_clusters`` were found.

    See Also
    --------
    KMedoids : Centers that are rows, under any distance.
    KMeans : Centers that are means, for squared Euclidean distances.

    Notes
    -----
    A row of weight 0 gets a label and changes nothing else.  In medians weights count to 40 bits
    of the largest.  A cluster that loses all its rows goes on from the row that pays most.

    References
    ----------
    .. [1] P. S. Bradley, O. L. Mangasarian, W. N. Street, "Clustering via concave minimization",
           NIPS 1996.
    .. [2] A. K. Jain, R. C. Dubes, "Algorithms for Clustering Data", 1988.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import KMedians
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [90, 0]])
    >>> model = KMedians(n_clusters=2, init=X[[0, 3]]).fit(X)
    >>> model.cluster_centers_
    array([[ 1.,  2.],
           [10.,  2.]])
    >>> model.inertia_
    88.0
    >>> model.predict([[0.0, 0], [12, 3]])
    array([0, 1], dtype=int32)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **ByDistance._parameter_constraints,
        "init": [StrOptions({"k-means++", "random"}), "array-like"],
        "n_init": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_init: Any = "auto",
        max_iter: int = 300,
        random_state: Any = None,
        device: str | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.random_state = random_state
        self.device = device

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> KMedians:
        """Compute the clusters.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to cluster, of any array API library.
        y : Ignored
            For compatibility.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, by which their distances are multiplied: finite and not
            negative; None is 1 each.

        Returns
        -------
        self : KMedians
            The fitted estimator.
        """
        return self._fit(X, sample_weight)

    def _solve(self, rows: ArrayRows, X: Any, given: Array | None) -> tuple[Status, int | None]:
        what = f"{rows.n_rows} rows of {rows.n_features} features, and their order by each"
        with within_memory(rows.place.work, what, "use fewer rows"):
            result = run_fit(self, rows, given)
            self._keep(result, rows)
        return result.status, result.n_distinct

    def _pose(self, rows: Array, place: Place) -> Question:
        centers, who = place.work.move(self.cluster_centers_), type(self).__name__
        return Question.of_rows(rows, centers, "manhattan", place.work, who=who)
