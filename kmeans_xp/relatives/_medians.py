"""K-medians: Lloyd's loop with the sum of absolute differences, and medians for means."""

from __future__ import annotations

from dataclasses import dataclass, replace

import array_api_compat
import numpy as np
import numpy.typing as npt

from .._backend import by_feature, to_host
from .._distances import widened
from .._exact import LIMB_BITS
from .._outcome import Status
from .._typing import Array, Namespace
from ._pairs import Measure
from ._spaces import RowSpace, exact_total

_MOST_BITS = 62  # of a sum of weights


@dataclass(frozen=True)
class Clustering:
    """Centers, and what belongs to them."""

    centers: Array  # (k, d), in the rows' dtype
    labels: Array  # (n,) int32
    distances: Array  # (n,), in units of the space
    loss: float
    n_iter: int = 0
    status: Status = Status.MAX_ITER

    def interrupted(self) -> Clustering:
        """The same, marked as the best when Ctrl-C came."""
        return replace(self, status=Status.INTERRUPTED)


@dataclass(frozen=True)
class Rows:
    """Rows that count, made ready for medians."""

    space: RowSpace
    weight: Array | None
    values: Array  # (d, n), as stored
    order: Array  # (d, n), the rows by each feature
    whole: Array  # (n,), the weights as int64

    @classmethod
    def of(cls, measure: Measure, x: Array, weight: Array | None, /) -> Rows:
        """Sort the rows once; weights are 1 at most, and count to 40 bits."""
        xp, n_rows = measure.context.xp, int(x.shape[0])
        values = by_feature(x)
        order = xp.argsort(values, axis=1, stable=True)
        bits = min(LIMB_BITS, _MOST_BITS - n_rows.bit_length())
        if weight is None:
            whole = xp.ones(n_rows, dtype=xp.int64, device=measure.context.device)
        else:
            whole = xp.astype(xp.round(weight * 2.0**bits), xp.int64)
        return cls(RowSpace.of(measure, x), weight, values, order, whole)

    def assigned(self, centers: Array, /) -> Clustering:
        """The clusters that some centers make."""
        labels, distances = self.space.nearest(centers)
        loss = exact_total(distances, self.weight, self.space.context, self.space.bound)
        return Clustering(centers, labels, distances, loss)

    def medians(self, found: Clustering, /) -> Array:
        """The medians (k, d) of clusters; an empty one gets a row that is far from its center."""
        xp, k = self.space.context.xp, int(found.centers.shape[0])
        # of short numbers NumPy sorts by digits
        labels = xp.astype(found.labels, xp.int16) if k < 1 << 15 else found.labels
        before, totals = _sums_before(labels, self.whole, k, xp=xp)
        features = [
            _medians(values, order, labels, self.whole, before, totals, xp=xp)
            for values, order in zip(_each(self.values), _each(self.order), strict=True)
        ]
        centers = xp.stack(features, axis=1)
        empty = np.flatnonzero(to_host(totals) == 0)
        return self._filled(centers, found, empty) if empty.size else centers

    def _filled(self, centers: Array, found: Clustering, empty: npt.NDArray[np.intp]) -> Array:
        """Put empty clusters on rows that pay most, the first among equals."""
        xp, device = self.space.context.xp, self.space.context.device
        pays = found.distances if self.weight is None else found.distances * self.weight
        rows = xp.arange(self.space.n_rows, dtype=xp.int64, device=device)
        numbers = xp.arange(int(centers.shape[0]), dtype=xp.int64, device=device)
        for cluster in empty.tolist():
            row = xp.reshape(xp.argmax(pays), (1,))
            # where no row pays, all lie on centers, and this one stays where it was
            pays_some = xp.max(pays) > 0.0
            point = xp.where(
                pays_some, xp.take(self.values, row, axis=1)[:, 0], found.centers[cluster, :]
            )
            centers = xp.where((numbers == cluster)[:, None], point[None, :], centers)
            pays = xp.where(rows == row, xp.zeros_like(pays), pays)
        return centers


def _each(rows: Array) -> list[Array]:
    return [rows[at, :] for at in range(int(rows.shape[0]))]


def _sums_before(
    labels: Array, whole: Array, n_groups: int, /, *, xp: Namespace
) -> tuple[Array, Array]:
    """Exact weights (n_groups,) of all earlier clusters together, and of each itself."""
    order = xp.argsort(labels)
    running = xp.cumulative_sum(xp.take(whole, order), include_initial=True)
    edges = xp.arange(n_groups, dtype=labels.dtype, device=array_api_compat.device(labels))
    before = xp.take(running, xp.searchsorted(xp.take(labels, order), edges))
    return before, xp.concat([before[1:], running[-1:]]) - before


def _medians(
    values: Array,
    order: Array,
    labels: Array,
    whole: Array,
    before: Array,
    totals: Array,
    /,
    *,
    xp: Namespace,
) -> Array:
    """Weighted medians of a feature by cluster: the middle of the two values that halve it."""
    rows = xp.take(order, xp.argsort(xp.take(labels, order), stable=True))
    running = xp.cumulative_sum(xp.take(whole, rows))
    last = int(rows.shape[0]) - 1

    def reaching(sums: Array) -> Array:
        place = xp.searchsorted(running, before + sums)
        # past the end for an empty cluster
        place = xp.where(place > last, xp.full_like(place, last), place)
        return widened(xp.take(values, xp.take(rows, place)), xp=xp)

    low, high = reaching((totals + 1) // 2), reaching(totals // 2 + 1)
    # half of a subnormal number may round; and zero has one sign
    middle = xp.where(low == high, low, low * 0.5 + high * 0.5) + 0.0
    return xp.astype(middle, values.dtype)


def run(rows: Rows, centers: Array, max_iter: int, /) -> Clustering:
    """Assign rows and take medians in turn until the loss falls no more."""
    best = rows.assigned(centers)
    n_iter, status = 0, Status.MAX_ITER
    try:
        while n_iter < max_iter and status is Status.MAX_ITER:
            after = rows.assigned(rows.medians(best))
            n_iter += 1
            if not after.loss < best.loss:
                status = Status.LOSS
            if after.loss <= best.loss:
                best = after
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    return replace(best, n_iter=n_iter, status=status)
