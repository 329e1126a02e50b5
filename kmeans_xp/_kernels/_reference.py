"""The kernel of every library: the primitives as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import _exact as exact
from .. import _gains, _ledger
from .. import _primitives as p
from .._bounds import Bounds, Drift, Proposal, propose, unproven
from .._distances import Scale, squared_distances, widened
from .._look import look
from .._picks import compress, group_sums, scatter
from .._stats import Surveyor
from .._typing import Array, Block, Namespace, Source
from . import _compare


@dataclass(frozen=True)
class ReferenceKernel:
    """The array API primitives behind the kernel protocol."""

    xp: Namespace
    name: str = "reference"

    @property
    def surveyor(self) -> Surveyor:
        return Surveyor(self.xp)

    def prepare(self, nearest: p.Nearest, /) -> None:
        nearest.rung(nearest.first, xp=self.xp)

    def propose(
        self, x: Array, nearest: p.Nearest, notes: dict[str, Any], drift: Drift | None = None, /
    ) -> Proposal:
        return propose(x, nearest, drift, xp=self.xp)

    def look(
        self, x: Array, nearest: p.Nearest, drift: Drift | None, state: dict[str, Any], /
    ) -> tuple[int, Array | None]:
        return look(self, x, nearest, drift, state)

    def unproven(self, bounds: Bounds, labels: Array, drift: Drift, /) -> tuple[Array, int]:
        doubt = unproven(bounds, labels, drift, xp=self.xp)
        return doubt, int(self.xp.count_nonzero(doubt))

    def settle(self, x: Array, nearest: p.Nearest, /) -> Array:
        return p.settle(x, nearest, xp=self.xp)

    def own_distances(self, x: Array, nearest: p.Nearest, labels: Array | None = None, /) -> Array:
        return p.own_distances(x, nearest, labels, xp=self.xp)

    def distances(self, x: Array, centers: Array, scale: Scale, /) -> Array:
        return p.cross_distances(x, centers, scale, xp=self.xp)

    def screen(self, x: Array, rung: p.Rung, notes: dict[str, Any], /) -> tuple[Array, Array]:
        return p.screen(x, rung, xp=self.xp)

    def distances_at(self, x: Array, rows: Array, center: Array, scale: Scale, /) -> Array:
        few = self.xp.take(x, rows, axis=0)
        return squared_distances(few, center[None, :], scale, xp=self.xp)

    def appraise(
        self, x: Array, weight: Array | None, state: dict[str, Any], trials: _gains.Trials, /
    ) -> _gains.Appraisal:
        return _gains.appraise(x, weight, state, trials, xp=self.xp)

    def trials(self, nearest: p.Nearest, seeds: Sequence[int], source: Source, /) -> _gains.Trials:
        return _gains.make_trials(nearest, seeds, source, xp=self.xp)

    def gained(self, block: Block, trials: _gains.Trials, trial: int, lottery: Any, /) -> int:
        return _compare.gained(self, block, trials, trial, lottery, xp=self.xp)

    def improve(
        self, block: Block, trials: _gains.Trials, trial: int, number: int, lottery: Any, /
    ) -> None:
        _compare.improve(self, block, trials, trial, number, lottery, xp=self.xp)

    def add_changes(self, *_: Any) -> int | None:
        return None

    def advance(self, *_: Any) -> _ledger.Advance | None:
        return None

    def plusplus(self, *_: Any) -> list[int] | None:
        return None

    def oversample(self, *_: Any) -> list[int] | None:
        return None

    def limb_sums(self, values: Array, up: float, /) -> tuple[int, int]:
        return exact.limb_sums(values, up, xp=self.xp)

    def grid_sums(self, values: Array, least: float, /) -> tuple[float, int, int]:
        return exact.grid_sums(values, least, xp=self.xp)

    def widened(self, x: Array, /) -> Array:
        return widened(x, xp=self.xp)

    def rounded(self, values: Array, dtype: str, /) -> Array:
        return self.xp.astype(values, getattr(self.xp, dtype), copy=False)

    def means(
        self, totals: Array, weights: Array, features: int, limbs: int, /, **kind: bool
    ) -> Array:
        return exact.means(totals, weights, features, limbs, **kind)

    def group_sums(self, values: Array, labels: Array, n_groups: int, /) -> Array:
        return group_sums(values, labels, n_groups, xp=self.xp)

    def compress(self, mask: Array, count: int, /) -> tuple[Array, Array | None]:
        return compress(mask, count, xp=self.xp)

    def put(self, values: Array, mask: Array, rows: Array, replacements: Array, /) -> Array:
        return scatter(values, mask, replacements, xp=self.xp)
