"""From checked arguments to the best of several runs of k-medians."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from .._backend import Context, to_host
from .._outcome import Result, Status
from .._problem import unit_weights
from .._random import Purpose, mix
from .._typing import Array
from .._validation import place_centers
from ..estimators._rows import ArrayRows
from ..estimators._run import brought, draw_seed
from ._losses import Losses
from ._medians import Clustering, Rows, run
from ._medoid_starts import drawn_rows, plusplus
from ._pairs import Measure
from ._spaces import RowSpace, n_distinct_of, scaled

_MANY_STARTS = 10


def run_fit(model: Any, given: ArrayRows, start: Array | None) -> Result:
    """Find the centers that an estimator's parameters ask for."""
    context, k = given.place.work, model.n_clusters
    every, weight = brought(given.x, given.weight, given.place, k)
    weight, exponent = unit_weights(weight, context)
    if start is not None:
        start = place_centers(start, context, given.dtype, given.n_features)
    sets = [every] if start is None else [every, start]
    measure = Measure.over("manhattan", sets, context, who="KMedians")
    counted, some = _counted(every, weight, context)
    rows = Rows.of(measure, counted, some)
    seed = draw_seed(check_random_state(model.random_state))
    best: Clustering | None = None
    for centers in _starts(model, rows, counted, start, seed):
        found = run(rows, centers, model.max_iter)
        if best is None or found.loss < best.loss:
            best = found
        if found.status is Status.INTERRUPTED:
            best = best.interrupted()
            break
    assert best is not None  # there is at least one start
    labels = best.labels
    if counted is not every:
        labels, _ = RowSpace.of(measure, every).nearest(best.centers)
    inertia = scaled(best.loss, (exponent or 0) - measure.exponent)
    n_distinct = n_distinct_of(labels, k, context)
    return Result(best.centers, labels, inertia, best.n_iter, best.status, (), n_distinct)


def _counted(x: Array, weight: Array | None, context: Context) -> tuple[Array, Array | None]:
    """The rows that have a weight, and these."""
    if weight is None:
        return x, None
    counts = to_host(weight) > 0.0
    if counts.all():
        return x, weight
    positions = context.from_host(counts.nonzero()[0])
    return context.xp.take(x, positions, axis=0), context.xp.take(weight, positions)


def _starts(model: Any, rows: Rows, x: Array, start: Array | None, seed: int) -> Iterator[Array]:
    """Centers to start from, one run each."""
    if start is not None:
        yield start
        return
    runs = model.n_init
    if runs == "auto":
        runs = _MANY_STARTS if model.init == "random" else 1
    space = rows.space
    for number in range(runs):
        key = mix(seed, Purpose.RUN, number)
        if model.init == "random":
            chosen = drawn_rows(space.n_rows, model.n_clusters, space.context, key)
        else:
            losses = Losses.of(
                space.to, rows.weight, space.n_rows, space.bound, space.context, is_stored=False
            )
            chosen = plusplus(losses, model.n_clusters, key)
        positions = space.context.from_host(np.asarray(chosen, dtype=np.int64))
        yield space.context.xp.take(x, positions, axis=0)
