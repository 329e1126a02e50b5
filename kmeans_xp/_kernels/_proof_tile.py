"""What the scores of a tile prove: vectors of LANES rows; the formulas are those of `_bounds`.

Loaded only when numba was chosen by routing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .._bounds import OUTWARDS
from .._groups import TABLE
from ._tile import _INT32, _INT64, _ONE, _ZERO, LANES, PART, load, multiply_add, pointers, splat

_BITS = ir.IntType(LANES)


@intrinsic
def half_norms(typing_context: Any, tile: Any, d: Any, half: Any) -> Any:
    """Half the squared norm of each row of a tile (d, LANES), added up by parts."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        tile, d, half = pointers(context, builder, signature, args)
        vector = ir.VectorType(tile.type.pointee, LANES)
        zero, lines = ir.Constant(vector, [0.0] * LANES), builder.bitcast(tile, vector.as_pointer())
        total, part_sum = (cgutils.alloca_once(builder, vector) for _ in range(2))
        builder.store(zero, total)
        step = ir.Constant(_INT64, PART)
        with cgutils.for_range_slice(builder, _ZERO, d, step, inc=True) as (part, _):
            builder.store(zero, part_sum)
            end = builder.add(part, step)
            end = builder.select(builder.icmp_signed("<", d, end), d, end)
            with cgutils.for_range_slice(builder, part, end, _ONE, inc=True) as (line, _):
                row = builder.load(builder.gep(lines, [line]), align=4)
                builder.store(multiply_add(builder, row, row, builder.load(part_sum)), part_sum)
            builder.store(builder.fadd(builder.load(total), builder.load(part_sum)), total)
        result = builder.fmul(builder.load(total), ir.Constant(vector, [0.5] * LANES))
        _store(builder, result, half)
        return context.get_dummy_value()

    return types.void(tile, d, half), generate


def _store(builder: Any, values: Any, place: Any) -> None:
    builder.store(values, builder.bitcast(place, values.type.as_pointer()), align=4)


class _Scores:
    """Scores of a tile, and the distance of the exclusion threshold from the best one."""

    def __init__(self, builder: Any, half: Any, best: Any, second: Any, terms: Any) -> None:
        self.builder, self.vector = builder, ir.VectorType(half.type.pointee, LANES)
        self.half, self.best, self.second = (
            load(builder, place, self.vector) for place in (half, best, second)
        )
        own, slope, common, self.most = (
            splat(builder, builder.load(builder.gep(terms, [ir.Constant(_INT64, i)])), self.vector)
            for i in range(4)
        )
        self.near = builder.fadd(self.half, self.best)
        room = builder.fmul(slope, self.call("fabs", self.near))
        room = builder.fadd(builder.fmul(own, self.half), room)
        self.room = builder.fadd(room, common)

    def call(self, name: str, values: Any) -> Any:
        """One of LLVM's functions of one vector."""
        bits = {ir.FloatType(): 32, ir.DoubleType(): 64}[self.vector.element]
        kind = ir.FunctionType(self.vector, [self.vector])
        name = f"llvm.{name}.v{LANES}f{bits}"
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, [values])

    def constant(self, value: float) -> Any:
        return ir.Constant(self.vector, [value] * LANES)

    def open(self) -> Any:
        """Rows without a proof; what is not a number, or may have overflowed, is one."""
        builder = self.builder
        within = builder.fcmp_ordered("<=", self.half, self.most)
        proven = builder.fcmp_ordered("<", builder.fadd(self.best, self.room), self.second)
        return builder.not_(builder.and_(within, proven))

    def distance(self, half_square: Any, factor: float) -> Any:
        """The root, moved by a factor."""
        builder, zero = self.builder, self.constant(0.0)
        positive = builder.fcmp_ordered(">", half_square, zero)
        square = builder.fmul(self.constant(2.0), builder.select(positive, half_square, zero))
        return builder.fmul(self.call("sqrt", square), self.constant(factor))

    def edges(self) -> tuple[Any, Any]:
        """At most so far from the own center, at least so far from the others."""
        builder = self.builder
        near = self.distance(builder.fadd(self.near, self.room), 1.0 + OUTWARDS)
        far = builder.fsub(builder.fadd(self.half, self.second), self.room)
        return near, self.distance(far, 1.0 - OUTWARDS)


