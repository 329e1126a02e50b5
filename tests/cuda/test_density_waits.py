"""How often the host waits for the device in clusters by density."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from device_arrays import DeviceNamespace, on_device
from test_cuda_waits import counting

from kmeans_xp import DBSCAN
from kmeans_xp._backend import Context, numpy_context
from kmeans_xp.relatives import _density, _neighbours


@pytest.fixture
def context() -> Iterator[Context]:
    """NumPy's, whose arrays count as a device's."""
    plain = numpy_context()
    with plain.scope(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Context, "from_host", lambda _, array: on_device(array))
        patch.setattr(_neighbours, "thread_count", lambda: 1)
        patch.setattr(_neighbours, "_HOST_ROWS", 8)
        yield dataclasses.replace(plain, xp=DeviceNamespace(plain.xp))


@pytest.mark.parametrize("limit", [1, 1 << 30])
@pytest.mark.parametrize("n", [300, 1200])
def test_two_waits_a_round_and_none_a_leaf(context: Context, n: int, limit: int) -> None:
    """A round looks at the labels of leaves, and whether any changed."""
    x = np.random.default_rng(n).random((n, 2)) * np.sqrt(n)
    eps, rounds = 0.8, []
    with pytest.MonkeyPatch.context() as patch:
        hooked = _density.hooked
        patch.setattr(
            _density, "hooked", lambda *args, **more: rounds.append(1) or hooked(*args, **more)
        )
        with counting() as waits:
            hood = _neighbours.neighbourhood(
                on_device(x), "euclidean", eps, context, limit, who="a test"
            )
            before = len(waits)
            labels, _ = _density.clusters(hood, None, 2)
            # the rows of leaves; two a round and the last; labels and cores of leaves at borders
            assert len(waits) - before == 1 + 2 * (len(rounds) + 1) + 2
    assert len(rounds) > 1
    assert hood.order.n_leaves > 30
    # where the rows lie, groups of leaves, and each of these against the others
    groups = hood.order.n_leaves // (1 << (hood.order.n_leaves.bit_length() // 2))
    assert before <= 4 + 1 + 2 * groups
    found: Any = DBSCAN(eps, min_samples=2).fit(x)
    assert np.asarray(labels).tolist() == found.labels_.tolist()
