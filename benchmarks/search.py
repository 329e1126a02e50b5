"""How good is the optimum for its time: the search, other starts and libraries side by side.

    OMP_NUM_THREADS=1 KMEANS_XP_NUMBA=1 KMEANS_XP_DATA=... python benchmarks/search.py \
        [--quick] [--seeds 20] [--limit 60] [--out search.json] [--plot search.png]

For each data set and way: the mean and the largest inertia over the seeds, as a ratio to the
reference (where labels are known Lloyd's loop from the labelled means, else the least that any
way found); the share of seeds with centroid index 0; processor seconds, the mean of a fit.  The
ways take turns, seed by seed; one that took ``--limit`` seconds in all has fewer seeds, and one
whose first fit would take three times that by the time of a single start has none.  "equal time"
is scikit-learn with the least number of starts that takes as long as ``search="auto"``.  faiss
works in float32 and does not stop by itself: 50 iterations, all rows.  The file is written
after each set, with the command and the date; a set that it holds is not measured again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import pathlib
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn.cluster
from _breathing import Breathing
from _data import DATA, Rows, digits, iris, no_table, spectrum, table, wine
from _report import header, write
from _search_picture import draw

from kmeans_xp import KMeans
from kmeans_xp.metrics import centroid_index

Way = Callable[[Rows, int, int], tuple[float, Rows]]
PLAIN, AUTO = "kmeans_xp", "kmeans_xp, search=auto"
ONE, TEN, EQUAL = "scikit-learn, n_init=1", "scikit-learn, n_init=10", "scikit-learn, equal time"
BATTERY = {"s1": 15, "s2": 15, "a1": 20, "unbalance": 8, "birch1": 100}
_TENFOLD = {TEN: ONE, "faiss, nredo=10": "faiss, nredo=1"}


def ours(**options: Any) -> Way:
    """A way of this library."""

    def fit(X: Rows, k: int, seed: int) -> tuple[float, Rows]:
        model = KMeans(k, random_state=seed, **options).fit(X)
        return model.inertia_, model.cluster_centers_

    return fit


def scikit_learn(n_init: int) -> Way:
    """scikit-learn's KMeans."""

    def fit(X: Rows, k: int, seed: int) -> tuple[float, Rows]:
        model = sklearn.cluster.KMeans(k, n_init=n_init, random_state=seed).fit(X)
        return float(model.inertia_), model.cluster_centers_

    return fit


def breathing(X: Rows, k: int, seed: int) -> tuple[float, Rows]:
    """The candidate that was not taken."""
    model = Breathing(k, random_state=seed).fit(X)
    return model.inertia_, model.cluster_centers_


def faiss_kmeans(nredo: int) -> Way:
    """The Kmeans of faiss; its inertia is measured in float64 after the time is taken."""

    def fit(X: Rows, k: int, seed: int) -> tuple[float, Rows]:
        import faiss

        x = np.ascontiguousarray(X, dtype=np.float32)
        most = {"max_points_per_centroid": len(x), "min_points_per_centroid": 1}
        model = faiss.Kmeans(x.shape[1], k, niter=50, nredo=nredo, seed=seed + 1, **most)
        model.train(x)
        return math.nan, model.centroids

    return fit


def bkmeans_fit(X: Rows, k: int, seed: int) -> tuple[float, Rows]:
    """Fritzke's own package, on scikit-learn's KMeans."""
    import bkmeans

    model = bkmeans.BKMeans(n_clusters=k, random_state=seed).fit(X)
    return float(model.inertia_), model.cluster_centers_


WAYS: dict[str, Way] = {
    PLAIN: ours(search=None),
    AUTO: ours(search="auto"),
    "kmeans_xp, search=100": ours(search=100),
    "breathing": breathing,
    ONE: scikit_learn(1),
    TEN: scikit_learn(10),
    "faiss, nredo=1": faiss_kmeans(1),
    "faiss, nredo=10": faiss_kmeans(10),
    "bkmeans": bkmeans_fit,
}


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


class Record:
    """The fits of one way on one set."""

    def __init__(self) -> None:
        self.inertia: list[float] = []
        self.seconds: list[float] = []
        self.right: list[bool] = []
        self.skipped: str | None = None

    def take(self, way: Way, X: Rows, k: int, seed: int, true: Rows | None) -> None:
        """One fit."""
        began = time.process_time()
        try:
            inertia, centers = way(X, k, seed)
        except ImportError as error:
            self.skipped = str(error)
            return
        self.seconds.append(time.process_time() - began)
        if math.isnan(inertia):
            inertia = inertia_of(X, centers)
        self.inertia.append(inertia)
        if true is not None:
            self.right.append(centroid_index(centers.astype(np.float64), true) == 0)

    def summary(self, least: float) -> dict[str, Any]:
        """What is stored."""
        if not self.seconds:
            return {"skipped": self.skipped}
        return {
            "inertia ratio mean": round(statistics.mean(self.inertia) / least, 6),
            "inertia ratio max": round(max(self.inertia) / least, 6),
            "centroid index 0": statistics.mean(self.right) if self.right else None,
            "s mean": round(statistics.mean(self.seconds), 5),
            "seeds": len(self.seconds),
        }


