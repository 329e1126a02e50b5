"""What a run of the loop is told, and what it leaves."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ._bounds import Drift
from ._distances import Scale
from ._typing import Array


class Status(enum.Enum):
    """Why the loop ended, in a sentence for the user."""

    CONVERGED = "converged: no row changed its cluster"
    TOLERANCE = "converged: the centers moved less than the tolerance"
    OPTIMUM = "converged: the optimum, which is known in one dimension"
    OBJECTIVE = "converged: the objective falls no more"
    LOSS = "converged: the loss falls no more"
    SWAPS = "converged: no swap of a medoid and a row lowers the loss"
    NO_IMPROVEMENT = "converged: the inertia of the batches falls no more"
    MAX_ITER = "stopped at max_iter before convergence"
    CALLBACK = "stopped by the callback"
    PASSES = "stopped when the passes of the search were used up"
    SECONDS = "stopped when the seconds of the search were used up"
    INTERRUPTED = "interrupted: the best state so far was kept"
    OPEN = "open: partial_fit goes on from here"


ENDED = (Status.CONVERGED, Status.TOLERANCE)
BROKEN_OFF = (Status.CALLBACK, Status.INTERRUPTED)
"""Of a run of the loop: at a local optimum, and by someone's word."""


@dataclass(frozen=True)
class Iteration:
    """One iteration, as plain numbers.

    Attributes
    ----------
    iteration : int, from 1
    changed : int
        Rows with a positive weight that changed cluster, relocated ones included.
    shift : float
        Square root of the summed squared movements of the centers, in the data's units.
    inertia : float or None
        Inertia of the assignment before the centers moved; computed only under
        ``verbose`` or with a callback, since it costs a pass.
    """

    iteration: int
    changed: int
    shift: float
    inertia: float | None


@dataclass(frozen=True)
class Kept:
    """What a run leaves for the next one, if asked.

    ``own`` are the canonical squared distances (n,) of all rows to their centers in units of
    ``scale``; ``totals`` the sums of the final labels.
    """

    own: Array
    scale: Scale
    totals: Array


@dataclass(frozen=True)
class Known:
    """Labels (n,) of all rows for the centers of a start, and sums by the labels before.

    The centers before were the first of these.
    """

    labels: Array
    before: Array
    totals: Array


@dataclass(frozen=True)
class Handover:
    """How a run ended, for another that starts near; see `_handover`.

    Its centers, the sums of its labels, how far the rows' bounds have drifted, and in which scale.
    """

    centers: Array
    totals: Array
    drift: Drift
    scale: Scale


@dataclass(frozen=True)
class Result:
    """What one run leaves; labels stay in the source's blocks until collected."""

    centers: Array
    labels: Array
    inertia: float
    n_iter: int
    status: Status
    history: tuple[Iteration, ...]
    n_distinct: int
    kept: Kept | None = None
    end: Handover | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    """What a relative of k-means tells beside."""

    def interrupted(self) -> Result:
        """The same result, marked as the best when Ctrl-C came."""
        return replace(self, status=Status.INTERRUPTED)


@dataclass(frozen=True)
class Snapshot:
    """A run between two iterations, from which it goes on to the same end.

    It holds no labels and no sums: they come from making the last iterations again.
    """

    before: Array  # the centers that the last iterations began from
    centers: Array  # that they left
    again: int  # how many they were
    is_wide: bool  # whether distances were measured for `before` outside the rows
    history: tuple[Iteration, ...]


Observer = Callable[[Iteration, Array], bool]
"""Called after every iteration with the record and the new centers; true stops the run."""


@dataclass(frozen=True)
class Rules:
    """When to stop, and what to do about empty clusters."""

    max_iter: int | None
    tol: float
    empty_cluster: str = "farthest"
    observe: Observer | None = None
    keep: Callable[[Snapshot], None] | None = None  # called between iterations
    deadline: float | None = None
    """By `time.monotonic`; looked at between iterations, so that a run may end a little later."""
