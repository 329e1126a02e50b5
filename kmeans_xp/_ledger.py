"""How rows become columns of integers, and totals of those become centers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from . import _exact as exact
from ._distances import widened
from ._stats import Summary
from ._typing import Array, Namespace


@dataclass(frozen=True)
class Stats:
    """Sums by cluster as exact integers; rows that changed, were left open, were scored at all.

    ``totals`` is (words, k, columns) int64, see `_exact`; the columns are the limbs of the
    features, those of the weight if there is one, and the number of weighted rows.
    """

    totals: Array
    changed: int
    open_rows: int
    scored: int


class Advance(NamedTuple):
    """Iterations that a kernel made by itself: see `_typing.Kernel`.

    ``records`` holds for each the weighted rows that changed, and the summed squared movements of
    the centers.  ``pending``: one more has its labels and totals, and changed so many rows, but
    left a cluster empty; ``centers`` are those that it began from.
    """

    centers: Array
    totals: Array
    records: list[tuple[int, float]]
    pending: int | None


class Ledger:
    """How rows become columns of integers, and totals become centers."""

    def __init__(
        self,
        summary: Summary,
        like: Array,
        n_rows: int,
        xp: Namespace,
        divide: Callable[..., Array] = exact.means,
        widen: Callable[[Array], Array] | None = None,
    ) -> None:
        self.words = exact.words_for(n_rows)
        self._grid, self._weight_grid, self._xp = summary.grid, summary.weight_grid, xp
        self._divide, self._widen = divide, widen or functools.partial(widened, xp=xp)
        self._up = exact.to_device(self._grid.up, like, xp=xp)
        self._is_short = exact.one_word(n_rows, self._grid.limbs)
        self._counts_rows = self._weight_grid is None and n_rows < 1 << 26
        self.n_features = len(self._grid.exponents)
        down = self._grid.down
        if self._weight_grid is not None:
            self._weight_up = exact.to_device(self._weight_grid.up, like, xp=xp)
            down = down * float(self._weight_grid.up[0])
        self._down = exact.to_device(down, like, xp=xp)

    @property
    def n_columns(self) -> int:
        weights = 0 if self._weight_grid is None else self._weight_grid.limbs
        return self._grid.limbs * self.n_features + weights + 1

    @property
    def scales(self) -> tuple[Array, int, float, int]:
        """Factors and limbs of the features, and of the weight: what `columns` works with."""
        weights = self._weight_grid
        if weights is None:
            return self._up, self._grid.limbs, 1.0, 0
        return self._up, self._grid.limbs, float(weights.up[0]), weights.limbs

    @property
    def down(self) -> Array:
        """What brings means back to the user's coordinates (d,)."""
        return self._down

    @property
    def is_short(self) -> bool:
        """Whether totals of one word are divided as they are (see `_exact.one_word`)."""
        return self._is_short

    def columns(self, x: Array, weight: Array | None, /) -> Array:
        """Integer-valued float64 rows (m, columns)."""
        xp = self._xp
        x = self._widen(x)
        weighted = x if weight is None else x * weight[:, None]
        parts = exact.quantise(weighted, self._up, self._grid.limbs, xp=xp)
        return xp.concat([*parts, *self._weight_columns(x, weight)], axis=1)

    def weight_columns(self, x: Array, weight: Array | None, /) -> Array:
        """The last of the columns, those that `counts` and `masses` read."""
        return self._xp.concat(self._weight_columns(x, weight), axis=1)

    def _weight_columns(self, x: Array, weight: Array | None) -> list[Array]:
        xp = self._xp
        if weight is None or self._weight_grid is None:
            return [xp.ones_like(x[:, :1], dtype=xp.float64)]
        parts = exact.quantise(weight[:, None], self._weight_up, self._weight_grid.limbs, xp=xp)
        return [*parts, xp.astype(weight > 0.0, xp.float64)[:, None]]

    def counts(self, totals: Array, /) -> Array:
        """Rows with a positive weight in each cluster (int64)."""
        counts = totals[..., -1]
        if int(totals.shape[0]) == 1:
            return counts[0, :]
        return (counts[0, :] << exact.LIMB_BITS) + counts[1, :]

    def means(self, totals: Array, counts: Array, /, *, any_empty: bool = True) -> Array:
        """Float64 means (k, d) in the user's coordinates; meaningless where the count is 0."""
        xp, d, limbs = self._xp, self.n_features, self._grid.limbs
        weights = self._weights(totals, counts)
        if any_empty:
            # such a cluster must not divide by zero
            weights = xp.where(counts > 0, weights, xp.ones_like(weights))
        kind = {"whole": self._counts_rows, "short": self._is_short}
        return self._divide(totals, weights, d, limbs, **kind) * self._down

    def masses(self, totals: Array, /) -> Array:
        """Summed weights (k,) in their own units, float64."""
        scale = 1.0 if self._weight_grid is None else float(self._weight_grid.down[0])
        return self._weights(totals, self.counts(totals)) * scale

    def _weights(self, totals: Array, counts: Array) -> Array:
        """Summed weights (k,) in units of the weight grid."""
        xp = self._xp
        if self._weight_grid is None:
            return xp.astype(counts, xp.float64)
        limbs, end = self._weight_grid.limbs, int(totals.shape[2]) - 1
        totals = exact.two_words(totals[:, :, end - limbs : end], xp=xp)
        words = xp.astype(totals, xp.float64)
        first, *rest = exact.terms([words[:, :, limb] for limb in range(limbs)])
        return sum(rest, start=first)

    def alone(self, x: Array, weight: Array | None, /) -> Array:
        """The center that each row would have as the only member of a cluster."""
        xp = self._xp
        whole = xp.astype(self.columns(x, weight), xp.int64)
        totals = exact.widen(whole, xp=xp)
        return self.means(totals, self.counts(totals))
