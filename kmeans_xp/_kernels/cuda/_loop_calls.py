"""Launches of the loop's own kernels beside the pass: centers renewed, an iteration judged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ... import _primitives as p
from ..._backend import dtype_name
from ..._bounds import LEAST_MOVE, Drift
from ..._typing import Array, Namespace
from ._arguments import like
from ._calls import MOST_BLOCKS
from ._route import dtype_of
from ._source import THREADS, Unit
from ._sweep import Panel, Sums, SweepCalls, Terms

RECORD = 5
"""Numbers that `recenter` leaves of an iteration (int64)."""

EMPTY, OPEN = 3, 4
"""Reasons to end: for the host, which fills a cluster; for many rows that were left open."""

_TALLY = 4


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


@dataclass(frozen=True)
class LoopCalls(SweepCalls):
    """The loop's kernels as functions that write into arrays."""

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
        panel: Panel | None = None,
        most_open: int = 1 << 62,
    ) -> None:
        """Merge the change, write the new centers (and their panel), and judge the iteration."""
        k, d = (int(size) for size in after.shape)
        product = "float64" if terms is None else dtype_of(terms.work)
        self.launcher.launch(
            Unit("recenter.cu", dtype_name(after), product),
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
                *((None, None) if panel is None else (panel.weights, panel.bias)),
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

    def drift(self, drift: Drift, squared: Array, /) -> Drift:
        """As `_bounds.drifted`, in one launch."""
        xp, groups, (k,) = self.xp, drift.groups, drift.own.shape
        is_double = np.int32(dtype_name(drift.tables) == "float64")
        own, rival, tables = map(xp.empty_like, (drift.own, drift.rival, drift.tables))
        after, several = Drift(own, rival, tables), (np.int32(0), np.int32(0), *[None] * 4)
        if groups is not None:
            spent, ends = map(xp.empty_like, (groups.spent, groups.tables))
            after = replace(after, groups=replace(groups, spent=spent, tables=ends, tally=[]))
            sizes = np.int32(groups.count), np.int32(groups.size)
            several = *sizes, groups.members, groups.spent, spent, ends
        least, sides = np.float64(LEAST_MOVE), (drift.own, drift.rival)
        self.launcher.launch(
            Unit("drift.cu", "float64"),
            "drift",
            1,
            24 * THREADS,
            (np.int64(k), squared, least, *sides, own, rival, tables, is_double, *several),
        )
        return after


class Counters(NamedTuple):
    """What `sweep` and `recenter` count in, of so many iterations; one array holds it all."""

    stop: Array
    tally: Array
    records: Array  # (iterations, RECORD)

    @classmethod
    def none(cls, count: int, x: Array, /, *, xp: Namespace) -> Counters:
        """Nothing is counted yet."""
        zeros = xp.zeros(1 + _TALLY + count * RECORD, dtype=xp.int64, **like(x))
        return cls(
            zeros[:1], zeros[1 : 1 + _TALLY], xp.reshape(zeros[1 + _TALLY :], (count, RECORD))
        )
