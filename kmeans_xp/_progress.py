"""How far a fit has come, in memory and as plain numbers and arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ._backend import Context, to_host
from ._effort import Thrift
from ._outcome import Iteration, Result, Snapshot, Status
from ._trials import Stage, Trial

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Progress:
    """A fit between two steps, from which it goes on to the same end.

    ``best`` has no labels where it comes from a file: they follow from its centers.
    """

    seed: int
    run: int = 0  # the one at work; all that come before are done
    best: Result | None = None
    trials: tuple[Trial, ...] = ()  # of the runs that are done; of the search too at the end
    snapshot: Snapshot | None = None  # of the run at work
    stage: Stage | None = None  # of the search, after all runs
    generator: dict[str, Any] | None = None  # state of what a callable start draws from
    is_finished: bool = False


def pack(progress: Progress, /) -> tuple[dict[str, Any], Arrays]:
    """A header for JSON, and arrays on the host."""
    arrays: Arrays = {}
    header: dict[str, Any] = {
        "seed": progress.seed,
        "run": progress.run,
        "finished": progress.is_finished,
        "trials": [list(dataclasses.astuple(trial)) for trial in progress.trials],
    }
    best, snapshot, stage = progress.best, progress.snapshot, progress.stage
    if best is not None:
        arrays["best"] = to_host(best.centers)
        header["best"] = {
            "inertia": best.inertia,
            "n_iter": best.n_iter,
            "status": best.status.name,
            "n_distinct": best.n_distinct,
            "history": _rows(best.history),
        }
    if snapshot is not None:
        arrays["before"] = to_host(snapshot.before)
        arrays["centers"] = to_host(snapshot.centers)
        header["snapshot"] = {
            "again": snapshot.again,
            "is_wide": snapshot.is_wide,
            "history": _rows(snapshot.history),
        }
    if stage is not None:
        header["stage"] = {
            "trials": [list(dataclasses.astuple(trial)) for trial in stage.trials],
            "tried": sorted(stage.tried),
            "numbers": stage.numbers,
            "thrift": dataclasses.astuple(stage.thrift),
            "earlier": [list(dataclasses.astuple(trial)) for trial in stage.earlier],
        }
    if progress.generator is not None:
        header["generator"] = plain(progress.generator)
    return header, arrays


def unpack(header: dict[str, Any], arrays: Arrays, context: Context, /) -> Progress:
    """The way back, with arrays where the work happens."""
    there = {name: context.from_host(array) for name, array in arrays.items()}
    best = snapshot = stage = None
    if "best" in header:
        facts = header["best"]
        best = Result(
            there["best"],
            None,
            facts["inertia"],
            facts["n_iter"],
            Status[facts["status"]],
            _history(facts["history"]),
            facts["n_distinct"],
        )
    if "snapshot" in header:
        facts = header["snapshot"]
        history = _history(facts["history"])
        snapshot = Snapshot(
            there["before"], there["centers"], facts["again"], facts["is_wide"], history
        )
    if "stage" in header:
        assert best is not None
        facts = header["stage"]
        stage = Stage(
            best,
            tuple(Trial(*item) for item in facts["trials"]),
            frozenset((split, freed) for split, freed in facts["tried"]),
            facts["numbers"],
            tuple(Trial(*item) for item in facts["earlier"]),
            Thrift(*facts["thrift"]),
        )
    return Progress(
        header["seed"],
        header["run"],
        best,
        tuple(Trial(*item) for item in header["trials"]),
        snapshot,
        stage,
        header.get("generator"),
        header["finished"],
    )


def _rows(history: Sequence[Iteration]) -> list[list[Any]]:
    return [[item.iteration, item.changed, item.shift, item.inertia] for item in history]


def _history(rows: Sequence[Sequence[Any]]) -> tuple[Iteration, ...]:
    return tuple(Iteration(*row) for row in rows)


def plain(value: Any) -> Any:
    """A generator's state as JSON holds it: NumPy's arrays become lists."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
