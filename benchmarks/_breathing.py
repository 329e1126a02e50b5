"""The other candidate for the search: breathing k-means, on this library's Lloyd's loop.

B. Fritzke, "The breathing k-means algorithm", arXiv 2006.15666, 2020: m more centers beside those
whose clusters have the largest errors, Lloyd's loop, m of the least useful ones taken away
(none amid neighbours of one that went), Lloyd's loop again; kept if lower, else m falls by one,
from 5.  What decides about centers is a float64 product here, not the numbers' contract.
"""

from __future__ import annotations

import numpy as np
from _data import Rows

from kmeans_xp import KMeans

_MORE, _NEAR, _STEP, _LOWERS = 5, 1.1, 0.01, 1e-4
_SCORES = 1 << 22


class Breathing:
    """Only what the benchmark asks for."""

    def __init__(self, n_clusters: int, *, random_state: int) -> None:
        self.n_clusters, self.random_state = n_clusters, random_state

    def fit(self, X: Rows) -> Breathing:
        """Breathe in and out until m is used up."""
        rng, more = np.random.default_rng(self.random_state), _MORE
        best = KMeans(self.n_clusters, random_state=self.random_state, search=None).fit(X)
        while more > 0:
            errors, _ = _appraise(X, best.cluster_centers_)
            widest = np.argsort(-errors, kind="stable")[:more]
            step = _STEP * np.sqrt(best.inertia_ / X.size)
            added = best.cluster_centers_[widest]
            added = added + step * rng.normal(size=added.shape).astype(X.dtype)
            wide = _lloyd(X, np.concatenate([best.cluster_centers_, added]))
            kept = _breathed_out(X, wide.cluster_centers_, len(added))
            found = _lloyd(X, wide.cluster_centers_[kept])
            if found.inertia_ < best.inertia_ * (1 - _LOWERS):
                best = found
            else:
                more -= 1
        self.cluster_centers_, self.inertia_ = best.cluster_centers_, best.inertia_
        return self


def _lloyd(X: Rows, centers: Rows) -> KMeans:
    return KMeans(len(centers), init=centers, n_init=1).fit(X)


def _appraise(X: Rows, centers: Rows) -> tuple[Rows, Rows]:
    """Summed squared distances of each cluster, and by how much they grow without its center."""
    middle = X.mean(axis=0, dtype=np.float64)
    centers = centers.astype(np.float64) - middle
    norms, k = (centers**2).sum(axis=1), len(centers)
    errors, uses = np.zeros(k), np.zeros(k)
    step = max(256, _SCORES // k)
    for start in range(0, len(X), step):
        x = X[start : start + step].astype(np.float64) - middle
        scores = norms[None, :] - 2.0 * (x @ centers.T)
        first = scores.argmin(axis=1)
        rows = np.arange(len(x))
        nearest = scores[rows, first]
        scores[rows, first] = np.inf
        uses += np.bincount(first, scores.min(axis=1) - nearest, k)
        errors += np.bincount(first, nearest + (x**2).sum(axis=1), k)
    return errors, uses


def _breathed_out(X: Rows, centers: Rows, fewer: int) -> Rows:
    """The centers that stay."""
    _, uses = _appraise(X, centers)
    apart = ((centers[:, None, :].astype(np.float64) - centers[None]) ** 2).sum(axis=2) ** 0.5
    np.fill_diagonal(apart, np.inf)
    near = _NEAR * apart.min(axis=1).mean()
    gone: list[int] = []
    frozen: set[int] = set()
    for center in np.argsort(uses, kind="stable").tolist():
        if len(gone) == fewer:
            break
        if center in frozen:
            continue
        gone.append(center)
        for other in np.argsort(apart[center], kind="stable").tolist():
            if apart[center, other] > near or len(frozen) + fewer >= len(centers):
                break
            frozen.add(other)
    kept = np.ones(len(centers), dtype=bool)
    kept[gone] = False
    return kept
