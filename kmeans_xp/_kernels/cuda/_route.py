"""Which products the CUDA kernel begins with, and how far their sums may err.

A score by half precision or TF32 costs a fraction of float32's and proves most labels; the rows
that it leaves open are scored in float32, then in float64, then by canonical distance.  The
thresholds are not measured: none of this was run on a GPU.

Depth.  The bound of `_primitives` holds for a product that errs by at most D u times the sum of
magnitudes S, u = 2**-24; D is the number of additions above each term, or what stands for it:

* Plain loops add PART features, then the sums of the parts.
* A tensor core adds 8 products and the sum so far.  Each of the nine may lose what lies below 24
  bits of the largest, 2 u S, and so may the result: 20 u S for each 8 features.
* TF32 rounds each factor to 11 bits: 2 * 2**-11 + 2**-22 = (2**14 + 4) u.
* Half precision rounds alike, and adds 16 products at once, or twice 8: 40 u S for 16 features.
  Numbers below its range err by 2**-25 / up instead, up being the power of two that brings them
  there; none is above 2**16 / up, so that d products err by no more than d 2**-8 / up**2 on top.
* 3xTF32 writes each factor as two of 11 bits, and a rest below 2**-22 of it.  The rests and the
  product of the lower halves, which is left out, come to 12.04 u; there are three times as many
  additions, of magnitudes that add up to 1.002 S.
"""

from __future__ import annotations

import math

from ._source import PART, TENSOR_PRODUCTS

_LEAST_CAPABILITY = 80
_LEAST_FEATURES, _LEAST_CLUSTERS = 16, 64
_MOST_DEPTH = 41_000  # theta stays below 0.0025
_LEAST_HALF_FEATURES = 32
_HALF_EXPONENT = 13  # of the largest number; halves reach 2**16


def depth(work: str, d: int, /) -> int:
    """What stands for the number of additions in a sum of d products."""
    steps = -(-d // 8)
    if work == "tf32":
        return 20 * steps + (1 << 14) + 64
    if work == "float16":
        return 40 * -(-d // 16) + (1 << 14) + 64
    if work == "3xtf32":
        return 61 * steps + 16
    return min(d, PART + -(-d // PART))


def screens(first: str, d: int, k: int, capability: int, /) -> tuple[str, ...]:
    """Products that may be tried before those of ``first``, the cheapest first."""
    worth = d >= _LEAST_FEATURES and k >= _LEAST_CLUSTERS
    if first != "float32" or capability < _LEAST_CAPABILITY or not worth:
        return ()
    ladder = "float16" if d >= _LEAST_HALF_FEATURES else "tf32", "3xtf32"
    return tuple(work for work in ladder if depth(work, d) <= _MOST_DEPTH)


def half_range(work: str, d: int, reach: float, /) -> tuple[float, float]:
    """The power of two that brings numbers to the range of halves, and what d products err more."""
    if work != "float16":
        return 1.0, 0.0
    up = math.ldexp(1.0, _HALF_EXPONENT - math.frexp(reach)[1])
    return up, d * 2.0**-8 / (up * up)


def dtype_of(work: str, /) -> str:
    """The dtype in which products are given and added up."""
    return "float32" if work in TENSOR_PRODUCTS else work
