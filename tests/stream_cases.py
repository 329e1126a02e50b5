"""Rows that are read in passes: the same rows in all kinds of files, and what fits must share."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from kmeans_xp import KMeans

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
from pyarrow import csv, parquet  # noqa: E402

STARTS = ("k-means++", "random", "random-partition", "k-means||")
N, D, K = 1203, 5, 9
SMALL = 20_000  # bytes: blocks of some hundred rows, and their state in a file


def rows(dtype: str = "float64") -> Any:
    rng = np.random.default_rng(3)
    return (rng.normal(size=(N, D)) + 5 * rng.integers(0, 4, (N, 1))).astype(dtype)


WEIGHT = np.random.default_rng(4).integers(0, 4, N).astype(np.float64)


class Blocks:
    """An iterable that can be iterated again; it counts the rows that it hands out."""

    def __init__(self, x: Any, size: int) -> None:
        self.x, self.size, self.n_rows = x, size, 0

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self.x), self.size):
            part = self.x[start : start + self.size]
            self.n_rows += len(part)
            yield part


def as_npy(folder: pathlib.Path, x: Any) -> Any:
    np.save(folder / "x.npy", x)
    return folder / "x.npy"


def as_columns_npy(folder: pathlib.Path, x: Any) -> Any:
    return str(as_npy(folder, np.asfortranarray(x)))


def as_npys(folder: pathlib.Path, x: Any) -> Any:
    """One of them by column, and one without rows."""
    parts = x[:1], x[1:1], np.asfortranarray(x[1:700]), x[700:]
    folder = folder / "arrays"
    folder.mkdir()
    for number, part in enumerate(parts):
        np.save(folder / f"{number}.npy", part)
    return folder


def as_map(folder: pathlib.Path, x: Any) -> Any:
    return np.load(as_npy(folder, x), mmap_mode="r")


def table_of(x: Any) -> Any:
    return pyarrow.table({f"c{i}": x[:, i] for i in range(x.shape[1])})


def as_parquet(folder: pathlib.Path, x: Any) -> Any:
    parquet.write_table(table_of(x), folder / "x.parquet", row_group_size=100)
    return folder / "x.parquet"


def as_files(folder: pathlib.Path, x: Any) -> Any:
    for number, part in enumerate((x[:1], x[1:700], x[700:])):
        parquet.write_table(table_of(part), folder / f"{number}.parquet", row_group_size=611)
    return [folder / f"{number}.parquet" for number in range(3)]


def as_folder(folder: pathlib.Path, x: Any) -> Any:
    as_files(folder, x)
    return folder


def as_csv(folder: pathlib.Path, x: Any) -> Any:
    csv.write_csv(table_of(x), folder / "x.csv")
    return folder / "x.csv"


def as_bare_csv(folder: pathlib.Path, x: Any) -> Any:
    csv.write_csv(table_of(x), folder / "x.csv", csv.WriteOptions(include_header=False))
    return folder / "x.csv"


def as_arrow(folder: pathlib.Path, x: Any) -> Any:
    table = table_of(x)
    with (
        pyarrow.OSFile(str(folder / "x.arrow"), "wb") as file,
        pyarrow.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table, max_chunksize=333)
    return folder / "x.arrow"


SOURCES: dict[str, Callable[[pathlib.Path, Any], Any]] = {
    "npy": as_npy,
    "npy by column": as_columns_npy,
    "npy files": as_npys,
    "map": as_map,
    "parquet": as_parquet,
    "files": as_files,
    "folder": as_folder,
    "csv": as_csv,
    "csv without names": as_bare_csv,
    "arrow": as_arrow,
    "single rows": lambda _, x: Blocks(x, 1),
    "7 rows": lambda _, x: Blocks(x, 7),
    "callable": lambda _, x: lambda: iter(Blocks(x, 1000)),
    "list": lambda _, x: [x[:400], x[400:]],
    "batches": lambda _, x: table_of(x).to_batches(max_chunksize=500),
}


def fit(x: Any, start: str, weight: Any, **parameters: Any) -> KMeans:
    model = KMeans(K, init=start, random_state=1, tol=0, n_init=1, max_iter=20, **parameters)
    return model.fit(x, sample_weight=weight)


def check_same(model: KMeans, here: KMeans) -> None:
    assert model.cluster_centers_.dtype == here.cluster_centers_.dtype
    assert model.cluster_centers_.tobytes() == here.cluster_centers_.tobytes()
    assert model.labels_.tobytes() == here.labels_.tobytes()
    assert model.inertia_ == here.inertia_
    assert model.history_ == here.history_
    assert model.trials_ == here.trials_
