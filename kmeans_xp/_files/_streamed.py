"""Files that are read in passes instead of whole, with the library's own readers."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ._columns import DataError, UsageError, plain_names

_BLOCK_CELLS = 1 << 20
_WHOLE = (
    "Files that are read whole, without --memory-limit, may be of more forms, and --exclude leaves "
    "columns of them out"
)
Blocks = Iterable[tuple[int, npt.NDArray[Any]]]
"""Consecutive rows, and the number of the first."""


@dataclass(frozen=True)
class StreamedTable:
    """Rows that stay in their files; `paths` is what the estimators take."""

    paths: list[str]
    reader: Any
    names: tuple[str, ...]
    named: bool
    facts: dict[str, Any]
    weights: None = None

    @property
    def n_rows(self) -> int:
        return int(self.reader.n_rows)

    @property
    def dtype(self) -> str:
        return str(self.reader.dtype)

    def blocks(self) -> Blocks:
        """One pass over the rows, in the blocks that an array has.

        Raises
        ------
        DataError
            When a file is another one than when it was opened.
        """
        from .._readers import Direct, assembled

        reader = self.reader
        spans = _spans(reader.n_rows, reader.n_features)

        def buffer(count: int) -> npt.NDArray[Any]:
            return np.empty((count, reader.n_features), dtype=reader.dtype)

        rows: Iterator[npt.NDArray[Any]]
        try:
            reader.check()
            if isinstance(reader, Direct):
                rows = (reader.read(*span, buffer(span[1] - span[0])) for span in spans)
            else:
                rows = assembled(reader.parts(spans), spans, reader, buffer)
            for (start, _), part in zip(spans, rows, strict=True):
                yield start, part
            reader.check()
        except (ValueError, OSError) as error:
            raise DataError(str(error)) from error


def array_blocks(x: npt.NDArray[Any]) -> Blocks:
    """The rows of an array in blocks that take little memory."""
    for start, stop in _spans(*x.shape):
        yield start, x[start:stop]


def _spans(n_rows: int, n_features: int) -> list[tuple[int, int]]:
    step = max(1, _BLOCK_CELLS // n_features)
    return [(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def open_streamed(paths: Sequence[str], limit: int) -> StreamedTable:
    """Open files (or a folder of them) that are read in passes.

    Raises
    ------
    DataError
        When they cannot be read, or hold something else than rows of numbers.
    UsageError
        When files of such an ending are read whole alone.
    """
    from .._opening import open_stream

    _check_endings(paths)
    given = [str(path) for path in paths]
    shown = ", ".join(given)
    try:
        reader: Any = open_stream(given if len(given) > 1 else given[0], limit)
    except ValueError as error:
        raise DataError(f"cannot stream {shown}: {str(error).rstrip('.')}. {_WHOLE}") from error
    except (OSError, ImportError) as error:
        raise DataError(f"cannot stream {shown}: {error}") from error
    named = not isinstance(reader.head, np.ndarray)
    names = tuple(reader.head.column_names) if named else plain_names(reader.n_features)
    facts: dict[str, Any] = {}
    texts = [name for name in _files_of(given[0]) if name.lower().endswith((".csv", ".tsv"))]
    if texts:
        separator = "tab" if texts[0].lower().endswith(".tsv") else "comma"
        facts = {"separator": separator, "header": named, "decimal_comma": False}
    return StreamedTable(given, reader, names, named, facts)


def _check_endings(paths: Sequence[str]) -> None:
    for path in paths:
        if not can_stream(path):
            raise UsageError(
                f"{path} cannot be read in passes, as --memory-limit says; .npy, .parquet, .arrow, "
                ".feather, .csv and .tsv files can. Leave --memory-limit out, or write such a file"
            )


def _files_of(path: str) -> list[str]:
    folder = pathlib.Path(path)
    return [item.name for item in folder.iterdir()] if folder.is_dir() else [path]


def can_stream(name: str) -> bool:
    """Whether a file of this ending (or a folder of such files) can be read in passes."""
    from .._table_files import SUFFIXES

    path = pathlib.Path(name)
    return path.is_dir() or path.suffix.lower() in (".npy", *SUFFIXES)


def size_of(text: str) -> int:
    """Bytes that a text such as "500MB" says; a ValueError where it says none."""
    from .._opening import memory_limit_of

    return memory_limit_of(text)


def outgrown(name: str) -> tuple[int, int] | None:
    """Size of a file that would take half of the memory available, and that memory; else None."""
    from .._opening import available_memory

    path = pathlib.Path(name)
    # an .npy file is mapped, not read whole
    if path.suffix.lower() == ".npy" or not can_stream(name) or not path.is_file():
        return None
    size, room = path.stat().st_size, available_memory()
    return (size, room) if 2 * size > room else None
