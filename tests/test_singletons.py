"""The simplified silhouette of clusters of a single row: 0, as that of Rousseeuw's silhouette."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Backend

from kmeans_xp import choose_k

ROWS = np.asarray([[0.0], [1.0], [2.0], [10.0], [11.0], [40.0]])


def found(x: Any, k: int = 3, **options: Any) -> float | None:
    result = choose_k(
        x, [k], criteria="silhouette_simplified", structure=False, random_state=0, **options
    )
    return result.criteria["silhouette_simplified"][0]


def wanted(lone: float) -> float:
    """The mean over the clusters around 1, 10.5 and 40, of which the last is one row."""
    to_own, to_next = np.asarray([1, 0, 1, 0.5, 0.5]), np.asarray([10.5, 9.5, 8.5, 9, 10])
    return float((((to_next - to_own) / to_next).sum() + lone) / 6)


def test_a_single_row_has_none(xp: Backend) -> None:
    for dtype in (np.float32, np.float64):
        assert found(xp.array(ROWS, dtype)) == pytest.approx(wanted(0.0), rel=1e-12)


def test_whole_weights_are_repeated_rows_and_zeros_none() -> None:
    twice = np.asarray([1.0, 1, 1, 1, 1, 2])
    repeated = found(np.repeat(ROWS, twice.astype(int), axis=0))
    assert found(ROWS, sample_weight=twice) == pytest.approx(repeated, rel=1e-12)
    assert repeated == pytest.approx((6 * wanted(0.0) + 2) / 7, rel=1e-12)
    beside = np.concatenate([ROWS, [[41.0]]])
    assert found(beside, sample_weight=[1.0, 1, 1, 1, 1, 1, 0]) == found(ROWS)


@pytest.mark.parametrize("factor", [0.25, 1 / 6])
def test_small_weights_leave_clusters_of_several_rows_as_they_are(factor: float) -> None:
    # together these weigh less than one row
    assert found(ROWS, sample_weight=np.full(6, factor)) == pytest.approx(wanted(0.0), rel=1e-9)


def test_a_range_up_to_one_row_each_ends_low() -> None:
    x = np.random.default_rng(0).random((30, 2))
    result = choose_k(x, 29, criteria="silhouette_simplified", structure=False, random_state=0)
    values = result.criteria["silhouette_simplified"]
    # two rows share a cluster, all others are alone
    assert values[-1] is not None
    assert 0.0 < values[-1] <= 2 / 30
    best = result.suggestions["silhouette_simplified"]
    assert best is not None
    assert best < 20
