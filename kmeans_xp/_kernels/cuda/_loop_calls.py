"""Launches of the loop's own kernels: centers made ready, few clusters swept, centers renewed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ... import _primitives as p
from ..._backend import dtype_name
from ..._typing import Array, Block, Namespace
from ._arguments import like, strided
from ._calls import MOST_BLOCKS, lanes_for
from ._centers import room_of
from ._route import depth
from ._source import THREADS, TILES, Launcher, Unit, tile_bytes
from ._sums import copies_of

RECORD = 5
"""Numbers that `recenter` leaves of an iteration (int64)."""

EMPTY = 3
"""The reason to end for which the host fills a cluster."""

_TALLY = 4
_TARGET_BLOCKS = 1024


class Record(NamedTuple):
    """What an iteration changed, moved, left empty and open; why it was the last."""

    changed: int
    moved: float
    empties: int
    open_rows: int
    reason: int  # 0 for none

    @classmethod
    def of(cls, numbers: Sequence[int], /) -> Record:
        """From what the device wrote."""
        changed, bits, *others = numbers
        return cls(changed, float(np.int64(bits).view(np.float64)), *others)


class Sums(NamedTuple):
    """Exact sums by cluster: totals (words, k, columns), a change of them, and their meaning."""

    totals: Array
    change: Array
    features: tuple[Array, int]  # factors to the grid (d,), limbs
    weights: tuple[float, int]
    down: Array
    is_short: bool

    @property
    def words(self) -> tuple[Array, Array | None]:
        """The upper and the lower words."""
        return self.totals[0, ...], self.totals[1, ...] if self.totals.shape[0] > 1 else None


@dataclass(frozen=True)
class Terms:
    """What the rungs of an iteration share, whatever its centers."""

    work: str
    shift: Array | None  # in the products' dtype
    rows_shift: Array | None  # in the wider of that and the rows'
    scale: Any
    share: float  # of a squared norm, in the bias
    errors: tuple[float, float, float, float]

    @classmethod
    def of(cls, nearest: p.Nearest, work: str, row: str, /, *, xp: Namespace) -> Terms:
        """For products in plain float32 or float64."""
        d = int(nearest.centers.shape[1])
        theta, canonical, underflow = p.errors(nearest, work, depth(work, d))
        terms = p.exclusion_terms(theta, canonical, underflow)
        shift = nearest.shift
        shift = None if shift is None else xp.astype(shift, getattr(xp, work))
        wide = "float64" if "float64" in (row, work) else "float32"
        return cls(
            work,
            shift,
            None if shift is None else xp.astype(shift, getattr(xp, wide)),
            np.dtype(wide).type(nearest.scale.factor),
            0.5 - theta,
            room_of(terms, work, d, nearest.reach * nearest.scale.factor),
        )


@dataclass(frozen=True)
class LoopCalls:
    """The loop's kernels as functions that write into arrays."""

    xp: Namespace
    launcher: Launcher

    def merge(self, sums: Sums, /) -> None:
        """Add the change to the totals; it is 0 then."""
        size = math.prod(int(part) for part in sums.change.shape)
        self.launcher.launch(
            Unit("recenter.cu", "float64"),
            "merge",
            min(-(-size // THREADS), MOST_BLOCKS),
            0,
            (np.int64(size), *sums.words, sums.change),
        )

    def sweep(
        self,
        block: Block,
        nearest: p.Nearest,
        terms: Terms,
        panel: tuple[Array, Array],
        before: Array | None,
        after: Array,
        sums: Sums,
        stop: Array,
        tally: Array,
        /,
    ) -> None:
        """Labels and the change of the sums in one pass."""
        x, is_exact = block.x, nearest.first == "exact"
        n_rows, (k, d) = block.n_rows, (int(size) for size in nearest.centers.shape)
        tiles = -(-n_rows // TILES[terms.work].rows)
        turns = -(-tiles // _TARGET_BLOCKS)
        weight = block.weight
        self.launcher.launch(
            Unit("fused.cu", dtype_name(x), terms.work),
            "sweep",
            -(-tiles // turns),
            sweep_bytes(terms.work, sums.change),
            (
                stop,
                *strided(x, xp=self.xp),
                np.int64(n_rows),
                np.int32(d),
                np.int32(k),
                *panel,
                terms.rows_shift,
                terms.scale,
                *map(np.float64, terms.errors),
                np.int32(is_exact),
                nearest.centers,
                np.float64(nearest.scale.before),
                np.float64(nearest.scale.after),
                lanes_for(d),
                before,
                after,
                None if weight is None else self.xp.ascontiguousarray(weight),
                sums.features[0],
                np.int32(sums.features[1]),
                np.float64(sums.weights[0]),
                np.int32(sums.weights[1]),
                np.int64(turns),
                np.int32(copies_of(math.prod(sums.change.shape))[0]),
                sums.change,
                tally,
            ),
        )

    def recenter(
        self,
        nearest: p.Nearest,
        after: Array,
        sums: Sums,
        moves: Array,
        tolerance: float,
        record: Array,
        /,
        *,
        stop: Array,
        tally: Array,
        terms: Terms | None = None,
        panel: tuple[Array, Array] | None = None,
        most_open: int = 1 << 62,
    ) -> None:
        """Merge the change, write the new centers (and their panel), and judge the iteration."""
        k, d = (int(size) for size in after.shape)
        self.launcher.launch(
            Unit("recenter.cu", dtype_name(after), "float64" if terms is None else terms.work),
            "recenter",
            k,
            8 * THREADS,
            (
                stop,
                *sums.words,
                sums.change,
                np.int64(k),
                np.int32(d),
                np.int32(sums.features[1]),
                np.int32(sums.weights[1]),
                np.int32(sums.is_short),
                sums.down,
                nearest.centers,
                after,
                np.float64(nearest.scale.before),
                np.float64(nearest.scale.after),
                *((None, None) if panel is None else panel),
                None if terms is None else terms.shift,
                np.float64(0.0 if terms is None else terms.share),
                moves[0, :],
                moves[1, :],
                np.float64(tolerance),
                np.int64(most_open),
                tally,
                record,
            ),
        )


def new_tally(x: Array, /, *, xp: Namespace) -> Array:
    """Counters of `sweep` and `recenter`."""
    return xp.zeros(_TALLY, dtype=xp.int64, **like(x))


def sweep_bytes(work: str, change: Array, /) -> int:
    """Shared memory of the kernel `sweep`."""
    rows, (_, size) = TILES[work].rows, copies_of(math.prod(change.shape))
    return 20 * rows + 12 * THREADS + 8 + tile_bytes(work) + size
