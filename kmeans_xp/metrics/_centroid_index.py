"""The centroid index: how many clusters two sets of centers place differently."""

from __future__ import annotations

from typing import Any

from .. import _query
from .._backend import Context, resolve
from .._typing import Array
from .._validation import (
    check_device_word,
    check_float64,
    check_table,
    refuse_non_finite,
)
from ._labels import group


def centroid_index(centers_a: Any, centers_b: Any, *, device: str | None = None) -> int:
    """Return the number of clusters that two sets of centers allocate differently.

    Each center is mapped to the nearest one of the other set; those that none is mapped to are
    orphans.  The index is the number of orphans, in the set that has more of them: 0 says that
    the clusterings have the same structure, 1 that one cluster is missing where another is
    split in two, and so on [1]_.

    Parameters
    ----------
    centers_a : array-like of shape (n_clusters_a, n_features)
        Centers, of any array API library; those found, say.
    centers_b : array-like of shape (n_clusters_b, n_features)
        Centers that they are compared to; those of the ground truth, say.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where the work happens; None is where ``centers_a`` is.

    Returns
    -------
    index : int
        From 0 to ``max(n_clusters_a, n_clusters_b) - 1``, and the same for sets that are swapped.
        Nearest is judged exactly, as in `KMeans.predict`: among equal distances, equal centers
        among them, the lowest index counts.

    Raises
    ------
    ValueError
        For shapes or values that cannot be compared; the text names them.
    DeviceError
        When a device asked for by name cannot be used.

    References
    ----------
    .. [1] P. Franti, M. Rezaei, Q. Zhao, "Centroid index: cluster level similarity measure",
           Pattern Recognition 47, 2014.

    Examples
    --------
    >>> from kmeans_xp.metrics import centroid_index
    >>> truth = [[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]]
    >>> centroid_index([[0.1, 5.0], [0.0, 0.1], [5.0, 0.2]], truth)
    0
    >>> centroid_index([[0.0, 4.0], [0.0, 6.0], [2.0, 0.0]], truth)
    1
    """
    device = check_device_word(device)
    named = [
        (name, check_table(centers, name, "centroid_index"))
        for name, centers in (("centers_a", centers_a), ("centers_b", centers_b))
    ]
    for name, centers in named:
        refuse_non_finite(centers, name, "centroid_index")
    (_, a), (_, b) = named
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"centers_a has {a.shape[1]} features and centers_b {b.shape[1]}. Pass centers of "
            "clusterings of the same data."
        )
    work, _ = resolve(a, device)
    check_float64(work)
    with work.scope():
        a, b = work.move(a), work.move(b)
        return max(_orphans(a, b, work), _orphans(b, a, work))


def _orphans(centers: Array, others: Array, context: Context) -> int:
    """How many of the others are the nearest of no center."""
    # any point amid them will do; it decides nothing but speed
    middle = [0.0] * int(others.shape[1])
    labels = _query.predict(
        *_query.prepare(centers, None, others, middle, context, who="centroid_index")
    )
    return int(others.shape[0]) - group(labels, xp=context.xp).n_groups
