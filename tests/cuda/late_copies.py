"""A GPU of NumPy arrays whose copies land as late as they may, and that tells what may clash.

It stands for the module ``cupy`` as far as rows that come block by block need it.  Kernels run at
once (`emulator` compiles them); a copy on another stream happens when somebody waits for it, and
reads what its buffer holds by then.  Who reads before, finds NaN or what was there; who writes to
memory that queued work may still read, or to a buffer whose copy the host has not seen end, or lets
memory go that is still copied, gets a `Clash`.
"""

from __future__ import annotations

import functools
import sys
import threading
import types
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from emulator import Emulator, compiler

from kmeans_xp._backend import Context, context_of, numpy_context
from kmeans_xp._kernels._reference import ReferenceKernel
from kmeans_xp._kernels.cuda import _kernel
from kmeans_xp._kernels.cuda._kernel import CudaKernel
from kmeans_xp._kernels.cuda._source import Unit
from kmeans_xp.estimators import _place


class Clash(RuntimeError):
    """What a GPU would do in another order than was meant."""


def owner(array: Any) -> Any:
    """The array that memory belongs to."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


class RowsThere(np.ndarray):
    """Rows on the device: whatever reads them is noted, and makes plain arrays."""

    device_of: Gpu

    def __array_finalize__(self, other: Any) -> None:
        if isinstance(other, RowsThere):
            self.device_of = other.device_of

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return getattr(ufunc, method)(*map(read, inputs), **kwargs)

    def __array_function__(self, func: Any, kinds: Any, args: Any, kwargs: Any) -> Any:
        return func(*_read_all(args), **kwargs)

    def astype(self, *args: Any, **kwargs: Any) -> Any:
        return read(self).astype(*args, **kwargs)

    def copy(self, *args: Any, **kwargs: Any) -> Any:
        return read(self).copy(*args, **kwargs)

    def set(self, rows: Any, stream: Stream) -> None:
        """Queue a copy; the memory must not be read any more by work that the stream knows not."""
        gpu: Gpu = self.device_of
        assert self.flags.c_contiguous
        assert rows.flags.c_contiguous
        assert (self.shape, self.dtype) == (rows.shape, rows.dtype)
        if not gpu.is_pinned(rows.ctypes.data):
            raise Clash("an asynchronous copy from memory that is not pinned")
        with gpu.lock:
            if gpu.used.get(id(owner(self)), 0) > stream.knows:
                raise Clash("rows are overwritten that kernels may still read")
            stream.queue.append(_Copy(rows, self))
            gpu.note_copy(rows, stream)


def read(array: Any) -> Any:
    """A plain array, whose memory the work that runs now reads."""
    if not isinstance(array, RowsThere):
        return array
    gpu: Gpu = array.device_of
    with gpu.lock:
        gpu.clock += 1
        if gpu.clock == gpu.failing:
            raise MemoryError("Out of memory allocating 0 bytes")
        gpu.used[id(owner(array))] = gpu.clock
    return array.view(np.ndarray)


def _read_all(found: Any) -> Any:
    if isinstance(found, (list, tuple)):
        return type(found)(map(_read_all, found))
    return read(found)


class _Copy:
    """A copy that is still to come; it keeps no memory alive."""

    def __init__(self, rows: Any, room: Any) -> None:
        self._ends = weakref.ref(owner(rows)), weakref.ref(owner(room))
        self._places = rows.ctypes.data, room.ctypes.data
        self._kind = rows.shape, rows.dtype

    def __call__(self) -> None:
        rows, room = (
            _at(end(), place, *self._kind)
            for end, place in zip(self._ends, self._places, strict=True)
        )
        room[...] = rows


def _at(memory: Any, place: int, shape: tuple[int, ...], dtype: Any) -> Any:
    if memory is None:
        raise Clash("memory is gone before its copy ended")
    plain = memory.view(np.ndarray).reshape(-1).view(np.uint8)
    start = place - plain.ctypes.data
    size = int(np.prod(shape)) * dtype.itemsize
    return plain[start : start + size].view(dtype).reshape(shape)


class Event:
    """A point of a stream; of the one that kernels run on, by the clock."""

    def __init__(self, disable_timing: bool = False) -> None:
        self.stream: Stream | None = None
        self.place = 0

    def synchronize(self) -> None:
        if self.stream is not None:
            self.stream.run(self.place, host=True)


class Stream:
    """Copies in their order."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self.queue: list[_Copy] = []
        self.done = self.seen = self.knows = 0
        gpu.streams.append(self)

    def record(self, event: Event) -> None:
        with self._gpu.lock:
            event.stream, event.place = self, self.done + len(self.queue)

    def wait_event(self, event: Event) -> None:
        """For copies: what kernels did before the event is over."""
        assert event.stream is None or isinstance(event.stream, Kernels)
        self.knows = max(self.knows, event.place)

    def run(self, place: int, *, host: bool = False) -> None:
        """Copy up to a place, of which the host then knows, or does not."""
        with self._gpu.lock:
            self.seen = max(self.seen, place) if host else self.seen
            while self.done < place:
                self.queue.pop(0)()
                self.done += 1

    def synchronize(self) -> None:
        self.run(self.done + len(self.queue), host=True)


class Kernels(Stream):
    """The stream that kernels run on, at once."""

    def record(self, event: Event) -> None:
        event.stream, event.place = self, self._gpu.clock

    def wait_event(self, event: Event) -> None:
        if event.stream is not None:
            event.stream.run(event.place)

    def run(self, place: int, *, host: bool = False) -> None:
        """All is done."""


