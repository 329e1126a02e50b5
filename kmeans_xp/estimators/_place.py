"""Where rows are, where the work on them happens, and what is asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .._backend import Context, resolve
from .._problem import Problem, Training
from .._typing import Array
from .._validation import check_device_word, check_float64


@dataclass(frozen=True)
class Place:
    """Where X came from, and where the work happens."""

    work: Context
    home: Context

    def send_home(self, array: Array) -> Array:
        """Bring a result to X's library and device; nothing is copied when it is there."""
        if self.work == self.home:
            return array
        with self.home.scope():
            return self.home.move(array)


def place_of(x: Array, device: Any) -> Place:
    """Resolve X and the device word, and refuse a device without float64."""
    work, home = resolve(x, check_device_word(device))
    check_float64(work)
    return Place(work, home)


class Labelled(Protocol):
    """Centers, and the labels of the rows by them where the rows are at hand."""

    @property
    def centers(self) -> Array: ...

    @property
    def labels(self) -> Array | None: ...


class Rows(Protocol):
    """Checked rows and their weights, wherever they are, and the problems that they pose."""

    @property
    def place(self) -> Place: ...

    @property
    def dtype(self) -> str: ...

    @property
    def n_features(self) -> int: ...

    def training(self, n_clusters: int, /, *, who: str, variance: bool) -> Training:
        """Take the statistics pass; refuse what cannot be clustered."""
        ...

    def labels(self, result: Labelled, middle: Sequence[float], /, *, who: str) -> Array:
        """Labels of a fit, in X's library."""
        ...

    @property
    def n_passes(self) -> int | None:
        """Passes over rows that are away; None where they are at hand."""
        ...

    @property
    def reading(self) -> str:
        """How the passes of the last problem came by the rows, in words."""
        ...

    def question(
        self, centers: Array, middle: Sequence[float], /, *, who: str
    ) -> tuple[Problem, Array]:
        """The rows and the centers made ready for questions; refuse what has no answer."""
        ...
