"""Spans of rows that are fetched before they are asked for, while others are worked on."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from ._feed import Floats, Lane
from ._typing import Array


class Ahead:
    """Spans of a reader that is not direct, one of which is read while others are worked on."""

    def __init__(
        self,
        rows: Iterator[Floats],
        give_back: Callable[[Floats], None],
        pool: ThreadPoolExecutor,
    ) -> None:
        self._rows, self._give_back = rows, give_back
        self._pool, self._lock = pool, threading.Lock()
        self._next = 0
        self._there: dict[int, Floats] = {}
        self._over: set[int] = set()
        self._coming: Future[Floats | None] | None = None

    def fetch(self, number: int) -> Floats:
        """The rows of a span; each is asked for once at most."""
        with self._lock:
            while number not in self._there:
                if self._coming is None:
                    self._coming = self._pool.submit(next, self._rows, None)
                rows = self._coming.result()
                assert rows is not None
                if self._next in self._over:
                    self._give_back(rows)
                else:
                    self._there[self._next] = rows
                self._next += 1
                self._coming = self._pool.submit(next, self._rows, None)
            return self._there.pop(number)

    def finish(self, number: int) -> None:
        """Keep no rows of a span, if nobody asked for them."""
        with self._lock:
            self._over.add(number)
            rows = self._there.pop(number, None)
        if rows is not None:
            self._give_back(rows)

    def close(self) -> None:
        """End the pass; what is being read is waited for."""
        if self._coming is not None and not self._coming.cancel():
            wait([self._coming])


class Staged:
    """Spans on a GPU: the first are held there, of the others one is copied ahead.

    ``held``: the rows of those that are held; ``n_spans``: how many others there are, numbered
    after them.  One thread asks for them.
    """

    def __init__(
        self,
        held: Sequence[Array],
        n_spans: int,
        read: Callable[[int], Floats],
        over: Callable[[int], None],
        lanes: Sequence[Lane],
        pool: ThreadPoolExecutor,
    ) -> None:
        self._held, self._n_spans = held, n_spans
        self._read, self._over, self._pool = read, over, pool
        self._free = deque(lanes)
        self._coming: tuple[int, Lane, Future[None]] | None = None
        self._used: dict[int, Lane] = {}

    def fetch(self, number: int) -> Array:
        """The rows of a span, for work of the current stream."""
        away = number - len(self._held)
        if away < 0:
            self._begin(0)
            return self._held[number]
        if self._coming is not None and self._coming[0] != away:
            self._drop()
        self._begin(away)
        assert self._coming is not None
        _, lane, coming = self._coming
        coming.result()
        self._coming, self._used[number] = None, lane
        self._begin(away + 1)
        return lane.rows()

    def finish(self, number: int) -> None:
        """Let the memory of a span be used again."""
        lane = self._used.pop(number, None)
        if lane is not None:
            lane.leave()
            self._free.append(lane)
        away = number - len(self._held)
        if away < 0:
            return
        if self._coming is not None and self._coming[0] == away:
            self._drop()
        self._over(away)

    def close(self) -> None:
        """End the pass; what is being read is waited for."""
        if self._coming is not None:
            self._drop()

    def _begin(self, away: int) -> None:
        """Read and copy a span in another thread, if there is one and none is on its way."""
        if self._coming is not None or away >= self._n_spans:
            return
        lane = self._free.popleft()
        self._coming = away, lane, self._pool.submit(lambda: lane.load(self._read(away)))

    def _drop(self) -> None:
        """Nobody asked for what was fetched ahead; copies to its lane come one after another."""
        assert self._coming is not None
        _, lane, coming = self._coming
        self._coming = None
        if not coming.cancel():
            wait([coming])
        self._free.append(lane)
