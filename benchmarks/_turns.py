"""One cell: the libraries take turns on the same data, and what they found is judged."""

from __future__ import annotations

import contextlib
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from _data import Cell, Rows, start_rows
from _peers import OURS, OWN_START, Peer
from _quality import differing, inertia
from _worker import Gone, OverLimit, Request, Worker

MODES = {"iterations": "same iterations", "convergence": "to convergence"}
_SHORT = 0.05
_MOST_REPEATS = 20
_PAUSE = 0.02
_DOUBT = 1.5

Record = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """Rounds of turns, the seconds after which a library takes no further turn, the limit."""

    rounds: int
    seconds: float
    limit: float


@dataclass
class Seat:
    """One library at the table.

    ``worker`` is None where none runs, ``first`` tells of its first call, and ``pace`` is the
    least that an iteration took, in seconds a row.
    """

    peer: Peer
    folder: pathlib.Path
    limit: float
    worker: Worker | None = None
    first: Record = field(default_factory=dict)
    pace: float = 0.0

    def sit(self) -> None:
        """Start the process, without waiting for it."""
        self.worker, self.first = Worker(self.peer, self.folder), {}

    def leave(self) -> None:
        """End the process."""
        if self.worker is not None:
            self.worker.end()
        self.worker = None

    def warm(self, request: Request) -> Record:
        """See that the library has made its first call; the reason where it cannot."""
        if self.first:
            return {}
        if self.worker is None:
            self.sit()
        try:
            self.first = self.worker.ready() if self.worker else {}
        except (OverLimit, Gone) as problem:
            self.worker = None
            return {"failed": f"while it was imported: {problem or 'took too long'}"}
        answer = self.fit(request)
        if "seconds" not in answer:
            return answer
        self.first |= {"seconds": answer["seconds"], "max_iter": request.max_iter}
        self.first["peak MiB"] = answer["peak MiB"]
        return {}

    def fit(self, request: Request) -> Record:
        """The answer to a request, or why there is none ("over limit", "failed")."""
        if self.worker is None:
            return {"failed": "its process has ended"}
        time.sleep(_PAUSE)
        try:
            answer = self.worker.fit(request, self.limit)
            pace = answer["seconds"] / request.rows / max(answer["iterations"], 1)
            self.pace = min(self.pace or pace, pace)
            return answer
        except OverLimit:
            problem = {"over limit": f"more than {self.limit:g} s"}
        except Gone as gone:
            problem = {"failed": str(gone)}
        self.worker, self.first = None, {}
        return problem

    def hopeless(self, request: Request, iterations: int) -> Record:
        """A record where that many iterations at the pace so far would exceed the limit."""
        seconds = self.pace * request.rows * iterations
        if seconds <= _DOUBT * self.limit:
            return {}
        why = f"not tried: {iterations} iterations at its pace so far take {seconds:.0f} s"
        return {"over limit": f"{why}, the limit is {self.limit:g} s"}


@dataclass
class Table:
    """A cell's data and the seats around it."""

    cell: Cell
    X: Rows
    seats: list[Seat]

    def request(self, mode: str) -> Request:
        """A fit of a mode."""
        cell = self.cell
        if mode == "iterations":
            return Request(cell.n, cell.iterations, converge=False)
        return Request(cell.rows or cell.n, cell.max_iter, converge=True)


@contextlib.contextmanager
def table(cell: Cell, peers: Sequence[Peer], options: Options) -> Iterator[Table]:
    """Build the data, start all processes at once, and end them whatever happens."""
    with tempfile.TemporaryDirectory(prefix="versus-") as name:
        folder, X = pathlib.Path(name), cell.build()
        np.save(folder / "X.npy", X)
        np.save(folder / "start.npy", start_rows(X[: cell.rows or cell.n], cell.k, cell.start))
        seats = [Seat(peer, folder, options.limit) for peer in peers]
        try:
            for seat in seats:
                if seat.peer.version:
                    seat.sit()
            yield Table(cell, X, seats)
        finally:
            for seat in seats:
                seat.leave()


def run_mode(found: Table, mode: str, options: Options) -> dict[str, Record]:
    """All libraries in one mode: first calls where still due, turns, and the judgement."""
    request = found.request(mode)
    warm = found.request("iterations") if mode == "iterations" else _short(request)
    records = {seat.peer.name: _opening(seat, mode, warm) for seat in found.seats}
    times: dict[str, list[float]] = {name: [] for name in records}
    answers: dict[str, Record] = {}
    for number in range(options.rounds):
        for seat in found.seats:
            name, spent = seat.peer.name, times[seat.peer.name]
            if records[name] or (number and _used(spent) > options.seconds):
                continue
            longest = max((answer["iterations"] for answer in answers.values()), default=0)
            hopeless = {} if spent else seat.hopeless(request, longest)
            answer = hopeless or seat.fit(_again(request, spent))
            if "seconds" in answer:
                spent.append(answer["seconds"])
                answers[name] = answer | answers.get(name, {})
            else:
                records[name] = answer
    for seat in found.seats:
        name = seat.peer.name
        if not records[name]:
            records[name] = _judged(found.X[: request.rows], answers[name], times[name], seat)
    _pair(records)
    return records


def _opening(seat: Seat, mode: str, warm: Request) -> Record:
    """Why a library takes no part; else its first call is made, and the record is empty."""
    if not seat.peer.version:
        return {"absent": seat.peer.record()["absent"]}
    if mode == "convergence" and "convergence" in seat.peer.cannot:
        return {"cannot": seat.peer.cannot["convergence"]}
    return seat.warm(warm)


def _short(request: Request) -> Request:
    return Request(request.rows, 2, request.converge)


def _again(request: Request, spent: list[float]) -> Request:
    """The next turn: short fits several times, and the first turn brings the arrays."""
    repeats = min(max(int(_SHORT / spent[-1]), 1), _MOST_REPEATS) if spent else 1
    return Request(request.rows, request.max_iter, request.converge, repeats, result=not spent)


def _used(spent: list[float]) -> float:
    """Seconds that a library has had, and would have after one more turn."""
    return sum(spent) + spent[-1]


def _judged(X: Rows, answer: Record, times: list[float], seat: Seat) -> Record:
    labels, centers = answer["labels"], answer["centers"]
    share, judged = differing(X, labels, centers)
    on_device = {key: answer[key] for key in ("device MiB",) if key in answer}
    return on_device | {
        "seconds": statistics.median(times),
        "seconds min": min(times),
        "seconds max": max(times),
        "seconds by round": times,
        "of them for labels": answer["labels seconds"],
        "first call": seat.first,
        "iterations": answer["iterations"],
        "inertia": inertia(X, labels, centers),
        "labels differing": share,
        "rows judged": judged,
        "peak MiB": seat.first["peak MiB"],
        "threads": answer["threads"],
        "kernel": answer["kernel"],
        "start": "own" if seat.peer.name in OWN_START else "given",
    }


def _pair(records: dict[str, Record]) -> None:
    """Beside each time the ratio to ours, the median over the rounds that both played."""
    ours = records.get(OURS, {}).get("seconds by round")
    if not ours:
        return
    for record in records.values():
        if theirs := record.get("seconds by round"):
            pairs = [b / a for a, b in zip(ours, theirs, strict=False)]
            record["times ours"] = statistics.median(pairs)
