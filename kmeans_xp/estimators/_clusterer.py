"""What the clusterers have in common beside `fit`."""

from __future__ import annotations

import functools
from typing import Any

from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin

from .._typing import Array
from ._answers import Answers
from ._portable import pack, unpack


class Clusterer(ClassNamePrefixFeaturesOutMixin, Answers, ClusterMixin, BaseEstimator):
    """Fits that answer at once, pickles that travel, and scikit-learn's tags."""

    fit: Any
    _n_features_out: int
    _takes_sparse = False

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Array:
        """Compute the clusters and return the label of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to cluster, of any array API library.
        y : Ignored
            For compatibility.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, as in `fit`.

        Returns
        -------
        labels : array of shape (n_samples,), int32
            The same as ``labels_``.
        """
        model = self.fit(X, sample_weight=sample_weight)
        return model.labels_ if hasattr(model, "labels_") else model.predict(X)

    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> Array:
        """Compute the clusters and return the distance of each row to each center.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to cluster, of any array API library.
        y : Ignored
            For compatibility.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, as in `fit`.

        Returns
        -------
        X_new : array of shape (n_samples, n_clusters), X's dtype
            Distances, as from `transform`.
        """
        return self.fit(X, sample_weight=sample_weight)._distances(X, "fit_transform")

    @classmethod
    @functools.cache
    def _get_param_names(cls) -> list[str]:
        """As scikit-learn's, which reads the signature anew for each fit."""
        names: list[str] = super()._get_param_names()
        return names

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return pack(state)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(unpack(state))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = self._takes_sparse
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
