"""Vectors along rows: rows into tiles, squared differences, integers into sums.

A row is read in vectors of a width that is a power of two; where the features are no multiple
of it the last vector overlaps the one before, so that nothing beyond the row is read.

Loaded only when numba was chosen by routing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .._exact import ONE_LIMB
from ._tile import _INT32, _INT64, _ZERO, LANES, load, pointers, splat, transposed

FRESH = 8
"""Values of the widest vector of integers."""

_MAGIC = 1.5 * 2.0**52  # added to a number below 2**51, it leaves the nearest whole number
_MAGIC_BITS = 0x4338_0000_0000_0000
_DOUBLE = ir.DoubleType()


def _each_vector(
    builder: Any, d: Any, widths: Sequence[int], emit: Callable[[int, Any, Any], None]
) -> None:
    """Go along a row by the widest vectors that fit; each is told where it should and may begin."""
    width, *others = widths
    size = ir.Constant(_INT64, width)

    def go() -> None:
        last = builder.sub(d, size)
        with cgutils.for_range_slice(builder, _ZERO, d, size, inc=True) as (at, _):
            emit(width, at, builder.select(builder.icmp_signed("<", at, last), at, last))

    if not others:
        go()
        return
    with builder.if_else(builder.icmp_signed(">=", d, size)) as (fits, does_not):
        with fits:
            go()
        with does_not:
            _each_vector(builder, d, others, emit)


def _beside(builder: Any, a: Any, b: Any) -> Any:
    count = 2 * a.type.count
    mask = ir.Constant(ir.VectorType(_INT32, count), list(range(count)))
    return builder.shuffle_vector(a, b, mask)


def _widened(builder: Any, values: Any, wide: Any) -> Any:
    return values if values.type == wide else builder.fpext(values, wide)


def _store_columns(builder: Any, tile: Any, first: Any, rows: list[Any]) -> None:
    """Turn LANES pieces of rows around, and write a line of the tile for each feature."""
    width = rows[0].type.count
    parts = [rows[at : at + width] for at in range(0, LANES, width)]
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [[_beside(builder, a, b) for a, b in zip(*pair, strict=True)] for pair in pairs]
    start = builder.mul(first, ir.Constant(_INT64, LANES))
    for feature, column in enumerate(transposed(builder, parts[0])):
        at = builder.add(start, ir.Constant(_INT64, feature * LANES))
        target = builder.bitcast(builder.gep(tile, [at]), column.type.as_pointer())
        builder.store(column, target, align=4)


def _of_lanes(builder: Any, array: Any) -> list[Any]:
    return [builder.load(builder.gep(array, [ir.Constant(_INT64, lane)])) for lane in range(LANES)]


@intrinsic
def fill_tile(
    typing_context: Any, tile: Any, x: Any, places: Any, d: Any, shift: Any, scale: Any
) -> Any:
    """Bring LANES rows into a tile (d, LANES): shifted and scaled.

    The features of a row lie side by side in ``x``, from the ``places`` (LANES,) int64 on;
    ``shift`` (d,) and ``scale`` have the wider dtype of the rows and the tile.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _fill_tile(builder, *pointers(context, builder, signature, args))
        return context.get_dummy_value()

    return types.void(tile, x, places, d, shift, scale), generate


def _fill_tile(
    builder: Any, tile: Any, x: Any, places: Any, d: Any, shift: Any, scale: Any
) -> None:
    starts = _of_lanes(builder, places)

    def emit(width: int, at: Any, first: Any) -> None:
        work, read, wide = (
            ir.VectorType(pointer.type.pointee, width) for pointer in (tile, x, shift)
        )
        away = load(builder, builder.gep(shift, [first]), wide)
        factor = splat(builder, scale, wide)
        rows = []
        for start in starts:
            row = load(builder, builder.gep(x, [builder.add(start, first)]), read)
            row = builder.fmul(builder.fsub(_widened(builder, row, wide), away), factor)
            rows.append(row if work == wide else builder.fptrunc(row, work))
        _store_columns(builder, tile, first, rows)

    _each_vector(builder, d, (16, 8, 4, 2, 1), emit)


@intrinsic
def square_tile(
    typing_context: Any,
    tile: Any,
    x: Any,
    places: Any,
    d: Any,
    centers: Any,
    homes: Any,
    before: Any,
    after: Any,
) -> Any:
    """Bring squared differences of LANES rows and a center each into a float64 tile.

    ``centers`` (flat, float64) are in units of ``before``; theirs begin at ``homes`` (LANES,).
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _square_tile(builder, *pointers(context, builder, signature, args))
        return context.get_dummy_value()

    return types.void(tile, x, places, d, centers, homes, before, after), generate


def _square_tile(
    builder: Any,
    tile: Any,
    x: Any,
    places: Any,
    d: Any,
    centers: Any,
    homes: Any,
    before: Any,
    after: Any,
) -> None:
    starts = list(zip(_of_lanes(builder, places), _of_lanes(builder, homes), strict=True))

    def emit(width: int, at: Any, first: Any) -> None:
        read, wide = ir.VectorType(x.type.pointee, width), ir.VectorType(_DOUBLE, width)
        factors = splat(builder, before, wide), splat(builder, after, wide)
        rows = []
        for place, home in starts:
            row = load(builder, builder.gep(x, [builder.add(place, first)]), read)
            center = load(builder, builder.gep(centers, [builder.add(home, first)]), wide)
            scaled = builder.fmul(_widened(builder, row, wide), factors[0])
            value = builder.fmul(builder.fsub(scaled, center), factors[1])
            rows.append(builder.fmul(value, value))
        _store_columns(builder, tile, first, rows)

    _each_vector(builder, d, (16, 8, 4, 2, 1), emit)


@intrinsic
def add_lines(typing_context: Any, tile: Any, source: Any, count: Any) -> Any:
    """Add lines of a float64 tile (d, LANES), from ``source`` on, to as many from the first on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        tile, source, count = pointers(context, builder, signature, args)
        lines = builder.bitcast(tile, ir.VectorType(_DOUBLE, LANES).as_pointer())
        with cgutils.for_range(builder, count) as line:
            target = builder.gep(lines, [line.index])
            other = builder.gep(lines, [builder.add(source, line.index)])
            total = builder.fadd(builder.load(target, align=8), builder.load(other, align=8))
            builder.store(total, target, align=8)
        return context.get_dummy_value()

    return types.void(tile, source, count), generate


