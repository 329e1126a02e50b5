"""Rows that are read in passes: what is refused, what changes, and how much memory there is."""

from __future__ import annotations

import math
import os
import pathlib
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from stream_cases import (
    SMALL,
    SOURCES,
    Blocks,
    D,
    K,
    N,
    as_files,
    as_npy,
    as_npys,
    fit,
    rows,
    table_of,
)

from kmeans_xp import KMeans, _shelf, k_means, load_model, save_model
from kmeans_xp._ahead import Ahead
from kmeans_xp._opening import memory_limit_of
from kmeans_xp._readers import ArrayFile
from kmeans_xp._shelf import Shelf
from kmeans_xp._typing import Block

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
from pyarrow import parquet  # noqa: E402


@pytest.fixture(autouse=True)
def all_state_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shelf, "_LEAST", 1)


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

        size = path.stat().st_size
        said = rf"{path.name} changed between two passes \(it had {size} bytes, now"
        with pytest.raises(ValueError, match=said):
            fit(path, "random", None, callback=meddle)

    path = SOURCES["npy"](tmp_path, rows())
    with pytest.raises(ValueError, match=r"two passes \(\d+ bytes, written anew\)"):
        fit(path, "random", None, callback=lambda *_: os.utime(path, ns=(0, 0)))

    folder = SOURCES["npy files"](tmp_path, rows())
    with pytest.raises(ValueError, match=r"3.npy changed between two passes"):
        fit(folder, "random", None, callback=lambda *_: os.utime(folder / "3.npy", ns=(0, 0)))


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
        (rows()[:-1], f"{N - 1} rows instead of {N}, unlike in its first pass"),
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
    for given, last in ((as_files(tmp_path, x), "2.parquet"), (as_npys(tmp_path, x), "3.npy")):
        with pytest.raises(ValueError, match=rf"NaN: the first is at row 50 of .*{last}, column 2"):
            KMeans(2).fit(given)
    x[750, 2] = np.inf
    model = KMeans(2, random_state=0).fit(rows())
    with pytest.raises(ValueError, match=r"infinity: the first is at row 750 of .*x.npy"):
        model.predict(as_npy(tmp_path, x))


def test_what_cannot_be_read_again_or_at_all_is_refused(tmp_path: pathlib.Path) -> None:
    x = rows()
    inertia = KMeans(2, random_state=0).fit(x).inertia_
    for given in (as_npy(tmp_path, x), lambda: [x]):
        assert k_means(given, 2, random_state=0)[2] == inertia
    with pytest.raises(TypeError, match="returned None: have it return an iterable of blocks"):
        KMeans(2).fit(lambda: None)
    with pytest.raises(TypeError, match=r"iterator \(generator\).*each block to the partial_fit"):
        KMeans(2).fit(part for part in [x])
    with pytest.raises(ValueError, match=r"block 1 of X has 2 columns, the blocks before 5"):
        KMeans(2).fit([x, x[:, :2]])
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none.npy"):
        KMeans(2).fit(tmp_path / "none.npy")
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match=r"is a folder without files of .parquet.*\.npy$"):
        KMeans(2).fit(str(tmp_path / "none"))
    np.save(tmp_path / "y.npy", x[:, :2])
    with pytest.raises(ValueError, match=r"y.npy has 2 columns, and .*x.npy 5: all files"):
        KMeans(2).fit(tmp_path)
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
