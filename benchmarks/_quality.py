"""What a result is worth, by one float64 yardstick for all libraries."""

from __future__ import annotations

from typing import Any

import numpy as np

Rows = np.ndarray[Any, Any]
_CHUNK = 8192
_WORK = 3_000_000_000


def inertia(X: Rows, labels: Rows, centers: Rows) -> float:
    """Sum of squared distances from each row to the center of its label, in float64."""
    centers = centers.astype(np.float64)
    total = 0.0
    for at in range(0, len(X), _CHUNK):
        apart = X[at : at + _CHUNK].astype(np.float64) - centers[labels[at : at + _CHUNK]]
        total += float(np.einsum("ij,ij->", apart, apart))
    return total


def differing(X: Rows, labels: Rows, centers: Rows) -> tuple[float, int]:
    """Share of labels that are not the nearest center, and the number of rows judged.

    A row counts when another of the *returned* centers is strictly nearer by the float64
    distance (from differences).  Large problems are judged on equally spaced rows.
    """
    step = max(1, -(-len(X) * centers.size // _WORK))
    rows, own = X[::step], labels[::step].astype(np.int64)
    centers = centers.astype(np.float64)
    middle = centers.mean(axis=0)
    near = centers - middle
    squares = np.einsum("ij,ij->i", near, near)
    wrong = 0
    for at in range(0, len(rows), _CHUNK):
        x = rows[at : at + _CHUNK].astype(np.float64)
        mine = own[at : at + _CHUNK]
        best = (squares - 2.0 * ((x - middle) @ near.T)).argmin(axis=1)
        [others] = np.nonzero(best != mine)
        to_mine = ((x[others] - centers[mine[others]]) ** 2).sum(axis=1)
        to_best = ((x[others] - centers[best[others]]) ** 2).sum(axis=1)
        wrong += int((to_best < to_mine).sum())
    return wrong / len(rows), len(rows)
