"""Rows on a dask cluster: beside the same fit in memory, and beside dask-ml on the same cluster.

    python benchmarks/dask_cluster.py [--rows 5000000] [--features 16] [--clusters 32] \
        [--partitions 8] [--iterations 20] [--repeats 3] [--keep-pages] \
        [--out benchmarks/results/dask.json]

All start from the same rows and make the same number of iterations, in turns.  The cluster has two
workers of one thread each, and the rows are float32 and held by it.  For each way: wall seconds and
processor seconds (of this process, the scheduler and the workers), the least of the repeats, and
the inertia.  A pass that does nothing shows what a block costs beside its work.  dask-ml is left
out where it is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import dask
import dask.array as da
import numpy as np
from _data import blobs
from _report import header, write
from distributed import Client, LocalCluster

from kmeans_xp import KMeans
from kmeans_xp._backend import numpy_context
from kmeans_xp._dask import DaskSource
from kmeans_xp._dask_input import make_partitions

_EMPTY_PASSES = 20
_ALLOCATOR = "distributed.nanny.pre-spawn-environ"
_THRESHOLDS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


def processor_seconds(client: Client) -> float:
    """Of this process, where the scheduler is too, and of the workers."""
    workers = client.run(lambda: sum(os.times()[:2]))
    return sum(workers.values()) + time.process_time()


def empty_pass(client: Client, rows: Any) -> dict[str, float]:
    """Milliseconds a block of a pass whose tasks do nothing."""
    source = DaskSource(
        make_partitions(rows, None, None), numpy_context(), block_rows=1 << 30, piece_rows=4096
    )
    with source.working():
        source.map(lambda block: block.n_rows)
        began, used = time.perf_counter(), processor_seconds(client)
        for _ in range(_EMPTY_PASSES):
            source.map(lambda block: block.n_rows)
        count = _EMPTY_PASSES * len(source.blocks)
        return {
            "processor ms a block": 1e3 * (processor_seconds(client) - used) / count,
            "wall ms a block": 1e3 * (time.perf_counter() - began) / count,
        }


def ways(x: Any, rows: Any, start: Any, iterations: int) -> dict[str, Callable[[], Any]]:
    """What is compared; each returns its centers."""
    k = len(start)

    def ours(given: Any, init: Any) -> Any:
        model = KMeans(k, init=init, n_init=1, max_iter=iterations, tol=0, random_state=0)
        return model.fit(given).cluster_centers_

    found = {
        "in memory": lambda: ours(x, start),
        "dask": lambda: ours(rows, start),
        "in memory, k-means||": lambda: ours(x, "k-means||"),
        "dask, k-means||": lambda: ours(rows, "k-means||"),
        # as many iterations as it takes, and a search
        "dask, defaults": lambda: KMeans(k, random_state=0).fit(rows).cluster_centers_,
    }
    if importlib.util.find_spec("dask_ml") is not None:
        from dask_ml.cluster import KMeans as Theirs

        def theirs(init: Any) -> Any:
            return Theirs(k, init=init, max_iter=iterations, tol=0.0, random_state=0).fit(rows)

        found["dask-ml"] = lambda: theirs(start).cluster_centers_
        found["dask-ml, k-means||"] = lambda: theirs("k-means||").cluster_centers_
    return found


def measure(
    client: Client, ways: dict[str, Callable[[], Any]], x: Any, repeats: int
) -> dict[str, dict[str, float]]:
    """All ways in turns; a first round fills caches and does not count."""
    wall: dict[str, list[float]] = {way: [] for way in ways}
    used: dict[str, list[float]] = {way: [] for way in ways}
    centers = {}
    for repeat in range(repeats + 1):
        for way, fit in ways.items():
            began, before = time.perf_counter(), processor_seconds(client)
            centers[way] = fit()
            if repeat:
                wall[way].append(time.perf_counter() - began)
                used[way].append(processor_seconds(client) - before)
    return {
        way: {
            "wall s": round(min(wall[way]), 3),
            "processor s": round(min(used[way]), 3),
            "inertia": inertia(x, centers[way]),
        }
        for way in ways
    }


def inertia(x: Any, centers: Any) -> float:
    """Of the rows under any centers, by one yardstick for all."""
    model = KMeans(len(centers), init=centers, max_iter=1).fit(centers)
    model.cluster_centers_ = np.asarray(centers, dtype=x.dtype)
    return -model.score(x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--features", type=int, default=16)
    parser.add_argument("--clusters", type=int, default=32)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--keep-pages",
        action="store_true",
        help="let workers keep memory that they will need again, which dask's defaults do not",
    )
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    x = blobs(arguments.rows, arguments.features, arguments.clusters, "float32")
    start = x[np.random.default_rng(0).choice(len(x), arguments.clusters, replace=False)]
    report: dict[str, Any] = header("dask_cluster.py")
    kept = {f"{_ALLOCATOR}.{name}": 1 << 28 for name in _THRESHOLDS} if arguments.keep_pages else {}
    with (
        dask.config.set(kept),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        chunks = -(-len(x) // arguments.partitions), arguments.features
        rows = da.from_array(x, chunks=chunks).persist()
        report["a pass without work"] = empty_pass(client, rows)
        compared = ways(x, rows, start, arguments.iterations)
        report["fits"] = measure(client, compared, x, arguments.repeats)
    print(report["a pass without work"])
    for way, found in report["fits"].items():
        print(f"{way}: {found}")
    write(report, arguments.out)


if __name__ == "__main__":
    main()
