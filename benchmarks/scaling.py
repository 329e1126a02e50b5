"""What a pass costs over many workers: constants measured here, a model of them, and its check.

    KMEANS_XP_NUMBA=0 OMP_NUM_THREADS=1 python benchmarks/scaling.py [--rows 400000] [--rounds 5]
        [--out FILE.json]

A full pass (labels without bounds, sums, merge) over P partitions of r rows on W workers takes

    T = t0 + P t + ceil(P / W) (k d a + d b) r + W k d 4 c + L min(P, 8) S m

with ``a`` seconds a row, cluster and feature, ``b`` a row and feature, ``t`` a task's time with
scheduler and client, ``c`` a byte of the pass that each worker gets, and ``m`` a byte of the
S = 8 w k (d l + 1) bytes of sums (w words, l limbs) that is sent, and added, in each of the
L = ceil(log8 P) levels of the tree.  ``a`` and ``b`` are learnt from passes over rows in memory,
the rest from tasks that do nothing else; then the model is held against passes that taught it
nothing.  On the clock: waiting is part of it.  The last table puts constants of a GPU that are
assumed, not measured, beside those of dask that are.
"""

from __future__ import annotations

import argparse
import functools
import math
import pathlib
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import dask
import dask.array as da
import numpy as np
from _report import header, write
from distributed import Client, LocalCluster

from kmeans_xp import KMeans
from kmeans_xp._dask import DaskSource
from kmeans_xp._passes import sweep
from kmeans_xp._problem import Training, training_problem
from kmeans_xp._pruning import Pruner
from kmeans_xp._sources import MemorySource
from kmeans_xp.estimators._dask_rows import DaskRows
from kmeans_xp.estimators._place import place_of

# workers keep the pages that they freed: what that saves is no part of the model
ALLOCATOR = {
    f"distributed.nanny.pre-spawn-environ.{name}": 1 << 28
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
}
D = 16
FAN_IN = 8
LEARNT = ((16, 1.0), (64, 1.0), (256, 0.5), (1024, 0.25))
CHECKED = ((32, 1, 4), (128, 1, 4), (128, 2, 4), (128, 2, 16), (512, 2, 4), (512, 2, 8))
WORKERS = (1, 8, 64, 512)
GPU = {
    "products a second": 4e14,  # assumed: less than half of what the data sheet of an H100 promises
    "bytes of rows a second": 2e12,  # assumed: rows on the device, two thirds of its memory's rate
}


@dataclass(frozen=True)
class Constants:
    """Seconds, as the text above names them."""

    a: float
    b: float
    t0: float
    t: float
    c: float
    m: float


def pass_seconds(
    found: Constants, n: float, d: int, k: int, *, workers: int, partitions: int, sums: int
) -> dict[str, float]:
    """The model; ``sums`` is S in bytes."""
    turns, rows = math.ceil(partitions / workers), n / partitions
    levels = max(1, math.ceil(math.log(partitions, FAN_IN)))
    parts = {
        "rows": turns * rows * (k * d * found.a + d * found.b),
        "tasks": found.t0 + partitions * found.t,
        "centers": workers * 4.0 * k * d * found.c,
        "merge": levels * min(partitions, FAN_IN) * sums * found.m,
    }
    return {**parts, "all": sum(parts.values())}


def seconds(task: Callable[[], object], rounds: int) -> float:
    """Median on the clock; the first call does not count."""
    task()
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        task()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def slope(by_size: dict[float, float]) -> tuple[float, float]:
    """Where a line through the points starts, and how it rises."""
    rise, start = np.polyfit(list(by_size), list(by_size.values()), 1)
    return float(start), max(float(rise), 0.0)


def full_pass(problem: Training, k: int) -> Callable[[], object]:
    """Labels of all rows without bounds, and the sums of all rows."""
    problem.pruner = Pruner(False, problem.context.xp, 0)
    centers = problem.source.take(list(range(k)))
    problem.cover(centers)

    def task() -> object:
        problem.source.forget("labels")
        return sweep(problem, problem.nearest_to(centers), k)

    return task


def rates(n: int, rounds: int) -> tuple[float, float, list[dict[str, Any]]]:
    """a and b by least squares of relative errors, and what they come from."""
    left, seen = [], []
    for k, share in LEARNT:
        x = rows_of(int(n * share))
        problem = training_problem(x, None, place_of(x, None).work, k)
        plan = problem.plan
        problem.source = MemorySource(
            x,
            None,
            problem.context,
            block_rows=plan.block_rows,
            piece_rows=plan.piece_rows,
            threads=1,
        )
        took = seconds(full_pass(problem, k), rounds)
        cells = len(x) * D
        left.append([cells * k / took, cells / took])
        seen.append({"k": k, "rows": len(x), "seconds": round(took, 4)})
    found, *_ = np.linalg.lstsq(np.asarray(left), np.ones(len(left)), rcond=None)
    return max(float(found[0]), 0.0), max(float(found[1]), 0.0), seen


