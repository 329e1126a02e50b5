"""Compiled means from exact sums: `_exact.means` and `_exact.ratio`, number by number.

Loaded only when numba was chosen by routing.
"""

from __future__ import annotations

from typing import Any

from .._exact import LIMB_BITS, ONE_LIMB, SPLIT
from ._loops import jit


@jit
def divide(totals: Any, weights: Any, limbs: Any, short: Any, out: Any) -> None:
    """Quotients (k, d) of (words, k, columns) totals by (k,) weights."""
    k, d = out.shape
    short = short and totals.shape[0] == 1
    for cluster in range(k):
        weight = weights[cluster]
        for f in range(d):
            high, low = _numerator(totals, cluster, f, d, limbs, short)
            out[cluster, f] = _quotient(high, low, weight)


@jit
def _numerator(totals: Any, cluster: Any, f: Any, d: Any, limbs: Any, short: Any) -> Any:
    """The number that the limbs give, as an unevaluated sum of two."""
    high = low = 0.0
    unit = 1.0 if short else ONE_LIMB
    for limb in range(limbs):
        first = totals[0, cluster, limb * d + f]
        if short:
            high, low = _add(high, low, unit * first)
        else:
            if totals.shape[0] == 1:
                second = first & ((1 << LIMB_BITS) - 1)
                first = first >> LIMB_BITS
            else:
                second = totals[1, cluster, limb * d + f]
            high, low = _add(high, low, unit * first)
            high, low = _add(high, low, unit / ONE_LIMB * second)
        unit /= ONE_LIMB
    total = high + low
    return total, low - (total - high)


@jit
def _add(high: Any, low: Any, term: Any) -> Any:
    total = high + term
    return total, low + (term - (total - high))


@jit
def _halves(a: Any) -> Any:
    big = SPLIT * a
    high = big - (big - a)
    return high, a - high


@jit
def _quotient(high: Any, low: Any, weight: Any) -> Any:
    quotient = high / weight
    product = quotient * weight
    a_high, a_low = _halves(quotient)
    b_high, b_low = _halves(weight)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return quotient + (((high - product) - error) + low) / weight
