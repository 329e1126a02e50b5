"""Sums that do not depend on their order: numbers as integers on a fixed grid.

A column whose values are at most 2**p in magnitude is written as one or more limbs of
40 bits, each an integer held in float64.  Up to 4096 such integers add up below 2**53,
so float64 (a matrix product, a sparse product, a tree, any order, with or without fused
multiply-add) adds them exactly; blocks then add up in int64.  A total is a pair of int64,
``high * 2**40 + low`` with ``0 <= low < 2**40``, which is unique: equal sums are equal bits.
"""

from __future__ import annotations

import contextlib
import functools
import math
import mmap
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import array_api_compat
import numpy as np
import numpy.typing as npt

from ._typing import Array, Namespace

LIMB_BITS = 40
_ONE_WORD_ROWS = 1 << 21
_LARGE = 1 << 17  # numbers
EXACT_ROWS = 4096
"""Rows of 40-bit integers whose float64 sum is exact in any order."""

ONE_LIMB = 2.0**LIMB_BITS
LEAST_EXPONENT = -960
MOST_LIMBS_AT_ONCE = 20  # 2**800 times 2**40 is still a float64
SPLIT = 134217729.0  # 2**27 + 1: Veltkamp's constant for 53 bits


def exponent_above(value: float) -> int:
    """Return the least ``p >= -960`` with ``value <= 2**p``."""
    if value == 0.0:
        return 0
    mantissa, exponent = math.frexp(value)
    return max(exponent - 1 if mantissa == 0.5 else exponent, LEAST_EXPONENT)


def exponents_above(values: npt.NDArray[np.float64], /) -> tuple[int, ...]:
    """The same of many values at once."""
    mantissas, powers = np.frexp(values)
    exponents = np.maximum(powers - (mantissas == 0.5), LEAST_EXPONENT)
    return tuple(np.where(values == 0.0, 0, exponents).tolist())


def limbs_needed(values: Array, up: Array, least: int, /, *, xp: Namespace) -> int:
    """Limbs, at least ``least``, on which all values are whole numbers: nothing is rounded.

    (What lies 2**1074 below the largest value of its column is zero on every grid.)
    """
    rest = values * up
    if least > 1:
        # a power of two: nothing is lost, and limbs that others needed anyway are passed over
        rest = rest * ONE_LIMB ** (min(least, MOST_LIMBS_AT_ONCE) - 1)
    limbs = min(least, MOST_LIMBS_AT_ONCE)
    rest = rest - xp.trunc(rest)
    while bool(xp.any(rest != 0.0)):
        rest = rest * ONE_LIMB
        rest = rest - xp.trunc(rest)
        limbs += 1
    return max(limbs, least)


@dataclass(frozen=True)
class Grid:
    """The integer grid of a set of columns: one exponent each, the same number of limbs."""

    exponents: tuple[int, ...]
    limbs: int

    @functools.cached_property
    def up(self) -> npt.NDArray[np.float64]:
        """Factors that bring each column to magnitude 2**40 at most."""
        return np.ldexp(1.0, LIMB_BITS - np.asarray(self.exponents, dtype=np.int64))

    @functools.cached_property
    def down(self) -> npt.NDArray[np.float64]:
        """Factors that bring grid units back to the column's own units."""
        return np.ldexp(1.0, np.asarray(self.exponents, dtype=np.int64) - LIMB_BITS)


def quantise(values: Array, up: Array, limbs: int, /, *, xp: Namespace) -> list[Array]:
    """Write float64 ``values`` as limbs: integer-valued float64 arrays, highest first.

    Cut towards zero, so that what is left over is exact; only the last limb may round.
    """
    rest = values * up
    parts = []
    for _ in range(limbs - 1):
        whole = xp.trunc(rest)
        parts.append(whole)
        rest = (rest - whole) * ONE_LIMB
    parts.append(xp.round(rest))
    return parts


def carry(totals: Array, /, *, xp: Namespace) -> Array:
    """Make (2, ...) int64 totals unique: the low word in [0, 2**40).  One word is unique."""
    if int(totals.shape[0]) == 1:
        return totals
    high, low = totals[:1, ...], totals[1:2, ...]
    over = low >> LIMB_BITS
    return xp.concat([high + over, low - (over << LIMB_BITS)])


