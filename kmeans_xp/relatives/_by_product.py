"""Euclidean neighbours by a matrix product, where the features are many.

In the words of the head of `_primitives`, with h = |x'|^2 / 2 and
L_j = (1/2 - theta) |c'_j|^2 - x'.c'_j as computed, half the canonical squared distance is

* at least h + L_j - 2 (theta + e) h - 2 eta, as for a loser there (h itself errs by theta at most);
* at most h + L_j + 2 (theta + e) h + 2 theta |c'_j|^2 + 2 eta, as for a winner there, since
  |x'| |c'_j| <= h + |c'_j|^2 / 2.

Twice the margin leaves room for the roundings of these bounds.  What lies between them, near eps,
is settled by canonical distances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._backend import Context, dtype_name
from .._distances import squared_distances
from .._kernels import Shape, load, select
from .._primitives import FLOAT32_REACH, MAX_FEATURES, Nearest, Rung, build_rung
from .._threads import thread_count
from .._typing import Array, Block, Kernel, Namespace, slices
from ._leaves import Leaves
from ._pairs import Measure

_SHARP = 2.0**-6  # of the threshold: how wide the doubt about float32 products may be
_PAIRS = 1 << 16  # settled at a time


@dataclass(frozen=True)
class ByProduct:
    """Rows (n_places, d) made ready for a product, and what their scores are compared with."""

    rung: Rung
    nearest: Nearest
    at_most: Array  # (n_places,): no neighbour has a larger score
    below: Array  # (n_places,): a smaller score, with what is added to it, is a neighbour's
    added: Array  # (n_places,)
    leaf_rows: int
    threshold: float
    kernel: Kernel
    context: Context

    def near(self, block: Block, leaves: Leaves, /) -> Array:
        xp, mine = self.context.xp, slice(block.start, block.start + self.leaf_rows)
        places = self._places(leaves)
        bias, added = self._some(self.rung.bias, places), self._some(self.added, places)
        # both sides are -x'
        products = xp.matmul(self.rung.weights[mine, :], self._some(self.rung.weights, places).T)
        scores = bias[None, :] - products
        near = scores + added[None, :] <= self.below[mine][:, None]
        doubt = xp.reshape((scores <= self.at_most[mine][:, None]) & ~near, (-1,))
        count = int(xp.count_nonzero(doubt))
        if count == 0:
            return near
        return self._settled(near, doubt, count, block.start, places)

    def _places(self, leaves: Leaves) -> Any:
        first, last, size = int(leaves[0]), int(leaves[-1]) + 1, self.leaf_rows
        if last - first == leaves.size:
            return slice(first * size, last * size)
        return self.context.from_host((leaves[:, None] * size + np.arange(size)).reshape(-1))

    def _some(self, values: Array, places: Any) -> Array:
        if isinstance(places, slice):
            return values[places, ...]
        return self.context.xp.take(values, places, axis=0)

    def _settled(self, near: Array, doubt: Array, count: int, start: int, places: Any) -> Array:
        """The marks once the pairs in doubt are judged by canonical distances."""
        xp, width = self.context.xp, int(near.shape[1])
        found, _ = self.kernel.compress(doubt, count)
        rows = self.nearest.centers
        mine, others = rows[start : start + self.leaf_rows, :], self._some(rows, places)
        parts = []
        for part in slices(int(found.shape[0]), max(1, _PAIRS // int(rows.shape[1]))):
            left = xp.take(mine, found[part] // width, axis=0)
            right = xp.take(others, found[part] % width, axis=0)
            squared = squared_distances(left, right, self.nearest.scale, xp=xp)
            parts.append(squared <= self.threshold)
        flat = self.kernel.put(xp.reshape(near, (-1,)), doubt, found, xp.concat(parts))
        return xp.reshape(flat, near.shape)


def by_product(
    rows: Array, measure: Measure, leaf_rows: int, threshold: float, /
) -> ByProduct | None:
    """Make rows (n_places, d) ready; None where no product of float64 would be finite."""
    context, extent, features = measure.context, measure.extent, int(rows.shape[1])
    xp, shift = context.xp, extent.shift()
    reach = extent.reach(shift)
    longest = math.sqrt(features) * reach * measure.scale.factor
    if not 2.0 * longest <= 2.0**510 or features > MAX_FEATURES["float64"]:
        return None
    there = None if shift is None else context.from_host(shift)
    nearest = Nearest(rows, there, measure.scale, reach, "float64")
    rung = None
    if _float32_will_do(nearest, threshold, context):
        rung = build_rung(nearest, "float32", features, xp=xp, told_apart=True)
        if not _is_sharp(rung, threshold, xp=xp):
            rung = None
    if rung is None:
        rung = build_rung(nearest, "float64", features, xp=xp, told_apart=True)
    return _judging(rung, nearest, leaf_rows, threshold, context)


def _judging(
    rung: Rung, nearest: Nearest, leaf_rows: int, threshold: float, context: Context
) -> ByProduct:
    xp, (n_places, features) = context.xp, nearest.centers.shape
    half = 0.5 * xp.sum(rung.weights * rung.weights, axis=1)
    middle = 0.5 * threshold - half
    margin = 4.0 * (rung.theta + rung.canonical) * half + (
        rung.theta * 0.5 * threshold + 4.0 * rung.underflow
    )
    plan = select(
        Shape(int(n_places), int(features), 1, dtype_name(nearest.centers)),
        backend=context.backend,
        threads=thread_count(),
    )
    return ByProduct(
        rung,
        nearest,
        at_most=middle + margin,
        below=middle - margin,
        # |c'|^2 is the bias by 1/2 - theta, which is at least 0.49
        added=9.0 * rung.theta * rung.bias,
        leaf_rows=leaf_rows,
        threshold=threshold,
        kernel=load(plan, context),
        context=context,
    )


def _float32_will_do(nearest: Nearest, threshold: float, context: Context) -> bool:
    """Whether a float32 product can be trusted, and neither over- nor underflows."""
    return (
        dtype_name(nearest.centers) == "float32"
        and context.float32_products_are_exact
        and nearest.scale.factor == 1.0
        and FLOAT32_REACH[0] <= nearest.reach <= FLOAT32_REACH[1]
        and FLOAT32_REACH[0] ** 2 <= threshold <= FLOAT32_REACH[1] ** 2
        and int(nearest.centers.shape[1]) <= MAX_FEATURES["float32"]
    )


def _is_sharp(rung: Rung, threshold: float, /, *, xp: Namespace) -> bool:
    """Whether the doubt about the longest row is small beside the threshold."""
    longest = float(xp.max(rung.bias))
    return 16.0 * rung.theta * longest <= _SHARP * threshold
