"""The runs that a fit is the best of, and a search between two of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from ._effort import Thrift
from ._outcome import Result
from ._swaps import Swap

LOWERS = 2.0**-20
"""By less than this share two runs do not differ: they may have stopped by the tolerance."""


@dataclass(frozen=True)
class Trial:
    """One run of Lloyd's loop, from a start or from swapped centers, as plain numbers.

    Attributes
    ----------
    swaps : int
        Centers that were moved to another cluster before the run; 0 for a start, and all of them
        where the best places on a line are known.
    n_iter : int
        Iterations of the run.
    inertia : float
        Inertia that it ended with.
    kept : bool
        Whether it was the best so far; in a search: lower by more than a millionth, on a line: not
        higher.
    exchanges : int
        Rows that were moved to another cluster before the run, where that lowers the inertia as
        both means follow.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import KMeans
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> model = KMeans(n_clusters=9, random_state=0, search="auto").fit(X)
    >>> model.trials_[0].swaps
    0
    >>> min(trial.inertia for trial in model.trials_) == model.inertia_
    True
    """

    swaps: int
    n_iter: int
    inertia: float
    kept: bool
    exchanges: int = 0


@dataclass(frozen=True)
class Stage:
    """A search between two swaps, from which it goes on to the same end."""

    best: Result
    trials: tuple[Trial, ...] = ()
    tried: frozenset[Swap] = frozenset()
    numbers: dict[str, int] = field(default_factory=dict)  # what the search counts, by name
    earlier: tuple[Trial, ...] = ()  # before all swaps, on a line
    thrift: Thrift = field(default_factory=Thrift)