class CUDARuntimeError(RuntimeError):
    """CuPy's, for what is no array's memory."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class Gpu:
    """The device, and the module ``cupy`` of it; ``free`` bytes are there for rows."""

    def __init__(self, free: int, room: int | None = None) -> None:
        self.id, self.free = 0, free
        self.room = free if room is None else room
        self.lock = threading.RLock()
        self.clock, self.failing = 0, -1
        self.used: dict[int, int] = {}
        self.taken = 0
        self.streams: list[Stream] = []
        self.kernels = Kernels(self)
        self._pinned: dict[int, int] = {}
        self._copied: dict[int, tuple[Stream, int]] = {}  # from buffers
        self.sizes: list[int] = []
        self.buffers = 0
        self.pool = {"free_bytes": 0, "get_limit": 0, "used_bytes": 0}
        self.trouble: list[int] = []  # of the next buffers
        self.context = Context(Namespace(numpy_context().xp), self, "cupy")

    @property
    def mem_info(self) -> tuple[int, int]:
        return self.free, self.free

    def __enter__(self) -> Gpu:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def empty(self, shape: Any, dtype: Any) -> Any:
        """Memory that somebody had before, whose kernels may still be at work."""
        array = np.full(shape, np.nan, dtype=dtype).view(RowsThere)
        if self.taken + array.nbytes > self.room:
            raise MemoryError(f"Out of memory allocating {array.nbytes} bytes")
        self.taken += array.nbytes
        array.device_of = self
        self.sizes.append(len(array))
        memory = owner(array)
        key, size = id(memory), array.nbytes
        read(array)

        def gone() -> None:
            self.taken -= size
            self.used.pop(key, None)

        weakref.finalize(memory, gone)
        return array

    def alloc_pinned_memory(self, size: int) -> Any:
        if self.trouble:
            raise CUDARuntimeError(self.trouble.pop())
        memory = np.full(size, 0xFF, dtype=np.uint8)
        self.pin(memory)
        self.buffers += 1
        self._copied[memory.ctypes.data] = self.kernels, 0
        weakref.finalize(memory, self._copied.pop, memory.ctypes.data)
        return memory

    def note_copy(self, rows: Any, stream: Stream) -> None:
        """A buffer was written, and will be copied: did the host know of the copy before?"""
        place = rows.ctypes.data
        if place in self._copied:
            before, number = self._copied[place]
            if before.seen < number:
                raise Clash("a buffer is written that may still be copied")
            self._copied[place] = stream, stream.done + len(stream.queue)

    def pin(self, memory: Any) -> None:
        start = memory.ctypes.data
        self._pinned[start] = start + memory.nbytes
        weakref.finalize(owner(memory), self._pinned.pop, start)

    def is_pinned(self, place: int) -> bool:
        return any(start <= place < end for start, end in self._pinned.items())

    @property
    def module(self) -> Any:
        pool = types.SimpleNamespace(
            **{name: functools.partial(self.pool.__getitem__, name) for name in self.pool}
        )
        runtime = types.SimpleNamespace(
            memoryTypeHost=1,
            CUDARuntimeError=CUDARuntimeError,
            pointerGetAttributes=lambda place: types.SimpleNamespace(
                type=int(self.is_pinned(place))
            ),
        )
        cuda = types.SimpleNamespace(
            Stream=lambda non_blocking: Stream(self),
            Event=Event,
            alloc_pinned_memory=self.alloc_pinned_memory,
            get_current_stream=lambda: self.kernels,
            runtime=runtime,
        )
        module = types.ModuleType("cupy")
        vars(module).update(
            cuda=cuda,
            empty=self.empty,
            ndarray=type("ndarray", (), {}),
            get_default_memory_pool=lambda: pool,
        )
        return module

    @property
    def is_copying(self) -> bool:
        """Whether a copy is to come."""
        return any(stream.queue for stream in self.streams)

    def finish(self) -> None:
        """All that was queued happens."""
        for stream in self.streams:
            stream.synchronize()


class Namespace:
    """NumPy's, which knows no such device."""

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self.__name__ = "cupy"

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._xp, name)
        if isinstance(found, type) or not callable(found):
            return found

        def called(*args: Any, device: Any = None, **kwargs: Any) -> Any:
            return found(*args, **kwargs)

        return called


class Reading(Emulator):
    """Launches whose reads are noted."""

    def launch(
        self, unit: Unit, name: str, grid: int, shared: int, arguments: Sequence[Any], /
    ) -> None:
        super().launch(unit, name, grid, shared, [read(part) for part in arguments])


@contextmanager
def on_gpu(gpu: Gpu, *, emulated: bool = False) -> Iterator[None]:
    """Let the word "cuda" name this GPU for arrays; emulated CUDA kernels take g++ a while."""
    xp = numpy_context().xp
    if emulated:
        compiler()
    kernel = CudaKernel(xp, launcher=Reading()) if emulated else ReferenceKernel(xp)

    def resolve(array: Any, device: str | None) -> tuple[Context, Context]:
        return (gpu.context if device == "cuda" else numpy_context()), context_of(array)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", gpu.module)
        patch.setattr(_kernel, "make_kernel", lambda context: kernel)
        patch.setattr(_place, "resolve", resolve)
        yield
    gpu.finish()
