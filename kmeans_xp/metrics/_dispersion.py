"""Scores by how far rows lie from the means of their clusters."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _exact as exact
from .._backend import to_host
from .._distances import Scale, squared_distances, widened
from .._picks import group_sums
from .._primitives import Nearest, distances_by_product
from .._stats import Extent
from .._typing import Array, slices
from ._rows import LabelledRows, labelled_rows

_VALUE_LIMBS = 3  # equal values have an exact mean, whose distance to them is zero
_DISTANCE_LIMBS = 4  # clusters 1e-15 of the range wide keep all digits of their squares
_MOST_ROWS = 1 << 22  # whose integers add up below 2**63


def calinski_harabasz_score(X: Any, labels: Any, *, device: str | None = None) -> float:
    """Return the variance ratio criterion of Calinski and Harabasz.

    The dispersion between the clusters over that within them, each by its degrees of freedom
    [1]_.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows, of any array API library.
    labels : array-like of shape (n_samples,)
        Their clusters: integers, or in NumPy arrays, lists and data frames strings too.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where the work happens; None is where X is.

    Returns
    -------
    score : float
        Higher is better; 1.0 where no row differs from the mean of its cluster.

    Raises
    ------
    ValueError
        For shapes or values that have no score, such as a single cluster or as many as rows; the
        text names them.
    DeviceError
        When a device asked for by name cannot be used.

    References
    ----------
    .. [1] T. Calinski, J. Harabasz, "A dendrite method for cluster analysis", Communications in
           Statistics 3, 1974.

    Examples
    --------
    >>> from kmeans_xp.metrics import calinski_harabasz_score
    >>> calinski_harabasz_score([[0.0], [1.0], [10.0], [11.0]], [0, 0, 1, 1])
    200.0
    """
    with labelled_rows(X, labels, device, "calinski_harabasz_score") as rows:
        clusters = _Clusters.of(rows)
        within = clusters.sums(squared=True)
        apart = squared_distances(clusters.means, clusters.mean, clusters.scale, xp=rows.context.xp)
        counts = to_host(rows.groups.counts).astype(np.float64)
        n, k = rows.n_rows, rows.groups.n_groups
        inner = math.fsum(to_host(within).tolist())
        outer = math.fsum((to_host(apart) * counts).tolist())
    return 1.0 if inner == 0.0 else (outer / inner) * ((n - k) / (k - 1.0))


def davies_bouldin_score(X: Any, labels: Any, *, device: str | None = None) -> float:
    """Return the separation measure of Davies and Bouldin.

    For each cluster the largest ratio, over all others, of the two mean distances of rows to
    their means, added up, to the distance of the means; then the mean over the clusters [1]_.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows, of any array API library.
    labels : array-like of shape (n_samples,)
        Their clusters: integers, or in NumPy arrays, lists and data frames strings too.
    device : None, "cpu", "cuda", "cuda:N" or "auto", default=None
        Where the work happens; None is where X is.

    Returns
    -------
    score : float
        Not negative; lower is better.  0.0 where no row differs from the mean of its cluster, or
        where all means coincide.

    Raises
    ------
    ValueError
        For shapes or values that have no score, such as a single cluster or as many as rows; the
        text names them.
    DeviceError
        When a device asked for by name cannot be used.

    Notes
    -----
    scikit-learn returns 0.0 too where all mean distances, or all distances of means, are below
    1e-8, whatever the units of X.  Here such data have the score of the same data in other units.

    References
    ----------
    .. [1] D. L. Davies, D. W. Bouldin, "A cluster separation measure", IEEE Transactions on
           Pattern Analysis and Machine Intelligence 1, 1979.

    Examples
    --------
    >>> from kmeans_xp.metrics import davies_bouldin_score
    >>> davies_bouldin_score([[0.0], [1.0], [10.0], [11.0]], [0, 0, 1, 1])
    0.1
    """
    with labelled_rows(X, labels, device, "davies_bouldin_score") as rows:
        xp = rows.context.xp
        clusters = _Clusters.of(rows)
        spread = clusters.sums(squared=False) / clusters.weights
        worst = [
            _worst_ratios(clusters, spread, part)
            for part in slices(rows.groups.n_groups, max(1, rows.cells // rows.groups.n_groups))
        ]
        return math.fsum(to_host(xp.concat(worst)).tolist()) / rows.groups.n_groups


def _worst_ratios(clusters: _Clusters, spread: Array, part: slice) -> Array:
    xp = clusters.rows.context.xp
    nearest = Nearest(clusters.means, None, clusters.scale, 0.0, "exact")
    squared = distances_by_product(clusters.means[part, :], nearest, "float64", xp=xp)
    apart = squared > 0.0
    both = spread[part][:, None] + spread[None, :]
    ratios = both / xp.sqrt(xp.where(apart, squared, xp.ones_like(squared)))
    return xp.max(xp.where(apart, ratios, xp.zeros_like(ratios)), axis=1)


@dataclass(frozen=True)
class _Clusters:
    """Means of clusters, about the middle of the rows: far from the origin they lose nothing."""

    rows: LabelledRows
    middle: Array  # (d,) float64
    means: Array  # (k, d) float64, exact sums divided once
    mean: Array  # (1, d), of all rows
    scale: Scale
    largest: float  # no squared distance is larger, in units of the scale

    @classmethod
    def of(cls, rows: LabelledRows) -> _Clusters:
        extent, xp = rows.extent, rows.context.xp
        moved = Extent(
            extent.low - extent.middle, extent.high - extent.middle, np.zeros_like(extent.middle)
        )
        reach = np.maximum(np.abs(moved.low), np.abs(moved.high))
        grid = exact.Grid(exact.exponents_above(reach), _VALUE_LIMBS)
        up, down, middle = (
            exact.to_device(values, rows.x, xp=xp) for values in (grid.up, grid.down, extent.middle)
        )
        scale, d = moved.scale(), len(grid.exponents)
        parts = (
            (xp.concat(exact.quantise(x, up, _VALUE_LIMBS, xp=xp), axis=1), codes)
            for x, codes in _pieces(rows, middle)
        )
        totals = _totals(rows, parts)
        weights = xp.astype(rows.groups.counts, xp.float64)
        every = exact.carry(xp.sum(totals, axis=1, keepdims=True), xp=xp)
        return cls(
            rows,
            middle,
            _quotients(rows, totals, weights, d, _VALUE_LIMBS) * down,
            _quotients(rows, every, xp.sum(weights, keepdims=True), d, _VALUE_LIMBS) * down,
            scale,
            # rounding included
            4.04 * math.fsum(((reach * scale.factor) ** 2).tolist()),
        )

    @property
    def weights(self) -> Array:
        """Rows of each cluster (k,), float64."""
        xp = self.rows.context.xp
        return xp.astype(self.rows.groups.counts, xp.float64)

    def sums(self, *, squared: bool) -> Array:
        """Sums by cluster (k,) of (squared) distances to the own mean, in units of the scale."""
        xp, rows = self.rows.context.xp, self.rows
        exponent = exact.exponent_above(self.largest if squared else math.sqrt(self.largest))
        up = math.ldexp(1.0, exact.LIMB_BITS - exponent)

        def columns(x: Array, codes: Array) -> Array:
            own = xp.take(self.means, codes, axis=0)
            values = squared_distances(x, own, self.scale, xp=xp)
            values = values if squared else xp.sqrt(values)
            return xp.stack(exact.quantise(values, up, _DISTANCE_LIMBS, xp=xp), axis=1)

        parts = ((columns(x, codes), codes) for x, codes in _pieces(rows, self.middle))
        one = xp.ones_like(self.weights)
        found = _quotients(rows, _totals(rows, parts), one, 1, _DISTANCE_LIMBS)
        return found[:, 0] * math.ldexp(1.0, exponent - exact.LIMB_BITS)


def _pieces(rows: LabelledRows, middle: Array) -> Iterator[tuple[Array, Array]]:
    """Rows about the middle (m, d), float64, and the numbers of their clusters."""
    # no fewer rows than clusters: sums by cluster then cost no more than the rows
    step = max(64, rows.cells // (4 * int(rows.x.shape[1])), rows.groups.n_groups)
    for part in slices(rows.n_rows, min(step, _MOST_ROWS)):
        yield widened(rows.x[part, :], xp=rows.context.xp) - middle, rows.groups.codes[part]


def _totals(rows: LabelledRows, parts: Iterator[tuple[Array, Array]]) -> Array:
    """Exact totals (words, k, columns) by cluster of integer-valued columns."""
    xp = rows.context.xp
    totals = exact.Accumulator(xp, exact.words_for(rows.n_rows))
    for columns, codes in parts:
        found = group_sums(columns, codes, rows.groups.n_groups, xp=xp)
        totals.add(found, int(codes.shape[0]))
    total = totals.total()
    assert total is not None
    return total


def _quotients(
    rows: LabelledRows, totals: Array, weights: Array, features: int, limbs: int
) -> Array:
    n = rows.n_rows
    short = exact.one_word(n, limbs)
    return exact.means(totals, weights, features, limbs, whole=n < 1 << 26, short=short)
