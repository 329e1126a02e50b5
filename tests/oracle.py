"""K-means by plain loops and exact integers: the judge of the library, sharing no code with it.

Rows and centers come in as NumPy arrays and are read as Python floats, which are IEEE
float64; everything marked exact is done in rational arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

Row = Sequence[float]


def canonical(x: Row, center: Row) -> float:
    """Squared distance: differences, squares, then the fixed halving tree over features."""
    terms = [(a - b) * (a - b) for a, b in zip(x, center, strict=True)]
    while len(terms) > 1:
        half = (len(terms) + 1) // 2
        folded = [terms[i] + terms[half + i] for i in range(len(terms) - half)]
        terms = folded + terms[len(folded) : half]
    return terms[0]


def unit_of(*arrays: Any) -> float:
    """A power of two near the widest magnitude: in its units nothing over- or underflows."""
    widest = max(float(np.max(np.abs(np.asarray(array, dtype=np.float64)))) for array in arrays)
    return math.ldexp(1.0, max(-1000, min(1000, math.frexp(widest)[1]))) if widest else 1.0


def in_units(array: Any, unit: float) -> list[list[float]]:
    """Rows as Python floats in units of a power of two."""
    up = 1.0 / unit
    return [[value * up for value in row] for row in np.asarray(array, dtype=np.float64).tolist()]


def distances(x: Any, centers: Any) -> list[list[float]]:
    """Canonical squared distances of all rows to all centers, in units of `unit_of` squared."""
    unit = unit_of(x, centers)
    seeds = in_units(centers, unit)
    return [[canonical(row, seed) for seed in seeds] for row in in_units(x, unit)]


def labels(x: Any, centers: Any) -> list[int]:
    """Nearest center by canonical distance; the lowest index among equals."""
    return [row.index(min(row)) for row in distances(x, centers)]


def whole(array: Any) -> tuple[list[list[int]], int]:
    """Rows as integers over one power of two: value = integer * 2**exponent, exactly."""
    rows = np.asarray(array, dtype=np.float64).tolist()
    ratios = [[value.as_integer_ratio() for value in row] for row in rows]
    bits = max(bottom.bit_length() - 1 for row in ratios for _, bottom in row)
    return [
        [top << (bits - bottom.bit_length() + 1) for top, bottom in row] for row in ratios
    ], -bits


def exact_distances(x: Any, centers: Any) -> list[list[int]]:
    """Exact squared distances of all rows to all centers, as integers over one denominator."""
    count = len(x)
    rows, _ = whole(np.concatenate([np.asarray(a, dtype=np.float64) for a in (x, centers)]))
    return [
        [sum((a - b) ** 2 for a, b in zip(row, center, strict=True)) for center in rows[count:]]
        for row in rows[:count]
    ]


def rounding(n_features: int) -> Fraction:
    """How far two canonical distances may stray apart from the exact ones, relatively."""
    return Fraction(2 * (math.ceil(math.log2(max(n_features, 2))) + 4), 2**53)


def misjudged(x: Any, centers: Any, found: Any) -> list[int]:
    """Rows whose label is farther than the nearest center by more than rounding."""
    slack = 1 + rounding(np.shape(x)[1])
    return [
        row
        for row, (exact, label) in enumerate(
            zip(exact_distances(x, centers), np.asarray(found).tolist(), strict=True)
        )
        if exact[label] > min(exact) * slack
    ]


def means(x: Any, found: Any, n_clusters: int, weight: Any = None) -> list[list[Fraction] | None]:
    """Exact means of the clusters; a weighted row counts as fl(w x); None for no row."""
    rows = np.asarray(x, dtype=np.float64)
    weight = np.ones(len(rows)) if weight is None else np.asarray(weight, dtype=np.float64)
    products, exponent = whole(rows * weight[:, None])
    found = np.asarray(found).tolist()
    result: list[list[Fraction] | None] = []
    for cluster in range(n_clusters):
        mine = [i for i, label in enumerate(found) if label == cluster and weight[i] > 0]
        mass = sum((Fraction(float(weight[i])) for i in mine), Fraction(0))
        sums = [sum(column) for column in zip(*(products[i] for i in mine), strict=True)]
        scale = Fraction(2) ** exponent / mass if mass else Fraction(0)
        result.append([total * scale for total in sums] if mine else None)
    return result


def rounded(mean: Sequence[Fraction], dtype: Any) -> list[float]:
    """Exact numbers rounded to float64 and then to the result dtype, as the contract says."""
    return [float(np.dtype(dtype).type(float(value))) for value in mean]


def inertia(x: Any, centers: Any, found: Any, weight: Any = None) -> float:
    """Exact weighted sum of the canonical distances to the own centers, rounded once."""
    unit = unit_of(x, centers)
    rows, seeds = in_units(x, unit), in_units(centers, unit)
    weights = [1.0] * len(rows) if weight is None else np.asarray(weight, np.float64).tolist()
    total = sum(
        (
            Fraction(canonical(row, seeds[label]) * w)
            for row, label, w in zip(rows, np.asarray(found).tolist(), weights, strict=True)
        ),
        Fraction(0),
    )
    return nearest_float(total * Fraction(unit) ** 2)


def exact_inertia(x: Any, centers: Any, found: Any, weight: Any = None) -> Fraction:
    """The same without any rounding."""
    _, exponent = whole(np.concatenate([np.asarray(a, dtype=np.float64) for a in (x, centers)]))
    weights = [1.0] * len(x) if weight is None else np.asarray(weight, np.float64).tolist()
    total = sum(
        (
            Fraction(w) * row[label]
            for row, label, w in zip(
                exact_distances(x, centers), np.asarray(found).tolist(), weights, strict=True
            )
        ),
        Fraction(0),
    )
    return total * Fraction(4) ** exponent


def nearest_float(value: Fraction) -> float:
    """Round to float64; beyond its range that is infinity."""
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)


def ulps(found: Any, exact: Sequence[Fraction], dtype: Any) -> float:
    """Largest distance from the exact values, in units in the last place of the dtype."""
    kind = np.dtype(dtype).type
    worst = Fraction(0)
    for value, wanted in zip(np.asarray(found).tolist(), exact, strict=True):
        unit = Fraction(float(np.spacing(kind(abs(nearest_float(wanted))))))
        worst = max(worst, abs(Fraction(value) - wanted) / unit)
    return float(worst)


def iterate(x: Any, centers: Any, fill: Any, dtype: Any) -> Any:
    """The source text's loop: yields (labels, centers) until no row changes its cluster.

    ``fill(iteration, cluster)`` names the observation that an empty cluster's mean becomes.
    """
    before: list[int] | None = None
    centers = np.asarray(centers, dtype=dtype)
    for iteration in range(1, 10_000):
        found = labels(x, centers)
        rows = []
        empty = False
        for cluster, mean in enumerate(means(x, found, len(centers))):
            empty = empty or mean is None
            rows.append(fill(iteration, cluster) if mean is None else rounded(mean, dtype))
        centers = np.asarray(rows, dtype=dtype)
        yield found, centers
        if found == before and not empty:
            return
        before = found
    raise AssertionError("the loop did not end")
