"""Rows split over the devices of this process: a thread a device, sums merged exactly."""

from __future__ import annotations

import bisect
import functools
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._backend import Context, context_of, dtype_name, resolve, synchronize
from ._cuda import probe_cuda
from ._exact import Accumulator, carry
from ._sources import all_or_none
from ._travel import Away, Kind, Packed, Together, at_home, kernel_there, pack_here, unpack
from ._typing import Array, Block, Kernel, T, slices
from .exceptions import DeviceError


def devices_named(array: Array, words: Sequence[str]) -> tuple[list[Context], Context]:
    """As `resolve` for several device words: where the work happens, and where results go.

    ``"cuda:all"`` names all GPUs; devices of X's own library go by their names in ``device_``.
    """
    home = context_of(array)
    found: list[Context] = []
    for word in words:
        if word == "cuda:all":
            count = max(1, probe_cuda().device_count)
            found += [resolve(array, f"cuda:{number}")[0] for number in range(count)]
        elif re.fullmatch(r"cpu|cuda(:\d+)?", word):
            found.append(resolve(array, word)[0])
        else:
            found.append(_own_device(home, word))
    names = [context.device_name for context in found]
    if len(set(names)) < len(names):
        raise DeviceError(
            f"device={','.join(words)!r} names a device twice: {', '.join(names)}. Name each once."
        )
    return found, home


def _own_device(home: Context, word: str) -> Context:
    """A device of the library of some array."""
    names = []
    if home.backend != "numpy":
        # JAX names its default, too, which is None
        devices = home.xp.__array_namespace_info__().devices()
        for device in (device for device in devices if device is not None):
            context = Context(home.xp, device, home.backend)
            if context.device_name == word:
                return context
            names.append(context.device_name)
    there = f", or a device of {home.backend} ({', '.join(dict.fromkeys(names))})" if names else ""
    raise DeviceError(
        f"the device {word!r} is not known. Among several, use 'cpu', 'cuda:0' (any number), "
        f"'cuda:all' for all GPUs{there}."
    )


@dataclass(frozen=True)
class Share:
    """The rows and weights that lie on a device, from which row on, and the device's kernels."""

    context: Context
    x: Array
    weight: Array | None
    start: int
    kernels: dict[Kind, Kernel]

    @property
    def stop(self) -> int:
        return self.start + int(self.x.shape[0])

    def kernel(self, kind: Kind, /) -> Kernel:
        """The kernel, which learns from pass to pass what pays."""
        if kind not in self.kernels:
            self.kernels[kind] = kernel_there(self.context, kind)
        return self.kernels[kind]

    def visit(self, block: Block, /) -> Block:
        """A block with its rows; its state is the block's own."""
        rows = slice(block.start - self.start, block.start - self.start + block.n_rows)
        weight = None if self.weight is None else self.weight[rows]
        return replace(block, x=self.x[rows, :], weight=weight)


def shared_out(
    devices: Sequence[Context],
    n_rows: int,
    bring: Callable[[Context, slice], tuple[Array, Array | None]],
    /,
) -> list[Share]:
    """As many rows for each device, of few none for some; ``bring`` moves rows there."""
    edges = [n_rows * number // len(devices) for number in range(len(devices) + 1)]
    shares = []
    for context, (start, stop) in zip(devices, itertools.pairwise(edges), strict=True):
        if start == stop:
            continue
        with context.scope():
            shares.append(Share(context, *bring(context, slice(start, stop)), start, {}))
            # other threads, with streams of their own, go on from here
            synchronize(context)
    return shares


class SeveralSource(Away):
    """Rows that lie on several devices; tasks go there, and only what adds up comes back.

    Parameters
    ----------
    parts : the rows, in order
    weight_exponent : the power of two that was taken out of the weights
    context : that of all devices together
    block_rows, piece_rows : as for other sources; no block spans two devices
    """

    room = None

    def __init__(
        self,
        parts: Sequence[Share],
        weight_exponent: int | None,
        context: Together,
        *,
        block_rows: int,
        piece_rows: int,
    ) -> None:
        self.context, self.xp, self.weight_exponent = context, context.xp, weight_exponent
        self._parts, self._starts = parts, [part.start for part in parts]
        self.n_rows, self.n_features = parts[-1].stop, int(parts[0].x.shape[1])
        self._sample = np.empty((0, self.n_features), dtype=dtype_name(parts[0].x))
        self._pool: ThreadPoolExecutor | None = None
        self.cut(block_rows, piece_rows)

    @property
    def sample(self) -> Array:
        """No rows: new arrays go to the host."""
        return self._sample

    def spans(self, most_rows: int, /) -> list[Block]:
        """The rows cut anew, for work that wants blocks (and their state) of another size."""
        blocks: list[Block] = []
        for part in self._parts:
            for rows in slices(part.stop - part.start, most_rows):
                start, size = part.start + rows.start, rows.stop - rows.start
                blocks.append(Block(None, None, start, len(blocks), length=size))
        return blocks

    @contextmanager
    def working(self) -> Iterator[None]:
        """Hold a thread for each device for the length of a fit."""
        with ThreadPoolExecutor(len(self._parts)) as pool:
            self._pool = pool
            try:
                yield
            finally:
                self._pool = None

    def _run(
        self, task: Callable[..., T], words: int | None, blocks: Sequence[Block] | None
    ) -> tuple[list[T], Array | None]:
        blocks = self.blocks if blocks is None else blocks
        turns: dict[int, list[int]] = {}
        for turn, block in enumerate(blocks):
            number = bisect.bisect_right(self._starts, block.start) - 1
            turns.setdefault(number, []).append(turn)
        packed = pack_here(task, self)
        visits = [
            functools.partial(_visit, packed, words, self._parts[number], [blocks[i] for i in mine])
            for number, mine in turns.items()
        ]
        replies: dict[int, T] = {}
        total: Array | None = None
        for mine, (found, sums) in zip(turns.values(), self._at_once(visits), strict=True):
            replies.update(zip(mine, found, strict=True))
            if sums is not None:
                total = sums if total is None else carry(total + sums, xp=np)
        return [replies[turn] for turn in range(len(blocks))], total

    def _at_once(self, visits: Sequence[Callable[[], T]]) -> list[T]:
        """What the visits to all devices bring back."""
        if self._pool is None:
            return [visit() for visit in visits]
        futures = [self._pool.submit(visit) for visit in visits]
        with all_or_none(futures):
            return [future.result() for future in futures]

    def collect(self, name: str, /) -> Array:
        """One state array of all blocks, in row order."""
        return np.concatenate(self.map(functools.partial(_state, name)))


def _visit(
    packed: Packed, words: int | None, part: Share, blocks: Sequence[Block]
) -> tuple[list[Any], Array | None]:
    """Run a task on blocks of one device; what it returns and adds up comes to the host."""
    context = part.context
    with context.scope():
        task = unpack(packed, context, part.kernel)
        if words is None:
            return [at_home(task(part.visit(block))) for block in blocks], None
        sums = Accumulator(context.xp, words)
        replies = [at_home(task(part.visit(block), sums)) for block in blocks]
        return replies, at_home(sums.total())


def _state(name: str, block: Block) -> Array:
    return block.state[name]
