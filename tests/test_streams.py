"""Rows that are read in passes give the same bits as the same rows in memory."""

from __future__ import annotations

import math
import os
import pathlib
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from engine import first_centers, opened, plan_of, solve

from kmeans_xp import KMeans, MiniBatchKMeans, _sampling, _shelf, load_model, save_model
from kmeans_xp._ahead import Ahead
from kmeans_xp._backend import context_of, numpy_context, to_host
from kmeans_xp._opening import memory_limit_of, open_stream
from kmeans_xp._problem import training_over
from kmeans_xp._readers import ArrayFile
from kmeans_xp._shelf import Shelf
from kmeans_xp._streams import StreamSource
from kmeans_xp._typing import Block

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
NAMED = {"parquet", "files", "folder", "csv", "arrow", "batches"}


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


@pytest.fixture(autouse=True)
def all_state_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shelf, "_LEAST", 1)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("turn", [0, 1])
def test_a_stream_gives_the_bits_of_the_rows_in_memory(
    source: str, turn: int, tmp_path: pathlib.Path
) -> None:
    start = STARTS[(list(SOURCES).index(source) + 2 * turn) % 4]
    weight = WEIGHT if turn else None
    x = rows("float32" if turn and not source.startswith("csv") else "float64")
    here = fit(x, start, weight)
    given = SOURCES[source](tmp_path, x)
    model = fit(given, start, weight, memory_limit=SMALL)
    check_same(model, here)
    assert model.n_passes_ is not None
    assert here.n_passes_ is None
    assert hasattr(model, "feature_names_in_") == (source in NAMED)
    assert model.predict(given).tobytes() == here.labels_.tobytes()
    assert model.score(given, sample_weight=weight) == -here.inertia_


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("limit", [SMALL, "1GB"])
def test_every_start_with_state_in_memory_or_in_a_file(
    start: str, limit: Any, tmp_path: pathlib.Path
) -> None:
    x = rows()
    check_same(fit(as_npy(tmp_path, x), start, WEIGHT, memory_limit=limit), fit(x, start, WEIGHT))


@pytest.mark.parametrize("dtype", ["int64", "float16", "bool", ">f8"])
def test_other_numbers_become_float64(dtype: str, tmp_path: pathlib.Path) -> None:
    x = np.round(rows()).astype(dtype)
    here = KMeans(2, random_state=0).fit(x)
    check_same(KMeans(2, random_state=0).fit(as_npy(tmp_path, x)), here)
    check_same(KMeans(2, random_state=0).fit([x[:5], x[5:]]), here)


def test_several_starts_a_search_and_a_callback_work_on_a_stream(tmp_path: pathlib.Path) -> None:
    x, seen = rows(), []
    path = as_npy(tmp_path, x)
    options: dict[str, Any] = {"random_state": 0, "max_iter": 50}
    for more in ({"n_init": 3, "init": "random"}, {"search": 60}, {}, {"empty_cluster": "random"}):
        here = KMeans(K, **options, **more).fit(x)
        check_same(KMeans(K, memory_limit=SMALL, **options, **more).fit(path), here)
    model = KMeans(K, callback=lambda record, _: seen.append(record), search=None, **options).fit(
        path
    )
    assert tuple(seen) == model.history_
    assert seen[0].inertia > seen[-1].inertia


def test_a_checkpoint_of_a_stream_goes_on_in_memory_and_back(tmp_path: pathlib.Path) -> None:
    x = rows()
    path, options = as_npy(tmp_path, x), {"init": "random", "n_init": 2, "random_state": 0}
    here = KMeans(K, **options).fit(x)

    def stop(record: Any, _: Any) -> None:
        if record.iteration == 4:
            raise KeyboardInterrupt

    for first, second in ((path, x), (x, path)):
        kept = tmp_path / f"{type(first).__name__}.ckpt"
        model = KMeans(K, **options, memory_limit=SMALL, checkpoint=kept, checkpoint_every=0)
        with pytest.raises(KeyboardInterrupt):
            model.set_params(callback=stop).fit(first)
        model.set_params(callback=None).fit(second)
        assert model.cluster_centers_.tobytes() == here.cluster_centers_.tobytes()
        assert model.labels_.tobytes() == here.labels_.tobytes()
        assert (model.inertia_, model.trials_) == (here.inertia_, here.trials_)
        # those before the stop were called back with their inertia
        assert [record.shift for record in model.history_] == [r.shift for r in here.history_]


