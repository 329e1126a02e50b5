"""Launches of the CUDA kernels: each knows the order of one kernel's arguments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import _primitives as p
from ..._backend import dtype_name
from ..._bounds import Bounds, Drift
from ..._distances import Scale
from ..._typing import Array, Namespace
from ._arguments import like, strided
from ._centers import Ready, make_ready
from ._route import depth, dtype_of
from ._source import TENSOR_PRODUCTS, THREADS, Unit, assign_unit
from ._sums import SumCalls

_LANES_FROM = 32  # features from which a warp shares a row
MOST_BLOCKS = 1 << 14
_SUM_TURNS, _SUM_BLOCKS = 4, 1 << 10


@dataclass(frozen=True)
class Picked:
    """Positions of rows, as many as ``count`` (1,) says on the device."""

    rows: Array
    count: Array

    @classmethod
    def none(cls, x: Array, /, *, xp: Namespace) -> Picked:
        """Room for the positions of all rows."""
        rows = xp.empty(int(x.shape[0]), dtype=xp.int64, **like(x))
        return cls(rows, xp.zeros(1, dtype=xp.int64, **like(x)))

    def told(self) -> Picked:
        """The count alone."""
        return Picked(self.count[:0], self.count)


@dataclass(frozen=True)
class Calls(SumCalls):
    """The kernels as functions that write into arrays."""

    def score(
        self,
        x: Array,
        nearest: p.Nearest,
        work: str,
        labels: Array,
        *,
        picked: Picked | None = None,
        is_open: Array | None = None,
        left: Picked | None = None,
        drift: Drift | None = None,
        bounds: Bounds | None = None,
        scores: Array | None = None,
        limits: tuple[Array, Array] | None = None,
    ) -> None:
        """Label rows by a product; mark or list those that it leaves open.

        ``limits`` : of tensor cores, for the first open rows what is kept for `_shortlist`.
        """
        ready, row = self.ready(nearest, work, x), dtype_name(x)
        n_rows, (k, d) = int(x.shape[0]), nearest.centers.shape
        sides = (None, None, None) if bounds is None else sides_of(bounds)
        tables = None if drift is None else drift.tables
        plan = ready.launch(x, work, xp=self.xp)
        self.launcher.launch(
            assign_unit(row, work),
            "assign",
            plan.grid,
            plan.shared,
            (
                *strided(x, xp=self.xp),
                *((None, None) if picked is None else (picked.rows, picked.count)),
                np.int64(n_rows),
                np.int32(d),
                np.int32(k),
                ready.weights,
                ready.bias,
                *([] if ready.held is None else [ready.held]),
                ready.twinned,
                ready.shift,
                ready.scale,
                *plan.arguments,
                *map(np.float64, ready.errors),
                labels,
                scores,
                is_open,
                *((None, None) if left is None else (left.rows, left.count)),
                *(_room_for(limits) if work in TENSOR_PRODUCTS else ()),
                tables,
                np.int32(tables is not None and dtype_name(tables) == "float64"),
                *sides,
            ),
        )

    def judge(
        self, x: Array, nearest: p.Nearest, labels: Array, picked: Picked | None = None, /
    ) -> None:
        """Exact labels of the picked rows (or all) by canonical distance to every center."""
        n_rows, (k, d) = int(x.shape[0]), nearest.centers.shape
        self.launcher.launch(
            Unit("exact.cu", dtype_name(x)),
            "settle",
            min(n_rows, MOST_BLOCKS),
            12 * THREADS,
            (
                *strided(x, xp=self.xp),
                *((None, None) if picked is None else (picked.rows, picked.count)),
                np.int64(n_rows),
                np.int32(d),
                np.int32(k),
                self.wide_centers(nearest),
                np.float64(nearest.scale.before),
                np.float64(nearest.scale.after),
                lanes_for(d),
                labels,
            ),
        )

    def measure(
        self,
        x: Array,
        centers: Array,
        scale: Scale,
        out: Array,
        /,
        *,
        rows: Array | None = None,
        labels: Array | None = None,
        crosses: bool = False,
    ) -> None:
        """Canonical distances to the center of the label (the number), or of all to all."""
        k, d = (int(size) for size in centers.shape)
        n_rows, lanes = int((x if rows is None else rows).shape[0]), lanes_for(d)
        self.launcher.launch(
            Unit("exact.cu", dtype_name(x)),
            "distances",
            -(-n_rows * int(lanes) // THREADS),
            0,
            (
                *strided(x, xp=self.xp),
                rows,
                np.int64(n_rows),
                np.int32(d),
                np.int32(k),
                self.wide(centers),
                labels,
                np.int32(crosses),
                np.float64(scale.before),
                np.float64(scale.after),
                lanes,
                out,
            ),
        )

    def list_doubtful(
        self,
        x: Array,
        nearest: p.Nearest,
        labels: Array,
        apart: Array,
        drift: Drift,
        bounds: Bounds,
        doubtful: Picked,
        /,
    ) -> None:
        """List the rows whose label is not proven; their slack is written anew."""
        n_rows = int(x.shape[0])
        self.launcher.launch(
            Unit("assign.cu", dtype_name(x), nearest.first),
            "list_doubtful",
            min(-(-n_rows // THREADS), MOST_BLOCKS),
            0,
            (
                np.int64(n_rows),
                np.int64(nearest.centers.shape[0]),
                labels,
                apart,
                drift.tables,
                np.int32(dtype_name(drift.tables) == "float64"),
                *sides_of(bounds),
                doubtful.rows,
                doubtful.count,
            ),
        )

    def ready(self, nearest: p.Nearest, work: str, x: Array, /) -> Ready:
        """The centers as products want them, made once a sweep."""
        row = dtype_name(x)
        key = "cuda", work, row
        if key not in nearest.notes:
            rung = self.rung(nearest, work)
            made = make_ready(rung, nearest.reach, work, row, self.launcher, xp=self.xp)
            nearest.notes[key] = made
        ready: Ready = nearest.notes[key]
        return ready

    def rung(self, nearest: p.Nearest, work: str, /) -> p.Rung:
        """The centers for a product, made once."""
        place = dtype_of(work), depth(work, int(nearest.centers.shape[1]))
        if place not in nearest.rungs:
            nearest.rungs[place] = self._rung(nearest, work)
        return nearest.rungs[place]

    def _rung(self, nearest: p.Nearest, work: str) -> p.Rung:
        """As `_primitives.build_rung`, in one launch."""
        xp, product = self.xp, dtype_of(work)
        d, factor = int(nearest.centers.shape[1]), nearest.scale.factor
        theta, canonical, underflow = p.errors(nearest, product, depth(work, d))
        shift = None
        if nearest.shift is not None:
            shift = xp.astype(nearest.shift, getattr(xp, product))
        weights, bias = self.prepare(nearest.centers, product, shift, factor, 0.5 - theta)
        repeats = None
        if "repeats" not in nearest.notes or nearest.notes["repeats"] is not None:
            repeats = p.repeats_of(nearest, self.wide_centers(nearest), xp=xp)
        if repeats is not None:
            bias = xp.where(repeats[0], xp.full_like(bias, float("inf")), bias)
        return p.Rung(
            weights=weights,
            bias=bias,
            twinned=None if repeats is None else repeats[1],
            shift=shift,
            origin=nearest.shift,
            scale=factor,
            theta=theta,
            canonical=canonical,
            underflow=underflow,
        )

    def prepare(
        self, centers: Array, product: str, shift: Array | None, factor: float, share: float, /
    ) -> tuple[Array, Array]:
        """The centers as products want them, and their bias."""
        xp, dtype = self.xp, getattr(self.xp, product)
        k, d = (int(size) for size in centers.shape)
        weights = xp.empty((k, d), dtype=dtype, **like(centers))
        bias = xp.empty(k, dtype=dtype, **like(centers))
        self.launcher.launch(
            Unit("recenter.cu", dtype_name(centers), product),
            "prepare",
            k,
            8 * THREADS,
            (
                xp.ascontiguousarray(centers),
                np.int32(d),
                weights,
                bias,
                shift,
                np.float64(factor),
                np.float64(share),
            ),
        )
        return weights, bias

    def wide(self, values: Array, /) -> Array:
        """The values as float64, in one piece."""
        xp, values = self.xp, self.xp.ascontiguousarray(values)
        if values.dtype == xp.float64:
            return values
        out = xp.empty(values.shape, dtype=xp.float64, **like(values))
        size = math.prod(int(part) for part in values.shape)
        self.launcher.launch(
            Unit("exact.cu", dtype_name(values)),
            "widened",
            min(-(-size // THREADS), MOST_BLOCKS),
            0,
            (values, np.int64(size), out),
        )
        return out

    def rounded(self, values: Array, dtype: str, /) -> Array:
        """Float64 values rounded once to the dtype of the results."""
        xp = self.xp
        if dtype == "float64":
            return values
        values = xp.ascontiguousarray(values)
        out = xp.empty(values.shape, dtype=getattr(xp, dtype), **like(values))
        size = math.prod(int(part) for part in values.shape)
        grid = min(-(-size // THREADS), MOST_BLOCKS)
        arguments = values, np.int64(size), out
        self.launcher.launch(Unit("exact.cu", dtype), "rounded", grid, 0, arguments)
        return out

    def grid_sums(self, values: Array, least: float, /) -> Array:
        """The largest of values (its bits) and their sums on two limbs; see `_exact.grid_sums`."""
        xp, unit, size = self.xp, Unit("exact.cu", "float64"), np.int64(values.shape[0])
        found = xp.zeros(3, dtype=xp.int64, **like(values))
        top, values = found[:1].view(xp.float64), xp.ascontiguousarray(values)
        grid = min(-(-int(size) // (_SUM_TURNS * THREADS)), _SUM_BLOCKS)
        self.launcher.launch(unit, "raise_top", grid, 0, (values, size, top))
        arguments = values, size, np.float64(least), top, found[1:]
        self.launcher.launch(unit, "add_limbs", grid, 0, arguments)
        return found

    def wide_centers(self, nearest: p.Nearest, /) -> Array:
        """The centers as float64, made once a sweep."""
        key = "cuda", "centers"
        if key not in nearest.notes:
            nearest.notes[key] = self.wide(nearest.centers)
        return nearest.notes[key]


def lanes_for(d: int) -> Any:
    """Threads that share a row of canonical distances."""
    return np.int32(32 if d >= _LANES_FROM else 1)


def _room_for(limits: tuple[Array, Array] | None) -> tuple[Any, ...]:
    if limits is None:
        return np.int64(0), None, None
    return np.int64(limits[0].shape[0]), *limits


def sides_of(bounds: Bounds, /) -> tuple[Array, Array, Array]:
    """What rows keep."""
    return bounds.slack, bounds.upper, bounds.lower
