"""Tables in files, read by pyarrow a batch at a time: parquet, arrow (feather) and csv."""

from __future__ import annotations

import bisect
import itertools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ._frames import no_numbers
from ._readers import Floats, InOrder, Part, Span, Watched

_BATCH_BYTES = 1 << 20


def pyarrow_for(path: pathlib.Path, /) -> Any:
    """pyarrow, or the error that says what to install."""
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(
            f'{path}: pyarrow reads this kind of file. Run: pip install "kmeans-xp[io]"'
        ) from error
    return pyarrow


def _batch_rows(schema: Any) -> int:
    return max(1, _BATCH_BYTES // (8 * len(schema.names)))


class _Parquet:
    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        with self._open() as file:
            self.schema = file.schema_arrow
            groups = (file.metadata.row_group(i) for i in range(file.num_row_groups))
            self.pieces = [group.num_rows for group in groups]

    def _open(self) -> Any:
        from pyarrow import parquet

        # as a stream: a whole row group need not fit in memory
        return parquet.ParquetFile(self._path, buffer_size=_BATCH_BYTES, pre_buffer=False)

    def batches(self, piece: int) -> Iterator[Any]:
        with self._open() as file:
            rows = _batch_rows(self.schema)
            yield from file.iter_batches(rows, row_groups=[piece], use_threads=False)


class _Arrow:
    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        with self._open() as (reader, count):
            self.schema = reader.schema
            self.pieces = [self._batch(reader, i).num_rows for i in range(count)]

    def _open(self) -> Any:
        return _Opened(self._path)

    @staticmethod
    def _batch(reader: Any, piece: int) -> Any:
        return reader.get_batch(piece)

    def batches(self, piece: int) -> Iterator[Any]:
        with self._open() as (reader, _):
            batch, rows = self._batch(reader, piece), _batch_rows(self.schema)
            for start in range(0, batch.num_rows, rows):
                yield batch.slice(start, rows)


class _Opened:
    """An arrow file for as long as a block of code takes."""

    def __init__(self, path: pathlib.Path) -> None:
        import pyarrow

        self._source = pyarrow.memory_map(str(path))
        self._reader = pyarrow.ipc.open_file(self._source)

    def __enter__(self) -> tuple[Any, int]:
        return self._reader, self._reader.num_record_batches

    def __exit__(self, *_: object) -> None:
        self._source.close()


class _Csv:
    """One piece, whose rows are counted when it is read first."""

    def __init__(self, path: pathlib.Path) -> None:
        from pyarrow import csv

        self._path, self._separator = path, "\t" if path.suffix.lower() == ".tsv" else ","
        with self._open(csv.ReadOptions(block_size=_BATCH_BYTES), {}) as reader:
            self.schema = reader.schema
        # a header of numbers is none, also where some are missing
        missing = {"", *csv.ConvertOptions().null_values}
        cells = [name.strip() for name in self.schema.names]
        self._named = any(cell not in missing and not _is_number(cell) for cell in cells)
        if not self._named:
            with self._open(self._options(), {}) as reader:
                self.schema = reader.schema
        self.pieces: list[int] = []
        if not any(_is_text(kind) for kind in self.schema.types):
            self.pieces = [sum(batch.num_rows for batch in self.batches(0))]

    def _options(self) -> Any:
        from pyarrow import csv

        return csv.ReadOptions(
            block_size=_BATCH_BYTES, autogenerate_column_names=not self._named, use_threads=False
        )

    def _open(self, options: Any, types: dict[str, Any]) -> Any:
        from pyarrow import csv

        return csv.open_csv(
            self._path,
            read_options=options,
            parse_options=csv.ParseOptions(delimiter=self._separator),
            convert_options=csv.ConvertOptions(column_types=types),
        )

    def batches(self, piece: int) -> Iterator[Any]:
        import pyarrow

        types = dict.fromkeys(self.schema.names, pyarrow.float64())
        with self._open(self._options(), types) as reader:
            yield from reader


_KINDS: dict[str, Callable[[pathlib.Path], Any]] = {
    ".parquet": _Parquet,
    ".pq": _Parquet,
    ".arrow": _Arrow,
    ".feather": _Arrow,
    ".ipc": _Arrow,
    ".csv": _Csv,
    ".tsv": _Csv,
}
SUFFIXES = tuple(_KINDS)


class TableFiles(InOrder):
    """The rows of one or more files with the same columns, one file after another."""

    def __init__(self, paths: Sequence[pathlib.Path]) -> None:
        pyarrow = pyarrow_for(paths[0])
        self._files = Watched(paths)
        self._paths = list(paths)
        self._tables = [_opened(path, pyarrow) for path in paths]
        self._kept = [_features(table.schema) for table in self._tables]
        pairs = zip(self._tables, self._kept, strict=True)
        schemas = [pyarrow.schema([table.schema.field(i) for i in kept]) for table, kept in pairs]
        self.name = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
        for path, schema in zip(paths, schemas, strict=True):
            _check_columns(path, schema, schemas[0], paths[0])
        every = [kind for schema in schemas for kind in schema.types]
        is_csv = any(isinstance(table, _Csv) for table in self._tables)
        single = not is_csv and all(kind == pyarrow.float32() for kind in every)
        self.dtype = "float32" if single else "float64"
        self.n_features = len(schemas[0].names)
        self.head = pyarrow.table(
            {name: np.empty(0, dtype=self.dtype) for name in schemas[0].names}
        )
        if all(isinstance(table, _Csv) and not table._named for table in self._tables):
            self.head = np.empty((0, self.n_features), dtype=self.dtype)
        self._pieces = [
            (file, piece, count)
            for file, table in enumerate(self._tables)
            for piece, count in enumerate(table.pieces)
        ]
        self._ends = list(itertools.accumulate(count for _, _, count in self._pieces))
        self.n_rows = self._ends[-1] if self._ends else 0

    def check(self) -> None:
        self._files.check()

    def parts(self, spans: Sequence[Span], /) -> Iterator[Part]:
        import pyarrow

        starts = [start for start, _ in spans]
        for (file, piece, count), end in zip(self._pieces, self._ends, strict=True):
            first = end - count
            # the last span that begins before the end of this piece
            near = bisect.bisect_left(starts, end) - 1
            if near < 0 or spans[near][1] <= first:
                continue
            try:
                for batch in self._tables[file].batches(piece):
                    yield first, self._values(batch, self._kept[file])
                    first += batch.num_rows
            except (pyarrow.ArrowInvalid, OSError) as error:
                raise ValueError(f"{self._paths[file]} cannot be read: {_short(error)}") from error
            if first != end:
                raise ValueError(
                    f"{self._paths[file]} has {first - end + count} rows where {count} were before"
                )

    def _values(self, batch: Any, kept: Sequence[int]) -> Floats:
        import pyarrow

        rows = np.empty((batch.num_rows, self.n_features), dtype=self.dtype)
        for position, place in enumerate(kept):
            column = batch.column(place)
            # nulls of other types would be no numbers
            full = column.cast(pyarrow.float64()) if column.null_count else column
            rows[:, position] = full.to_numpy(zero_copy_only=False)
        return rows

    def where(self, row: int, /) -> str:
        place = bisect.bisect_right(self._ends, row)
        file = self._pieces[place][0] if place < len(self._pieces) else len(self._paths) - 1
        before = sum(count for other, _, count in self._pieces if other < file)
        return f"row {row - before} of {self._paths[file]}"


def _opened(path: pathlib.Path, pyarrow: Any) -> Any:
    try:
        return _KINDS[path.suffix.lower()](path)
    except (pyarrow.ArrowInvalid, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {_short(error)}") from error


def _features(schema: Any) -> list[int]:
    """The columns that are no index of a data frame, which pandas stores among them."""
    facts = schema.pandas_metadata or {}
    index = [name for name in facts.get("index_columns", ()) if isinstance(name, str)]
    return [place for place, name in enumerate(schema.names) if name not in index]


def _check_columns(path: pathlib.Path, schema: Any, first: Any, of: pathlib.Path) -> None:
    if schema.names != first.names:
        raise ValueError(
            f"{path} has the columns {', '.join(schema.names)}, and {of} has "
            f"{', '.join(first.names)}. Files of one table have the same columns in the same order"
        )
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice or not schema.names:
        what = f"columns of one name: {', '.join(twice)}" if twice else "no columns of features"
        raise ValueError(f"{path} has {what}. Give each feature a column with a name of its own")
    pairs = zip(schema.names, schema.types, strict=True)
    text = {name: str(kind) for name, kind in pairs if _is_text(kind)}
    if text:
        raise ValueError(no_numbers(text, str(path)))


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_null)
    return not any(test(kind) for test in tests)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _short(error: Exception) -> str:
    return str(error).splitlines()[0]
