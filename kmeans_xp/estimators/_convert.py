"""The way to tools that know scikit-learn's own KMeans only: ONNX export, skops."""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np
import sklearn.cluster
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads
from sklearn.utils.validation import check_is_fitted

from .._backend import to_host
from ._kmeans import KMeans

_SAME = ("n_clusters", "n_init", "tol", "verbose", "random_state", "copy_x", "algorithm")
_NO_LIMIT = int(np.iinfo(np.int32).max)
_NEAREST_START = {"k-means||": "k-means++", "random-partition": "random"}


def to_sklearn(model: KMeans) -> Any:
    """Return a fitted `sklearn.cluster.KMeans` with the centers of a fitted model.

    Exporters that look at the class (``skl2onnx``, ``skops``) take the result as they take
    any scikit-learn model.

    Parameters
    ----------
    model : KMeans
        Fitted, on any device.

    Returns
    -------
    converted : sklearn.cluster.KMeans
        With ``cluster_centers_``, ``labels_``, ``inertia_``, ``n_iter_`` and the feature names
        of the model, as NumPy arrays.  Its `predict` gives the model's labels, except for rows
        so near to the border of two clusters that scikit-learn's rounding decides.  Parameters
        that scikit-learn does not have are left out; of two values that it does not know, the
        start "k-means||" becomes "k-means++" and "random-partition" becomes "random", and
        ``max_iter=None`` becomes the largest 32-bit integer.

    Raises
    ------
    TypeError
        For another kind of estimator.
    sklearn.exceptions.NotFittedError
        Before ``fit``.

    Examples
    --------
    >>> from kmeans_xp import KMeans, to_sklearn
    >>> model = KMeans(n_clusters=2, random_state=0).fit([[1.0], [2.0], [9.0]])
    >>> to_sklearn(model).predict([[3.0], [8.0]])
    array([0, 1], dtype=int32)
    """
    if not isinstance(model, KMeans):
        raise TypeError(
            f"model={type(model).__name__} cannot be converted; pass a fitted kmeans_xp.KMeans"
        )
    check_is_fitted(model)
    converted = sklearn.cluster.KMeans(
        init=_start(model.init),
        max_iter=_NO_LIMIT if model.max_iter is None else model.max_iter,
        **{name: getattr(model, name) for name in _SAME},
    )
    converted.cluster_centers_ = np.array(to_host(model.cluster_centers_))
    converted.labels_ = np.array(to_host(model.labels_))
    converted.inertia_ = model.inertia_
    converted.n_iter_ = model.n_iter_
    converted.n_features_in_ = model.n_features_in_
    if hasattr(model, "feature_names_in_"):
        converted.feature_names_in_ = model.feature_names_in_.copy()
    converted._n_features_out = model._n_features_out
    converted._n_threads = _openmp_effective_n_threads()
    return converted


def _start(init: Any) -> Any:
    if isinstance(init, str):
        return _NEAREST_START.get(init, init)
    return to_host(init) if array_api_compat.is_array_api_obj(init) else init
