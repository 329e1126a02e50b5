"""MiniBatchKMeans: centers that move after every few rows, also of a stream without end."""

from __future__ import annotations

import math
import os
from numbers import Integral, Real
from typing import Any

from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval

from .._minibatch import State
from .._outcome import Status
from .._validation import check_device_word, is_dask
from ._clusterer import Clusterer
from ._kmeans import KMeans
from ._minibatch_run import BatchRows, Outcome, begin_stream, go_on, run_fit, update
from ._place import Rows
from ._rows import array_rows, rows_at
from ._run import given_centers
from ._streamed import stream_rows

_SAME = ("init", "n_init", "tol", "verbose", "checkpoint", "checkpoint_every", "memory_limit")


class MiniBatchKMeans(Clusterer):
    """K-means clustering by mini-batches of arrays of any array API library.

    A drop-in for :class:`sklearn.cluster.MiniBatchKMeans`: rows of a small batch go to the
    nearest center, and each center to the mean of all rows that it was ever given [1]_.  On many
    rows that takes a few passes' worth of work, and comes near the inertia of `KMeans`.
    `partial_fit` takes batches as they come, so that the rows never need to be together.

    The same batches give the same answer, bit for bit, on NumPy, CuPy, torch and JAX; so does one
    seed, since `fit` draws its batches by keys.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters and of centers.
    init : {"k-means++", "random", "random-partition", "k-means||"}, callable or array-like \
of shape (n_clusters, n_features), default="k-means++"
        Where the centers start; see `KMeans`.  They are sought among ``init_size`` rows, and a
        callable gets these.
    max_iter : int, default=100
        Largest number of rows in all batches, as a multiple of the rows of X.
    batch_size : int, default=1024
        Rows in a batch of `fit`, at most those of X; drawn by ``sample_weight``, with replacement.
    verbose : int, default=0
        Print the inertia of each batch.
    compute_labels : bool, default=True
        Whether to give all rows labels in the end.
    random_state : int, RandomState instance or None, default=None
        One 64-bit seed is drawn from it.
    tol : float, default=0.0
        `fit` also ends when the squared movement of the centers in a step is at most ``tol``
        times the weighted variance of the features (their average).  0: not for this reason.
    max_no_improvement : int or None, default=10
        `fit` ends after so many batches in a row without a new lowest inertia (smoothed over
        batches); None: not for this reason.
    init_size : int or None, default=None
        Rows among which the centers start, different ones drawn by weight.  None is 3 batches, or
        ``3 * n_clusters`` where that is less than ``n_clusters``; at most those of X.
    n_init : "auto" or int, default="auto"
        Number of starts, of which the one with the smallest inertia of ``init_size`` drawn rows is
        taken.  "auto" is 1 for "k-means++", "k-means||" and an array, 3 for "random",
        "random-partition" and a callable.  `partial_fit` makes one.
    reassignment_ratio : float, default=0.01
        A center whose rows weigh less than this share of the heaviest one's is put on a row of
        the batch, drawn by weight.  That is looked at whenever ``10 * n_clusters`` rows were seen,
        and while a center has no row.  0 leaves all where they are.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where the work happens; see `KMeans`.
    checkpoint : str, path-like or None, default=None
        A file that keeps how far `fit` has come, as in `KMeans`: where it exists, `fit` goes on
        from it, on any device or library, and ends with what it would have ended with, bit for
        bit: centers, labels, inertia, ``n_steps_``, ``n_iter_``, and what `partial_fit` goes on
        from.  The batches since the last write are worked on again; starts that were not done
        begin anew.  `CheckpointError` refuses a file that is damaged, or of other rows, weights or
        parameters; ``compute_labels``, ``device``, ``memory_limit`` and ``verbose`` may change.
        `partial_fit` neither reads nor writes it.
    checkpoint_every : float, default=60.0
        Seconds between two writes; 0 is after each batch.  Ctrl-C and the end write too.
    memory_limit : int, str or None, default=None
        For rows that are read as a stream, or sparse; see `KMeans`.

    Attributes
    ----------
    cluster_centers_ : array of shape (n_clusters, n_features)
        Centers, in X's library, dtype and device (float64 for other dtypes).
    labels_ : array of shape (n_samples,), int32
        For each row (of the last batch, after `partial_fit`) the nearest of
        ``cluster_centers_``; the lowest index among equals.  Only with ``compute_labels``; lazy
        for a dask collection.
    inertia_ : float
        Weighted sum of squared distances of these rows to their centers (WCSS).  Without
        ``compute_labels`` `fit` leaves an estimate: the smoothed inertia of the batches.
    n_iter_ : int
        Passes over X that the batches of `fit` come to, rounded up.
    n_steps_ : int
        Batches so far.
    status_ : str
        Why `fit` ended; or that `partial_fit` may go on.
    reading_ : str
        After `fit`: where the rows were; see `KMeans`.
    device_ : str
        Where the work happened: "cpu", "cuda:0", ...
    backend_ : str
        The array library that did it; see `KMeans`.
    kernel_ : str
        The kernel that worked on the last batch.
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
    CheckpointError
        When there is a checkpoint, but not of this fit, or not a whole one; a `ValueError`.
    OSError
        When a checkpoint cannot be written; the one before is kept.

    Warns
    -----
    DataWarning
        As from `KMeans`: when one column of X (of the first rows of a stream) decides.

    See Also
    --------
    KMeans : All rows in every iteration, until none changes its cluster.

    References
    ----------
    .. [1] D. Sculley, "Web-scale k-means clustering", WWW 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import MiniBatchKMeans
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> model = MiniBatchKMeans(n_clusters=2, random_state=0)
    >>> model.partial_fit(X[:4]).partial_fit(X[4:]).cluster_centers_
    array([[ 1.,  2.],
           [10.,  2.]])
    >>> model.predict([[0.0, 0], [12, 3]])
    array([0, 1], dtype=int32)
    >>> MiniBatchKMeans(n_clusters=2, batch_size=4, random_state=0).fit(X).labels_
    array([1, 1, 1, 0, 0, 0], dtype=int32)
    """

    _takes_sparse = True
    _parameter_constraints: dict[str, list[Any]] = {
        **Clusterer._parameter_constraints,
        **{name: KMeans._parameter_constraints[name] for name in _SAME},
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "compute_labels": ["boolean"],
        "max_no_improvement": [Interval(Integral, 0, None, closed="left"), None],
        "init_size": [Interval(Integral, 1, None, closed="left"), None],
        "reassignment_ratio": [Interval(Real, 0, None, closed="left")],
    }
    _state: State

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        max_iter: int = 100,
        batch_size: int = 1024,
        verbose: int = 0,
        compute_labels: bool = True,
        random_state: Any = None,
        tol: float = 0.0,
        max_no_improvement: int | None = 10,
        init_size: int | None = None,
        n_init: Any = "auto",
        reassignment_ratio: float = 0.01,
        device: str | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: float = 60.0,
        memory_limit: int | str | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.verbose = verbose
        self.compute_labels = compute_labels
        self.random_state = random_state
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.init_size = init_size
        self.n_init = n_init
        self.reassignment_ratio = reassignment_ratio
        self.device = device
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.memory_limit = memory_limit

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> MiniBatchKMeans:
        """Compute the centers from random batches of X, and the label of each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), path, or blocks
            Rows to cluster, of any array API library, sparse, a stream as in `KMeans.fit`, or a
            dask array or data frame, with the same result.  Of an ``.npy`` file the rows of a
            batch are read alone; what can only be read in order is read once for 65,536 rows of
            batches (64 MiB where rows are wide); so are the partitions of a dask collection that
            hold rows of these batches.
        y : Ignored
            For compatibility.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, finite and not negative; None is 1 each.  Batches are drawn by
            them.  A row of weight 0 gets a label and changes nothing else.

        Returns
        -------
        self : MiniBatchKMeans
            The fitted estimator.
        """
        return self._fit(X, sample_weight)

    def _rows_to_fit(self, X: Any, sample_weight: Any) -> Rows:
        if is_dask(X):
            return self._in_partitions(X, sample_weight, reset=True)
        return stream_rows(self, X, sample_weight) or array_rows(self, X, sample_weight)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> MiniBatchKMeans:
        """Move the centers by one batch of rows.

        The first call starts the centers among its rows; later ones go on from them, and after
        `fit` from what that left.  Ctrl-C leaves the model as it was before the call.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), path, or blocks
            The rows of a batch, however many; the first time at least ``n_clusters``.  Later
            batches are in the library, dtype and device of the first.  A stream as in `fit` is
            one batch, which is read in passes, and so is a dask array or data frame, which stays
            where it is.
        y : Ignored
            For compatibility.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, finite and not negative; None is 1 each.

        Returns
        -------
        self : MiniBatchKMeans
            The updated estimator.
        """
        if not hasattr(self, "_state"):
            check_device_word(self.device)
            start = given_centers(self)
            rows = self._batch(X, sample_weight, None)
            with rows.place.work.scope():
                problem, state = begin_stream(self, rows, start)
                self._keep_batch(update(self, problem, state), rows)
            return self
        check_device_word(self.device)
        rows = self._batch(X, sample_weight, "partial_fit")
        with rows.place.work.scope():
            more, state = go_on(self, rows)
            if more is not None:
                self._keep_batch(update(self, more, state), rows)
                return self
        # no row counts: the centers stay, but values and labels are looked after
        labels = self.predict(X)
        self._state, self.n_steps_ = state, state.steps
        if self.compute_labels:
            self.labels_, self.inertia_ = labels, 0.0
        return self

    def _solve(self, rows: Rows, X: Any, given: Any) -> tuple[Status, int | None]:
        outcome = run_fit(self, rows, given)
        self._keep_batch(outcome, rows)
        self.reading_ = rows.reading
        n_rows = outcome.n_rows
        self.n_iter_ = math.ceil(self.n_steps_ * min(self.batch_size, n_rows) / n_rows)
        outcome.close()
        return outcome.status, None

    def _batch(self, X: Any, sample_weight: Any, asked: str | None) -> BatchRows:
        """Check the rows of a batch: an array, a stream, or a collection of dask."""
        if is_dask(X):
            if asked is None:
                return self._in_partitions(X, sample_weight, reset=True)
            return self._asked_of(X, sample_weight, asked)
        found = stream_rows(self, X, sample_weight, asked=asked)
        if found is not None:
            return found
        if asked is None:
            return array_rows(self, X, sample_weight)
        rows = self._placed(X, sample_weight, asked)
        return rows_at(rows, self.n_clusters, self.memory_limit)

    def _keep_batch(self, outcome: Outcome, rows: Rows) -> None:
        """Set the fitted attributes; none of rows seen before stays."""
        place = rows.place
        self.cluster_centers_ = place.send_home(outcome.centers)
        for stale in ("labels_", "inertia_", "n_iter_", "reading_"):
            if hasattr(self, stale):
                delattr(self, stale)
        if self.compute_labels:
            self.labels_ = rows.labels(outcome, outcome.middle, who=type(self).__name__)
        if outcome.inertia is not None:
            self.inertia_ = outcome.inertia
        self.n_steps_ = outcome.state.steps
        self.status_ = outcome.status.value
        self.device_ = place.work.device_name
        self.backend_ = place.work.library
        self.kernel_ = outcome.kernel
        self._state = outcome.state
        self._middle = outcome.middle
        self._n_features_out = outcome.state.n_clusters
