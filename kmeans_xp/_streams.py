"""A source whose rows are read anew in each pass, and whose state may lie in a file."""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from ._ahead import Ahead
from ._backend import Context
from ._device_rows import BLOCK_BYTES, LANES, DeviceRows
from ._exact import to_device
from ._readers import Direct, Floats, InOrder, assembled, counted, picked
from ._shelf import Shelf
from ._sources import OneProcess, all_or_none, quiet, row_spans
from ._threads import one_blas_thread
from ._typing import Array, Block, T

_KEPT = ("labels", "bounds", "closest", "seeds", "trial", "gaining", "distances")
_STATE_BYTES = 56  # a row, at most: labels, three bounds, and what k-means++ keeps
_LEAST_ROWS = 64
_FITS = 2  # times what is kept may be held for it
_WORKING = 6  # times the rows that are read: what the passes make of them


class Visit(Block):
    """A block while a task runs: its rows are fetched when they are first looked at."""

    _rows: Any

    @property
    def x(self) -> Array:
        if callable(self._rows):
            self._rows = self._rows()
        return self._rows

    @x.setter
    def x(self, rows: Any) -> None:
        self._rows = rows


class StreamSource(OneProcess):
    """Rows of a reader, in blocks that fit a share of the memory.

    Parameters
    ----------
    reader : gives the rows, as often as wanted
    weight : array of shape (n_rows,), float64, where the work happens, or None
    weight_exponent : the power of two that was taken out of the weights
    context : where the work happens
    block_rows, piece_rows, threads : as in `MemorySource`; blocks are smaller where memory is short
    limit : bytes that buffers and the state of the rows may take together
    """

    is_resident = False

    def __init__(
        self,
        reader: Direct | InOrder,
        weight: Array | None,
        weight_exponent: int | None,
        context: Context,
        *,
        block_rows: int,
        piece_rows: int,
        threads: int,
        limit: int,
    ) -> None:
        self.xp, self.context, self.reader = context.xp, context, reader
        self.n_rows, self.n_features = reader.n_rows, reader.n_features
        self.weight_exponent, self._weight = weight_exponent, weight
        self.room = limit
        self._dtype = np.dtype(reader.dtype)
        self.sample = context.from_host(np.zeros((1, self.n_features), dtype=self._dtype))
        self._threads = threads
        row_bytes = self._dtype.itemsize * self.n_features
        self._there = None
        most = limit // (2 * _WORKING * (threads + 1) * row_bytes)
        if context.backend == "cupy" and isinstance(reader.home, np.ndarray):
            self._there = DeviceRows(context, self.n_rows, self.n_features, self._dtype)
            # on the host there are pinned buffers alone
            most = min(limit // (2 * LANES), BLOCK_BYTES) // row_bytes
        self._most_rows = max(most, _LEAST_ROWS)
        parks = 2 * _STATE_BYTES * self.n_rows > limit and context.backend == "numpy"
        self._shelf = Shelf() if parks else None
        self._buffers: queue.SimpleQueue[Floats] = queue.SimpleQueue()
        self._own: dict[int, Floats] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._reading: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._rows_read = 0
        self.cut(block_rows, piece_rows)

    def hold(self, room: int, /) -> None:
        """On a GPU, hold rows in what is free there beside so many bytes for passes."""
        if self._there is not None:
            self._there.hold(room)

    @property
    def is_stored(self) -> bool:
        """Whether blocks hold their rows as a sparse matrix stores them."""
        return self.reader.is_stored

    @property
    def n_passes(self) -> int:
        """How often the rows were read, those read in part added up.

        Where a GPU holds some, how often the others were.
        """
        if self._there is not None:
            return self._there.n_passes
        return -(-self._rows_read // self.n_rows)

    @property
    def reading(self) -> str:
        """How passes came by the rows, in words."""
        kind = self.reader.kind
        if self._there is not None:
            return f"{kind}, {self._there.reading(self.blocks)}"
        return f"{kind}, read {self.n_passes} times"

    def cut(self, block_rows: int, piece_rows: int, /) -> None:
        """Make blocks without state."""
        self.piece_rows = piece_rows
        self.block_rows = min(block_rows, self._most_rows)
        if self._there is not None:
            self._there.cut(self.block_rows)
        self.blocks = self.spans(block_rows)

    def release(self) -> bool:
        """Hold half as many rows on a GPU; whether any were held."""
        return self._there is not None and self._there.release()

    def spans(self, most_rows: int, /) -> list[Block]:
        """The rows cut anew; never into larger blocks than those of a pass."""
        spans = row_spans(self.n_rows, min(most_rows, self.block_rows))
        return [
            Block(None, None, start, number, length=stop - start)
            for number, (start, stop) in enumerate(spans)
        ]

    @contextmanager
    def working(self) -> Iterator[None]:
        """Hold the threads, and the buffers, for the length of a fit."""
        with ExitStack() as stack:
            if self._threads > 1 and len(self.blocks) > 1:
                stack.enter_context(one_blas_thread())
                self._pool = stack.enter_context(ThreadPoolExecutor(self._threads))
            self._reading = stack.enter_context(ThreadPoolExecutor(1))
            if self._there is not None:
                stack.enter_context(self._there.working())
            try:
                yield
            finally:
                self._pool = self._reading = None
                self._buffers, self._own = queue.SimpleQueue(), {}

    def map(self, task: Callable[[Block], T], blocks: Sequence[Block] | None = None, /) -> list[T]:
        """Run ``task`` once on every block (of the source, or of `spans`), in row order."""
        blocks = self.blocks if blocks is None else blocks
        self.reader.check()
        with self._pass_over(blocks) as (fetch, finish):

            def run(number: int) -> T:
                try:
                    return self._visit(task, blocks[number], functools.partial(fetch, number))
                finally:
                    finish(number)

            if self._pool is None:
                return [run(number) for number in range(len(blocks))]
            futures = [self._pool.submit(quiet, run, number) for number in range(len(blocks))]
            with all_or_none(futures):
                return [future.result() for future in futures]

    def _visit(self, task: Callable[[Block], T], block: Block, fetch: Callable[[], Array]) -> T:
        """Run a task on a block whose rows are fetched if it looks at them."""
        part = slice(block.start, block.start + block.n_rows)
        weight = None if self._weight is None else self._weight[part]
        visit = Visit(fetch, weight, block.start, block.number, block.state, block.length)
        try:
            return task(visit)
        finally:
            for name in [name for name in block.state if name not in _KEPT]:
                # what kernels note to be faster the next time is as large as the rows
                del block.state[name]
            for name, values in block.state.items():
                block.state[name] = _alone(values)
            if self._shelf is not None:
                self._shelf.park(block, block.state)

    @contextmanager
    def _pass_over(
        self, blocks: Sequence[Block]
    ) -> Iterator[tuple[Callable[[int], Array], Callable[[int], None]]]:
        """What brings the rows of a block by its place in the list, and what ends with them."""
        spans = [(block.start, block.start + block.n_rows) for block in blocks]
        if self._there is not None:
            with self._there.over(spans, self._read_over) as staged:
                yield staged.fetch, staged.finish
            return
        used: dict[int, Array] = {}
        with self._read_over(spans) as (read, over):

            def fetch(number: int) -> Array:
                used[number] = rows = read(number)
                return self.context.move(rows)

            def finish(number: int) -> None:
                over(number)
                if number in used:
                    self._give_back(used.pop(number))

            yield fetch, finish

    @contextmanager
    def _read_over(
        self, spans: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[Callable[[int], Floats], Callable[[int], None]]]:
        """What reads a span by its number, and what ends with it."""
        reader = self.reader
        if isinstance(reader, Direct):
            yield lambda number: self._read(reader, *spans[number]), lambda number: None
            return
        with ExitStack() as stack:
            reading = self._reading or stack.enter_context(ThreadPoolExecutor(1))
            parts = counted(reader.parts(spans), self._count)
            rows = assembled(parts, spans, reader, self._buffer)
            ahead = Ahead(rows, self._give_back, reading)
            try:
                yield ahead.fetch, ahead.finish
            finally:
                ahead.close()

    def _read(self, reader: Direct, start: int, stop: int) -> Array:
        self._count(stop - start)
        lying = reader.lying(start, stop)
        if lying is not None:
            return lying
        buffer = self._buffer(stop - start)
        rows = reader.read(start, stop, buffer)
        if rows is not buffer:
            self._give_back(buffer)
        return rows

    def _count(self, n_rows: int) -> None:
        with self._lock:
            self._rows_read += n_rows

    def _buffer(self, n_rows: int) -> Floats:
        """Room for some rows, used again: new pages would have to be made ready each time."""
        if self._there is not None:
            return self._there.feed.buffer(n_rows)
        try:
            found = self._buffers.get_nowait()
        except queue.Empty:
            found = np.empty((0, self.n_features), dtype=self._dtype)
        if len(found) < n_rows:
            self._own.pop(id(found), None)
            found = np.empty((n_rows, self.n_features), dtype=self._dtype)
            self._own[id(found)] = found
        return found[:n_rows]

    def _give_back(self, rows: Array) -> None:
        """Let rows be overwritten, unless they are somebody else's."""
        if self._there is not None:
            self._there.feed.give_back(rows)
            return
        whole = self._own.get(id(rows.base)) if isinstance(rows, np.ndarray) else None
        if whole is not None:
            self._buffers.put(whole)

    def take(self, rows: Sequence[int], /) -> Array:
        """The named rows as one array."""
        self.reader.check()
        return self.context.move(picked(self.reader, rows, self._count))

    def part(self, rows: Sequence[int], /) -> StreamSource | None:
        """The named rows as a source of one thread, without weights, if the reader has such."""
        reader = self.reader.part(rows)
        if reader is None:
            return None
        self._count(len(rows))
        return StreamSource(
            reader,
            None,
            None,
            self.context,
            block_rows=self.block_rows,
            piece_rows=self.piece_rows,
            threads=1,
            limit=self.room,
        )

    def take_weights(self, rows: Sequence[int], /) -> Array | None:
        """The weights of the named rows, if there are weights."""
        if self._weight is None:
            return None
        positions = to_device(np.asarray(rows, dtype=np.int64), self.sample, xp=self.xp)
        return self.xp.take(self._weight, positions)

    def collect(self, name: str, /) -> Array:
        """One state array of all blocks, in row order: a copy, as the state may be written to."""
        return self.xp.concat([block.state[name] for block in self.blocks])


def _alone(values: Any) -> Any:
    """State that is no part of what a pass made of the rows, which it would keep as a whole."""
    whole = values.base if isinstance(values, np.ndarray) else None
    is_part = isinstance(whole, np.ndarray) and whole.nbytes > _FITS * values.nbytes
    return values.copy() if is_part else values
