"""Starts beside scikit-learn's: k-means++ and k-means|| at k=1000, in one process.

    python benchmarks/seeding.py [--rounds 5] [--out benchmarks/results/seeding.json]

Processor time, not time on the clock (run it with ``OMP_NUM_THREADS=1``); the libraries take
turns, and medians are given.  Beside each time stands the inertia that the start leaves, the mean
over the rounds, each of which has its own seed.  ``KMEANS_XP_NUMBA=0`` and ``1`` choose our kernel;
the first call of each is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn.cluster
from _data import blobs, uniform
from _report import header, write
from sklearn.metrics import pairwise_distances_argmin_min

import kmeans_xp

K = 1000


def ours(X: Any, seed: int) -> Any:
    return kmeans_xp.kmeans_plusplus(X, K, random_state=seed)[0]


def theirs(X: Any, seed: int) -> Any:
    return sklearn.cluster.kmeans_plusplus(X, K, random_state=seed)[0]


def parallel(X: Any, seed: int) -> Any:
    """The start alone: one iteration more would cost as much as many of its rounds."""
    from kmeans_xp._backend import context_of
    from kmeans_xp._init import seed_centers
    from kmeans_xp._problem import training_problem

    context = context_of(X)
    problem = training_problem(X, None, context, K)
    with problem.source.working(), context.scope():
        return seed_centers(problem, "k-means||", K, seed)


LIBRARIES: dict[str, Callable[[Any, int], Any]] = {
    "kmeans_xp k-means++": ours,
    "kmeans_xp k-means||": parallel,
    "scikit-learn k-means++": theirs,
}


def compare(X: Any, rounds: int) -> dict[str, Any]:
    """Each library in turn, round after round."""
    times: dict[str, list[float]] = {name: [] for name in LIBRARIES}
    left: dict[str, list[float]] = {name: [] for name in LIBRARIES}
    for start in LIBRARIES.values():
        start(X, 0)
    for seed in range(rounds):
        for name, start in LIBRARIES.items():
            began = time.process_time()
            centers = start(X, seed)
            times[name].append(time.process_time() - began)
            distances = pairwise_distances_argmin_min(X, centers)[1].astype(np.float64)
            left[name].append(float((distances**2).sum()))
    return {
        name: {
            "s median": round(statistics.median(times[name]), 3),
            "inertia mean": statistics.mean(left[name]),
        }
        for name in LIBRARIES
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    report: dict[str, Any] = header("seeding.py")
    report["KMEANS_XP_NUMBA"] = os.environ.get("KMEANS_XP_NUMBA", "")
    for make, n, d, dtype in (
        (blobs, 100_000, 32, "float32"),
        (uniform, 100_000, 32, "float32"),
        (blobs, 50_000, 32, "float64"),
        (uniform, 100_000, 2, "float32"),
        (blobs, 10_000, 32, "float32"),
    ):
        name = f"{make.__name__} {n} x {d}, {dtype}, k={K}"
        report[name] = compare(make(n, d, K, dtype), arguments.rounds)
        print(name, json.dumps(report[name], indent=2), flush=True)
    write(report, arguments.out)


if __name__ == "__main__":
    main()
