"""From checked arguments to medoids, and what they say of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state
from sklearn.utils.validation import _is_arraylike_not_scalar

from .._backend import Context, to_host
from .._opening import memory_limit_of
from .._outcome import Result, Status
from .._problem import unit_weights
from .._typing import Array
from .._validation import is_foreign
from ..estimators._rows import ArrayRows
from ..estimators._run import brought, draw_seed
from ._clara import Search, sample_size, sampled
from ._medoids import Found
from ._pairs import PRECOMPUTED, Measure, Metric, check_precomputed
from ._spaces import (
    RowSpace,
    Space,
    TableSpace,
    exact_total,
    n_distinct_of,
    nearest_medoids,
    scaled,
)

_DEFAULT_LIMIT = 1 << 30  # a constant: what a machine has must not decide what is found


@dataclass(frozen=True)
class Outcome:
    """What a fit leaves; the centers are the medoids' rows, or their distances to all rows."""

    result: Result
    medoids: list[int]
    n_swaps: int
    method: str
    status: str


def run_fit(model: Any, rows: ArrayRows, metric: Metric) -> Outcome:
    """Find the medoids that an estimator's parameters ask for."""
    context, n_rows, k = rows.place.work, rows.n_rows, model.n_clusters
    given = given_medoids(model, n_rows)
    size = _checked_size(model, n_rows)
    x, weight = brought(rows.x, rows.weight, rows.place, k)
    weight, exponent = unit_weights(weight, context)
    limit = _DEFAULT_LIMIT if model.memory_limit is None else memory_limit_of(model.memory_limit)
    seed = draw_seed(check_random_state(model.random_state))
    space = _space_of(x, metric, context)
    kept, few, some = _counted(space, weight, given)
    start = model.init if given is None else np.searchsorted(kept, given).tolist()
    search = Search(k, start, model.max_iter, seed, limit)
    method = model.method
    if method == "auto":
        # given distances are in memory already
        whole = metric == PRECOMPUTED or search.fits(few.n_rows)
        method = "fasterpam" if whole else "clara"
    if method == "clara":
        size = min(size, few.n_rows)
        found = sampled(few, some, search, size, model.n_samplings)
        detail = f"the best of {model.n_samplings} samples of {size} of {few.n_rows} rows"
    else:
        found, detail = search.among(few, some), ""
    medoids = kept[found.medoids].tolist()
    labels, distances = nearest_medoids(space, medoids)
    loss = exact_total(distances, weight, context, space.bound)
    result = Result(
        centers=context.xp.take(x, context.from_host(np.asarray(medoids, dtype=np.int64)), axis=0),
        labels=labels,
        inertia=scaled(loss, (exponent or 0) - space.exponent),
        n_iter=found.n_iter,
        status=found.status,
        history=(),
        n_distinct=n_distinct_of(labels, k, context),
    )
    return Outcome(result, medoids, found.n_swaps, method, _status(found, detail))


def _status(found: Found, detail: str) -> str:
    """Why the search ended; samples prove a local optimum for their own rows alone."""
    if not detail or found.status is Status.INTERRUPTED:
        return found.status.value
    return f"{found.status.value} (among a sample's rows; {detail})"


def given_medoids(model: Any, n_rows: int, /) -> npt.NDArray[np.int64] | None:
    """The checked positions of ``init``; None when it is a name."""
    init, k = model.init, model.n_clusters
    if not _is_arraylike_not_scalar(init):
        return None
    given = to_host(init) if is_foreign(init, "init") else np.asarray(init)
    if given.shape != (k,) or given.dtype.kind not in "iu":
        raise ValueError(
            f"init of KMedoids has shape {given.shape} and dtype {given.dtype}, and must be the "
            f"positions of {k} rows: whole numbers of shape ({k},), or 'build', 'k-means++' or "
            "'random'."
        )
    bad = given[(given < 0) | (given >= n_rows)]
    if bad.size:
        raise ValueError(f"init names row {bad[0]}, but X has rows 0 to {n_rows - 1}.")
    if len(set(given.tolist())) < k:
        raise ValueError(f"init={given.tolist()} names a row twice; give {k} different rows.")
    return given.astype(np.int64)


def _checked_size(model: Any, n_rows: int) -> int:
    size = sample_size(model.sample_size, n_rows, model.n_clusters)
    if size < model.n_clusters <= n_rows:
        raise ValueError(
            f"sample_size={model.sample_size} is less than n_clusters={model.n_clusters}. Samples "
            "must hold the medoids; leave it out for a size that does."
        )
    return size


def _space_of(x: Array, metric: Metric, context: Context) -> Space:
    if metric != PRECOMPUTED:
        return RowSpace.of(Measure.over(metric, [x], context, who="KMedoids"), x)
    check_precomputed(x, context, who="KMedoids")
    return TableSpace(x, context)


def _counted(
    space: Space, weight: Array | None, given: npt.NDArray[np.int64] | None
) -> tuple[npt.NDArray[np.int64], Space, Array | None]:
    """Positions of the rows that have a weight, and the space and weights of them alone."""
    every = np.arange(space.n_rows, dtype=np.int64)
    if weight is None:
        return every, space, None
    counts = to_host(weight) > 0.0
    if counts.all():
        return every, space, weight
    if given is not None and not counts[given].all():
        without = given[~counts[given]][0]
        raise ValueError(
            f"init names row {without}, whose sample_weight is 0. Such a row is no medoid; give it "
            "a weight, or name another."
        )
    positions = space.context.from_host(every[counts])
    return every[counts], space.some(positions), space.context.xp.take(weight, positions)
