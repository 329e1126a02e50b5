"""The checkpoint of a fit: opened or begun before its first run, kept up to date, closed."""

from __future__ import annotations

import hashlib
import logging
import pathlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np

from .._backend import to_host
from .._checkpoint_file import read_checkpoint, remove_leftovers, write_checkpoint
from .._digest import fingerprint
from .._outcome import Result, Snapshot, Status
from .._problem import Training
from .._progress import Progress, pack, unpack
from .._solver import labels_of
from .._trials import Stage, Trial
from .._typing import Array
from ..exceptions import CheckpointError

logger = logging.getLogger("kmeans_xp")
Start = Array | Snapshot


class Logbook:
    """Notes how far a fit has come, and writes it down every so many seconds."""

    def __init__(
        self,
        path: pathlib.Path,
        every: float,
        facts: dict[str, Any],
        progress: Progress,
        generator: np.random.RandomState,
    ) -> None:
        self._path, self._every, self._facts = path, every, facts
        self._progress = progress
        self.generator = generator
        # of which the state says what later starts draw
        self._draws = progress.generator is not None
        self._written = time.monotonic()

    @property
    def seed(self) -> int:
        return self._progress.seed

    @property
    def trials(self) -> list[Trial]:
        """Those of the runs that are done."""
        return list(self._progress.trials)

    @property
    def is_finished(self) -> bool:
        return self._progress.is_finished

    def resume(self, problem: Training) -> tuple[int, Result | None]:
        """The number of the run to go on with, and the best of those before."""
        best = self._progress.best
        if best is not None:
            centers = best.centers
            labels = problem.within_memory(lambda: labels_of(problem, centers))
            best = replace(best, labels=labels)
            self._progress = replace(self._progress, best=best)
        return self._progress.run, best

    def start(
        self, run: int, best: Result | None, trials: Sequence[Trial], starts: Callable[[int], Array]
    ) -> Start:
        """Where a run begins, or where it goes on."""
        if run != self._progress.run:
            self._move_on(run, best, trials)
            self._write_if_due()
        return self._progress.snapshot or starts(run)

    def keep(self, snapshot: Snapshot) -> None:
        """Note how far the run has come."""
        self._note(snapshot=snapshot, generator=self._drawn())
        self._write_if_due()

    def searched_from(self, best: Result, trials: Sequence[Trial]) -> Result | Stage:
        """The result that a search begins from, after all runs, or where it goes on."""
        stage = self._progress.stage
        if stage is not None:
            return replace(stage, best=best)
        if best.status is not Status.INTERRUPTED:
            self._move_on(self._runs, best, trials)
        return best

    def reach(self, stage: Stage) -> None:
        """Note how far the search has come."""
        self._note(best=stage.best, stage=stage)
        self._write_if_due()

    def close(self, result: Result, trials: Sequence[Trial]) -> None:
        """Write the end, or where a fit stands that Ctrl-C ended."""
        if self.is_finished:
            return
        if result.status is not Status.INTERRUPTED:
            self._move_on(self._runs, result, trials)
            self._note(stage=None, generator=None, is_finished=True)
        self.write()

    def write(self) -> None:
        """Replace the file by one that says how far the fit has come."""
        header, arrays = pack(self._progress)
        write_checkpoint(self._path, {**self._facts, "progress": header}, arrays)
        self._written = time.monotonic()

    @property
    def _runs(self) -> int:
        return int(self._facts["settings"]["n_init"])

    def _drawn(self) -> dict[str, Any] | None:
        return _state(self.generator) if self._draws else None

    def _write_if_due(self) -> None:
        if time.monotonic() - self._written >= self._every:
            self.write()

    def _move_on(self, run: int, best: Result | None, trials: Sequence[Trial]) -> None:
        self._note(run=run, best=best, trials=tuple(trials), snapshot=None)

    def _note(self, **changes: Any) -> None:
        self._progress = replace(self._progress, **changes)


