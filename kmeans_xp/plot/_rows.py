"""Rows for pictures: drawn where they are, labelled there, and only those brought to the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import _get_feature_names, check_is_fitted

from .._backend import context_of, to_host
from .._random import Purpose, below
from .._validation import check_table, is_foreign, refuse_non_finite
from ..estimators._run import draw_seed
from ..metrics._labels import check_labels, check_same_length, group

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """Some rows of a table on the host, in the space where distances are taken."""

    rows: Floats  # (m, d)
    labels: Integers  # (m,), numbers of clusters
    n_rows: int  # in the table


def parts(estimator: Any, /) -> tuple[Any | None, Any]:
    """Return the steps before the clustering (None without any) and the clustering."""
    if not isinstance(estimator, Pipeline):
        return None, estimator
    return estimator[:-1] if len(estimator.steps) > 1 else None, estimator.steps[-1][1]


def split(estimator: Any, /) -> tuple[Any | None, Any]:
    """Return the parts of a fitted estimator that has centers."""
    steps, model = parts(estimator)
    check_is_fitted(model)
    if getattr(model, "cluster_centers_", None) is None:
        raise TypeError(
            f"{type(model).__name__} has no cluster_centers_, which this picture shows. Pass a "
            "fitted KMeans, or a Pipeline that ends with one; or labels_ to from_predictions."
        )
    return steps, model


def centers_of(model: Any, /) -> Floats:
    return to_host(model.cluster_centers_).astype(np.float64)


def in_original_units(steps: Any | None, model: Any, /) -> Floats:
    """Centers taken back through the steps before the clustering, the last one first."""
    if steps is None:
        return centers_of(model)
    # where the steps' own numbers are: scalers that were fitted on a device take nothing else
    centers = model.cluster_centers_
    for name, step in reversed(steps.steps):
        if step is None or step == "passthrough":
            continue
        if not hasattr(step, "inverse_transform"):
            raise ValueError(
                f"step {name!r} ({type(step).__name__}) of the pipeline has no inverse_transform, "
                "so its centers have no original units. Pass the last step alone for those that "
                "it works in."
            )
        centers = step.inverse_transform(centers)
    return np.asarray(to_host(centers), dtype=np.float64)


def name_of_space(steps: Any | None, /) -> str:
    """Where the clustering takes its distances: "after FeatureScaler"; empty without steps."""
    return "" if steps is None else f"after {type(steps.steps[-1][1]).__name__}"


def names_of(named: Any, given: Sequence[str] | None, n_features: int, /) -> list[str]:
    """Names of features: those given, those of a fit or a data frame, or x0, x1, ..."""
    if given is None:
        given = getattr(named, "feature_names_in_", None)
    if given is None:
        given = _get_feature_names(named)
    if given is None:
        return [f"x{number}" for number in range(n_features)]
    names = [str(name) for name in given]
    if len(names) != n_features:
        raise ValueError(
            f"feature_names has {len(names)} names for {n_features} features. Give one name for "
            "each."
        )
    return names


def names_after(
    steps: Any | None, estimator: Any, given: Sequence[str] | None, n_features: int, /
) -> list[str]:
    """Names of features as the steps before the clustering leave them."""
    if given is None and steps is not None:
        try:
            return [str(name) for name in steps.get_feature_names_out()]
        except (AttributeError, ValueError):
            # a step that does not tell
            return names_of(None, None, n_features)
    return names_of(estimator, given, n_features)


def labels_from(estimator: Any, x: Any, most: int | None, random_state: Any, /) -> Sample:
    """Draw rows, let the estimator label them, and take them through the steps before it."""
    steps, _ = split(estimator)
    n_rows = count_rows(x)
    x = _take(x, drawn(n_rows, most, random_state))
    labels = to_host(estimator.predict(x)).astype(np.int64)
    if steps is not None:
        x = steps.transform(x)
    return Sample(_on_host(x), labels, n_rows)


def are_nearest(sample: Sample, centers: Floats, /) -> bool:
    """Whether each row is in the cluster of its nearest center, but for roundings."""
    for start in range(0, len(sample.rows), 1000):
        part = slice(start, start + 1000)
        apart = cdist(sample.rows[part], centers)
        own = apart[np.arange(len(apart)), sample.labels[part]]
        if (own > apart.min(axis=1) * (1 + 1e-6)).any():
            return False
    return True


def labelled(
    x: Any, labels: Any, most: int | None, random_state: Any, /
) -> tuple[Sample, list[str]]:
    """Draw rows with labels that the user has; also return the names of the clusters."""
    x, clusters = check_table(x, "X", "from_predictions"), cluster(labels)
    check_same_length(x, clusters.codes, ("X", "labels"))
    positions = drawn(int(x.shape[0]), most, random_state)
    rows = _on_host(_take(x, positions))
    codes = to_host(_take(clusters.codes, positions)).astype(np.int64)
    return Sample(rows, codes, int(x.shape[0])), clusters.names


@dataclass(frozen=True)
class Clusters:
    """Labels as numbers from 0 where they are, with what the user calls them."""

    codes: Any  # (n,)
    names: list[str]
    sizes: Integers


def cluster(labels: Any, /) -> Clusters:
    """Number the distinct labels of all rows, so that a sample changes no name and no colour."""
    if not is_foreign(labels, "labels"):
        labels = np.asarray(labels)
        check_labels(labels, "labels")
        names, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        return Clusters(codes, [str(name) for name in names], sizes.astype(np.int64))
    labels = check_labels(labels, "labels")
    context = context_of(labels)
    with context.scope():
        xp = context.xp
        groups = group(labels, xp=xp)
        firsts = xp.take(groups.order, groups.edges[: groups.n_groups])
        distinct = to_host(xp.take(labels, firsts))
        sizes = to_host(groups.counts).astype(np.int64)
    return Clusters(groups.codes, [str(name) for name in distinct], sizes)


def count_rows(x: Any, /) -> int:
    """Number of rows of a table of any kind."""
    shape = getattr(x, "shape", None)
    return int(shape[0]) if shape else len(x)


def drawn(n_rows: int, most: int | None, random_state: Any, /) -> Integers | None:
    """Positions of rows drawn without repetition, in order; None for all.

    Source: R. Floyd's sampling in J. Bentley, "Programming pearls", CACM 30, 1987.
    """
    if most is not None and (not isinstance(most, Integral) or most < 1):
        raise ValueError(
            f"max_rows={most!r} must be a whole number of at least 1, or None for all rows."
        )
    if most is None or n_rows <= most:
        return None
    seed = draw_seed(check_random_state(random_state))
    found: set[int] = set()
    for last in range(n_rows - most, n_rows):
        row = below(last + 1, seed, Purpose.PICTURE, last)
        found.add(last if row in found else row)
    return np.asarray(sorted(found), dtype=np.int64)


def _take(x: Any, positions: Integers | None) -> Any:
    """Rows at positions, on their device; data frames keep the names of their columns."""
    if positions is None:
        return x
    if not is_foreign(x):
        return _safe_indexing(x, positions)
    context = context_of(x)
    with context.scope():
        return context.xp.take(x, context.from_host(positions), axis=0)


def _on_host(x: Any) -> Floats:
    rows = to_host(check_table(x, "X", "a picture")).astype(np.float64)
    refuse_non_finite(rows, "X", "a picture")
    return rows
