"""The compiled inner loop: a tile of rows against all centers, by LLVM vectors.

One vector holds one feature of ``LANES`` rows.  ``GROUP`` centers are scored at a time, each
with an accumulator in a register, and what is asked of the scores is found out as they come:
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

GROUP = 4
"""Centers of a panel; their number is padded to a multiple of it."""

PART = 32
"""Features that are added up before their sum joins the others: it bounds the rounding."""

STRIDE = 64
"""Sums that `dot` keeps side by side."""

_INT32 = ir.IntType(32)
_INT64 = ir.IntType(64)
_ZERO, _ONE = (ir.Constant(_INT64, value) for value in (0, 1))
_LABELS = ir.VectorType(_INT32, LANES)


def splat(builder: Any, value: Any, vector: Any) -> Any:
    """Copy a scalar to all lanes."""
    empty = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(empty, value, ir.Constant(_INT32, 0))
    lanes = ir.VectorType(_INT32, vector.count)
    return builder.shuffle_vector(first, empty, ir.Constant(lanes, [0] * vector.count))


def multiply_add(builder: Any, a: Any, b: Any, total: Any) -> Any:
    """a * b + total, fused or not: the proof of the bounds holds for either."""
    product = builder.fmul(a, b, flags=("contract",))
    return builder.fadd(product, total, flags=("contract",))


def pointers(context: Any, builder: Any, signature: Any, args: Any) -> list[Any]:
    """What arrays point to; other arguments as they are."""
    return [
        context.make_array(kind)(context, builder, value).data
        if isinstance(kind, types.Array)
        else value
        for kind, value in zip(signature.args, args, strict=True)
    ]


class _Panels:
    """Emits the loop over panels of centers: the scores of a tile, for a subclass to look at."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        arrays = pointers(context, builder, signature, args)
        tile, self.panels, self.bias, self.width, self.groups, *self.others = arrays
        scalar = context.get_value_type(signature.args[0].dtype)
        self.align = context.get_abi_sizeof(scalar)
        self.builder, self.vector = builder, ir.VectorType(scalar, LANES)
        self.tile = builder.bitcast(tile, self.vector.as_pointer())
        self.sums, self.totals = (
            [cgutils.alloca_once(builder, self.vector) for _ in range(GROUP)] for _ in range(2)
        )

    def emit(self) -> None:
        builder = self.builder
        self._begin()
        with cgutils.for_range(builder, self.groups) as group:
            first = builder.mul(group.index, ir.Constant(_INT64, GROUP))
            self._products(first)
            for place, total in enumerate(self.totals):
                number = builder.add(first, ir.Constant(_INT64, place))
                self._look(builder.load(total), builder.trunc(number, _INT32))
        self._end()

    def _begin(self) -> None:
        raise NotImplementedError

    def _look(self, score: Any, number: Any) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError

    def _products(self, first: Any) -> None:
        """Bias plus dot product of each center of a panel with the rows of the tile."""
        builder = self.builder
        for place, total in enumerate(self.totals):
            at = builder.add(first, ir.Constant(_INT64, place))
            bias = builder.load(builder.gep(self.bias, [at]))
            builder.store(splat(builder, bias, self.vector), total)
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
            spread = splat(builder, weight, self.vector)
            builder.store(multiply_add(builder, spread, rows, builder.load(total)), total)


class _Best(_Panels):
    """The two best scores of each row."""

    def _begin(self) -> None:
        builder = self.builder
        infinite = ir.Constant(self.vector, [float("inf")] * LANES)
        self.best = cgutils.alloca_once_value(builder, infinite)
        self.second = cgutils.alloca_once_value(builder, infinite)
        self.label = cgutils.alloca_once_value(builder, ir.Constant(_LABELS, [0] * LANES))

    def _end(self) -> None:
        builder = self.builder
        for kept, output in zip((self.best, self.second, self.label), self.others, strict=True):
            value = builder.load(kept)
            target = builder.bitcast(output, value.type.as_pointer())
            builder.store(value, target, align=4)

    def _look(self, score: Any, number: Any) -> None:
        """Let a center take the lead of some rows; whoever loses may be the second."""
        builder = self.builder
        best, second = builder.load(self.best), builder.load(self.second)
        leads = builder.fcmp_ordered("<", score, best)
        loser = builder.select(leads, best, score)
        closer = builder.fcmp_ordered("<", loser, second)
        builder.store(builder.select(closer, loser, second), self.second)
        labels = splat(builder, number, _LABELS)
        builder.store(builder.select(leads, labels, builder.load(self.label)), self.label)
        builder.store(builder.select(leads, score, best), self.best)


