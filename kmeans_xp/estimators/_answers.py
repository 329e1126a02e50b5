"""What a fitted model says of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .. import _query
from .._backend import context_of
from .._problem import Problem
from .._typing import Array
from .._validation import (
    check_device_word,
    check_rows,
    check_same_place,
    is_dask,
    several_devices,
)
from ._place import Rows, place_of
from ._rows import ArrayRows, rows_at
from ._streamed import stream_rows

if TYPE_CHECKING:
    from ._dask_rows import DaskRows


class Answers(TransformerMixin):
    """Answers by centers: the nearest one, the distances to all, and the inertia."""

    device: Any
    device_: str
    memory_limit: int | str | None = None
    cluster_centers_: Array
    _takes_several = False
    _middle: tuple[float, ...]

    def predict(self, X: Any) -> Array:
        """Return the index of the nearest center of each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), path, or blocks
            Rows, in the library and on the device of those passed to fit, or a stream as in fit.

        Returns
        -------
        labels : array of shape (n_samples,), int32
            Exact: judged by the float64 distance of the stored values.
        """
        if is_dask(X):
            parts = self._asked_of(X, None, "predict")
            return parts.nearest(self.cluster_centers_, self._middle, who=type(self).__name__)
        rows = self._rows_of(X, None, "predict")
        with rows.place.work.scope():
            return rows.place.send_home(_query.predict(*self._question(rows)))

    def transform(self, X: Any) -> Array:
        """Return the Euclidean distance of each row to each center.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), path, or blocks
            Rows, in the library and on the device of those passed to fit, or a stream as in fit.

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
        X : array-like or sparse matrix of shape (n_samples, n_features), path, or blocks
            Rows, in the library and on the device of those passed to fit, or a stream as in fit.
        y : Ignored
            For compatibility.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            Minus the inertia of X under the fitted centers.
        """
        rows = self._rows_of(X, sample_weight, "score")
        with rows.place.work.scope():
            return -_query.inertia_of(*self._question(rows))

    def _distances(self, X: Any, method: str) -> Array:
        if is_dask(X):
            parts = self._asked_of(X, None, method)
            return parts.distances(self.cluster_centers_, self._middle, who=type(self).__name__)
        rows = self._rows_of(X, None, method)
        with rows.place.work.scope():
            return rows.place.send_home(_query.distances(*self._question(rows)))

    def _rows_of(self, X: Any, sample_weight: Any, method: str) -> Rows:
        if is_dask(X):
            return self._asked_of(X, sample_weight, method)
        check_is_fitted(self)
        several = self._several()
        stream = stream_rows(self, X, sample_weight, asked=method)
        if stream is None and several is not None:
            return self._split(X, sample_weight, several, asked=method)
        if stream is None:
            n_clusters = int(self.cluster_centers_.shape[0])
            return rows_at(self._placed(X, sample_weight, method), n_clusters, self.memory_limit)
        if method in ("transform", "fit_transform"):
            stream.check_room(int(self.cluster_centers_.shape[0]))
        return stream

    def _several(self) -> tuple[str, ...] | None:
        """The words of the device where it is several; other words are checked."""
        words = several_devices(self.device) if self._takes_several else None
        if words is None:
            check_device_word(self.device)
        return words

    def _split(
        self, X: Any, sample_weight: Any, words: Sequence[str], *, asked: str | None = None
    ) -> Rows:
        # not before: few need it
        from ._several_rows import several_rows

        return several_rows(self, X, sample_weight, words, asked=asked)

    @property
    def _home(self) -> Array:
        """A fitted array: rows that are asked about must live where it does."""
        return self.cluster_centers_

    def _placed(self, X: Any, sample_weight: Any, method: str) -> ArrayRows:
        """Check an array of rows that are asked about, and find where to work on them."""
        check_is_fitted(self)
        check_same_place(self, self._home, X, method)
        x = check_rows(self, X, reset=False)
        place = place_of(x, self._device_of(context_of(x).device_name))
        return ArrayRows(x, sample_weight, place)

    def _device_of(self, here: str) -> str | None:
        """The device word for rows that are here; "auto" goes on where fit found a place."""
        word = check_device_word(self.device)
        return None if word == "auto" and here == self.device_ else word

    def _asked_of(self, X: Any, sample_weight: Any, method: str) -> DaskRows:
        """Check a dask collection that is asked about."""
        check_is_fitted(self)
        check_same_place(self, self.cluster_centers_, X, method)
        return self._in_partitions(X, sample_weight, reset=False)

    def _in_partitions(self, X: Any, sample_weight: Any, *, reset: bool) -> DaskRows:
        # not before: dask is imported once one of its collections was seen
        from ._dask_rows import DaskRows

        device = self.device if self._several() else check_device_word(self.device)
        return DaskRows(self, X, sample_weight, device, reset=reset)

    def _question(self, rows: Rows) -> tuple[Problem, Array]:
        return rows.question(self.cluster_centers_, self._middle, who=type(self).__name__)
