"""KMedoids on samples of the rows, whose medoids go to the best rows of their clusters."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Backend
from medoid_cases import NUMPY, clusters, distances

from kmeans_xp import KMedoids
from kmeans_xp._backend import context_of
from kmeans_xp.relatives._best_rows import at_best_rows
from kmeans_xp.relatives._pairs import Measure
from kmeans_xp.relatives._spaces import RowSpace


def test_many_rows_are_sampled() -> None:
    x = clusters(900, 5, spread=3.0)
    whole = KMedoids(5).fit(x)
    assert whole.method_ == "fasterpam"
    options = {"memory_limit": "1MB", "sample_size": 100, "random_state": 0}
    losses = []
    for count in (1, 2, 4, 8):
        model = KMedoids(5, n_samplings=count, **options).fit(x)
        assert model.method_ == "clara"
        assert f"the best of {count} samples of 100 of 900 rows" in model.status_
        medoids = model.medoid_indices_
        assert model.inertia_ == pytest.approx(distances(x)[:, medoids].min(axis=1).sum())
        assert model.cluster_centers_.tobytes() == x[medoids].tobytes()
        losses.append(model.inertia_)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]
    assert whole.inertia_ <= losses[-1] < 1.1 * whole.inertia_
    given = KMedoids(5, n_samplings=1, init=whole.medoid_indices_, **options).fit(x)
    assert given.inertia_ < 1.1 * whole.inertia_
    # a sample of all rows leaves nothing out
    model = KMedoids(5, method="clara", sample_size=900, n_samplings=1).fit(x)
    assert model.inertia_ == whole.inertia_


@pytest.mark.parametrize("metric", ["manhattan", "precomputed"])
def test_medoids_of_a_sample_go_to_the_best_rows_of_their_clusters(metric: str) -> None:
    rng = np.random.default_rng(5)
    x = clusters(900, 3, spread=3.0)
    weight = np.where(rng.random(900) < 0.5, 0.25, 1.0)
    table = distances(x)
    if metric == "precomputed":
        # what a row pays for the one beside it is not what that pays for it
        table = table * rng.uniform(0.9, 1.1, size=900) * 1e290
    options = {"method": "clara", "sample_size": 60, "n_samplings": 1, "random_state": 0}
    model = KMedoids(3, metric=metric, **options)
    model.fit(table if metric == "precomputed" else x, sample_weight=weight)
    for cluster, medoid in enumerate(model.medoid_indices_):
        mine = np.flatnonzero(model.labels_ == cluster)
        assert mine.size > 100
        paid = weight[mine] @ (table[np.ix_(mine, mine)] / table.max())
        assert mine[paid.argmin()] == medoid


def test_the_best_rows_are_the_same_in_every_library(xp: Backend) -> None:
    x = clusters(90, 2, d=2, spread=1.0)
    weight = np.random.default_rng(2).random(90) + 0.5
    start = [int(np.argmax(x[:, 0])), int(np.argmin(x[:, 0]))]

    def found(backend: Backend) -> list[int]:
        rows = backend.array(x)
        context = context_of(rows)
        with context.scope():
            space = RowSpace.of(Measure.over("manhattan", [rows], context, who="a test"), rows)
            return at_best_rows(space, backend.array(weight), start, 1e9, 7)

    assert found(xp) == found(NUMPY)
    assert not set(found(NUMPY)) & set(start)