def inertia_of(X: Rows, centers: Rows) -> float:
    """Summed squared distances to the nearest center, by a float64 product that is centered."""
    middle = X.mean(axis=0, dtype=np.float64)
    centers = centers.astype(np.float64) - middle
    norms, total = (centers**2).sum(axis=1), 0.0
    for start in range(0, len(X), 8192):
        x = X[start : start + 8192].astype(np.float64) - middle
        near = (norms[None, :] - 2.0 * (x @ centers.T)).argmin(axis=1)
        total += float(((x - centers[near]) ** 2).sum())
    return total


def compare(
    name: str, X: Rows, k: int, seeds: int, limit: float, without: list[str]
) -> dict[str, Any]:
    """All ways on one set; fits before that fill caches do not count."""
    true = true_means(name, X)
    ways, records = dict(WAYS), {way: Record() for way in WAYS}
    for way in without:
        records[way].skipped = "left out"
    ways[ONE](X[: max(2000, 5 * k)], k, seeds)
    for way in (PLAIN, AUTO):
        # loops for so many rows are compiled or loaded
        ways[way](X, k, seeds)
    n_init = 1
    for seed in range(seeds):
        for way, fit in list(ways.items()):
            record = records[way]
            if record.skipped or sum(record.seconds) > limit:
                continue
            single = records.get(_TENFOLD.get(way, ""))
            if single and single.seconds and 10 * single.seconds[0] > 3 * limit:
                record.skipped = f"ten starts would take {10 * single.seconds[0]:.0f} s"
                continue
            record.take(fit, X, k, seed, true)
        if seed == 0:
            n_init = starts_in_time(records)
            ways[EQUAL], records[EQUAL] = scikit_learn(n_init), Record()
            records[EQUAL].take(ways[EQUAL], X, k, seed, true)
    least = min(min(record.inertia) for record in records.values() if record.inertia)
    if true is not None:
        least = KMeans(k, init=true, n_init=1, tol=0).fit(X).inertia_
    return {
        "reference inertia": least,
        "starts of equal time": n_init,
        "ways": {way: record.summary(least) for way, record in records.items()},
    }


def starts_in_time(records: dict[str, Record]) -> int:
    """The least number of scikit-learn's starts that takes as long as the search."""
    most = statistics.mean(records[AUTO].seconds)
    one, ten = records[ONE].seconds[0], records[TEN].seconds
    each = (ten[0] - one) / 9 if ten else one
    return max(1, math.ceil(1 + (most - one) / max(each, 1e-4)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--limit", type=float, default=60, help="seconds of a way on a set")
    parser.add_argument("--quick", action="store_true", help="the small sets alone")
    parser.add_argument("--only", default="", help="sets of these names: a;b")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--plot", type=pathlib.Path)
    parser.add_argument("--without", default="", help="ways that are left out: a;b")
    parser.add_argument("--replot", action="store_true", help="draw the stored results alone")
    arguments = parser.parse_args()
    # scikit-learn and bkmeans warn of what they know about themselves
    warnings.simplefilter("ignore")
    report: dict[str, Any] = {**header("search.py"), "sets": {}}
    if arguments.out and arguments.out.exists():
        stored = json.loads(arguments.out.read_text(encoding="utf-8"))
        report = stored if arguments.replot else {**report, "sets": stored["sets"]}
    for name, (make, k) in cases(quick=arguments.quick).items():
        only = arguments.only.split(";")
        wanted = only == [""] or name in only or name.split(",")[0] in only
        if arguments.replot or name in report["sets"] or not wanted:
            continue
        without = [way for way in WAYS if way in arguments.without.split(";")]
        found = compare(name, make(), k, arguments.seeds, arguments.limit, without)
        report["sets"][name] = {"command": report["command"], "date": report["date"], **found}
        print(name, f"reference {found['reference inertia']:.8g}")
        for way, values in found["ways"].items():
            print(f"  {way}: {list(values.values())}", flush=True)
        write(report, arguments.out)
    if arguments.plot:
        draw(report, arguments.plot)


if __name__ == "__main__":
    main()
