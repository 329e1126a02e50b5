"""Files of the command line: tables in, results out."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import math
import os
import pathlib
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ._columns import (
    DataError,
    Selection,
    Table,
    UsageError,
    listing,
    plain_names,
    quoted,
    refuse_text,
)
from ._delimited import read_delimited

EXAMPLES = ("iris", "wine", "digits", "breast_cancer")
_TEXT = {".csv", ".tsv", ".txt", ".data", ".dat"}
_ARROW = {".parquet", ".arrow", ".feather", ".ipc"}
_KNOWN = ".csv, .tsv, .txt, .data, .dat (also .gz), .npy, .npz, .parquet, .arrow, .feather"


def read_table(
    name: str, selection: Selection, *, array: str | None = None, header: str = "auto"
) -> Table:
    """Read the chosen columns of a file, or of text on stdin for "-".

    Raises
    ------
    DataError
        When the file cannot be read or holds something else than rows of numbers.
    UsageError
        When a column or array that was asked for is not there.
    """
    if name == "-":
        return _reading(name, lambda: read_delimited(sys.stdin, "stdin", selection, header))
    path = pathlib.Path(name)
    suffix = path.suffix.lower()
    if suffix == ".gz":
        suffix = pathlib.Path(path.stem).suffix.lower() or ".csv"
    if suffix in _TEXT:
        return _reading(name, lambda: _text(path, selection, header))
    if suffix == ".npy":
        return _reading(name, lambda: _array(_load(path), name, selection))
    if suffix == ".npz":
        return _reading(name, lambda: _array(_member(path, array), name, selection))
    if suffix in _ARROW:
        return _reading(name, lambda: _arrow(path, selection))
    raise DataError(
        f"{name}: the ending {suffix!r} is not known. Known are {_KNOWN}; other text goes "
        "through stdin with - as the input"
    )


def read_example(name: str, selection: Selection) -> Table:
    """One of the data sets that come with scikit-learn."""
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    names = tuple(str(feature) for feature in bunch.feature_names)
    picked = selection.pick(names, named=True)
    return _columns(np.asarray(bunch.data), names, picked.features, picked.weight, named=True)


def _reading(name: str, read: Any) -> Table:
    """Turn what files do wrong into one kind of error."""
    try:
        table: Table = read()
    except OSError as error:
        raise DataError(f"cannot read {name}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text ({error.reason}, byte {error.start})") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read {name}: {error}") from error
    return table


def _text(path: pathlib.Path, selection: Selection, header: str) -> Table:
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        return read_delimited(file, str(path), selection, header)


def _load(path: pathlib.Path) -> npt.NDArray[Any]:
    try:
        loaded: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise DataError(
            f"{path} is not a plain array of numbers ({error}). Write one with numpy.save"
        ) from error
    return loaded


def _member(path: pathlib.Path, array: str | None) -> npt.NDArray[Any]:
    # opened here, since NumPy leaves a broken archive open
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise DataError(f"{path} is not an npz archive. Write one with numpy.savez")
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            names = list(archive.files)
            if array is None and len(names) != 1:
                raise UsageError(
                    f"{path} holds {len(names)} arrays: {listing(names)}. "
                    "Choose one with --array NAME"
                )
            if array is not None and array not in names:
                raise UsageError(
                    f"--array {array}: {path} has no such array; it holds: {listing(names)}"
                )
            member: npt.NDArray[Any] = archive[array or names[0]]
            return member


def _array(values: npt.NDArray[Any], name: str, selection: Selection) -> Table:
    if values.dtype.kind not in "fiub":
        raise DataError(f"{name} holds {values.dtype} values; k-means needs real numbers")
    if values.ndim != 2:
        raise DataError(
            f"{name} has shape {values.shape}; give a table of 2 dimensions (rows, features), "
            "for example with numpy's reshape(-1, 1) for one feature"
        )
    if values.size == 0:
        raise DataError(f"{name} is empty: its shape is {values.shape}")
    names = plain_names(values.shape[1])
    picked = selection.pick(names, named=False)
    return _columns(values, names, picked.features, picked.weight, named=False)


def _columns(
    values: npt.NDArray[Any],
    names: Sequence[str],
    features: Sequence[int],
    weight: int | None,
    *,
    named: bool,
) -> Table:
    """A view where the columns lie together, so that a memory map stays one."""
    first, last = features[0], features[-1] + 1
    together = list(features) == list(range(first, last))
    return Table(
        values[:, first:last] if together else values[:, list(features)],
        tuple(names[index] for index in features),
        named,
        None if weight is None else np.asarray(values[:, weight], dtype=np.float64),
    )


def _arrow(path: pathlib.Path, selection: Selection) -> Table:
    try:
        import pyarrow
    except ImportError as error:
        raise DataError(
            f'{path}: pyarrow reads this kind of file. Run: pip install "kmeans-xp[io]"'
        ) from error
    try:
        table, picked = _arrow_table(path, selection)
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"cannot read {path}: {str(error).splitlines()[0]}") from error
    is_number = (pyarrow.types.is_integer, pyarrow.types.is_floating, pyarrow.types.is_boolean)
    others = {
        column.name: str(column.type)
        for column in table.schema
        if not any(test(column.type) for test in is_number)
    }
    refuse_text(others, str(path))
    for column, name in zip(table.columns, table.column_names, strict=True):
        if column.null_count and not selection.gaps:
            raise DataError(
                f"{path}: column {name!r} lacks values ({column.null_count} of {len(column)}). "
                f"Fill them or drop the rows, or leave it out with --exclude {quoted(name)}"
            )
    n_features = len(picked.features)
    columns = table.columns
    kinds = {column.type for column in columns[:n_features]}
    values = np.empty(
        (table.num_rows, n_features),
        dtype=np.float32 if kinds == {pyarrow.float32()} else np.float64,
    )
    for index, column in enumerate(columns[:n_features]):
        # nulls of other types would be no numbers
        full = column if not column.null_count else column.cast(pyarrow.float64())
        values[:, index] = full.to_numpy()
    weights = None if picked.weight is None else columns[-1].to_numpy().astype(np.float64)
    return Table(values, tuple(table.column_names[:n_features]), True, weights)


def _arrow_table(path: pathlib.Path, selection: Selection) -> tuple[Any, Any]:
    """Read only the columns that are wanted."""
    if path.suffix.lower() == ".parquet":
        from pyarrow import parquet

        file = parquet.ParquetFile(path, memory_map=True)
        names = list(file.schema_arrow.names)
        picked = selection.pick(names, named=True)
        table = file.read(columns=sorted({names[index] for index in picked.all}))
        return table.select([names[index] for index in picked.all]), picked
    import pyarrow

    with pyarrow.memory_map(str(path)) as source:
        try:
            reader = pyarrow.ipc.open_file(source)
        except pyarrow.ArrowInvalid:
            source.seek(0)
            reader = pyarrow.ipc.open_stream(source)
        picked = selection.pick(list(reader.schema.names), named=True)
        return reader.read_all().select(list(picked.all)), picked


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file that takes its name only when it is complete."""
    target = pathlib.Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with open(temporary, mode, **text) as file:  # type: ignore[call-overload]
            yield file
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_labels(file: IO[str], labels: npt.NDArray[Any]) -> None:
    """One label a line."""
    for start in range(0, len(labels), 1 << 16):
        part = labels[start : start + (1 << 16)].tolist()
        file.write("\n".join(map(str, part)) + "\n")


def write_centers(file: IO[str], centers: npt.NDArray[Any], names: Iterable[str]) -> None:
    """One center a line; reading a number back gives the same bits."""
    write_rows(file, names, *centers)


def write_rows(file: IO[str], *rows: Iterable[Any]) -> None:
    """A line for each row of numbers or texts; reading a number back gives the same bits."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([str(value) for value in row] for row in rows)


def write_json(file: IO[str], report: dict[str, Any]) -> None:
    """Standard JSON: numbers that it cannot hold become null."""
    json.dump(_finite(report), file, indent=2, ensure_ascii=False, allow_nan=False)
    file.write("\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
