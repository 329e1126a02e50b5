"""A reader of blocks that somebody hands out: arrays, data frames or record batches."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ._backend import to_host
from ._frames import as_frame, numbers, refuse_text
from ._readers import Floats, InOrder, Part, Span, result_dtype
from ._validation import is_foreign, real_numbers


class Batches(InOrder):
    """Blocks that an iterable (or what a callable returns) hands out, anew for each pass.

    The first pass counts them; each whole pass must have the same bits.
    """

    def __init__(self, given: Iterable[Any] | Callable[[], Iterable[Any]]) -> None:
        self._given = given
        self.name = f"X ({type(given).__name__})"
        self.head, self.n_rows, self._digest = None, 0, 0
        kinds = set()
        for rows, head in self._blocks():
            if self.head is None:
                self.head, self.n_features, self._names = head, rows.shape[1], _columns(head)
            kinds.add(rows.dtype.name)
            self._digest = _digest_of(rows, self._digest)
            self.n_rows += rows.shape[0]
        if self.head is None:
            raise ValueError(f"{self.name} handed out no rows")
        self.dtype = "float32" if kinds == {"float32"} else "float64"

    def parts(self, spans: Sequence[Span], /) -> Iterator[Part]:
        digest = start = 0
        for rows, _ in self._blocks():
            digest = _digest_of(rows, digest)
            if rows.shape[1] != self.n_features or start + len(rows) > self.n_rows:
                raise self._changed(f"more than {self.n_rows} rows, or of another width")
            yield start, rows
            start += len(rows)
        if start < self.n_rows:
            raise self._changed(f"{start} rows instead of {self.n_rows}")
        if digest != self._digest:
            raise self._changed("other values")

    def _changed(self, what: str) -> Exception:
        return ValueError(
            f"{self.name} handed out {what}, unlike in its first pass. It must give the same rows "
            "in the same order each time that it is opened"
        )

    def _refuse_other_columns(self, name: str, count: int, names: list[Any] | None) -> None:
        if count != self.n_features:
            raise ValueError(f"{name} has {count} columns, the blocks before {self.n_features}")
        if names is not None and self._names is not None and names != self._names:
            here, before = (", ".join(map(str, some)) for some in (names, self._names))
            raise ValueError(
                f"{name} has the columns {here}, and the first block has {before}. All blocks have "
                "the same columns in the same order: select them by name, as block[names] does"
            )

    def _blocks(self) -> Iterator[tuple[Floats, Any]]:
        opened = self._given() if callable(self._given) else self._given
        if not isinstance(opened, Iterable):
            raise TypeError(
                f"{self.name} returned {opened!r}: have it return an iterable of blocks"
            )
        for number, block in enumerate(opened):
            name = f"block {number} of X"
            rows, head = block_values(block, name)
            if self.head is not None:
                self._refuse_other_columns(name, rows.shape[1], _columns(head))
            if len(rows):
                yield rows, head


def block_values(block: Any, name: str, /) -> tuple[Floats, Any]:
    """A block as float32 or float64 rows one after another, and its head without rows."""
    if type(block).__name__ == "RecordBatch" and "pyarrow" in sys.modules:
        # a table of one, which knows the columns' names as other data frames do
        block = sys.modules["pyarrow"].Table.from_batches([block])
    refuse_text(block, name)
    frame = as_frame(block)
    if frame is not None:
        types = {str(kind) for kind in frame.schema.values()}
        rows = numbers(frame).astype("float32" if types == {"Float32"} else "float64", copy=False)
        return np.ascontiguousarray(rows), frame.head(0).to_native()
    if is_foreign(block, name):
        block = to_host(block)
    with real_numbers(name):
        values = np.asarray(block)
        if values.ndim != 2 or values.shape[1] < 1:
            raise ValueError(
                f"{name} has shape {values.shape}; blocks are arrays of shape (rows, features), "
                "data frames or record batches"
            )
        if np.iscomplexobj(values):
            raise ValueError(f"Complex data not supported: {name} holds complex numbers")
        rows = np.ascontiguousarray(values, dtype=result_dtype(values.dtype))
    return rows, rows[:0]


def _columns(head: Any) -> list[Any] | None:
    """The names of a data frame's columns; None for arrays."""
    frame = as_frame(head)
    return None if frame is None else list(frame.columns)


def _digest_of(rows: Floats, before: int) -> int:
    return zlib.crc32(rows.data.cast("B"), before)
