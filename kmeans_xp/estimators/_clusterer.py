"""What the clusterers have in common: what a fit is, pickles that travel, tags."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar, Self

from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval

from .._outcome import Result, Status
from .._typing import Array
from .._warnings import warn
from ._answers import Answers
from ._place import Rows
from ._portable import Portable
from ._rows import checked_rows
from ._run import given_centers


class Clusterer(Portable, ClassNamePrefixFeaturesOutMixin, Answers, ClusterMixin, BaseEstimator):
    """Fits that answer at once, pickles that travel, and scikit-learn's tags.

    A clusterer's own `fit` is the text for its users, and calls `_fit`.
    """

    fit: Any
    n_clusters: int
    _n_features_out: int
    _takes_sparse = False
    _parameter_constraints: dict[str, list[Any]] = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "device": [str, list, tuple, None],
    }
    # the warning of fewer clusters than were asked for
    _few: ClassVar[str] = (
        "Number of distinct clusters ({found}) found smaller than n_clusters ({asked}). Possibly "
        "due to duplicate points in X."
    )

    def _fit(self, X: Any, sample_weight: Any) -> Self:
        """Check, find where to work, run, keep what was found, and tell what is wrong with it."""
        self._several()  # refuses what is no word for a device
        given = self._given()
        rows = self._rows_to_fit(X, sample_weight)
        with rows.place.work.scope():
            status, n_distinct = self._solve(rows, X, given)
        if status is Status.INTERRUPTED:
            raise KeyboardInterrupt(status.value)
        if n_distinct is not None and n_distinct < self.n_clusters:
            warn(self._few.format(found=n_distinct, asked=self.n_clusters), ConvergenceWarning)
        return self

    def _given(self) -> Any:
        """What is checked before the rows: centers to start from, None where they are found."""
        return given_centers(self)

    def _rows_to_fit(self, X: Any, sample_weight: Any) -> Rows:
        """Check the rows, and find where to work on them."""
        return checked_rows(self, X, sample_weight)

    @abstractmethod
    def _solve(self, rows: Any, X: Any, given: Any) -> tuple[Status, int | None]:
        """Run, and set the fitted attributes, inside the scope of the place of the rows.

        Returns why the run ended, and how many clusters differ (None: it is not told).
        """

    def _keep(self, result: Result, rows: Rows, middle: Sequence[float] = ()) -> None:
        """Set the attributes that fits have in common."""
        place = rows.place
        self.cluster_centers_ = place.send_home(result.centers)
        self.labels_ = rows.labels(result, middle, who=type(self).__name__)
        self.inertia_ = result.inertia
        self.n_iter_ = result.n_iter
        self.status_ = result.status.value
        self.device_ = place.work.device_name
        self.backend_ = place.work.library
        self._n_features_out = int(result.centers.shape[0])

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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = self._takes_sparse
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
