"""Rows that do not fit a GPU: the first of them are held there, the others come block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import numpy as np

from ._ahead import Staged
from ._backend import Context
from ._feed import Feed, Floats, Lane
from ._sources import row_spans
from ._typing import Array, Block

BLOCK_BYTES = 1 << 26
LANES = 2  # one is worked on while the other is copied to

Span = tuple[int, int]
Reading = tuple[Callable[[int], Floats], Callable[[int], None]]
ReadOver = Callable[[Sequence[Span]], AbstractContextManager[Reading]]
"""What opens spans for one pass: what reads one by its number, and what ends with it."""


class DeviceRows:
    """What a GPU has of rows that lie elsewhere.

    Parameters
    ----------
    context : CuPy's, whose scope is held
    n_rows, n_features, dtype : of the rows

    ``feed`` has the buffers for what is read.
    """

    def __init__(
        self, context: Context, n_rows: int, n_features: int, dtype: np.dtype[Any]
    ) -> None:
        self._context, self._n_rows = context, n_rows
        self._row_bytes = dtype.itemsize * n_features
        self.feed = Feed(context, n_features, dtype)
        self._lanes: list[Lane] = []
        self._pool: ThreadPoolExecutor | None = None
        self._room = 0
        self._n_held: int | None = 0  # None: as many as will fit
        self._held: Array | None = None
        self._copied = self._earlier = 0

    def hold(self, room: int, /) -> None:
        """Hold rows in what is free when the first pass begins, beside so many bytes for passes."""
        self._room, self._n_held = room, None

    @contextmanager
    def working(self) -> Iterator[None]:
        """Hold the thread that copies, and memory for blocks, for the length of a fit."""
        with ThreadPoolExecutor(1) as self._pool:
            try:
                yield
            finally:
                self._pool = None
                self._close()

    def cut(self, block_rows: int, /) -> None:
        """Take blocks of so many rows."""
        self._close()
        self._block_rows = min(block_rows, self._n_rows)
        if self._held is None and self._n_held not in (None, self._n_rows):
            self._n_held -= self._n_held % self._block_rows

    def release(self) -> bool:
        """Hold half as many rows from now on; whether any were to be held."""
        self._close()
        self._earlier, self._copied = self._earlier + self._n_copies, 0
        self._held, before = None, self._n_held
        self._n_held = (before or 0) // 2
        self._n_held -= self._n_held % self._block_rows
        return before != 0

    def _close(self) -> None:
        self.feed.close()
        self._lanes = []

    @property
    def _n_copies(self) -> int:
        """How often the rows that are not held were copied since blocks were cut."""
        return -(-self._copied // max(self._n_rows - (self._n_held or 0), 1))

    @property
    def n_passes(self) -> int:
        """How often rows were copied, those that are held once."""
        return max(self._earlier + self._n_copies, 1)

    def reading(self, blocks: Sequence[Block], /) -> str:
        """Where these blocks were, in words."""
        name, n_held = self._context.device_name, self._n_held or 0
        if n_held == self._n_rows:
            return f"held on {name}"
        copied = f"copied in each of {self.n_passes} passes"
        held = sum(block.start + block.n_rows <= n_held for block in blocks)
        if held == 0:
            return f"none of {len(blocks)} blocks held on {name}, all {copied}"
        return f"{held} of {len(blocks)} blocks held on {name}, the others {copied}"

    @contextmanager
    def over(self, spans: Sequence[Span], read_over: ReadOver, /) -> Iterator[Staged]:
        """Begin a pass over spans in their order."""
        with ExitStack() as stack:
            if self._pool is None:
                stack.enter_context(self.working())
            assert self._pool is not None
            self._prepare(read_over)
            held = self._views(spans)
            away = spans[len(held) :]
            read, over = stack.enter_context(read_over(away))

            def counted(number: int) -> Floats:
                start, stop = away[number]
                self._copied += stop - start
                return read(number)

            staged = Staged(held, len(away), counted, over, self._lanes, self._pool)
            stack.callback(staged.close)
            yield staged

    def _prepare(self, read_over: ReadOver) -> None:
        """Take memory, and copy the rows to hold; they stay until room is short."""
        if self._n_held is None:
            self._n_held = self._share()
        if self._n_held and self._held is None:
            held = self.feed.empty(self._n_held)
            spans = list(row_spans(self._n_held, self._block_rows))
            try:
                with read_over(spans) as (read, over):
                    for number, (start, stop) in enumerate(spans):
                        self.feed.lane(held[start:stop, :]).load(read(number))
                        over(number)
            finally:
                self.feed.wait()
            self._held = held
        if self._n_held < self._n_rows and not self._lanes:
            self._lanes = [self.feed.lane(self.feed.empty(self._block_rows)) for _ in range(LANES)]

    def _share(self) -> int:
        """How many rows fit beside what passes need: all, or whole blocks."""
        free = self._context.free_memory
        assert free is not None
        spare = max(free - self._room, 0)
        if spare >= self._n_rows * self._row_bytes:
            return self._n_rows
        spare = max(spare - LANES * self._block_rows * self._row_bytes, 0)
        rows = min(spare // self._row_bytes, self._n_rows - 1)
        return rows // self._block_rows * self._block_rows

    def _views(self, spans: Sequence[Span]) -> list[Array]:
        """The rows of the first spans, as long as they are held."""
        views: list[Array] = []
        for start, stop in spans:
            if self._held is None or stop > self._held.shape[0]:
                break
            views.append(self._held[start:stop, :])
        return views
