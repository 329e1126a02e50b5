"""Readers: rows that lie outside of memory, as files or as blocks that somebody hands out.

A direct reader reads any rows; several threads may ask it at a time.  The others go through the
rows from the first to the last, and leave out what nobody asks for where they can.
"""

from __future__ import annotations

import abc
import bisect
import itertools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._typing import Array
from ._validation import FLOATS

Floats = npt.NDArray[np.floating]
Span = tuple[int, int]
Part = tuple[int, Floats]
"""Consecutive rows, and the number of the first."""


class Reader:
    """Rows that can be read again and again.

    ``head`` is what says how the columns are called, without rows; ``name`` and ``kind`` are for
    messages.
    """

    kind = "a stream of rows"
    is_stored = False  # whether `read` gives them as a sparse matrix stores them

    n_rows: int
    n_features: int
    dtype: str
    head: Any
    name: str

    @property
    def home(self) -> Array:
        """An array without rows where results go."""
        return np.empty((0, self.n_features), dtype=self.dtype)

    def check(self) -> None:
        """Raise where the rows are known to be others than at first."""

    def part(self, rows: Sequence[int], /) -> Direct | None:
        """A reader of the named rows, where that takes less memory than these rows do."""
        return None

    def where(self, row: int, /) -> str:
        """A row for a message."""
        return f"row {row} of {self.name}"


class Direct(Reader, abc.ABC):
    """A reader of any rows, whatever was read before."""

    @abc.abstractmethod
    def read(self, start: int, stop: int, out: Floats, /) -> Array:
        """Some rows: written to ``out``, or others that nobody writes to."""

    def lying(self, start: int, stop: int, /) -> Floats | None:
        """Some rows as they lie in memory, if they lie there as they are wanted."""
        return None

    def pick(self, rows: Sequence[int], /) -> Array:
        """The named rows in the order of their names."""
        out = np.empty((len(rows), self.n_features), dtype=self.dtype)
        for row, places in _places(rows):
            one = np.empty((1, self.n_features), dtype=self.dtype)
            out[places] = self.read(row, row + 1, one)
        return out


class InOrder(Reader, abc.ABC):
    """A reader that goes through its rows from the first to the last."""

    @abc.abstractmethod
    def parts(self, spans: Sequence[Span], /) -> Iterator[Part]:
        """What holds these rows, in their order."""


class Watched:
    """Files whose size and time of change (or the size alone) are noted."""

    def __init__(self, paths: Sequence[pathlib.Path], *, times: bool = True) -> None:
        self._times = times
        self._known = {path: self._stamp(path) for path in paths}

    def _stamp(self, path: pathlib.Path) -> tuple[int, int]:
        facts = path.stat()
        return facts.st_size, facts.st_mtime_ns if self._times else 0

    def check(self) -> None:
        """Raise for a file that is another one than at first, or gone."""
        for path, before in self._known.items():
            try:
                now = self._stamp(path)
            except OSError as error:
                raise ValueError(f"{path} went away between two passes: {error}") from error
            if now != before:
                size = f"{now[0]} bytes, written anew"
                if now[0] != before[0]:
                    size = f"it had {before[0]} bytes, now {now[0]}"
                raise ValueError(
                    f"{path} changed between two passes ({size}): "
                    "what was found so far may be of other rows. Try again when nobody writes to it"
                )


class ArrayFile(Direct):
    """An ``.npy`` file of rows one after another, read piece by piece."""

    def __init__(self, path: pathlib.Path, mapped: np.memmap[Any, Any]) -> None:
        self.name, self._path = str(path), path
        self.n_rows, self.n_features = mapped.shape
        self._stored, self._offset = mapped.dtype, int(mapped.offset)
        self.dtype = result_dtype(mapped.dtype)
        self.head = np.empty((0, self.n_features), dtype=self.dtype)
        self._files = Watched([path])

    def check(self) -> None:
        self._files.check()

    def read(self, start: int, stop: int, out: Floats, /) -> Floats:
        is_same = out.dtype == self._stored
        raw = out if is_same else np.empty((stop - start, self.n_features), dtype=self._stored)
        size, left = self._stored.itemsize * self.n_features, memoryview(raw.data).cast("B")
        with open(self._path, "rb", buffering=0) as file:
            file.seek(self._offset + start * size)
            while left.nbytes:
                count = file.readinto(left)
                if not count:
                    row = stop - left.nbytes // size - 1
                    raise ValueError(f"{self.name} ends early: before the end of row {row}")
                left = left[count:]
        if not is_same:
            out[...] = raw
        return out


