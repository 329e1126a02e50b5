"""Distances between all rows of two sets, by any metric, in tiles.

The named metrics take differences of the stored values and add them up by the fixed tree of the
canonical distances; roots and quotients are corrected by their residuals.  So their bits are the
same on every library.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import array_api_compat
import numpy as np

from .._backend import Context, by_feature
from .._distances import Scale, folded, halving_sum, widened
from .._exact import ratio, root
from .._query import extent_of
from .._stats import Extent
from .._typing import Array, Namespace, slices

Metric: TypeAlias = str | Callable[[Array, Array], Array]
"""A name of `NAMED`, "precomputed", or a function of two sets of rows."""

NAMED = ("manhattan", "euclidean", "sqeuclidean", "cosine", "chebyshev")
PRECOMPUTED = "precomputed"
_OTHER_WORDS = {"cityblock": "manhattan", "l1": "manhattan", "l2": "euclidean"}
_SQUARED = ("sqeuclidean", "cosine")
_HOST_CELLS, _DEVICE_CELLS = 1 << 15, 1 << 22  # of a tile: few enough for a cache, or a small GPU


def check_metric(metric: Any, who: str, /) -> Metric:
    """Return a metric under its first name; raise for one that is not known."""
    if callable(metric):
        found: Metric = metric
        return found
    name = _OTHER_WORDS.get(metric, metric) if isinstance(metric, str) else None
    if name in (*NAMED, PRECOMPUTED):
        return str(name)
    words = ", ".join(repr(word) for word in sorted([*NAMED, *_OTHER_WORDS, PRECOMPUTED]))
    raise ValueError(
        f"metric={metric!r} is not known to {who}. Use one of {words}, or a function that takes "
        "two arrays of rows, (m, d) and (p, d), and returns their distances (m, p); for other "
        "names of SciPy: lambda a, b: scipy.spatial.distance.cdist(a, b, 'canberra')."
    )


@dataclass(frozen=True)
class Measure:
    """A metric (not "precomputed") made ready for rows that lie within an extent.

    Tables are in units of ``2**-exponent``: what is far below or above 1 would under- or overflow
    when it is squared.
    """

    metric: Metric
    extent: Extent
    context: Context

    @classmethod
    def over(
        cls, metric: Metric, sets: Sequence[Array], context: Context, /, *, who: str
    ) -> Measure:
        """Look where some sets of rows lie; raise for NaN or infinity."""
        extents = [extent_of(x, context, who) for x in sets]
        low = functools.reduce(np.minimum, (extent.low for extent in extents))
        high = functools.reduce(np.maximum, (extent.high for extent in extents))
        return cls(metric, Extent(low, high, extents[0].middle), context)

    @functools.cached_property
    def scale(self) -> Scale:
        return Scale() if self.metric == "cosine" or callable(self.metric) else self.extent.scale()

    @property
    def exponent(self) -> int:
        """A distance in the data's units is a number of a table times ``2**-exponent``."""
        power = math.frexp(self.scale.factor)[1] - 1
        return 2 * power if self.metric == "sqeuclidean" else power

    @functools.cached_property
    def bound(self) -> float | None:
        """What no number of a table is above, but for rounding; None where nobody knows."""
        if callable(self.metric):
            return None
        if self.metric == "cosine":
            return 2.0
        before, after = self.scale.before, self.scale.after
        ranges = ((self.extent.high * before - self.extent.low * before) * after).tolist()
        if self.metric == "chebyshev":
            return float(max(ranges))
        if self.metric == "manhattan":
            return math.fsum(ranges)
        squares = math.fsum(width * width for width in ranges)
        return squares if self.metric == "sqeuclidean" else math.sqrt(squares)

    def ready(self, x: Array, /) -> Array:
        """Rows (n, d) as `table` takes them: float64, by feature (d, n) unless for a callable."""
        xp = self.context.xp
        if callable(self.metric):
            return widened(x, xp=xp)
        by = widened(by_feature(x), xp=xp)
        if self.metric == "cosine":
            return _directions(by, xp=xp)
        return by if self.scale.before == 1.0 else by * self.scale.before

    def some(self, ready: Array, rows: Array | slice, /) -> Array:
        """Some rows, at positions or of a slice, of those that were made ready."""
        if callable(self.metric):
            return ready[rows, :] if isinstance(rows, slice) else self._take(ready, rows, 0)
        return ready[:, rows] if isinstance(rows, slice) else self._take(ready, rows, 1)

    def _take(self, ready: Array, rows: Array, axis: int) -> Array:
        return self.context.xp.take(ready, rows, axis=axis)

    def table(self, left: Array, right: Array, /) -> Array:
        """Distances (m, p) of rows made ready, float64; quick where the right ones are many."""
        xp = self.context.xp
        axis = 0 if callable(self.metric) else 1
        m, p = int(left.shape[axis]), int(right.shape[axis])
        cells = _HOST_CELLS if self.context.on_host else _DEVICE_CELLS
        if callable(self.metric):
            cells = max(1, cells // int(left.shape[1]))
        wide = min(p, cells)
        rights = [self.some(right, part) for part in slices(p, wide)]
        found = []
        for part in slices(m, max(1, cells // wide)):
            few = self.some(left, part)
            tiles = [self.tile(few, many) for many in rights]
            found.append(tiles[0] if len(tiles) == 1 else xp.concat(tiles, axis=1))
        return found[0] if len(found) == 1 else xp.concat(found, axis=0)

    def tile(self, left: Array, right: Array, /) -> Array:
        """The same in one piece, for few rows."""
        if callable(self.metric):
            return _called(self.metric, left, right, xp=self.context.xp)

        def difference(feature: int) -> Array:
            return left[feature, :][:, None] - right[feature, :][None, :]

        total = self.combined(difference, int(left.shape[0]))
        return root(total, xp=self.context.xp) if self.metric == "euclidean" else total

    def combined(self, difference: Callable[[int], Array], count: int, /) -> Array:
        """What differences in each of so many features come to; the square for "euclidean".

        No larger differences come to less, to the last bit: each step rounds, which keeps order.
        """
        xp, after = self.context.xp, self.scale.after
        squares = self.metric in ("euclidean", *_SQUARED)

        def term(feature: int) -> Array:
            found = difference(feature)
            if after != 1.0:
                found = found * after
            return found * found if squares else xp.abs(found)

        if self.metric == "chebyshev":
            return functools.reduce(xp.maximum, map(term, range(count)))
        total = folded(term, count)
        return 0.5 * total if self.metric == "cosine" else total


def _directions(by: Array, /, *, xp: Namespace) -> Array:
    """Rows by feature (d, n) at length 1: half their squared distance is the cosine's."""
    largest = xp.max(xp.abs(by), axis=0)
    if bool(xp.any(largest == 0.0)):
        row = int(xp.argmax(xp.astype(largest == 0.0, xp.int8)))
        raise ValueError(
            f"row {row} is all zeros and has no direction, so that metric='cosine' knows no "
            "distance to it. Drop such rows, or use another metric."
        )
    # a power of two for each row, so that its squares neither overflow nor vanish
    factor = xp.ones_like(largest)
    for exponent in (512, 256, 128, 64, 32, 16, 8, 4, 2, 1):
        for near, by_power in (
            (largest < 2.0**-exponent, exponent),
            (largest >= 2.0**exponent, -exponent),
        ):
            step = xp.where(near, xp.full_like(factor, 2.0**by_power), xp.ones_like(factor))
            largest, factor = largest * step, factor * step
    by = by * factor[None, :]
    length = root(halving_sum(by * by, xp=xp, axis=-2), xp=xp)
    # corrected quotients: not every library divides by a row as by a number
    return ratio([by[None, ...]], length[None, :])


def _called(
    metric: Callable[[Array, Array], Array], left: Array, right: Array, /, *, xp: Namespace
) -> Array:
    """What a user's function says of two sets of rows, checked."""
    given = metric(left, right)
    wanted = (int(left.shape[0]), int(right.shape[0]))
    if not array_api_compat.is_array_api_obj(given) or tuple(given.shape) != wanted:
        got = getattr(given, "shape", None)
        raise ValueError(
            "a callable metric takes two arrays of rows, (m, d) and (p, d), and returns their "
            f"distances (m, p); for {wanted} rows it returned "
            f"{type(given).__name__ if got is None else f'shape {tuple(got)}'}. A function of two "
            "single rows can be wrapped: lambda a, b: scipy.spatial.distance.cdist(a, b, metric)."
        )
    found = xp.astype(given, xp.float64, copy=False)
    refuse_bad_distances(found, "the callable metric returned", xp=xp)
    return found


def refuse_bad_distances(table: Array, whose: str, /, *, xp: Namespace, first_row: int = 0) -> None:
    """Raise for the first distance that is NaN, infinite or negative."""
    bad = ~(xp.isfinite(table) & (table >= 0.0))
    if not bool(xp.any(bad)):
        return
    at = int(xp.argmax(xp.reshape(xp.astype(bad, xp.int8), (-1,))))
    row, column = divmod(at, int(table.shape[1]))
    value = float(table[row, column])
    word = "NaN" if math.isnan(value) else repr(value)
    # in scikit-learn's words
    kind = "Negative values in data: " if value < 0.0 else ""
    raise ValueError(
        f"{kind}{whose} {word} (row {first_row + row}, column {column}), which is no "
        "distance: distances are finite and not negative."
    )


def check_precomputed(
    x: Array, context: Context, /, *, who: str, n_columns: int | None = None
) -> None:
    """Refuse what is no table of distances: not square (or not so wide), NaN, negative."""
    shape = tuple(int(size) for size in x.shape)
    if n_columns is None and shape[0] != shape[1]:
        raise ValueError(
            f"metric='precomputed' of {who} needs a square X of distances between all rows, got "
            f"shape {shape}. Pass sklearn.metrics.pairwise_distances(rows), or the rows themselves "
            "and the name of a metric."
        )
    if n_columns is not None and shape[1] != n_columns:
        raise ValueError(
            f"metric='precomputed' of {who} needs distances to the {n_columns} rows of fit, one a "
            f"column, got shape {shape}."
        )
    step = max(1, _DEVICE_CELLS // shape[1])
    for part in slices(shape[0], step):
        refuse_bad_distances(
            x[part, :],
            "X of metric='precomputed' holds",
            xp=context.xp,
            first_row=part.start,
        )