class _Near(_Panels):
    """The centers whose score is within the limit of a row, or not a number."""

    def _begin(self) -> None:
        builder = self.builder
        limits, *self.lists = self.others
        limits = builder.bitcast(limits, self.vector.as_pointer())
        self.limits = builder.load(limits, align=self.align)
        self.count = cgutils.alloca_once_value(builder, _ZERO)

    def _look(self, score: Any, number: Any) -> None:
        """Write each center, and go on to the next place if it counts: no branch."""
        builder = self.builder
        within = builder.fcmp_unordered("<=", score, self.limits)
        lanes = builder.bitcast(within, ir.IntType(LANES))
        count = builder.load(self.count)
        for value, target in zip((number, builder.zext(lanes, _INT32)), self.lists, strict=True):
            builder.store(value, builder.gep(target, [count]))
        counts = builder.icmp_unsigned("!=", lanes, ir.Constant(ir.IntType(LANES), 0))
        builder.store(builder.add(count, builder.zext(counts, _INT64)), self.count)

    def _end(self) -> None:
        self.found = self.builder.load(self.count)


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
        _Best(context, builder, signature, args).emit()
        return context.get_dummy_value()

    return types.void(tile, panels, bias, width, groups, best, second, label), generate


@intrinsic
def list_near(
    typing_context: Any,
    tile: Any,
    panels: Any,
    bias: Any,
    width: Any,
    groups: Any,
    limits: Any,
    numbers: Any,
    lanes: Any,
) -> Any:
    """List the centers that have a score at or below the limit of some row; how many there are.

    The first arguments are those of `score_tile`; ``limits`` (LANES,) has their dtype.  The int32
    arrays ``numbers`` and ``lanes`` (groups * GROUP,) get the centers, and a bit for each row
    whose limit is not exceeded.  A score that is not a number exceeds no limit.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        near = _Near(context, builder, signature, args)
        near.emit()
        return near.found

    arguments = tile, panels, bias, width, groups, limits, numbers, lanes
    return types.int64(*arguments), generate


def transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Turn blocks of so many lanes as there are rows around, beside each other.

    Swap their off-diagonal blocks of half that size, then those of a quarter, and so on.
    """
    rows, size = list(rows), len(rows) // 2
    while size:
        upper = [lane if lane & size == 0 else lane - size + LANES for lane in range(LANES)]
        lower = [lane + size if lane & size == 0 else lane + LANES for lane in range(LANES)]
        for i in range(len(rows)):
            if i & size == 0:
                pair = rows[i], rows[i + size]
                for place, mask in ((i, upper), (i + size, lower)):
                    rows[place] = builder.shuffle_vector(*pair, ir.Constant(_LABELS, mask))
        size //= 2
    return rows


def load(builder: Any, place: Any, vector: Any) -> Any:
    return builder.load(builder.bitcast(place, vector.as_pointer()), align=4)


@intrinsic
def dot(typing_context: Any, a: Any, first: Any, b: Any, second: Any, width: Any) -> Any:
    """Dot product of ``width`` values of flat arrays, from positions; a multiple of STRIDE.

    Each sum is ``width / STRIDE + log2(STRIDE)`` additions deep.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _dot(builder, *pointers(context, builder, signature, args))

    return a.dtype(a, first, b, second, width), generate


def _dot(builder: Any, a: Any, first: Any, b: Any, second: Any, width: Any) -> Any:
    scalar = a.type.pointee
    vector = ir.VectorType(scalar, LANES)
    zero = ir.Constant(vector, [0.0] * LANES)
    sums = [cgutils.alloca_once_value(builder, zero) for _ in range(STRIDE // LANES)]
    for total in sums:
        builder.store(zero, total)
    step = ir.Constant(_INT64, STRIDE)
    with cgutils.for_range_slice(builder, _ZERO, width, step, inc=True) as (at, _):
        for place, total in enumerate(sums):
            here = builder.add(at, ir.Constant(_INT64, place * LANES))
            left, right = (
                load(builder, builder.gep(array, [builder.add(start, here)]), vector)
                for array, start in ((a, first), (b, second))
            )
            builder.store(multiply_add(builder, left, right, builder.load(total)), total)
    parts = [builder.load(total) for total in sums]
    while len(parts) > 1:
        half = len(parts) // 2
        parts = [builder.fadd(parts[i], parts[half + i]) for i in range(half)]
    return fold(builder, parts[0])


def fold(builder: Any, total: Any) -> Any:
    """Add up the lanes of a vector by halves."""
    lanes = LANES
    while lanes > 1:
        lanes //= 2
        low, high = (
            builder.shuffle_vector(
                total,
                total,
                ir.Constant(ir.VectorType(_INT32, lanes), list(range(start, start + lanes))),
            )
            for start in (0, lanes)
        )
        total = builder.fadd(low, high)
    return builder.extract_element(total, ir.Constant(_INT32, 0))


@intrinsic
def prefetch(typing_context: Any, address: Any) -> Any:
    """Ask for a line of memory that will be read soon."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        read, keep, data = (ir.Constant(word, value) for value in (0, 3, 1))
        builder.call(function, [builder.inttoptr(args[0], byte), read, keep, data])
        return context.get_dummy_value()

    return types.void(address), generate
