"""Which rows are neighbours, leaf by leaf: never all pairs at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .._backend import Context, dtype_name
from .._sources import MemorySource
from .._threads import thread_count
from .._typing import Array, Block, slices
from ._by_product import by_product
from ._leaves import Leaves, Order, Relation, all_open, by_boxes, by_halves, in_given_order
from ._pairs import PRECOMPUTED, Measure, Metric, check_precomputed

_HOST_CELLS, _DEVICE_CELLS = 1 << 16, 1 << 23  # pairs judged at a time
_HOST_ROWS, _DEVICE_ROWS = 64, 512  # of a leaf, at most
_WIDE = 6  # features from which a product is quicker


class Judge(Protocol):
    """Says which rows of some leaves are neighbours of the rows of one leaf."""

    def near(self, block: Block, leaves: Leaves, /) -> Array:
        """Marks (leaf_rows, leaf_rows * len(leaves)), bool."""
        ...


@dataclass(frozen=True)
class Neighbourhood:
    """Rows in leaves, the relation of these, and a judge of the pairs that it leaves open.

    Marks of open pairs are kept in the blocks' state for the first leaves, up to ``n_kept``.
    """

    order: Order
    relation: Relation
    judge: Judge
    source: MemorySource
    context: Context
    n_kept: int

    def pieces(self, block: Block, leaves: Leaves, /) -> Iterator[tuple[Leaves, Array]]:
        """Some of the open leaves of a leaf at a time, and its neighbours in them."""
        if block.number >= self.n_kept or leaves.size == 0:
            for part in self._parts(leaves.size):
                yield leaves[part], self.judge.near(block, leaves[part])
            return
        every, xp = self.relation.open[block.number], self.context.xp
        if "near" not in block.state:
            marks = [self.judge.near(block, every[part]) for part in self._parts(every.size)]
            block.state["near"] = marks[0] if len(marks) == 1 else xp.concat(marks, axis=1)
        near = block.state["near"]
        if leaves.size < every.size:
            rows = self.order.leaf_rows
            chosen = self.context.from_host(np.searchsorted(every, leaves))
            by_leaf = xp.take(xp.reshape(near, (rows, -1, rows)), chosen, axis=1)
            near = xp.reshape(by_leaf, (rows, -1))
        yield leaves, near

    def _parts(self, total: int) -> Iterator[slice]:
        """So many leaves in parts for which there is memory."""
        cells = _HOST_CELLS if self.context.on_host else _DEVICE_CELLS
        most, start = max(1, cells // self.order.leaf_rows**2), 0
        while start < total:
            size = min(most, total - start)
            if self.context.backend == "jax":
                # it compiles for each shape: powers of two are few
                size = 1 << (size.bit_length() - 1)
            yield slice(start, start + size)
            start += size


def kept_leaves(relation: Relation, leaf_rows: int, limit: int, /) -> int:
    """How many of the first leaves have marks (a byte a pair) that fit into so many bytes."""
    sizes = np.cumsum([leaves.size * leaf_rows**2 for leaves in relation.open])
    return int(np.searchsorted(sizes, limit, side="right"))


@dataclass(frozen=True)
class ByTable:
    """Rows by feature (d, n_places), or (n_places, d) for a callable metric."""

    measure: Measure
    ordered: Array
    leaf_rows: int
    threshold: float

    def near(self, block: Block, leaves: Leaves, /) -> Array:
        mine = slice(block.start, block.start + self.leaf_rows)
        left = self.measure.some(self.ordered, mine)
        return self.measure.tile(left, self._right(leaves)) <= self.threshold

    def _right(self, leaves: Leaves) -> Array:
        xp, first, last = self.measure.context.xp, int(leaves[0]), int(leaves[-1]) + 1
        if last - first == leaves.size:
            return self.measure.some(
                self.ordered, slice(first * self.leaf_rows, last * self.leaf_rows)
            )
        chosen = self.measure.context.from_host(leaves)
        if callable(self.measure.metric):
            by_leaf = xp.reshape(self.ordered, (-1, self.leaf_rows, self.ordered.shape[1]))
            return xp.reshape(xp.take(by_leaf, chosen, axis=0), (-1, self.ordered.shape[1]))
        by_leaf = xp.reshape(self.ordered, (self.ordered.shape[0], -1, self.leaf_rows))
        return xp.reshape(xp.take(by_leaf, chosen, axis=1), (self.ordered.shape[0], -1))


@dataclass(frozen=True)
class Given:
    """Distances that were given (n_rows, n_rows); leaves are in the rows' order."""

    x: Array
    order: Order
    threshold: float
    context: Context

    def near(self, block: Block, leaves: Leaves, /) -> Array:
        each = np.arange(self.order.leaf_rows)
        rows = self._some(self.x, block.start + each, 0)
        places = (leaves[:, None] * self.order.leaf_rows + each).reshape(-1)
        return self._some(rows, places, 1) <= self.threshold

    def _some(self, values: Array, places: Leaves, axis: int) -> Array:
        first, last = int(places[0]), int(places[-1]) + 1
        if last <= self.order.n_rows and last - first == places.size:
            return values[first:last, :] if axis == 0 else values[:, first:last]
        chosen = self.context.from_host(places % self.order.n_rows)
        return self.context.xp.take(values, chosen, axis=axis)


