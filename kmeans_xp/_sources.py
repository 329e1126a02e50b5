"""Where rows come from.  A source hands out blocks and keeps their state beside them."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from ._backend import Context
from ._exact import Accumulator, to_device
from ._threads import one_blas_thread
from ._typing import Array, Block, Namespace, Source, T, some

Of = TypeVar("Of")


class Rows:
    """What sources do alike unless they say otherwise: blocks hold their state themselves."""

    blocks: list[Block]
    piece_rows: int

    @abstractmethod
    def spans(self, most_rows: int, /) -> list[Block]:
        """The rows cut anew, for work that wants blocks (and their state) of another size."""

    def cut(self, block_rows: int, piece_rows: int, /) -> None:
        """Make blocks without state."""
        self.piece_rows = piece_rows
        self.blocks = self.spans(block_rows)

    def leave(self, blocks: Sequence[Block], /) -> None:
        """Blocks take their state along."""

    def release(self) -> bool:
        """Nothing is held beside where rows come from."""
        return False

    def part(self, rows: Sequence[int], /) -> Source | None:
        """None: rows can be taken here."""
        return None

    def forget(self, *names: str) -> None:
        """Drop the named state, for a new start."""
        for block in self.blocks:
            for name in names:
                block.state.pop(name, None)

    def remake(self, name: str, task: Callable[[Block], object], /, *, then: bool = False) -> None:
        """State is never lost here."""


class OneProcess(Rows):
    """Sources whose tasks run in this process: sums are one accumulator's, state stays."""

    xp: Namespace
    shares = True

    @abstractmethod
    def map(self, task: Callable[[Block], T], blocks: Sequence[Block] | None = None, /) -> list[T]:
        """Run ``task`` once on every block (of the source, or of `spans`), in row order."""

    def add_up(
        self,
        task: Callable[[Block, Accumulator], T],
        words: int,
        blocks: Sequence[Block] | None = None,
        /,
    ) -> tuple[list[T], Array | None]:
        """As `map`; what the tasks add to the accumulator is the second result."""
        sums = Accumulator(self.xp, words)
        parts = self.map(lambda block: task(block, sums), blocks)
        return parts, sums.total()


class MemorySource(OneProcess):
    """Rows of one array in memory (host or device), in blocks that are views.

    Parameters
    ----------
    x : array of shape (n_rows, n_features), float32 or float64
    weight : array of shape (n_rows,), float64, or None
    context : where both live
    block_rows : rows a block
    piece_rows : rows that a pass with large temporaries takes at a time
    threads : blocks worked on at a time
    weight_exponent : the power of two that was taken out of the weights
    """

    is_resident = True
    is_stored = False
    room: int | None = None

    def __init__(
        self,
        x: Array,
        weight: Array | None,
        context: Context,
        *,
        block_rows: int,
        piece_rows: int,
        threads: int = 1,
        weight_exponent: int | None = None,
    ) -> None:
        self.xp, self.context = context.xp, context
        self.n_rows, self.n_features = (int(size) for size in x.shape)
        self._x, self._weight = x, weight
        self.weight_exponent = weight_exponent
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self.cut(block_rows, piece_rows)

    def spans(self, most_rows: int, /) -> list[Block]:
        """The rows cut anew, for work that wants blocks (and their state) of another size."""
        return [
            Block(
                self._x[start:stop, :],
                None if self._weight is None else self._weight[start:stop],
                start,
                number,
            )
            for number, (start, stop) in enumerate(row_spans(self.n_rows, most_rows))
        ]

    @property
    def sample(self) -> Array:
        """Some array of the source's dtype: new arrays go to its device."""
        return self._x

    @contextmanager
    def working(self) -> Iterator[None]:
        """Hold the threads for the length of a fit."""
        if self._threads == 1 or len(self.blocks) == 1:
            yield
            return
        with one_blas_thread(), ThreadPoolExecutor(self._threads) as pool:
            self._pool = pool
            try:
                yield
            finally:
                self._pool = None
                pool.shutdown(wait=True, cancel_futures=True)

    def map(self, task: Callable[[Block], T], blocks: Sequence[Block] | None = None, /) -> list[T]:
        """Run ``task`` once on every block (of the source, or of `spans`), in row order."""
        blocks = self.blocks if blocks is None else blocks
        if self._pool is None:
            return [task(block) for block in blocks]
        # no more blocks than threads: this one takes its share, which saves waking another
        inline = blocks[: 1 if len(blocks) <= self._threads else 0]
        futures = [self._pool.submit(quiet, task, block) for block in blocks[len(inline) :]]
        with all_or_none(futures):
            first = [quiet(task, block) for block in inline]
            return first + [future.result() for future in futures]

    def take(self, rows: Sequence[int], /) -> Array:
        """The named rows as one array."""
        return some(self._x, self._positions(rows), xp=self.xp)

    def take_weights(self, rows: Sequence[int], /) -> Array | None:
        """The weights of the named rows, if there are weights."""
        if self._weight is None:
            return None
        return self.xp.take(self._weight, self._positions(rows))

    def _positions(self, rows: Sequence[int]) -> Array:
        return to_device(np.asarray(rows, dtype=np.int64), self._x, xp=self.xp)

    def collect(self, name: str, /) -> Array:
        """One state array of all blocks, in row order."""
        parts = [block.state[name] for block in self.blocks]
        return parts[0] if len(parts) == 1 else self.xp.concat(parts)


@contextmanager
def all_or_none(futures: Sequence[Future[T]]) -> Iterator[None]:
    """While their results are awaited: of an abandoned pass nothing may still write later."""
    try:
        yield
    except BaseException:
        for future in futures:
            future.cancel()
        wait(futures)
        raise


def quiet(task: Callable[[Of], T], block: Of) -> T:
    """Run a task in a thread of its own, which does not inherit NumPy's error state."""
    with np.errstate(over="ignore", invalid="ignore"):
        return task(block)


def row_spans(total: int, step: int) -> Iterator[tuple[int, int]]:
    """Starts and ends of at most so many rows each."""
    edges = itertools.chain(range(0, total, step), [total])
    return itertools.pairwise(edges)
