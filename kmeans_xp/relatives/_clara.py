"""Medoids of samples, judged by all rows: for tables of distances that memory does not hold."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from .._outcome import Status
from .._random import mix
from .._typing import Array
from ._best_rows import at_best_rows
from ._losses import Losses
from ._medoid_starts import drawn_rows, start_medoids
from ._medoids import Found, swap_until_none_pays
from ._spaces import Space, exact_total, nearest_medoids

_LEAST_SAMPLE, _KEPT, _EACH = 2000, 80, 4


def sample_size(given: int | None, n_rows: int, n_clusters: int, /) -> int:
    """Rows of a sample: by default 80 + 4 k, as advised for FasterCLARA, and at least 2000."""
    size = max(_LEAST_SAMPLE, _KEPT + _EACH * n_clusters) if given is None else given
    return min(size, n_rows)


@dataclasses.dataclass(frozen=True)
class Search:
    """How medoids are sought among rows."""

    n_clusters: int
    start: str | list[int]
    max_iter: int
    seed: int
    memory_limit: int

    def fits(self, n_rows: int, /) -> bool:
        """Whether memory holds a table of distances between so many rows."""
        return 8 * n_rows * n_rows <= self.memory_limit

    def among(self, space: Space, weight: Array | None, /, *key: int) -> Found:
        """FasterPAM over all rows of a space."""
        losses = Losses.of(
            space.to,
            weight,
            space.n_rows,
            space.bound,
            space.context,
            is_stored=self.fits(space.n_rows),
        )
        start = self.start
        if isinstance(start, str):
            start = start_medoids(losses, start, self.n_clusters, mix(self.seed, *key))
        return swap_until_none_pays(losses, start, self.max_iter)


def sampled(space: Space, weight: Array | None, search: Search, size: int, rounds: int, /) -> Found:
    """CLARA: the best medoids, for all rows, of those found in several samples.

    Kaufman and Rousseeuw, "Finding Groups in Data", 1990, chapter 3.  Each sample holds the best
    medoids so far.  At last they go to the best rows of their clusters, of which samples hold few.
    """
    best, least, held = None, 0.0, search.start if isinstance(search.start, list) else []
    for number in range(rounds):
        rows = _sample(space, search, size, number, held)
        positions = space.context.from_host(rows)
        start = search.start
        if isinstance(start, list):
            # those given are where the first sample starts; later ones go on from the best
            start = np.searchsorted(rows, held).tolist()
        inner = dataclasses.replace(search, start=start)
        some = None if weight is None else space.context.xp.take(weight, positions)
        found = inner.among(space.some(positions), some, number)
        found = dataclasses.replace(found, medoids=rows[found.medoids].tolist())
        _, distances = nearest_medoids(space, found.medoids)
        loss = exact_total(distances, weight, space.context, space.bound)
        if best is None or loss < least:
            best, least, held = found, loss, found.medoids
        if found.status is Status.INTERRUPTED:
            best = dataclasses.replace(best, status=Status.INTERRUPTED)
            break
    assert best is not None  # there is at least one round
    if best.status is Status.INTERRUPTED or size >= space.n_rows:
        return best
    try:
        medoids = at_best_rows(space, weight, best.medoids, least, search.seed, rounds)
    except KeyboardInterrupt:
        return dataclasses.replace(best, status=Status.INTERRUPTED)
    return dataclasses.replace(best, medoids=medoids)


def _sample(
    space: Space, search: Search, size: int, number: int, held: list[int]
) -> npt.NDArray[np.int64]:
    """Positions of a sample, in order, those that it must hold among them."""
    drawn = drawn_rows(space.n_rows, size, space.context, search.seed, number)
    others = [row for row in drawn if row not in held]
    return np.sort(np.asarray(held + others[: size - len(held)], dtype=np.int64))
