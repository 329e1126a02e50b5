"""Where to begin: plain runs and searches from each start, over seeds.

    OMP_NUM_THREADS=1 KMEANS_XP_NUMBA=1 KMEANS_XP_DATA=... python benchmarks/starts.py \
        [--seeds 20] [--sets "s2;a1;digits"] [--out starts.json]

For each set and start: the mean inertia of a plain run and of ``search="auto"`` from it, as a ratio
to the least that was found, and the mean of the processor seconds of each.  k-means++ draws two and
the logarithm of k candidates for a center (as by default), or 3 and 10 times as many; a search
from those is none of the library's choices and is not measured.
"""

from __future__ import annotations

import argparse
import math
import pathlib
import statistics
import time
from typing import Any

from _data import Rows
from _report import header, write
from search import cases

from kmeans_xp import KMeans, kmeans_plusplus


def more_candidates(times: int) -> Any:
    """An ``init`` that draws so many times the usual number of candidates."""

    def init(X: Rows, n_clusters: int, random_state: Any) -> Rows:
        trials = times * (2 + int(math.log(n_clusters)))
        seed = random_state.randint(2**31 - 1)
        return kmeans_plusplus(X, n_clusters, random_state=seed, n_local_trials=trials)[0]

    return init


WAYS: dict[str, dict[str, Any]] = {
    "k-means++": {"search": None},
    "k-means++, candidates x 3": {"init": more_candidates(3), "n_init": 1},
    "k-means++, candidates x 10": {"init": more_candidates(10), "n_init": 1},
    "k-means||": {"init": "k-means||", "search": None},
    "random": {"init": "random", "n_init": 1},
    "k-means++ and search": {"search": "auto"},
    "k-means|| and search": {"init": "k-means||", "search": "auto"},
    "random (10) and search": {"init": "random", "search": "auto"},
}


def compare(X: Rows, k: int, seeds: int) -> dict[str, Any]:
    """All ways on one set, in turn."""
    inertia: dict[str, list[float]] = {way: [] for way in WAYS}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    KMeans(k, random_state=0, search="auto").fit(X)
    for seed in range(seeds):
        for way, options in WAYS.items():
            began = time.process_time()
            model = KMeans(k, random_state=seed, **options).fit(X)
            seconds[way].append(time.process_time() - began)
            inertia[way].append(model.inertia_)
    least = min(min(found) for found in inertia.values())
    return {
        way: {
            "inertia ratio mean": round(statistics.mean(inertia[way]) / least, 5),
            "s mean": round(statistics.mean(seconds[way]), 5),
        }
        for way in WAYS
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--sets", default="s2;a1;digits", help="beginnings of names")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    report: dict[str, Any] = {**header("starts.py"), "sets": {}}
    for name, (make, k) in cases(quick=False).items():
        if name.startswith(tuple(arguments.sets.split(";"))):
            report["sets"][name] = found = compare(make(), k, arguments.seeds)
            print(name, *(f"\n  {way}: {list(values.values())}" for way, values in found.items()))
            write(report, arguments.out)


if __name__ == "__main__":
    main()
