"""The speed floor: this library beside scikit-learn on the same data, in one process.

    python benchmarks/floor.py [--rounds 15] [--out benchmarks/results/floor.json]

Fits alternate (ours, theirs, ours, ...), so that a drifting machine hurts both alike; the
ratio is taken pair by pair.  Inertia and iterations stand beside each time.  Peak memory is
measured in a child process (Linux): the high-water mark of the fit above that after the
imports and a tiny fit.
The set s1 is read from the folder that KMEANS_XP_DATA names, and left out without it.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
from _data import blobs, no_table, table
from _report import header, write

MIB = 1 << 20
_MEMORY_CHILD = """
import pathlib, re, sys
import numpy as np
import sklearn.cluster
import kmeans_xp
def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])
model = {library}(n_clusters={k}, n_init=1, max_iter=10, random_state=0)
model.fit(np.random.default_rng(0).normal(size=(2000 + 2 * {k}, 4)).astype("{dtype}"))
before = peak()
X = np.load(sys.argv[1])
model.fit(X)
print((peak() - before) * 1024)
"""


def cases() -> dict[str, tuple[np.ndarray[Any, Any], dict[str, Any]]]:
    """Data sets and the parameters of both libraries."""
    from sklearn.datasets import load_iris

    big = blobs(500_000, 16, 32, "float32")
    found: dict[str, tuple[np.ndarray[Any, Any], dict[str, Any]]] = {
        "iris, k=3": (load_iris().data, {"n_clusters": 3}),
        "blobs 500k x 16 f4, k=32, whole fit": (big, {"n_clusters": 32}),
        "blobs 500k x 16 f4, k=32, 30 iterations from given centers": (
            big,
            {"n_clusters": 32, "init": big[:32], "n_init": 1, "max_iter": 30, "tol": 0},
        ),
    }
    if no_table("s1") is None:
        found["s1, k=15"] = (table("s1"), {"n_clusters": 15})
    return found


def fit_seconds(cls: Any, X: Any, params: dict[str, Any], seed: int) -> tuple[float, Any]:
    """Time one fit."""
    start = time.perf_counter()
    model = cls(random_state=seed, **params).fit(X)
    return time.perf_counter() - start, model


def compare(X: Any, params: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Alternate the two libraries; each round has its own seed, the same for both."""
    import sklearn.cluster

    import kmeans_xp

    both = {"kmeans_xp": kmeans_xp.KMeans, "scikit-learn": sklearn.cluster.KMeans}
    times: dict[str, list[float]] = {name: [] for name in both}
    models: dict[str, list[Any]] = {name: [] for name in both}
    for cls in both.values():
        fit_seconds(cls, X, params, 0)
    for seed in range(rounds):
        for name, cls in both.items():
            seconds, model = fit_seconds(cls, X, params, seed)
            times[name].append(seconds)
            models[name].append(model)
    pairs = zip(times["kmeans_xp"], times["scikit-learn"], strict=True)
    ratios = [ours / theirs for ours, theirs in pairs]
    result: dict[str, Any] = {
        "ratio median": round(statistics.median(ratios), 3),
        "ratio min": round(min(ratios), 3),
        "ratio max": round(max(ratios), 3),
    }
    for name, found in models.items():
        result[name] = {
            "ms median": round(statistics.median(times[name]) * 1e3, 3),
            "iterations mean": round(statistics.mean(model.n_iter_ for model in found), 2),
            "inertia mean": statistics.mean(float(model.inertia_) for model in found),
        }
    return result


def peak_memory(n: int, d: int, k: int, dtype: str) -> dict[str, Any]:
    """Peak of a fit above interpreter and imports, data included, in MiB."""
    X = blobs(n, d, k, dtype)
    result: dict[str, Any] = {
        "data MiB": round(X.nbytes / MIB, 1),
        "limit MiB": round(1.3 * X.nbytes / MIB + 64, 1),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "X.npy"
        np.save(path, X)
        del X
        for library in ("kmeans_xp.KMeans", "sklearn.cluster.KMeans"):
            code = _MEMORY_CHILD.format(library=library, k=k, dtype=dtype)
            child = subprocess.run(
                [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
            )
            result[f"{library} MiB"] = round(int(child.stdout) / MIB, 1)
    return result


def main() -> None:
    os.environ["KMEANS_XP_NUMBA"] = "0"  # the floor is that of the plain NumPy path
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    report: dict[str, Any] = {**header("floor.py"), "times": {}, "peak memory": {}}
    for name, (X, params) in cases().items():
        small = len(X) < 100_000
        report["times"][name] = compare(X, params, arguments.rounds * (4 if small else 1))
        print(name, json.dumps(report["times"][name], indent=2), flush=True)
    for shape in (
        (500_000, 16, 32, "float32"),
        (200_000, 64, 100, "float64"),
        (50_000, 768, 50, "float32"),
        (8_000, 768, 1000, "float32"),
    ):
        name = "blobs {} x {}, k={}, {}".format(*shape)
        report["peak memory"][name] = peak_memory(*shape)
        print(name, report["peak memory"][name], flush=True)
    write(report, arguments.out)


if __name__ == "__main__":
    main()
