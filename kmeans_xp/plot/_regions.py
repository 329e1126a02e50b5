"""Voronoi regions: where each center is the nearest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def voronoi(centers: Floats, low: Floats, high: Floats, /) -> list[Floats]:
    """Return the region of each center (vertices, 2) within a box, exact up to rounding.

    The box is cut along the bisector with each other center, the nearest first, until the rest
    are too far away to cut anything.  Of equal centers the first has the region, as its label.
    """
    regions = []
    for number, center in enumerate(centers):
        region = np.array([low, (high[0], low[1]), high, (low[0], high[1])], dtype=np.float64)
        away = np.hypot(*(centers - center).T)
        for other in np.argsort(away, kind="stable"):
            if other == number:
                continue
            if away[other] == 0.0:
                region = region[:0] if other < number else region
                continue
            if not len(region) or away[other] / 2 > np.hypot(*(region - center).T).max():
                break
            region = _cut(region, (center + centers[other]) / 2, centers[other] - center)
        regions.append(region)
    return regions


def _cut(region: Floats, middle: Floats, direction: Floats) -> Floats:
    """The part of a convex region that lies behind a line (Sutherland and Hodgman, 1974)."""
    side = (region - middle) @ direction
    kept: list[Floats] = []
    for here in range(len(region)):
        before = here - 1
        if (side[here] <= 0) != (side[before] <= 0):
            share = side[before] / (side[before] - side[here])
            kept.append(region[before] + share * (region[here] - region[before]))
        if side[here] <= 0:
            kept.append(region[here])
    return np.asarray(kept, dtype=np.float64).reshape(-1, 2)
