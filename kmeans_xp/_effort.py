"""How long a search may take: as the user writes it, and as numbers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from numbers import Integral
from typing import Any

_SECONDS = re.compile(r"(\d+(?:\.\d*)?|\.\d+) *s", re.ASCII)


@dataclass(frozen=True)
class Effort:
    """How long to search: until some swaps in a row lower nothing ("auto"), or for so many passes.

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
