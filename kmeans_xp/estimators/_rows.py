"""Rows that an estimator was given, and the problems that they pose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import _query
from .._backend import dtype_name
from .._outcome import Result
from .._problem import Problem, Training
from .._typing import Array
from ._run import Place, prepare


@dataclass(frozen=True)
class ArrayRows:
    """Rows of a checked array: a `_run.Rows`."""

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

    def labels(self, result: Result, middle: Sequence[float], /, *, who: str) -> Array:
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
