"""A number that the inertia of no clustering of these rows can be below.

With S the scatter matrix of the rows about their mean, the inertia is the trace of S less the
scatter of the k means about it, a matrix of rank k - 1 that S exceeds.  Hence the optimum is at
least the sum of the d - k + 1 smallest eigenvalues of S (C. Ding, X. He, "K-means clustering via
principal component analysis", ICML 2004).  That says nothing where d < k.

The bound must hold in spite of roundings.  Rows are written as whole numbers on a grid and weights
are cut to whole numbers, so that sums of products are exact in any order.  Cut weights only lower
the optimum.  Its root is the distance of the rows to the nearest matrix of k different rows, so
that the grid changes it by the length of all roundings at most.  The roundings of the centered
matrix and of its eigenvalues (Weyl: none is off by more than the matrix) are below
(d + 1) 2**-46 of the trace, far above what backward stable eigenvalues need, and are taken off
each.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from . import _exact as exact
from ._backend import to_host
from ._problem import Training
from ._threads import one_blas_thread
from ._typing import Array, Block, Namespace, slices

_MOST_FEATURES = 2048
_FEATURES_A_CLUSTER = 16  # beyond which the matrix takes more than many passes of Lloyd's loop
_FEW_FEATURES = 64  # that are no effort for any k
_HALF = 32  # bits of the lower word of sums
_WEIGHT_BITS = 12
_BITS, _ROWS = 20, 1 << 12  # 20 + 20 + 12 <= 53
_WEIGHTED_BITS, _WEIGHTED_ROWS = 16, 1 << 9  # 16 + 16 + 12 + 9 <= 53

Host = npt.NDArray[np.float64]


def lower_bound(problem: Training, n_clusters: int, /) -> float | None:
    """Bound the weighted inertia of any such clustering; None where that says nothing or costs."""
    d = problem.source.n_features
    extent = problem.summary.extent
    widest = float((extent.high * 0.5 - extent.low * 0.5).max())
    most = min(max(_FEW_FEATURES, _FEATURES_A_CLUSTER * n_clusters), _MOST_FEATURES)
    # squares of other ranges leave float64
    if not (n_clusters <= d <= most and 2.0**-400 <= widest <= 2.0**400):
        return None
    is_weighted = problem.summary.weight_grid is not None
    exponent = (_WEIGHTED_BITS if is_weighted else _BITS) - exact.exponent_above(widest)
    middle = extent.low * 0.5 + extent.high * 0.5
    total = _scatter(problem, middle, math.ldexp(1.0, exponent), is_weighted=is_weighted)
    mass = float(total[0, 0])
    least = _least(total, n_clusters)
    # half a unit for each number, and what the subtraction of the middle rounded
    length = math.sqrt(mass * d) * (0.5 + 2.0**-10)
    root = math.sqrt(least) * (1.0 - 2.0**-40) - length
    if root <= 0.0:
        return 0.0
    weights = problem.weight_exponent - (_WEIGHT_BITS if is_weighted else 0)
    value = math.ldexp(root, -exponent) ** 2 * (1.0 - 2.0**-40)
    half = weights // 2
    return value * math.ldexp(1.0, half) * math.ldexp(1.0, weights - half)


def _scatter(problem: Training, middle: Host, up: float, *, is_weighted: bool) -> Host:
    """Weighted sums (1 + d, 1 + d) of products of (1, z), z the whole numbers of a row."""
    xp, source = problem.context.xp, problem.source
    shift = exact.to_device(middle, source.sample, xp=xp)
    step = _WEIGHTED_ROWS if is_weighted else _ROWS

    def task(block: Block) -> npt.NDArray[np.int64]:
        high = low = None
        for part in slices(block.n_rows, step):
            weight = None if block.weight is None else block.weight[part]
            sums = _products(block.x[part, :], weight, shift, up, xp)
            above = sums >> _HALF
            below = sums - (above << _HALF)
            high = above if high is None else high + above
            low = below if low is None else low + below
        return np.stack([to_host(high), to_host(low)]).astype(np.int64)

    words = np.sum(source.map(task), axis=0).astype(np.float64)
    total: Host = words[0] * 2.0**_HALF + words[1]
    return total


def _products(x: Array, weight: Array | None, shift: Array, up: float, xp: Namespace) -> Array:
    away = xp.astype(x, xp.float64, copy=False) - shift
    if weight is not None:
        # rows that weigh nothing may lie anywhere
        away = xp.where((weight > 0.0)[:, None], away, xp.zeros_like(away))
    rows = xp.concat([xp.ones_like(away[:, :1]), xp.round(away * up)], axis=1)
    weighed = rows
    if weight is not None:
        weighed = rows * xp.floor(weight * 2.0**_WEIGHT_BITS)[:, None]
    return xp.astype(xp.matmul(rows.T, weighed), xp.int64)


def _least(total: Host, n_clusters: int) -> float:
    """The sum of the smallest eigenvalues of the centered matrix, surely not above it."""
    mass, sums, squares = float(total[0, 0]), total[0, 1:], total[1:, 1:]
    d = len(sums)
    if mass == 0.0:
        return 0.0
    centered = squares - sums[:, None] * (sums / mass)[None, :]
    # of several threads most wait for each other, and on a busy machine for a processor too
    with one_blas_thread():
        values = np.linalg.eigvalsh(0.5 * (centered + centered.T))
    margin = (d + 1) * 2.0**-46 * float(np.trace(squares))
    count = d - n_clusters + 1
    return max(0.0, float(values[:count].sum()) - count * margin)
