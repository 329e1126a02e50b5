"""What distances are taken among: rows under a metric, or a table of given distances."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .. import _exact as exact
from .._backend import Context, to_host
from .._distances import widened
from .._memory import memory_errors
from .._typing import Array, slices
from ..exceptions import DeviceMemoryError
from ._pairs import Measure

_HOST_CELLS, _DEVICE_CELLS = 1 << 19, 1 << 22
_MOST_SUMMED = 1 << 22  # whole numbers of 40 bits that int64 adds up

INFLATED = 1.0 + 2.0**-20
"""More than what distances and weights of at most 1 may be rounded up by."""


class Space(Protocol):
    """Rows, and the distances between them."""

    @property
    def n_rows(self) -> int: ...

    @property
    def context(self) -> Context: ...

    @property
    def bound(self) -> float | None:
        """What no distance is above, but for rounding; None where nobody knows."""
        ...

    @property
    def exponent(self) -> int:
        """A distance in the data's units is a number of this space times ``2**-exponent``."""
        ...

    def to(self, points: Array, span: slice | Array | None = None, /) -> Array:
        """Distances (m, p) of rows (of a span, at positions, or all) to those at positions (m,)."""
        ...

    def some(self, rows: Array, /) -> Space:
        """The space of the rows at these positions."""
        ...


@dataclass(frozen=True)
class RowSpace:
    """Rows that were made ready for a measure."""

    measure: Measure
    ready: Array
    n_rows: int

    @classmethod
    def of(cls, measure: Measure, x: Array, /) -> RowSpace:
        return cls(measure, measure.ready(x), int(x.shape[0]))

    @property
    def context(self) -> Context:
        return self.measure.context

    @property
    def bound(self) -> float | None:
        return self.measure.bound

    @property
    def exponent(self) -> int:
        return self.measure.exponent

    def to(self, points: Array, span: slice | Array | None = None, /) -> Array:
        rows = self.ready if span is None else self.measure.some(self.ready, span)
        return self.measure.table(self.measure.some(self.ready, points), rows)

    def nearest(self, centers: Array, /) -> tuple[Array, Array]:
        """Number of the nearest of some centers (k, d) for each row, and how far it is."""
        points, k = self.measure.ready(centers), int(centers.shape[0])

        def table(span: slice) -> Array:
            return self.measure.table(points, self.measure.some(self.ready, span))

        return nearest_of(table, self.n_rows, k, self.context)

    def some(self, rows: Array, /) -> RowSpace:
        return RowSpace(self.measure, self.measure.some(self.ready, rows), int(rows.shape[0]))


@dataclass(frozen=True)
class TableSpace:
    """Given distances (n, n): of the row to the column."""

    table: Array
    context: Context

    @property
    def n_rows(self) -> int:
        return int(self.table.shape[0])

    bound: None = None
    exponent: int = 0

    def to(self, points: Array, span: slice | Array | None = None, /) -> Array:
        xp, rows = self.context.xp, self.table
        if isinstance(span, slice):
            rows = rows[span, :]
        elif span is not None and int(span.shape[0]) < int(points.shape[0]):
            rows, span = xp.take(rows, span, axis=0), None
        found = xp.take(rows, points, axis=1)
        if span is not None and not isinstance(span, slice):
            found = xp.take(found, span, axis=0)
        return widened(found.T, xp=xp)

    def some(self, rows: Array, /) -> TableSpace:
        xp = self.context.xp
        return TableSpace(xp.take(xp.take(self.table, rows, axis=0), rows, axis=1), self.context)


@contextlib.contextmanager
def within_memory(context: Context, what: str, remedy: str, /) -> Iterator[None]:
    """Turn what a device says of too little memory into the one error for it."""
    kernel = context.backend if context.backend == "numpy" else "device"
    try:
        yield
    except memory_errors(context, kernel) as error:
        raise DeviceMemoryError(
            f"{context.device_name} has too little memory for {what}. Free memory there, {remedy}, "
            f"or use device='cpu'. The device said: {error}"
        ) from error


def in_spans(n_rows: int, width: int, context: Context, /) -> list[slice]:
    """All rows, so many at a time that a table of this width has not too many numbers."""
    cells = _HOST_CELLS if context.on_host else _DEVICE_CELLS
    return list(slices(n_rows, max(64, cells // width)))


def nearest_of(
    table: Callable[[slice], Array], n_rows: int, n_points: int, context: Context, /
) -> tuple[Array, Array]:
    """Number (int32) of the nearest of some points for each row, the first of equals; how far.

    ``table`` gives the distances (n_points, p) of the rows of a span.
    """
    xp, labels, distances = context.xp, [], []
    for span in in_spans(n_rows, n_points, context):
        some = table(span)
        labels.append(xp.astype(xp.argmin(some, axis=0), xp.int32))
        distances.append(xp.min(some, axis=0))
    return xp.concat(labels), xp.concat(distances)


def nearest_medoids(space: Space, medoids: list[int], /) -> tuple[Array, Array]:
    """Number (int32) of the nearest medoid for each row, and how far it is."""
    points = space.context.from_host(np.asarray(medoids, dtype=np.int64))
    return nearest_of(
        lambda span: space.to(points, span), space.n_rows, len(medoids), space.context
    )


def exact_total(
    distances: Array, weight: Array | None, context: Context, bound: float | None, /
) -> float:
    """The sum of weighted distances, rounded once: of weights of at most 1.

    It is exact to 160 bits of what no distance is above, or to 80 of the largest where a bound is
    not known, which takes a wait more.
    """
    xp = context.xp
    values = distances if weight is None else distances * weight
    limbs = 2 if bound is None else 4
    largest = float(xp.max(values)) if bound is None else bound * INFLATED
    exponent = exact.exponent_above(largest)
    up, total = math.ldexp(1.0, exact.LIMB_BITS - exponent), 0
    for part in slices(int(values.shape[0]), _MOST_SUMMED):
        parts = exact.quantise(values[part], up, limbs, xp=xp)
        sums = to_host(exact.exact_sums(xp.stack(parts), xp=xp)).tolist()
        total += functools.reduce(lambda high, low: (high << exact.LIMB_BITS) + low, sums)
    return scaled(float(total), exponent - limbs * exact.LIMB_BITS)


def scaled(value: float, power: int, /) -> float:
    """A number times a power of two; infinity where that is too large."""
    try:
        return math.ldexp(value, power)
    except OverflowError:
        return math.inf


def n_distinct_of(labels: Array, k: int, context: Context) -> int:
    """How many of the labels 0 to k - 1 there are."""
    xp = context.xp
    edges = xp.arange(k + 1, dtype=labels.dtype, device=context.device)
    ends = xp.searchsorted(xp.sort(labels), edges)
    return int(xp.count_nonzero(ends[1:] > ends[:k]))
