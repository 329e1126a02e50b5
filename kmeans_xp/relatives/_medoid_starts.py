"""Where medoids start: BUILD, draws in proportion to the distance, or any rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .._backend import Context, to_host
from .._exact import LIMB_BITS
from .._random import Purpose, below, row_bits
from .._typing import Array
from ._losses import BLOCK, Losses, least, number

_SLACK = 1.0 - 2.0**-40  # more than what a gain may be rounded by
_MOST_BITS = 62  # of a sum


def start_medoids(losses: Losses, name: str, n_clusters: int, seed: int, /) -> list[int]:
    """Positions of different rows to start from."""
    if name == "build":
        return build(losses, n_clusters)
    if name == "k-means++":
        return plusplus(losses, n_clusters, seed)
    return drawn_rows(losses.n_rows, n_clusters, losses.context, seed)


def drawn_rows(n_rows: int, count: int, context: Context, /, *key: int) -> list[int]:
    """Different rows, each as likely as any other: those of the least keyed bits."""
    xp = context.xp
    like = xp.zeros(1, dtype=xp.int64, device=context.device)
    bits = row_bits(0, n_rows, like, *key, Purpose.SUBSET, xp=xp)
    found: list[int] = to_host(xp.argsort(bits, stable=True)[:count]).tolist()
    return found


def build(losses: Losses, n_clusters: int, /) -> list[int]:
    """PAM's BUILD: the row of the least loss, then each time the one that lowers it most.

    Kaufman and Rousseeuw, "Finding Groups in Data", 1990, chapter 2.  What a row gains can
    only shrink while medoids are added, so that its last known gain is a bound (Minoux,
    "Accelerated greedy algorithms for maximizing submodular set functions", 1978): most
    rows need not be asked again.
    """
    xp = losses.context.xp
    paid = xp.concat([losses.paid(losses.block(at), None) for at in range(losses.n_blocks)], axis=1)
    first, _ = least(paid, xp=xp)
    medoids, nearest = [first], losses.rows([first])[0, :]
    bounds = np.full(losses.n_rows, math.inf)
    while len(medoids) < n_clusters:
        bounds[medoids[-1]] = -math.inf
        best = _best_addition(losses, nearest, bounds)
        medoids.append(best)
        nearest = xp.minimum(nearest, losses.rows([best])[0, :])
    return medoids


def _best_addition(losses: Losses, nearest: Array, bounds: npt.NDArray[np.float64]) -> int:
    """The row that lowers the loss most, the first among equals; better bounds are kept."""
    now = number(to_host(losses.paid(nearest[None, :], None)))[0]
    order = np.argsort(-bounds, kind="stable")
    most, best = -1, -1
    for start in range(0, losses.n_rows, BLOCK):
        # always as many, since some libraries compile anew for each number
        rows = order[start : start + BLOCK]
        if bounds[rows[0]] < most * _SLACK:
            break
        after = number(to_host(losses.paid(losses.rows(rows.tolist()), nearest)))
        for row, paid in zip(rows.tolist(), after, strict=True):
            if bounds[row] < 0.0:
                continue  # a medoid already
            gain = now - paid
            bounds[row] = float(gain)
            if gain > most or (gain == most and row < best):
                most, best = gain, row
    return best


def plusplus(losses: Losses, n_clusters: int, seed: int, /) -> list[int]:
    """Rows drawn in proportion to what they pay: k-means++ for distances.

    Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", 2007; of some
    rows drawn for each medoid that of the least loss is kept.  The first is drawn uniformly.
    """
    xp, n_rows = losses.context.xp, losses.n_rows
    every = xp.arange(n_rows, dtype=xp.int64, device=losses.context.device)
    trials = 2 + int(math.log(n_clusters))
    medoids = [below(n_rows, seed, Purpose.SEEDING, 0)]
    nearest = losses.rows(medoids)[0, :]
    free = every != medoids[0]
    while len(medoids) < n_clusters:
        mass = xp.where(free, nearest, xp.zeros_like(nearest))
        keys = [(seed, Purpose.SEEDING, len(medoids), trial) for trial in range(trials)]
        drawn = _drawn(mass, free, keys, losses.context)
        pays = losses.rows(drawn)
        best, _ = least(losses.paid(pays, nearest), xp=xp)
        medoids.append(drawn[best])
        nearest = xp.minimum(nearest, pays[best, :])
        free = free & (every != drawn[best])
    return medoids


def _drawn(
    mass: Array, free: Array, keys: Sequence[tuple[int, ...]], context: Context
) -> list[int]:
    """Rows drawn in proportion to numbers of at least 0; where all are 0, one that is free."""
    xp = context.xp
    largest = float(xp.max(mass))
    if largest == 0.0:
        return [int(xp.argmax(xp.astype(free, xp.int8)))]
    bits = min(LIMB_BITS, _MOST_BITS - int(mass.shape[0]).bit_length())
    whole = xp.round(mass * math.ldexp(1.0, bits - math.frexp(largest)[1]))
    running = xp.cumulative_sum(xp.astype(whole, xp.int64))
    total = int(running[-1])
    tickets = context.from_host(np.asarray([below(total, *key) for key in keys], dtype=np.int64))
    found: list[int] = to_host(xp.searchsorted(running, tickets, side="right")).tolist()
    return found
