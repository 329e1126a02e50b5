"""Rows in the partitions of a dask collection: a task a partition, sums merged as a tree.

No pass builds on the graph of another, so that the graph stays as long as a pass, and a worker
that is lost costs what it knew, never the fit.  The scheduler is the user's own.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._backend import Context
from ._dask_calls import Calls, Share
from ._dask_groups import Groups, Shares
from ._dask_tasks import Part, Pass, Place, Spot, Spots, forget, forget_there, merge, run_all
from ._travel import Away, pack
from ._typing import Array, Block, T, slices

_MERGED_AT_ONCE = 8
_MERGED_HERE = 1 << 20  # bytes of sums that are no work for a task
_LARGE = 1 << 16  # bytes of a task that are worth a message of their own


@dataclass(frozen=True)
class Partitions:
    """Rows (and weights) as dask arrays whose blocks are whole rows, and how many each holds."""

    x: Any
    weight: Any | None  # 1 at most
    lengths: tuple[int, ...]
    weight_exponent: int | None
    n_positive: int | None  # rows with a weight above 0; None without weights
    is_held: bool  # else each pass reads the rows anew
    places: tuple[tuple[str, str], ...]  # libraries and devices of blocks that have rows


def scheduler_of(x: Any, /) -> Callable[..., Any]:
    """The user's: of a client, of the configuration, or threads."""
    from dask.base import get_scheduler

    get: Callable[..., Any] = get_scheduler(collections=[x])
    return get


def client_of(x: Any, /) -> Any | None:
    """The client whose cluster works on a collection; None for schedulers of this machine."""
    owner = getattr(scheduler_of(x), "__self__", None)
    return owner if hasattr(owner, "scheduler_info") else None


