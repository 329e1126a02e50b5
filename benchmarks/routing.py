"""The figures behind the thresholds of routing, on NumPy and in compiled loops.

    python benchmarks/routing.py [--out benchmarks/results/routing.json]

Tables: one sweep by canonical distances against one by a product (where ``first="exact"``
pays), a sweep by rows a block, a first sweep (with its sums) by rows a piece; and with numba fits
of few rows in one call against fits with bounds, and a sweep without bounds against the matrix
product that it contains.  Medians in milliseconds; the plans of a row take turns.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import pathlib
import statistics
import time
from dataclasses import replace
from typing import Any

import numpy as np
from _data import blobs, uniform
from _report import header, write

from kmeans_xp._assign import relabel
from kmeans_xp._backend import context_of
from kmeans_xp._kernels import Plan, Shape, select
from kmeans_xp._outcome import Rules
from kmeans_xp._passes import sweep
from kmeans_xp._problem import training_problem
from kmeans_xp._solver import lloyd
from kmeans_xp._threads import thread_count


def time_sweeps(X: Any, k: int, plans: list[Plan], rounds: int, *, sums: bool) -> list[float]:
    """Median milliseconds of a sweep (with all sums, or of labels alone) for each plan."""
    context = context_of(X)
    problems = [training_problem(X, None, context, k, plan=plan) for plan in plans]
    times: list[list[float]] = [[] for _ in plans]
    for round_number in range(rounds + 1):
        for problem, found in zip(problems, times, strict=True):
            problem.source.forget("labels", "bounds")
            problem.pruner.begin()
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
    return replace(plan, **changes)


def time_fits(X: Any, k: int, plans: list[Plan], rounds: int) -> list[float]:
    """Median milliseconds of a fit to convergence from given rows for each plan."""
    context, rules = context_of(X), Rules(max_iter=300, tol=0.0)
    times: list[list[float]] = [[] for _ in plans]
    for round_number in range(rounds + 1):
        for plan, found in zip(plans, times, strict=True):
            start = time.perf_counter()
            problem = training_problem(X, None, context, k, plan=plan)
            with problem.source.working(), context.scope():
                lloyd(problem, X[:k], rules, 0)
            if round_number:
                found.append(time.perf_counter() - start)
    return [round(statistics.median(found) * 1e3, 3) for found in times]


def time_products(X: Any, k: int, rounds: int) -> float:
    """Median milliseconds of the product of all rows with all centers, in pieces that it likes."""
    rows = 8192
    out, times = np.empty((rows, k), X.dtype), []
    columns = np.ascontiguousarray(X[:k].T)
    for _ in range(rounds + 1):
        start = time.perf_counter()
        for first in range(0, len(X), rows):
            part = X[first : first + rows]
            np.matmul(part, columns, out=out[: len(part)])
        times.append(time.perf_counter() - start)
    return round(statistics.median(times[1:]) * 1e3, 3)


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


def few_or_bounds() -> dict[str, Any]:
    """Compiled loops: few rows in one call, or with bounds."""
    table = {}
    shapes = [(150, 4, 3), (5_000, 2, 15), (3_000, 2, 20), (1_797, 64, 10)]
    shapes += [(10_000, 8, 20), (10_000, 16, 20), (20_000, 8, 40), (50_000, 2, 80), (4_000, 64, 32)]
    for n, d, k in shapes:
        for name, make in (("blobs", blobs), ("uniform", uniform)):
            X = make(n, d, k, "float32")
            plan = plan_for(X, k, kernel="numba", first="float32", threads=1, block_rows=n)
            plans = [replace(plan, few=few, prunes=not few) for few in (True, False)]
            few, bounds = time_fits(X, k, plans, 15)
            table[f"{name} {n} x {d}, k={k}: n k d = {n * k * d}"] = {"few": few, "bounds": bounds}
    return table


def sweep_or_product() -> dict[str, Any]:
    """Compiled loops: labels of all rows, and all that a product leaves to be done is done."""
    table = {}
    for n, d, k in (
        (50_000, 64, 256),
        (50_000, 128, 256),
        (50_000, 128, 1000),
        (20_000, 768, 1000),
    ):
        X = uniform(n, d, k, "float32")
        shape = Shape(*X.shape, k, str(X.dtype))
        plan = select(shape, backend="numpy", threads=thread_count(), compiled=True)
        (labels,) = time_sweeps(X, k, [replace(plan, prunes=False, group_size=0)], 7, sums=False)
        product = time_products(X, k, 7)
        row = {"labels": labels, "product": product, "rate": round(product / labels, 3)}
        table[f"uniform {n} x {d}, k={k}"] = row
    return table


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
    if importlib.util.find_spec("numba"):
        report["a fit, ms, few rows in one call or with bounds"] = few_or_bounds()
        report["one sweep without bounds beside its product, ms"] = sweep_or_product()
    tables = {key: value for key, value in report.items() if ", ms" in key}
    print(json.dumps(tables, indent=2))
    write(report, arguments.out)


if __name__ == "__main__":
    main()
