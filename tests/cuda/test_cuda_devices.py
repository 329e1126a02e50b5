"""Rows of which some lie on an emulated GPU and some in host memory: the answer of NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from card import LAUNCHERS, card_in_use
from cases import check_same_bits, clumped, few_weights
from sklearn.base import clone

from kmeans_xp import KMeans
from kmeans_xp._backend import numpy_context
from kmeans_xp.estimators._several_rows import SeveralRows

N = 600  # so many that products score them, and bounds prove labels


@pytest.fixture(scope="module")
def rows() -> Any:
    return clumped(N, 3).astype(np.float32)


@pytest.fixture
def card() -> Iterator[Any]:
    with card_in_use() as context:
        yield context


@pytest.mark.parametrize("start", ["k-means++", "k-means||"])
def test_a_gpu_beside_the_host(rows: Any, card: Any, start: str) -> None:
    model = KMeans(6, init=start, n_init=1, random_state=5, max_iter=5)
    here = clone(model).fit(rows, sample_weight=few_weights(N))
    devices = [card, numpy_context()]
    with pytest.MonkeyPatch.context() as patch:
        found = SeveralRows(rows, few_weights(N), devices, numpy_context())
        patch.setattr(model, "_rows_to_fit", lambda X, sample_weight: found)
        check_same_bits(here, model.fit(rows))
    assert (model.device_, model.backend_) == ("cuda:0,cpu", "cupy,numpy")
    assert model.kernel_ == "cuda,numpy"
    # rows on the card proved their labels by bounds that they had kept there
    assert "list_doubtful" in LAUNCHERS[-1].launches
