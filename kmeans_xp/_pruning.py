"""When bounds are used: they begin with a run, and pause where they rule out too little.

Groups of centers (see `_groups`) join them where a sweep left many rows in doubt all the same, and
go for the rest of the run where most groups of those rows must be scored nevertheless.
"""

from __future__ import annotations

from . import _bounds
from ._bounds import Drift
from ._primitives import FLOAT32_REACH, Nearest
from ._typing import Array, Namespace

_POOR_SHARE = 0.6
_TRIES = 2
_LONGEST_PAUSE = 16
_DOUBTFUL_SHARE = 0.3
_WORTH = 0.7  # of the centers
_GROUP_TRIES = 3


class Pruner:
    """The drift of a run's centers, as long as the rows keep bounds.

    ``group_size`` is the number of centers in a group; 0 for no groups.  ``late``: a run's first
    sweep leaves no bounds.
    """

    def __init__(
        self, enabled: bool, xp: Namespace, group_size: int = 0, *, late: bool = False
    ) -> None:
        self._enabled, self._xp, self.group_size = enabled, xp, group_size
        self._late = late
        self.begin()

    def begin(self) -> None:
        """Forget the run before."""
        self._drift: Drift | None = None
        self.seeks_repeats = False
        self._scale = 0.0
        self._is_new = False
        self._poor = 0
        self._pause, self._left = 0, int(self._late)
        self._group_tries = _GROUP_TRIES if self.group_size else 0
        self._wants_groups = self._are_begun = False

    def resume(self, drift: Drift, factor: float, /) -> None:
        """Begin with bounds that the rows keep already, in a scale of this factor."""
        self.begin()
        self._drift, self._scale, self._left = drift, factor, 0

    def drift_for(self, nearest: Nearest, /) -> tuple[Drift | None, bool]:
        """The drift for this sweep (None: no bounds), and whether old bounds must go."""
        if not self._enabled or nearest.first == "exact":
            return None, False
        if self._left:
            self._left -= 1
            return None, False
        self._is_new = self._drift is None or self._scale != nearest.scale.factor
        if self._drift is None or self._is_new:
            self._drift = self._new_drift(nearest)
        if self._wants_groups and self._drift.groups is None:
            self._drift = self._drift.grouped(nearest.centers, self.group_size, xp=self._xp)
            self._are_begun = False
        return self._drift, self._is_new

    def passed_over(self) -> None:
        """Note a sweep that scored no row, as labels were known."""
        self._left = max(0, self._left - 1)

    def _new_drift(self, nearest: Nearest) -> Drift:
        low, high = FLOAT32_REACH
        narrow = nearest.scale.factor == 1.0 and low <= nearest.reach <= high
        dtype = "float32" if narrow else "float64"
        self._scale = nearest.scale.factor
        count = int(nearest.centers.shape[0])
        return _bounds.no_drift(count, dtype, nearest.centers, xp=self._xp)

    def moved(self, squared: Array, /) -> None:
        """Note the movements of the centers after a sweep."""
        if self._drift is not None:
            self._drift = _bounds.drifted(self._drift, squared, xp=self._xp)

    @property
    def drift(self) -> Drift | None:
        """How far centers have moved, if rows keep bounds."""
        return self._drift

    def follow(self, drift: Drift | None, /) -> None:
        """Go on from a drift to which the movements of a sweep were added elsewhere."""
        if self._drift is None or drift is None:
            return
        # groups that were given up meanwhile do not come back with it
        self._drift = drift if self._drift.groups is not None else drift.ungrouped()

    def learn(self, scored: int, n_rows: int, /) -> None:
        """Judge a sweep by the rows in doubt, or with groups by the pairs that were scored.

        Bounds pause for longer and longer when most of it had to be scored all the same.
        """
        if self._drift is None or self._is_new:
            return
        share = scored / n_rows
        groups = self._drift.groups
        if groups is not None and groups.tally:
            if not self._are_begun:
                self._are_begun = True
                return  # no row had bounds for groups before
            work = sum(groups.tally) / (n_rows * groups.count * groups.size)
            if work > _WORTH * share:
                self._group_tries -= 1
            share = work
            if self._group_tries == 0:
                self._wants_groups = False
                self._drift = self._drift.ungrouped()
        elif groups is None and self._group_tries and share > _DOUBTFUL_SHARE:
            self._wants_groups = True
            return
        self._poor = self._poor + 1 if share > _POOR_SHARE else 0
        if self._poor == 0:
            self._pause = 0
        elif self._poor >= _TRIES:
            self._pause = self._left = min(max(1, 2 * self._pause), _LONGEST_PAUSE)
            self._drift = None