class DaskSource(Away):
    """Rows that live in partitions; tasks go there, and only what adds up comes back.

    Parameters
    ----------
    partitions : the rows
    context : `_travel.HOST`; tasks work in that of their rows
    block_rows, piece_rows : as for other sources; no block spans two partitions
    room : bytes that what is gathered here may take; None for no limit
    """

    def __init__(
        self,
        partitions: Partitions,
        context: Context,
        *,
        block_rows: int,
        piece_rows: int,
        room: int | None = None,
    ) -> None:
        self.partitions, self.room = partitions, room
        self.xp, self.context = context.xp, context
        self._edges = [0, *itertools.accumulate(partitions.lengths)]
        self.n_rows, self.n_features = self._edges[-1], int(partitions.x.shape[1])
        self.weight_exponent = partitions.weight_exponent
        self.n_passes = 0
        self._fit = uuid.uuid4().hex
        self._versions: dict[Place, int] = {}
        self._recipes: dict[str, list[Callable[[Block], object]]] = {}
        self._forgotten: dict[str, int] = {}
        self._left: list[Place] = []
        self._keys = _keys_of(partitions.x)
        self._weights = None if partitions.weight is None else _keys_of(partitions.weight)
        self.groups = _groups_of(partitions)
        self._calls = None if self.groups is None else Calls(client_of(partitions.x))
        self._sums_bytes = 0  # of the last pass
        self.cut(block_rows, piece_rows)

    def cut(self, block_rows: int, piece_rows: int, /) -> None:
        """Make blocks without state; what was kept for others takes no more memory."""
        super().cut(block_rows, piece_rows)
        if self._versions:
            self._versions.clear()
            self._forget_there()

    def spans(self, most_rows: int, /) -> list[Block]:
        """The rows cut anew; blocks with the same rows share their state."""
        blocks: list[Block] = []
        for first, length in zip(self._edges, self.partitions.lengths, strict=False):
            count = max(1, -(-length // most_rows))
            for part in slices(length, max(1, -(-length // count))):
                size = part.stop - part.start
                blocks.append(Block(None, None, first + part.start, len(blocks), {}, size))
        return blocks

    def leave(self, blocks: Sequence[Block], /) -> None:
        """Let workers drop, with the next pass, what they remember of blocks that went."""
        stay = {(block.start, block.n_rows) for block in self.blocks}
        places = {(block.start, block.n_rows) for block in blocks} - stay
        for place in places:
            self._versions.pop(place, None)
        self._left += sorted(places)

    @property
    def sample(self) -> Array:
        """No rows: new arrays go to the host."""
        return np.empty((0, self.n_features), dtype=self.partitions.x.dtype)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Let workers forget, at the end, what they remember."""
        try:
            yield
        finally:
            self._forget_there()

    def _forget_there(self) -> None:
        # tasks of a pass that was broken off may still run: what they leave is nobody's
        fit, self._fit = self._fit, uuid.uuid4().hex
        forget(fit)
        client = client_of(self.partitions.x)
        if client is not None:
            # one that dies meanwhile has nothing left to forget
            client.run(forget_there, fit, wait=False, on_error="ignore")

    def remake(self, name: str, task: Callable[[Block], object], /, *, then: bool = False) -> None:
        """Say how state is made anew should a block lose it: by this task, or by it at last."""
        self._recipes[name] = [*self._recipes[name], task] if then else [task]

    def collect(self, name: str, /) -> Array | None:
        """None: the state stays with the rows."""

    def forget(self, *names: str) -> None:
        """Drop the named state, for a new start."""
        for name in names:
            self._recipes.pop(name, None)
            self._forgotten[name] = self.n_passes

    def _run(
        self, task: Callable[..., T], words: int | None, blocks: Sequence[Block] | None
    ) -> tuple[list[T], Array | None]:
        """One pass: a graph of its own, and its answer."""
        blocks = self.blocks if blocks is None else blocks
        if not blocks:
            return [], None
        self.n_passes += 1
        in_order = [recipe for recipes in self._recipes.values() for recipe in recipes]
        recipes = pack(in_order, self)
        body = pack(task, self)
        left, self._left = self._left, []
        work = Pass(self._fit, self.n_passes, words, body, recipes, dict(self._forgotten), left)
        spots = self._spots(blocks)
        parts = self._call(work, spots) or self._compute(work, spots)
        found = merge(parts)
        if found.total is not None:
            self._sums_bytes = found.total.nbytes
        if found.lost and self.groups is not None:
            self.groups.renew()
        # only now: of a pass that was broken off, nothing that workers remember is used
        for block in blocks:
            self._versions[block.start, block.n_rows] = work.number
        return [found.replies[turn] for turn in range(len(blocks))], found.total

    def _spots(self, blocks: Sequence[Block]) -> dict[int, Spots]:
        """The blocks by partition."""
        spots: dict[int, Spots] = {}
        for turn, block in enumerate(blocks):
            number = bisect.bisect_right(self._edges, block.start) - 1
            mine = spots.setdefault(number, Spots([], []))
            place = block.start, block.n_rows
            offset = block.start - self._edges[number]
            mine.turns.append(turn)
            mine.spots.append(Spot(place, block.number, offset, self._versions.get(place)))
        return spots

    def _call(self, work: Pass, spots: dict[int, Spots]) -> list[Part] | None:
        """The pass by calls, where few workers hold the rows; None where tasks must make it."""
        if self.groups is None or self._calls is None:
            return None
        asked = self.groups.by_worker(spots)
        if not asked or self._is_much(len(asked)):
            return None
        shares = {worker: self._shares(mine, spots) for worker, mine in asked.items()}
        parts = self._calls.make(work, shares)
        if parts is None:
            self.groups.renew()
        return parts

    def _shares(self, shares: Shares, spots: dict[int, Spots]) -> list[Share]:
        """What the threads of a worker take."""
        found = []
        for share in shares:
            weights = None if self._weights is None else [self._weights[n] for n in share]
            found.append(Share([self._keys[n] for n in share], weights, [spots[n] for n in share]))
        return found

    def _is_much(self, count: int) -> bool:
        """Whether what so many leave is merged over there."""
        return count > _MERGED_AT_ONCE or count * self._sums_bytes > _MERGED_HERE

    def _compute(self, work: Pass, spots: dict[int, Spots]) -> list[Part]:
        from dask.highlevelgraph import HighLevelGraph

        x, weight = self.partitions.x, self.partitions.weight
        name = f"kmeans-pass-{work.fit}-{work.number}"
        graph: dict[Any, Any] = {}
        sent: Any = work
        if len(work.task) + len(work.recipes) > _LARGE:
            sent = f"{name}-task"
            graph[sent] = work
        layer = []
        shares = [[number] for number in spots]
        if self.groups is not None:
            shares = self.groups.of(spots)
        for share in shares:
            xs = [self._keys[number] for number in share]
            weights = None if self._weights is None else [self._weights[n] for n in share]
            layer.append((name, share[0]))
            graph[layer[-1]] = run_all, sent, xs, weights, [spots[number] for number in share]
        if work.words is not None and self._is_much(len(layer)):
            layer = _tree(graph, name, layer)
        collections = [x] if weight is None else [x, weight]
        whole = HighLevelGraph.from_collections(name, graph, dependencies=collections)
        parts: list[Part] = scheduler_of(x)(whole, layer)
        return parts


def _groups_of(partitions: Partitions) -> Groups | None:
    """Several partitions a task where workers hold them; else each waits for its own rows."""
    client = client_of(partitions.x)
    if not partitions.is_held or client is None:
        return None
    from distributed import futures_of

    rows, weights = (
        [] if held is None else _futures(held, futures_of(held))
        for held in (partitions.x, partitions.weight)
    )
    return Groups(client, rows, weights, partitions.lengths)


def _futures(held: Any, futures: Sequence[Any]) -> list[Any]:
    """Those of the partitions, in their order."""
    by_key = {future.key: future for future in futures}
    return [by_key[key] for key in _keys_of(held)]


def _tree(graph: dict[Any, Any], name: str, layer: list[Any]) -> list[Any]:
    """Merge what tasks leave, a few at a time, into one."""
    for level in itertools.count():
        if len(layer) == 1:
            return layer
        above = []
        for number, part in enumerate(slices(len(layer), _MERGED_AT_ONCE)):
            above.append((f"{name}-merge-{level}", number))
            graph[above[-1]] = merge, layer[part]
        layer = above
    raise AssertionError("unreachable")


def _keys_of(array: Any) -> list[Any]:
    from dask.core import flatten

    return list(flatten(array.__dask_keys__()))
