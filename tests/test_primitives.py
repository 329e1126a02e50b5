"""The primitives one by one, on every backend, against plain Python and rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import oracle
import pytest
from conftest import Backend
from engine import opened

from kmeans_xp import _exact as exact
from kmeans_xp import _primitives as p
from kmeans_xp._distances import Scale, halving_sum, squared_distances
from kmeans_xp._picks import compress, group_sums, scatter


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 9, 31, 33])
def test_halving_sum_folds_in_one_fixed_order(xp: Backend, width: int) -> None:
    random = np.random.default_rng(width)
    a = random.normal(size=(3, width)) * 10.0 ** random.integers(-8, 8, size=(3, width))
    roots = np.sqrt(np.abs(a))
    with opened(xp) as context:
        found = xp.host(halving_sum(xp.array(roots * roots), xp=context.xp))
        columns = xp.host(halving_sum(xp.array((roots * roots).T), xp=context.xp, axis=-2))
    wanted = [oracle.canonical(row, [0.0] * width) for row in roots.tolist()]
    assert found.tolist() == columns.tolist() == wanted


@pytest.mark.parametrize("dtypes", [("float64", "float64"), ("float32", "float64")])
def test_squared_distances_are_the_canonical_ones(xp: Backend, dtypes: tuple[str, str]) -> None:
    random = np.random.default_rng(0)
    x = (random.normal(size=(20, 5)) + 1e4).astype(dtypes[0])
    c = (random.normal(size=(3, 5)) + 1e4).astype(dtypes[1])
    with opened(xp) as context:
        one = xp.array(x)
        crossed = p.cross_distances(one, xp.array(c), Scale(), xp=context.xp)
        paired = squared_distances(one, xp.array(np.resize(c, (20, 5))), Scale(), xp=context.xp)
        crossed, paired = xp.host(crossed), xp.host(paired)
    wanted = [[oracle.canonical(row, center) for center in c.tolist()] for row in x.tolist()]
    assert crossed.T.tolist() == wanted
    assert paired.tolist() == [wanted[i][i % 3] for i in range(20)]


@pytest.mark.parametrize("magnitude", [1e-300, 1e-200, 1e-80, 1.0, 1e80, 1e200, 1e300])
def test_the_scale_keeps_squares_in_range(magnitude: float) -> None:
    random = np.random.default_rng(1)
    x, c = random.normal(size=(2, 6, 3)) * magnitude
    half = float(np.max(np.maximum(x.max(0), c.max(0)) / 2 - np.minimum(x.min(0), c.min(0)) / 2))
    scale = Scale.of_range(half, float(max(np.abs(x).max(), np.abs(c).max())))
    found = p.cross_distances(x, c, scale, xp=np)
    assert np.isfinite(found).all()
    assert found.min() > 1e-290
    unit = oracle.unit_of(x, c)
    factor = Fraction(scale.before) * Fraction(scale.after) * Fraction(unit)
    wanted = oracle.distances(x, c)
    for row in range(6):
        for center in range(6):
            assert Fraction(found[center, row]) == Fraction(wanted[row][center]) * factor**2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_first_of_equal_centers_is_never_passed_over(xp: Backend, dtype: str) -> None:
    """Products may round equal rows to two keys; which of them a library does is its own affair."""
    random = np.random.default_rng(11)
    marked = missed = 0
    for _ in range(8 if xp.id == "jax" else 200):
        # JAX compiles every shape anew
        k, d = (13, 7) if xp.id == "jax" else (random.integers(2, 20), random.integers(1, 12))
        centers = random.normal(size=(k, d)).astype(dtype)[random.integers(0, k, size=k)]
        with opened(xp) as context:
            nearest = p.Nearest(xp.array(centers), None, Scale(), 1.0, dtype)
            rung = p.build_rung(nearest, dtype, int(d), xp=context.xp)
            passed_over = np.isinf(xp.host(rung.bias))
            none = np.zeros(k, dtype=bool)
            twinned = none if rung.twinned is None else xp.host(rung.twinned)
        equal = (centers[:, None, :] == centers[None, :, :]).all(axis=2)
        repeats = np.tril(equal, -1).any(axis=1)
        assert not (passed_over & ~repeats).any()
        assert not (twinned & (equal.sum(axis=1) == 1)).any()
        marked += int(passed_over.sum())
        missed += int((repeats & ~passed_over).sum())
    assert missed <= marked / 4


def _of_limbs(parts: list[Any], exponent: int) -> list[Fraction]:
    """The numbers that limbs stand for."""
    total = [Fraction(0)] * len(parts[0])
    for number, part in enumerate(parts):
        unit = Fraction(2) ** (exponent - 40 * (number + 1))
        total = [sum_ + Fraction(value) * unit for sum_, value in zip(total, part, strict=True)]
    return total


@pytest.mark.parametrize("limbs", [1, 2, 3])
def test_quantise_writes_integers_near_the_values(xp: Backend, limbs: int) -> None:
    random = np.random.default_rng(2)
    values = random.uniform(-1, 1, size=200) * 2.0 ** random.integers(-60, 11, size=200)
    values[:4] = [0.0, 1024.0, -1024.0, -(2.0**-60)]
    grid = exact.Grid((10,), limbs)
    with opened(xp) as context:
        parts = exact.quantise(xp.array(values), float(grid.up[0]), limbs, xp=context.xp)
        parts = [xp.host(part).tolist() for part in parts]
    assert all(value.is_integer() and abs(value) <= 2.0**40 for part in parts for value in part)
    half = Fraction(2) ** (10 - 40 * limbs - 1)
    for found, value in zip(_of_limbs(parts, 10), values.tolist(), strict=True):
        assert abs(found - Fraction(value)) <= half


@pytest.mark.parametrize("value", [0.0, 1.0, 1.5, 2.0, 1e-300, 5e-324, 1e300, 0.75])
def test_exponent_above_is_the_least(value: float) -> None:
    found = exact.exponent_above(value)
    assert exact.exponents_above(np.asarray([value, 3.0])) == (found, 2)
    assert Fraction(value) <= Fraction(2) ** found
    if value > 2.0**-960:
        assert Fraction(value) > Fraction(2) ** (found - 1)


def _total(pair: Any) -> list[int]:
    high, low = pair.tolist()
    return [(a << 40) + b for a, b in zip(high, low, strict=True)]


def test_carry_keeps_the_number_and_makes_it_unique(xp: Backend) -> None:
    """Far beyond 2**23 rows of 2**40: the high word takes what the low one cannot hold."""
    high = [0, 0, 5, -3, 2**60, -(2**60), 0]
    low = [2**62, -(2**62), 2**40, -1, 2**40 - 1, -(2**40), 0]
    pair = np.asarray([high, low], dtype=np.int64)
    with opened(xp) as context:
        found = xp.host(exact.carry(xp.array(pair), xp=context.xp))
    assert _total(found) == _total(pair)
    assert all(0 <= value < 2**40 for value in found[1].tolist())


def test_totals_beyond_int64_are_exact(xp: Backend) -> None:
    """Blocks of 2**18 rows at the limit of the grid, until plain int64 would have wrapped."""
    part = 2**18 * 2**40
    with opened(xp) as context:
        sums = xp.array(np.asarray([part, -part, part - 1, 5], dtype=np.int64))
        total = exact.Accumulator(context.xp)
        for _ in range(200):
            total.add(context.xp.asarray(sums, copy=True), 2**18)
        found = xp.host(total.total())
    assert 200 * part > 2**65
    assert _total(found) == [200 * part, -200 * part, 200 * (part - 1), 1000]
    assert all(0 <= value < 2**40 for value in found[1].tolist())


def test_widen_splits_any_int64(xp: Backend) -> None:
    sums = np.asarray([0, 1, -1, 2**40, -(2**40), 2**63 - 1, -(2**63)], dtype=np.int64)
    with opened(xp) as context:
        found = xp.host(exact.widen(xp.array(sums), xp=context.xp))
    assert _total(found) == sums.tolist()
    assert all(0 <= value < 2**40 for value in found[1].tolist())


def test_ratio_is_rounded_once(xp: Backend) -> None:
    random = np.random.default_rng(3)
    size = 300
    limbs = [
        np.stack([random.integers(-(2**30), 2**30, size), random.integers(0, 2**40, size)])
        for _ in range(3)
    ]
    limbs[0][:, :20] = 0
    weight = np.floor(10.0 ** random.uniform(0, 9, size))
    for count in (1, 2, 3):
        with opened(xp) as context:
            totals = [xp.array(limb) for limb in limbs[:count]]
            found = xp.host(
                exact.ratio(
                    [context.xp.astype(total, context.xp.float64) for total in totals],
                    xp.array(weight),
                )
            )
        for i, value in enumerate(found.tolist()):
            number = sum(
                Fraction((int(limb[0, i]) << 40) + int(limb[1, i]), 2 ** (40 * at))
                for at, limb in enumerate(limbs[:count])
            )
            wanted = number / Fraction(weight[i])
            unit = Fraction(math.ulp(float(wanted)))
            assert abs(Fraction(value) - wanted) <= unit * (Fraction(1, 2) + Fraction(1, 2**40))


def test_ratio_of_equal_values_is_the_value(xp: Backend) -> None:
    random = np.random.default_rng(4)
    value = random.integers(1, 2**40, 400)
    count = random.integers(1, 2**22, 400)
    pair = np.stack([(value * count) >> 40, (value * count) & (2**40 - 1)])
    with opened(xp):
        found = exact.ratio([xp.array(pair, np.float64)], xp.array(count.astype(float)))
        assert xp.host(found).tolist() == value.astype(float).tolist()


@pytest.mark.parametrize("rows", [1, 4095, 4096, 4097, 20_000])
def test_exact_sums(xp: Backend, rows: int) -> None:
    parts = np.random.default_rng(5).integers(-(2**40), 2**40, size=(3, rows)).astype(float)
    # odd numbers: beyond 2**53 float64 would lose their last bit
    parts[0] = 2.0**40 - 1
    with opened(xp) as context:
        found = xp.host(exact.exact_sums(xp.array(parts), xp=context.xp))
    assert found.tolist() == [sum(int(value) for value in row) for row in parts.tolist()]


MASKS = {
    "none": np.zeros(100, dtype=bool),
    "all": np.ones(100, dtype=bool),
    "first": np.arange(100) == 0,
    "last": np.arange(100) == 99,
    "every third": np.arange(100) % 3 == 0,
    "sixty-five": np.arange(100) < 65,
    "one of one": np.ones(1, dtype=bool),
}


@pytest.mark.parametrize("name", [name for name in MASKS if name != "none"])
def test_compress_and_scatter_are_inverse(xp: Backend, name: str) -> None:
    mask = MASKS[name]
    count = int(mask.sum())
    with opened(xp) as context:
        marks = xp.array(mask)
        positions, valid = compress(marks, count, xp=context.xp)
        new = context.xp.astype(positions, context.xp.float64) + 1000.0
        values = xp.array(np.arange(len(mask), dtype=float))
        back = xp.host(scatter(values, marks, new, xp=context.xp))
        positions = xp.host(positions)
        valid = np.ones(count, dtype=bool) if valid is None else xp.host(valid)
    assert positions[valid].tolist() == np.flatnonzero(mask).tolist()
    # padding repeats rows that are there, so that taking them is safe
    assert set(positions.tolist()) == set(np.flatnonzero(mask).tolist())
    wanted = np.arange(len(mask)) + 1000.0 * mask
    assert back.tolist() == wanted.tolist()


def test_scatter_into_nothing_changes_nothing(xp: Backend) -> None:
    with opened(xp) as context:
        values = xp.array(np.arange(100.0))
        found = scatter(values, xp.array(MASKS["none"]), values[:1] - 5.0, xp=context.xp)
        assert xp.host(found).tolist() == list(range(100))


def test_group_sums_are_exact_even_when_the_running_sum_wraps(xp: Backend) -> None:
    random = np.random.default_rng(6)
    values = random.integers(-(2**40), 2**40, size=(500, 3)).astype(float)
    labels = random.choice([0, 2, 3, 6], size=500).astype(np.int32)
    with opened(xp) as context:
        found = xp.host(group_sums(xp.array(values), xp.array(labels), 7, xp=context.xp))
    wanted = [[0] * 3 for _ in range(7)]
    for row, label in zip(values.tolist(), labels.tolist(), strict=True):
        wanted[label] = [a + int(b) for a, b in zip(wanted[label], row, strict=True)]
    assert found.tolist() == wanted
