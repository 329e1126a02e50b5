"""Silhouettes: how much nearer a row is to its own cluster than to the next one."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state

from .._backend import to_host
from .._distances import Scale, widened
from .._kernels._numpy_pairs import distance_sums
from .._primitives import Nearest, distances_by_product
from .._sources import MemorySource
from .._threads import thread_count
from .._typing import Array, Block, Namespace, slices
from .._validation import check_table
from ._rows import LabelledRows, labelled_rows

_COLUMNS = 1024  # rows of a cluster that distances are taken to at a time
_MOST_SUMS = 1 << 25  # up to which the sums of all rows to all clusters are kept
_FEW_COLUMNS = 256  # up to which clusters are taken together


def silhouette_score(
    X: Any,
    labels: Any,
    *,
    metric: str = "euclidean",
    sample_size: int | None = None,
    random_state: Any = None,
    device: str | None = None,
) -> float:
    """Return the mean silhouette of all rows, or of some of them.

    The silhouette [1]_ of a row is ``(b - a) / max(a, b)``: ``a`` is its mean distance to the other
    rows of its cluster, ``b`` the least mean distance to the rows of another cluster.  The
    score lies between -1 and 1; near 0 clusters overlap.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows, of any array API library.
    labels : array-like of shape (n_samples,)
        Their clusters: integers, or in NumPy arrays, lists and data frames strings too.  Every
        label counts as a cluster, -1 as well.
    metric : {"euclidean"}, default="euclidean"
        For compatibility; distances are Euclidean.
    sample_size : int, default=None
        Number of rows to draw, without repetition, that the score is taken of; None for all.
    random_state : int, RandomState instance or None, default=None
        Draws the rows: those that scikit-learn draws.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where the work happens; None is where X is.

    Returns
    -------
    score : float
        Between -1 and 1; higher is better.

    Raises
    ------
    ValueError
        For parameters, shapes or values that have no score, such as a single cluster or as many
        as rows; the text names them.
    DeviceError
        When a device asked for by name cannot be used.

    See Also
    --------
    silhouette_samples : The silhouette of each row.

    Notes
    -----
    Time grows with ``n_samples**2 * n_features``, memory with ``n_samples * n_features`` (the rows
    are copied, sorted by cluster).  For many rows use ``sample_size``, which squares what it
    saves, or `calinski_harabasz_score`, whose time grows with ``n_samples`` alone.

    References
    ----------
    .. [1] P. J. Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of
           cluster analysis", Journal of Computational and Applied Mathematics 20, 1987.

    Examples
    --------
    >>> from kmeans_xp.metrics import silhouette_score
    >>> X = [[0.0], [1.0], [10.0], [11.0]]
    >>> round(silhouette_score(X, [0, 0, 1, 1]), 4)
    0.8997
    >>> round(silhouette_score(X, ["a", "b", "a", "b"]), 4)
    -0.45
    """
    who = "silhouette_score"
    _check_metric(metric, who)
    if sample_size is None:
        chosen = None
    else:
        X = check_table(X, "X", who)
        chosen = _draw(int(X.shape[0]), sample_size, random_state, who)
    with labelled_rows(X, labels, device, who, chosen=chosen) as rows:
        return float(rows.context.xp.mean(_silhouettes(rows)))


def silhouette_samples(
    X: Any, labels: Any, *, metric: str = "euclidean", device: str | None = None
) -> Array:
    """Return the silhouette of each row; see `silhouette_score`.

    It tells how much nearer a row is to its own cluster than to the next one [1]_.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows, of any array API library.
    labels : array-like of shape (n_samples,)
        Their clusters: integers, or in NumPy arrays, lists and data frames strings too.
    metric : {"euclidean"}, default="euclidean"
        For compatibility; distances are Euclidean.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where the work happens; None is where X is.

    Returns
    -------
    silhouette : array of shape (n_samples,)
        In X's library, dtype (float64 for rows that are not floating) and device.  A row that is
        alone in its cluster has 0.

    Raises
    ------
    ValueError
        For shapes or values that have no silhouettes; the text names them.
    DeviceError
        When a device asked for by name cannot be used.

    References
    ----------
    .. [1] P. J. Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of
           cluster analysis", Journal of Computational and Applied Mathematics 20, 1987.

    Examples
    --------
    >>> from kmeans_xp.metrics import silhouette_samples
    >>> silhouette_samples([[0.0], [1.0], [10.0]], [0, 0, 1])
    array([0.9       , 0.88888889, 0.        ])
    """
    _check_metric(metric, "silhouette_samples")
    with labelled_rows(X, labels, device, "silhouette_samples") as rows:
        xp = rows.context.xp
        found = xp.astype(_silhouettes(rows), rows.x.dtype, copy=False)
    with rows.home.scope():
        return rows.home.move(found)


def _check_metric(metric: str, who: str) -> None:
    if metric != "euclidean":
        raise ValueError(
            f"metric={metric!r} is not known to {who}, which takes Euclidean distances: use "
            f"metric='euclidean', or sklearn.metrics.{who} with NumPy arrays for others."
        )


def _draw(n_rows: int, sample_size: Any, random_state: Any, who: str) -> npt.NDArray[np.int64]:
    """Positions of the rows that scikit-learn would draw."""
    if not isinstance(sample_size, Integral) or isinstance(sample_size, bool) or sample_size < 1:
        raise ValueError(
            f"The 'sample_size' parameter of {who} must be an int in the range [1, inf) or None. "
            f"Got {sample_size!r} instead."
        )
    drawn = check_random_state(random_state).permutation(n_rows)[: int(sample_size)]
    return np.asarray(drawn, dtype=np.int64)


@dataclass(frozen=True)
class _Columns:
    """Some whole clusters, and what sums of distances to each of them need."""

    numbers: Array  # (c,) int64
    counts: Array  # (c,) float64
    parts: tuple[tuple[Nearest, Array], ...]  # rows, and which cluster each is in (m, c)

    def sums(self, x: Array, dtype: str, /, *, xp: Namespace) -> Array:
        """Summed distances (m, c) of rows to each cluster."""
        found = (
            xp.matmul(xp.sqrt(distances_by_product(x, nearest, dtype, xp=xp)), member)
            for nearest, member in self.parts
        )
        return functools.reduce(operator.add, found)


def _silhouettes(rows: LabelledRows) -> Array:
    """Silhouettes (n,), float64, in the order of the rows."""
    xp, groups = rows.context.xp, rows.groups
    codes = xp.take(groups.codes, groups.order)
    x = xp.take(rows.x, groups.order, axis=0)
    if rows.context.backend == "numpy" and rows.n_rows * groups.n_groups <= _MOST_SUMS:
        found = _by_pairs(x, codes, rows)
    else:
        found = _by_blocks(x, codes, rows)
    return xp.take(found, xp.argsort(groups.order))


def _by_pairs(x: Array, codes: Array, rows: LabelledRows) -> Array:
    """Silhouettes of sorted rows by sums to all clusters, each pair taken once."""
    edges = rows.groups.edges.tolist()
    sums = distance_sums(x, edges, rows.extent.scale(), thread_count())
    counts, every = rows.groups.counts.astype(np.float64), np.arange(len(x))
    own = sums[every, codes]
    sums /= counts
    sums[every, codes] = math.inf
    return _weighed(own, sums.min(axis=1), counts[codes], xp=np)


def _by_blocks(x: Array, codes: Array, rows: LabelledRows) -> Array:
    """Silhouettes of sorted rows by distances of blocks of them to all rows."""
    xp, context = rows.context.xp, rows.context
    columns = list(_all_columns(x, codes, rows))
    step = max(64, rows.cells // max(_COLUMNS, int(x.shape[1])))
    threads = thread_count() if context.backend == "numpy" else 1
    source = MemorySource(x, None, context, block_rows=step, piece_rows=step, threads=threads)
    sizes = xp.astype(rows.groups.counts, xp.float64)

    def task(block: Block) -> Array:
        mine = codes[block.start : block.start + block.n_rows]
        own, other = _own_and_other(block.x, mine, columns, rows.dtype, xp=xp)
        return _weighed(own, other, xp.take(sizes, mine), xp=xp)

    with source.working():
        return xp.concat(source.map(task))


def _weighed(own: Array, other: Array, size: Array, /, *, xp: Namespace) -> Array:
    """Silhouettes from sums to the own cluster, means to the next one and sizes of the own."""
    own = own / xp.where(size > 1.0, size - 1.0, size)
    widest = xp.maximum(own, other)
    some = (size > 1.0) & (widest > 0.0)
    gap = xp.where(some, other - own, xp.zeros_like(own))
    return gap / xp.where(some, widest, xp.ones_like(widest))


def _own_and_other(
    x: Array, codes: Array, columns: Sequence[_Columns], dtype: str, /, *, xp: Namespace
) -> tuple[Array, Array]:
    """Summed distance (m,) to the own cluster, and the least mean one to another."""
    own, others = [], []
    for some in columns:
        sums = some.sums(x, dtype, xp=xp)
        is_own = codes[:, None] == some.numbers[None, :]
        own.append(xp.sum(xp.where(is_own, sums, xp.zeros_like(sums)), axis=1))
        means = xp.where(is_own, xp.full_like(sums, float("inf")), sums / some.counts)
        others.append(xp.min(means, axis=1))
    return functools.reduce(operator.add, own), functools.reduce(xp.minimum, others)


def _all_columns(x: Array, codes: Array, rows: LabelledRows) -> Iterator[_Columns]:
    """All clusters of sorted rows: large ones alone, small ones together."""
    xp, scale = rows.context.xp, rows.extent.scale()
    edges = to_host(rows.groups.edges).tolist()
    sizes = xp.astype(rows.groups.counts, xp.float64)
    most = max(1, min(_COLUMNS, rows.cells // int(x.shape[1])))
    first = 0
    while first < rows.groups.n_groups:
        last = first + 1
        while last < rows.groups.n_groups and edges[last + 1] - edges[first] <= _FEW_COLUMNS:
            last += 1
        numbers = xp.arange(first, last, dtype=xp.int64, device=rows.context.device)
        spans = [
            slice(edges[first] + part.start, edges[first] + part.stop)
            for part in slices(edges[last] - edges[first], most)
        ]
        parts = [_part(x[span, :], codes[span], numbers, scale, xp=xp) for span in spans]
        yield _Columns(numbers, sizes[first:last], tuple(parts))
        first = last


def _part(
    x: Array, codes: Array, numbers: Array, scale: Scale, /, *, xp: Namespace
) -> tuple[Nearest, Array]:
    member = xp.astype(codes[:, None] == numbers[None, :], xp.float64)
    # products about the cluster's own middle cancel least, so that few distances are taken anew;
    # divided first: values near the largest float64 must not add up beyond it
    middle = xp.sum(widened(x, xp=xp) / float(x.shape[0]), axis=0)
    return Nearest(x, middle, scale, 0.0, "exact"), member
