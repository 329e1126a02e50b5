"""Where the state of rows lies while nobody works on them: a temporary file, mapped to memory.

The system writes such pages out where it needs their room, so that they count as no memory.  The
file has no name and is gone with the process.
"""

from __future__ import annotations

import itertools
import mmap
import os
import tempfile
import threading
import weakref
from collections import defaultdict
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ._typing import Block

_SLAB = 64 << 20
_LEAST = 1 << 12  # bytes: smaller arrays stay where they are


class Shelf:
    """Keeps arrays of blocks' states in a file; each block has places of its own there."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="kmeans_xp-")  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._lock = threading.RLock()  # blocks may be collected while it is held
        self._end = 0
        self._slab: npt.NDArray[np.uint8] = np.empty(0, dtype=np.uint8)
        self._slabs: list[npt.NDArray[np.uint8]] = []
        self._free: dict[int, list[npt.NDArray[np.uint8]]] = defaultdict(list)
        self._places: dict[int, dict[str, npt.NDArray[np.uint8]]] = {}
        self._numbers = itertools.count()
        self._known: dict[int, int] = {}

    def park(self, block: Block, state: dict[str, Any]) -> None:
        """Move the large arrays of a block's state to the file."""
        with self._lock:
            places = self._places_of(block)
        for name, value in state.items():
            # views of what lies in other places are copied before those are written to
            state[name] = _mapped(value, name, lambda array, at: self._apart(array, places.get(at)))
        for name, value in state.items():
            state[name] = _mapped(value, name, lambda array, at: self._put(array, at, places))

    def _places_of(self, block: Block) -> dict[str, npt.NDArray[np.uint8]]:
        number = self._known.get(id(block))
        if number is None:
            number = self._known[id(block)] = next(self._numbers)
            self._places[number] = {}
            weakref.finalize(block, self._release, id(block)).atexit = False
        return self._places[number]

    def _release(self, key: int) -> None:
        with self._lock:
            for place in self._places.pop(self._known.pop(key)).values():
                self._free[place.size].append(place)

    def _apart(self, array: npt.NDArray[Any], own: npt.NDArray[np.uint8] | None) -> Any:
        if own is not None and _begins_at(array, own):
            return array
        if any(np.may_share_memory(array, slab) for slab in self._slabs):
            return array.copy()
        return array

    def _put(self, array: npt.NDArray[Any], at: str, places: dict[str, Any]) -> Any:
        place = places.get(at)
        if place is not None and _begins_at(array, place):
            return array
        if place is None or place.size < array.nbytes:
            with self._lock:
                if place is not None:
                    self._free[place.size].append(place)
                place = places[at] = self._place(array.nbytes)
        parked = place[: array.nbytes].view(array.dtype).reshape(array.shape)
        parked[...] = array
        return parked

    def _place(self, n_bytes: int) -> npt.NDArray[np.uint8]:
        """A free place of so many bytes or more."""
        size = 1 << (n_bytes - 1).bit_length()
        if self._free[size]:
            return self._free[size].pop()
        if self._slab.size < size:
            length = max(_SLAB, size)
            try:
                if hasattr(os, "posix_fallocate"):
                    # now, not when a page is written to: that would end the process
                    os.posix_fallocate(self._file.fileno(), self._end, length)
                else:
                    self._file.truncate(self._end + length)
            except OSError as error:
                raise OSError(
                    f"no room for {length} bytes of what is kept beside the rows in "
                    f"{tempfile.gettempdir()}: {error.strerror}. Set TMPDIR to a folder on a disk "
                    "with more room, or raise memory_limit"
                ) from error
            whole = mmap.mmap(self._file.fileno(), length, offset=self._end)
            self._end += length
            self._slab = np.frombuffer(whole, dtype=np.uint8)
            self._slabs.append(self._slab)
        place, self._slab = self._slab[:size], self._slab[size:]
        return place


def _begins_at(array: npt.NDArray[Any], place: npt.NDArray[np.uint8]) -> bool:
    return bool(array.ctypes.data == place.ctypes.data and array.flags.c_contiguous)


def _mapped(value: Any, at: str, change: Any) -> Any:
    """A state with its large arrays changed, also those in tuples and dataclasses."""
    if isinstance(value, np.ndarray):
        return change(value, at) if value.nbytes >= _LEAST else value
    if isinstance(value, tuple):
        parts = [_mapped(part, f"{at}.{i}", change) for i, part in enumerate(value)]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)]
        return replace(
            value, **{name: _mapped(getattr(value, name), f"{at}.{name}", change) for name in names}
        )
    return value