@intrinsic
def open_rows(
    typing_context: Any, half: Any, best: Any, second: Any, terms: Any, count: Any
) -> Any:
    """A bit for each of the first ``count`` rows of a tile whose label is not proven.

    All arrays have the dtype of the scores; ``terms`` (4,) are those of the error.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        *scores, count = pointers(context, builder, signature, args)
        bits = builder.bitcast(_Scores(builder, *scores).open(), _BITS)
        bits = builder.zext(bits, _INT64)
        one = ir.Constant(_INT64, 1)
        return builder.and_(bits, builder.sub(builder.shl(one, count), one))

    return types.int64(half, best, second, terms, count), generate


@intrinsic
def keep_bounds(
    typing_context: Any,
    half: Any,
    best: Any,
    second: Any,
    terms: Any,
    never: Any,
    label: Any,
    tables: Any,
    k: Any,
    slack: Any,
    upper: Any,
    lower: Any,
    at: Any,
) -> Any:
    """Write the bounds of a tile's rows, from a place on; none for those with a bit in ``never``.

    ``tables`` are those of a `Drift`, (3, 2, k); the bounds have their dtype.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        *scores, never, label, tables, k, slack, upper, lower, at = pointers(
            context, builder, signature, args
        )
        found = _Scores(builder, *scores)
        mask = builder.trunc(never, _BITS)
        mask = builder.bitcast(mask, ir.VectorType(ir.IntType(1), LANES))
        near, far = found.edges()
        near = builder.select(mask, found.constant(float("inf")), near)
        far = builder.select(mask, found.constant(float("-inf")), far)
        bounds = _bounds(builder, near, far, label, tables, k)
        for values, array in zip(bounds, (slack, upper, lower), strict=True):
            _store(builder, values, builder.gep(array, [at]))
        return context.get_dummy_value()

    arguments = half, best, second, terms, never, label, tables, k, slack, upper, lower, at
    return types.void(*arguments), generate


def _bounds(
    builder: Any, near: Any, far: Any, label: Any, tables: Any, k: Any
) -> tuple[Any, Any, Any]:
    """`_bounds.between`, in the dtype of the tables."""
    kept = ir.VectorType(tables.type.pointee, LANES)
    near, far = (_converted(builder, edge, kept) for edge in (near, far))
    more, less = (ir.Constant(kept, [1.0 + sign * TABLE] * LANES) for sign in (1, -1))
    spent, own, rival = _looked_up(builder, label, tables, k, kept)
    slack = builder.fadd(builder.fsub(far, near), spent)
    upper = builder.fsub(builder.fmul(near, more), own)
    return builder.fmul(slack, less), upper, builder.fmul(builder.fadd(far, rival), less)


def _converted(builder: Any, values: Any, vector: Any) -> Any:
    if values.type == vector:
        return values
    wider = vector.element == ir.DoubleType()
    return (builder.fpext if wider else builder.fptrunc)(values, vector)


def _looked_up(
    builder: Any, label: Any, tables: Any, k: Any, vector: Any, lines: Sequence[int] = (0, 2, 4)
) -> list[Any]:
    """Lines of the tables at the labels of the rows."""
    found = [ir.Constant(vector, ir.Undefined)] * len(lines)
    starts = [builder.mul(ir.Constant(_INT64, line), k) for line in lines]
    for lane in range(LANES):
        own = builder.load(builder.gep(label, [ir.Constant(_INT64, lane)]))
        own = builder.sext(own, _INT64)
        for place, start in enumerate(starts):
            value = builder.load(builder.gep(tables, [builder.add(start, own)]))
            found[place] = builder.insert_element(found[place], value, ir.Constant(_INT32, lane))
    return found


@intrinsic
def doubtful_rows(
    typing_context: Any,
    labels: Any,
    slack: Any,
    upper: Any,
    lower: Any,
    apart: Any,
    tables: Any,
    k: Any,
    at: Any,
) -> Any:
    """A bit for each of LANES rows, from a place on, whose label is not proven by its bounds.

    By slack first; where that is spent both sides are looked at, and leave what slack there is.
    ``apart`` (k,), how far each center is from every other, has the dtype of the bounds.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _doubtful(builder, *pointers(context, builder, signature, args))

    return types.int64(labels, slack, upper, lower, apart, tables, k, at), generate


def _doubtful(
    builder: Any,
    labels: Any,
    slack: Any,
    upper: Any,
    lower: Any,
    apart: Any,
    tables: Any,
    k: Any,
    at: Any,
) -> Any:
    vector = ir.VectorType(tables.type.pointee, LANES)
    label, slack, upper, lower = (
        builder.gep(array, [at]) for array in (labels, slack, upper, lower)
    )
    left = load(builder, slack, vector)
    (spent,) = _looked_up(builder, label, tables, k, vector, lines=[1])
    doubt = builder.fcmp_unordered("<=", left, spent)
    bits = cgutils.alloca_once_value(builder, ir.Constant(_BITS, 0))
    builder.store(builder.bitcast(doubt, _BITS), bits)
    any_doubt = builder.icmp_unsigned("!=", builder.load(bits), ir.Constant(_BITS, 0))
    with builder.if_then(any_doubt):
        more, less = (ir.Constant(vector, [1.0 + sign * TABLE] * LANES) for sign in (1, -1))
        begun, own, rival = _looked_up(builder, label, tables, k, vector, lines=[0, 3, 5])
        (away,) = _looked_up(builder, label, apart, k, vector, lines=[0])
        near = builder.fmul(builder.fadd(load(builder, upper, vector), own), more)
        far = builder.fmul(builder.fsub(load(builder, lower, vector), rival), less)
        # so far from the others, by memory or by the triangle inequality
        beyond = builder.fsub(away, near)
        far = builder.select(builder.fcmp_ordered(">", beyond, far), beyond, far)
        rest = builder.fmul(builder.fadd(builder.fsub(far, near), begun), less)
        _store(builder, builder.select(doubt, rest, left), slack)
        still = builder.and_(doubt, builder.fcmp_unordered(">=", near, far))
        builder.store(builder.bitcast(still, _BITS), bits)
    return builder.zext(builder.load(bits), _INT64)
