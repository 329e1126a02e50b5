"""Rows that are read anew in each pass, and the problems that they pose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import _check_feature_names, _check_n_features

from .._backend import context_of, to_host
from .._kernels import ONE_SWEEP, Kind, Plan, Shape
from .._memory import passing_bytes
from .._opening import is_at_hand, memory_limit_of, open_stream
from .._problem import Problem, Training, plan_for, query_over, training_over, unit_weights
from .._readers import AtHand, Direct, InOrder
from .._sparse import is_sparse
from .._stats import NonFiniteError
from .._streams import StreamSource
from .._typing import Array, Block
from .._validation import check_device_word, check_same_place, first_bad_cell, refuse_non_finite
from .._weight_checks import check_enough_rows, check_weight
from ._place import Labelled, Place, place_of


class StreamRows:
    """Rows of a reader: a `_place.Rows`."""

    def __init__(self, reader: Direct | InOrder, weight: Any, place: Place, limit: int) -> None:
        self._reader, self._weight, self._limit = reader, weight, limit
        self.place, self.dtype, self.n_features = place, reader.dtype, reader.n_features
        self._source: StreamSource | None = None

    @property
    def n_rows(self) -> int:
        return self._reader.n_rows

    @property
    def n_passes(self) -> int | None:
        """How often the rows were read."""
        return None if self._source is None else self._source.n_passes

    @property
    def reading(self) -> str:
        return self._reader.kind if self._source is None else self._source.reading

    def labels(self, result: Labelled, middle: Sequence[float], /, *, who: str) -> Array:
        return self.place.send_home(result.labels)

    def training(self, n_clusters: int, /, *, who: str, variance: bool) -> Training:
        n_rows = self._reader.n_rows
        check_enough_rows(n_rows, None, n_clusters)
        weight = check_weight(self._weight, n_rows, self.place.work)
        check_enough_rows(n_rows, weight, n_clusters)
        source, plan = self._opened(weight, n_clusters)
        try:
            return training_over(source, plan, n_clusters, variance=variance)
        except NonFiniteError:
            self._refuse_bad_cell(source, who)
            raise

    def batch(self, n_clusters: int, /, *, who: str) -> Training | None:
        """The rows as a batch of any size; None where no row has a weight."""
        weight = check_weight(self._weight, self._reader.n_rows, self.place.work)
        if weight is not None and not bool(self.place.work.xp.any(weight > 0.0)):
            return None
        source, plan = self._opened(weight, n_clusters, fits=ONE_SWEEP)
        try:
            return training_over(source, plan, n_clusters)
        except NonFiniteError:
            self._refuse_bad_cell(source, who)
            raise

    def question(
        self, centers: Array, middle: Sequence[float], /, *, who: str
    ) -> tuple[Problem, Array]:
        n_clusters = int(centers.shape[0])
        weight = check_weight(self._weight, self._reader.n_rows, self.place.work)
        source, plan = self._opened(weight, n_clusters)
        try:
            problem = query_over(source, plan, n_clusters, middle)
        except NonFiniteError:
            self._refuse_bad_cell(source, who)
            raise
        centers = self.place.work.move(centers)
        problem.cover(centers)
        return problem, centers

    def _refuse_bad_cell(self, source: StreamSource, who: str) -> None:
        """Raise for the first NaN or infinity; it says in which file it is."""

        def task(block: Block) -> None:
            refuse_non_finite(
                block.x[:, :], "X", who, where=lambda row: source.reader.where(block.start + row)
            )

        source.map(task)

    def check_room(self, n_clusters: int, /) -> None:
        """Refuse distances that together would not fit in memory."""
        # and once more while they are put together
        n_bytes = 2 * self._reader.n_rows * n_clusters * np.dtype(self.dtype).itemsize
        if n_bytes > self._limit:
            raise MemoryError(
                f"the distances of {self._reader.n_rows} rows to {n_clusters} centers take "
                f"{n_bytes} bytes, more than memory_limit ({self._limit}). Transform a block of "
                "rows at a time, or raise memory_limit"
            )

    def _opened(
        self, weight: Array | None, n_clusters: int, fits: float = 1.0
    ) -> tuple[StreamSource, Plan]:
        reader, context = self._reader, self.place.work
        # of other libraries blocks are dense
        stored = reader.is_stored = reader.is_stored and context.backend == "numpy"
        shape = Shape(reader.n_rows, reader.n_features, n_clusters, reader.dtype)
        plan = plan_for(shape, context, Kind(reader.dtype, True), fits=fits, stored=stored)
        weight, exponent = unit_weights(weight, context)
        self._source = source = StreamSource(
            reader,
            weight,
            exponent,
            context,
            block_rows=plan.block_rows,
            piece_rows=plan.piece_rows,
            threads=plan.threads,
            limit=self._limit,
        )
        if context.gpu is not None:
            plan = plan.within(source.block_rows)
            source.hold(passing_bytes(shape, plan.block_rows, plan.group_size))
        return source, plan


class HostRows(StreamRows):
    """Rows of an array in host memory, for which a GPU has no room: a `_run.Rows`."""

    def __init__(self, x: Array, weight: Any, place: Place, limit: int) -> None:
        super().__init__(AtHand(to_host(x)), weight, place, limit)
        self.x = x

    def _refuse_bad_cell(self, source: StreamSource, who: str) -> None:
        first_bad_cell(self.x, who)


def stream_rows(
    model: Any, x: Any, sample_weight: Any, /, *, asked: str | None = None
) -> StreamRows | None:
    """Open X where it is a stream, and check it against what the model knows; else None.

    ``asked``: the method of a fitted model; None to fit, or to begin.
    """
    if is_at_hand(x) and not isinstance(model.memory_limit, str):
        return None  # the most frequent case need not know how much memory there is
    if is_sparse(x) and not model._takes_sparse:
        return None  # the checks of rows refuse it
    limit = memory_limit_of(model.memory_limit)
    reader = open_stream(x, limit, who=type(model).__name__)
    if reader is None:
        return None
    check_device_word(model.device)  # several are none here
    _check_feature_names(model, reader.head, reset=asked is None)
    _check_n_features(model, reader.head, reset=asked is None)
    device = model.device
    if asked is not None:
        check_same_place(model, model.cluster_centers_, reader.home, asked)
        device = model._device_of(context_of(reader.home).device_name)
    place = place_of(reader.home, device)
    return StreamRows(reader, sample_weight, place, limit)
