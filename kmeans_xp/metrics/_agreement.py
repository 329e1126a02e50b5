"""Agreement of two labellings of the same rows."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .._backend import Context, resolve
from .._typing import Array
from .._validation import check_device_word, check_float64
from ._labels import Groups, check_labels, check_same_length, group, placed

_AVERAGES = ("min", "geometric", "arithmetic", "max")


@dataclass(frozen=True)
class _Table:
    """A contingency table as the list of its cells that are not empty."""

    cells: Array  # (c,) int64, rows in each
    true_sizes: Array  # int64, of the classes
    pred_sizes: Array  # int64, of the clusters
    true_of: Array  # (c,), the class of each cell
    pred_of: Array
    n_rows: int
    context: Context

    @property
    def is_one_to_one(self) -> bool:
        """Whether the labellings differ in the names of the labels alone."""
        cells = self.cells.shape[0]
        return bool(cells == self.true_sizes.shape[0] == self.pred_sizes.shape[0])


@contextlib.contextmanager
def _tabulated(true: Any, pred: Any, device: str | None) -> Iterator[_Table | None]:
    """Check, move and count two labellings in the scope of their place; None of no rows."""
    device = check_device_word(device)
    names = ("labels_true", "labels_pred")
    true, pred = check_labels(true, names[0]), check_labels(pred, names[1])
    check_same_length(true, pred, names)
    work, _ = resolve(true, device)
    check_float64(work)
    with work.scope():
        if int(true.shape[0]) == 0:
            yield None
            return
        sides = [group(placed(labels, work), xp=work.xp) for labels in (true, pred)]
        yield _table(sides[0], sides[1], work)


def _table(true: Groups, pred: Groups, context: Context) -> _Table:
    xp = context.xp
    # below n_samples**2, and no matrix of classes by clusters
    pairs = group(true.codes * pred.n_groups + pred.codes, xp=xp)
    first = xp.take(pairs.order, pairs.edges[: pairs.n_groups])
    return _Table(
        pairs.counts,
        true.counts,
        pred.counts,
        xp.take(true.codes, first),
        xp.take(pred.codes, first),
        int(pairs.codes.shape[0]),
        context,
    )


def adjusted_rand_score(labels_true: Any, labels_pred: Any, *, device: str | None = None) -> float:
    """Return the Rand index adjusted for chance.

    The share of pairs of rows on which two labellings agree (together in both, or apart in
    both), so shifted and scaled that random labellings have 0 on average [1]_.

    Parameters
    ----------
    labels_true : array-like of shape (n_samples,)
        Classes: integers, or in NumPy arrays, lists and data frames strings too.
    labels_pred : array-like of shape (n_samples,)
        Clusters.  The score is symmetric, and the names of the labels do not matter.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where the work happens; None is where ``labels_true`` is.

    Returns
    -------
    score : float
        Between -0.5 and 1.0; 1.0 for the same clusters, and for no rows.

    Raises
    ------
    ValueError
        For labels of different lengths or of no labels' kind; the text names them.
    DeviceError
        When a device asked for by name cannot be used.

    References
    ----------
    .. [1] L. Hubert, P. Arabie, "Comparing partitions", Journal of Classification 2, 1985.

    Examples
    --------
    >>> from kmeans_xp.metrics import adjusted_rand_score
    >>> adjusted_rand_score(["a", "a", "b", "b"], [1, 1, 0, 0])
    1.0
    >>> round(adjusted_rand_score([0, 0, 1, 2], [0, 0, 1, 1]), 4)
    0.5714
    """
    with _tabulated(labels_true, labels_pred, device) as table:
        if table is None:
            return 1.0
        xp = table.context.xp
        both, true, pred = (
            int(xp.sum(sizes * sizes))
            for sizes in (table.cells, table.true_sizes, table.pred_sizes)
        )
    # Python integers: products of these counts are larger than int64
    n = table.n_rows
    together, only_true, only_pred = both - n, true - both, pred - both
    apart = n * n - only_true - only_pred - both
    if only_true == only_pred == 0:
        return 1.0
    return (
        2.0
        * (together * apart - only_true * only_pred)
        / (
            (together + only_true) * (only_true + apart)
            + (together + only_pred) * (only_pred + apart)
        )
    )


def normalized_mutual_info_score(
    labels_true: Any,
    labels_pred: Any,
    *,
    average_method: str = "arithmetic",
    device: str | None = None,
) -> float:
    """Return the mutual information of two labellings over a mean of their entropies.

    What one labelling tells about the other, between 0 (nothing) and 1 (all) [1]_.

    Parameters
    ----------
    labels_true : array-like of shape (n_samples,)
        Classes: integers, or in NumPy arrays, lists and data frames strings too.
    labels_pred : array-like of shape (n_samples,)
        Clusters.  The score is symmetric, and the names of the labels do not matter.
    average_method : {"min", "geometric", "arithmetic", "max"}, default="arithmetic"
        Which mean of the two entropies divides the mutual information.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where the work happens; None is where ``labels_true`` is.

    Returns
    -------
    score : float
        Between 0.0 and 1.0; 1.0 for the same clusters, and for no rows.  Not adjusted for chance:
        it grows with the number of clusters.

    Raises
    ------
    ValueError
        For labels of different lengths or of no labels' kind, or an unknown ``average_method``;
        the text names them.
    DeviceError
        When a device asked for by name cannot be used.

    References
    ----------
    .. [1] N. X. Vinh, J. Epps, J. Bailey, "Information theoretic measures for clusterings
           comparison", Journal of Machine Learning Research 11, 2010.

    Examples
    --------
    >>> from kmeans_xp.metrics import normalized_mutual_info_score
    >>> normalized_mutual_info_score(["a", "a", "b", "b"], [1, 1, 0, 0])
    1.0
    >>> round(normalized_mutual_info_score([0, 0, 1, 2], [0, 0, 1, 1]), 4)
    0.8
    """
    if average_method not in _AVERAGES:
        raise ValueError(
            "'average_method' must be 'min', 'geometric', 'arithmetic', or 'max', got "
            f"{average_method!r}."
        )
    with _tabulated(labels_true, labels_pred, device) as table:
        if table is None or table.is_one_to_one:
            return 1.0
        shared = _mutual_information(table)
        if shared == 0.0:
            return 0.0
        true, pred = (_entropy(sizes, table) for sizes in (table.true_sizes, table.pred_sizes))
    return min(1.0, shared / _average(true, pred, average_method))


def _mutual_information(table: _Table) -> float:
    if 1 in (table.true_sizes.shape[0], table.pred_sizes.shape[0]):
        return 0.0
    xp, n = table.context.xp, float(table.n_rows)
    cells = xp.astype(table.cells, xp.float64)
    true = xp.take(table.true_sizes, table.true_of)
    pred = xp.take(table.pred_sizes, table.pred_of)
    share = cells / n
    expected = 2.0 * math.log(n) - xp.log(xp.astype(true * pred, xp.float64))
    terms = share * (xp.log(cells) - math.log(n)) + share * expected
    # what is left of terms that cancel, as scikit-learn has it
    terms = xp.where(xp.abs(terms) < 2.0**-52, xp.zeros_like(terms), terms)
    return max(0.0, float(xp.sum(terms)))


def _entropy(sizes: Array, table: _Table) -> float:
    xp, n = table.context.xp, float(table.n_rows)
    counts = xp.astype(sizes, xp.float64)
    return -float(xp.sum((counts / n) * (xp.log(counts) - math.log(n))))


def _average(a: float, b: float, method: str) -> float:
    if method == "geometric":
        return math.sqrt(a * b)
    if method == "arithmetic":
        return 0.5 * (a + b)
    return min(a, b) if method == "min" else max(a, b)
