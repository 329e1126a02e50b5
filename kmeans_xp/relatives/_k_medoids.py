"""KMedoids: clusters about rows of their own, under any distance."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions

from .._outcome import Status
from .._typing import Array
from ..estimators._place import Place
from ..estimators._rows import ArrayRows
from ._by_distance import ByDistance, Question
from ._medoid_run import Outcome, run_fit
from ._pairs import PRECOMPUTED, Metric, check_metric
from ._spaces import within_memory


class KMedoids(ByDistance):
    """K-medoids clustering of arrays of any array API library: a row is the center of each cluster.

    The sum of the distances of all rows to the nearest medoid is lowered by swaps of a medoid
    and another row until none lowers it [1]_.  The distance may be any; by default it is the
    sum of absolute differences, for which far rows count less than for squares.

    Losses of swaps are exact sums, so that one seed gives one answer, bit for bit, on NumPy,
    CuPy, torch and JAX.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters and of medoids.
    metric : str or callable, default="manhattan"
        The distance: "manhattan" ("cityblock", "l1"), "euclidean" ("l2"), "sqeuclidean", "cosine",
        "chebyshev"; "precomputed", where X holds the distance of row i to row j in ``X[i, j]``; or
        a function that takes two arrays of rows, (m, d) and (p, d) of float64 in the library that
        does the work, and returns their distances (m, p).
    method : {"auto", "fasterpam", "clara"}, default="auto"
        "fasterpam" compares all rows with all; without room for a table of their distances it
        takes these anew each time.  "clara" does so in samples, keeps the medoids that are best
        for all rows [2]_, and lets them go to the best rows of their clusters [3]_.  "auto"
        samples where ``memory_limit`` has no room for the table.
    init : {"build", "k-means++", "random"} or array-like of shape (n_clusters,), default="build"
        Where the medoids start: "build" takes the row that lowers the loss most, one after the
        other, and draws nothing; "k-means++" draws rows in proportion to their distance from
        those before, and keeps the best of a few; "random" draws any rows.  An array
        names the rows by position.
    max_iter : int, default=300
        Largest number of times that all rows are tried as medoids.
    random_state : int, RandomState instance or None, default=None
        One 64-bit seed is drawn from it.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where the work happens; see `KMeans`.
    memory_limit : int, str or None, default=None
        Memory for the table of distances (8 bytes each), in bytes or as "500MB", "2GiB"; None is
        1 GiB, enough for 11,585 rows.  It decides "auto", so it is no share of what is free.
    sample_size : int or None, default=None
        Rows of a sample of "clara"; None is the larger of 2000 and ``80 + 4 * n_clusters``.
    n_samplings : int, default=5
        Samples of "clara".

    Attributes
    ----------
    medoid_indices_ : array of shape (n_clusters,), int64
        Positions of the medoids in X, in X's library and on its device.
    cluster_centers_ : array of shape (n_clusters, n_features) or None
        These rows; None for "precomputed".
    labels_ : array of shape (n_samples,), int32
        For each row the nearest medoid; the lowest index among equals.
    inertia_ : float
        Weighted sum of the distances (not squared) of all rows to their medoids.
    n_iter_ : int
        How many times all rows were tried as medoids, rounded up.
    n_swaps_ : int
        Swaps made.
    method_ : str
        "fasterpam" or "clara": what was done.
    status_ : str
        Why the fit ended.
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
    KMeans : Centers that are means, for squared Euclidean distances.

    Notes
    -----
    Each trial of all rows takes time in proportion to ``n_samples**2``.  A row of weight 0 gets a
    label, is no medoid, and changes nothing else.

    References
    ----------
    .. [1] E. Schubert, P. J. Rousseeuw, "Fast and eager k-medoids clustering: O(k) runtime
           improvement of the PAM, CLARA, and CLARANS algorithms", Information Systems 101, 2021.
    .. [2] L. Kaufman, P. J. Rousseeuw, "Finding Groups in Data", 1990.
    .. [3] T. Z. Baharav, D. Tse, "Ultra fast medoid identification via correlated sequential
           halving", NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import KMedoids
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0], [500, 2]])
    >>> model = KMedoids(n_clusters=2).fit(X[:6])
    >>> model.cluster_centers_
    array([[ 1.,  2.],
           [10.,  2.]])
    >>> model.inertia_
    8.0
    >>> model.predict([[0.0, 0], [12, 3]])
    array([0, 1], dtype=int32)
    >>> KMedoids(n_clusters=1).fit(X).cluster_centers_
    array([[10.,  2.]])
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **ByDistance._parameter_constraints,
        "metric": [str, callable],
        "method": [StrOptions({"auto", "fasterpam", "clara"})],
        "init": [StrOptions({"build", "k-means++", "random"}), "array-like"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "memory_limit": [str, Interval(Integral, 1, None, closed="left"), None],
        "sample_size": [Interval(Integral, 1, None, closed="left"), None],
        "n_samplings": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        metric: str | Callable[[Array, Array], Array] = "manhattan",
        method: str = "auto",
        init: Any = "build",
        max_iter: int = 300,
        random_state: Any = None,
        device: str | None = None,
        memory_limit: int | str | None = None,
        sample_size: int | None = None,
        n_samplings: int = 5,
    ) -> None:
        self.n_clusters = n_clusters
        self.metric = metric
        self.method = method
        self.init = init
        self.max_iter = max_iter
        self.random_state = random_state
        self.device = device
        self.memory_limit = memory_limit
        self.sample_size = sample_size
        self.n_samplings = n_samplings

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> KMedoids:
        """Find the medoids.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, n_samples)
            Rows to cluster, of any array API library; or, with ``metric="precomputed"``, their
            distances.
        y : Ignored
            For compatibility.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, by which their distances are multiplied: finite and not
            negative; None is 1 each.

        Returns
        -------
        self : KMedoids
            The fitted estimator.
        """
        return self._fit(X, sample_weight)

    def _given(self) -> Metric:
        return check_metric(self.metric, type(self).__name__)

    def _solve(self, rows: ArrayRows, X: Any, given: Metric) -> tuple[Status, int | None]:
        n_rows = rows.n_rows
        what = f"the distances of {n_rows} rows ({8 * n_rows * n_rows} bytes if all are kept)"
        remedy = "set a lower memory_limit or method='clara'"
        with within_memory(rows.place.work, what, remedy):
            outcome = run_fit(self, rows, given)
            self._keep_medoids(outcome, rows)
        return outcome.result.status, outcome.result.n_distinct

    @property
    def _home(self) -> Array:
        return self.medoid_indices_

    def _pose(self, rows: Array, place: Place) -> Question:
        metric = check_metric(self.metric, type(self).__name__)
        if metric == PRECOMPUTED:
            return Question.of_table(
                rows, place.work.move(self.medoid_indices_), place.work, who="KMedoids"
            )
        return Question.of_rows(
            rows, place.work.move(self.cluster_centers_), metric, place.work, who="KMedoids"
        )

    def _keep_medoids(self, outcome: Outcome, rows: ArrayRows) -> None:
        self._keep(outcome.result, rows)
        home = rows.place.home
        with home.scope():
            self.medoid_indices_ = home.from_host(np.asarray(outcome.medoids, dtype=np.int64))
        if self.metric == PRECOMPUTED:
            self.cluster_centers_ = None
        self.status_ = outcome.status
        self.n_swaps_ = outcome.n_swaps
        self.method_ = outcome.method

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = tags.input_tags.positive_only = self.metric == PRECOMPUTED
        return tags
