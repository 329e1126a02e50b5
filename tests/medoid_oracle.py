"""K-medoids by plain loops over plain numbers, from tables of distances (row, medoid)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np


def loss(table: Any, medoids: Sequence[int], weight: Any = None) -> float:
    """Weighted sum of the distances of all rows to the nearest of some medoids."""
    nearest = [min(row[m] for m in medoids) for row in table.tolist()]
    return sum(nearest if weight is None else [w * d for w, d in zip(weight, nearest, strict=True)])


def optimum(table: Any, k: int, weight: Any = None) -> float:
    """The least loss of all sets of medoids."""
    rows = range(len(table))
    w = np.ones(len(table)) if weight is None else np.asarray(weight)
    return min(
        float(w @ table[:, list(medoids)].min(axis=1))
        for medoids in itertools.combinations(rows, k)
    )


def swapped(table: Any, medoids: Sequence[int]) -> Iterator[tuple[int, int, list[int]]]:
    """Candidate, place and medoids of every single swap."""
    for candidate in range(len(table)):
        for place in range(len(medoids)):
            yield candidate, place, [*medoids[:place], candidate, *medoids[place + 1 :]]


def best_swap(table: Any, medoids: Sequence[int], weight: Any = None) -> float:
    """The least loss after any single swap."""
    w = np.ones(len(table)) if weight is None else np.asarray(weight)
    return min(float(w @ table[:, other].min(axis=1)) for _, _, other in swapped(table, medoids))


def build(table: Any, k: int) -> list[int]:
    """PAM's BUILD, the first among equals."""
    medoids: list[int] = []
    for _ in range(k):
        others = [row for row in range(len(table)) if row not in medoids]
        medoids.append(min(others, key=lambda row: loss(table, [*medoids, row])))
    return medoids


def pam(table: Any, medoids: Sequence[int]) -> tuple[list[int], int]:
    """PAM's SWAP: the best swap, the first among equals, while one lowers the loss."""
    found, swaps = list(medoids), 0
    while True:
        losses = [(loss(table, other), other) for _, _, other in swapped(table, found)]
        least, other = min(losses, key=lambda entry: entry[0])
        if not least < loss(table, found):
            return found, swaps
        found, swaps = other, swaps + 1


def faster_pam(table: Any, medoids: Sequence[int]) -> list[int]:
    """FasterPAM as the paper prints it: removal losses, and each swap as soon as it pays."""
    found, rows, k = list(medoids), range(len(table)), len(medoids)
    since = 0
    while since < len(table):
        for candidate in rows:
            near = [sorted((table[row, m], at) for at, m in enumerate(found))[:2] for row in rows]
            removal = [0.0] * k
            for (first, at), *second in near:
                removal[at] += (second[0][0] if second else np.inf) - first
            shared = 0.0
            for row, ((first, at), *second) in zip(rows, near, strict=True):
                far = second[0][0] if second else np.inf
                pays = table[row, candidate]
                if pays < first:
                    shared += pays - first
                    removal[at] += first - far
                elif pays < far:
                    removal[at] += pays - far
            best = int(np.argmin(removal))
            since += 1
            if removal[best] + shared < -1e-12 and candidate not in found:
                found[best], since = candidate, 0
            if since >= len(table):
                break
    return found
