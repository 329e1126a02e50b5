"""Rows drawn at random for mini-batches: by weight, keyed by position, many at a time.

Drawn on the host, so that any source that can take rows by number gives the same batches.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from . import _exact as exact
from ._backend import numpy_context, to_host
from ._draws import distinct_rows
from ._minibatch import Batch
from ._problem import Training, largest_exponent
from ._random import Purpose, mix, row_bits
from ._typing import Array, Block, OnHost, slices

_LIKE = np.empty(0)
_SUM_BITS = 62
_ROWS_AT_ONCE = 1 << 16
_BYTES_AT_ONCE = 1 << 26


class Sampler:
    """Draws rows of a problem by sample weight, in numbers that depend on the key alone."""

    def __init__(self, problem: Training) -> None:
        self._problem = problem
        self._running: npt.NDArray[np.int64] | _Afar | None = None
        self._total = problem.source.n_rows
        if problem.summary.weight_grid is not None:
            top = largest_exponent(problem)
            if problem.source.shares:
                weights = problem.source.map(lambda block: to_host(block.weight))
                running = _running(weights, top)
                self._running, self._total = running, int(running[-1])
            else:
                self._running = _Afar(problem, top)
                self._total = self._running.total

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

    def batches(self, n_rows: int, count: int, seed: int, /, first: int = 0) -> Iterator[Batch]:
        """So many batches of so many rows, less the ``first`` ones.

        Rows that are read from somewhere are taken for many batches at once: that may be a pass.
        """
        source, at_once = self._problem.source, n_rows
        if not source.is_resident:
            most = min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // (8 * source.n_features))
            at_once *= max(1, most // n_rows)
        done = first * n_rows
        for taken in slices(count * n_rows - done, at_once):
            drawn = self.rows(done + taken.start, taken.stop - taken.start, seed, Purpose.BATCH)
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


class _Tickets(OnHost):
    """Numbers below the sum of a block's weights, by the block."""

    def __init__(self, by_block: dict[int, npt.NDArray[np.int64]]) -> None:
        self.by_block = by_block


class _Afar:
    """Running sums of weights that stay where they are; here are those of whole blocks."""

    def __init__(self, problem: Training, top: int) -> None:
        self._source = source = problem.source
        self._n_rows, self._top = source.n_rows, top
        n_rows = source.n_rows
        self._ends = np.cumsum(
            source.map(lambda block: int(_whole(to_host(block.weight), n_rows, top).sum()))
        )
        self.total = int(self._ends[-1])

    def searchsorted(
        self, tickets: npt.NDArray[np.int64], side: Literal["right"]
    ) -> npt.NDArray[np.int64]:
        """As NumPy's, of the running sums of all rows."""
        numbers, n_rows = self._ends.searchsorted(tickets, side=side), self._n_rows
        top = self._top
        before = np.concatenate([[0], self._ends[:-1]])
        places = {int(n): np.flatnonzero(numbers == n) for n in np.unique(numbers)}
        left = _Tickets({n: tickets[mine] - before[n] for n, mine in places.items()})

        def task(block: Block) -> npt.NDArray[np.int64]:
            running = np.cumsum(_whole(to_host(block.weight), n_rows, top))
            rows = running.searchsorted(left.by_block[block.number], side=side) + block.start
            return np.asarray(rows, dtype=np.int64)

        parts = self._source.map(task, [self._source.blocks[number] for number in places])
        rows = np.empty(len(tickets), dtype=np.int64)
        for mine, part in zip(places.values(), parts, strict=True):
            rows[mine] = part
        return rows


def _running(weights: list[npt.NDArray[np.float64]], top: int) -> npt.NDArray[np.int64]:
    """Running sums of weights (of at most 2**top) as integers, whose total fits 62 bits."""
    together = np.concatenate(weights)
    return np.cumsum(_whole(together, len(together), top))


def _whole(weight: Array, n_rows: int, top: int) -> npt.NDArray[np.int64]:
    """Weights as integers, of which those of all rows together fit 62 bits."""
    bits = min(exact.LIMB_BITS, _SUM_BITS - n_rows.bit_length())
    return np.asarray(np.round(weight * 2.0 ** (bits - top)).astype(np.int64))
