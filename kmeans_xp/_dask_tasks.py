"""What runs on dask's workers: a task on the blocks of some partitions, and what they remember.

A worker remembers the state of blocks from pass to pass; that saves time and never decides.  A
task takes the state out, so that a second copy of it finds none (instead of one half changed), uses
it only if it is what the pass before left, and otherwise makes it anew.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from ._backend import Context, context_of
from ._exact import Accumulator, carry
from ._threads import one_blas_thread
from ._travel import Kind, at_home, kernel_there, unpack
from ._typing import Array, Block, Kernel

_SHARE = 4  # of the memory, for what blocks remember
_KEPT_TASKS = 4
_DROPPED = 64  # fits of which tasks may still run
_KEPT_KERNELS = 16  # as many as devices of one process, or more

Place = tuple[int, int]
"""Which block: its first row, its number of rows."""


@dataclass(frozen=True)
class Spot:
    """A block of a partition: where it begins there, and the pass that left its state."""

    place: Place
    number: int
    offset: int
    version: int | None


@dataclass(frozen=True)
class Spots:
    """The blocks of one partition that a pass is over, and the turn of each in the pass."""

    turns: list[int]
    spots: list[Spot]


@dataclass(frozen=True)
class Pass:
    """A task made ready to travel.

    ``forgotten`` says for names after which pass they were dropped, ``left`` which blocks were;
    ``words`` is that of the accumulator, None for a task that adds to none.
    """

    fit: str
    number: int
    words: int | None
    task: bytes
    recipes: bytes
    forgotten: Mapping[str, int]
    left: Sequence[Place] = ()


@dataclass(frozen=True)
class Part:
    """What a task, or several, leave: replies by the block's turn in the pass, and sums.

    ``lost`` counts the blocks whose state was not where the task ran.
    """

    replies: dict[int, Any]
    total: Array | None
    lost: int

    def __add__(self, other: Part) -> Part:
        total = self.total if other.total is None else other.total
        if self.total is not None and other.total is not None:
            total = carry(self.total + other.total, xp=np)
        return Part({**self.replies, **other.replies}, total, self.lost + other.lost)


class Memory:
    """State of blocks in this process, in a share of its memory.

    When it is full, what other fits left goes, oldest first; blocks of the same fit are then not
    remembered (the oldest would be needed soonest).
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, Place], tuple[int, dict[str, Any], int]] = OrderedDict()
        self._bytes = 0
        self._dropped: deque[str] = deque(maxlen=_DROPPED)

    def take(self, fit: str, spot: Spot) -> dict[str, Any] | None:
        """Take out the state that the named pass left; None if another did, or none."""
        with self._lock:
            found = self._kept.pop((fit, spot.place), None)
            if found is None:
                return None
            version, state, size = found
            self._bytes -= size
        return state if version == spot.version else None

    def keep(self, fit: str, place: Place, version: int, state: dict[str, Any]) -> None:
        """Remember the state that a pass left, unless its fit was dropped."""
        size = _bytes_of(state)
        with self._lock:
            if fit in self._dropped:
                return
            if self._bytes + size > self.most_bytes:
                self._make_room(fit, size)
            before = self._kept.pop((fit, place), None)
            self._bytes -= before[2] if before else 0
            if self._bytes + size <= self.most_bytes:
                self._kept[fit, place] = version, state, size
                self._bytes += size

    def _make_room(self, fit: str, size: int) -> None:
        """Drop what other fits left, oldest first."""
        others = iter([key for key in self._kept if key[0] != fit])
        while self._bytes + size > self.most_bytes and (key := next(others, None)) is not None:
            self._bytes -= self._kept.pop(key)[2]

    def leave(self, fit: str, places: Sequence[Place], before: int) -> None:
        """Forget what passes before this one left of some blocks of a fit."""
        with self._lock:
            for key in [(fit, place) for place in places]:
                if key in self._kept and self._kept[key][0] < before:
                    self._bytes -= self._kept.pop(key)[2]

    def drop(self, fit: str) -> None:
        """Forget a fit for good."""
        with self._lock:
            self._dropped.append(fit)
            for key in [key for key in self._kept if key[0] == fit]:
                self._bytes -= self._kept.pop(key)[2]

    def __len__(self) -> int:
        return len(self._kept)


