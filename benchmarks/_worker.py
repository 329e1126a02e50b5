"""One process a library: it keeps the data and fits on demand, so that runtimes cannot clash.

The parent lets the processes take turns; the others wait without work meanwhile.  A fit that
takes too long ends with its process.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pathlib
import re
import signal
import time
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from _peers import Library, Peer, Task

MIB = 1 << 20
IMPORT_SECONDS = 120
_STATUS = pathlib.Path("/proc/self/status")
_CLEAR = pathlib.Path("/proc/self/clear_refs")


class Gone(Exception):
    """The process of a library ended; the message says why."""


class OverLimit(Exception):
    """A fit took longer than the limit."""


@dataclass(frozen=True)
class Request:
    """A fit on the first ``rows`` rows, ``repeats`` times; ``result`` asks for its arrays."""

    rows: int
    max_iter: int
    converge: bool
    repeats: int = 1
    result: bool = False


class Worker:
    """The parent's side: start the process, send it work, end it.

    ``folder`` holds the data as ``X.npy`` and the indices of the starting rows as
    ``start.npy``; what the library prints goes to a file there.
    """

    def __init__(self, peer: Peer, folder: pathlib.Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.log = folder / f"{peer.name}.log"
        self.process = context.Process(
            target=_serve, args=(theirs, peer, str(folder), str(self.log)), daemon=True
        )
        self.process.start()
        theirs.close()

    def ready(self) -> dict[str, Any]:
        """Wait until library and data are loaded."""
        return self._answer(IMPORT_SECONDS)

    def fit(self, request: Request, limit: float) -> dict[str, Any]:
        """Fit; raises OverLimit or Gone, and the process has ended then."""
        self.connection.send(asdict(request))
        return self._answer(limit * request.repeats)

    def end(self) -> None:
        """Kill the process, if it still runs."""
        self.process.kill()
        self.process.join()
        self.connection.close()

    def _answer(self, seconds: float) -> dict[str, Any]:
        if not self.connection.poll(seconds):
            self.end()
            raise OverLimit
        try:
            found: dict[str, Any] = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            said = self.log.read_text(encoding="utf-8", errors="replace").strip()
            code = self.process.exitcode
            self.connection.close()
            raise Gone(said.splitlines()[-1] if said else f"exit code {code}") from None
        return found


def _serve(connection: Connection, peer: Peer, folder: str, log: str) -> None:
    """The child's side; an error ends the process, and its last line is the reason."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when Ctrl-C ends this
    with open(log, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    began = time.perf_counter()
    library = peer.make()
    seconds = time.perf_counter() - began
    X = np.load(pathlib.Path(folder) / "X.npy")
    if "float64" in peer.cannot:
        X = X.astype(np.float32, copy=False)
    start = np.load(pathlib.Path(folder) / "start.npy")
    connection.send({"import seconds": round(seconds, 3), "dtype": str(X.dtype)})
    tasks: dict[tuple[int, int, bool], Task] = {}
    while True:
        try:
            request = Request(**connection.recv())
        except EOFError:
            return
        key = (request.rows, request.max_iter, request.converge)
        if key not in tasks:
            tasks = {key: Task(X[: request.rows], start, request.max_iter, request.converge)}
        connection.send(_fit(library, tasks[key], request))


def _fit(library: Library, task: Task, request: Request) -> dict[str, Any]:
    """Fit ``repeats`` times, and take the fastest.

    A short fit beside any other load waits for its own threads, and that would flatter a
    library that does not use threads on small data.
    """
    times = []
    library.prepare(task)
    gc.collect()
    before = _reset_peak()
    for repeat in range(request.repeats):
        if repeat:
            library.prepare(task)
        began = time.perf_counter()
        library.train()
        trained = time.perf_counter()
        library.label()
        ended = time.perf_counter()
        times.append((ended - began, ended - trained))
    grown = None if before is None else _memory("VmHWM") - before
    outcome = library.outcome()
    answer = {
        "seconds": min(times)[0],
        "labels seconds": min(times)[1],
        "iterations": outcome.iterations,
        "kernel": outcome.kernel,
        "peak MiB": None if grown is None else round((grown + task.X.nbytes) / MIB, 1),
    }
    if outcome.device_bytes is not None:
        answer["device MiB"] = round(outcome.device_bytes / MIB, 1)
    if request.result:
        answer |= {"labels": np.asarray(outcome.labels), "centers": np.asarray(outcome.centers)}
        answer["threads"] = _threads()
    return answer


def _reset_peak() -> int | None:
    """Bytes in memory now, from where the peak is counted anew; None where that is unknown."""
    try:
        _CLEAR.write_text("5", encoding="ascii")
        return _memory("VmRSS")
    except OSError:
        return None


def _memory(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _threads() -> list[str]:
    """The thread pools of this process, as "libgomp 2"."""
    import threadpoolctl

    pools = threadpoolctl.threadpool_info()
    return sorted({f"{pool['prefix']} {pool['num_threads']}" for pool in pools})
