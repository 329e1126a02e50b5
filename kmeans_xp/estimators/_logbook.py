"""The checkpoint of a fit: opened or begun before its first run, kept up to date, closed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np

from .._outcome import Result, Snapshot, Status
from .._problem import Training
from .._progress import Progress, pack, unpack
from .._solver import labels_of
from .._trials import Stage, Trial
from .._typing import Array
from ._checkpoint import (
    Checkpoint,
    as_it_was,
    check_seed,
    open_checkpoint,
    start_word,
    state_of,
    tell,
)

Start = Array | Snapshot


class Logbook:
    """Notes how far a fit has come, and writes it down every so many seconds."""

    def __init__(
        self,
        file: Checkpoint,
        runs: int,
        progress: Progress,
        generator: np.random.RandomState,
    ) -> None:
        self._file, self._runs = file, runs
        self._progress = progress
        self.generator = generator
        # of which the state says what later starts draw
        self._draws = progress.generator is not None

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
        self._file.write(*pack(self._progress))

    def _drawn(self) -> dict[str, Any] | None:
        return state_of(self.generator) if self._draws else None

    def _write_if_due(self) -> None:
        if self._file.is_due:
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
    opened = open_checkpoint(model, problem, _settings(model, start, runs, searches))
    if opened is None:
        return None
    file, found = opened
    if found is None:
        drawn = state_of(random_state) if callable(model.init) else None
        log = Logbook(file, runs, Progress(seed, generator=drawn), random_state)
        # tells at once whether it can be written, and keeps the seed
        log.write()
        return log
    progress = unpack(*found, problem.context)
    check_seed(file, model, progress.seed, seed)
    tell(file, _where(progress), bool(model.verbose))
    generator = random_state if progress.generator is None else as_it_was(progress.generator)
    return Logbook(file, runs, progress, generator)


def _settings(model: Any, start: Array | None, runs: int, searches: bool) -> dict[str, Any]:
    """The parameters that make another result, as plain values."""
    search = model.search if searches else None
    return {
        "estimator": "KMeans",
        "n_clusters": int(model.n_clusters),
        "init": start_word(model.init, start),
        "n_init": runs,
        "max_iter": None if model.max_iter is None else int(model.max_iter),
        "tol": float(model.tol),
        "empty_cluster": model.empty_cluster,
        "search": int(search) if isinstance(search, Integral) else search,
    }


def _where(progress: Progress) -> str:
    """Where a fit goes on, in words."""
    if progress.is_finished:
        stopped = progress.best is not None and progress.best.status is Status.CALLBACK
        more = ", which its callback stopped (delete the file to fit anew)" if stopped else ""
        return f"a finished fit{more}"
    if progress.stage is not None:
        return f"the search, after {len(progress.stage.trials)} of its runs"
    made = 0 if progress.snapshot is None else len(progress.snapshot.history)
    return f"run {progress.run + 1}, after {made} iterations"
