"""What measurements on a GPU share: a record with a time, the device, rows, and clocks."""

from __future__ import annotations

import pathlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from _report import write

Record = dict[str, Any]
_ROUNDS, _SECONDS = 7, 2.0
_CHUNK = 1 << 20


@dataclass
class Keeper:
    """A section's record, where it is kept, and when its time is over."""

    path: pathlib.Path | None
    seconds: float
    record: Record = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)

    def left(self) -> float:
        """Seconds that are left."""
        return self.seconds - (time.perf_counter() - self.began)

    def save(self) -> None:
        write(self.record, self.path)

    def add(self, name: str, value: Any) -> None:
        """Another result of a list, kept at once."""
        self.record.setdefault(name, []).append(value)
        self.save()

    def has_time(self, what: str) -> bool:
        """Whether to begin with something; if not, the record says that it was left out."""
        if self.left() > 0:
            return True
        self.add("left out, the time was over", what)
        return False


class Gpu:
    """CuPy's current device: arrays on it, and the time that work takes there."""

    def __init__(self) -> None:
        import cupy

        self.xp = cupy

    def time(self, task: Callable[[], object]) -> float:
        """Milliseconds between two events around the task."""
        events = self.xp.cuda.Event(), self.xp.cuda.Event()
        events[0].record()
        task()
        events[1].record()
        events[1].synchronize()
        return float(self.xp.cuda.get_elapsed_time(*events))

    def wait(self) -> None:
        self.xp.cuda.Device().synchronize()

    def release(self) -> None:
        """Give back what the pool keeps for later."""
        self.wait()
        self.xp.get_default_memory_pool().free_all_blocks()

    def limit(self, size: int | None) -> None:
        """Let the pool have so many bytes more; None: all that the device has."""
        pool = self.xp.get_default_memory_pool()
        pool.set_limit(size=0 if size is None else pool.used_bytes() + size)

    def taken(self) -> int:
        """Bytes that the pool has from the device; it grows to what was needed at a time."""
        return int(self.xp.get_default_memory_pool().total_bytes())


def rows_of(kind: str, n: int, d: int, k: int, gpu: Any) -> Any:
    """Float32 rows, made where they are needed: "uniform", or "blobs" around k centers."""
    xp, random = gpu.xp, gpu.xp.random.default_rng(0)
    rows = xp.empty((n, d), dtype=xp.float32)
    centers = 4 * random.standard_normal((k, d), dtype=xp.float32)
    for start in range(0, n, _CHUNK):
        part = rows[start : start + _CHUNK]
        if kind == "uniform":
            part[...] = random.random(part.shape, dtype=xp.float32)
        else:
            part[...] = centers[random.integers(0, k, len(part))]
            part += random.standard_normal(part.shape, dtype=xp.float32)
    return rows


def timed(task: Callable[[], object], gpu: Any) -> Record:
    """A first call, then rounds while they are cheap."""
    first, times = gpu.time(task), []
    began = time.perf_counter()
    while len(times) < _ROUNDS and (not times or time.perf_counter() - began < _SECONDS):
        times.append(gpu.time(task))
    return {"ms": statistics.median(times), "ms by round": times, "first ms": first}


def waited(task: Callable[[], object], gpu: Any, rounds: int) -> float:
    """Median of milliseconds by the wall's clock, after warm-up."""
    times = []
    for number in range(-1, rounds):
        gpu.wait()
        began = time.perf_counter()
        task()
        gpu.wait()
        if number >= 0:  # before, kernels are compiled and the pool fills
            times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times)