@intrinsic
def add_row(
    typing_context: Any,
    x: Any,
    place: Any,
    d: Any,
    factor: Any,
    up: Any,
    limbs: Any,
    fresh: Any,
    out: Any,
    to: Any,
    away: Any,
) -> Any:
    """Add a row's features as integers, cut as `_exact.quantise` does, to a flat int64 array.

    The row lies from ``place`` of ``x`` on, in units of ``factor``.  Its limbs go to ``out`` from
    ``to`` on, and are taken from those that begin at ``away`` unless that is negative.  ``fresh``
    (2 FRESH,) is FRESH zeros and as many times -1.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, place, d, factor, up, limbs, *others = pointers(context, builder, signature, args)

        def emit(width: int, at: Any, first: Any) -> None:
            wide = ir.VectorType(_DOUBLE, width)
            row = load(builder, builder.gep(x, [builder.add(place, first)]), _like(wide, x))
            row = builder.fmul(_widened(builder, row, wide), splat(builder, factor, wide))
            row = builder.fmul(row, load(builder, builder.gep(up, [first]), wide))
            _add_limbs(builder, row, limbs, d, (at, first), *others)

        _each_vector(builder, d, (FRESH, 4, 2, 1), emit)
        return context.get_dummy_value()

    arguments = x, place, d, factor, up, limbs, fresh, out, to, away
    return types.void(*arguments), generate


def _like(vector: Any, pointer: Any) -> Any:
    return ir.VectorType(pointer.type.pointee, vector.count)


def _add_limbs(
    builder: Any,
    values: Any,
    limbs: Any,
    d: Any,
    span: tuple[Any, Any],
    fresh: Any,
    out: Any,
    to: Any,
    away: Any,
) -> None:
    """Cut values into limbs, d apart; those that an earlier vector held count as zero."""
    wide, (at, first) = values.type, span
    whole = ir.VectorType(_INT64, wide.count)
    edge = builder.sub(ir.Constant(_INT64, FRESH), builder.sub(at, first))
    mask = load(builder, builder.gep(fresh, [edge]), whole)
    cut = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(wide, [wide]), f"llvm.trunc.v{wide.count}f64"
    )
    magic, one = (ir.Constant(wide, [value] * wide.count) for value in (_MAGIC, ONE_LIMB))
    bits = ir.Constant(whole, [_MAGIC_BITS] * wide.count)
    rest = cgutils.alloca_once_value(builder, values)
    builder.store(values, rest)

    def put(value: Any, limb: Any) -> None:
        # its last bits are the nearest whole number, and that is one vector operation anywhere
        integers = builder.bitcast(builder.fadd(value, magic), whole)
        integers = builder.and_(builder.sub(integers, bits), mask)
        place = builder.add(builder.mul(limb, d), first)
        _join(builder, out, builder.add(to, place), builder.add, integers)
        with builder.if_then(builder.icmp_signed(">=", away, _ZERO)):
            _join(builder, out, builder.add(away, place), builder.sub, integers)

    last = builder.sub(limbs, ir.Constant(_INT64, 1))
    with cgutils.for_range(builder, last) as limb:
        value = builder.load(rest)
        part = builder.call(cut, [value])
        put(part, limb.index)
        builder.store(builder.fmul(builder.fsub(value, part), one), rest)
    put(builder.load(rest), last)


def _join(builder: Any, out: Any, at: Any, join: Callable[[Any, Any], Any], values: Any) -> None:
    target = builder.bitcast(builder.gep(out, [at]), values.type.as_pointer())
    builder.store(join(builder.load(target, align=8), values), target, align=8)


@intrinsic
def differing(typing_context: Any, before: Any, after: Any, at: Any) -> Any:
    """A bit for each of LANES places, from one on, where two int32 arrays differ."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        *arrays, at = pointers(context, builder, signature, args)
        vector = ir.VectorType(_INT32, LANES)
        pair = (load(builder, builder.gep(array, [at]), vector) for array in arrays)
        bits = builder.bitcast(builder.icmp_signed("!=", *pair), ir.IntType(LANES))
        return builder.zext(bits, _INT64)

    return types.int64(before, after, at), generate
