"""Rows that an estimator was given, and the problems that they pose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import _query
from .._backend import dtype_name
from .._kernels import LEAST_ROWS, Shape
from .._memory import needed_bytes
from .._minibatch import Batch, open_batch
from .._opening import memory_limit_of
from .._problem import Problem, Training, bring
from .._stats import NonFiniteError
from .._typing import Array
from .._validation import check_rows, first_bad_cell
from .._weight_checks import check_weight
from ._place import Labelled, Place, place_of
from ._run import prepare
from ._streamed import HostRows


@dataclass(frozen=True)
class ArrayRows:
    """Rows of a checked array: a `_place.Rows`."""

    x: Array
    weight: Any
    place: Place

    @property
    def dtype(self) -> str:
        return dtype_name(self.x)

    @property
    def n_features(self) -> int:
        return int(self.x.shape[1])

    def training(self, n_clusters: int, /, *, who: str, variance: bool) -> Training:
        return prepare(self.x, self.weight, self.place, n_clusters, who=who, variance=variance)

    @property
    def n_rows(self) -> int:
        return int(self.x.shape[0])

    def batch(self, n_clusters: int, /, *, who: str) -> Training | None:
        """The rows as a batch of any size; None where no row has a weight."""
        place = self.place.work
        weight = check_weight(self.weight, self.n_rows, place)
        there = bring(self.x, place, n_clusters)
        if weight is not None and not bool(place.xp.any(weight > 0.0)):
            return None
        try:
            return open_batch(Batch(there, weight), n_clusters, place)
        except NonFiniteError:
            first_bad_cell(self.x, who)

    def labels(self, result: Labelled, middle: Sequence[float], /, *, who: str) -> Array:
        return self.place.send_home(result.labels)

    @property
    def n_passes(self) -> int | None:
        return None

    @property
    def reading(self) -> str:
        return "rows of one array"

    def question(
        self, centers: Array, middle: Sequence[float], /, *, who: str
    ) -> tuple[Problem, Array]:
        return _query.prepare(self.x, self.weight, centers, middle, self.place.work, who=who)


def array_rows(model: Any, x: Any, sample_weight: Any, /) -> ArrayRows | HostRows:
    """Check an array of rows to fit, and find where to work on them."""
    rows = checked_rows(model, x, sample_weight)
    return rows_at(rows, model.n_clusters, model.memory_limit)


def checked_rows(model: Any, x: Any, sample_weight: Any, /) -> ArrayRows:
    """As `array_rows`, for work that needs all rows in memory where it happens."""
    checked = check_rows(model, x, reset=True)
    return ArrayRows(checked, sample_weight, place_of(checked, model.device))


def rows_at(
    rows: ArrayRows, n_clusters: int, memory_limit: int | str | None, /
) -> ArrayRows | HostRows:
    """Rows, which stay in host memory if the GPU that works on them has no room for all."""
    place = rows.place
    if place.home.gpu is None and place.work.backend == "cupy":
        shape = Shape(rows.n_rows, rows.n_features, n_clusters, rows.dtype)
        free = place.work.free_memory
        if free is not None and needed_bytes(shape, LEAST_ROWS) > free:
            return HostRows(rows.x, rows.weight, place, memory_limit_of(memory_limit))
    return rows
