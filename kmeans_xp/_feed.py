"""Rows on their way to a GPU: pinned buffers, and a stream of its own for the copies."""

from __future__ import annotations

import sys
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ._backend import Context
from ._typing import Array

Floats = npt.NDArray[np.floating]

_BUFFERS = 2  # one is written while the other is copied
_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation, whose name CuPy keeps to itself


@dataclass
class _Buffer:
    """Pinned memory, and the event that its last copy has ended."""

    rows: Floats
    landed: Any


class Feed:
    """Copies rows of one width to a GPU, while kernels work on rows before them.

    The stream of the copies must not wait for the default stream, nor that for it: only events
    make an order.  A buffer is written again once its last copy has ended.
    """

    def __init__(self, context: Context, n_features: int, dtype: np.dtype[Any]) -> None:
        self._cupy = sys.modules["cupy"]
        self._device = context.device
        self._width, self._dtype = n_features, dtype
        with self._device:
            self._copies = self._cupy.cuda.Stream(non_blocking=True)
        self._lock = threading.Lock()
        self._made = 0
        self._free: deque[_Buffer] = deque()
        self._lent: dict[int, _Buffer] = {}

    def buffer(self, n_rows: int, /) -> Floats:
        """Pinned memory for some rows; the host waits until the copy from it has ended."""
        with self._lock:
            found = self._free.popleft() if self._free and self._made >= _BUFFERS else None
            self._made += found is None
        if found is not None:
            with self._device:
                found.landed.synchronize()
        if found is None or len(found.rows) < n_rows:
            found = self._pinned(n_rows)
        with self._lock:
            self._lent[found.rows.ctypes.data] = found
        return found.rows[:n_rows]

    def _pinned(self, n_rows: int) -> _Buffer:
        cuda = self._cupy.cuda
        shape = (n_rows, self._width)
        with self._device:
            try:
                memory = cuda.alloc_pinned_memory(n_rows * self._width * self._dtype.itemsize)
            except cuda.runtime.CUDARuntimeError as error:
                if error.status != _OUT_OF_MEMORY:
                    raise
                raise MemoryError(f"no pinned host memory for {n_rows} rows: {error}") from error
            rows: Floats = np.ndarray(shape, dtype=self._dtype, buffer=memory)
            return _Buffer(rows, cuda.Event(disable_timing=True))

    def give_back(self, rows: Array, /) -> None:
        """Let a buffer be written again, unless the rows are somebody else's."""
        with self._lock:
            found = self._lent.pop(rows.ctypes.data, None)
            if found is not None:
                self._free.append(found)

    def lane(self, room: Array, /) -> Lane:
        """Make rows on the device ready to be copied to, in order with the current stream."""
        return Lane(self, room)

    def empty(self, n_rows: int, /) -> Array:
        """Memory on the device, of the current stream: nobody else gets it when it is given up."""
        return self._cupy.empty((n_rows, self._width), dtype=self._dtype)

    def event(self) -> Any:
        return self._cupy.cuda.Event(disable_timing=True)

    @property
    def current(self) -> Any:
        """The stream that the work joins."""
        return self._cupy.cuda.get_current_stream()

    def send(self, rows: Floats, room: Array, after: Any, landed: Any, /) -> None:
        """Begin to copy rows, once the first event was reached; the second one tells the end.

        Rows that are not pinned go through a buffer: from other memory no copy is asynchronous.
        """
        with self._lock:
            buffer = self._lent.get(rows.ctypes.data)
        with self._device:
            if buffer is None and not self._is_pinned(rows):
                pinned = self.buffer(len(rows))
                pinned[...] = rows
                rows, buffer = pinned, self._lent[pinned.ctypes.data]
            self._copies.wait_event(after)
            room.set(rows, stream=self._copies)
            self._copies.record(landed)
            if buffer is not None:
                self._copies.record(buffer.landed)
        self.give_back(rows)

    def _is_pinned(self, rows: Floats) -> bool:
        """Whether the whole of some rows is pinned memory of the user's."""
        if not (rows.flags.c_contiguous and rows.dtype == self._dtype):
            return False
        runtime = self._cupy.cuda.runtime
        start = rows.ctypes.data
        return all(
            runtime.pointerGetAttributes(place).type == runtime.memoryTypeHost
            for place in (start, start + rows.nbytes - 1)
        )

    def wait(self) -> None:
        """Wait for the end of all copies."""
        with self._device:
            self._copies.synchronize()

    def close(self) -> None:
        """Give up the buffers, and let others go: no memory goes while it is copied."""
        self.wait()
        with self._lock:
            self._free.clear()
            self._lent.clear()
            self._made = 0


class Lane:
    """Memory on the device that rows of one block after another are copied to."""

    def __init__(self, feed: Feed, room: Array) -> None:
        self._feed, self._room = feed, room
        self._n_rows = 0
        self._landed, self._left = feed.event(), feed.event()
        # whoever had the memory before may still be at work
        feed.current.record(self._left)

    def load(self, rows: Floats, /) -> None:
        """Begin to copy rows, once the work on those before has ended."""
        self._n_rows = len(rows)
        self._feed.send(rows, self._room[: len(rows), :], self._left, self._landed)

    def rows(self) -> Array:
        """The rows, for work of the current stream, which waits for them."""
        self._feed.current.wait_event(self._landed)
        return self._room[: self._n_rows, :]

    def leave(self) -> None:
        """Say that the current stream has been given all work on the rows."""
        self._feed.current.record(self._left)
