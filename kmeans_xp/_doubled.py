"""Numbers of twice the precision: unevaluated sums of two float64, about 106 bits.

T. J. Dekker, "A floating-point technique for extending the available precision", Numerische
Mathematik 18, 1971; the sum of any two numbers is D. E. Knuth's.  Only + - * / one at a time: the
same bits everywhere.  Numbers stay between 2**-400 and 2**400 in magnitude, or are 0.
"""

from __future__ import annotations

from typing import TypeAlias

from ._exact import halves, quick_two_sum, two_product
from ._typing import Array

Pair: TypeAlias = tuple[Array, Array]
"""A value rounded to float64, and what is left of it."""


def two_sum(a: Array, b: Array, /) -> Pair:
    """Knuth's exact sum a + b and its rounding error."""
    total = a + b
    second = total - a
    return total, (a - (total - second)) + (b - second)


def plus(a: Pair, b: Pair, /) -> Pair:
    """a + b, to 2**-104 of the larger of them."""
    total, error = two_sum(a[0], b[0])
    return quick_two_sum(total, error + (a[1] + b[1]))


def minus(a: Pair, b: Pair, /) -> Pair:
    """a - b, to 2**-104 of the larger of them."""
    return plus(a, (-b[0], -b[1]))


def square(a: Pair, /) -> Pair:
    """The square of a, to 2**-102 of it."""
    high, low = halves(a[0])
    product = a[0] * a[0]
    error = ((high * high - product) + 2.0 * (high * low)) + low * low
    return quick_two_sum(product, error + 2.0 * (a[0] * a[1]))


def times(a: Pair, b: Array, /) -> Pair:
    """The product of a and one float64, to 2**-102 of it."""
    product, error = two_product(a[0], b)
    return quick_two_sum(product, error + a[1] * b)


def over(a: Pair, b: Pair, /) -> Pair:
    """The quotient a / b, to 2**-100 of it."""
    quotient = a[0] / b[0]
    product, error = two_product(quotient, b[0])
    left = ((a[0] - product) - error) + a[1]
    return quick_two_sum(quotient, (left - quotient * b[1]) / b[0])