def widen(sums: Array, /, *, xp: Namespace) -> Array:
    """Turn int64 block sums into normalised (2, ...) totals."""
    sums = sums[None, ...]
    high = sums >> LIMB_BITS
    return xp.concat([high, sums - (high << LIMB_BITS)])


def words_for(n_rows: int) -> int:
    """Words of totals over so many rows: one holds them, and twice as many that move."""
    return 1 if n_rows <= _ONE_WORD_ROWS else 2


def in_words(sums: Array, words: int, /, *, xp: Namespace) -> Array:
    """Int64 sums as (words, ...) totals."""
    return sums[None, ...] if words == 1 else widen(sums, xp=xp)


def one_word(n_rows: int, limbs: int) -> bool:
    """Whether totals over so many rows may be divided as one word: float64 holds it exactly.

    Of two limbs, float64 then holds the sum's rounding error exactly too.
    """
    return n_rows <= 2 * EXACT_ROWS and limbs <= 2


def two_words(totals: Array, /, *, xp: Namespace) -> Array:
    """Totals of one or two words as normalised (2, ...) totals."""
    return widen(totals[0, ...], xp=xp) if int(totals.shape[0]) == 1 else totals


class Accumulator:
    """A running total of int64 block sums; several threads may add to it, in any order."""

    _MOST_ROWS = 1 << 22  # of 40 bits each stay below 2**63

    def __init__(self, xp: Namespace, words: int = 2) -> None:
        self._xp, self._words = xp, words
        self._lock = threading.Lock()
        self._lent: list[tuple[npt.NDArray[np.int64], int]] = []
        self._pending: Array | None = None
        self._rows = 0
        self._total: Array | None = None

    def add(self, sums: Array, rows: int) -> None:
        """Add the sums of a block of ``rows`` rows; the array is this one's to keep."""
        with self._lock:
            if self._pending is None:
                self._pending = sums
            else:
                self._pending += sums
            self._rows += rows
            if self._words > 1 and self._rows > self._MOST_ROWS - EXACT_ROWS:
                self._flush()

    @contextlib.contextmanager
    def lend(self, shape: tuple[int, ...], rows: int) -> Iterator[npt.NDArray[np.int64]]:
        """A host array to which the caller adds at most so many rows; one for each thread."""
        with self._lock:
            array, used = self._lent.pop() if self._lent else (_zeros(shape), 0)
        yield array
        if used + rows > self._MOST_ROWS - EXACT_ROWS:
            self.add(array, used + rows)
            array, used, rows = _zeros(shape), 0, 0
        with self._lock:
            self._lent.append((array, used + rows))

    def total(self) -> Array | None:
        """The normalised (words, ...) total; None when nothing was added."""
        while self._lent:
            array, rows = self._lent.pop()
            if rows:
                self.add(array, rows)
        if self._pending is not None:
            self._flush()
        return self._total

    def _flush(self) -> None:
        part = in_words(self._pending, self._words, xp=self._xp)
        self._total = part if self._total is None else carry(self._total + part, xp=self._xp)
        self._pending, self._rows = None, 0


