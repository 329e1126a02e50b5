"""Whether compiled loops are worth having: rent or buy.

Loading numba and its compiled code takes a moment, compiling it several seconds.  A process
starts without, and adds up what its fits are estimated to take; as soon as that reaches the
price of the compiled loops, they are brought in.  So no fit waits for a compiler to save less
than the wait, and a process never pays more than twice what the best choice would have cost.
The loops for few rows, whose fits take a hundredth of a second, have an account of their own, and
so have those of k-means++ (`_numba_gains`), step by step.  Each kind of rows (dtype, memory layout)
is compiled apart, and pays for itself.
"""

from __future__ import annotations

from ._price import PER_SCORE, SECONDS_A_UNIT, Account, Kind
from ._select import Shape, is_few

_SWEEPS = 30
ONE_SWEEP = 1.0 / _SWEEPS
"""The part of a fit that one pass over the rows is."""
_COMPILE_SECONDS, _FEW_COMPILE_SECONDS = 12.0, 6.0
_CALLS_SECONDS = 4e-5  # a sweep's calls, beside its work


class Meter:
    """Adds up the work that was done without compiled loops; few rows have loops of their own."""

    def __init__(self) -> None:
        self._many = Account("_loops.score_rows", _COMPILE_SECONDS)
        self._few = Account("_few_loops.label_rows", _FEW_COMPILE_SECONDS)

    def wants(self, shape: Shape, threads: int, kind: Kind, fits: float = 1.0) -> bool:
        """Whether so many fits of this shape, one after another, should use compiled loops."""
        account = self._few if is_few(shape) else self._many
        return account.pays(kind, fits * estimate(shape, threads))


def estimate(shape: Shape, threads: int) -> float:
    """Seconds that a typical fit takes without compiled loops, roughly."""
    work = shape.n_rows * shape.n_clusters * (shape.n_features + PER_SCORE)
    return (work * SECONDS_A_UNIT / threads + _CALLS_SECONDS) * _SWEEPS


METER = Meter()
"""The meter of this process."""
