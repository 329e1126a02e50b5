"""How far scores may err, and how far apart they must lie to prove a label.

The bound is that of `_primitives`, whose names these are, with two terms that a kernel knows and an
array of scores does not: what each row and each center lost to fewer bits, and which center won.

A product whose sums err by at most theta |x'| |c'| errs by at most theta (|x'|^2 + |c'|^2) / 2.
Where tensor cores take fewer bits of both factors, x' = y + p and c' = b + q, the sums are those of
y.b, and x'.c' - y.b = p.c' + y.q is at most |p| |c'| + |y| |q|.  With any sigma > 0 (`GRAIN`, near
what is usual for |p| / |x'|), and |y| <= (1 + 2**-11) |x'|,

    |p| |c'| + |y| |q| <= (|p|^2 / sigma + sigma (1 + 2**-10) |x'|^2) / 2
                          + (|q|^2 / sigma + sigma |c'|^2) / 2:

a part of the row, r, and a part of the center, h.  The kernels measure p and q, exactly but for
squares that underflow: components below 2**-63 / up, whose part of |p| |c'| is at most
sqrt(d) 2**-63 |c'| / up <= d 2**-100 / up^2 + u |c'|^2, and theta has more than u to spare.

The scores are L = (1/2 - theta) |c'|^2 - h - y.b.  A loser's canonical half distance is at least
|x'|^2 / 2 + L - theta |x'|^2 / 2 - r - e |x'|^2 - eta, and the winner's at most
|x'|^2 / 2 + L* + theta (|x'|^2 / 2 + 2 |c'|^2) + r + 2 h + e |x'|^2 + eta: the products err by
theta (|x'| |c'| + |c'|^2 / 2) + r + h, and theta |c'|^2 + h were held back.  So a center with

    L > L* + (theta + 2 e) |x'|^2 + 2 r + 2 eta + (2 theta |c'|^2 + 2 h)

is provably not the nearest.  In this order: ``own`` times half the squared norm, the row's ``rest``
|p|^2 / sigma (the other part of r is in ``own``), ``common``, and what the winner held back:
``slope`` times its bias, or times what `draw_centers` has left of it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ._route import dtype_of
from ._source import TENSOR_PRODUCTS

GRAIN = 0.375 * 2.0**-11
"""Numbers of 11 bits lose 0.29 to 0.58 of 2**-11 of themselves on average, 0.39 over all sizes."""
_UP = 1.0 + 2.0**-20  # what follows from rounded numbers is rounded outwards


class Room(NamedTuple):
    """The numbers of ``Room`` in ``verdict.cuh``; above the last half norm scores may overflow."""

    own: float
    slope: float
    common: float
    largest: float


def grain_of(work: str, /) -> float:
    """sigma; 0 for products that take all bits of their factors."""
    return GRAIN if TENSOR_PRODUCTS.get(work) in (1, 16) else 0.0


def finer(work: str, up: float, /) -> float:
    """What takes the squares of what numbers lost, in units of 1 / up, to a share of scores."""
    grain = grain_of(work)
    return 1.0 / (grain * up * up) if grain else 0.0


def held_share(theta: float, /) -> float:
    """2 theta |c'|^2 in units of the bias (1/2 - theta) |c'|^2."""
    return 2.0 * theta / (0.5 - theta) * _UP


def room_of(
    work: str, errors: tuple[float, float, float], d: int, reach: float, up: float, /
) -> Room:
    """For scaled rows of which no component exceeds ``reach``; rows without weight may lie beyond.

    ``errors`` : theta, e and eta of the product (`_primitives.errors`).
    """
    theta, canonical, underflow = errors
    most = float(np.finfo(dtype_of(work)).max) / 64
    grain, is_drawn = grain_of(work), work in TENSOR_PRODUCTS
    return Room(
        own=2.0 * theta + 4.0 * canonical + 2.0 * grain * (1.0 + 2.0**-9),
        slope=1.0 if is_drawn else held_share(theta),
        common=2.0 * underflow + (d * 2.0**-99 / (up * up) if is_drawn else 0.0),
        largest=d * min(reach, math.sqrt(most / d)) ** 2,
    )