@pytest.mark.parametrize("source", ["npy", "files", "csv"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
def test_mini_batches_of_a_stream_are_those_of_the_rows_in_memory(
    source: str, weight: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sampling, "_ROWS_AT_ONCE", 200)
    x = rows()

    def fit(x: Any, **parameters: Any) -> MiniBatchKMeans:
        model = MiniBatchKMeans(K, batch_size=64, max_iter=9, random_state=1, **parameters)
        return model.fit(x, sample_weight=weight)

    here, stream = fit(x), fit(SOURCES[source](tmp_path, x), memory_limit=SMALL)
    assert stream.cluster_centers_.tobytes() == here.cluster_centers_.tobytes()
    assert stream.labels_.tobytes() == here.labels_.tobytes()
    assert stream.inertia_ == here.inertia_
    assert (stream.n_steps_, stream.n_iter_) == (here.n_steps_, here.n_iter_)
    assert here.n_steps_ > 6


def test_distances_of_a_stream_fit_the_limit_or_are_refused(tmp_path: pathlib.Path) -> None:
    x = rows()
    model, path = fit(x, "random", None), as_npy(tmp_path, x)
    # products of blocks of other sizes may round in another way
    np.testing.assert_allclose(model.transform(path), model.transform(x), rtol=1e-12)
    model.memory_limit = SMALL
    with pytest.raises(MemoryError, match=r"memory_limit \(20000\)"):
        model.transform(path)


@pytest.mark.parametrize("start", ["k-means++", "k-means||"])
@pytest.mark.parametrize("source", ["npy", "csv"])
@pytest.mark.parametrize("place", ["strict-device1", "numpy"])
def test_blocks_go_where_the_work_is(
    start: str, source: str, place: str, tmp_path: pathlib.Path
) -> None:
    x, threads = rows(), 3 if place == "numpy" else 1
    here = KMeans(K, init=start, random_state=1, search=None, tol=0).fit(x)
    reader = open_stream(SOURCES[source](tmp_path, x), 10**6)
    assert reader is not None
    with opened(make_backend(place)) as context:
        kernel = "numpy" if place == "numpy" else "reference"
        plan = plan_of(kernel, "float32", block_rows=100, threads=threads)
        cut = {"block_rows": 100, "piece_rows": 70, "threads": threads, "limit": 10**6}
        source_there = StreamSource(reader, None, None, context, **cut)
        problem = training_over(source_there, plan, K)
        result = solve(problem, first_centers(problem, start, K, 1))
        assert context_of(result.labels) == context
        assert to_host(result.labels).tobytes() == here.labels_.tobytes()
        assert to_host(result.centers).tobytes() == here.cluster_centers_.tobytes()
    assert result.inertia == here.inertia_


@pytest.mark.parametrize("source", ["npy", "csv"])
def test_a_task_that_fails_ends_its_pass(source: str, tmp_path: pathlib.Path) -> None:
    reader = open_stream(SOURCES[source](tmp_path, rows()), 10**6)
    assert reader is not None
    cut = {"block_rows": 50, "piece_rows": 50, "threads": 3, "limit": 10**6}
    stream = StreamSource(reader, None, None, numpy_context(), **cut)

    def fails(block: Block) -> float:
        if block.number == 4:
            raise ZeroDivisionError
        return float(block.x.sum())

    def skips(block: Block) -> int:
        return block.x.shape[0] if block.number % 2 else 0

    with stream.working():
        with pytest.raises(ZeroDivisionError):
            stream.map(fails)
        assert sum(stream.map(skips)) == 12 * 50
        assert stream.map(lambda block: float(block.x[0, 0])) == rows()[::50, 0].tolist()


def test_passes_are_counted(tmp_path: pathlib.Path) -> None:
    x, blocks = rows(), Blocks(rows(), 50)
    model = KMeans(K, init=x[:K], n_init=1, tol=0, memory_limit=SMALL).fit(blocks)
    # the first pass counts the rows
    assert model.n_passes_ == math.ceil(blocks.n_rows / N) - 1
    # ranges, means, variances; the iterations; the inertia, for some blocks on another grid again
    assert model.n_passes_ - model.n_iter_ in (4, 5)
    save_model(model, tmp_path / "model.npz")
    assert load_model(tmp_path / "model.npz").n_passes_ == model.n_passes_


def test_files_that_change_between_passes_are_named(tmp_path: pathlib.Path) -> None:
    for source, change in (("npy", b""), ("parquet", b"more")):
        path = SOURCES[source](tmp_path, rows())

        def meddle(*_: Any, path: pathlib.Path = path, change: bytes = change) -> None:
            content = path.read_bytes()
            path.write_bytes(content + change if change else content[:-80])

        with pytest.raises(ValueError, match=rf"{path.name} changed between two passes"):
            fit(path, "random", None, callback=meddle)


def test_a_file_that_ends_early_is_named(tmp_path: pathlib.Path) -> None:
    path = as_npy(tmp_path, rows())
    reader = ArrayFile(path, np.load(path, mmap_mode="r"))
    os.truncate(path, path.stat().st_size - 8 * D * 3 - 1)
    with pytest.raises(ValueError, match=rf"x.npy ends early: before the end of row {N - 4}$"):
        reader.read(0, N, np.empty((N, D)))
    with pytest.raises(ValueError, match=r"x.npy cannot be read"):
        KMeans(2).fit(path)


@pytest.mark.parametrize(
    ("later", "message"),
    [
        (rows()[:-1], f"{N - 1} rows instead of {N}"),
        (np.concatenate([rows(), rows()[:1]]), f"more than {N} rows"),
        (rows()[::-1], "other values"),
    ],
)
def test_an_iterable_that_gives_other_rows_is_refused(later: Any, message: str) -> None:
    passes = iter([rows()])

    def opened() -> Iterator[Any]:
        return iter(Blocks(next(passes, later), 100))

    with pytest.raises(ValueError, match=message):
        KMeans(2, random_state=0).fit(opened)


def test_a_bad_cell_is_named_with_its_file(tmp_path: pathlib.Path) -> None:
    x = rows()
    x[750, 2] = np.nan
    paths = as_files(tmp_path, x)
    with pytest.raises(ValueError, match=r"NaN: the first is at row 50 of .*2.parquet, column 2"):
        KMeans(2).fit(paths)
    x[750, 2] = np.inf
    model = KMeans(2, random_state=0).fit(rows())
    with pytest.raises(ValueError, match=r"infinity: the first is at row 750 of .*x.npy"):
        model.predict(as_npy(tmp_path, x))


def test_what_cannot_be_read_again_or_at_all_is_refused(tmp_path: pathlib.Path) -> None:
    x = rows()
    with pytest.raises(TypeError, match=r"iterator \(generator\).*partial_fit"):
        KMeans(2).fit(part for part in [x])
    with pytest.raises(ValueError, match=r"block 1 of X has 2 columns, the blocks before 5"):
        KMeans(2).fit([x, x[:, :2]])
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none.npy"):
        KMeans(2).fit(tmp_path / "none.npy")
    with pytest.raises(ValueError, match=r"is a folder without files of .parquet"):
        KMeans(2).fit(str(tmp_path))
    with pytest.raises(ValueError, match="no size"):
        KMeans(2, memory_limit="much").fit(as_npy(tmp_path, x))
    table = table_of(x).append_column("town", pyarrow.array(["a"] * N))
    parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"these columns do not: 'town' \(string\)"):
        KMeans(2).fit(tmp_path / "t.parquet")
    model = KMeans(2, random_state=0).fit(as_files(tmp_path, x))
    parquet.write_table(table_of(x).rename_columns(list("abcde")), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="feature names"):
        model.predict(tmp_path / "t.parquet")


def test_limits_are_read_as_people_write_them() -> None:
    given = [5, "5", "64MB", "1.5 GiB", "2k"]
    assert [memory_limit_of(limit) for limit in given] == [5, 5, 64 * 10**6, 3 << 29, 2000]
    assert memory_limit_of(None) >= 256 << 20


def test_parked_arrays_do_not_overwrite_each_other() -> None:
    shelf, block = Shelf(), Block(None, None, 0, 0, length=3)
    state = block.state
    state["labels"] = np.arange(3)
    shelf.park(block, state)
    # the old ones under another name, and new ones in their place
    state["before"], state["labels"] = state["labels"], np.full(3, 7)
    shelf.park(block, state)
    assert state["before"].tolist() == [0, 1, 2]
    assert state["labels"].tolist() == [7, 7, 7]
    state["labels"] = np.arange(1000)
    state["closest"] = state["before"][1:]
    shelf.park(block, state)
    assert state["closest"].tolist() == [1, 2]
    assert state["labels"][-1] == 999


def test_a_full_disk_is_an_error_that_names_the_folder() -> None:
    resource = pytest.importorskip("resource", reason="limits of file sizes are POSIX's")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(OSError, match=r"no room for 67108864 bytes .* Set TMPDIR"):
            Shelf().park(Block(None, None, 0, 0, length=3), {"labels": np.arange(3)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


SCRIPT = """
    import pathlib, sys, threading, time
    import numpy as np
    import sklearn.cluster, joblib, threadpoolctl
    from kmeans_xp import KMeans, _opening, _search, _streams

    def anonymous():
        text = pathlib.Path("/proc/self/status").read_text()
        return int(text.partition("RssAnon:")[2].split()[0]) << 10

    def watch():
        while not done.wait(0.002):
            peak.append(max(peak.pop(), anonymous()))

    KMeans(2, random_state=0).fit(np.random.default_rng(0).normal(size=(3000, 8)))
    before, done = anonymous(), threading.Event()
    peak = [before]
    watcher = threading.Thread(target=watch)
    watcher.start()
    options = dict(init="k-means||", random_state=0, max_iter=2, tol=0)
    model = KMeans(4, memory_limit="8MB", **options).fit(sys.argv[1])
    done.set()
    watcher.join()
    here = KMeans(4, **options).fit(np.load(sys.argv[1]))
    assert model.labels_.tobytes() == here.labels_.tobytes()
    assert model.cluster_centers_.tobytes() == here.cluster_centers_.tobytes()
    print(peak[0] - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system's own accounting is Linux's")
def test_memory_stays_below_the_limit_and_the_labels(tmp_path: pathlib.Path) -> None:
    n = 1_200_000
    path = tmp_path / "x.npy"
    rng = np.random.default_rng(0)
    x = np.lib.format.open_memmap(path, "w+", "float32", (n, 8))
    block = rng.normal(size=(n // 10, 8)).astype(np.float32)
    for start in range(0, n, len(block)):
        x[start : start + len(block)] = block + start % 7
    del x
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # 38 MB of rows, and beside them 20 MB and more of state; labels are wanted in memory
    assert int(done.stdout) < 8 * 10**6 + 2 * 4 * n


def test_a_break_while_the_first_rows_are_read_waits_for_them() -> None:
    class Broken(Future[Any]):
        def result(self, timeout: float | None = None) -> Any:
            raise KeyboardInterrupt

    class Pool:
        def submit(self, *_: Any) -> Any:
            return future

    future = Broken()
    ahead = Ahead(iter([]), lambda rows: None, Pool())  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        ahead.fetch(0)
    ahead.close()
    assert future.cancelled()
