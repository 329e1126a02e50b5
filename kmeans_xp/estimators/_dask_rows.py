"""Rows of dask collections: the problems that they pose, and answers that stay lazy."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import _query
from .._backend import context_of, dtype_name, numpy_context, to_host
from .._dask import DaskSource
from .._dask_input import as_array, make_partitions
from .._dask_tasks import one_blas_thread_at_a_time
from .._kernels import METER, ONE_SWEEP, Kind, Plan, Shape, select
from .._opening import memory_limit_of
from .._problem import Problem, Training, query_over, query_problem, training_over
from .._stats import NonFiniteError
from .._travel import HOST, Together, plan_there
from .._typing import Array, Block
from .._validation import non_finite
from ..exceptions import DeviceError
from ._place import Labelled, Place

Question = Callable[[Problem, Array], Array]


class DaskRows:
    """Rows in partitions: a `_place.Rows`.

    Parameters
    ----------
    estimator : whose features are those of X
    x : dask array or data frame
    weight : for each row, lazy or not; None for 1 each
    device : as the user wrote it
    reset : whether the features are learnt, or compared
    """

    def __init__(
        self, estimator: Any, x: Any, weight: Any, device: str | None, *, reset: bool
    ) -> None:
        if device not in (None, "auto", "cpu"):
            raise DeviceError(
                f"device={device!r} does not go with dask collections, whose blocks are worked on "
                "where they are: on GPUs if they are CuPy's. Leave it out, or pass the rows as one "
                "array."
            )
        self.x, self._weight = as_array(estimator, x, reset=reset), weight
        self.place = Place(HOST, numpy_context())
        self._room = memory_limit_of(estimator.memory_limit)
        self.dtype, self.n_features = self.x.dtype.name, int(self.x.shape[1])
        self._source: DaskSource | None = None

    def training(self, n_clusters: int, /, *, who: str, variance: bool) -> Training:
        source, plan = self._open(n_clusters, fits=1.0, is_fit=True)
        try:
            return training_over(source, plan, n_clusters, variance=variance)
        except NonFiniteError:
            raise _first_bad_cell(source, who) from None

    @property
    def n_rows(self) -> int:
        if any(map(math.isnan, self.x.chunks[0])):
            # of our own: the user's collection goes on not knowing
            self.x = self.x.copy().compute_chunk_sizes()
        return int(self.x.shape[0])

    def batch(self, n_clusters: int, /, *, who: str) -> Training | None:
        """The rows as a batch of any size; None where no row has a weight."""
        source, plan = self._open(n_clusters, fits=ONE_SWEEP)
        if source.partitions.n_positive == 0:
            return None
        try:
            return training_over(source, plan, n_clusters)
        except NonFiniteError:
            raise _first_bad_cell(source, who) from None

    def question(
        self, centers: Array, middle: Sequence[float], /, *, who: str
    ) -> tuple[Problem, Array]:
        n_clusters = int(centers.shape[0])
        source, plan = self._open(n_clusters)
        try:
            problem = query_over(source, plan, n_clusters, middle)
        except NonFiniteError:
            raise _first_bad_cell(source, who) from None
        problem.cover(centers)
        return problem, centers

    def _open(
        self, n_clusters: int, *, fits: float = 0.0, is_fit: bool = False
    ) -> tuple[DaskSource, Plan]:
        partitions = make_partitions(self.x, self._weight, n_clusters if is_fit else None)
        n_rows = sum(partitions.lengths)
        if n_rows == 0:
            raise ValueError(
                f"Found array with 0 sample(s) (shape=(0, {self.n_features})) while a minimum of 1 "
                "is required."
            )
        shape = Shape(n_rows, self.n_features, n_clusters, self.dtype)
        backends, devices = zip(*partitions.places, strict=True)
        if set(backends) == {"numpy"}:
            plan = _plan(shape, fits)
        else:
            plan = plan_there(shape, backends)
            work = Together.named_so(backends, devices)
            self.place = Place(work, self.place.home)
        self._source = DaskSource(
            partitions,
            self.place.work,
            block_rows=plan.block_rows,
            piece_rows=plan.piece_rows,
            room=self._room,
        )
        return self._source, plan

    def labels(self, result: Labelled, middle: Sequence[float], /, *, who: str) -> Any:
        """Labels (n,) as a lazy dask array: all of them may be too many to come here."""
        found = self.nearest(result.centers, middle, who=who)
        assert self._source is not None
        found._chunks = (self._source.partitions.lengths,)
        return found

    def nearest(self, centers: Array, middle: Sequence[float], /, *, who: str) -> Any:
        """Labels of any rows as a lazy dask array, in the partitions of X."""
        return self._lazy(_query.predict, centers, middle, who, dtype=np.int32, drop_axis=1)

    def distances(self, centers: Array, middle: Sequence[float], /, *, who: str) -> Any:
        """Distances (n, k) as a lazy dask array, in the partitions of X."""
        chunks = self.x.chunks[0], (int(centers.shape[0]),)
        return self._lazy(_query.distances, centers, middle, who, dtype=self.dtype, chunks=chunks)

    def _lazy(
        self, question: Question, centers: Array, middle: Sequence[float], who: str, **shape: Any
    ) -> Any:
        sizes = self.x.chunks[0]
        starts = None if any(map(math.isnan, sizes)) else [0, *itertools.accumulate(sizes)]
        answer = functools.partial(_answer, question, centers, middle, who, starts)
        # in the library of the blocks
        empty = (0,) * (1 if "drop_axis" in shape else 2)
        meta = np.empty_like(self.x._meta, shape=empty, dtype=shape["dtype"])
        return self.x.map_blocks(answer, meta=meta, **shape)

    @property
    def n_passes(self) -> int | None:
        return None if self._source is None else self._source.n_passes

    @property
    def reading(self) -> str:
        """How the passes of the last problem came by their rows."""
        assert self._source is not None
        partitions, passes = self._source.partitions, self._source.n_passes
        where = f"{self._source.n_rows} rows in {len(partitions.lengths)} partitions"
        if partitions.is_held:
            return f"{where}, held in memory for {passes} passes"
        why = "they do not fit the free memory"
        if context_of(self.x._meta).backend != "numpy":
            why = "on GPUs they stay where X was persisted"
        return f"{where}, read anew in each of {passes} passes: {why}"


def _plan(shape: Shape, fits: float) -> Plan:
    """The plan for so many fits, on one thread: tasks run side by side."""
    routed = functools.partial(select, shape, backend="numpy", threads=1)
    if METER.wants(shape, 1, Kind(shape.dtype, True), fits):
        plan = routed(compiled=True)
        if not plan.few:
            return plan
    return routed()


def _first_bad_cell(source: DaskSource, who: str) -> ValueError:
    """The error that names the first NaN or infinity."""

    def task(block: Block) -> tuple[int, int, float] | None:
        found = _bad_cell(to_host(block.x))
        return None if found is None else (block.start + found[0], *found[1:])

    with source.working():
        row, column, value = next(found for found in source.map(task) if found is not None)
    return non_finite(value, f"row {row}, column {column}", "X", who)


def _answer(
    question: Question,
    centers: Array,
    middle: Sequence[float],
    who: str,
    starts: Sequence[int] | None,
    x: Array,
    block_id: tuple[int, ...] = (0, 0),
) -> Array:
    """Answer a question about the rows of one partition."""
    n_clusters = int(centers.shape[0])
    context = context_of(x)
    xp = context.xp
    with one_blas_thread_at_a_time(), context.scope():
        if x.shape[0] == 0:
            empty = (0,) if question is _query.predict else (0, n_clusters)
            return xp.empty(empty, dtype=xp.int32, device=context.device)
        shape = Shape(int(x.shape[0]), int(x.shape[1]), n_clusters, dtype_name(x))
        plan = _plan(shape, 0.0) if context.backend == "numpy" else None
        try:
            problem = query_problem(x, None, context, n_clusters, middle, plan=plan)
        except NonFiniteError:
            found = _bad_cell(to_host(x))
            assert found is not None
            row, column, value = found
            if starts is None:
                where = f"row {row} of partition {block_id[0]}, column {column}"
            else:
                where = f"row {starts[block_id[0]] + row}, column {column}"
            raise non_finite(value, where, "X", who) from None
        problem.cover(centers)
        return question(problem, context.move(centers))


def _bad_cell(x: Array) -> tuple[int, int, float] | None:
    """The first NaN or infinity: its row, its column, and which it is."""
    flat = np.flatnonzero(~np.isfinite(x))
    if flat.size == 0:
        return None
    row, column = divmod(int(flat[0]), int(x.shape[1]))
    return row, column, float(x[row, column])
