"""What a look at a block's rows counted, on the device until the host reads it all at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from ..._groups import Groups
from ..._typing import Array
from ._calls import Picked


class Seen(NamedTuple):
    """How many rows a look scored, and how many each of its products left open.

    ``pairs`` are those of `_group_calls`; None without groups.
    """

    scored: int
    left: list[int]
    pairs: int | None


@dataclass(frozen=True)
class Looked:
    """A look that was launched: what it counted, and the rows that its products left open.

    ``pairs`` are counted where rows were scored against groups, those of ``groups``.
    """

    n_rows: int
    doubtful: Picked | None
    steps: list[tuple[str, Picked]]
    pairs: Array | None = None
    groups: Groups | None = None

    @property
    def works(self) -> list[str]:
        """The products."""
        return [work for work, _ in self.steps]

    @property
    def counts(self) -> list[Array]:
        """What the host is to read."""
        before = [] if self.doubtful is None else [self.doubtful.count]
        before += [] if self.pairs is None else [self.pairs]
        return before + [left.count for _, left in self.steps]

    def told(self) -> Looked:
        """The same without room for rows: the counts are all that is asked for later."""
        doubtful = None if self.doubtful is None else self.doubtful.told()
        return replace(
            self, doubtful=doubtful, steps=[(work, left.told()) for work, left in self.steps]
        )

    def read(self, numbers: list[int], /) -> Seen:
        """Take the counts from the head of these numbers."""
        scored = self.n_rows if self.doubtful is None else numbers.pop(0)
        pairs = None if self.pairs is None else numbers.pop(0)
        return Seen(scored, [numbers.pop(0) for _ in self.steps], pairs)
