"""How the CUDA kernels add up rows by cluster: three ways to the same whole numbers.

======  =====================================================  ================================
way     where                                                  what it costs
======  =====================================================  ================================
shared  the sums fit in shared memory, and a cluster has four  an addition there a cell, then
        rows: less is handed on than is added                  one in global memory a sum
sorted  a cluster has four rows, there are 2**18 cells, and a  four launches; a cell is added
        warp can match labels (compute capability 7.0)         in registers, then once a run
global  the rest: few cells, or hardly two rows to a cluster   an addition there a cell
======  =====================================================  ================================

A cell is a column of a row.  Rows are those that may have changed, which is all of a block; one
that did not costs the comparison of two labels, in each of the ways.  The thresholds are not
measured: none of this was run on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from ..._backend import dtype_name
from ..._typing import Array, Block, Namespace
from ._arguments import like, strided
from ._source import THREADS, Launcher, Unit

Way = Literal["shared", "sorted", "global"]
Scales = tuple[Array, int, float, int]

_LOCAL_BYTES = 48 << 10  # of shared memory, which every device has
_SCAN_BYTES = 4 * (THREADS // 32 + 1)
_LIST_BYTES = 4 * THREADS + _SCAN_BYTES
_ROWS_A_CLUSTER = 4
_LEAST_CELLS = 1 << 18
_MATCHES_FROM = 70  # compute capability

_COPIES, _COPY_BYTES = 32, 16 << 10  # at most, and what more than one may take
_TILE_CELLS = 1 << 14
_SHARED_BLOCKS, _GLOBAL_BLOCKS, _SORTED_BLOCKS = 1 << 10, 1 << 14, 1 << 11
_TASK_CELLS = 1 << 12


def route(n_rows: int, k: int, columns: int, capability: int, /) -> Way:
    """The way in which so many rows that may have changed are added to (k, columns) sums."""
    if n_rows < _ROWS_A_CLUSTER * k:
        return "global"
    if _LIST_BYTES + _copy_bytes(k * columns) <= _LOCAL_BYTES:
        return "shared"
    if capability >= _MATCHES_FROM and n_rows * columns >= _LEAST_CELLS:
        return "sorted"
    return "global"


class Grid(NamedTuple):
    """Blocks that add to sums with atomics, what each has of rows at a time, and of sums."""

    blocks: int
    tile: int
    copies: int
    shared: int  # bytes of the copies


def grid_of(n_rows: int, k: int, columns: int, way: Way, /) -> Grid:
    """Tiles of few rows where rows are wide; private copies of the sums where these are few."""
    tile = min(THREADS, max(1, _TILE_CELLS // columns))
    if way == "global":
        return Grid(min(-(-n_rows // tile), _GLOBAL_BLOCKS), tile, 0, 0)
    copies, size = copies_of(k * columns)
    share = max(2 * tile, _ROWS_A_CLUSTER * k)
    return Grid(min(-(-n_rows // share), _SHARED_BLOCKS), tile, copies, size)


def copies_of(slots: int, /) -> tuple[int, int]:
    """Copies in shared memory of so many sums, and their bytes."""
    copies, size = 1, _copy_bytes(slots)
    while copies < _COPIES and 2 * copies * size <= _COPY_BYTES:
        copies *= 2
    return copies, copies * size


def _copy_bytes(slots: int) -> int:
    return 8 * (slots | 1)


class _Rows(NamedTuple):
    """Rows, and where they were and are."""

    x: Array
    weight: Array | None
    before: Array | None
    labels: Array

    def piece(self, start: int, stop: int) -> _Rows:
        """Some of the rows, as views."""
        cut = (None if values is None else values[start:stop] for values in self[1:])
        return _Rows(self.x[start:stop, :], *cut)


@dataclass(frozen=True)
class SumCalls:
    """The kernels that add up by cluster, as functions that write into arrays."""

    xp: Namespace
    launcher: Launcher
    rows_at_once: int = 1 << 22
    """Rows that are sorted together: 12 bytes each, and 4 a cluster, are what sorting needs."""
    chunk: int = 1 << 10
    """Entries that a block adds up at a time, at most."""

    def add_rows(self, block: Block, before: Array | None, scales: Scales, out: Array, /) -> Array:
        """Add rows to the sums (k, columns) by label; how many with weight were added (1,)."""
        n_rows, (k, columns) = int(block.x.shape[0]), (int(size) for size in out.shape)
        way = route(n_rows, k, columns, self.launcher.capability)
        return self.add_rows_by(way, block, before, scales, out)

    def add_rows_by(
        self, way: Way, block: Block, before: Array | None, scales: Scales, out: Array, /
    ) -> Array:
        """Add rows in one of the ways, wherever it is the best."""
        xp, x, labels = self.xp, block.x, block.state["labels"]
        weight = None if block.weight is None else xp.ascontiguousarray(block.weight)
        carrying = xp.zeros(1, dtype=xp.int64, **like(x))
        rows = _Rows(x, weight, before, labels)
        if way != "sorted":
            self._add_at_once(way, rows, scales, out, carrying)
            return carrying
        n_rows = int(x.shape[0])
        for start in range(0, n_rows, self.rows_at_once):
            piece = rows.piece(start, min(start + self.rows_at_once, n_rows))
            self._add_sorted(piece, scales, out, carrying)
        return carrying

    def _add_at_once(
        self, way: Way, rows: _Rows, scales: Scales, out: Array, carrying: Array
    ) -> None:
        n_rows, d = (int(size) for size in rows.x.shape)
        k, columns = (int(size) for size in out.shape)
        grid = grid_of(n_rows, k, columns, way)
        self.launcher.launch(
            Unit("sums.cu", dtype_name(rows.x)),
            "add_rows",
            grid.blocks,
            _LIST_BYTES + grid.shared,
            (
                *strided(rows.x, xp=self.xp),
                np.int64(n_rows),
                np.int32(d),
                np.int32(k),
                rows.weight,
                rows.before,
                rows.labels,
                *_packed(scales),
                np.int32(grid.tile),
                np.int32(grid.copies),
                out,
                carrying,
            ),
        )

    def _add_sorted(self, rows: _Rows, scales: Scales, out: Array, carrying: Array) -> None:
        xp, x, weight, before, labels = self.xp, *rows
        n_rows, d = (int(size) for size in x.shape)
        k, columns = (int(size) for size in out.shape)
        n_entries = n_rows if before is None else 2 * n_rows
        moved, entries = (xp.empty(size, dtype=xp.int32, **like(x)) for size in (n_rows, n_entries))
        zeros = xp.zeros(k + 2, dtype=xp.int32, **like(x))
        starts, listed, placed = zeros[:k], zeros[k : k + 1], zeros[k + 1 :]
        unit = Unit("segments.cu", dtype_name(x))

        def launch(name: str, grid: int, shared: int, *arguments: Any) -> None:
            self.launcher.launch(unit, name, grid, shared, arguments)

        grid = min(-(-n_rows // THREADS), _SORTED_BLOCKS)
        moves = weight, before, labels, starts, moved, listed
        launch("list_moves", grid, _SCAN_BYTES, np.int32(n_rows), *moves)
        launch("allot", -(-k // THREADS), _SCAN_BYTES, np.int32(k), starts, placed)
        launch("place", grid, 0, moved, listed, before, labels, starts, entries, carrying)
        launch(
            "add_segments",
            min(-(-n_entries * columns // _TASK_CELLS), _SORTED_BLOCKS),
            self.chunk * (8 if weight is None else 16),
            *strided(x, xp=xp),
            np.int32(d),
            weight,
            before,
            labels,
            *_packed(scales),
            entries,
            placed,
            np.int32(self.chunk),
            out,
        )

    def group_sums(self, values: Array, labels: Array, out: Array, /) -> None:
        """Add whole numbers held in float64 to the sums (k, columns) by label."""
        n_rows, (k, columns) = int(values.shape[0]), (int(size) for size in out.shape)
        way = route(n_rows, k, columns, 0)
        grid = grid_of(n_rows, k, columns, way)
        self.launcher.launch(
            Unit("sums.cu", "float64"),
            "group_sums",
            grid.blocks,
            grid.shared,
            (
                *strided(values, xp=self.xp),
                np.int64(n_rows),
                np.int32(columns),
                np.int32(k),
                labels,
                np.int32(grid.tile),
                np.int32(grid.copies),
                out,
            ),
        )


def _packed(scales: Scales) -> tuple[Any, ...]:
    up, limbs, weight_up, weight_limbs = scales
    return up, np.int32(limbs), np.float64(weight_up), np.int32(weight_limbs)
