"""What a fitted model says of rows."""

from __future__ import annotations

from typing import Any

from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .. import _query
from .._backend import context_of
from .._typing import Array
from .._validation import check_device_word, check_rows, check_same_place
from ._run import Place, place_of


class Answers(TransformerMixin):
    """Answers by centers: the nearest one, the distances to all, and the inertia."""

    device: str | None
    device_: str
    cluster_centers_: Array
    _middle: tuple[float, ...]

    def predict(self, X: Any) -> Array:
        """Return the index of the nearest center of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, in the library and on the device of those passed to fit.

        Returns
        -------
        labels : array of shape (n_samples,), int32
            Exact: judged by the float64 distance of the stored values.
        """
        X, place = self._rows_of(X, "predict")
        with place.work.scope():
            return place.send_home(_query.predict(*self._question(X, None, place)))

    def transform(self, X: Any) -> Array:
        """Return the Euclidean distance of each row to each center.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, in the library and on the device of those passed to fit.

        Returns
        -------
        X_new : array of shape (n_samples, n_clusters), X's dtype
            Distances, accurate to rounding also far from the origin.
        """
        return self._distances(X, "transform")

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return minus the weighted sum of squared distances to the nearest centers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, in the library and on the device of those passed to fit.
        y : Ignored
            For compatibility.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            Minus the inertia of X under the fitted centers.
        """
        X, place = self._rows_of(X, "score")
        with place.work.scope():
            return -_query.inertia_of(*self._question(X, sample_weight, place))

    def _distances(self, X: Any, method: str) -> Array:
        X, place = self._rows_of(X, method)
        with place.work.scope():
            return place.send_home(_query.distances(*self._question(X, None, place)))

    def _rows_of(self, X: Any, method: str) -> tuple[Array, Place]:
        """Check rows that are asked about; "auto" goes on where fit found a place."""
        check_is_fitted(self)
        check_device_word(self.device)
        check_same_place(self, self.cluster_centers_, X, method)
        X = check_rows(self, X, reset=False)
        stays = self.device == "auto" and context_of(X).device_name == self.device_
        return X, place_of(X, None if stays else self.device)

    def _question(self, X: Array, sample_weight: Any, place: Place) -> tuple[Any, Array]:
        return _query.prepare(
            X,
            sample_weight,
            self.cluster_centers_,
            self._middle,
            place.work,
            who=type(self).__name__,
        )
