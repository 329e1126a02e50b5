"""When bounds are used: they begin with a run, and pause where they rule out too little."""

from __future__ import annotations

from . import _bounds
from ._bounds import Drift
from ._primitives import FLOAT32_REACH, Nearest
from ._typing import Array, Namespace

_POOR_SHARE = 0.6
_TRIES = 2
_LONGEST_PAUSE = 16


class Pruner:
    """The drift of a run's centers, as long as the rows keep bounds."""

    def __init__(self, enabled: bool, xp: Namespace) -> None:
        self._enabled, self._xp = enabled, xp
        self.begin()

    def begin(self) -> None:
        """Forget the run before."""
        self._drift: Drift | None = None
        self._scale = 0.0
        self._is_new = False
        self._poor = 0
        self._pause = self._left = 0

    def drift_for(self, nearest: Nearest, /) -> tuple[Drift | None, bool]:
        """The drift for this sweep (None: no bounds), and whether old bounds must go."""
        if not self._enabled or nearest.first == "exact":
            return None, False
        if self._left:
            self._left -= 1
            return None, False
        self._is_new = self._drift is None or self._scale != nearest.scale.factor
        if self._is_new:
            low, high = FLOAT32_REACH
            narrow = nearest.scale.factor == 1.0 and low <= nearest.reach <= high
            count = int(nearest.centers.shape[0])
            dtype = "float32" if narrow else "float64"
            self._drift = _bounds.no_drift(count, dtype, nearest.centers, xp=self._xp)
            self._scale = nearest.scale.factor
        return self._drift, self._is_new

    def moved(self, squared: Array, /) -> None:
        """Note the movements of the centers after a sweep."""
        if self._drift is not None:
            self._drift = _bounds.drifted(self._drift, squared, xp=self._xp)

    def learn(self, share: float, /) -> None:
        """Pause for longer and longer when most rows had to be scored all the same."""
        if self._drift is None or self._is_new:
            return
        self._poor = self._poor + 1 if share > _POOR_SHARE else 0
        if self._poor == 0:
            self._pause = 0
        elif self._poor >= _TRIES:
            self._pause = self._left = min(max(1, 2 * self._pause), _LONGEST_PAUSE)
            self._drift = None
