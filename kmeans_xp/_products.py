"""Sums of products that do not depend on their order: each row counts for a share of each cluster.

A share lies between 0 and 1 and is written as a whole number of 2**-60, in three parts of 20 bits;
a column of the ledger is a whole number of 40 bits, in two.  A product of parts is below 2**40, so
that a float64 matrix product over 4096 rows adds them exactly, in any order, fused or not; what
comes of several is added in int64.
"""

from __future__ import annotations

import functools
import operator

from . import _exact as exact
from ._typing import Array, Namespace, slices

_PART_BITS = 20
_ONE_PART = 2.0**_PART_BITS


def product_sums(shares: Array, columns: Array, /, *, xp: Namespace) -> Array:
    """Exact sums (4, k, columns) over rows of shares (k, m) times columns (m, columns), in int64.

    The four weigh 2**60, 2**40, 2**20 and 1; `numerator` puts them together.  A row counts as two,
    as for `exact.Accumulator`.
    """
    parts = (
        _piece_sums(shares[:, rows], columns[rows, :], xp)
        for rows in slices(int(columns.shape[0]), exact.EXACT_ROWS)
    )
    return functools.reduce(operator.add, parts)


def _piece_sums(shares: Array, columns: Array, xp: Namespace) -> Array:
    k, width = int(shares.shape[0]), int(columns.shape[1])
    high = xp.trunc(columns * (1.0 / _ONE_PART))
    halves = xp.concat([high, columns - high * _ONE_PART], axis=1)
    rest, parts = shares * _ONE_PART, []
    for _ in range(2):
        whole = xp.trunc(rest)
        parts.append(whole)
        rest = (rest - whole) * _ONE_PART
    parts.append(xp.round(rest))
    products = xp.matmul(xp.concat(parts, axis=0), halves)
    found = [
        [products[a * k : (a + 1) * k, b * width : (b + 1) * width] for b in range(2)]
        for a in range(3)
    ]
    classes = [
        found[0][0],
        found[0][1] + found[1][0],
        found[1][1] + found[2][0],
        found[2][1],
    ]
    return xp.astype(xp.stack(classes), xp.int64)


def numerator(totals: Array, width: int, limbs: int, /, *, xp: Namespace) -> list[Array]:
    """Totals (words, 4, k, limbs * width) as float64 terms (k, width) of falling weight.

    The columns are the limbs of ``width`` numbers; together the terms are the sums times 2**60.
    """
    pairs = exact.two_words(totals, xp=xp)
    words = [xp.zeros_like(pairs[0, 0, :, :width]) for _ in range(limbs + 2)]
    for limb in range(limbs):
        part = pairs[:, :, :, limb * width : (limb + 1) * width]
        for word, value in enumerate(_words(part)):
            words[limb + word] = words[limb + word] + value
    for word in range(limbs + 1, 0, -1):
        over = words[word] >> exact.LIMB_BITS
        words[word] = words[word] - (over << exact.LIMB_BITS)
        words[word - 1] = words[word - 1] + over
    return [
        xp.astype(word, xp.float64) * exact.ONE_LIMB ** (2 - at) for at, word in enumerate(words)
    ]


def _words(totals: Array) -> tuple[Array, Array, Array]:
    """Normalised (2, 4, ...) totals as words of weight 2**80, 2**40 and 1."""
    high, low = totals[0, ...], totals[1, ...]
    return (
        (high[0, ...] << _PART_BITS) + high[1, ...],
        (low[0, ...] << _PART_BITS) + low[1, ...] + (high[2, ...] << _PART_BITS) + high[3, ...],
        (low[2, ...] << _PART_BITS) + low[3, ...],
    )
