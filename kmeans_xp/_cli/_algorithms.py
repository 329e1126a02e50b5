"""The algorithms of ``fit``, a table: each estimator, the options that it takes, what it tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# of the options that are called otherwise than the parameter
_PARAMETERS = {"fuzzifier": "m", "strategy": "bisecting_strategy", "seed": "random_state"}
_STARTS = ("k-means++", "random", "random-partition", "k-means||")
_RUNS = ("n_clusters", "init", "n_init", "max_iter", "tol", "seed")


@dataclass(frozen=True)
class Algorithm:
    """One entry: an estimator that the package offers by name."""

    estimator: str
    takes: tuple[str, ...]
    """Its options, those left out that every algorithm takes."""
    starts: tuple[str, ...] = _STARTS
    needs_number: tuple[str, ...] = ()
    """Options for which a word ("none", "auto") will not do."""
    tells: dict[str, str] = field(default_factory=dict)
    """Attributes for the report; with a name, where a person reads them too."""
    apart: str = ""
    """What rows with the label -1 are."""
    has_metric: bool = False
    """Whether rows are as far from their centers as its ``transform`` says."""
    has_memberships: bool = False
    """Whether rows belong to each cluster to some degree."""
    is_saved: bool = False
    """Whether `save_model` knows it."""

    def parameters(self) -> dict[str, str]:
        """The name of the parameter of each option."""
        return {option: _PARAMETERS.get(option, option) for option in self.takes}


ALGORITHMS = {
    "lloyd": Algorithm(
        "KMeans",
        (*_RUNS, "memory_limit", "search", "empty_cluster", "checkpoint"),
        is_saved=True,
    ),
    "minibatch": Algorithm(
        "MiniBatchKMeans",
        (*_RUNS, "memory_limit", "batch_size", "checkpoint"),
        needs_number=("max_iter",),
        is_saved=True,
    ),
    "bisecting": Algorithm(
        "BisectingKMeans",
        (*_RUNS, "strategy"),
        needs_number=("n_init",),
        tells={"linkage_": ""},
    ),
    "kmedoids": Algorithm(
        "KMedoids",
        ("n_clusters", "metric", "init", "max_iter", "seed"),
        starts=("build", "k-means++", "random"),
        needs_number=("max_iter",),
        tells={"medoid_indices_": "", "method_": "method", "n_swaps_": "swaps"},
        has_metric=True,
    ),
    "kmedians": Algorithm(
        "KMedians",
        ("n_clusters", "init", "n_init", "max_iter", "seed"),
        starts=("k-means++", "random"),
        needs_number=("max_iter",),
        has_metric=True,
    ),
    "fuzzy": Algorithm(
        "FuzzyCMeans",
        (*_RUNS, "fuzzifier"),
        tells={
            "partition_coefficient_": "partition coefficient",
            "normalized_partition_coefficient_": "",
        },
        has_memberships=True,
    ),
    "trimmed": Algorithm(
        "TrimmedKMeans",
        (*_RUNS, "trim"),
        tells={"radius_": "radius"},
        apart="left out",
    ),
    "spherical": Algorithm(
        "SphericalKMeans",
        _RUNS,
        starts=("k-means++", "random"),
        has_metric=True,
    ),
    "dbscan": Algorithm(
        "DBSCAN",
        ("metric", "eps", "min_samples"),
        tells={"core_sample_indices_": ""},
        apart="noise",
    ),
}


def takers(option: str) -> list[str]:
    """The algorithms that take an option."""
    return [name for name, entry in ALGORITHMS.items() if option in entry.takes]


def estimator_of(algorithm: str) -> Any:
    """The class, by its public name."""
    import kmeans_xp

    return getattr(kmeans_xp, ALGORITHMS[algorithm].estimator)