def _zeros(shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Zeros on the host; large ones in pages of their own, which no thread's allocator keeps."""
    size = math.prod(shape)
    if size < _LARGE:
        return np.zeros(shape, np.int64)
    return np.ndarray(shape, np.int64, buffer=mmap.mmap(-1, 8 * size))


def terms(totals: Sequence[Array], /) -> list[Array]:
    """A number given by the totals of its limbs (as float64), in terms of falling weight.

    The words of (2, ...) totals weigh 2**40 and 1 in the first limb, 1 and 2**-40 in the second,
    and so on; the one word of (1, ...) totals weighs 1, 2**-40, ...
    """
    last = int(totals[0].shape[0]) - 1
    words = [
        (last - word - at, limb[word, ...])
        for at, limb in enumerate(totals)
        for word in range(last + 1)
    ]
    return [word if weight == 0 else word * ONE_LIMB**weight for weight, word in words]


def means(
    totals: Array, weights: Array, features: int, limbs: int, /, *, whole: bool, short: bool
) -> Array:
    """Quotients (k, features) of (words, k, columns) totals by (k,) weights; see `ratio`.

    ``short`` says that totals of one word may be divided as they are (see `one_word`).
    """
    xp = array_api_compat.array_namespace(totals)
    words = xp.astype(totals if short else two_words(totals, xp=xp), xp.float64)
    parts = [words[:, :, i * features : (i + 1) * features] for i in range(limbs)]
    return ratio(parts, weights[:, None], whole=whole)


def ratio(totals: Sequence[Array], weight: Array, /, *, whole: bool = False) -> Array:
    """Quotient of a number given by the totals of its limbs and a weight, all float64.

    The numerator is held as an unevaluated sum of two float64, and the quotient is
    corrected by its own residual, which Dekker's product gives exactly (Dekker, 1971).
    The result is that of one rounding but for cases within 2**-45 of a tie, so the mean
    of equal values is that value.  Only + - * / one at a time: the same bits everywhere.

    Totals of one or two limbs that are below 2**53 may come as one word (see `one_word`): their
    sum has the same two parts, and there are fewer terms to add up.  ``whole`` says that the
    weights are whole numbers below 2**26, of which Dekker's product needs no lower half.
    """
    return quotient(terms(totals), weight, whole=whole)


def quotient(numerator: Sequence[Array], weight: Array, /, *, whole: bool = False) -> Array:
    """As `ratio`, of a number given by its terms of falling weight."""
    high, *rest = numerator
    low = None
    for term in rest:
        high, error = quick_two_sum(high, term)
        low = error if low is None else low + error
    if low is not None and len(rest) > 1:
        high, low = quick_two_sum(high, low)
    rounded = high / weight
    product, error = two_product(rounded, weight, whole=whole)
    left = (high - product) - error
    return rounded + (left if low is None else left + low) / weight


def quick_two_sum(a: Array, b: Array, /) -> tuple[Array, Array]:
    """Dekker's exact sum a + b and its rounding error, for terms in falling order.

    The words of a total qualify: a later word is smaller than the unit of all earlier ones,
    or both are whole numbers so small that nothing is rounded.
    """
    total = a + b
    return total, b - (total - a)


def halves(a: Array, /) -> tuple[Array, Array]:
    """Veltkamp's split into two halves of 26 bits."""
    big = SPLIT * a
    high = big - (big - a)
    return high, a - high


def two_product(a: Array, b: Array, /, *, whole: bool = False) -> tuple[Array, Array]:
    """Dekker's exact product: a * b and its rounding error; b may be its own upper half."""
    product = a * b
    a_high, a_low = halves(a)
    if whole:
        return product, (a_high * b - product) + a_low * b
    b_high, b_low = halves(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


def root(squares: Array, /, *, xp: Namespace) -> Array:
    """Square roots of float64 numbers, at any last bit of the library's own.

    Those of a library may be off by a rounding (torch's are, on the CPU).  As in `ratio` a root is
    corrected by its own residual: it rounds as the true one does, but for cases within 2**-45 of a
    tie.  Below 2**-900, where products lose their errors, it is the library's.
    """
    first = xp.sqrt(squares)
    inside = (squares > 2.0**-900) & (squares < 2.0**1000)
    safe = xp.where(inside, first, xp.ones_like(first))
    product, error = two_product(safe, safe)
    better = safe + ((squares - product) - error) / (safe + safe)
    return xp.where(inside, better, first)


def exact_sums(parts: Array, /, *, xp: Namespace) -> Array:
    """Sum integer-valued float64 ``parts`` over the last axis, exactly, in int64."""
    width = int(parts.shape[-1])
    if width <= EXACT_ROWS:
        return xp.astype(xp.sum(parts, axis=-1), xp.int64)
    return xp.sum(xp.astype(parts, xp.int64), axis=-1)


def limb_sums(values: Array, up: float, /, *, xp: Namespace) -> tuple[int, int]:
    """Sums of values written as two limbs, highest first."""
    sums = exact_sums(xp.stack(quantise(values, up, 2, xp=xp)), xp=xp)
    return int(sums[0]), int(sums[1])


def grid_sums(values: Array, least: float, /, *, xp: Namespace) -> tuple[float, int, int]:
    """The largest of values that are not negative, and their sums as `limb_sums`.

    Their grid is that of the largest, or of ``least`` if that is more.
    """
    largest = float(xp.max(values))
    exponent = exponent_above(max(largest, least))
    return largest, *limb_sums(values, math.ldexp(1.0, LIMB_BITS - exponent), xp=xp)


def to_device(host: npt.NDArray[np.generic], like: Array, /, *, xp: Namespace) -> Array:
    """Bring a small host array next to ``like``."""
    return xp.asarray(host, device=array_api_compat.device(like))