def open_logbook(
    model: Any,
    problem: Training,
    seed: int,
    random_state: np.random.RandomState,
    start: Array | None,
    runs: int,
    *,
    searches: bool,
) -> Logbook | None:
    """Resume from the model's checkpoint, or begin one; None if none is asked for.

    ``seed`` was drawn from ``random_state``, from which a callable start draws on; ``start`` are
    given centers.
    """
    if model.checkpoint is None:
        return None
    path = pathlib.Path(model.checkpoint)
    settings = _settings(model, start, runs, searches)
    found = read_checkpoint(path)
    remove_leftovers(path)
    if found is not None:
        _refuse_other_settings(path, found[0]["settings"], settings)
    facts = {"settings": settings, "data": fingerprint(problem)}
    if found is None:
        drawn = _state(random_state) if callable(model.init) else None
        progress = Progress(seed, generator=drawn)
        log = Logbook(path, model.checkpoint_every, facts, progress, random_state)
        # tells at once whether it can be written, and keeps the seed
        log.write()
        return log
    header, arrays = found
    _refuse_other_rows(path, header["data"], facts["data"])
    progress = unpack(header["progress"], arrays, problem.context)
    if model.random_state is not None and progress.seed != seed:
        raise _refusal(path, f"random_state={model.random_state} gives another seed")
    _tell(path, progress, bool(model.verbose))
    generator = random_state if progress.generator is None else _as_it_was(progress.generator)
    return Logbook(path, model.checkpoint_every, facts, progress, generator)


def _settings(model: Any, start: Array | None, runs: int, searches: bool) -> dict[str, Any]:
    """The parameters that make another result, as plain values."""
    init = model.init
    if start is not None:
        init = f"an array ({hashlib.sha256(to_host(start).tobytes()).hexdigest()[:16]})"
    elif callable(init):
        init = "a callable"
    search = model.search if searches else None
    return {
        "n_clusters": int(model.n_clusters),
        "init": init,
        "n_init": runs,
        "max_iter": None if model.max_iter is None else int(model.max_iter),
        "tol": float(model.tol),
        "empty_cluster": model.empty_cluster,
        "search": int(search) if isinstance(search, Integral) else search,
    }


def _refuse_other_settings(path: pathlib.Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    others = [
        f"{name} was {before[name]!r} and is {now[name]!r}"
        for name in now
        if before[name] != now[name]
    ]
    if others:
        raise _refusal(path, "; ".join(others))


def _refuse_other_rows(path: pathlib.Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    if before == now:
        return
    was, here = ("{rows} x {columns} {dtype}".format(**facts) for facts in (before, now))
    if was != here:
        raise _refusal(path, f"X was {was} and is {here}")
    if before["weighted"] != now["weighted"]:
        raise _refusal(path, "it was fitted with sample weights or is now, but not both")
    what = "X or the sample weights hold" if now["weighted"] else "X holds"
    raise _refusal(path, f"{what} other values, or the same in another order")


def _refusal(path: pathlib.Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint={str(path)!r} belongs to another fit: {reason}. Fit as before to go on, name "
        "another file, or delete this one to begin anew"
    )


def _tell(path: pathlib.Path, progress: Progress, aloud: bool) -> None:
    if progress.is_finished:
        where = "a finished fit"
        if progress.best is not None and progress.best.status is Status.CALLBACK:
            where += ", which its callback stopped (delete the file to fit anew)"
    elif progress.stage is not None:
        where = f"the search, after {len(progress.stage.trials)} of its runs"
    else:
        made = 0 if progress.snapshot is None else len(progress.snapshot.history)
        where = f"run {progress.run + 1}, after {made} iterations"
    logger.info("resumed from %s: %s", path, where)
    if aloud:
        print(f"Resumed from {path}: {where}.")


def _state(generator: np.random.RandomState) -> dict[str, Any]:
    state: dict[str, Any] = generator.get_state(legacy=False)
    return state


def _as_it_was(state: dict[str, Any]) -> np.random.RandomState:
    """A generator with this state; the user's, which may be everybody's, is left alone."""
    kind = getattr(np.random, state["bit_generator"])
    generator = np.random.RandomState(kind())
    generator.set_state(state)
    return generator
