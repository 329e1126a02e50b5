"""Rows drawn at random for mini-batches: by weight, keyed by position, many at a time.

Drawn on the host, so that any source that can take rows by number gives the same batches.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from . import _exact as exact
from ._backend import numpy_context, to_host
from ._draws import distinct_rows
from ._minibatch import Batch
from ._problem import Training
from ._random import Purpose, mix, row_bits
from ._typing import slices

_LIKE = np.empty(0)
_SUM_BITS = 62
_ROWS_AT_ONCE = 1 << 16
_BYTES_AT_ONCE = 1 << 26


class Sampler:
    """Draws rows of a problem by sample weight, in numbers that depend on the key alone."""

    def __init__(self, problem: Training) -> None:
        self._problem = problem
        self._running: npt.NDArray[np.int64] | None = None
        self._total = problem.source.n_rows
        if problem.summary.weight_grid is not None:
            self._running = _running(problem.source.map(lambda block: to_host(block.weight)))
            self._total = int(self._running[-1])

    def rows(self, start: int, count: int, /, *key: int) -> npt.NDArray[np.int64]:
        """Draws ``start`` to ``start + count`` of a key, with replacement."""
        tickets = row_bits(start, count, _LIKE, *key, xp=numpy_context().xp) % self._total
        if self._running is not None:
            tickets = self._running.searchsorted(tickets, side="right")
        return np.asarray(tickets, dtype=np.int64)

    def batch(self, rows: npt.NDArray[np.int64], /) -> Batch:
        """These rows; weights decided how often a row is among them."""
        source, wanted = self._problem.source, rows.tolist()
        part = source.part(wanted)
        return Batch(source.take(wanted) if part is None else None, None, part)

    def batches(self, n_rows: int, count: int, seed: int, /) -> Iterator[Batch]:
        """So many batches of so many rows.

        Rows that are read from somewhere are taken for many batches at once: that may be a pass.
        """
        source, at_once = self._problem.source, n_rows
        if not source.is_resident:
            most = min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // (8 * source.n_features))
            at_once *= max(1, most // n_rows)
        for taken in slices(count * n_rows, at_once):
            drawn = self.rows(taken.start, taken.stop - taken.start, seed, Purpose.BATCH)
            together = self.batch(drawn)
            for part in slices(len(drawn), n_rows):
                yield together.piece(part)

    def distinct(self, count: int, seed: int, /) -> Batch:
        """Different rows, fewer than there are."""
        if self._running is not None:
            # a heavy row would be drawn again and again
            seed = mix(seed, Purpose.SUBSET)
            return self.batch(np.asarray(distinct_rows(self._problem, count, seed)))
        drawn = np.empty(0, dtype=np.int64)
        for attempt in itertools.count():
            more = self.rows(attempt * count, count, seed, Purpose.SUBSET)
            drawn = np.concatenate([drawn, more])
            _, first = np.unique(drawn, return_index=True)
            if len(first) >= count:
                return self.batch(drawn[np.sort(first)[:count]])
        raise AssertionError("unreachable")


def _running(weights: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.int64]:
    """Running sums of weights (of at most 1) as integers, whose total fits 62 bits."""
    n_rows = sum(len(part) for part in weights)
    bits = min(exact.LIMB_BITS, _SUM_BITS - n_rows.bit_length())
    running = np.concatenate(weights) * 2.0**bits
    return np.cumsum(np.round(running).astype(np.int64))
