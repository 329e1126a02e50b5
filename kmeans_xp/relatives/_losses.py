"""What rows pay with a row as their medoid: weighted distances on a grid, and exact sums of them.

A loss is a sum over all rows, and which of two swaps is the better one must not depend on the order
in which a library adds.  So each weighted distance is cut to whole numbers on a power-of-two grid
(see `_exact`), one limb of 40 bits where the distances are not of too different sizes, and more
where they are; then all sums are exact.  Cutting is monotone: it commutes with the minima
and maxima of distances that swaps are judged by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import _exact as exact
from .._backend import Context, to_host
from .._typing import Array, Namespace, slices
from ._spaces import INFLATED

BLOCK = 64
"""Candidates that are judged together: a constant, since it decides which swap comes first."""

TOP = exact.ONE_LIMB
"""No value on a grid is above it."""

_HOST_PIECE, _DEVICE_PIECE = 1024, exact.EXACT_ROWS
_LOOKED_AT = 256  # rows whose distances tell how fine the grid must be
_WANTED_BITS = 30  # of a typical distance
_MOST_LIMBS = 4

Distances = Callable[[Array], Array]
"""Distances (m, n), float64, of all rows to those at the positions (m,)."""


@dataclass(frozen=True)
class Losses:
    """What all rows pay for each row as their medoid."""

    distances: Distances
    n_rows: int
    context: Context
    factor: Array | float
    """Brings a distance to the grid: the row's weight times a power of two."""
    limbs: int
    blocks: list[Array] | None
    """The whole table; None where there is no room for it, and parts are made when needed."""

    @classmethod
    def of(
        cls,
        distances: Distances,
        weight: Array | None,
        n_rows: int,
        bound: float | None,
        context: Context,
        /,
        *,
        is_stored: bool,
    ) -> Losses:
        """Choose the grid for weights of at most 1, and store the table if there is room.

        ``bound`` is what no distance is above, but for rounding; None: the table is asked.
        """
        xp = context.xp
        spans = [_positions(span, context) for span in slices(n_rows, BLOCK)]
        blocks = [distances(span) for span in spans] if is_stored else None
        if bound is None:
            tables = blocks if blocks is not None else map(distances, spans)
            bound = float(xp.max(xp.stack([xp.max(table) for table in tables])))
        exponent = exact.exponent_above(bound * INFLATED)
        up = math.ldexp(1.0, exact.LIMB_BITS - exponent)
        typical = _typical(distances, weight, n_rows, context)
        limbs = 1
        if typical > 0.0:
            bits = exponent - math.frexp(typical)[1] + _WANTED_BITS
            limbs = min(_MOST_LIMBS, max(1, -(-bits // exact.LIMB_BITS)))
        losses = cls(
            distances, n_rows, context, up if weight is None else weight * up, limbs, blocks
        )
        if blocks is not None:
            for number, block in enumerate(blocks):
                blocks[number] = losses.on_grid(block)
        return losses

    @property
    def n_blocks(self) -> int:
        return -(-self.n_rows // BLOCK)

    @property
    def pieces(self) -> list[slice]:
        """All rows, so many at a time that their sums are exact and their work fits a cache."""
        step = _HOST_PIECE if self.context.on_host else _DEVICE_PIECE
        return list(slices(self.n_rows, step))

    def on_grid(self, distances: Array, /) -> Array:
        xp = self.context.xp
        values = distances * self.factor
        return xp.round(values) if self.limbs == 1 else values

    def block(self, number: int, /) -> Array:
        """What all rows pay for each candidate of a block, (b, n)."""
        if self.blocks is not None:
            return self.blocks[number]
        span = slice(number * BLOCK, min((number + 1) * BLOCK, self.n_rows))
        return self.on_grid(self.distances(_positions(span, self.context)))

    def rows(self, candidates: Sequence[int], /) -> Array:
        """The same for these candidates, (m, n)."""
        xp = self.context.xp
        if self.blocks is None:
            positions = self.context.from_host(np.asarray(candidates, dtype=np.int64))
            return self.on_grid(self.distances(positions))
        places = [divmod(candidate, BLOCK) for candidate in candidates]
        found = [self.blocks[number][at : at + 1, :] for number, at in places]
        return found[0] if len(found) == 1 else xp.concat(found, axis=0)

    def limbs_of(self, values: Array, /) -> list[Array]:
        """Values on the grid as whole numbers, one array for each limb, the highest first."""
        if self.limbs == 1:
            return [values]
        return exact.quantise(values, 1.0, self.limbs, xp=self.context.xp)

    def sums(self, values: Array, /) -> Array:
        """Exact sums (limbs, m) of values (m, p) of at most a piece's rows, int64."""
        xp = self.context.xp
        parts = [xp.sum(limb, axis=1) for limb in self.limbs_of(values)]
        return xp.astype(xp.stack(parts), xp.int64)

    def paid(self, table: Array, nearest: Array | None, /) -> Array:
        """What all rows pay together (limbs, m) once each candidate alone is a medoid more.

        ``nearest`` is what each row pays so far.
        """
        xp = self.context.xp
        total: Array = 0
        for piece in self.pieces:
            values = table[:, piece]
            if nearest is not None:
                values = xp.minimum(values, nearest[piece][None, :])
            total = total + self.sums(values)
        return carried(total, xp=xp)


def carried(words: Array, /, *, xp: Namespace) -> Array:
    """Numbers of int64 words (limbs, ...) with all but the first word in [0, 2**40): unique."""
    found = [words[-1, ...]]
    for at in range(int(words.shape[0]) - 2, -1, -1):
        over = found[0] >> exact.LIMB_BITS
        found = [words[at, ...] + over, found[0] - (over << exact.LIMB_BITS), *found[1:]]
    return xp.stack(found)


def least(words: Array, /, *, xp: Namespace) -> tuple[int, tuple[int, ...]]:
    """Position and words of the first of the smallest numbers (limbs, m); one wait."""
    alive = words[0, :] == xp.min(words[0, :])
    for at in range(1, int(words.shape[0])):
        word = xp.where(alive, words[at, :], xp.full_like(words[at, :], 1 << exact.LIMB_BITS))
        alive = alive & (word == xp.min(word))
    position = xp.reshape(xp.argmax(xp.astype(alive, xp.int8)), (1,))
    found = xp.concat([xp.astype(position, xp.int64), xp.take(words, position, axis=1)[:, 0]])
    at, *rest = to_host(found).tolist()
    return at, tuple(rest)


def number(words: npt.NDArray[np.int64], /) -> list[int]:
    """Numbers of words (limbs, m) as Python's."""
    total = [0] * words.shape[1]
    for word in words.tolist():
        total = [(high << exact.LIMB_BITS) + low for high, low in zip(total, word, strict=True)]
    return total


def _positions(span: slice, context: Context) -> Array:
    return context.xp.arange(span.start, span.stop, dtype=context.xp.int64, device=context.device)


def _typical(distances: Distances, weight: Array | None, n_rows: int, context: Context) -> float:
    """The middle one of the weighted distances of some rows to the nearest others of them."""
    xp, count = context.xp, min(n_rows, _LOOKED_AT)
    positions = context.from_host(np.arange(count, dtype=np.int64) * n_rows // count)
    table = xp.take(distances(positions), positions, axis=1)
    apart = xp.where(table > 0.0, table, xp.full_like(table, float("inf")))
    nearest = np.sort(to_host(xp.min(apart, axis=1)))
    nearest = nearest[np.isfinite(nearest)]
    if not nearest.size:
        return 0.0
    middle = 1.0 if weight is None else float(xp.sort(weight)[n_rows // 2])
    return float(nearest[nearest.size // 2]) * middle
