"""The compiled inner loop: a tile of rows against all centers, by LLVM vectors.

One vector holds one feature of ``LANES`` rows.  ``GROUP`` centers are scored at a time, each
with an accumulator in a register, and the best and second-best scores are kept as they come:
no matrix of scores is ever written.  The code is generic LLVM; the compiler fits the vectors to
the machine (AVX-512, AVX2, NEON).

Loaded only when numba was chosen by routing.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
"""Rows of a tile."""

GROUP = 8
"""Centers of a panel; their number is padded to a multiple of it."""

PART = 32
"""Features that are added up before their sum joins the others: it bounds the rounding."""

_INT32 = ir.IntType(32)
_INT64 = ir.IntType(64)
_ZERO, _ONE = (ir.Constant(_INT64, value) for value in (0, 1))
_LABELS = ir.VectorType(_INT32, LANES)


def _splat(builder: Any, value: Any, vector: Any) -> Any:
    """Copy a scalar to all lanes."""
    empty = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(empty, value, ir.Constant(_INT32, 0))
    return builder.shuffle_vector(first, empty, ir.Constant(_LABELS, [0] * LANES))


def _multiply_add(builder: Any, a: Any, b: Any, total: Any) -> Any:
    """a * b + total, fused or not: the proof of the bounds holds for either."""
    product = builder.fmul(a, b, flags=("contract",))
    return builder.fadd(product, total, flags=("contract",))


class _Tile:
    """Emits the loop over panels of centers for one call of `score_tile`."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        arrays = [
            context.make_array(kind)(context, builder, value).data
            if isinstance(kind, types.Array)
            else value
            for kind, value in zip(signature.args, args, strict=True)
        ]
        tile, self.panels, self.bias, self.width, self.groups, *outputs = arrays
        scalar = context.get_value_type(signature.args[0].dtype)
        self.align = context.get_abi_sizeof(scalar)
        self.builder, self.vector = builder, ir.VectorType(scalar, LANES)
        self.tile = builder.bitcast(tile, self.vector.as_pointer())
        self.outputs = outputs

    def emit(self) -> None:
        builder, vector = self.builder, self.vector
        infinite = ir.Constant(vector, [float("inf")] * LANES)
        self.best = cgutils.alloca_once_value(builder, infinite)
        self.second = cgutils.alloca_once_value(builder, infinite)
        self.label = cgutils.alloca_once_value(builder, ir.Constant(_LABELS, [0] * LANES))
        self.sums, self.totals = (
            [cgutils.alloca_once(builder, vector) for _ in range(GROUP)] for _ in range(2)
        )
        with cgutils.for_range(builder, self.groups) as group:
            first = builder.mul(group.index, ir.Constant(_INT64, GROUP))
            self._products(first)
            for place, total in enumerate(self.totals):
                number = builder.add(first, ir.Constant(_INT64, place))
                self._compare(builder.load(total), builder.trunc(number, _INT32))
        for kept, output in zip((self.best, self.second, self.label), self.outputs, strict=True):
            value = builder.load(kept)
            target = builder.bitcast(output, value.type.as_pointer())
            builder.store(value, target, align=4)

    def _products(self, first: Any) -> None:
        """Bias plus dot product of each center of a panel with the rows of the tile."""
        builder = self.builder
        for place, total in enumerate(self.totals):
            at = builder.add(first, ir.Constant(_INT64, place))
            bias = builder.load(builder.gep(self.bias, [at]))
            builder.store(_splat(builder, bias, self.vector), total)
        start = builder.mul(first, self.width)
        step = ir.Constant(_INT64, PART)
        with cgutils.for_range_slice(builder, _ZERO, self.width, step, inc=True) as (part, _):
            for total in self.sums:
                builder.store(ir.Constant(self.vector, [0.0] * LANES), total)
            end = builder.add(part, step)
            is_last = builder.icmp_signed("<", self.width, end)
            end = builder.select(is_last, self.width, end)
            with cgutils.for_range_slice(builder, part, end, _ONE, inc=True) as (feature, _):
                self._add_feature(start, feature)
            for total, part_sum in zip(self.totals, self.sums, strict=True):
                joined = builder.fadd(builder.load(total), builder.load(part_sum))
                builder.store(joined, total)

    def _add_feature(self, start: Any, feature: Any) -> None:
        builder = self.builder
        rows = builder.load(builder.gep(self.tile, [feature]), align=self.align)
        step = builder.mul(feature, ir.Constant(_INT64, GROUP))
        panel = builder.gep(self.panels, [builder.add(start, step)])
        for place, total in enumerate(self.sums):
            weight = builder.load(builder.gep(panel, [ir.Constant(_INT64, place)]))
            spread = _splat(builder, weight, self.vector)
            builder.store(_multiply_add(builder, spread, rows, builder.load(total)), total)

    def _compare(self, score: Any, number: Any) -> None:
        """Let a center take the lead of some rows; whoever loses may be the second."""
        builder = self.builder
        best, second = builder.load(self.best), builder.load(self.second)
        leads = builder.fcmp_ordered("<", score, best)
        loser = builder.select(leads, best, score)
        closer = builder.fcmp_ordered("<", loser, second)
        builder.store(builder.select(closer, loser, second), self.second)
        labels = _splat(builder, number, _LABELS)
        builder.store(builder.select(leads, labels, builder.load(self.label)), self.label)
        builder.store(builder.select(leads, score, best), self.best)


@intrinsic
def score_tile(
    typing_context: Any,
    tile: Any,
    panels: Any,
    bias: Any,
    width: Any,
    groups: Any,
    best: Any,
    second: Any,
    label: Any,
) -> Any:
    """Best and second-best score, and the best center, of each row of a tile.

    ``tile`` is (width, LANES) and ``panels`` (groups, width, GROUP), both contiguous and of one
    float dtype, ``bias`` (groups * GROUP,); ``best``, ``second`` and ``label`` (LANES,) are
    written.  A score that is not a number takes no part: callers keep such rows away.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _Tile(context, builder, signature, args).emit()
        return context.get_dummy_value()

    return types.void(tile, panels, bias, width, groups, best, second, label), generate