def neighbourhood(
    x: Array, metric: Metric, eps: float, context: Context, limit: int, /, *, who: str
) -> Neighbourhood:
    """Rows, or the distances between them, made ready; refuse what has no distances."""
    if metric == PRECOMPUTED:
        check_precomputed(x, context, who=who)
        return _of_given(x, eps, context, limit)
    # squares are compared: their roots are not needed
    squared = metric == "euclidean"
    measure = Measure.over("sqeuclidean" if squared else metric, [x], context, who=who)
    factor = measure.scale.factor
    threshold = eps * factor
    if squared:
        threshold *= threshold
    elif metric == "sqeuclidean":
        threshold *= factor
    return _of_rows(x, measure, threshold, context, limit)


def _of_rows(
    x: Array, measure: Measure, threshold: float, context: Context, limit: int
) -> Neighbourhood:
    xp, most = context.xp, _most_rows(context)
    if callable(measure.metric):
        order = in_given_order(int(x.shape[0]), most, x, xp=xp)
        ordered = xp.take(measure.ready(x), order.rows, axis=0)
        table = ByTable(measure, ordered, order.leaf_rows, threshold)
        return _made(order, all_open(order.n_leaves), table, context, limit)
    order, ordered = _halved(x, measure, most)
    relation = by_boxes(measure, ordered, order.leaf_rows, threshold, xp=xp)
    judge: Judge | None = None
    if measure.metric == "sqeuclidean" and int(x.shape[1]) >= _WIDE:
        rows = xp.take(x, order.rows, axis=0)
        judge = by_product(rows, measure, order.leaf_rows, threshold)
    if judge is None:
        judge = ByTable(measure, ordered, order.leaf_rows, threshold)
    return _made(order, relation, judge, context, limit)


def _halved(x: Array, measure: Measure, most_rows: int) -> tuple[Order, Array]:
    """Near rows in leaves, and the rows in their order, by feature."""
    xp, ready = measure.context.xp, measure.ready(x)
    order = by_halves(ready, most_rows, xp=xp)
    return order, xp.take(ready, order.rows, axis=1)


def _of_given(x: Array, eps: float, context: Context, limit: int) -> Neighbourhood:
    order = in_given_order(int(x.shape[0]), _most_rows(context), x, xp=context.xp)
    # eps in the dtype of the distances, as scikit-learn compares them
    threshold = float(np.dtype(dtype_name(x)).type(eps))
    judge = Given(x, order, threshold, context)
    _refuse_one_way(x, threshold, context)
    return _made(order, all_open(order.n_leaves), judge, context, limit)


def _most_rows(context: Context) -> int:
    return _HOST_ROWS if context.on_host else _DEVICE_ROWS


def _made(
    order: Order, relation: Relation, judge: Judge, context: Context, limit: int
) -> Neighbourhood:
    source = MemorySource(
        order.rows[:, None],
        None,
        context,
        block_rows=order.leaf_rows,
        piece_rows=order.leaf_rows,
        threads=thread_count() if context.backend == "numpy" else 1,
    )
    # JAX would compile for each number of leaves
    kept = 0 if context.backend == "jax" else kept_leaves(relation, order.leaf_rows, limit)
    return Neighbourhood(order, relation, judge, source, context, kept)


def _refuse_one_way(x: Array, threshold: float, context: Context) -> None:
    """Raise where one row is a neighbour of another, but not the other way round."""
    xp, n_rows = context.xp, int(x.shape[0])
    for part in slices(n_rows, max(1, _DEVICE_CELLS // n_rows)):
        back = x[:, part] <= threshold
        differ = (x[part, :] <= threshold) != back.T
        if not bool(xp.any(differ)):
            continue
        at = int(xp.argmax(xp.reshape(xp.astype(differ, xp.int8), (-1,))))
        row, column = part.start + at // n_rows, at % n_rows
        raise ValueError(
            f"X of metric='precomputed' is not symmetric: X[{row}, {column}] is "
            f"{float(x[row, column])!r} and X[{column}, {row}] is {float(x[column, row])!r}, on "
            "two sides of eps. Pass distances that are the same both ways, for example "
            "numpy.minimum(X, X.T)."
        )
