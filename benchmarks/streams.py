"""A file larger than memory: peak of anonymous memory, and the rate of a pass.

    python benchmarks/streams.py [--gigabytes 0.5] [--features 64] [--clusters 32] \
[--iterations 5] [--memory-limit 512MB] [--folder DIR] [--out FILE]

A float32 ``.npy`` file of that size is made (and removed), by blocks.  Processes of their own then
fit it from given centers: as a stream, and in memory as many of its rows as fit a quarter of
what is available.  The rate is that of iterations alone: a fit with more iterations less one with
fewer.  Memory is the system's own account (``RssAnon``, every 5 ms), above what it is after
imports and a small fit.  The disk's rate is that of one plain read of the file, which is asked to
leave the cache before.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import numpy as np
from _report import header, write

FEW = 2  # iterations of the shorter fit
BLOCK = 1 << 24  # bytes


def make(path: pathlib.Path, n_rows: int, n_features: int) -> None:
    """Blobs that overlap, so that fits go on: in one file, written block by block."""
    rng = np.random.default_rng(0)
    middles = rng.normal(scale=0.3, size=(64, n_features))
    step = max(1, BLOCK // (4 * n_features))
    layout = {"descr": "<f4", "fortran_order": False, "shape": (n_rows, n_features)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_2_0(file, layout)
        for start in range(0, n_rows, step):
            count = min(step, n_rows - start)
            rows = rng.standard_normal(size=(count, n_features), dtype=np.float32)
            rows += middles[rng.integers(0, 64, count)].astype(np.float32)
            file.write(rows.data)


def anonymous() -> int:
    text = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.partition("RssAnon:")[2].split()[0]) << 10


def measure(path: pathlib.Path, args: argparse.Namespace, rows: int | None) -> dict[str, Any]:
    """Fit the file as a stream, or so many of its rows in memory."""
    from kmeans_xp import KMeans

    mapped = np.load(path, mmap_mode="r")
    start = np.array(mapped[: args.clusters])
    # compiled loops are loaded before anything counts
    KMeans(args.clusters, init=start, max_iter=3, tol=0).fit(np.array(mapped[:20_000]))
    X = path if rows is None else np.array(mapped[:rows])
    before, done = anonymous(), threading.Event()
    peak = [before]

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    fits = []
    for iterations in (FEW, FEW + args.iterations):
        model = KMeans(
            args.clusters, init=start, max_iter=iterations, tol=0, memory_limit=args.memory_limit
        )
        began, worked = time.perf_counter(), time.process_time()
        model.fit(X)
        spent = time.perf_counter() - began, time.process_time() - worked
        fits.append({"iterations": model.n_iter_, "wall": spent[0], "processor": spent[1]})
    done.set()
    watcher.join()
    n_rows = len(model.labels_)
    more = fits[1]["iterations"] - fits[0]["iterations"]
    return {
        "rows": n_rows,
        "fits": fits,
        "rows_per_second": more * n_rows / (fits[1]["wall"] - fits[0]["wall"]),
        "rows_per_processor_second": more * n_rows / (fits[1]["processor"] - fits[0]["processor"]),
        "peak_anonymous_bytes": peak[0] - before,
        "labels_bytes": model.labels_.nbytes,
        "passes": model.n_passes_,
        "kernel": model.kernel_,
        "inertia": model.inertia_,
    }


def disk_rate(path: pathlib.Path) -> float:
    """Bytes a second of one plain read."""
    buffer = bytearray(BLOCK)
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        began = time.perf_counter()
        while file.readinto(buffer):
            pass
        return path.stat().st_size / (time.perf_counter() - began)


def in_child(path: pathlib.Path, rows: int | None) -> dict[str, Any]:
    command = [sys.executable, __file__, *sys.argv[1:], "--child", str(path), str(rows or 0)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def available() -> int:
    text = pathlib.Path("/proc/meminfo").read_text(encoding="ascii")
    return int(text.partition("MemAvailable:")[2].split()[0]) << 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=0.5)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--clusters", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--memory-limit", default="512MB")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()))
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        print(json.dumps(measure(pathlib.Path(args.child[0]), args, int(args.child[1]) or None)))
        return
    size = int(args.gigabytes * 1e9)
    if shutil.disk_usage(args.folder).free < 2 * size:
        raise SystemExit(f"{args.folder} has less than {2 * size} bytes free; see --folder")
    n_rows = size // (4 * args.features)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = pathlib.Path(folder) / "rows.npy"
        make(path, n_rows, args.features)
        stream = in_child(path, None)
        memory = in_child(path, min(n_rows, available() // (16 * args.features)))
        disk = disk_rate(path)
    lower = min(memory["rows_per_second"], disk / (4 * args.features))
    report = header("streams.py") | {
        "gigabytes": args.gigabytes,
        "features": args.features,
        "clusters": args.clusters,
        "memory_limit": args.memory_limit,
        "stream": stream,
        "memory": memory,
        "disk_bytes_per_second": disk,
        "share_of_the_lower_rate": stream["rows_per_second"] / lower,
        "share_by_processor_time": stream["rows_per_processor_second"]
        / memory["rows_per_processor_second"],
    }
    print(json.dumps({key: report[key] for key in ("stream", "memory")}, indent=2))
    write(report, args.out)


if __name__ == "__main__":
    main()
