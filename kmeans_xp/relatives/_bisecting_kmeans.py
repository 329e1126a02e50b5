"""BisectingKMeans: a tree of clusters, each parted in two by k-means."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions

from .._outcome import Status
from .._problem import Problem
from .._typing import Array
from ..estimators import KMeans
from ..estimators._clusterer import Clusterer
from ..estimators._rows import ArrayRows
from ..estimators._run import NAMED_STARTS
from . import _bisecting as bisecting
from ._bisecting_run import run_fit

_SAME = ("max_iter", "tol", "verbose", "copy_x", "algorithm")
_STRATEGIES = ("biggest_inertia", "largest_cluster")


class BisectingKMeans(Clusterer):
    """Hierarchical k-means from the top: one cluster after another is parted in two.

    A drop-in for :class:`sklearn.cluster.BisectingKMeans` [1]_: all rows are one cluster at first,
    and the cluster that costs most (or weighs most) is parted by k-means with two centers, until
    there are ``n_clusters``.  ``linkage_`` is the tree, which scipy's ``dendrogram`` draws and
    `cut_linkage` cuts.  Many clusters take fewer distances than with `KMeans`: a row is compared
    with the halves of its own cluster alone; the inertia is as a rule larger.

    The same seed gives the same tree, bit for bit, on NumPy, CuPy, torch and JAX.  Draws depend on
    the way from the top to the cluster that is parted: so by "biggest_inertia" fewer clusters are
    the upper part of the same tree, and a fit of 100 holds the answers for 2 to 99.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters, the leaves of the tree.
    init : {"random", "k-means++", "random-partition", "k-means||"} or callable, default="random"
        Where the two centers of a bisection start, among the rows of its cluster; see `KMeans`.  A
        callable gets these rows, 2 and a random state, and returns two centers.
    n_init : int, default=1
        Number of starts of a bisection, of which the one with the smallest inertia is kept.
    random_state : int, RandomState instance or None, default=None
        One 64-bit seed is drawn from it.
    max_iter : int or None, default=300
        Largest number of iterations of a start; None: no limit.
    verbose : int, default=0
        Print a line for each bisection.
    tol : float, default=1e-4
        A bisection also ends when its centers move less than this share of the variance of its
        rows; see `KMeans`.  0: not for this reason.
    copy_x : bool, default=True
        For compatibility; X is never changed.
    algorithm : {"lloyd", "elkan"}, default="lloyd"
        For compatibility; both are the same loop, which skips what bounds prove.
    bisecting_strategy : {"biggest_inertia", "largest_cluster"}, default="biggest_inertia"
        Which cluster is parted next: that of the largest inertia, or that of the largest weight
        (without ``sample_weight``: of the most rows).  The leftmost among equals.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where the work happens; see `KMeans`.

    Attributes
    ----------
    cluster_centers_ : array of shape (n_clusters, n_features)
        Centers of the leaves from left to right, in X's library, dtype and device (float64 for
        other dtypes).
    labels_ : array of shape (n_samples,), int32
        For each row its leaf, to which it comes as `predict` describes.
    inertia_ : float
        Weighted sum of squared distances of the rows to the centers of their leaves.
    linkage_ : ndarray of shape (n_clusters - 1, 4), float64
        The tree from below, a NumPy array as of :func:`scipy.cluster.hierarchy.linkage`: two
        clusters, the height at which they are one, and its number of leaves.  The height is the
        (weighted) inertia of the cluster that was parted, around its own center.  It grows towards
        the top: two halves around their means cost no more than their whole around its mean, and
        Lloyd's iterations add nothing; what roundings may add is evened out, so that no cluster is
        higher than one that it is part of.
    n_iter_ : int
        Iterations of all bisections together (of the starts that were kept).
    status_ : str
        Why they ended; of the bisection that came least far.
    device_ : str
        Where the work happened: "cpu", "cuda:0", ...
    backend_ : str
        The array library that did it; see `KMeans`.
    kernel_ : str
        The kernel that worked on all rows.
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
        When X has fewer different rows than ``n_clusters``.  The clusters that are missing have no
        rows, stand at the last one's center, and are merged with it at the bottom.

    See Also
    --------
    KMeans : Clusters without a tree, of a smaller inertia.
    centers_linkage : A tree from below, over the centers that a fit left.
    cut_linkage : Fewer clusters from a tree.

    References
    ----------
    .. [1] M. Steinbach, G. Karypis, V. Kumar, "A comparison of document clustering techniques",
           KDD Workshop on Text Mining 2000.

    Examples
    --------
    >>> from kmeans_xp import BisectingKMeans, cut_linkage
    >>> X = [[1.0, 1], [10, 1], [3, 1], [10, 0], [2, 1], [10, 2], [10, 8], [10, 9], [10, 10]]
    >>> model = BisectingKMeans(n_clusters=3, random_state=0).fit(X)
    >>> model.labels_
    array([1, 2, 1, 2, 1, 2, 0, 0, 0], dtype=int32)
    >>> model.predict([[0.0, 0], [12, 3]])
    array([1, 0], dtype=int32)
    >>> cut_linkage(model.linkage_, 2, model.labels_)
    array([1, 1, 1, 1, 1, 1, 0, 0, 0], dtype=int32)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        **Clusterer._parameter_constraints,
        **{name: KMeans._parameter_constraints[name] for name in _SAME},
        "init": [StrOptions(set(NAMED_STARTS)), callable],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "bisecting_strategy": [StrOptions(set(_STRATEGIES))],
    }
    _tree_centers: Array
    _splits: bisecting.Splits
    _heights: tuple[float, ...]

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "random",
        n_init: int = 1,
        random_state: Any = None,
        max_iter: int | None = 300,
        verbose: int = 0,
        tol: float = 1e-4,
        copy_x: bool = True,
        algorithm: str = "lloyd",
        bisecting_strategy: str = "biggest_inertia",
        device: str | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.random_state = random_state
        self.max_iter = max_iter
        self.verbose = verbose
        self.tol = tol
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.bisecting_strategy = bisecting_strategy
        self.device = device

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> BisectingKMeans:
        """Part the rows until there are ``n_clusters``.

        After Ctrl-C the clusters that there are so far, fewer than ``n_clusters``, are kept in the
        fitted attributes, and KeyboardInterrupt is raised.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to cluster, of any array API library.
        y : Ignored
            For compatibility.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, finite and not negative; None is 1 each.  A row of weight 0
            gets a label and changes nothing else.

        Returns
        -------
        self : BisectingKMeans
            The fitted estimator.
        """
        return self._fit(X, sample_weight)

    @property
    def linkage_(self) -> npt.NDArray[np.float64]:
        # on the host for scipy, where the attributes that are arrays are X's
        return bisecting.tree_linkage(self._splits, self._heights)

    def predict(self, X: Any) -> Array:
        """Return the leaf of each row.

        As in scikit-learn a row goes down the tree, in each bisection to the half whose center is
        nearer (the left one if both are as near).  So the rows of fit get ``labels_``; another
        leaf's center may be nearer.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, in the library and on the device of those passed to fit.

        Returns
        -------
        labels : array of shape (n_samples,), int32
            Exact: each step is judged by the float64 distance of the stored values.
        """
        rows = self._placed(X, None, "predict")
        with rows.place.work.scope():
            return rows.place.send_home(self._leaves(rows)[1])

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return minus the weighted sum of squared distances to the centers of the rows' leaves.

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
            Minus the inertia of X under the labels of `predict`; of the rows of fit it is
            ``-inertia_``.
        """
        rows = self._placed(X, sample_weight, "score")
        with rows.place.work.scope():
            problem, labels = self._leaves(rows)
            centers = rows.place.work.move(self.cluster_centers_)
            return -bisecting.inertia_by(problem, centers, labels)

    def _solve(self, rows: ArrayRows, X: Any, given: None) -> tuple[Status, int | None]:
        outcome = run_fit(self, rows)
        self._keep(outcome.result, rows)
        self.kernel_ = outcome.kernel
        self._tree_centers = rows.place.send_home(outcome.centers)
        self._splits, self._heights = outcome.tree.splits, outcome.tree.heights
        self._middle = outcome.middle
        return outcome.result.status, outcome.result.n_distinct

    def _leaves(self, rows: ArrayRows) -> tuple[Problem, Array]:
        """Rows that are asked about, and their labels, where the work happens."""
        who, work = type(self).__name__, rows.place.work
        problem, centers = rows.question(self._tree_centers, self._middle, who=who)
        found = bisecting.descend(problem, centers, self._splits)
        names = np.zeros(int(centers.shape[0]), dtype=np.int32)
        leaves = bisecting.leaves_of(self._splits)
        names[leaves] = np.arange(len(leaves), dtype=np.int32)
        return problem, work.xp.take(work.from_host(names), found)
