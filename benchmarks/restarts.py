"""What restarts share: one fit with ``n_init=10`` beside ten fits of one start each.

    OMP_NUM_THREADS=1 python benchmarks/restarts.py [--rounds 5] [--out FILE.json]

Processor time, since other work on the machine disturbs it least; both sides take turns.  The
ten fits have seeds of their own, so that iterations differ somewhat: their number stands beside.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import time
from typing import Any

from _data import Rows, blobs, iris
from _report import header, write

from kmeans_xp import KMeans

_STARTS = 10


def cases() -> dict[str, tuple[Rows, int]]:
    """Rows and number of clusters."""
    return {
        "iris 150 x 4, k=3": (iris(150, 4, 3, "float64"), 3),
        "blobs 10k x 8, k=20": (blobs(10_000, 8, 20, "float64"), 20),
        "blobs 100k x 16, k=32": (blobs(100_000, 16, 32, "float32"), 32),
        "blobs 30k x 256, k=64": (blobs(30_000, 256, 64, "float32"), 64),
    }


def compare(X: Rows, k: int, rounds: int) -> dict[str, Any]:
    """Seconds of both ways; the first round fills caches and does not count."""
    together, apart = [], []
    for seed in range(rounds + 1):
        start = time.process_time()
        KMeans(k, n_init=_STARTS, max_iter=20, tol=0, random_state=seed).fit(X)
        middle = time.process_time()
        for one in range(_STARTS):
            number = _STARTS * seed + one
            KMeans(k, n_init=1, max_iter=20, tol=0, random_state=number).fit(X)
        together.append(middle - start)
        apart.append(time.process_time() - middle)
    once, each = (statistics.median(found[1:]) for found in (together, apart))
    return {
        "n_init=10, s": round(once, 4),
        "ten fits, s": round(each, 4),
        "ratio": round(once / each, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    report: dict[str, Any] = {**header("restarts.py"), "fits": {}}
    for name, (X, k) in cases().items():
        report["fits"][name] = compare(X, k, arguments.rounds)
        print(f"{name}: {report['fits'][name]}", flush=True)
    write(report, arguments.out)


if __name__ == "__main__":
    main()
