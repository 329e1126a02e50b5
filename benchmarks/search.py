"""How good is the optimum for its time: the search beside plain starts and scikit-learn's.

    OMP_NUM_THREADS=1 KMEANS_XP_DATA=... python benchmarks/search.py [--quick] [--seeds 20] \
        [--out benchmarks/results/search.json]

For each data set and way: the mean and the largest inertia over the seeds, as a ratio to the
reference (where labels are known Lloyd's loop from the labelled means, else the least that any
way found); the share of seeds with centroid index 0; processor seconds, the mean of a fit.  The
ways take turns, seed by seed.
"""

from __future__ import annotations

import argparse
import gzip
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn.cluster
from _data import DATA, Rows, digits, iris, no_table, spectrum, table, wine
from _report import header, write

from kmeans_xp import KMeans
from kmeans_xp.metrics import centroid_index

WAYS: dict[str, Callable[[int, int], Any]] = {
    "kmeans_xp": lambda k, seed: KMeans(k, random_state=seed),
    "kmeans_xp, search=auto": lambda k, seed: KMeans(k, random_state=seed, search="auto"),
    "kmeans_xp, search=100": lambda k, seed: KMeans(k, random_state=seed, search=100),
    "scikit-learn, n_init=1": lambda k, seed: sklearn.cluster.KMeans(
        k, n_init=1, random_state=seed
    ),
    "scikit-learn, n_init=10": lambda k, seed: sklearn.cluster.KMeans(
        k, n_init=10, random_state=seed
    ),
}
BATTERY = {"s1": 15, "s2": 15, "a1": 20, "unbalance": 8, "birch1": 100}


def photo() -> Rows:
    """The pixels of scikit-learn's sample photo."""
    from sklearn.datasets import load_sample_image

    return load_sample_image("china.jpg").reshape(-1, 3).astype(np.float64)


def cases(*, quick: bool) -> dict[str, tuple[Callable[[], Rows], int]]:
    """What makes the rows, and the number of clusters."""
    found: dict[str, tuple[Callable[[], Rows], int]] = {}
    for name, k in BATTERY.items():
        if no_table(name) is None and not (quick and name == "birch1"):
            found[name] = (lambda name=name: table(name)), k
    found["iris"] = (lambda: iris(150, 4, 3, "float64")), 3
    found["wine"] = (lambda: wine(178, 13, 3, "float64")), 3
    for k in (10, 30, 100):
        found[f"digits, k={k}"] = (lambda k=k: digits(1797, 64, k, "float64")), k
    if not quick:
        for k in (16, 64, 256):
            found[f"photo, k={k}"] = photo, k
        for k in (100, 1000):
            found[f"spectrum 50k x 128, k={k}"] = (
                (lambda k=k: spectrum(50_000, 128, k, "float32")),
                k,
            )
    return found


def true_means(name: str, X: Rows) -> Rows | None:
    """The means of the labelled clusters, where there are labels."""
    if name not in BATTERY:
        return None
    with gzip.open(pathlib.Path(os.environ[DATA]) / f"{name}.labels0.gz", "rt") as file:
        labels = np.loadtxt(file)
    return np.stack([X[labels == label].mean(axis=0) for label in range(1, BATTERY[name] + 1)])


def compare(name: str, X: Rows, k: int, seeds: int) -> dict[str, Any]:
    """All ways on one set; a fit of each before fills caches and does not count."""
    inertia: dict[str, list[float]] = {way: [] for way in WAYS}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    right: dict[str, list[bool]] = {way: [] for way in WAYS}
    true = true_means(name, X)
    for make in WAYS.values():
        make(k, seeds).fit(X)
    for seed in range(seeds):
        for way, make in WAYS.items():
            began = time.process_time()
            model = make(k, seed).fit(X)
            seconds[way].append(time.process_time() - began)
            inertia[way].append(float(model.inertia_))
            if true is not None:
                right[way].append(centroid_index(model.cluster_centers_, true) == 0)
    least = min(min(found) for found in inertia.values())
    if true is not None:
        least = KMeans(k, init=true, n_init=1, tol=0).fit(X).inertia_
    return {
        "reference inertia": least,
        **{
            way: {
                "inertia ratio mean": round(statistics.mean(inertia[way]) / least, 5),
                "inertia ratio max": round(max(inertia[way]) / least, 5),
                "centroid index 0": statistics.mean(right[way]) if right[way] else None,
                "s mean": round(statistics.mean(seconds[way]), 4),
            }
            for way in WAYS
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="the small sets alone")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    report: dict[str, Any] = {**header("search.py"), "sets": {}}
    for name, (make, k) in cases(quick=arguments.quick).items():
        found = compare(name, make(), k, arguments.seeds)
        report["sets"][name] = found
        print(name, f"reference {found['reference inertia']:.6g}")
        for way in WAYS:
            print(f"  {way}: {found[way]}", flush=True)
    write(report, arguments.out)


if __name__ == "__main__":
    main()
