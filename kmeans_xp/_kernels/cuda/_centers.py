"""The centers of a sweep as the kernel `assign` wants them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import _primitives as p
from ..._typing import Array, Namespace
from ._arguments import like
from ._route import Plan, dtype_of, half_range, plan
from ._source import TENSOR_PRODUCTS, THREADS, TILES, Launcher, assign_bytes, assign_unit

_MOST_BLOCKS = 1 << 12
SCRATCH_BYTES = 128 << 20  # for rows drawn once, of the tiles that are worked on together


@dataclass(frozen=True)
class Ready:
    """Centers for one product and one dtype of rows."""

    weights: Array  # (k, d), or images of tiles
    bias: Array  # (k,), or filled up to whole tiles
    twinned: Array | None
    shift: Array | None
    scale: Any
    errors: tuple[float, float, float, float]  # own, slope, common, largest half norm
    lift: tuple[float, float]  # to the range of half precision, and back from its products
    plan: Plan | None  # of tensor cores

    def launch(self, x: Array, work: str, /, *, xp: Namespace) -> Launch:
        """How the kernel is launched over rows."""
        tiles = -(-int(x.shape[0]) // TILES[work].rows)
        if self.plan is None:
            return Launch(tiles, assign_bytes(work), ())
        grid, scratch = tiles, None
        if not self.plan.keeps:
            grid = min(tiles, max(1, SCRATCH_BYTES // self.plan.tile_bytes))
            scratch = xp.empty(grid * self.plan.tile_bytes, dtype=xp.uint8, **like(x))
        lift = map(np.float32, self.lift)
        more = *lift, np.int32(self.plan.parts), np.int32(self.plan.stages), scratch
        return Launch(grid, self.plan.shared, more)


@dataclass(frozen=True)
class Launch:
    """Blocks, their shared memory, and the arguments that tensor cores need besides."""

    grid: int
    shared: int
    arguments: tuple[Any, ...]


def room_of(
    terms: tuple[float, float, float], product: str, d: int, reach: float, /
) -> tuple[float, float, float, float]:
    """The numbers of ``Room`` in ``verdict.cuh``, for scaled rows of which none exceeds ``reach``.

    Beyond the last, a half norm, a score may overflow; rows without weight may lie there.
    """
    own, common, slope = terms
    most = float(np.finfo(product).max) / 64
    return own, slope, common, d * min(reach, math.sqrt(most / d)) ** 2


def make_ready(
    rung: p.Rung, reach: float, work: str, row: str, launcher: Launcher, /, *, xp: Namespace
) -> Ready:
    """The centers of a rung, made ready for rows of a dtype of which none exceeds ``reach``."""
    d, product = int(rung.weights.shape[1]), dtype_of(work)
    wide = "float64" if "float64" in (row, work) else "float32"
    terms = p.exclusion_terms(rung.theta, rung.canonical, rung.underflow)
    own, slope, common, largest = room_of(terms, product, d, reach * rung.scale)
    up, more = half_range(work, d, reach)
    weights, bias = (
        xp.astype(part, getattr(xp, product), copy=False) for part in (rung.weights, rung.bias)
    )
    drawing = None
    if work in TENSOR_PRODUCTS:
        drawing = plan(work, d, launcher.capability)
        weights, bias = _images(weights, bias, drawing, work, row, up, launcher, xp=xp)
    return Ready(
        weights=weights,
        bias=bias,
        twinned=rung.twinned,
        shift=None if rung.shift is None else xp.astype(rung.shift, getattr(xp, wide)),
        scale=np.dtype(wide).type(rung.scale),
        errors=(own, slope, common + 2.0 * more, largest),
        lift=(up, 1.0 / (up * up)),
        plan=drawing,
    )


def _images(
    weights: Array,
    bias: Array,
    drawing: Plan,
    work: str,
    row: str,
    up: float,
    launcher: Launcher,
    /,
    *,
    xp: Namespace,
) -> tuple[Array, Array]:
    """Images of the tiles of centers, and their biases filled up with infinity."""
    (k, d), rows = weights.shape, TILES[work].rows
    tiles = -(-k // rows)
    images = xp.empty(tiles * drawing.tile_bytes, dtype=xp.uint8, **like(weights))
    filled = xp.empty(tiles * rows, dtype=xp.float32, **like(weights))
    unit = assign_unit(row, work)
    grid = min(-(-tiles * drawing.tile_bytes // (4 * THREADS)), _MOST_BLOCKS)
    sizes = map(np.int32, (d, k, drawing.parts))
    weights = xp.ascontiguousarray(weights)
    arguments = weights, bias, *sizes, np.float32(up), images, filled
    launcher.launch(unit, "draw_centers", grid, 0, arguments)
    return images, filled
