"""The library's inner doors, opened in one place: tests choose blocks, threads and rungs here."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from conftest import Backend
from emulator import cuda_kernel

from kmeans_xp._backend import Context, context_of
from kmeans_xp._init import seed_centers
from kmeans_xp._kernels import Plan, Shape, select
from kmeans_xp._outcome import Result, Rules
from kmeans_xp._problem import Training, training_problem
from kmeans_xp._random import Purpose, mix
from kmeans_xp._solver import LLOYD, Way, lloyd
from kmeans_xp.estimators._run import draw_seed

NO_LIMIT = Rules(max_iter=None, tol=0.0)


@contextlib.contextmanager
def opened(backend: Backend) -> Iterator[Context]:
    """The context of a backend, with its scope (JAX x64 and the like) held."""
    context = context_of(backend.array(np.zeros(1)))
    with context.scope():
        yield context


def problem_of(
    backend: Backend,
    x: Any,
    weight: Any = None,
    *,
    k: int,
    first: str | None = None,
    block_rows: int = 1 << 14,
    threads: int = 1,
    kernel: str | None = None,
    variance: bool = False,
    prunes: bool = True,
    group_size: int = 0,
    few: bool = False,
) -> Training:
    """A problem over host rows; without ``first`` the library plans for itself.

    The kernel "cuda" works on an emulated device, and on NumPy arrays.
    """
    context = context_of(backend.array(np.zeros(1)))
    plan = None
    if first is not None:
        kernel = kernel or ("numpy" if backend.id == "numpy" else "reference")
        plan = plan_of(kernel, first, block_rows, threads, prunes, group_size, few)
    weight = None if weight is None else backend.array(weight, np.float64)
    emulated = cuda_kernel() if kernel == "cuda" else None
    if emulated is not None:
        assert plan is not None
        plan = dataclasses.replace(plan, kernel="reference")
    problem = training_problem(backend.array(x), weight, context, k, variance=variance, plan=plan)
    problem.kernel = emulated or problem.kernel
    return problem


def plan_of(
    kernel: str,
    first: str,
    block_rows: int = 4096,
    threads: int = 1,
    prunes: bool = True,
    group_size: int = 0,
    few: bool = False,
) -> Plan:
    """A plan that routing would not make by itself."""
    plan = select(Shape(1, 1, 1, first), backend="numpy", threads=1)
    pieces = min(plan.piece_rows, max(block_rows // 3, 1))
    return dataclasses.replace(
        plan,
        kernel=kernel,
        first=first,
        block_rows=block_rows,
        piece_rows=pieces,
        # more than are compared at a time, where a kernel takes several blocks for one
        seeding_rows=20 * block_rows if kernel == "numpy" else block_rows,
        threads=threads,
        prunes=prunes,
        group_size=group_size,
        few=few,
    )


def solve(
    problem: Training, start: Any, rules: Rules = NO_LIMIT, seed: int = 0, way: Way = LLOYD
) -> Result:
    """Lloyd's loop from given centers."""
    with problem.source.working():
        return lloyd(problem, start, rules, seed, way=way)


def first_centers(problem: Training, name: str, k: int, random_state: int, run: int = 0) -> Any:
    """The centers at which ``KMeans(init=name, random_state=...)`` starts its run."""
    seed = draw_seed(np.random.RandomState(random_state))
    with problem.source.working():
        return seed_centers(problem, name, k, mix(seed, Purpose.RUN, run))
