"""Compiled loops over centers: made ready for tiles, looked through for repeats, told apart.

The formulas are those of `_primitives`.  Loaded only when numba was chosen by routing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._loops import canonical, jit
from ._tile import GROUP


@jit
def fill_panels(centers: Any, shift: Any, factor: Any, share: Any, panels: Any, bias: Any) -> None:
    """-c' (groups, d, GROUP) by panel, and the bias (groups * GROUP,), infinite for padding.

    ``shift`` is rounded to the precision of the products already.
    """
    k, d = centers.shape
    work = bias.dtype.type
    for center in range(bias.shape[0]):
        panel, place = panels[center // GROUP], center % GROUP
        if center >= k:
            panel[:, place] = 0
            bias[center] = np.inf
            continue
        total = 0.0
        for f in range(d):
            moved = (np.float64(centers[center, f]) - np.float64(shift[f])) * -factor
            panel[f, place] = work(moved)
            total += moved * moved
        bias[center] = work(share * total)


@jit
def mark_repeats(centers: Any, bias: Any, twinned: Any) -> None:
    """Mark centers (k,) that another one equals; all but the first of these get no score.

    Equal centers have one key, whatever else has it; those that are neighbours in the order of
    keys are compared, and any others stay unmarked, which costs time and nothing else.
    """
    k, d = centers.shape
    keys, weights = np.zeros(k), 1.0 / (np.arange(d) + 1.5)
    for center in range(k):
        for f in range(d):
            keys[center] += np.float64(centers[center, f]) * weights[f]
        twinned[center] = False
    order = np.argsort(keys, kind="mergesort")
    for place in range(1, k):
        before, after = order[place - 1], order[place]
        if keys[before] != keys[after]:
            continue
        same = True
        for f in range(d):
            same = same and centers[before, f] == centers[after, f]
        if same:
            # the order is stable, so the first comes first
            twinned[before] = twinned[after] = True
            bias[after] = np.inf


@jit
def nearest_to(x: Any, row: Any, centers: Any, before: Any, after: Any, squares: Any) -> Any:
    """The first of the centers at the least canonical distance of a row."""
    label, least = 0, canonical(x, row, centers[0], before, after, squares)
    for center in range(1, centers.shape[0]):
        distance = canonical(x, row, centers[center], before, after, squares)
        if distance < least:
            label, least = center, distance
    return label


@jit
def settle_rows(x: Any, centers: Any, before: Any, after: Any, labels: Any) -> None:
    """The nearest center of each row, by canonical distances to all of them."""
    squares = np.empty(x.shape[1])
    for row in range(x.shape[0]):
        labels[row] = nearest_to(x, row, centers, before, after, squares)
