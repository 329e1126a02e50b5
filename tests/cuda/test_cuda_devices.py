"""Rows of which some lie on an emulated GPU and some in host memory: the answer of NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from card import LAUNCHERS, card_in_use
from sklearn.base import clone

from kmeans_xp import KMeans
from kmeans_xp._backend import numpy_context
from kmeans_xp.estimators._several_rows import SeveralRows

N = 600  # so many that products score them, and bounds prove labels


@pytest.fixture(scope="module")
def rows() -> Any:
    rng = np.random.default_rng(3)
    x = np.round(rng.normal(size=(N, 3)) * 8) / 8 + 3 * rng.integers(0, 3, (N, 1))
    x[::9] = x[0]
    return x.astype(np.float32)


@pytest.fixture
def card() -> Iterator[Any]:
    with card_in_use() as context:
        yield context


def weights() -> Any:
    return np.random.default_rng(4).integers(0, 4, N) * 0.3


def check_same(here: KMeans, there: KMeans) -> None:
    for name in ("cluster_centers_", "labels_"):
        assert np.asarray(getattr(there, name)).tobytes() == getattr(here, name).tobytes()
    assert here.inertia_ == there.inertia_
    assert here.history_ == there.history_


@pytest.mark.parametrize("start", ["k-means++", "k-means||"])
def test_a_gpu_beside_the_host(rows: Any, card: Any, start: str) -> None:
    model = KMeans(6, init=start, n_init=1, random_state=5, max_iter=5)
    here = clone(model).fit(rows, sample_weight=weights())
    devices = [card, numpy_context()]
    with pytest.MonkeyPatch.context() as patch:
        found = SeveralRows(rows, weights(), devices, numpy_context())
        patch.setattr(model, "_rows_to_fit", lambda X, sample_weight: found)
        check_same(here, model.fit(rows))
    assert (model.device_, model.backend_) == ("cuda:0,cpu", "cupy,numpy")
    assert model.kernel_ == "cuda,numpy"
    # rows on the card proved their labels by bounds that they had kept there
    assert "list_doubtful" in LAUNCHERS[-1].launches