class Mapped(Direct):
    """Rows of an array that the system maps to memory."""

    def __init__(self, x: npt.NDArray[Any], name: str) -> None:
        self.name, self._x = name, x
        self.n_rows, self.n_features = x.shape
        self.dtype = result_dtype(x.dtype)
        self.head = np.empty((0, self.n_features), dtype=self.dtype)
        path = getattr(x, "filename", None)
        # where the file is shorter now, a look at its rows would end the process
        self._files = Watched(
            [] if path is None else [pathlib.Path(path)], times=not x.flags.writeable
        )

    def check(self) -> None:
        self._files.check()

    def lying(self, start: int, stop: int, /) -> Floats | None:
        rows = np.asarray(self._x[start:stop])
        wanted = rows.dtype == self.dtype and rows.flags.c_contiguous and rows.flags.aligned
        return rows if wanted else None

    def read(self, start: int, stop: int, out: Floats, /) -> Floats:
        out[...] = self._x[start:stop]
        return out


class Joined(Direct):
    """The rows of several files one after another."""

    def __init__(self, readers: Sequence[Direct]) -> None:
        first = readers[0]
        for reader in readers:
            if reader.n_features != first.n_features:
                raise ValueError(
                    f"{reader.name} has {reader.n_features} columns, and {first.name} "
                    f"{first.n_features}: all files have the same columns"
                )
        self._readers = readers
        self._ends = list(itertools.accumulate(reader.n_rows for reader in readers))
        self.n_rows, self.n_features = self._ends[-1], first.n_features
        kinds = {reader.dtype for reader in readers}
        self.dtype = kinds.pop() if len(kinds) == 1 else "float64"
        self.head = np.empty((0, self.n_features), dtype=self.dtype)
        self.name = f"{len(readers)} files from {first.name} to {readers[-1].name}"

    def check(self) -> None:
        for reader in self._readers:
            reader.check()

    def read(self, start: int, stop: int, out: Floats, /) -> Floats:
        filled = start
        while filled < stop:
            reader, row = self._at(filled)
            until = min(row + stop - filled, reader.n_rows)
            there = out[filled - start : filled - start + until - row]
            reader.read(row, until, there)
            filled += until - row
        return out

    def where(self, row: int, /) -> str:
        reader, row = self._at(row)
        return reader.where(row)

    def _at(self, row: int) -> tuple[Direct, int]:
        """The file that holds a row, and the row's number there."""
        number = bisect.bisect_right(self._ends, row)
        return self._readers[number], row - (self._ends[number - 1] if number else 0)


class AtHand(Mapped):
    """Rows of an array in memory, for a GPU that has no room for all of them."""

    kind = "rows of one array"

    def __init__(self, x: npt.NDArray[Any]) -> None:
        super().__init__(x, "X")

    def pick(self, rows: Sequence[int], /) -> Array:
        return self._x[np.asarray(rows, dtype=np.int64)]


def result_dtype(dtype: np.dtype[Any]) -> str:
    """The dtype that rows of this one are worked on in: as in memory, swapped bytes are others."""
    return dtype.name if dtype.name in FLOATS and dtype.isnative else "float64"


def assembled(
    parts: Iterator[Part], spans: Sequence[Span], reader: Reader, buffer: Callable[[int], Floats], /
) -> Iterator[Floats]:
    """The rows of each span, put together from parts; nothing may be left after the last row."""
    first = 0
    part: Floats = np.empty((0, 0))
    for start, stop in spans:
        out, filled = buffer(stop - start), start
        while filled < stop:
            while first + len(part) <= filled:
                found = next(parts, None)
                if found is None:
                    raise ValueError(f"{reader.name} ends early: before {reader.where(filled)}")
                first, part = found
            rows = part[filled - first : stop - first]
            out[filled - start : filled - start + len(rows)] = rows
            filled += len(rows)
        # to the end of the parts, where the reader checks what it handed out
        if stop == reader.n_rows and any(len(rest) for _, rest in parts):
            raise ValueError(f"{reader.name} has more rows than the {stop} of before")
        yield out


def counted(parts: Iterator[Part], count: Callable[[int], None], /) -> Iterator[Part]:
    """The same parts; ``count`` is told how many rows they have."""
    for first, part in parts:
        count(len(part))
        yield first, part


def picked(reader: Direct | InOrder, rows: Sequence[int], count: Callable[[int], None], /) -> Array:
    """The named rows in the order of their names; ``count`` is told how many were read."""
    if isinstance(reader, Direct):
        count(len(set(rows)))
        return reader.pick(rows)
    out = np.empty((len(rows), reader.n_features), dtype=reader.dtype)
    placed = _places(rows)
    spans = [(row, row + 1) for row, _ in placed]

    def one(_: int) -> Floats:
        return np.empty((1, reader.n_features), dtype=reader.dtype)

    found = assembled(counted(reader.parts(spans), count), spans, reader, one)
    for (_, places), values in zip(placed, found, strict=True):
        out[places] = values
    return out


def _places(rows: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Each row that is named, in order, and where."""
    places: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row, []).append(place)
    return sorted(places.items())
