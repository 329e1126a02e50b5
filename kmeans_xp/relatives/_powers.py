"""Powers of numbers between 0 and 1, by + - * / alone: the same bits on every library.

A library's own power is as good, but each rounds in its own way.  The logarithm to base 2 of
f = (1 + s) / (1 - s) is 2 / ln 2 times s + s**3 / 3 + s**5 / 5 + ..., with |s| below 0.172 for f
between 2**-1/2 and 2**1/2; and 2**g is Taylor's series of e**(g ln 2), with |g| at most 1/2.  What
the series leave out is below a rounding.  The result errs by about 2**-47, relatively: a result of
2**-60 has an exponent of 60, of which 53 bits are known.
"""

from __future__ import annotations

import math

import numpy as np

from .._backend import bits_of
from .._exact import to_device
from .._typing import Array, Namespace

LEAST = 2.0**-900
"""What is smaller counts as zero."""

_LEAST_EXPONENT = -1000
_SERIES = [1.0 / (2 * i + 1) for i in range(11)]
_TAYLOR = [1.0 / math.factorial(i) for i in range(14)]
_POWERS = np.ldexp(1.0, np.arange(_LEAST_EXPONENT, -_LEAST_EXPONENT + 1))
_FRACTION_BITS = 52
_BIAS = 1023


def power(base: Array, exponent: float, /, *, xp: Namespace) -> Array:
    """``base ** exponent`` in float64, for bases in [0, 1] and a positive exponent."""
    if exponent == 1.0:
        return base
    if exponent == 2.0:
        return base * base
    least = xp.full_like(base, 2.0**_LEAST_EXPONENT)
    logarithm = exponent * _log2(xp.where(base > least, base, least), xp)
    floor = math.log2(LEAST)
    is_zero = (base == 0.0) | (logarithm < floor)
    zeros = xp.zeros_like(base)
    return xp.where(is_zero, zeros, _exp2(xp.where(is_zero, zeros, logarithm), xp))


def _log2(x: Array, xp: Namespace) -> Array:
    """Logarithm to base 2 of normal numbers."""
    exponent = (bits_of(x) >> _FRACTION_BITS) - _BIAS
    fraction = x * two_to(-exponent, xp)
    is_large = fraction > math.sqrt(2.0)
    fraction = xp.where(is_large, fraction * 0.5, fraction)
    whole = xp.astype(exponent, xp.float64) + xp.astype(is_large, xp.float64)
    s = (fraction - 1.0) / (fraction + 1.0)
    return whole + s * (_horner(_SERIES, s * s) * (2.0 / math.log(2.0)))


def _exp2(y: Array, xp: Namespace) -> Array:
    """Two to the power of numbers of moderate size."""
    whole = xp.round(y)
    series = _horner(_TAYLOR, (y - whole) * math.log(2.0))
    return series * two_to(xp.astype(whole, xp.int64), xp)


def _horner(coefficients: list[float], x: Array) -> Array:
    result = x * coefficients[-1] + coefficients[-2]
    for coefficient in reversed(coefficients[:-2]):
        result = result * x + coefficient
    return result


def two_to(exponent: Array, xp: Namespace) -> Array:
    """Exact powers of two, for whole numbers between -1000 and 1000."""
    table = to_device(_POWERS, exponent, xp=xp)
    flat = xp.reshape(exponent - _LEAST_EXPONENT, (-1,))
    return xp.reshape(xp.take(table, flat), exponent.shape)
