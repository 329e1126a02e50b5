"""Questions about known centers: predict, transform, score."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._assign import relabel
from ._backend import Context, dtype_name, to_host
from ._passes import inertia
from ._primitives import distances_by_product
from ._problem import Problem, bring, query_problem
from ._stats import Extent, NonFiniteError, Surveyor
from ._typing import Array, Block, slices
from ._validation import first_bad_cell
from ._weight_checks import check_weight

_MOST_CELLS = 1 << 19
_SURVEYED_CELLS = 1 << 22


def prepare(
    x: Array,
    sample_weight: Any,
    centers: Array,
    middle: Sequence[float],
    context: Context,
    /,
    *,
    who: str,
) -> tuple[Problem, Array]:
    """Move rows and centers to where the work happens; refuse what has no answer."""
    weight = check_weight(sample_weight, int(x.shape[0]), context)
    n_clusters = int(centers.shape[0])
    x_there = bring(x, context, n_clusters)
    try:
        problem = query_problem(x_there, weight, context, n_clusters, middle)
    except NonFiniteError:
        first_bad_cell(x, who)
    centers = context.move(centers)
    problem.cover(centers)
    return problem, centers


def predict(problem: Problem, centers: Array, /) -> Array:
    """Exact labels (n,), int32."""

    def task() -> Array:
        _label(problem, centers)
        return problem.source.collect("labels")

    with problem.source.working():
        return problem.within_memory(task)


def inertia_of(problem: Problem, centers: Array, /) -> float:
    """Weighted inertia of the rows under the centers."""
    return labels_and_inertia(problem, centers)[1]


def labels_and_inertia(problem: Problem, centers: Array, /) -> tuple[Array, float]:
    """Exact labels, and the weighted inertia that belongs to them."""

    def task() -> tuple[Array, float]:
        _label(problem, centers)
        value = inertia(problem, problem.nearest_to(centers, screens=False))
        return problem.source.collect("labels"), value

    with problem.source.working():
        return problem.within_memory(task)


def _label(problem: Problem, centers: Array) -> None:
    relabel(problem, problem.nearest_to(centers, scale=problem.label_scale(centers)))


def distances(problem: Problem, centers: Array, /) -> Array:
    """Euclidean distances (n, k) in the rows' dtype; on the host where a GPU holds no rows."""
    xp = problem.context.xp
    away = problem.context.gpu is not None and not problem.source.is_resident
    nearest = problem.nearest_to(centers)

    def piece(x: Array) -> Array:
        squared = distances_by_product(x, nearest, dtype_name(x), xp=xp)
        return xp.astype(xp.sqrt(squared) / nearest.scale.factor, x.dtype)

    def task() -> Array:
        most_rows = max(64, min(problem.source.piece_rows, _MOST_CELLS // int(centers.shape[0])))

        def measure(block: Block) -> None:
            parts = [piece(x) for x, _ in block.pieces(most_rows)]
            found = parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)
            block.state["distances"] = to_host(found) if away else found

        problem.source.map(measure)
        if away:
            return np.concatenate([block.state["distances"] for block in problem.source.blocks])
        return problem.source.collect("distances")

    with problem.source.working():
        return problem.within_memory(task)


def extent_of(x: Array, context: Context, who: str, /) -> Extent:
    """Where the rows lie, and the middle of that; raise for NaN or infinity."""
    step = max(1, _SURVEYED_CELLS // int(x.shape[1]))
    survey = Surveyor(context.xp)
    parts = (survey.ranges(x[part, :], None) for part in slices(int(x.shape[0]), step))
    ranges = functools.reduce(operator.add, parts)
    if not (np.isfinite(ranges.low).all() and np.isfinite(ranges.high).all()):
        first_bad_cell(x, who)
    return Extent(ranges.low, ranges.high, ranges.low * 0.5 + ranges.high * 0.5)