def _bytes_of(value: Any) -> int:
    if hasattr(value, "nbytes"):
        return int(value.nbytes)
    if isinstance(value, dict):
        return sum(map(_bytes_of, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_bytes_of, value))
    if is_dataclass(value):
        return sum(_bytes_of(getattr(value, part.name)) for part in fields(value))
    return 0


def physical_memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


MEMORY = Memory(physical_memory() // _SHARE // max(1, os.cpu_count() or 1))
"""What blocks remember in this process: of its machine's memory, a share for each processor."""


def forget(fit: str) -> None:
    """Drop what this process remembers of a fit."""
    MEMORY.drop(fit)


async def forget_there(fit: str) -> None:
    """The same, for a client that does not wait until all workers have."""
    forget(fit)


class _Last:
    """The last few things made in this process, by key."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.RLock()  # a task that is unpickled asks for its kernel
        self._kept: OrderedDict[Any, Any] = OrderedDict()

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
                if len(self._kept) > self._most:
                    self._kept.popitem(last=False)
            return self._kept[key]


_TASKS = _Last(_KEPT_TASKS)  # what one prepares is prepared once for all blocks
_KERNELS = _Last(_KEPT_KERNELS)


def _opened(work: Pass, packed: bytes, context: Context) -> Any:
    """A task in the context of the rows of a partition, with the kernel of the fit there."""

    def kernel(kind: Kind) -> Kernel:
        # it learns from pass to pass what pays
        make = functools.partial(kernel_there, context, kind)
        found: Kernel = _KERNELS.get((work.fit, kind, *_name(context)), make)
        return found

    return unpack(packed, context, kernel)


def _name(context: Context) -> tuple[str, str]:
    return context.backend, context.device_name


class _OneBlasThread:
    """BLAS on one thread each as long as a task runs here: the limit is the whole process's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limit = contextlib.ExitStack()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        with self._lock:
            if self._inside == 0:
                self._limit.enter_context(one_blas_thread())
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._limit.close()


one_blas_thread_at_a_time = _OneBlasThread().held


def run_all(
    work: Pass, xs: Sequence[Array], weights: Sequence[Array] | None, spots: Sequence[Spots]
) -> Part:
    """Run a pass on blocks of some partitions, one partition after another."""
    MEMORY.leave(work.fit, work.left, work.number)
    theirs = [None] * len(xs) if weights is None else weights
    return merge([run(work, *one) for one in zip(xs, theirs, spots, strict=True)])


def run(work: Pass, x: Array, weight: Array | None, spots: Spots) -> Part:
    """Run a pass on blocks of one partition, where its rows are."""
    context = context_of(x)
    with one_blas_thread_at_a_time(), context.scope():
        key = work.fit, work.number, *_name(context)
        task = _TASKS.get(key, functools.partial(_opened, work, work.task, context))
        sums = None if work.words is None else Accumulator(context.xp, work.words)
        replies, lost = {}, 0
        weight = None if weight is None else context.move(weight)
        for turn, spot in zip(spots.turns, spots.spots, strict=True):
            block, is_lost = _open(work, x, weight, spot, context)
            lost += is_lost
            replies[turn] = at_home(task(block) if sums is None else task(block, sums))
            MEMORY.keep(work.fit, spot.place, work.number, block.state)
        return Part(replies, None if sums is None else at_home(sums.total()), lost)


def _open(
    work: Pass, x: Array, weight: Array | None, spot: Spot, context: Context
) -> tuple[Block, bool]:
    """A block with its rows, and the state that the pass before left; whether that was lost."""
    start, length = spot.place
    rows = slice(spot.offset, spot.offset + length)
    state = MEMORY.take(work.fit, spot)
    block = Block(
        x[rows, :], None if weight is None else weight[rows], start, spot.number, state or {}
    )
    if state is not None:
        for name, number in work.forgotten.items():
            if spot.version is not None and spot.version <= number:
                state.pop(name, None)
        return block, False
    if spot.version is None:
        return block, False
    for recipe in _opened(work, work.recipes, context):
        recipe(block)
    return block, True


def merge(parts: Sequence[Part]) -> Part:
    """Add up what tasks left."""
    first, *rest = parts
    for part in rest:
        first = first + part
    return first
