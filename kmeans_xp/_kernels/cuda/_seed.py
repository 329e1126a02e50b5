"""Seeding on the device: the host launches the steps and waits for nothing that they find.

What the launches do, and why no block sees half of another's work, stands in ``seed.cu``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..._backend import dtype_name, to_host
from ..._gains import LEAST_SQUARE
from ..._primitives import UNIT_ROUNDOFF, Nearest, errors
from ..._random import Purpose, mix
from ..._typing import Array
from ._arguments import like, strided
from ._calls import Calls, lanes_for
from ._source import THREADS, Unit

_MOST_ROWS = 1 << 24  # numbers of 40 bits add up below 2**64
_MOST_TRIALS = 32
_PIECES = 1 << 12  # a block adds up as many whenever it draws
_MOST_PIECE_ROWS = 1 << 12
_MOST_SCREENED = 1 << 16  # features
_MOST_BLOCKS = 1 << 11
_LEAST_SQUARE = np.float64(LEAST_SQUARE)


def plusplus(
    calls: Calls, problem: Any, n_clusters: int, seed: int, trials: int, /
) -> list[int] | None:
    """Rows of greedy k-means++, fewer where no row is left that is away from all of them.

    None where there are too many rows or trials for it.
    """
    if problem.source.n_rows >= _MOST_ROWS or trials > _MOST_TRIALS:
        return None
    seeding = Seeding(calls, problem, seed, n_clusters, trials)
    seeding.begin()
    for step in range(1, n_clusters):
        seeding.step(step)
    # the one time that the host waits
    chosen: list[int] = to_host(seeding.chosen).tolist()
    return chosen[: chosen.index(-1)] if -1 in chosen else chosen


def oversample(
    calls: Calls,
    problem: Any,
    seed: int,
    wanted: float,
    rounds: int,
    label: Callable[[Array, Nearest], Array],
    /,
) -> list[int] | None:
    """Rows taken in the rounds of k-means||; each row's nearest of them in the blocks' state.

    ``label`` gives exact labels of rows.  None where there are too many rows for it.
    """
    if problem.source.n_rows >= _MOST_ROWS:
        return None
    seeding = Seeding(calls, problem, seed, 1, 1, rounds)
    seeding.begin()
    taken = [seeding.chosen]
    for step in range(rounds):
        found = seeding.oversample(mix(seed, Purpose.OVERSAMPLE, step), wanted)
        if int(found.shape[0]):
            seeding.adopt(found, sum(int(part.shape[0]) for part in taken), label)
            taken.append(found)
    for block in problem.source.blocks:
        block.state["seeds"] = seeding.seeds[block.start : block.start + block.n_rows]
    rows: list[int] = to_host(calls.xp.concat(taken)).tolist()
    return rows


def _factor(d: int, scale: tuple[Any, Any]) -> float:
    """What the bar of ``seed.cu`` is above a square; infinite where it proves nothing."""
    works = d <= _MOST_SCREENED and scale == (1.0, 1.0)
    return 1.0 + 3 * (d + 8) * UNIT_ROUNDOFF["float32"] if works else math.inf


class Seeding:
    """All rows in one block, their closest seeds, and a place for what each step leaves."""

    def __init__(
        self, calls: Calls, problem: Any, seed: int, n_seeds: int, trials: int, rounds: int = 0
    ) -> None:
        xp, source = calls.xp, problem.source
        (self._block,) = source.spans(source.n_rows)
        x, weight = self._block.x, self._block.weight
        self._calls, self._problem = calls, problem
        self._n_rows, self._d = n, d = source.n_rows, source.n_features
        self._trials, self._lanes = trials, lanes_for(d)
        self._unit = Unit("seed.cu", dtype_name(x))
        self._key = np.uint64(mix(seed, Purpose.SEEDING))
        self._weight = None if weight is None else xp.ascontiguousarray(weight)
        self._size = THREADS * min(-(-n // (THREADS * _PIECES)), _MOST_PIECE_ROWS // THREADS)
        self._pieces = -(-n // self._size)
        nearest = problem.nearest_to(x[:1, :], screens=False)
        self._scale = np.float64(nearest.scale.before), np.float64(nearest.scale.after)
        self._share = np.float64(0.25 - 4.0 * errors(nearest, "float64", d)[1])
        # what every step hands on, made once: a small fit waits for the host, not for the device
        self._rows = strided(x, xp=xp)
        sizes = np.int64(n), np.int32(d), self._weight, np.int64(self._size)
        self._all_rows = *self._rows, *sizes
        self._measure = *self._scale, self._lanes
        self._factor = np.float64(_factor(d, self._scale))

        def room(*shape: int, dtype: Any = xp.int64) -> Array:
            return xp.empty(shape, dtype=dtype, **like(x))

        # the first seed is drawn by weight alone
        self._closest = xp.ones(n, dtype=xp.float64, **like(x))
        self.seeds = room(n, dtype=xp.int32)
        # the largest weighted distance before each step
        self._tops = xp.zeros(1 + n_seeds + rounds, dtype=xp.float64, **like(x))
        self._tops[:1] = 1.0 if weight is None else xp.max(weight)
        self._place = 0
        self._totals = room(self._pieces)
        self._drawn, tried = room(trials), room(trials, d, dtype=x.dtype)
        self._tries = self._drawn, np.int32(trials), tried
        self._limits = room(n_seeds, dtype=xp.float64)
        self._marks = room(n, dtype=xp.int32)
        self._gains = xp.zeros((n_seeds, trials), dtype=xp.int64, **like(x))
        self.chosen = room(n_seeds)

    def begin(self) -> None:
        """Draw the first seed."""
        self._count(0, anew=True)
        self._draw(0, 1)
        self._accept(0)
        self._place = 1

    def step(self, step: int) -> None:
        """Draw candidates for one more seed, and accept the one that gains most."""
        self._count(step, anew=step == 1)
        self._draw(step, self._trials)
        self._limit(step)
        self._appraise(step)
        self._accept(step)

    def oversample(self, key: int, wanted: float) -> Array:
        """Rows of one round, in their order.  The host waits for their number."""
        xp, counts = self._calls.xp, self._empty(self._pieces)
        self._count(self._place, anew=True)
        self._take(key, wanted, counts, None)
        taken = self._empty(int(xp.sum(counts)))
        if int(taken.shape[0]):
            self._take(key, wanted, counts, taken)
        return taken

    def adopt(self, taken: Array, first: int, label: Callable[[Array, Nearest], Array]) -> None:
        """Make seeds of all rows taken, numbered from ``first``."""
        centers = self._calls.xp.take(self._block.x, taken, axis=0)
        nearest = self._problem.nearest_to(centers)
        self._place += 1
        for block in self._problem.source.blocks:
            self._adopt(block, centers, label(block.x, nearest), first)

    def _draw(self, step: int, trials: int) -> None:
        self._launch(
            "draw_candidates",
            trials,
            8 * (THREADS + 2),
            *self._all_rows,
            np.int64(self._pieces),
            self._closest,
            self._tops,
            self._totals,
            self._key,
            np.int32(step),
            self._drawn,
            self._tries[-1],
        )

    def _limit(self, step: int) -> None:
        seeds = max(1, THREADS // int(self._lanes) // self._trials)
        self._launch(
            "limit_seeds",
            -(-step // seeds),
            8 * seeds * self._trials,
            *self._rows,
            np.int32(self._d),
            *self._tries,
            self.chosen,
            np.int32(step),
            np.int32(seeds),
            *self._measure,
            _LEAST_SQUARE,
            self._share,
            self._limits,
        )

    def _appraise(self, step: int) -> None:
        self._launch(
            "appraise",
            self._pieces,
            12 * self._trials + 4 + 4 * self._size,
            *self._all_rows,
            self._closest,
            self.seeds,
            *self._tries,
            self._limits,
            *self._scale,
            self._factor,
            self._lanes,
            self._tops,
            np.int32(step),
            self._marks,
            self._gains,
        )

    def _accept(self, step: int) -> None:
        self._launch(
            "accept_best",
            self._pieces,
            20 + 4 * self._size,
            *self._all_rows,
            self._closest,
            self.seeds,
            *self._tries,
            *self._measure,
            self._tops,
            np.int32(step),
            self._marks,
            self._gains,
            self._totals,
            self.chosen,
        )

    def _count(self, place: int, *, anew: bool) -> None:
        self._launch(
            "count_pieces",
            self._pieces,
            8,
            np.int64(self._n_rows),
            self._weight,
            np.int64(self._size),
            self._closest,
            self._tops,
            np.int32(place),
            np.int32(anew),
            self._totals,
        )

    def _take(self, key: int, wanted: float, counts: Array, taken: Array | None) -> None:
        self._launch(
            "oversample",
            self._pieces,
            8 * THREADS,
            np.int64(self._n_rows),
            self._weight,
            np.int64(self._size),
            np.int64(self._pieces),
            self._closest,
            self._tops,
            np.int32(self._place),
            self._totals,
            np.float64(wanted),
            np.uint64(key),
            counts,
            taken,
            is_step=False,
        )

    def _adopt(self, block: Any, centers: Array, labels: Array, first: int) -> None:
        part = slice(block.start, block.start + block.n_rows)
        self._launch(
            "adopt",
            min(-(-block.n_rows * int(self._lanes) // THREADS), _MOST_BLOCKS),
            8,
            *strided(block.x, xp=self._calls.xp),
            np.int64(block.n_rows),
            np.int32(self._d),
            None if self._weight is None else self._weight[part],
            centers,
            labels,
            np.int32(first),
            *self._scale,
            self._lanes,
            self._closest[part],
            self.seeds[part],
            self._tops,
            np.int32(self._place),
            is_step=False,
        )

    def _empty(self, size: int) -> Array:
        return self._calls.xp.empty(size, dtype=self._calls.xp.int64, **like(self._block.x))

    def _launch(
        self, kernel: str, grid: int, shared: int, *arguments: Any, is_step: bool = True
    ) -> None:
        unit = self._unit if is_step else Unit("oversample.cu", self._unit.row)
        self._calls.launcher.launch(unit, kernel, grid, shared, arguments)
