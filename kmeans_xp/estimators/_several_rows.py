"""Rows of an array that are split over several devices, and the problems that they pose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._backend import Context, dtype_name
from .._kernels import Plan, Shape
from .._problem import Problem, Training, bring, query_over, training_over, unit_weights
from .._several import SeveralSource, devices_named, shared_out
from .._stats import NonFiniteError
from .._travel import Together, plan_there
from .._typing import Array
from .._validation import check_float64, check_rows, check_same_place, first_bad_cell
from .._weight_checks import check_enough_rows, check_weight
from ._place import Labelled, Place, Rows
from ._rows import ArrayRows, rows_at


class SeveralRows:
    """Rows of a checked array on several devices: a `_place.Rows`."""

    n_passes = None

    def __init__(self, x: Array, weight: Any, devices: Sequence[Context], home: Context) -> None:
        self._x, self._weight = x, weight
        self._work = Together.of(devices)
        self.place = Place(self._work, home)
        self.dtype, self.n_features = dtype_name(x), int(x.shape[1])

    @property
    def reading(self) -> str:
        return f"rows of one array, split over {self._work.device_name}"

    def training(self, n_clusters: int, /, *, who: str, variance: bool) -> Training:
        n_rows = int(self._x.shape[0])
        check_enough_rows(n_rows, None, n_clusters)
        weight = check_weight(self._weight, n_rows, self._work)
        check_enough_rows(n_rows, weight, n_clusters)
        try:
            source, plan = self._opened(weight, n_clusters)
            return training_over(source, plan, n_clusters, variance=variance)
        except NonFiniteError:
            first_bad_cell(self._x, who)

    def question(
        self, centers: Array, middle: Sequence[float], /, *, who: str
    ) -> tuple[Problem, Array]:
        n_clusters = int(centers.shape[0])
        weight = check_weight(self._weight, int(self._x.shape[0]), self._work)
        try:
            source, plan = self._opened(weight, n_clusters)
            problem = query_over(source, plan, n_clusters, middle)
        except NonFiniteError:
            first_bad_cell(self._x, who)
        centers = self._work.move(centers)
        problem.cover(centers)
        return problem, centers

    def labels(self, result: Labelled, middle: Sequence[float], /, *, who: str) -> Array:
        return self.place.send_home(result.labels)

    def _opened(self, weight: Array | None, n_clusters: int) -> tuple[SeveralSource, Plan]:
        weight, exponent = unit_weights(weight, self._work)

        def bring_part(context: Context, part: slice) -> tuple[Array, Array | None]:
            rows = bring(self._x[part, :], context, n_clusters)
            return rows, None if weight is None else context.move(weight[part])

        shape = Shape(int(self._x.shape[0]), self.n_features, n_clusters, self.dtype)
        plan = plan_there(
            shape,
            [context.backend for context in self._work.devices],
            float32_products=all(
                context.float32_products_are_exact for context in self._work.devices
            ),
        )
        source = SeveralSource(
            shared_out(self._work.devices, shape.n_rows, bring_part),
            exponent,
            self._work,
            block_rows=plan.block_rows,
            piece_rows=plan.piece_rows,
        )
        return source, plan


def several_rows(
    model: Any, x: Any, sample_weight: Any, words: Sequence[str], /, *, asked: str | None = None
) -> Rows:
    """Check an array of rows, and split it over the devices that words name.

    ``asked``: the method of a fitted model; None to fit.
    """
    if asked is not None:
        check_same_place(model, model.cluster_centers_, x, asked)
    x = check_rows(model, x, reset=asked is None)
    devices, home = devices_named(x, words)
    for context in devices:
        check_float64(context)
    if len(devices) == 1:
        n_clusters = model.n_clusters if asked is None else int(model.cluster_centers_.shape[0])
        rows = ArrayRows(x, sample_weight, Place(devices[0], home))
        return rows_at(rows, n_clusters, model.memory_limit)
    return SeveralRows(x, sample_weight, devices, home)
