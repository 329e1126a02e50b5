"""Many small problems at once: a thread block fits each, from the first seed to the last label.

Nothing waits for the host but the last look at what the blocks found.  The limits below are not
measured: none of this was run on a GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..._backend import dtype_name, to_host
from ..._exact import EXACT_ROWS
from ..._typing import Array, Namespace, slices
from ._arguments import like
from ._calls import lanes_for
from ._source import THREADS, Launcher, Unit

STARTS = ("given", "k-means++", "random", "random-partition")
"""In the order of their numbers in `batch.cu`."""

MOST_ROWS = 2 * EXACT_ROWS  # sums of so many 40-bit integers are exact in float64
_MOST_WORK = 1 << 23  # rows times features times clusters: of an iteration in one block
_ALONE_WORK = 1 << 18  # so much is done by one block while a fit alone launches its kernels
_MOST_SHARED = 48 << 10  # which every device has without asking
_MOST_LIMBS, _LEAST_LIMBS = 3, 2
_MOST_SCRATCH = 1 << 30
_PARTS_SHARED = 8 * THREADS // 32
_LEFT = 3  # the ending of a run that a block could not do


class Room(NamedTuple):
    """Limbs that a problem may take, the columns of its sums, and the shared memory of a block."""

    limbs: int
    columns: int
    shared: int


def room_for(n: int, d: int, k: int, /, *, weighted: bool, fits: int) -> Room | None:
    """What a block has for a problem of this shape; None if that is nothing for one block.

    A block is slow, but many work at once: with more ``fits`` (problems times runs) each may be
    larger.  Two limbs are 80 bits: enough for float64 rows, unless some are far smaller than
    the largest.
    """
    if n > MOST_ROWS or n * d * k > min(_MOST_WORK, _ALONE_WORK * fits):
        return None
    for limbs in range(_MOST_LIMBS, _LEAST_LIMBS - 1, -1):
        columns = limbs * d + limbs * weighted + 1
        shared = 8 * (2 * k * d + k * columns + k) + _PARTS_SHARED
        if shared <= _MOST_SHARED:
            return Room(limbs, columns, shared)
    return None


@dataclass(frozen=True)
class Ask:
    """How problems are to be solved: as `_solver.Rules`, but for what blocks cannot do."""

    n_clusters: int
    start: str  # of STARTS
    runs: int
    max_iter: int | None
    tol: float


@dataclass(frozen=True)
class Found:
    """What blocks found: centers and labels of the best runs, and (batch,) numbers on the host."""

    centers: Array
    labels: Array
    inertia: npt.NDArray[np.float64]
    ending: npt.NDArray[np.int64]  # number of `batch.cu`
    n_iter: npt.NDArray[np.int64]
    n_distinct: npt.NDArray[np.int64]
    is_left: npt.NDArray[np.bool_]  # not solved: some run was too much for a block


def fit_batch(
    x: Array,
    weight: Array | None,
    starts: Array | None,
    seeds: npt.NDArray[np.int64],
    ask: Ask,
    /,
    *,
    room: Room,
    xp: Namespace,
    launcher: Launcher,
) -> Found:
    """Fit problems (batch, n, d) from seeds of 64 bits, or from given starts (batch, k, d).

    Fewer at a time where memory is short.
    """
    size = int(x.shape[0])
    most = min(size, max(1, _MOST_SCRATCH // (12 * int(x.shape[1]) * ask.runs)))

    def fit(part: slice) -> Found:
        return _fit_part(
            xp.ascontiguousarray(x[part, ...]),
            None if weight is None else xp.ascontiguousarray(weight[part, ...]),
            None if starts is None else xp.ascontiguousarray(starts[part, ...]),
            xp.asarray(seeds[part], **like(x)),
            ask,
            room,
            xp,
            launcher,
        )

    while True:
        try:
            parts = [fit(part) for part in slices(size, most)]
            break
        except MemoryError:
            if most == 1:
                raise
            most = -(-most // 2)
    if len(parts) == 1:
        return parts[0]
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    centers, labels, *numbers = columns
    return Found(xp.concat(centers), xp.concat(labels), *map(np.concatenate, numbers))


class Survey(NamedTuple):
    """What `survey_batch` leaves, in its words; weights of at most 1."""

    unit_weight: Array | None
    numbers: Array
    notes: Array


def survey(
    x: Array,
    weight: Array | None,
    starts: Array | None,
    ask: Ask,
    /,
    *,
    room: Room,
    xp: Namespace,
    launcher: Launcher,
) -> Survey:
    """Take the statistics of problems (batch, n, d)."""
    size, n, d = (int(extent) for extent in x.shape)
    here = like(x)
    found = Survey(
        None if weight is None else xp.empty((size, n), dtype=xp.float64, **here),
        xp.empty((size, 2 * d + 2), dtype=xp.float64, **here),
        xp.empty((size, 4), dtype=xp.int32, **here),
    )
    launcher.launch(
        Unit("batch_survey.cu", dtype_name(x)),
        "survey_batch",
        size,
        8 * d + _PARTS_SHARED,
        (
            x,
            weight,
            starts,
            np.int32(n),
            np.int32(d),
            np.int32(ask.n_clusters),
            np.float64(ask.tol),
            np.int32(room.limbs),
            *found,
        ),
    )
    return found


def _fit_part(
    x: Array,
    weight: Array | None,
    starts: Array | None,
    seeds: Array,
    ask: Ask,
    room: Room,
    xp: Namespace,
    launcher: Launcher,
) -> Found:
    size, n, d = (int(extent) for extent in x.shape)
    k, runs, here, dtype = ask.n_clusters, ask.runs, like(x), dtype_name(x)
    surveyed = survey(x, weight, starts, ask, room=room, xp=xp, launcher=launcher)
    closest = xp.empty((size * runs, n), dtype=xp.float64, **here)
    labels = xp.empty((size * runs, n), dtype=xp.int32, **here)
    centers = xp.empty((size * runs, k, d), dtype=x.dtype, **here)
    found = xp.empty((size * runs, 4), dtype=xp.float64, **here)
    launcher.launch(
        Unit("batch.cu", dtype),
        "fit_batch",
        size * runs,
        room.shared,
        (
            x,
            surveyed.unit_weight,
            starts,
            seeds,
            surveyed.numbers,
            surveyed.notes,
            np.int32(n),
            np.int32(d),
            np.int32(k),
            np.int32(runs),
            np.int32(STARTS.index(ask.start)),
            np.int32(2 + int(math.log(k))),
            lanes_for(d),
            np.int32(room.columns),
            np.int32(0 if ask.max_iter is None else min(ask.max_iter, 2**31 - 1)),
            np.float64(ask.tol),
            closest,
            labels,
            centers,
            found,
        ),
    )
    return _best_runs(centers, labels, found, runs, xp)


def _best_runs(centers: Array, labels: Array, found: Array, runs: int, xp: Namespace) -> Found:
    """Of each problem the run of the smallest inertia, the earliest of equals."""
    # the one time that the host waits
    table = to_host(found).reshape(-1, runs, 4)
    is_left = (table[:, :, 0] == _LEFT).any(axis=1)
    best = np.where(is_left[:, None], 0.0, table[:, :, 3]).argmin(axis=1)
    problems = np.arange(len(table))
    if runs > 1:
        places = xp.asarray(problems * runs + best, **like(found))
        centers, labels = xp.take(centers, places, axis=0), xp.take(labels, places, axis=0)
    chosen = np.where(is_left[:, None], 0.0, table[problems, best])
    ending, n_iter, n_distinct = (chosen[:, i].astype(np.int64) for i in range(3))
    return Found(centers, labels, chosen[:, 3].copy(), ending, n_iter, n_distinct, is_left)
