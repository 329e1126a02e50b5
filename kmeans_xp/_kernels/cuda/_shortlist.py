"""Rows that tensor cores left open: the few centers that may be nearest, measured exactly.

Where other centers are about as near, half precision leaves rows open whose nearest center it has
seen, among one or two others.  Scored once more, the same products list the centers that the bound
does not exclude, and these alone are measured; in the next precision a row would meet all centers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ... import _primitives as p
from ..._backend import dtype_name
from ..._bounds import LEAST_MOVE, Bounds, Drift
from ..._typing import Array, Namespace
from ._arguments import like, strided
from ._calls import MOST_BLOCKS, Calls, Picked, lanes_for, sides_of
from ._source import MOST_LISTED, THREADS, TILES, Unit, assign_unit

LEAST_ROWS = 1 << 14
"""Two launches more are not worth it for fewer."""
_SHARE = 2
_BLOCKS = 1 << 10


@dataclass(frozen=True)
class Shortlist:
    """Room for the centers of so many open rows."""

    limits: Array  # (m,) float32
    beyond: Array  # (m,) float64, in units of distances
    few: Array  # (m, MOST_LISTED) int32
    counts: Array  # (m,) int32

    @classmethod
    def of(cls, x: Array, /, *, xp: Namespace) -> Shortlist:
        """For half of the rows: where more are open, other products are better."""
        rows, where = -(-int(x.shape[0]) // _SHARE), like(x)
        return cls(
            xp.empty(rows, dtype=xp.float32, **where),
            xp.empty(rows, dtype=xp.float64, **where),
            xp.empty((rows, MOST_LISTED), dtype=xp.int32, **where),
            xp.empty(rows, dtype=xp.int32, **where),
        )

    @property
    def room(self) -> int:
        return int(self.limits.shape[0])


def resolve(
    calls: Calls,
    x: Array,
    nearest: p.Nearest,
    work: str,
    labels: Array,
    opened: Picked,
    short: Shortlist,
    /,
    *,
    is_open: Array | None,
    drift: Drift | None,
    bounds: Bounds | None,
) -> Picked:
    """Exact labels of the open rows; the rows that stay open."""
    list_within(calls, x, nearest, work, opened, short)
    return choose(
        calls, x, nearest, work, labels, opened, short, is_open=is_open, drift=drift, bounds=bounds
    )


def choose(
    calls: Calls,
    x: Array,
    nearest: p.Nearest,
    work: str,
    labels: Array,
    opened: Picked,
    short: Shortlist,
    /,
    *,
    is_open: Array | None,
    drift: Drift | None,
    bounds: Bounds | None,
) -> Picked:
    """The nearest of each row's shortlist; the rows that stay open."""
    left = Picked.none(x, xp=calls.xp)
    (k, d), lanes = (int(size) for size in nearest.centers.shape), lanes_for(int(x.shape[1]))
    sides = (None, None, None) if bounds is None else sides_of(bounds)
    tables = None if drift is None else drift.tables
    calls.launcher.launch(
        Unit("choose.cu", dtype_name(x)),
        "choose",
        min(-(-short.room * int(lanes) // THREADS), MOST_BLOCKS),
        0,
        (
            *strided(x, xp=calls.xp),
            opened.rows,
            opened.count,
            np.int64(short.room),
            np.int32(d),
            np.int64(k),
            calls.wide_centers(nearest),
            np.float64(nearest.scale.before),
            np.float64(nearest.scale.after),
            lanes,
            short.few,
            short.counts,
            short.beyond,
            calls.ready(nearest, work, x).twinned,
            np.float64(LEAST_MOVE),
            labels,
            is_open,
            left.rows,
            left.count,
            tables,
            np.int32(tables is not None and dtype_name(tables) == "float64"),
            *sides,
        ),
    )
    return left


def list_within(
    calls: Calls, x: Array, nearest: p.Nearest, work: str, opened: Picked, short: Shortlist, /
) -> None:
    """The centers within the limits of the open rows, as far as there is room."""
    ready, (k, d) = calls.ready(nearest, work, x), nearest.centers.shape
    plan = ready.launch(x, work, xp=calls.xp)
    up, down, _, *memory = plan.arguments
    calls.launcher.launch(
        assign_unit(dtype_name(x), work),
        "shortlist",
        min(plan.grid, -(-short.room // TILES[work].rows), _BLOCKS),
        plan.shared,
        (
            *strided(x, xp=calls.xp),
            opened.rows,
            opened.count,
            np.int64(short.room),
            np.int32(d),
            np.int32(k),
            ready.weights,
            ready.bias,
            ready.shift,
            ready.scale,
            up,
            down,
            *memory,
            short.limits,
            short.few,
            short.counts,
        ),
    )
