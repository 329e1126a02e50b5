"""The criteria by name: what each gives for a fit, and what it is worth more or less."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .._outcome import Result
from .._problem import Training
from .._typing import Array
from ..metrics import silhouette_score
from ..metrics._labels import group
from ._measures import Fitted, davies_bouldin, masses, simplified_silhouette

DEFAULT = ("elbow", "calinski_harabasz", "davies_bouldin", "silhouette_simplified", "bic")
ALL = (
    "elbow",
    "calinski_harabasz",
    "davies_bouldin",
    "silhouette",
    "silhouette_sampled",
    "silhouette_simplified",
    "gap",
    "bic",
)
UNWEIGHTED = ("silhouette", "silhouette_sampled")
_OF_MASSES = {"calinski_harabasz", "davies_bouldin", "silhouette_simplified", "bic"}


def named(criteria: Any, /) -> tuple[str, ...]:
    """The criteria that were asked for, in the order of `ALL`."""
    if isinstance(criteria, str):
        criteria = {"default": DEFAULT, "all": ALL}.get(criteria, (criteria,))
    if not isinstance(criteria, Iterable):
        raise TypeError(f"criteria={criteria!r} is no name and no list of names. {_known()}")
    asked = list(criteria)
    for name in asked:
        if name not in ALL:
            raise ValueError(f"criteria has {name!r}, which is not known. {_known()}")
    if not asked:
        raise ValueError(f"criteria is empty. {_known()}")
    return tuple(name for name in ALL if name in asked)


def _known() -> str:
    return f"Use 'default', 'all', or some of {', '.join(map(repr, ALL))}."


@dataclass(frozen=True)
class Scorer:
    """Scores fits by the criteria that look at one fit at a time."""

    names: tuple[str, ...]
    problem: Training
    total: float  # the inertia about the mean of all rows
    sample: Array | None  # positions of the rows of the sampled silhouette

    drawn: Array | None = field(init=False)

    def __post_init__(self) -> None:
        chosen = self.sample
        drawn = (
            None
            if chosen is None
            else self.problem.context.xp.take(self.problem.source.sample, chosen, axis=0)
        )
        object.__setattr__(self, "drawn", drawn)

    def explained(self, inertia: float) -> float:
        """Percentage of the variance that the clusters explain."""
        return 100.0 if self.total == 0.0 else 100.0 * (1.0 - inertia / self.total)

    def scores(self, result: Result) -> dict[str, float | None]:
        """The value of each criterion; None where it is not defined."""
        fitted = Fitted(self.problem, result)
        found: dict[str, float | None] = {}
        weights = masses(fitted) if _OF_MASSES & set(self.names) else []
        inertia, d = result.inertia, self.problem.source.n_features
        for name in self.names:
            if name == "elbow":
                found[name] = self.explained(inertia)
            elif name == "bic":
                found[name] = bic(weights, d, inertia)
            elif name == "calinski_harabasz":
                found[name] = variance_ratio(self.total, inertia, math.fsum(weights), fitted.k)
            elif name != "gap":
                found[name] = None if fitted.k == 1 else self._of_several(name, fitted, weights)
        return found

    def _of_several(self, name: str, fitted: Fitted, weights: list[float]) -> float | None:
        """Criteria that compare clusters."""
        if name in ("davies_bouldin", "silhouette_simplified"):
            if fitted.k == self.problem.summary.n_positive and math.fsum(weights) <= fitted.k:
                # each row is a cluster, which is perfect and says nothing
                return None
            if name == "davies_bouldin":
                return davies_bouldin(fitted, weights)
            return simplified_silhouette(fitted, weights)
        xp, labels = self.problem.context.xp, fitted.result.labels
        if name == "silhouette":
            return _silhouette(self.problem.source.sample, labels, xp)
        return _silhouette(self.drawn, xp.take(labels, self.sample), xp)


def _silhouette(rows: Array, labels: Array, xp: Any) -> float | None:
    """The mean silhouette; None for a single cluster, and where each row is one."""
    n_clusters = group(labels, xp=xp).n_groups
    return silhouette_score(rows, labels) if 1 < n_clusters < int(labels.shape[0]) else None


def variance_ratio(total: float, inertia: float, mass: float, k: int, /) -> float | None:
    """Calinski and Harabasz: dispersion between clusters over that within, by their freedom."""
    if k == 1 or mass <= k or inertia == 0.0:
        return None
    return ((total - inertia) / (k - 1)) / (inertia / (mass - k))


def bic(masses: list[float], d: int, inertia: float, /) -> float | None:
    """Schwarz's criterion of equal spherical Gaussians, as in X-means; higher is better."""
    mass, k = math.fsum(masses), len(masses)
    if mass <= k or inertia == 0.0 or not math.isfinite(inertia):
        return None
    variance = inertia / (d * (mass - k))
    fit = math.fsum(part * math.log(part) for part in masses if part > 0.0)
    fit -= mass * math.log(mass) + 0.5 * d * (mass * math.log(2.0 * math.pi * variance) + mass - k)
    return fit - 0.5 * k * (d + 1) * math.log(mass)
