"""Ward's hierarchy over the centers that a fit left, and fewer clusters from any tree."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import array_api_compat
import numpy as np
import numpy.typing as npt

from .. import _exact as exact
from .._backend import context_of, to_host
from .._typing import Array
from .._validation import check_table, is_dask, is_foreign, real_numbers, refuse_non_finite
from . import _linkage


def centers_linkage(centers: Any, sizes: Any = None) -> npt.NDArray[np.float64]:
    """Ward's hierarchy over centers: which clusters to merge, from below.

    Ward's method [1]_ merges the two clusters whose merge adds least to the inertia.  That depends
    on centers and sizes alone, so that it goes on from k-means exactly as if it had merged the rows
    of each cluster itself [2]_.  A million rows in 1000 clusters get a hierarchy at the price of
    1000 points.

    Parameters
    ----------
    centers : fitted estimator, or array-like of shape (n_clusters, n_features)
        With ``cluster_centers_``, such as `KMeans` or `MiniBatchKMeans`; or such centers, which are
        the means of their rows, of any array API library.
    sizes : array-like of shape (n_clusters,), default=None
        The summed weights of the rows of each cluster; None is the number of rows by the
        estimator's ``labels_``, and 1 each where centers are given.  After a fit with
        ``sample_weight`` pass ``numpy.bincount(model.labels_, sample_weight, n_clusters)``.  A
        cluster of size 0 is merged with the nearest other one at height 0.

    Returns
    -------
    linkage : ndarray of shape (n_clusters - 1, 4), float64
        As from :func:`scipy.cluster.hierarchy.ward`, with the clusters as its observations: two
        clusters, the height at which they are one, and the number of clusters in it.  Half the
        square of a height is what the merge adds to the inertia.  scipy's ``dendrogram`` draws it.
        The same bits for the same centers, whatever their library.

    Raises
    ------
    ValueError
        For centers or sizes that are not finite, sizes that are negative or all 0, or shapes that
        do not belong together.

    See Also
    --------
    cut_linkage : Labels of rows for fewer clusters.
    BisectingKMeans : A hierarchy from the top.

    Notes
    -----
    Time and memory grow with the square of the number of clusters: about 200 MB for 5000.  Among
    equal costs, chains of nearest neighbours go to the lowest number.

    References
    ----------
    .. [1] J. H. Ward, "Hierarchical grouping to optimize an objective function", J. Am. Stat.
           Assoc. 58, 1963.
    .. [2] F. Murtagh, P. Legendre, "Ward's hierarchical agglomerative clustering method: which
           algorithms implement Ward's criterion?", J. Classification 31, 2014.

    Examples
    --------
    >>> from kmeans_xp import KMeans, centers_linkage, cut_linkage
    >>> X = [[0.0], [1.0], [10.0], [11.0], [12.0], [50.0]]
    >>> model = KMeans(n_clusters=4, random_state=0).fit(X)
    >>> linkage = centers_linkage(model)
    >>> linkage.shape
    (3, 4)
    >>> cut_linkage(linkage, 2, model.labels_)
    array([0, 0, 0, 0, 0, 1], dtype=int32)
    """
    labels = None
    if hasattr(centers, "cluster_centers_"):
        labels = getattr(centers, "labels_", None)
        if sizes is None and (labels is None or is_dask(labels)):
            raise ValueError(
                f"the sizes of the clusters of this {type(centers).__name__} are not known: it has "
                f"{'no labels_' if labels is None else 'lazy labels_'}. Pass sizes, the number (or "
                "the summed weights) of each cluster's rows."
            )
        centers = centers.cluster_centers_
    points = check_table(centers, "centers", "centers_linkage")
    refuse_non_finite(points, "centers", "centers_linkage")
    k = int(points.shape[0])
    if sizes is None:
        sizes = np.ones(k) if labels is None else _counts(labels, k)
    masses = _check_sizes(sizes, k)
    return _linkage.linkage_of(*_linkage.ward(to_host(points).astype(np.float64), masses))


def cut_linkage(linkage: Any, n_clusters: int, labels: Any = None) -> Array:
    """Fewer clusters from a tree: the last merges are undone.

    Parameters
    ----------
    linkage : array-like of shape (n_leaves - 1, 4)
        From `centers_linkage`, `BisectingKMeans` or scipy, sorted by height.
    n_clusters : int
        How many clusters to leave, 1 to ``n_leaves``.
    labels : array-like of shape (n_samples,), default=None
        The leaf of each row, such as the ``labels_`` of the fit whose centers were merged; integers
        of any array API library.

    Returns
    -------
    groups : array of shape (n_samples,) or (n_leaves,), int32
        The cluster of each row, in the library and on the device of ``labels``; without them that
        of each leaf, as NumPy's.  Clusters are numbered by their first leaves.

    Raises
    ------
    ValueError
        For what is no linkage matrix, another number of clusters, or labels of no leaf.

    See Also
    --------
    centers_linkage : Ward's hierarchy over centers.
    BisectingKMeans : A hierarchy from the top.

    Examples
    --------
    >>> from kmeans_xp import centers_linkage, cut_linkage
    >>> linkage = centers_linkage([[0.0], [9.0], [1.0], [30.0]], sizes=[5, 5, 5, 1])
    >>> cut_linkage(linkage, 2)
    array([0, 0, 0, 1], dtype=int32)
    >>> cut_linkage(linkage, 3, [3, 3, 0, 1, 2])
    array([2, 2, 0, 1, 0], dtype=int32)
    """
    tree = _check_linkage(linkage)
    k = len(tree) + 1
    if not (isinstance(n_clusters, Integral) and 1 <= n_clusters <= k):
        raise ValueError(
            f"n_clusters={n_clusters!r} must be an integer from 1 to {k}, the number of leaves of "
            "the linkage."
        )
    groups = _linkage.cut(tree, int(n_clusters))
    if labels is None:
        return groups
    if not is_foreign(labels, "labels"):
        labels = np.asarray(labels)
    context = context_of(labels)
    with context.scope():
        _check_leaves(labels, k)
        return context.xp.take(context.from_host(groups), labels)


def _counts(labels: Array, k: int) -> npt.NDArray[np.float64]:
    """Rows of each label, counted where they are."""
    context = context_of(labels)
    with context.scope():
        xp = context.xp
        edges = exact.to_device(np.arange(k + 1, dtype=np.int32), labels, xp=xp)
        ends = to_host(xp.searchsorted(xp.sort(labels), edges))
    return np.diff(ends).astype(np.float64)


def _check_sizes(sizes: Any, k: int) -> npt.NDArray[np.float64]:
    with real_numbers("sizes"):
        found = to_host(sizes) if is_foreign(sizes, "sizes") else np.asarray(sizes)
        masses = found.astype(np.float64)
    if masses.shape != (k,):
        raise ValueError(f"sizes has shape {masses.shape}, expected ({k},): one for each center.")
    bad = ~np.isfinite(masses) | (masses < 0.0)
    if bad.any():
        place = int(bad.argmax())
        raise ValueError(
            f"sizes holds {float(masses[place])!r} at {place}. Sizes are finite and not negative."
        )
    if not masses.any():
        raise ValueError("sizes is zero for every cluster. At least one must have rows.")
    return masses


def _check_linkage(linkage: Any) -> npt.NDArray[np.float64]:
    with real_numbers("linkage"):
        tree = np.asarray(linkage, dtype=np.float64)
    if tree.ndim != 2 or tree.shape[1] != 4:
        raise ValueError(
            f"linkage has shape {tree.shape}, expected (n_leaves - 1, 4): a matrix as of "
            "scipy.cluster.hierarchy."
        )
    merged = np.sort(tree[:, :2], axis=1)
    k = len(tree) + 1
    if (merged[:, 1] >= np.arange(k, 2 * k - 1)).any() or not np.array_equal(
        np.sort(merged, axis=None), np.arange(2 * k - 2)
    ):
        raise ValueError(
            "linkage is not a tree: each row must merge two clusters that are there, each once. "
            "Pass a matrix as of scipy.cluster.hierarchy."
        )
    if (np.diff(tree[:, 2]) < 0.0).any():
        raise ValueError(
            "linkage is not sorted by its heights (column 2), so that its last merges are not the "
            "highest. Pass a matrix as of scipy.cluster.hierarchy."
        )
    return tree


def _check_leaves(labels: Array, k: int) -> None:
    xp = array_api_compat.array_namespace(labels)
    if labels.ndim != 1 or not xp.isdtype(labels.dtype, "integral"):
        raise ValueError(
            f"labels has shape {tuple(labels.shape)} and dtype {labels.dtype}, expected integers "
            "(n_samples,): the leaf of each row."
        )
    if int(labels.shape[0]) and (int(xp.min(labels)) < 0 or int(xp.max(labels)) >= k):
        raise ValueError(
            f"labels holds numbers from {int(xp.min(labels))} to {int(xp.max(labels))}, but the "
            f"linkage has the leaves 0 to {k - 1}."
        )