def rows_of(n: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).random((n, D), dtype=np.float32)


def problem_of(x: Any, k: int, partitions: int) -> Training:
    """The problem of rows held by the workers."""
    lazy = da.from_array(x, chunks=(math.ceil(len(x) / partitions), D))
    problem = DaskRows(KMeans(k), lazy, None, None, reset=True).training(
        k, who="KMeans", variance=False
    )
    assert isinstance(problem.source, DaskSource)
    problem.source.groups = None  # the model counts a task for each partition
    return problem


def overheads(rounds: int) -> tuple[float, float, float, float]:
    """t0 and t, c, m, by tasks on small rows of two workers: idle, carrying, leaving sums."""
    x = rows_of(64 * 64)
    by_tasks = {}
    for partitions in (2, 16, 64):
        source = problem_of(x, 4, partitions).source
        idle = functools.partial(source.map, lambda block: None)
        by_tasks[float(partitions)] = seconds(idle, rounds)
    t0, t = slope(by_tasks)

    source = problem_of(x, 4, FAN_IN).source
    carried, left = {}, {}
    for size in (1 << 10, 1 << 20, 1 << 22):
        load = np.random.default_rng(1).random(size // 8)
        weighed = functools.partial(source.map, functools.partial(carry_along, load))
        carried[float(size)] = seconds(weighed, rounds)
        # in two words each
        summed = functools.partial(source.add_up, functools.partial(leave, size // 16), 2)
        left[float(size)] = seconds(summed, rounds)
    return t0, t, slope(carried)[1] / 2, slope(left)[1] / FAN_IN


def carry_along(load: Any, block: Any) -> int:
    return len(load)


def leave(count: int, block: Any, sums: Any) -> None:
    sums.add(np.ones((count, 1), dtype=np.int64), block.n_rows)


def sums_of(problem: Training, k: int) -> int:
    return 8 * problem.ledger.words * k * problem.ledger.n_columns


def checks(found: Constants, n: int, rounds: int, workers: int) -> list[dict[str, Any]]:
    """Passes over dask beside what the model says of them."""
    lines = []
    for k, count, partitions in CHECKED:
        if count != workers:
            continue
        problem = problem_of(rows_of(n), k, partitions)
        took = seconds(full_pass(problem, k), rounds)
        said = pass_seconds(
            found, n, D, k, workers=count, partitions=partitions, sums=sums_of(problem, k)
        )
        lines.append(
            {"k": k, "workers": count, "partitions": partitions, "seconds": round(took, 4)}
            | {"model": round(said["all"], 4), "ratio": round(took / said["all"], 2)}
        )
        print(lines[-1])
    return lines


def projected(found: Constants) -> list[dict[str, Any]]:
    """A billion rows x 128, k=10,000: GPUs as assumed, dask as measured here."""
    n, d, k = 1_000_000_000, 128, 10_000
    gpu = Constants(
        2.0 / GPU["products a second"],
        4.0 / GPU["bytes of rows a second"],
        found.t0,
        found.t,
        found.c,
        found.m,
    )
    lines = []
    for workers in WORKERS:
        # two words, two limbs; two partitions a worker
        said = pass_seconds(
            gpu, n, d, k, workers=workers, partitions=2 * workers, sums=16 * k * (2 * d + 1)
        )
        lines.append({"GPUs": workers} | {name: round(value, 3) for name, value in said.items()})
        print(lines[-1])
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    report = header("scaling.py")
    a, b, seen = rates(options.rows, options.rounds)
    lines: list[dict[str, Any]] = []
    found = Constants(a, b, 0.0, 0.0, 0.0, 0.0)
    for workers in (2, 1):
        with (
            dask.config.set(ALLOCATOR),
            LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address=":0"
            ) as cluster,
            Client(cluster),
        ):
            if workers == 2:
                found = Constants(a, b, *overheads(options.rounds))
                print(found)
            lines += checks(found, options.rows, options.rounds, workers)
    report |= {
        "constants": asdict(found),
        "passes in memory": seen,
        "checks": lines,
        "assumed of a GPU": GPU,
        "a billion rows": projected(found),
    }
    if options.out is not None:
        write(report, options.out)


if __name__ == "__main__":
    main()
