"""Small fits: this library beside scikit-learn's two algorithms, in one process.

    OMP_NUM_THREADS=1 python benchmarks/small.py [--rounds 40] [--out benchmarks/results/small.json]

Each set is fitted in two ways: from given rows until no row changes its cluster, and with the
default parameters; this library in plain NumPy, and with its compiled loops loaded.  Fits take
turns, each round has a seed of its own, and processor time counts, since other work on the machine
disturbs it least.  The sets s1 and a1 are read from the folder that KMEANS_XP_DATA names, and left
out without it.
"""

from __future__ import annotations

import argparse
import functools
import os
import pathlib
import statistics
import time
import warnings
from typing import Any

import numpy as np
from _data import Rows, digits, iris, no_table, table
from _report import header, write


def cases() -> dict[str, tuple[Rows, int]]:
    """Rows and number of clusters."""
    found = {
        "iris": (iris(150, 4, 3, "float64"), 3),
        "digits": (digits(1797, 64, 10, "float64"), 10),
    }
    clusters = {"s1": 15, "a1": 20}
    return found | {name: (table(name), k) for name, k in clusters.items() if not no_table(name)}


def parameters(X: Rows, k: int, mode: str, seed: int) -> dict[str, Any]:
    """What both libraries get."""
    if mode == "default":
        return {"n_clusters": k, "random_state": seed}
    start = X[np.random.default_rng(seed).choice(len(X), k, replace=False)]
    return {"n_clusters": k, "init": start, "n_init": 1, "tol": 0}


def compare(X: Rows, k: int, mode: str, rounds: int) -> dict[str, Any]:
    """Median milliseconds of a fit, and iterations and inertia on average."""
    import sklearn.cluster

    import kmeans_xp

    plain = functools.partial(kmeans_xp.KMeans, search=None)
    makers = {
        "kmeans_xp": plain,
        "kmeans_xp, compiled": plain,
        "lloyd": sklearn.cluster.KMeans,
        "elkan": lambda **options: sklearn.cluster.KMeans(algorithm="elkan", **options),
    }
    times: dict[str, list[float]] = {name: [] for name in makers}
    models: dict[str, list[Any]] = {name: [] for name in makers}
    for seed in range(-3, rounds):
        for name, maker in makers.items():
            model = maker(**parameters(X, k, mode, abs(seed)))
            os.environ["KMEANS_XP_NUMBA"] = str(int(name.endswith("compiled")))
            start = time.process_time()
            model.fit(X)
            seconds = time.process_time() - start
            if seed >= 0:  # before, caches fill
                times[name].append(seconds * 1e3)
                models[name].append(model)
    return {
        name: {
            "ms median": round(statistics.median(times[name]), 3),
            "iterations mean": round(statistics.mean(model.n_iter_ for model in found), 1),
            "inertia mean": statistics.mean(float(model.inertia_) for model in found),
        }
        for name, found in models.items()
    }


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    report: dict[str, Any] = {**header("small.py"), "fits": {}}
    for name, (X, k) in cases().items():
        for mode in ("given rows", "default"):
            found = compare(X, k, mode, arguments.rounds)
            report["fits"][f"{name}, {mode}"] = found
            figures = (f"{who} {facts['ms median']:.2f} ms" for who, facts in found.items())
            print(f"{name}, {mode}:", ", ".join(figures), flush=True)
    write(report, arguments.out)


if __name__ == "__main__":
    main()
