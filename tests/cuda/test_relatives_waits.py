"""How often the host waits for the device in relatives of k-means."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from device_arrays import DeviceNamespace, on_device
from test_cuda_waits import counting

from kmeans_xp._backend import Context, numpy_context
from kmeans_xp.relatives import _medians, _medoid_starts, _medoids
from kmeans_xp.relatives._losses import Losses
from kmeans_xp.relatives._pairs import Measure
from kmeans_xp.relatives._spaces import RowSpace


@pytest.fixture
def context() -> Iterator[Context]:
    """NumPy's, whose arrays count as a device's."""
    plain = numpy_context()
    with plain.scope(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Context, "from_host", lambda _, array: on_device(array))
        yield dataclasses.replace(plain, xp=DeviceNamespace(plain.xp))


def space_of(n: int, context: Context) -> RowSpace:
    x = on_device(np.random.default_rng(1).normal(size=(n, 3)))
    return RowSpace.of(Measure.over("manhattan", [x], context, who="a test"), x)


def losses_of(n: int, context: Context, *, is_stored: bool) -> Losses:
    space = space_of(n, context)
    return Losses.of(space.to, None, n, space.bound, context, is_stored=is_stored)


@pytest.mark.parametrize("is_stored", [True, False])
def test_one_wait_a_look_for_swaps(context: Context, is_stored: bool) -> None:
    """A look takes one block of candidates or several."""
    losses, looks = losses_of(300, context, is_stored=is_stored), []
    real = _medoids._best_swap

    def look(*args: Any) -> Any:
        looks.append(args[2:])
        return real(*args)

    with counting() as waits, pytest.MonkeyPatch.context() as patch:
        patch.setattr(_medoids, "_best_swap", look)
        found = _medoids.swap_until_none_pays(losses, list(range(6)), 50)
        assert found.n_swaps > 5
        assert {last - first for first, last in looks} >= {1, 2}
        assert len(waits) == len(looks)


def test_few_waits_for_each_start(context: Context) -> None:
    losses = losses_of(300, context, is_stored=True)
    counts = []
    for k in (3, 7):
        with counting() as waits:
            _medoid_starts.plusplus(losses, k, 0)
            counts.append(len(waits))
    # the largest and the sum of what rows pay, the rows drawn, the best of them
    assert counts[1] - counts[0] == 4 * 4


def test_two_waits_an_iteration_of_medians(context: Context) -> None:
    space = space_of(200, context)
    x = space.ready.T
    rows = _medians.Rows.of(space.measure, x, None)
    assert rows.space.bound  # known once for all
    counts = []
    for most in (2, 5):
        with counting() as waits:
            assert _medians.run(rows, x[:6, :], most).n_iter == most
            counts.append(len(waits))
    assert counts[1] - counts[0] == 2 * 3
