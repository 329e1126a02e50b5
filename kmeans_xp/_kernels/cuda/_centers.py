"""The centers of a sweep as the kernel `assign` wants them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import _primitives as p
from ..._typing import Array, Namespace
from ._arguments import like
from ._errors import Room, finer, grain_of, held_share, room_of
from ._route import Plan, dtype_of, half_range, is_wgmma, plan
from ._source import TENSOR_PRODUCTS, THREADS, TILES, Launcher, assign_bytes, assign_unit

_MOST_BLOCKS = 1 << 12
SCRATCH_BYTES = 128 << 20  # for rows drawn once, of the tiles that are worked on together
BLOCKS_AT_ONCE = 2  # on a multiprocessor (`_route.plan`)


@dataclass(frozen=True)
class Ready:
    """Centers for one product and one dtype of rows."""

    weights: Array  # (k, d), or images of tiles
    bias: Array  # (k,), or filled up to whole tiles
    held: Array | None  # of whole tiles: what is held back of each center (`_errors`)
    twinned: Array | None
    shift: Array | None
    scale: Any
    errors: Room
    lift: tuple[float, float, float]
    plan: Plan | None  # of tensor cores
    blocks: int | None  # that go on until no rows are left; None: one for each tile of rows

    def launch(self, x: Array, work: str, /, *, xp: Namespace) -> Launch:
        """How the kernel is launched over rows."""
        tiles = -(-int(x.shape[0]) // TILES[work].rows)
        if self.blocks is not None:
            tiles = min(tiles, self.blocks)
        if self.plan is None:
            return Launch(tiles, assign_bytes(work), ())
        grid, scratch = tiles, None
        if not self.plan.keeps:
            grid = min(tiles, max(1, SCRATCH_BYTES // self.plan.tile_bytes))
            scratch = xp.empty(grid * self.plan.tile_bytes, dtype=xp.uint8, **like(x))
        more = (
            *map(np.float32, self.lift),
            np.int32(self.plan.parts),
            np.int32(self.plan.stages),
            scratch,
        )
        return Launch(grid, self.plan.shared, more)


@dataclass(frozen=True)
class Launch:
    """Blocks, their shared memory, and the arguments that tensor cores need besides."""

    grid: int
    shared: int
    arguments: tuple[Any, ...]


def make_ready(
    rung: p.Rung, reach: float, work: str, row: str, launcher: Launcher, /, *, xp: Namespace
) -> Ready:
    """The centers of a rung, made ready for rows of a dtype of which none exceeds ``reach``."""
    d, product = int(rung.weights.shape[1]), dtype_of(work)
    wide = "float64" if "float64" in (row, work) else "float32"
    errors, up = (rung.theta, rung.canonical, rung.underflow), half_range(work, reach)
    weights, bias = (
        xp.astype(part, getattr(xp, product), copy=False) for part in (rung.weights, rung.bias)
    )
    drawing, held = None, None
    if work in TENSOR_PRODUCTS:
        drawing = plan(work, d, launcher.capability)
        weights, bias, held = _images(rung, drawing, work, row, up, launcher, xp=xp)
    return Ready(
        weights=weights,
        bias=bias,
        held=held,
        twinned=rung.twinned,
        shift=None if rung.shift is None else xp.astype(rung.shift, getattr(xp, wide)),
        scale=np.dtype(wide).type(rung.scale),
        errors=room_of(work, errors, d, reach * rung.scale, up),
        lift=lift_of(work, up),
        plan=drawing,
        blocks=BLOCKS_AT_ONCE * launcher.multiprocessors if is_wgmma(work) else None,
    )


def lift_of(work: str, up: float, /) -> tuple[float, float, float]:
    """To the range of half precision, back from its products, and from the squares of losses."""
    return up, 1.0 / (up * up), finer(work, up)


def center_terms(work: str, theta: float, up: float, /) -> tuple[Any, ...]:
    """What `draw_centers` is told of errors."""
    return tuple(map(np.float32, (up, finer(work, up), grain_of(work), held_share(theta))))


def _images(
    rung: p.Rung,
    drawing: Plan,
    work: str,
    row: str,
    up: float,
    launcher: Launcher,
    /,
    *,
    xp: Namespace,
) -> tuple[Array, Array, Array]:
    """Images of the tiles of centers, their biases filled up with infinity, what is held back."""
    (k, d), rows = rung.weights.shape, TILES[work].rows
    tiles = -(-k // rows)
    images = xp.empty(tiles * drawing.tile_bytes, dtype=xp.uint8, **like(rung.weights))
    sides = tuple(xp.empty(tiles * rows, dtype=xp.float32, **like(rung.weights)) for _ in range(2))
    unit = assign_unit(row, work)
    grid = min(-(-tiles * drawing.tile_bytes // (4 * THREADS)), _MOST_BLOCKS)
    sizes = map(np.int32, (d, k, drawing.parts))
    numbers = (xp.astype(part, xp.float32, copy=False) for part in (rung.weights, rung.bias))
    arguments = *map(xp.ascontiguousarray, numbers), *sizes, *center_terms(work, rung.theta, up)
    launcher.launch(unit, "draw_centers", grid, 0, (*arguments, images, *sides))
    return images, *sides
