"""The canonical float64 distance that every label is judged by.

Differences of the stored values, squares, and a fixed halving tree over the features, one
IEEE operation at a time: its bits are the same on every library.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ._typing import Array, Namespace


@dataclass(frozen=True)
class Scale:
    """Powers of two that keep differences and their squares away from over- and underflow.

    ``before`` multiplies the values, ``after`` the differences.  Both are 1 for data whose
    range lies between 2**-256 and 2**256: then scaling is skipped and changes no bit.
    """

    before: float = 1.0
    after: float = 1.0

    @property
    def factor(self) -> float:
        return self.before * self.after

    @classmethod
    def of_range(cls, widest: float, largest: float) -> Scale:
        """Choose from half the widest range of a feature and the largest magnitude."""
        if widest == 0.0 or 2.0**-256 <= widest <= 2.0**256:
            return cls()
        # up to 2**480, so that squares neither overflow nor lose more than they must
        exponent = 480 - math.frexp(widest)[1]
        before = 0.25 if largest > 2.0**1020 else 1.0
        return cls(before, math.ldexp(1.0 / before, max(-1000, min(1000, exponent))))


def halving_sum(a: Array, /, *, xp: Namespace, axis: int = -1) -> Array:
    """Add up an axis (-1 or -2) by folding it in halves: one fixed order of additions."""
    after = (slice(None),) * (-1 - axis)
    width = int(a.shape[axis])
    while width > 1:
        half = (width + 1) // 2
        folded = a[(..., slice(0, width - half), *after)] + a[(..., slice(half, width), *after)]
        if width % 2:
            # the middle column waits for the next fold
            middle = a[(..., slice(width - half, half), *after)]
            folded = xp.concat([folded, middle], axis=axis)
        a, width = folded, half
    return a[(..., 0, *after)]


def folded(term: Callable[[int], Array], count: int, /) -> Array:
    """Add up term(0) to term(count - 1) by the additions of `halving_sum`.

    Each term is made when it is needed, so that few of them are alive at a time.
    """
    widths = [count]
    while widths[-1] > 1:
        widths.append((widths[-1] + 1) // 2)

    def fold(level: int, at: int) -> Array:
        if level == 0:
            return term(at)
        total, other = fold(level - 1, at), at + widths[level]
        return total + fold(level - 1, other) if other < widths[level - 1] else total

    return fold(len(widths) - 1, 0)


def halving_total(values: npt.NDArray[np.float64], /) -> float:
    """The same of numbers (m,) on the host."""
    values, width = values.copy(), values.shape[0]
    while width > 1:
        half = (width + 1) // 2
        # what is in the middle stays
        values[: width - half] += values[half:width]
        width = half
    return float(values[0])


def widened(x: Array, /, *, xp: Namespace) -> Array:
    """The values as float64; the array itself where they are."""
    return x if x.dtype == xp.float64 else xp.astype(x, xp.float64)


def squared_distances(
    x: Array, centers: Array, scale: Scale, /, *, xp: Namespace, axis: int = -1
) -> Array:
    """Canonical squared distances in units of ``scale``; ``axis`` holds the features.

    The other axes broadcast: (m, d) with (m, d) pairs rows, (m, d) with (k, 1, d) crosses them.
    """
    x, centers = widened(x, xp=xp), widened(centers, xp=xp)
    if scale.before != 1.0:
        x, centers = x * scale.before, centers * scale.before
    difference = x - centers
    if scale.after != 1.0:
        difference = difference * scale.after
    return halving_sum(difference * difference, xp=xp, axis=axis)
