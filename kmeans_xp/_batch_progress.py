"""How far a fit by mini-batches has come, in memory and as plain numbers and arrays."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ._minibatch import NUMBERS, Course, Point, State
from ._outcome import Status
from ._progress import Arrays, plain


@dataclass(frozen=True)
class BatchProgress:
    """A fit between two batches, from which it goes on to the same end."""

    seed: int
    point: Point | None = None  # None: the first centers are not found yet
    generator: dict[str, Any] | None = None  # state of what a callable start draws from


def pack(progress: BatchProgress, /) -> tuple[dict[str, Any], Arrays]:
    """A header for JSON, and arrays on the host."""
    header: dict[str, Any] = {"seed": progress.seed}
    arrays: Arrays = {}
    if progress.point is not None:
        state, verdict = progress.point.state, progress.point.verdict
        arrays = {"means": state.means, "mass": state.mass}
        header["point"] = {
            "state": {name: getattr(state, name) for name in NUMBERS},
            "course": dataclasses.asdict(progress.point.course),
            "verdict": None if verdict is None else verdict.name,
        }
    if progress.generator is not None:
        header["generator"] = plain(progress.generator)
    return header, arrays


def unpack(header: dict[str, Any], arrays: Arrays, /) -> BatchProgress:
    """The way back."""
    point = None
    if "point" in header:
        facts = header["point"]
        point = Point(
            State(means=arrays["means"], mass=arrays["mass"], **facts["state"]),
            Course(**facts["course"]),
            None if facts["verdict"] is None else Status[facts["verdict"]],
        )
    return BatchProgress(header["seed"], point, header.get("generator"))
