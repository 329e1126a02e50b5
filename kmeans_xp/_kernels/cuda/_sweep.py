"""Launches of the pass that labels rows and adds up those that changed: `fused*.cu`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ... import _primitives as p
from ..._backend import dtype_name
from ..._typing import Array, Block, Namespace
from ._arguments import like, strided
from ._calls import MOST_BLOCKS, lanes_for
from ._centers import center_terms, lift_of
from ._errors import Room, room_of
from ._route import depth, dtype_of, half_range
from ._source import TENSOR_PRODUCTS, THREADS, TILES, Launcher, Unit, tile_bytes
from ._sums import copies_of

_TARGET_BLOCKS = 1024
_MEETS = 64  # centers that a warp of tensor cores meets at a time


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


class Screen(NamedTuple):
    """What tensor cores need besides, and the float32 scores of what they leave open."""

    lift: tuple[float, float, float]
    drawn: tuple[Any, ...]  # what centers are drawn by
    parts: int  # of each row
    errors: Room
    share: float  # that takes their bias to that of float32 products


@dataclass(frozen=True)
class Terms:
    """What the rungs of an iteration share, whatever its centers."""

    work: str
    shift: Array | None  # in the products' dtype
    rows_shift: Array | None  # in the wider of that and the rows'
    scale: Any
    share: float  # of a squared norm, in the bias
    errors: Room
    screen: Screen | None  # of tensor cores

    @classmethod
    def of(cls, nearest: p.Nearest, work: str, row: str, /, *, xp: Namespace) -> Terms:
        """For products ``work`` of rows of a dtype."""
        product, d = dtype_of(work), int(nearest.centers.shape[1])
        up = half_range(work, nearest.reach)
        theta, errors = _errors(nearest, work, up)
        screen = None
        if work in TENSOR_PRODUCTS:
            again, theirs = _errors(nearest, product, 1.0)
            # float32 sums of 32 lanes are less deep than those that the bound is told of by more
            # than the two roundings that this share adds
            share = (0.5 - again) / (0.5 - theta)
            lift, drawn = lift_of(work, up), center_terms(work, theta, up)
            theirs = theirs._replace(slope=theirs.slope * share)
            screen = Screen(lift, drawn, image_parts(work, d), theirs, share)
        shift = nearest.shift
        shift = None if shift is None else xp.astype(shift, getattr(xp, product))
        wide = "float64" if "float64" in (row, product) else "float32"
        return cls(
            work,
            shift,
            None if shift is None else xp.astype(shift, getattr(xp, wide)),
            np.dtype(wide).type(nearest.scale.factor),
            0.5 - theta,
            errors,
            screen,
        )


def _errors(nearest: p.Nearest, work: str, up: float) -> tuple[float, Room]:
    """theta, and what scores may err."""
    d = int(nearest.centers.shape[1])
    errors = p.errors(nearest, dtype_of(work), depth(work, d))
    return errors[0], room_of(work, errors, d, nearest.reach * nearest.scale.factor, up)


@dataclass(frozen=True)
class Panel:
    """Centers as the products want them (k, d), their bias; and both as tensor cores do."""

    weights: Array
    bias: Array
    images: Array | None = None
    filled: Array | None = None  # the bias of whole tiles
    held: Array | None = None  # likewise: what is held back of each center


@dataclass(frozen=True)
class SweepCalls:
    """The pass, and what comes before it, as functions that write into arrays."""

    xp: Namespace
    launcher: Launcher

    def panel(self, weights: Array, bias: Array, terms: Terms, /) -> Panel:
        """Room for images beside the centers, where there are tensor cores."""
        if terms.screen is None:
            return Panel(weights, bias)
        xp, rows = self.xp, TILES[terms.work].rows
        tiles = -(-int(weights.shape[0]) // rows)
        size = tiles * rows * terms.screen.parts * TILES[terms.work].part_bytes
        images = xp.empty(size, dtype=xp.uint8, **like(weights))
        sides = (xp.empty(tiles * rows, dtype=xp.float32, **like(bias)) for _ in range(2))
        return Panel(weights, bias, images, *sides)

    def draw(self, panel: Panel, terms: Terms, row: str, /) -> None:
        """Draw the centers' images anew, if there are any."""
        screen, images = terms.screen, panel.images
        if screen is None or images is None:
            return
        k, d = (int(size) for size in panel.weights.shape)
        self.launcher.launch(
            Unit("fused_mma.cu", row, terms.work),
            "draw_centers",
            min(-(-int(images.shape[0]) // (4 * THREADS)), MOST_BLOCKS),
            0,
            (
                panel.weights,
                panel.bias,
                np.int32(d),
                np.int32(k),
                np.int32(screen.parts),
                *screen.drawn,
                images,
                panel.filled,
                panel.held,
            ),
        )

    def sweep(
        self,
        block: Block,
        nearest: p.Nearest,
        terms: Terms,
        panel: Panel,
        before: Array | None,
        after: Array,
        sums: Sums,
        stop: Array,
        tally: Array,
        /,
    ) -> None:
        """Labels and the change of the sums in one pass."""
        k, d = (int(size) for size in nearest.centers.shape)
        tiles = -(-block.n_rows // TILES[terms.work].rows)
        turns, weight = -(-tiles // _TARGET_BLOCKS), block.weight
        file = "fused.cu" if terms.screen is None else "fused_mma.cu"
        self.launcher.launch(
            Unit(file, dtype_name(block.x), terms.work),
            "sweep",
            -(-tiles // turns),
            sweep_bytes(terms.work, d, sums.change),
            (
                stop,
                *strided(block.x, xp=self.xp),
                np.int64(block.n_rows),
                np.int32(d),
                np.int32(k),
                *_products(terms, panel, is_exact=nearest.first == "exact"),
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


def _products(terms: Terms, panel: Panel, *, is_exact: bool) -> tuple[Any, ...]:
    """The arguments that scores need."""
    errors, screen = tuple(map(np.float64, terms.errors)), terms.screen
    rows = terms.rows_shift, terms.scale
    if screen is None:
        return panel.weights, panel.bias, *rows, *errors, np.int32(is_exact)
    lift, again = map(np.float32, screen.lift), map(np.float64, screen.errors)
    images = panel.images, panel.filled, panel.held, panel.weights, panel.bias
    return *images, *rows, *lift, np.int32(screen.parts), *errors, *again, np.float32(screen.share)


def image_parts(work: str, d: int, /) -> int:
    """Parts of each row in its image."""
    return -(-d * (2 if TENSOR_PRODUCTS[work] == 16 else 4) // TILES[work].part_bytes)


def sweep_bytes(work: str, d: int, change: Array, /) -> int:
    """Shared memory of the kernel `sweep`."""
    (k, _), rows = change.shape, TILES[work].rows
    size = copies_of(math.prod(change.shape))[1] + 12 * THREADS
    if work not in TENSOR_PRODUCTS:
        return size + 20 * rows + 8 + tile_bytes(work)
    centers = -(-int(k) // _MEETS) * _MEETS
    images = image_parts(work, d) * TILES[work].part_bytes * (rows + centers)
    return size + 36 * rows + 16 + images
