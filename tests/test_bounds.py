"""The proof behind the fast labels: no product may exclude the center that is truly nearest."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import oracle
import pytest
from cases import CASES, skip_where_slow, wide
from conftest import Backend, make_backend
from engine import opened, problem_of

from kmeans_xp import _primitives as p


def _between(seed: int, d: int, dtype: str, shift: float) -> tuple[Any, Any]:
    """Rows on the bisectors of pairs of centers, up to a rounding or two."""
    random = np.random.default_rng(seed)
    centers = (random.normal(size=(12, d)) + shift).astype(dtype)
    pairs = random.integers(0, 12, size=(150, 2))
    middle = (centers[pairs[:, 0]].astype(float) + centers[pairs[:, 1]]) / 2
    jitter = 1 + np.finfo(dtype).eps * random.integers(-3, 4, size=middle.shape)
    return (middle * jitter).astype(dtype), centers


def _magnitudes(seed: int, d: int, dtype: str, shift: float) -> tuple[Any, Any]:
    """Rows and centers from 1e-12 to 1e4 in one set, so that norms dwarf distances."""
    random = np.random.default_rng(seed)
    centers = random.normal(size=(12, d)) * 10.0 ** random.uniform(-12, 4, size=(12, 1)) + shift
    x = centers[random.integers(0, 12, size=150)]
    x = x * (1 + random.normal(size=x.shape) * 10.0 ** random.uniform(-9, 0, size=(150, 1)))
    return x.astype(dtype), centers.astype(dtype)


def _twins(seed: int, d: int, dtype: str, shift: float) -> tuple[Any, Any]:
    """Centers that differ in the last bits of one feature."""
    random = np.random.default_rng(seed)
    centers = np.tile(random.normal(size=(1, d)) + shift, (8, 1)).astype(dtype)
    centers[np.arange(8), random.integers(0, d, 8)] *= 1 + np.finfo(dtype).eps * np.arange(8)
    x = centers[random.integers(0, 8, 100)] + random.normal(size=(100, d)) * np.abs(centers[0])
    return x.astype(dtype), centers


HARD = {make.__name__.strip("_"): make for make in (_between, _magnitudes, _twins)}


def _check(xp: Backend, x: Any, centers: Any, dtype: str) -> None:
    with opened(xp) as context:
        problem = problem_of(xp, x, k=len(centers), first=dtype)
        given = xp.array(centers)
        problem.cover(given)
        rung = problem.nearest_to(given).rung(dtype, xp=context.xp)
        near = xp.host(p.candidates(xp.array(x), rung, xp=context.xp))
    assert near.shape == (len(x), len(centers))
    judged = oracle.labels(x, centers)
    for row, exact in enumerate(oracle.exact_distances(x, centers)):
        # a repeated center is set aside for its first twin
        assert near[row, exact.index(min(exact))], row
        assert near[row, judged[row]], row


@pytest.mark.parametrize("hard", HARD)
@pytest.mark.parametrize("d", [1, 3, 16, 100])
@pytest.mark.parametrize("shift", [0.0, 100.0, 1e5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_nearest_center_is_never_excluded(hard: str, d: int, shift: float, dtype: str) -> None:
    for library in ("numpy", "torch"):
        x, centers = HARD[hard](d, d, dtype, shift)
        _check(make_backend(library), x, centers, dtype)


@pytest.mark.parametrize("case", CASES)
def test_the_nearest_center_is_never_excluded_in_hard_sets(xp: Backend, case: str) -> None:
    skip_where_slow(xp, case)
    x, start = CASES[case]()
    _check(xp, x, start, "float64")
    if x.dtype == np.float32 and case != "huge32":
        # whose squares are beyond float32, which is not asked then
        _check(xp, x, start, "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("d", [1, 4, 33, 300])
@pytest.mark.parametrize("shift", [0.0, 50.0])
def test_each_inequality_of_the_proof_holds(dtype: str, d: int, shift: float) -> None:
    """Both sides of the derivation in `_primitives`, center by center, in exact arithmetic."""
    # of all sizes, so that rows meet centers of their own norm, where the bound is tight
    random = np.random.default_rng(3)
    x, centers = wide(d, 3, dtype, n=400 if d < 9 else 40, k=6)
    x = (x - 50) * random.choice([1e-3, 1.0, 30.0], size=(len(x), 1)) + shift
    x, centers = x.astype(dtype), (0.9 * (centers - 50) + shift).astype(dtype)
    problem = problem_of(make_backend("numpy"), x, k=6, first=dtype)
    rung = problem.nearest_to(centers).rung(dtype, xp=np)
    lower, half = p.screen(x, rung, xp=np)
    best = lower.min(axis=0)
    limit = p.exclusion_threshold(best, half, rung, xp=np)
    shift_row = np.zeros(d) if rung.shift is None else rung.shift
    theta, eta = Fraction(rung.theta), Fraction(rung.underflow)
    tail = Fraction(rung.canonical)
    exact = oracle.exact_distances(x, centers)
    _, exponent = oracle.whole(np.concatenate([x, centers]).astype(np.float64))
    unit = Fraction(4) ** exponent * Fraction(rung.scale) ** 2
    norms = _exact_norms(np.concatenate([x, centers]), shift_row, rung.scale)
    for row in range(len(x)):
        norm = norms[row]
        for j in range(6):
            truth = exact[row][j] * unit / 2
            score = norm / 2 + Fraction(float(lower[j, row]))
            # a loser's distance is at least this
            assert truth >= score - (theta / 2 + tail) * norm - eta
            if lower[j, row] == best[row]:
                r2 = norms[len(x) + j]
                # |x'| r is at most the mean of the squares
                assert truth <= score + theta * ((norm + r2) / 2 + 3 * r2 / 2) + tail * norm + eta
            if lower[j, row] > limit[row]:
                assert exact[row][j] > min(exact[row])


def _exact_norms(points: Any, shift: Any, scale: float) -> list[Fraction]:
    rows = [[Fraction(value) for value in row] for row in points.astype(np.float64).tolist()]
    origin = [Fraction(value) for value in np.asarray(shift, dtype=np.float64).tolist()]
    factor = Fraction(scale) ** 2
    return [sum((a - b) ** 2 for a, b in zip(row, origin, strict=True)) * factor for row in rows]


def test_well_separated_rows_are_settled_by_the_first_product() -> None:
    """The bound is of use: in ordinary data next to no row is left open."""
    random = np.random.default_rng(0)
    centers = random.normal(size=(20, 16)) * 10
    x = centers[random.integers(0, 20, 5000)] + random.normal(size=(5000, 16))
    for dtype in ("float32", "float64"):
        rows = x.astype(dtype)
        problem = problem_of(make_backend("numpy"), rows, k=20, first=dtype)
        nearest = problem.nearest_to(centers.astype(dtype))
        _, unsure, _ = problem.kernel.propose(rows, nearest, {})
        assert int(unsure.sum()) <= 5


@pytest.mark.parametrize("library", ["numpy", "strict", "torch"])
@pytest.mark.parametrize("n", [60, 3000])
def test_subnormal_float32_rows_are_labelled(library: str, n: int) -> None:
    """To bring them to magnitude one takes a factor that float32 itself cannot hold."""
    random = np.random.default_rng(1)
    x = (random.normal(size=(n, 3)) * 1e-41).astype(np.float32)
    centers = x[:5].copy()
    xp = make_backend(library)
    with opened(xp):
        problem = problem_of(xp, x, k=5, first="exact" if n == 60 else "float32")
        nearest = problem.nearest_to(xp.array(centers))
        found = problem.kernel.propose(xp.array(x), nearest, {})[0]
        if n > 60:
            found = problem.kernel.settle(xp.array(x), nearest)
        assert xp.host(found).tolist() == oracle.labels(x, centers)


def test_distances_that_underflow_are_judged_alike_on_every_path() -> None:
    """Data of magnitude 1e-30 whose nearest centers are 1e-161 away: squares are subnormal."""
    x = np.zeros((8, 2))
    x[:4] = 2.0**-100
    x[4:] = -(2.0**-100)
    x = np.concatenate([x, np.zeros((2, 2))])
    tiny = 2.0**-535
    centers = np.asarray([[tiny * (1 + 1e-8), 0.0], [tiny, 0.0], [2.0**-100, 2.0**-100]])
    found = []
    for first in ("exact", "float64"):
        problem = problem_of(make_backend("numpy"), x, k=3, first=first)
        nearest = problem.nearest_to(centers)
        kernel = problem.kernel
        exact = first == "exact"
        found.append(kernel.propose(x, nearest, {})[0] if exact else kernel.settle(x, nearest))
    assert found[0].tolist() == found[1].tolist()
