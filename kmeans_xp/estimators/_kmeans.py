"""KMeans: the scikit-learn face of Lloyd's algorithm."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions

from .._empty import RULES
from .._outcome import Iteration
from .._typing import Array
from .._validation import is_dask
from ._by_means import ByMeans
from ._place import Rows
from ._rows import array_rows
from ._run import Outcome
from ._streamed import stream_rows


class KMeans(ByMeans):
    """K-means clustering of arrays of any array API library, on their own device.

    A drop-in for :class:`sklearn.cluster.KMeans`: rows go to the nearest center, centers to
    the mean of their rows, until no row changes cluster.  From there a ``search`` goes on to a
    better optimum, unless ``n_init`` or the centers are given.  One seed gives one answer: the
    same labels, centers and inertia, bit for bit, on NumPy, CuPy, torch and JAX.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters and of centers.
    init : {"k-means++", "random", "random-partition", "k-means||"}, callable or array-like \
of shape (n_clusters, n_features), default="k-means++"
        Where the centers start.

        - "k-means++": each center the best of a few rows drawn in proportion to the squared
          distance to the centers so far [2]_.
        - "random": different rows, drawn by sample weight.
        - "random-partition": the means of a random partition of the rows.
        - "k-means||": few rounds of oversampling, then k-means++ on what they chose [3]_.
        - array: the centers themselves; a callable gets ``(X, n_clusters, random_state=...)``
          with X as the user gave it and returns them.
    n_init : "auto" or int, default="auto"
        Number of runs, of which the one with the smallest inertia is kept.  "auto" is 1 for
        "k-means++", "k-means||" and an array, 10 for "random", "random-partition" and a
        callable.
    max_iter : int or None, default=300
        Largest number of iterations of a run; None for no limit.
    tol : float, default=1e-4
        A run also ends when the squared movement of the centers is at most ``tol`` times the
        weighted variance of the features (their average).  0 means: only when no row changes.
    verbose : int, default=0
        Print the inertia of each iteration (the search's runs too), which costs a pass each.
    random_state : int, RandomState instance or None, default=None
        One 64-bit seed is drawn from it.
    copy_x : bool, default=True
        For compatibility.  X is never changed, and never copied as long as it is float32 or
        float64 and stays on its device.
    algorithm : {"lloyd", "elkan"}, default="lloyd"
        For compatibility.  Both give the same exact answer; the bounds that skip work are
        chosen by the library.
    device : None, "cpu", "cuda", "cuda:N" or "auto", or several devices, default=None
        Where the work happens.  None: where X is; arrays in host memory are worked on in
        NumPy, those on a GPU in CuPy if it is there, both without a copy.  A named device that
        cannot be used is an error; "auto" takes a GPU if there is one.  Results come back in
        X's library and on X's device.

        Several devices are a list of words, or one text, as "cuda:0,cuda:1"; "cuda:all" is all
        GPUs.  The rows of an array are split evenly over them, and the answer is that of one, bit
        for bit.  Not with ``search``, and not for streams and sparse matrices.
    empty_cluster : {"farthest", "random", "error"}, default="farthest"
        What happens to a cluster without rows: it takes over the row farthest from its
        center, its center becomes a random row (drawn by weight among those off their own
        center), or `EmptyClusterError` is raised.
    callback : callable or None, default=None
        Called after each iteration with an `Iteration` (number, changed rows, shift, inertia)
        and the new centers, in X's library, dtype and device; a true result stops the run (and the
        search, whose runs count from 1 again; ``search=None`` has one count a start).
        A run that begins anew, because the device had too little memory, calls it from 1 on.
    search : None, "auto", int or str, default="auto"
        Whether to go on from the local optimum of the best run: a pair of clusters is merged, the
        free center splits a third one, and Lloyd's loop runs from there [4]_; then rows change
        clusters where that pays once both means follow [5]_.  What lowers the inertia is kept.

        - None is Lloyd's loop alone, as in scikit-learn.
        - "auto" ends when four such swaps in a row lowered nothing and no row pays elsewhere (of
          many rows: when that gains little), or takes too long for what it lowers: about as long
          as the fit before it, counted in iterations, and again for each half percent.  It does
          nothing where ``init`` is an array or a callable or ``n_init`` is given, nor where the run
          ended by the callback or (of several features) by ``max_iter``.
        - A number is how many passes over the rows it may take (iterations of all its runs, and
          one for each look at what splits gain or which rows pay elsewhere, so that 1 is too
          few); it goes on where "auto" ends.  The last run may be cut short.
        - Seconds, such as "10s" or "0.5s", go on likewise by the clock, which is looked at
          between iterations.  How far that leads depends on the machine and its load: another
          fit with the same seed may end elsewhere, and ``status_`` says so.

        Numbers and seconds are an error where "auto" does nothing.  Never worse than without;
        but for seconds the same on every library.  Needs a run that converged.  For one feature
        the optimum itself is found, by dynamic programming [7]_, and ``status_`` says so.  Where
        that would take too much (more than 512 clusters of many values, or borders that bounds
        do not narrow down) it is a search too.  Where rows are a stream, sparse or in partitions,
        ``memory_limit`` must have room for sums at each distinct value, 120 to 180 bytes, or it
        is an error.
    checkpoint : str, path-like or None, default=None
        A file that keeps how far the fit has come.  Where it exists, the fit goes on from it, on
        any device or library, and ends with what it would have ended with, bit for bit: labels,
        centers, inertia, ``n_iter_``, ``history_``, ``trials_``.  The iterations (on a GPU the
        few) before the last write, and the swap of a search that was tried, are made again.  The
        file is replaced when the next one is on the disk, so a kill at any moment leaves a whole
        one.  At the end it stays: the same fit then returns at once.  It keeps the seed, which
        ``random_state=None`` takes up again.

        `CheckpointError` refuses a file that is damaged, or of other rows, weights or parameters
        (``device``, ``verbose`` and ``callback`` may change, and a run that a callback
        stopped is finished, as ``status_`` says; a callable ``init`` is taken at its word).  Rows
        are known by a 64-bit digest of all their bits and order, which costs a pass.  One file is
        for one fit at a time: clones of this estimator share it.
    checkpoint_every : float, default=60.0
        Seconds between two writes; 0 is after each iteration.  Ctrl-C and the end write too.
    memory_limit : int, str or None, default=None
        How much memory rows that are read as a stream, or sparse, may take, with all that is kept
        beside them, in bytes or as "500MB" or "2GiB" (see `fit`), and what a search gathers of one
        feature in the partitions of dask.  None: a quarter of what is
        available, 256 MiB at least.  Where labels and bounds of all rows would take more than half
        of it, they lie in a temporary file (in ``TMPDIR``) between passes.  Not counted are the
        results, the pages of mapped files, and some arrays (k, d).  Where rows go to a GPU block by
        block it bounds the pinned buffers.  The result does not depend on it.

    Attributes
    ----------
    cluster_centers_ : array of shape (n_clusters, n_features)
        Centers, in X's library, dtype and device (float64 for other dtypes).
    labels_ : array of shape (n_samples,), int32
        For each row the nearest of ``cluster_centers_``; the lowest index among equals.
    inertia_ : float
        Weighted sum of squared distances of the rows to their centers (WCSS).
    n_iter_ : int
        Iterations of the run that was kept.
    history_ : tuple of Iteration
        Its iterations.
    status_ : str
        Why it ended.
    reading_ : str
        Where the rows were: in one array, in a stream, or in partitions that were held in memory or
        read anew in each pass; and how many blocks of them a GPU held that had no room for all.
    trials_ : tuple of Trial
        Every run: from the starts, then those of a search or from the best centers on a line
        (swaps, iterations, inertia, whether it was kept, exchanges of rows); none for a model
        from an older file.
    n_best_ : int
        How many of them ended within a millionth of ``inertia_``.  Where it is 1 of many, more
        starts or passes may find better.
    lower_bound_ : float or None
        A number that the inertia of no clustering of these rows can be below, after a search:
        the sum of the smallest ``n_features - n_clusters + 1`` eigenvalues of the rows' scatter
        matrix, less what roundings may amount to [6]_.  It is near the optimum where clusters
        are few and round beside the number of features (0.86 of it for 10 Gaussian clusters in
        64 features, 0.54 for digits with 10 clusters, 0.19 for iris with 3), and next to
        nothing where one feature outweighs the others.  None without a search, where there are
        more clusters than features (it would be 0), or so many features that it would cost more
        than the search (above 64 and 16 for each cluster, or above 2048).  Its last bits may
        differ from machine to machine.  Where the optimum of one feature was proven, it is that.
    device_ : str
        Where the work happened: "cpu", "cuda:0", ...; several with commas.
    backend_ : str
        The array library that did it: for X of torch or JAX "numpy" in host memory, and
        "cupy" on a GPU that CuPy can use.
    kernel_ : str
        The kernel that did it.
    n_passes_ : int or None
        How often a fit read its rows, where they are a stream or sparse (partial reads are added
        up), or passed over partitions; or copied to a GPU those that it does not hold.  None for an
        array in memory, if the GPU that was asked for had room for it.
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
        When a device has too little memory, in small blocks of rows too; a `DeviceError` and a
        `MemoryError`.
    EmptyClusterError
        With ``empty_cluster="error"``.
    CheckpointError
        When there is a checkpoint, but not of this fit, or not a whole one; a `ValueError`.
    OSError
        When a checkpoint cannot be written; the one before is kept.

    Warns
    -----
    DataWarning
        Once a fit, when the (weighted) variance of one column is more than 100 times the sum of
        the others': they then have less than 1 % of the squared distances together.  Columns
        that do not vary are not counted.  `check_features` tells more, `FeatureScaler` helps.
    ConvergenceWarning
        When fewer different clusters than ``n_clusters`` were found.

    References
    ----------
    .. [1] S. Lloyd, "Least squares quantization in PCM", IEEE Trans. Inf. Theory 28, 1982.
    .. [2] D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful seeding",
           SODA 2007.
    .. [3] B. Bahmani et al., "Scalable k-means++", PVLDB 5, 2012.
    .. [4] T. Kaukoranta, P. Fränti, O. Nevalainen, "Iterative split-and-merge algorithm for VQ
           codebook generation", Optical Engineering 37, 1998.
    .. [5] J. A. Hartigan, M. A. Wong, "A k-means clustering algorithm", Applied Statistics 28,
           1979.
    .. [6] C. Ding, X. He, "K-means clustering via principal component analysis", ICML 2004.
    .. [7] H. Wang, M. Song, "Ckmeans.1d.dp: optimal k-means clustering in one dimension by
           dynamic programming", The R Journal 3, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import KMeans
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> model = KMeans(n_clusters=2, random_state=0).fit(X)
    >>> model.labels_
    array([1, 1, 1, 0, 0, 0], dtype=int32)
    >>> model.predict([[0.0, 0], [12, 3]])
    array([1, 0], dtype=int32)
    >>> model.cluster_centers_
    array([[10.,  2.],
           [ 1.,  2.]])
    >>> model.inertia_
    16.0
    """

    _takes_sparse = _takes_several = True
    _parameter_constraints: dict[str, list[Any]] = {
        **ByMeans._parameter_constraints,
        "verbose": ["verbose"],
        "copy_x": ["boolean"],
        "algorithm": [StrOptions({"lloyd", "elkan"})],
        "empty_cluster": [StrOptions(set(RULES))],
        "callback": [callable, None],
        "search": [str, Interval(Integral, 1, None, closed="left"), None],
        "checkpoint": [str, os.PathLike, None],
        "checkpoint_every": [Interval(Real, 0, None, closed="left")],
        "memory_limit": [str, Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_init: Any = "auto",
        max_iter: int | None = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: Any = None,
        copy_x: bool = True,
        algorithm: str = "lloyd",
        device: str | Sequence[str] | None = None,
        empty_cluster: str = "farthest",
        callback: Callable[[Iteration, Array], bool | None] | None = None,
        search: int | str | None = "auto",
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: float = 60.0,
        memory_limit: int | str | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.device = device
        self.empty_cluster = empty_cluster
        self.callback = callback
        self.search = search
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.memory_limit = memory_limit

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> KMeans:
        """Compute the clusters.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), path, or blocks
            Rows to cluster, of any array API library.  What is larger than memory is read in
            passes, and clustered as the same rows in memory are, bit for bit:

            - a path of an ``.npy`` file, or of a ``.parquet``, ``.arrow``, ``.feather``, ``.csv``
              or ``.tsv`` file (pyarrow reads them), a list of such paths, or their folder;
            - an iterable of blocks (arrays (m, n_features), data frames, record batches) that
              can be iterated again, or a callable without arguments that returns one;
            - a ``numpy.memmap`` larger than ``memory_limit``.

            So is a sparse matrix of SciPy (or CuPy), which gets the bits of its dense array
            without being dense beyond a block; CSR is best.

            ``init="k-means++"`` reads the rows two or three times for each cluster, "k-means||"
            a dozen times in all.
        y : Ignored
            For compatibility.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, finite and not negative; None is 1 each.  A row of weight 0
            gets a label and changes nothing else.

        Returns
        -------
        self : KMeans
            The fitted estimator.
        """
        return self._fit(X, sample_weight)

    def _rows_to_fit(self, X: Any, sample_weight: Any) -> Rows:
        several = self._several()
        if is_dask(X):
            return self._in_partitions(X, sample_weight, reset=True)
        stream = stream_rows(self, X, sample_weight)
        if stream is None and several is not None:
            return self._split(X, sample_weight, several)
        return stream or array_rows(self, X, sample_weight)

    def _keep_run(self, outcome: Outcome, rows: Rows) -> None:
        super()._keep_run(outcome, rows)
        self.reading_ = rows.reading
        self.n_passes_ = rows.n_passes
        self.trials_ = outcome.trials
        self.lower_bound_ = outcome.lower_bound
