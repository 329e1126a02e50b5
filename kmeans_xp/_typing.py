"""The words the rooms share: arrays, and the three protocols between the rooms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

Array: TypeAlias = Any
"""Any array of a library that follows the Python array API standard."""

Namespace: TypeAlias = Any
"""The array API namespace that belongs to an array (``xp``)."""

T = TypeVar("T")

FEW = 32
"""What is less than one row of a block in so many waits until all blocks are done."""

Rows: TypeAlias = Any
"""Some of the rows: a slice, or an array of positions."""


def some(values: Array, rows: Rows, /, *, xp: Namespace) -> Array:
    """The values of some rows; a view for a slice."""
    if isinstance(rows, slice):
        return values[rows, ...]
    if isinstance(values, np.ndarray) and not (values.flags.c_contiguous and values.flags.aligned):
        # NumPy's take would first copy all of them; a message leaves rows wherever they lay in it
        return values[rows]
    return xp.take(values, rows, axis=0)


def slices(total: int, step: int) -> Iterator[slice]:
    """Consecutive slices of at most ``step``."""
    return (slice(start, min(start + step, total)) for start in range(0, total, step))


class OnHost:
    """What holds NumPy arrays wherever a task runs: they stay so where others become a device's."""


@dataclass
class Block:
    """Some consecutive rows, and what the algorithm remembers about each of them.

    ``state`` stays with the rows (on their device, on their worker): ``labels`` is int32,
    ``closest`` the float64 squared distance to the nearest seed so far, ``seeds`` (int32)
    which seed that is, the first among equals.  Outside of `Source.map` the rows (and weights) of
    a source that does not hold them are None.
    """

    x: Array
    weight: Array | None
    start: int
    number: int
    state: dict[str, Any] = field(default_factory=dict)
    length: int | None = None  # where the rows may be away

    @property
    def n_rows(self) -> int:
        return int(self.x.shape[0]) if self.length is None else self.length

    def pieces(self, most_rows: int) -> Iterator[tuple[Array, Array | None]]:
        """Rows and weights in pieces whose temporaries stay in a cache."""
        for part in slices(self.n_rows, most_rows):
            yield self.x[part, :], None if self.weight is None else self.weight[part]


class Source(Protocol):
    """Where rows come from: memory, a stream, files, partitions.

    A task that is mapped over the blocks reads what it likes, writes its block's state, and
    returns what adds.  It may write to nothing else unless the source `shares`, and nobody looks
    at the rows or the state of a block outside of a task unless the source `is_resident`.
    """

    n_rows: int
    n_features: int
    piece_rows: int
    xp: Namespace
    context: Any
    blocks: list[Block]
    weight_exponent: int | None
    """The power of two that was taken out of the weights, which are 1 at most; None without."""

    @property
    def is_stored(self) -> bool:
        """Whether the rows of a block are a `SparseBlock`, for the kernel that takes them."""
        ...

    @property
    def is_resident(self) -> bool:
        """Whether blocks hold their rows and their state all the time."""
        ...

    @property
    def shares(self) -> bool:
        """Whether tasks run in this process, and see what others write."""
        ...

    @property
    def room(self) -> int | None:
        """Bytes that what is gathered here of rows that are away may take; None for no limit."""
        ...

    @property
    def sample(self) -> Array:
        """Some array of the source's dtype: new arrays go to its device."""
        ...

    def cut(self, block_rows: int, piece_rows: int, /) -> None:
        """Make blocks without state."""
        ...

    def release(self) -> bool:
        """Hold fewer rows beside where they come from; whether any were held."""
        ...

    def spans(self, most_rows: int, /) -> list[Block]:
        """The rows cut anew, for work that wants blocks (and their state) of another size."""
        ...

    def leave(self, blocks: Sequence[Block], /) -> None:
        """Take note that blocks of `spans` are not worked on again, nor their state needed."""
        ...

    def working(self) -> AbstractContextManager[None]:
        """Hold what passes need for the length of a fit."""
        ...

    def map(self, task: Callable[[Block], T], blocks: Sequence[Block] | None = None, /) -> list[T]:
        """Run ``task`` once on every block (of the source, or of `spans`), in row order."""
        ...

    def add_up(
        self, task: Callable[[Block, Any], T], words: int, blocks: Sequence[Block] | None = None, /
    ) -> tuple[list[T], Array | None]:
        """As `map`, with an `_exact.Accumulator` to add to; its total is the second result."""
        ...

    def remake(self, name: str, task: Callable[[Block], object], /, *, then: bool = False) -> None:
        """Say how state is made anew should a block lose it: by this task, or by it at last."""
        ...

    def take(self, rows: Sequence[int], /) -> Array:
        """The named rows as one (len(rows), n_features) array."""
        ...

    def part(self, rows: Sequence[int], /) -> Source | None:
        """The named rows as a source of one thread, without weights; None: `take` them."""
        ...

    def take_weights(self, rows: Sequence[int], /) -> Array | None:
        """The weights of the named rows, if there are weights."""
        ...

    def collect(self, name: str, /) -> Array:
        """One state array of all blocks, in row order."""
        ...

    def forget(self, *names: str) -> None:
        """Drop the named state, for a new start."""
        ...


