"""The kernel of every library: the primitives as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import _gains
from .. import _primitives as p
from .._typing import Array, Namespace


@dataclass(frozen=True)
class ReferenceKernel:
    """The array API primitives behind the kernel protocol."""

    xp: Namespace
    name: str = "reference"

    def propose(
        self, x: Array, nearest: p.Nearest, notes: dict[str, Any], /
    ) -> tuple[Array, Array | None]:
        return p.propose(x, nearest, xp=self.xp)

    def settle(self, x: Array, nearest: p.Nearest, /) -> Array:
        return p.settle(x, nearest, xp=self.xp)

    def own_distances(self, x: Array, nearest: p.Nearest, labels: Array, /) -> Array:
        return p.own_distances(x, nearest, labels, xp=self.xp)

    def distances(self, x: Array, centers: Array, scale: p.Scale, /) -> Array:
        return p.cross_distances(x, centers, scale, xp=self.xp)

    def screen(self, x: Array, rung: p.Rung, notes: dict[str, Any], /) -> tuple[Array, Array]:
        return p.screen(x, rung, xp=self.xp)

    def distances_at(self, x: Array, rows: Array, center: Array, scale: p.Scale, /) -> Array:
        few = self.xp.take(x, rows, axis=0)
        return p.squared_distances(few, center[None, :], scale, xp=self.xp)

    def appraise(
        self, x: Array, weight: Array | None, state: dict[str, Any], trials: _gains.Trials, /
    ) -> _gains.Appraisal:
        return _gains.appraise(x, weight, state, trials, xp=self.xp)

    def group_sums(self, values: Array, labels: Array, n_groups: int, /) -> Array:
        return p.group_sums(values, labels, n_groups, xp=self.xp)

    def compress(self, mask: Array, count: int, /) -> tuple[Array, Array | None]:
        return p.compress(mask, count, xp=self.xp)

    def put(self, values: Array, mask: Array, rows: Array, replacements: Array, /) -> Array:
        return p.scatter(values, mask, replacements, xp=self.xp)
