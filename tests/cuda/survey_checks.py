"""What must hold of the statistics pass on the device: what the array API's gives, every bit."""

from __future__ import annotations

from typing import Any

import numpy as np

from kmeans_xp import _exact as exact
from kmeans_xp._kernels.cuda._kernel import CudaKernel
from kmeans_xp._stats import Surveyor


def plain(value: Any) -> Any:
    """Fields as lists."""
    return [np.asarray(field).tolist() for field in vars(value).values()]


def grid_of(values: Any) -> exact.Grid:
    return exact.Grid(tuple(exact.exponent_above(float(value)) for value in values), 1)


def check_survey(kernel: CudaKernel, x: Any, weight: Any) -> None:
    """Ranges, sums with the limbs that they need, and squares."""
    device, host = kernel.surveyor, Surveyor(np)
    with np.errstate(over="ignore", invalid="ignore"):
        ranges = host.ranges(x, weight)
    assert plain(device.ranges(x, weight)) == plain(ranges)
    grid = grid_of(ranges.largest)
    weight_grid = None if weight is None else grid_of([ranges.largest_weight])
    for hint in ([1, 1], [2, 3]):
        with np.errstate(over="ignore", invalid="ignore"):
            wanted = host.sums(x, weight, grid, weight_grid, hint)
        found = device.sums(x, weight, grid, weight_grid, hint)
        assert found.sums.tolist() == wanted.sums.tolist()
        # begun with more, fewer may do
        assert max(found.limbs, hint[0]) == wanted.limbs
        assert max(found.weight_limbs, hint[1] if weight is not None else 1) == wanted.weight_limbs
    low, high = ranges.weighted_low, ranges.weighted_high
    middle = x[len(x) // 2].astype(np.float64)
    wide = np.maximum(np.abs(high - middle), np.abs(middle - low)) * 0.5
    squares = grid_of(wide * wide * ranges.largest_weight)
    for factor in (0.5, 0.25):
        with np.errstate(over="ignore"):
            wanted = host.squares(x, weight, middle, factor, squares)
        found = device.squares(x, weight, middle, factor, squares)
        assert found.tolist() == wanted.tolist()


def check_not_finite(kernel: CudaKernel) -> None:
    for bad in (np.nan, -np.nan, np.inf, -np.inf):
        x = np.zeros((70, 3))
        x[50, 1] = bad
        ranges = kernel.surveyor.ranges(x, None)
        finite = np.isfinite(ranges.low) & np.isfinite(ranges.high)
        assert finite.tolist() == [True, False, True]


def check_statistics(kernel: CudaKernel) -> None:
    random = np.random.default_rng(3)
    for n, d, dtype in ((1, 1, "f4"), (701, 3, "f8"), (90, 33, "f4"), (40, 64, "f8")):
        x = (random.normal(size=(n, d)) * 10.0 ** random.integers(-9, 9, size=(n, d))).astype(dtype)
        weight = random.integers(0, 3, n) * 0.3
        weight[0] = 0.7
        check_survey(kernel, x, None)
        check_survey(kernel, np.asfortranarray(x), weight)
        if n > 1:
            # a far row without weight; a subnormal one; zeros of both signs
            x[1] = np.finfo(dtype).max
            weight[1], x[2], x[3] = 0.0, np.finfo(dtype).smallest_subnormal, -0.0
            check_survey(kernel, x[:, ::-1], weight)
    check_not_finite(kernel)
