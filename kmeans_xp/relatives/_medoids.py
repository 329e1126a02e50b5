"""FasterPAM: medoids that swap places with rows until no swap lowers the loss.

Schubert and Rousseeuw, "Fast and eager k-medoids clustering: O(k) runtime improvement of the PAM,
CLARA, and CLARANS algorithms", Information Systems 101, 2021.  A row pays its distance d1 to the
nearest medoid; d2 is that to the second nearest.  Should medoid j leave and candidate c enter, a
row that pays t for c will pay

    min(t, d1)              if its nearest medoid stays,
    min(t, d2)              if it leaves.

The second is min(t, d1) and what min(max(t, d1), d2) exceeds d1 by.  So the first has one sum
for all j, the excess takes each row once, for its own medoid, and a candidate is judged
against all k medoids in one look at the rows.  Here the excess of a block of candidates is a
product with the table of who belongs to which medoid.

The paper makes each swap as soon as it pays.  Here the best swap of a block is made, and the blocks
grow while none pays; all candidates in a row without a swap prove the local optimum.
"""

from __future__ import annotations

from dataclasses import dataclass

from .._outcome import Status
from .._typing import Array
from ._losses import BLOCK, TOP, Losses, carried, least

_MOST_BLOCKS = 8


@dataclass(frozen=True)
class Found:
    """Medoids by position, and how they came about."""

    medoids: list[int]
    n_iter: int
    n_swaps: int
    status: Status


class Medoids:
    """The medoids, and what each row pays to them."""

    def __init__(self, losses: Losses, medoids: list[int], /) -> None:
        self._losses = losses
        self.medoids = list(medoids)
        self._look(losses.rows(medoids))

    def _look(self, pays: Array) -> None:
        """Find each row's nearest and second nearest of the medoids' rows (k, n)."""
        losses, xp = self._losses, self._losses.context.xp
        k = int(pays.shape[0])
        every = xp.arange(k, dtype=xp.int64, device=losses.context.device)
        nearest, own = xp.min(pays, axis=0), xp.argmin(pays, axis=0)
        others = xp.where(every[:, None] == own[None, :], xp.full_like(pays, TOP), pays)
        members = [
            xp.astype(own[piece][:, None] == every[None, :], xp.float64) for piece in losses.pieces
        ]
        self._pays, self._nearest, self._second = pays, nearest, xp.min(others, axis=0)
        self._members = members
        self._paid = self._by_medoid(nearest[None, :])[:, 0, :]

    def _by_medoid(self, values: Array) -> Array:
        """Exact sums (limbs, m, k) of values (m, n) by the nearest medoid of each row."""
        total: Array = 0
        for piece, member in zip(self._losses.pieces, self._members, strict=True):
            total = total + self._piece_by_medoid(values[:, piece], member)
        return total

    def _piece_by_medoid(self, values: Array, member: Array) -> Array:
        xp = self._losses.context.xp
        parts = [xp.matmul(limb, member) for limb in self._losses.limbs_of(values)]
        return xp.astype(xp.stack(parts), xp.int64)

    def changes(self, table: Array, /) -> Array:
        """By how much the loss grows (limbs, b * k) if a candidate takes a medoid's place.

        ``table`` (b, n) is what rows pay for the candidates.
        """
        losses, xp = self._losses, self._losses.context.xp
        total: Array = 0
        for piece, member in zip(losses.pieces, self._members, strict=True):
            pays = table[:, piece]
            nearest, second = self._nearest[piece][None, :], self._second[piece][None, :]
            after = xp.minimum(xp.maximum(pays, nearest), second)
            by_medoid = self._piece_by_medoid(after, member)
            stay = losses.sums(xp.minimum(pays, nearest))
            total = total + (by_medoid + stay[:, :, None])
        now = self._paid + xp.sum(self._paid, axis=1)[:, None]
        total = total - now[:, None, :]
        return xp.reshape(total, (losses.limbs, -1))

    def swap(self, leaving: int, candidate: int, /) -> None:
        """Let a candidate take the place of the medoid of this number."""
        losses, xp = self._losses, self._losses.context.xp
        k = len(self.medoids)
        is_leaving = xp.arange(k, dtype=xp.int64, device=losses.context.device) == leaving
        self._look(xp.where(is_leaving[:, None], losses.rows([candidate]), self._pays))
        self.medoids = [candidate if at == leaving else row for at, row in enumerate(self.medoids)]


def swap_until_none_pays(losses: Losses, start: list[int], max_iter: int, /) -> Found:
    """Make swaps from starting medoids, at most ``max_iter`` times through all candidates."""
    state = Medoids(losses, start)
    first, stretch, quiet, looked, swaps = 0, 1, 0, 0, 0
    n_blocks, status = losses.n_blocks, Status.SWAPS
    try:
        while quiet < n_blocks:
            if looked >= max_iter * n_blocks:
                status = Status.MAX_ITER
                break
            last = min(first + stretch, n_blocks)
            best = _best_swap(losses, state, first, last)
            looked += last - first
            if best is None:
                quiet += last - first
                stretch = min(2 * stretch, _MOST_BLOCKS)
            else:
                state.swap(*best)
                swaps, quiet, stretch = swaps + 1, 0, max(1, stretch // 2)
            first = last % n_blocks
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    return Found(state.medoids, -(-looked // n_blocks), swaps, status)


def _best_swap(losses: Losses, state: Medoids, first: int, last: int) -> tuple[int, int] | None:
    """The swap that lowers the loss most, of the candidates of some blocks; None if none does."""
    xp = losses.context.xp
    parts = [state.changes(losses.block(number)) for number in range(first, last)]
    words = parts[0] if len(parts) == 1 else xp.concat(parts, axis=1)
    position, change = least(carried(words, xp=xp), xp=xp)
    if change[0] >= 0:
        return None
    candidate, leaving = divmod(position, len(state.medoids))
    return leaving, first * BLOCK + candidate