class Kernel(Protocol):
    """The operations that a device may do faster; every one has one right answer."""

    @property
    def name(self) -> str: ...

    def propose(self, x: Array, nearest: Any, notes: dict[str, Any], drift: Any = None, /) -> Any:
        """Labels (int32) by the first rung, open rows, and bounds if there is a drift.

        ``notes`` is the state of the rows' block, where a kernel may keep what it finds out.
        The result is a `_bounds.Proposal`.
        """
        ...

    @property
    def surveyor(self) -> Any:
        """The `_stats.Surveyor` for the kernel's rows."""
        ...

    def prepare(self, nearest: Any, /) -> None:
        """Make the centers ready, once for all blocks."""
        ...

    def look(
        self, x: Array, nearest: Any, drift: Any, state: dict[str, Any], /
    ) -> tuple[int, Array | None]:
        """Write labels (and bounds) of a block to ``state``; rows scored, rows left open.

        With groups in the drift their ``tally`` gets the pairs that were scored.
        """
        ...

    def unproven(self, bounds: Any, labels: Array, drift: Any, /) -> tuple[Array, int]:
        """Mark rows whose label does not follow from their bounds, and count them."""
        ...

    def settle(self, x: Array, nearest: Any, /) -> Array:
        """Exact labels of rows that were left open."""
        ...

    def own_distances(self, x: Array, nearest: Any, labels: Array | None = None, /) -> Array:
        """Canonical squared distance of each row to the center of its label (of its number)."""
        ...

    def distances(self, x: Array, centers: Array, scale: Any, /) -> Array:
        """Canonical squared distances (k, m) of all rows to all centers."""
        ...

    def screen(self, x: Array, rung: Any, notes: dict[str, Any], /) -> tuple[Array, Array]:
        """Lower bounds (k, m) by a product, and half the squared norms (m,); see `_primitives`."""
        ...

    def distances_at(self, x: Array, rows: Array, center: Array, scale: Any, /) -> Array:
        """Canonical squared distances of the rows at these positions to one center (d,)."""
        ...

    def trials(self, nearest: Any, seeds: Sequence[int], source: Source, /) -> Any:
        """Make candidates for one more seed ready: `_gains.Trials` or more."""
        ...

    def appraise(
        self, x: Array, weight: Array | None, state: dict[str, Any], trials: Any, /
    ) -> Any:
        """Bounds of what candidates gain, and in ``state["trial"]`` the rows; see `_gains`."""
        ...

    def gained(self, block: Block, trials: Any, trial: int, lottery: Any, /) -> int:
        """By how much a candidate lowers the sum over a block, in the lottery's integers."""
        ...

    def improve(self, block: Block, trials: Any, trial: int, number: int, lottery: Any, /) -> None:
        """Let a candidate, as the seed of this number, have the rows that it brings nearer.

        The lottery's sums are lowered by what that gains.  Comes after `appraise`, on whose
        rows it builds; the same is true of `gained`.
        """
        ...

    def add_changes(
        self, block: Block, before: Array | None, ledger: Any, n_clusters: int, sums: Any, /
    ) -> int | None:
        """Add rows to ``sums`` by their labels, moved rows alone if there were labels before.

        Returns how many of them carry weight; None where a kernel has no such operation.
        """
        ...

    def advance(
        self,
        problem: Any,
        centers: Array,
        totals: Array | None,
        tolerance: float,
        most: int | None,
        /,
    ) -> Any:
        """Make one or more of Lloyd's iterations, at most ``most``; a `_ledger.Advance`.

        Ends with the first that changes no row, moves the centers by no more than the tolerance
        (negative: none) or leaves a cluster empty.  None where a kernel has no such operation.
        """
        ...

    def plusplus(
        self, problem: Any, n_clusters: int, seed: int, trials: int, /
    ) -> list[int] | None:
        """All rows that `_plusplus.plusplus` picks before none is away from them, in one go.

        None where a kernel has no such operation, or not for so many rows.
        """
        ...

    def oversample(
        self, problem: Any, seed: int, wanted: float, rounds: int, /
    ) -> list[int] | None:
        """The rows that rounds of k-means|| take, about ``wanted`` in each; see `_init`.

        The blocks' state gets ``seeds``.  None as in `plusplus`.
        """
        ...

    def limb_sums(self, values: Array, up: float, /) -> tuple[int, int]:
        """Sums of float64 values on a grid of two limbs, highest first; see `_exact.quantise`."""
        ...

    def grid_sums(self, values: Array, least: float, /) -> tuple[float, int, int]:
        """The largest of float64 values that are not negative, and their sums on two limbs.

        Their grid is that of the largest, or of ``least`` if that is more.
        """
        ...

    def widened(self, x: Array, /) -> Array:
        """Rows as float64: each number as it is, however small."""
        ...

    def rounded(self, values: Array, dtype: str, /) -> Array:
        """Float64 values rounded once to a dtype, to its subnormal numbers too."""
        ...

    def means(
        self, totals: Array, weights: Array, features: int, limbs: int, /, **kind: bool
    ) -> Array:
        """Quotients (k, features) of totals by weights, as `_exact.means` gives them."""
        ...

    def group_sums(self, values: Array, labels: Array, n_groups: int, /) -> Array:
        """Exact sums (int64) of integer-valued float64 rows by label."""
        ...

    def compress(self, mask: Array, count: int, /) -> tuple[Array, Array | None]:
        """Positions of the ``count`` true entries, and which of the positions count."""
        ...

    def put(self, values: Array, mask: Array, rows: Array, replacements: Array, /) -> Array:
        """``values`` (which may be overwritten) with ``replacements`` where ``mask`` is true.

        ``rows`` and ``replacements`` are as `compress` ordered (and padded) them.
        """
        ...
