"""A number of each row, weighted and summed over all rows: exact, whatever the blocks."""

from __future__ import annotations

import math
from collections.abc import Callable

from . import _exact as exact
from ._distances import Scale
from ._problem import Problem
from ._stats import weigh
from ._typing import Array, Block


def weighted_total(problem: Problem, measure: Callable[[Block], Array], scale: Scale, /) -> float:
    """Weighted sum of a nonnegative number of each row, in squared units of a scale.

    Exact, rounded once.  A block may be measured twice.
    """
    xp, blocks = problem.context.xp, problem.source.blocks
    # the largest so far, which other threads raise: it gives the grid, and what was added on
    # another one comes again, so that no distance need be kept until all are known
    largest = [0.0]

    def add(block: Block) -> tuple[float, int, int]:
        own = weigh(measure(block), block.weight, xp=xp)
        least = largest[0]
        mine, high, low = problem.kernel.grid_sums(own, least)
        largest[0] = max(largest[0], mine)
        return mine, exact.exponent_above(max(least, mine)), (high << exact.LIMB_BITS) + low

    parts = problem.source.map(add)
    largest[0] = max(mine for mine, _, _ in parts)
    exponent = exact.exponent_above(largest[0])
    again = [block for block, part in zip(blocks, parts, strict=True) if part[1] != exponent]
    parts = [part for part in parts if part[1] == exponent] + problem.source.map(add, again)
    total = sum(part for _, _, part in parts)
    value = math.ldexp(float(total), -exact.LIMB_BITS)
    value *= math.ldexp(1.0, exponent - exact.LIMB_BITS)
    # one factor at a time: their product may leave the range of float64
    value = value / scale.factor / scale.factor
    half = problem.weight_exponent // 2
    return value * math.ldexp(1.0, half) * math.ldexp(1.0, problem.weight_exponent - half)
