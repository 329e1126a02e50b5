"""How long a search may take: as the user writes it, and as numbers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from numbers import Integral
from typing import Any

_WORTH = 1.0 / 200  # share by which the inertia must fall to pay for the whole allowance
# in iterations, the average over many shapes: the start of a fit, and what beside its iterations a
# run takes; a look
_TO_START, _TO_BEGIN, _TO_LOOK = 30, 4, 9
_SECONDS = re.compile(r"(\d+(?:\.\d*)?|\.\d+) *s", re.ASCII)


@dataclass(frozen=True)
class Effort:
    """How long to search: until some swaps in a row lower too little ("auto"), or for some passes.

    Passes are Lloyd's iterations, and one for each look at what splits would gain or which rows
    pay elsewhere.  They are not spent where nothing is left to try; a run that was given up over
    an empty cluster counts none.  A budget, of passes or of seconds by the clock, is first spent
    as "auto" would, then on swaps that promise less.
    """

    passes: int | None = None
    seconds: float | None = None

    @property
    def is_auto(self) -> bool:
        """Whether the search itself knows when to end."""
        return self.passes is None and self.seconds is None


def effort_of(search: Any, /) -> Effort:
    """What "auto", a number of passes, or seconds such as "10s" mean."""
    if isinstance(search, bool):
        raise ValueError(f'search={search} is no number of passes; "auto" asks for a search')
    if isinstance(search, Integral):
        return Effort(int(search))
    if search == "auto":
        return Effort()
    found = _SECONDS.fullmatch(search)
    seconds = float(found[1]) if found else 0.0
    if not 0.0 < seconds < math.inf:
        raise ValueError(
            f'search={search!r} is none of "auto", a number of passes such as 100, and seconds '
            'above 0 such as "10s"'
        )
    return Effort(seconds=seconds)


@dataclass
class Thrift:
    """What a search may take, in iterations, before it must have lowered the inertia enough.

    At first that is what the fit took before it, ``allowance``.  A fall of the inertia by half a
    percent brings all of it back, a smaller one its share.  So a search that finds nothing takes as
    long as the fit before it, and one that is worth more goes on.  Without an allowance there is
    no limit.
    """

    allowance: int = 0
    left: int = 0

    @classmethod
    def after(cls, n_iter: int | None, /) -> Thrift:
        """By the iterations of the fit before the search; None for no limit."""
        return cls() if n_iter is None else cls(n_iter + _TO_START, n_iter + _TO_START)

    @property
    def is_out(self) -> bool:
        """Whether the search has taken too long for what it found."""
        return self.allowance > 0 and self.left <= 0

    def looked(self) -> None:
        """Pay for a look at all rows."""
        self.left -= _TO_LOOK

    def ran(self, n_iter: int, fall: float) -> None:
        """Pay for a run, which made the inertia fall by such a share."""
        self.left -= _TO_BEGIN + n_iter
        if fall > 0.0:
            self.left = min(self.allowance, self.left + int(self.allowance * fall / _WORTH))

    def halve(self) -> None:
        """Begin anew with half the allowance."""
        self.allowance = self.left = (self.allowance + 1) // 2
