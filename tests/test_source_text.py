"""The source text's algorithm, step for step, on real data.

Assign every point to a random cluster; take the means; assign each point to the cluster
with the nearest mean; an empty cluster's mean becomes a random observation; repeat until
no point changes its cluster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import oracle
import pytest
from conftest import make_backend
from engine import first_centers, problem_of
from sklearn.datasets import load_iris, load_wine

from kmeans_xp import KMeans
from kmeans_xp._random import Purpose, mix

SETS: dict[str, tuple[Callable[[Any], Any], int, int]] = {
    "iris": (lambda battery: load_iris().data, 3, 4),
    "iris, many clusters": (lambda battery: load_iris().data, 25, 0),
    "wine": (lambda battery: load_wine().data, 3, 1),
    "wine in float32": (lambda battery: load_wine().data.astype(np.float32), 6, 2),
    "s1": (lambda battery: battery("s1")[0], 15, 3),
}


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> tuple[Any, int, int]:
    load, k, seed = SETS[request.param]
    wants_battery = request.param == "s1"
    return load(request.getfixturevalue("battery") if wants_battery else None), k, seed


# a run that is cut short may leave a cluster without rows, and warns of it
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.filterwarnings("ignore::kmeans_xp.exceptions.DataWarning")  # wine
@pytest.mark.parametrize("rows", SETS, indirect=True)
def test_the_loop_is_that_of_the_source_text(rows: tuple[Any, int, int]) -> None:
    x, k, seed = rows
    start = first_centers(problem_of(make_backend("numpy"), x, k=k), "random-partition", k, seed)
    trace: list[Any] = []
    options = {
        "n_clusters": k,
        "init": "random-partition",
        "n_init": 1,
        "random_state": seed,
        "empty_cluster": "random",
        "tol": 0,
    }
    model = KMeans(**options, max_iter=None, callback=lambda _, c: trace.append(c.copy())).fit(x)

    def observation(iteration: int, cluster: int) -> Any:
        """What the library drew for an empty cluster, which must be a row."""
        drawn = trace[iteration - 1][cluster]
        assert (x == drawn).all(axis=1).any()
        return drawn

    steps = list(oracle.iterate(x, start, observation, x.dtype))
    assert len(steps) == model.n_iter_ == len(trace)
    for number, (labels, centers) in enumerate(steps, start=1):
        np.testing.assert_array_equal(trace[number - 1], centers)
        if number in (1, 2, 3, 5, 8, len(steps)):
            # a run cut short ends with the labels of the next assignment
            cut = KMeans(**options, max_iter=number).fit(x)
            following = steps[number][0] if number < len(steps) else labels
            assert cut.labels_.tolist() == following
            np.testing.assert_array_equal(cut.cluster_centers_, centers)
    assert model.labels_.tolist() == steps[-1][0]
    np.testing.assert_array_equal(model.cluster_centers_, steps[-1][1])


def test_the_first_means_are_those_of_a_random_partition() -> None:
    """The partition, rebuilt from the keys in plain integers."""
    x, k, seed = load_iris().data, 3, 4
    numpy = make_backend("numpy")
    start = first_centers(problem_of(numpy, x, k=k), "random-partition", k, seed)
    drawn = int(np.random.RandomState(seed).randint(0, 2**63 - 1, dtype=np.int64))
    word, key = (1 << 64) - 1, mix(mix(drawn, Purpose.RUN, 0), Purpose.PARTITION)
    found = []
    for row in range(len(x)):
        bits = ((row ^ key) + 0x9E3779B97F4A7C15) & word
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            bits = ((bits ^ (bits >> shift)) * factor) & word
        found.append((bits & (word >> 1)) % k)
    wanted = [oracle.rounded(mean, np.float64) for mean in oracle.means(x, found, k) if mean]
    np.testing.assert_array_equal(start, wanted)
