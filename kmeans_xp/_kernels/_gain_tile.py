"""The compiled inner loop of k-means++: eight rows against eight candidates, by LLVM vectors.

Eight candidates lie side by side in a vector, so that rows are read as they lie: for so few
candidates, turning the rows around as `_tile` does would take longer than their products.
Loaded only when numba was chosen by routing.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._tile import multiply_add, pointers, splat

ROWS = 8
"""Rows that are scored at a time; the marks of so many make a word."""

TRIALS = 8
"""Candidates of a vector; their number is padded to a multiple of it."""

_INT64 = ir.IntType(64)
_WIDE = ir.VectorType(ir.DoubleType(), TRIALS)


class _Gains:
    """Emits the scores of eight rows, what they may gain, and the sums of that."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        arrays = pointers(context, builder, signature, args)
        addresses, panels, bias, self.width, group, self.margins, *rest = arrays
        self.is_weighted, self.factors, self.start, sums, self.marks = rest
        scalar = context.get_value_type(signature.args[1].dtype)
        self.builder, self.vector = builder, ir.VectorType(scalar, TRIALS)
        self.align = context.get_abi_sizeof(scalar)
        first = builder.mul(group, ir.Constant(_INT64, TRIALS))
        self.panel = builder.gep(panels, [builder.mul(first, self.width)])
        self.bias = self._load(builder.gep(bias, [first]))
        self.sums = builder.bitcast(builder.gep(sums, [first]), _WIDE.as_pointer())
        self.rows = [
            builder.inttoptr(builder.load(self._place(addresses, row)), scalar.as_pointer())
            for row in range(ROWS)
        ]

    def emit(self) -> Any:
        """Mark the pairs that may gain, add up what they do; how many there are."""
        builder = self.builder
        zero = ir.Constant(self.vector, [0.0] * TRIALS)
        gains = []
        for row, product in enumerate(self._products(zero)):
            margin = builder.load(self._place(self.margins, row, self.start))
            score = builder.fadd(product, self.bias)
            over = builder.fsub(splat(builder, margin, self.vector), score)
            # not "greater than 0": what is no number stays in
            may = builder.fcmp_unordered(">", over, zero)
            target = self._place(self.marks, row, self.start)
            builder.store(builder.bitcast(may, ir.IntType(TRIALS)), target)
            gains.append(builder.select(may, over, zero))
        with builder.if_else(self.is_weighted) as (weighted, plain):
            with weighted:
                self._add([self._weigh(gain, row) for row, gain in enumerate(gains)])
            with plain:
                self._add(gains)
        word = builder.bitcast(self._place(self.marks, 0, self.start), _INT64.as_pointer())
        return builder.ctpop(builder.load(word, align=1))

    def _place(self, array: Any, step: int, start: Any = None) -> Any:
        at = ir.Constant(_INT64, step)
        return self.builder.gep(array, [at if start is None else self.builder.add(start, at)])

    def _load(self, pointer: Any) -> Any:
        pointer = self.builder.bitcast(pointer, self.vector.as_pointer())
        return self.builder.load(pointer, align=self.align)

    def _products(self, zero: Any) -> list[Any]:
        """Dot products of each row with the candidates."""
        builder = self.builder
        totals = [cgutils.alloca_once_value(builder, zero) for _ in self.rows]
        with cgutils.for_range(builder, self.width) as loop:
            step = builder.mul(loop.index, ir.Constant(_INT64, TRIALS))
            weights = self._load(builder.gep(self.panel, [step]))
            for row, total in zip(self.rows, totals, strict=True):
                value = builder.load(builder.gep(row, [loop.index]))
                value = splat(builder, value, self.vector)
                builder.store(multiply_add(builder, value, weights, builder.load(total)), total)
        return [builder.load(total) for total in totals]

    def _weigh(self, gain: Any, row: int) -> Any:
        factor = self.builder.load(self._place(self.factors, row))
        return self.builder.fmul(self._widened(gain), splat(self.builder, factor, _WIDE))

    def _widened(self, values: Any) -> Any:
        return values if values.type == _WIDE else self.builder.fpext(values, _WIDE)

    def _add(self, gains: list[Any]) -> None:
        """Add up the rows by halves, and to the sums in float64."""
        builder = self.builder
        while len(gains) > 1:
            half = len(gains) // 2
            gains = [builder.fadd(gains[i], gains[half + i]) for i in range(half)]
        total = builder.fadd(builder.load(self.sums, align=8), self._widened(gains[0]))
        builder.store(total, self.sums, align=8)


@intrinsic
def gain_tile(
    typing_context: Any,
    addresses: Any,
    panels: Any,
    bias: Any,
    width: Any,
    group: Any,
    margins: Any,
    is_weighted: Any,
    factors: Any,
    start: Any,
    sums: Any,
    marks: Any,
) -> Any:
    """Score eight rows against eight candidates; how many pairs may gain.

    ``addresses`` (ROWS,) says where the rows lie, each contiguous and of the dtype of ``panels``
    (groups, width, TRIALS); ``margins`` from ``start`` on are their M, ``factors`` (ROWS,) float64
    their weights if they have any.  What M exceeds L by is added to ``sums`` (groups * TRIALS,)
    float64, and ``marks`` from ``start`` on gets a bit for each candidate by which a row may gain.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _Gains(context, builder, signature, args).emit()

    arrays = addresses, panels, bias, width, group, margins, is_weighted, factors
    return types.int64(*arrays, start, sums, marks), generate
