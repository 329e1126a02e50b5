"""Whether compiled loops are worth having: rent or buy.

Loading numba and its compiled code takes a moment, compiling it several seconds.  A process
starts without, and adds up what its fits are estimated to take; as soon as that reaches the
price of the compiled loops, they are brought in.  So no fit waits for a compiler to save less
than the wait, and a process never pays more than twice what the best choice would have cost.
The loops of k-means++ have an account of their own (`_numba_gains`), step by step.
"""

from __future__ import annotations

from ._price import PER_SCORE, SECONDS_A_UNIT, Account
from ._select import Shape

_SWEEPS = 30
_COMPILE_SECONDS = 12.0


class Meter:
    """Adds up the work that was done without compiled loops."""

    def __init__(self) -> None:
        self._account = Account("_loops.score_rows", _COMPILE_SECONDS)

    def wants(self, shape: Shape, threads: int) -> bool:
        """Whether a fit of this shape should use compiled loops."""
        return self._account.pays(shape.dtype, estimate(shape, threads))


def estimate(shape: Shape, threads: int) -> float:
    """Seconds that a typical fit takes without compiled loops, roughly."""
    work = shape.n_rows * shape.n_clusters * (shape.n_features + PER_SCORE)
    return work * SECONDS_A_UNIT * _SWEEPS / threads


METER = Meter()
"""The meter of this process."""
