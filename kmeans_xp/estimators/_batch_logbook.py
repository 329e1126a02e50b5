"""The checkpoint of a fit by mini-batches: opened or begun before its starts, kept up to date."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .._batch_progress import BatchProgress, pack, unpack
from .._minibatch import Point
from .._problem import Training
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

_COUNTS = ("batch_size", "max_no_improvement", "init_size")


class BatchLogbook:
    """Notes how far a fit has come, and writes it down every so many seconds."""

    def __init__(
        self, file: Checkpoint, progress: BatchProgress, generator: np.random.RandomState
    ) -> None:
        self._file, self._progress = file, progress
        self.generator = generator
        self._written: BatchProgress | None = progress

    @property
    def seed(self) -> int:
        return self._progress.seed

    @property
    def point(self) -> Point | None:
        """Where the batches go on; None before the first centers are found."""
        return self._progress.point

    def note(self, point: Point) -> None:
        """Note how far the run has come."""
        if point is not self._progress.point:
            # nothing is drawn any more once there are centers
            self._progress = replace(self._progress, point=point, generator=None)

    def keep(self, point: Point) -> None:
        """Note it, and write it down when that is due."""
        self.note(point)
        if self._file.is_due:
            self.write()

    def close(self) -> None:
        """Write the end, or where a fit stands that Ctrl-C ended."""
        if self._progress is not self._written:
            self.write()

    def write(self) -> None:
        """Replace the file by one that says how far the fit has come."""
        progress = self._progress
        self._file.write(*pack(progress))
        self._written = progress


def open_batch_logbook(
    model: Any,
    problem: Training,
    seed: int,
    random_state: np.random.RandomState,
    start: Array | None,
    runs: int,
    n_steps: int,
) -> BatchLogbook | None:
    """Resume from the model's checkpoint, or begin one; None if none is asked for.

    ``seed`` was drawn from ``random_state``, from which a callable start draws on; ``start`` are
    given centers, and a run takes ``n_steps`` batches at most.
    """
    opened = open_checkpoint(model, problem, _settings(model, start, runs))
    if opened is None:
        return None
    file, found = opened
    if found is None:
        drawn = state_of(random_state) if callable(model.init) else None
        log = BatchLogbook(file, BatchProgress(seed, generator=drawn), random_state)
        # tells at once whether it can be written, and keeps the seed
        log.write()
        return log
    progress = unpack(*found)
    check_seed(file, model, progress.seed, seed)
    tell(file, _where(progress.point, n_steps), bool(model.verbose))
    generator = random_state if progress.generator is None else as_it_was(progress.generator)
    return BatchLogbook(file, progress, generator)


def _settings(model: Any, start: Array | None, runs: int) -> dict[str, Any]:
    """The parameters that make another result, as plain values."""
    return {
        "estimator": "MiniBatchKMeans",
        "n_clusters": int(model.n_clusters),
        "init": start_word(model.init, start),
        "n_init": runs,
        "max_iter": int(model.max_iter),
        "tol": float(model.tol),
        **{name: None if (n := getattr(model, name)) is None else int(n) for name in _COUNTS},
        "reassignment_ratio": float(model.reassignment_ratio),
    }


def _where(point: Point | None, n_steps: int) -> str:
    """Where a fit goes on, in words."""
    if point is None:
        return "before its first batch"
    if point.verdict is not None or point.state.steps >= n_steps:
        return "a finished fit"
    return f"after {point.state.steps} of at most {n_steps} batches"
