"""The file of a fit that may be killed: opened or begun, other fits refused, written when due."""

from __future__ import annotations

import hashlib
import logging
import pathlib
import time
from typing import Any

import numpy as np

from .._backend import to_host
from .._checkpoint_file import Arrays, read_checkpoint, remove_leftovers, write_checkpoint
from .._digest import fingerprint
from .._problem import Training
from .._typing import Array
from ..exceptions import CheckpointError

logger = logging.getLogger("kmeans_xp")
Found = tuple[dict[str, Any], Arrays]


class Checkpoint:
    """The file of one fit, with the facts that tell it from others."""

    def __init__(self, path: pathlib.Path, every: float, facts: dict[str, Any]) -> None:
        self.path, self._every, self._facts = path, every, facts
        self._written = time.monotonic()

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self._written >= self._every

    def write(self, progress: dict[str, Any], arrays: Arrays) -> None:
        """Replace the file by one that says how far the fit has come."""
        write_checkpoint(self.path, {**self._facts, "progress": progress}, arrays)
        self._written = time.monotonic()


def open_checkpoint(
    model: Any, problem: Training, settings: dict[str, Any]
) -> tuple[Checkpoint, Found | None] | None:
    """The model's checkpoint, and the progress that it tells of; None if none is asked for.

    ``settings`` are the parameters that make another result, as plain values, the estimator first.
    """
    if model.checkpoint is None:
        return None
    path = pathlib.Path(model.checkpoint)
    found = read_checkpoint(path)
    remove_leftovers(path)
    if found is not None:
        _refuse_other_settings(path, found[0]["settings"], settings)
    facts = {"settings": settings, "data": fingerprint(problem)}
    file = Checkpoint(path, model.checkpoint_every, facts)
    if found is None:
        return file, None
    header, arrays = found
    _refuse_other_rows(path, header["data"], facts["data"])
    return file, (header["progress"], arrays)


def check_seed(file: Checkpoint, model: Any, before: int, now: int) -> None:
    """Refuse a seed that the user asked for otherwise; None takes the one before up again."""
    if model.random_state is not None and before != now:
        raise _refusal(file.path, f"random_state={model.random_state} gives another seed")


def tell(file: Checkpoint, where: str, aloud: bool) -> None:
    """Say where the fit goes on."""
    logger.info("resumed from %s: %s", file.path, where)
    if aloud:
        print(f"Resumed from {file.path}: {where}.")


def start_word(init: Any, start: Array | None) -> str:
    """What the centers start from, as a plain value; ``start`` are given ones."""
    if start is not None:
        return f"an array ({hashlib.sha256(to_host(start).tobytes()).hexdigest()[:16]})"
    return "a callable" if callable(init) else str(init)


def state_of(generator: np.random.RandomState) -> dict[str, Any]:
    state: dict[str, Any] = generator.get_state(legacy=False)
    return state


def as_it_was(state: dict[str, Any]) -> np.random.RandomState:
    """A generator with this state; the user's, which may be everybody's, is left alone."""
    kind = getattr(np.random, state["bit_generator"])
    generator = np.random.RandomState(kind())
    generator.set_state(state)
    return generator


def _refuse_other_settings(path: pathlib.Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    was, here = before.get("estimator"), now["estimator"]
    if was != here:
        raise _refusal(path, f"it was of {was} and this is {here}")
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
