"""Choosing k: which criterion finds the true number, and what `choose_k` takes.

    KMEANS_XP_DATA=FOLDER python benchmarks/choosing.py [--seeds 10] [--rounds 3] [--exact]
        [--part criteria|time|silhouette] [--out FILE.json]

criteria: for each set and seed the k that each criterion suggests; for uniform rows, new ones for
each seed, how often each claims more than one cluster.  ``--exact`` adds the silhouette of all
rows.
time: `choose_k` for 1 to 20 beside twenty fits of scikit-learn with one start each.  silhouette: of
20,000 rows, one clustering.  Processor time, not time on the clock (run it with
``OMP_NUM_THREADS=1``); both sides take turns, medians are given, the first call of each does not
count.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn.cluster
import sklearn.metrics
from _data import Rows, blobs, no_table, table, uniform
from _report import header, write

import kmeans_xp

SETS = {
    "s1": (15, range(1, 26)),
    "s2": (15, range(1, 26)),
    "a1": (20, range(1, 31)),
    "unbalance": (8, range(1, 17)),
    "birch1": (100, range(90, 111)),
}
NOISE = {"uniform 2000 x 2": 2, "uniform 2000 x 8": 8}
CRITERIA = (
    "elbow",
    "calinski_harabasz",
    "davies_bouldin",
    "silhouette_sampled",
    "silhouette_simplified",
    "gap",
    "bic",
)
TOP = 20


def noise(d: int, seed: int) -> Rows:
    """Uniform rows, other ones for each seed."""
    return np.random.default_rng(seed).random((2000, d))


def suggested(
    make: Callable[[int], Rows], ks: range, true: int, seeds: int, *, exact: bool
) -> dict[str, Any]:
    """How often each criterion suggests the true k, how often stably, and what it suggests."""
    names = [*CRITERIA, *(["silhouette"] if exact else [])]
    found = [
        kmeans_xp.choose_k(make(seed), ks, criteria=names, random_state=seed)
        for seed in range(seeds)
    ]
    lines: dict[str, Any] = {}
    for name in names:
        picks = [one.suggestions[name] for one in found]
        lines[name] = {
            "true k": picks.count(true),
            "true k and stable": sum(
                one.suggestions[name] == true and one.stable[name] for one in found
            ),
            "more than one cluster": sum(pick is not None and pick > 1 for pick in picks),
            "stable": sum(one.stable[name] for one in found),
            "suggestions": {str(pick): times for pick, times in Counter(picks).most_common()},
        }
    return {
        "true k": true,
        "range": f"{ks.start} to {ks.stop - 1}",
        "seeds": seeds,
        "clear structure": sum(one.has_structure is True for one in found),
        "by criterion": lines,
    }


def ours(X: Rows, seed: int, **options: Any) -> tuple[float, int]:
    found = kmeans_xp.choose_k(X, TOP, random_state=seed, **options)
    return sum(found.inertia), sum(found.n_iter)


def theirs(X: Rows, seed: int) -> tuple[float, int]:
    fits = [
        sklearn.cluster.KMeans(k, n_init=1, random_state=seed).fit(X) for k in range(1, TOP + 1)
    ]
    return sum(fit.inertia_ for fit in fits), sum(fit.n_iter_ for fit in fits)


SIDES: dict[str, Callable[[Rows, int], tuple[float, int]]] = {
    "choose_k, default (five criteria, structure)": lambda X, seed: ours(X, seed),
    "choose_k, default without structure": lambda X, seed: ours(X, seed, structure=False),
    "choose_k, elbow alone": lambda X, seed: ours(X, seed, criteria="elbow", structure=False),
    "scikit-learn, 20 fits and no criteria": theirs,
}


def timed(X: Rows, rounds: int) -> dict[str, Any]:
    """All sides in turn; seconds of the processor, the sum of the inertias, iterations."""
    times: dict[str, list[float]] = {name: [] for name in SIDES}
    clock: dict[str, list[float]] = {name: [] for name in SIDES}
    left: dict[str, list[float]] = {name: [] for name in SIDES}
    steps: dict[str, list[int]] = {name: [] for name in SIDES}
    for seed in range(rounds + 1):
        for name, side in SIDES.items():
            began, clock_began = time.process_time(), time.perf_counter()
            inertia, iterations = side(X, seed)
            times[name].append(time.process_time() - began)
            clock[name].append(time.perf_counter() - clock_began)
            left[name].append(inertia)
            steps[name].append(iterations)
    peer = statistics.median(times["scikit-learn, 20 fits and no criteria"][1:])
    return {
        name: {
            "s": round(statistics.median(times[name][1:]), 3),
            "s on the clock": round(statistics.median(clock[name][1:]), 3),
            "scikit-learn's s over this": round(peer / statistics.median(times[name][1:]), 2),
            "mean of the summed inertias": statistics.mean(left[name][1:]),
            "iterations, mean": statistics.mean(steps[name][1:]),
        }
        for name in SIDES
    }


def silhouettes(rounds: int) -> dict[str, Any]:
    """The exact silhouette of 20,000 rows of 16 features in 10 clusters."""
    X = blobs(20_000, 16, 10, "float64")
    labels = kmeans_xp.KMeans(10, search=None, random_state=0).fit_predict(X)
    sides = {
        "kmeans_xp": kmeans_xp.metrics.silhouette_score,
        "scikit-learn": sklearn.metrics.silhouette_score,
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    values: dict[str, float] = {}
    for _ in range(rounds + 1):
        for name, score in sides.items():
            began = time.process_time()
            values[name] = float(score(X, labels))
            times[name].append(time.process_time() - began)
    seconds = {name: statistics.median(spent[1:]) for name, spent in times.items()}
    return {
        **{name: {"s": round(seconds[name], 3), "silhouette": values[name]} for name in sides},
        "ratio": round(seconds["scikit-learn"] / seconds["kmeans_xp"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--part", action="append", choices=("criteria", "time", "silhouette"))
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    parts = arguments.part or ["time", "silhouette", "criteria"]
    report: dict[str, Any] = header("choosing.py")

    def keep(part: str, name: str, found: dict[str, Any]) -> None:
        report.setdefault(part, {})[name] = found
        print(f"{part}, {name}: {found}", flush=True)
        write(report, arguments.out)

    if "time" in parts:
        for make in (blobs, uniform):
            X = make(100_000, 16, 10, "float64")
            keep("time", f"{make.__name__} 100k x 16, f8", timed(X, arguments.rounds))
    if "silhouette" in parts:
        keep("silhouette", "blobs 20k x 16, f8, 10 clusters", silhouettes(arguments.rounds))
    if "criteria" in parts:
        options = {"seeds": arguments.seeds, "exact": arguments.exact}
        for name, d in NOISE.items():
            found = suggested(lambda seed, d=d: noise(d, seed), range(1, 13), 1, **options)
            keep("criteria", name, found)
        for name, (true, ks) in SETS.items():
            if (missing := no_table(name)) is not None:
                keep("criteria", name, {"left out": missing})
                continue
            X = table(name)
            keep("criteria", name, suggested(lambda _, X=X: X, ks, true, **options))


if __name__ == "__main__":
    main()
