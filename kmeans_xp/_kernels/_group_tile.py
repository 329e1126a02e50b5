"""Vectors for rows that keep bounds for groups: rows into a tile, and which groups a row needs.

Loaded only when numba was chosen by routing.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .._groups import TABLE
from ._tile import (
    _INT32,
    _INT64,
    _ZERO,
    LANES,
    fold,
    load,
    multiply_add,
    pointers,
    splat,
    transposed,
)


@intrinsic
def gather_tile(
    typing_context: Any, rows: Any, stride: Any, width: Any, places: Any, tile: Any
) -> Any:
    """Bring LANES rows (n, stride) into a tile (width, LANES); the width is a multiple of LANES.

    ``places`` (LANES,) int64 are positions of the rows, whose values beyond the width are left.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _gather(builder, *pointers(context, builder, signature, args))
        return context.get_dummy_value()

    return types.void(rows, stride, width, places, tile), generate


def _gather(builder: Any, rows: Any, stride: Any, width: Any, places: Any, tile: Any) -> None:
    """LANES vectors along rows become as many down the features, in four rounds of shuffles."""
    vector = ir.VectorType(rows.type.pointee, LANES)
    starts = [
        builder.mul(builder.load(builder.gep(places, [ir.Constant(_INT64, lane)])), stride)
        for lane in range(LANES)
    ]
    step = ir.Constant(_INT64, LANES)
    with cgutils.for_range_slice(builder, _ZERO, width, step, inc=True) as (at, _):
        parts = [
            load(builder, builder.gep(rows, [builder.add(start, at)]), vector) for start in starts
        ]
        for row, part in enumerate(transposed(builder, parts)):
            place = builder.mul(builder.add(at, ir.Constant(_INT64, row)), step)
            target = builder.bitcast(builder.gep(tile, [place]), vector.as_pointer())
            builder.store(part, target, align=4)


@intrinsic
def needed_groups(
    typing_context: Any, kept: Any, start: Any, width: Any, spent: Any, near: Any, beyond: Any
) -> Any:
    """A bit for each group whose bound does not exceed ``near``.

    The bounds are ``(kept - spent)``, rounded down, of ``width`` groups from a position of the
    flat array; a multiple of LANES, at most 64.  ``near`` is a scalar of their dtype; ``beyond``
    (1,) gets the least of the others, infinite for none.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _needed(builder, *pointers(context, builder, signature, args))

    return types.int64(kept, start, width, spent, near, beyond), generate


def _needed(
    builder: Any, kept: Any, start: Any, width: Any, spent: Any, near: Any, beyond: Any
) -> Any:
    vector = ir.VectorType(kept.type.pointee, LANES)
    infinite = ir.Constant(vector, [float("inf")] * LANES)
    less = ir.Constant(vector, [1.0 - TABLE] * LANES)
    found = cgutils.alloca_once_value(builder, ir.Constant(_INT64, 0))
    builder.store(ir.Constant(_INT64, 0), found)
    least = cgutils.alloca_once_value(builder, infinite)
    builder.store(infinite, least)
    near = splat(builder, near, vector)
    step = ir.Constant(_INT64, LANES)
    with cgutils.for_range_slice(builder, _ZERO, width, step, inc=True) as (at, _):
        sides = (
            load(builder, builder.gep(array, [place]), vector)
            for array, place in ((kept, builder.add(start, at)), (spent, at))
        )
        limit = builder.fmul(builder.fsub(*sides), less)
        far = builder.fcmp_ordered("<", near, limit)
        other = builder.select(far, limit, infinite)
        old = builder.load(least)
        builder.store(builder.select(builder.fcmp_ordered("<", other, old), other, old), least)
        bits = builder.not_(builder.bitcast(far, ir.IntType(LANES)))
        bits = builder.shl(builder.zext(bits, _INT64), at)
        builder.store(builder.or_(builder.load(found), bits), found)
    builder.store(_least_lane(builder, builder.load(least)), beyond)
    return builder.load(found)


@intrinsic
def own_products(
    typing_context: Any, row: Any, weights: Any, start: Any, width: Any, out: Any
) -> Any:
    """Products of a row (width,) with the center at a position, and with itself, to ``out`` (2,).

    The width is a multiple of ``2 * LANES``; a sum is ``width / (2 * LANES) + 5`` additions deep
    at most, and no deeper than there are values other than 0.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _own_products(builder, *pointers(context, builder, signature, args))
        return context.get_dummy_value()

    return types.void(row, weights, start, width, out), generate


def _own_products(builder: Any, row: Any, weights: Any, start: Any, width: Any, out: Any) -> None:
    vector = ir.VectorType(row.type.pointee, LANES)
    zero = ir.Constant(vector, [0.0] * LANES)
    sums = [[cgutils.alloca_once(builder, vector) for _ in range(2)] for _ in range(2)]
    for total in (*sums[0], *sums[1]):
        builder.store(zero, total)
    step = ir.Constant(_INT64, 2 * LANES)
    with cgutils.for_range_slice(builder, _ZERO, width, step, inc=True) as (at, _):
        for place in range(2):
            here = builder.add(at, ir.Constant(_INT64, place * LANES))
            mine, other = (
                load(builder, builder.gep(array, [first]), vector)
                for array, first in ((row, here), (weights, builder.add(start, here)))
            )
            for kind, factor in enumerate((other, mine)):
                total = sums[kind][place]
                builder.store(multiply_add(builder, mine, factor, builder.load(total)), total)
    for kind, (low, high) in enumerate(sums):
        total = fold(builder, builder.fadd(builder.load(low), builder.load(high)))
        builder.store(total, builder.gep(out, [ir.Constant(_INT64, kind)]))


def _least_lane(builder: Any, part: Any) -> Any:
    lanes = LANES
    while lanes > 1:
        lanes //= 2
        numbers = ir.VectorType(_INT32, lanes)
        low, high = (
            builder.shuffle_vector(
                part, part, ir.Constant(numbers, list(range(start, start + lanes)))
            )
            for start in (0, lanes)
        )
        part = builder.select(builder.fcmp_ordered("<", low, high), low, high)
    return builder.extract_element(part, ir.Constant(_INT32, 0))
