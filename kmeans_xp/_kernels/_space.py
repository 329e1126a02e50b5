"""Memory that a thread uses again and again."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from .._typing import Array

_ALIGNMENT = 64  # bytes: a line of the cache


class Space(threading.local):
    """Buffers by name, one of each for each thread.

    Fresh temporaries of some 100 KiB may go back to the system after every use, and the pages
    of the next one cost more than the work on them.  What a name gave before is written over.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, npt.NDArray[np.uint8]] = {}

    def __reduce__(self) -> tuple[type[Space], tuple[()]]:
        """What travels to another process finds empty buffers there."""
        return Space, ()

    def take(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array with any content, valid until this thread takes the name again."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            room = np.empty(size + _ALIGNMENT, np.uint8)
            start = -room.ctypes.data % _ALIGNMENT
            buffer = self._buffers[name] = room[start : start + size]
        return buffer[:size].view(dtype).reshape(shape)
