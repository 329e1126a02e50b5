"""Which swaps to make: a cluster is split, and another merged with the one it is cheapest with."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ._split import Outlook

_WORTHY = 32

Swap = tuple[int, int]
"""A cluster to split, and one to merge with its partner."""


def _by_worth(view: Outlook) -> tuple[list[int], list[int]]:
    """Clusters by what a split gains, largest first, and by what a merge costs."""
    every = range(len(view.gains))
    return (
        sorted(every, key=lambda cluster: -view.gains[cluster]),
        sorted(every, key=lambda cluster: view.costs[cluster]),
    )


def sure(view: Outlook, tried: set[Swap], /) -> Iterator[Swap]:
    """Swaps of different clusters whose split gains more than the merge costs."""
    splits, merges = _by_worth(view)
    used: set[int] = set()
    for freed in merges:
        pair = {freed, view.partners[freed]}
        if used & pair:
            continue
        split = next((s for s in splits if s not in used | pair and (s, freed) not in tried), None)
        if split is None or not view.gains[split] > view.costs[freed]:
            return
        used |= {split, *pair}
        yield split, freed


def pairs(view: Outlook, /) -> Iterator[Swap]:
    """Swaps of the clusters that gain most and those that cost least."""
    splits, merges = _by_worth(view)
    for freed in merges[:_WORTHY]:
        for split in splits[:_WORTHY]:
            if split not in (freed, view.partners[freed]):
                yield split, freed


def swapped(view: Outlook, swaps: list[Swap], /) -> npt.NDArray[np.float64]:
    """The centers after merging and splitting: a freed one becomes the second half."""
    centers = view.centers.copy()
    for split, freed in swaps:
        centers[view.partners[freed]] = view.merged[freed]
        centers[split], centers[freed] = view.first[split], view.second[split]
    return centers
