"""The figures behind the thresholds of routing, on NumPy.

    python benchmarks/routing.py [--out benchmarks/results/routing.json]

Three tables: one sweep by canonical distances against one by a product (where
``first="exact"`` pays), a sweep by rows a block, and a first sweep (with its sums) by rows a
piece.  Medians in milliseconds; the plans of a row take turns.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import statistics
import time
from typing import Any

from _data import blobs
from _report import header, write

from kmeans_xp._assign import relabel
from kmeans_xp._backend import context_of, thread_count
from kmeans_xp._kernels import Plan, Shape, select
from kmeans_xp._passes import sweep
from kmeans_xp._problem import training_problem


def time_sweeps(X: Any, k: int, plans: list[Plan], rounds: int, *, sums: bool) -> list[float]:
    """Median milliseconds of a sweep (with all sums, or of labels alone) for each plan."""
    context = context_of(X)
    problems = [training_problem(X, None, context, k, plan=plan) for plan in plans]
    times: list[list[float]] = [[] for _ in plans]
    for round_number in range(rounds + 1):
        for problem, found in zip(problems, times, strict=True):
            problem.source.forget("labels")
            with problem.source.working(), context.scope():
                nearest = problem.nearest_to(X[:k])
                start = time.perf_counter()
                if sums:
                    sweep(problem, nearest, k)
                else:
                    relabel(problem, nearest)
                if round_number:
                    found.append(time.perf_counter() - start)
    return [round(statistics.median(found) * 1e3, 4) for found in times]


def plan_for(X: Any, k: int, **changes: Any) -> Plan:
    """The plan that routing makes, with changes."""
    shape = Shape(*X.shape, k, str(X.dtype))
    plan = select(shape, backend="numpy", threads=thread_count())
    return dataclasses.replace(plan, **changes)


def exact_or_product() -> dict[str, Any]:
    table = {}
    for n, d, k in ((150, 4, 3), (500, 4, 4), (1000, 4, 6), (2000, 4, 8), (5000, 2, 15)):
        X = blobs(n, d, k, "float64")
        plans = [plan_for(X, k, first=first) for first in ("exact", "float64")]
        exact, product = time_sweeps(X, k, plans, 200, sums=False)
        table[f"{n} x {d}, k={k}: n k d = {n * k * d}"] = {"exact": exact, "product": product}
    return table


def rows_a_block() -> dict[str, Any]:
    X, k = blobs(500_000, 16, 32, "float32"), 32
    sizes = (1024, 4096, 8192, 16384, 32768)
    plans = [plan_for(X, k, block_rows=size, piece_rows=min(size, 4096)) for size in sizes]
    found = time_sweeps(X, k, plans, 15, sums=False)
    return dict(zip(map(str, sizes), found, strict=True))


def rows_a_piece() -> dict[str, Any]:
    X, k = blobs(500_000, 16, 32, "float32"), 32
    sizes = (512, 1024, 2048, 4096, 8192, 16384)
    plans = [plan_for(X, k, block_rows=16384, piece_rows=size) for size in sizes]
    found = time_sweeps(X, k, plans, 7, sums=True)
    return dict(zip(map(str, sizes), found, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    report = {
        **header("routing.py"),
        "one sweep, ms, by first precision": exact_or_product(),
        "one sweep of 500k x 16 float32, k=32, ms, by rows a block": rows_a_block(),
        "first sweep with sums of the same, ms, by rows a piece": rows_a_piece(),
    }
    print(json.dumps({key: report[key] for key in list(report)[-3:]}, indent=2))
    write(report, arguments.out)


if __name__ == "__main__":
    main()
