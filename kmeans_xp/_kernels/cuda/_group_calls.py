"""Rows in doubt against groups of centers, on the device: the groups they need, then the scores.

The bounds are those of `_groups`, row by row (n, groups), so that those of a row lie together: only
those of rows in doubt are read, and none is written before it is known anew.  Rows that stay in
doubt are listed with a bit for each group that they need; blocks take chunks of that list and bring
the rows of one group after another into whole tiles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ... import _primitives as p
from ..._backend import dtype_name
from ..._bounds import Bounds, Drift
from ..._groups import Groups
from ..._typing import Array, Namespace
from ._arguments import like, strided
from ._calls import MOST_BLOCKS, Calls, Picked, sides_of
from ._centers import SCRATCH_BYTES, Launch, Ready, make_ready
from ._route import MOST_GROUPS, dtype_of, plan
from ._source import CHUNK_TILES, TENSOR_PRODUCTS, THREADS, TILES, Unit, groups_unit, tile_bytes

_TARGET_BLOCKS = 1024
_LEAST = {"float32": 2.0**-120, "float64": 2.0**-1000}


@dataclass(frozen=True)
class Needs:
    """Rows that are scored against groups: ``masks`` have a bit for each group that they need.

    ``rest`` is the least bound of the other groups.
    """

    picked: Picked
    masks: Array  # (n,) int64
    rest: Array  # (n,) float64

    @classmethod
    def none(cls, x: Array, /, *, xp: Namespace) -> Needs:
        """Room for all rows."""
        masks = xp.empty(int(x.shape[0]), dtype=xp.int64, **like(x))
        return cls(Picked.none(x, xp=xp), masks, xp.empty_like(masks, dtype=xp.float64))


@dataclass(frozen=True)
class GroupCalls:
    """The kernels of groups as functions that write into arrays."""

    calls: Calls

    def serve(self, x: Array, nearest: p.Nearest, groups: Groups, /) -> bool:
        """Whether groups can be used: no repeats are known, and rows are like centers."""
        if groups.count > MOST_GROUPS or x.dtype != nearest.centers.dtype:
            return False
        return self.calls.rung(nearest, nearest.first).twinned is None

    def look(
        self,
        x: Array,
        nearest: p.Nearest,
        work: str,
        labels: Array,
        drift: Drift,
        bounds: Bounds,
        doubtful: Picked,
        left: Picked,
        /,
    ) -> Array:
        """Label rows in doubt, leave their bounds, list the open ones; the pairs scored (1,).

        Pairs are rows and groups, with the places of tiles that no row was left for.
        """
        needs = Needs.none(x, xp=self.calls.xp)
        pairs = self.calls.xp.zeros(1, dtype=self.calls.xp.int64, **like(x))
        self.list_needs(x, nearest, labels, drift, bounds, doubtful, needs)
        self.score(x, nearest, work, labels, drift, bounds, needs, left, pairs)
        return pairs

    def list_needs(
        self,
        x: Array,
        nearest: p.Nearest,
        labels: Array,
        drift: Drift,
        bounds: Bounds,
        doubtful: Picked,
        needs: Needs,
        /,
    ) -> None:
        """List the rows that stay in doubt, and the groups that they need."""
        n_rows, (k, d) = int(x.shape[0]), (int(size) for size in nearest.centers.shape)
        groups = drift.groups
        assert groups is not None
        depth = -(-d // 32) + 5
        self.calls.launcher.launch(
            Unit("groups.cu", dtype_name(x), nearest.first),
            "list_needs",
            min(-(-n_rows // THREADS), MOST_BLOCKS),
            0,
            (
                *strided(x, xp=self.calls.xp),
                doubtful.rows,
                doubtful.count,
                np.int32(d),
                np.int64(k),
                self.calls.xp.ascontiguousarray(nearest.centers),
                np.float64(nearest.scale.before),
                np.float64(nearest.scale.after),
                np.float64(2.0 * (depth + 8) * p.UNIT_ROUNDOFF[nearest.first]),
                np.float64(d * _LEAST[nearest.first]),
                labels,
                groups.home,
                np.int32(groups.count),
                bounds.groups,
                groups.tables,
                *_kept(drift, bounds),
                needs.picked.rows,
                needs.masks,
                needs.rest,
                needs.picked.count,
            ),
        )

    def score(
        self,
        x: Array,
        nearest: p.Nearest,
        work: str,
        labels: Array,
        drift: Drift,
        bounds: Bounds,
        needs: Needs,
        left: Picked,
        pairs: Array,
        /,
    ) -> None:
        """Score the rows against the groups that they need."""
        groups, row = drift.groups, dtype_name(x)
        assert groups is not None
        k, d = (int(size) for size in nearest.centers.shape)
        ready = self._ready(nearest, work, row, groups)
        launch = self._launch(x, work, ready)
        self.calls.launcher.launch(
            groups_unit(row, work),
            "score_groups",
            launch.grid,
            launch.shared,
            (
                *strided(x, xp=self.calls.xp),
                needs.picked.rows,
                needs.masks,
                needs.rest,
                needs.picked.count,
                np.int32(d),
                np.int64(k),
                ready.weights,
                ready.bias,
                *([] if ready.held is None else [ready.held]),
                ready.shift,
                ready.scale,
                *launch.arguments,
                *map(np.float64, ready.errors),
                groups.members,
                np.int32(groups.count),
                np.int32(groups.size),
                bounds.groups,
                groups.tables,
                labels,
                left.rows,
                left.count,
                pairs,
                *_kept(drift, bounds),
            ),
        )

    def _ready(self, nearest: p.Nearest, work: str, row: str, groups: Groups) -> Ready:
        """The centers in the order of groups."""
        key = "cuda groups", work, row
        if key not in nearest.notes:
            xp, rung = self.calls.xp, self.calls.rung(nearest, work)
            order = xp.reshape(groups.members, (-1,))
            bias = xp.take(rung.bias, order)
            present = xp.reshape(groups.present, (-1,))
            bias = xp.where(present, bias, xp.full_like(bias, float("inf")))
            ordered = replace(rung, weights=xp.take(rung.weights, order, axis=0), bias=bias)
            made = make_ready(ordered, nearest.reach, work, row, self.calls.launcher, xp=xp)
            nearest.notes[key] = made
        ready: Ready = nearest.notes[key]
        return ready

    def _launch(self, x: Array, work: str, ready: Ready) -> Launch:
        """Blocks that stride over chunks, and their memory."""
        tile, d = TILES[work], int(x.shape[1])
        grid = min(-(-int(x.shape[0]) // tile.rows), _TARGET_BLOCKS)
        taken = chunk_bytes(work)
        if work not in TENSOR_PRODUCTS:
            return Launch(grid, taken + tile_bytes(work), ())
        drawing, scratch = plan(work, d, self.calls.launcher.capability, taken), None
        if not drawing.keeps:
            grid = min(grid, max(1, SCRATCH_BYTES // drawing.tile_bytes))
            scratch = self.calls.xp.empty(
                grid * drawing.tile_bytes, dtype=self.calls.xp.uint8, **like(x)
            )
        more = (
            *map(np.float32, ready.lift),
            np.int32(drawing.parts),
            np.int32(drawing.stages),
            scratch,
        )
        # the plan counts what is kept of the rows of a tile, too
        return Launch(grid, taken + drawing.shared, more)


def chunk_bytes(work: str, /) -> int:
    """Shared memory of a chunk, and of the places of the rows of a tile (``groups.cuh``)."""
    rows, size = TILES[work].rows, int(dtype_of(work)[5:]) // 8
    return (8 + 5 * size + 4 + 2) * CHUNK_TILES * rows + 16 + 8 * rows


def _kept(drift: Drift, bounds: Bounds) -> tuple[Any, ...]:
    is_double = dtype_name(drift.tables) == "float64"
    return drift.tables, np.int32(is_double), *sides_of(bounds)
