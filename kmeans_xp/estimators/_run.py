"""From checked arguments to the best of several runs: the part that KMeans and k_means share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._backend import Context, resolve
from .._init import seed_centers
from .._problem import Training, training_problem
from .._random import Purpose, mix
from .._solver import Result, Rules, Status, lloyd
from .._stats import NonFiniteError
from .._typing import Array
from .._validation import (
    check_centers,
    check_float64,
    check_positive_rows,
    check_weight,
    first_bad_cell,
)

NAMED_STARTS = ("k-means++", "random", "random-partition", "k-means||")
_RESTARTS = {"k-means++": 1, "k-means||": 1, "random": 10, "random-partition": 10}


@dataclass(frozen=True)
class Place:
    """Where X came from, and where the work happens."""

    work: Context
    home: Context

    def send_home(self, array: Array) -> Array:
        return array if self.work == self.home else self.home.move(array)


def place_of(x: Array, device: str | None) -> Place:
    work, home = resolve(x, device)
    check_float64(work)
    return Place(work, home)


def restarts(init: Any, n_init: Any, init_is_array: bool) -> int:
    """Number of runs, with scikit-learn's meaning of "auto"."""
    if n_init != "auto":
        return int(n_init)
    if init_is_array:
        return 1
    return _RESTARTS[init] if isinstance(init, str) else 10


def prepare(
    x: Array, sample_weight: Any, place: Place, n_clusters: int, *, who: str, variance: bool
) -> Training:
    """Move the data once and take the statistics pass; refuse what cannot be clustered."""
    n_rows = int(x.shape[0])
    if n_rows < n_clusters:
        raise ValueError(f"n_samples={n_rows} should be >= n_clusters={n_clusters}.")
    weight = check_weight(sample_weight, n_rows, place.work)
    try:
        problem = training_problem(
            place.work.move(x), weight, place.work, n_clusters, variance=variance
        )
    except NonFiniteError:
        first_bad_cell(x, who)
        raise
    check_positive_rows(problem.summary.n_positive, n_clusters)
    return problem


def draw_seed(random_state: np.random.RandomState) -> int:
    """One 64-bit seed a fit, whatever the device."""
    return int(random_state.randint(0, 2**63 - 1, dtype=np.int64))


def best_of(
    problem: Training,
    starts: Callable[[int], Array],
    runs: int,
    rules: Rules,
    seed: int,
    *,
    announce: Callable[[str], None],
) -> Result:
    """Run from each start; keep the smallest inertia, the earliest among equals."""
    best: Result | None = None
    with problem.source.working():
        for run in range(runs):
            try:
                centers = starts(run)
            except KeyboardInterrupt:
                if best is None:
                    raise
                return best.interrupted()
            announce("Initialization complete")
            result = lloyd(problem, centers, rules, mix(seed, Purpose.RUN, run))
            announce(f"{result.status.value} (iteration {result.n_iter})")
            if best is None or result.inertia < best.inertia:
                best = result
            if result.status is Status.INTERRUPTED:
                return best.interrupted()
    assert best is not None
    return best


def start_by(
    problem: Training,
    init: Any,
    x: Any,
    n_clusters: int,
    seed: int,
    random_state: np.random.RandomState,
) -> Callable[[int], Array]:
    """Return the function that makes the centers of each run."""
    n_features = problem.source.n_features

    def given(centers: Any) -> Array:
        return check_centers(centers, problem.context, problem.dtype, n_clusters, n_features)

    if isinstance(init, str):
        return lambda run: seed_centers(problem, init, n_clusters, mix(seed, Purpose.RUN, run))
    if callable(init):
        return lambda run: given(init(x, n_clusters, random_state=random_state))
    fixed = given(init)
    return lambda run: fixed
