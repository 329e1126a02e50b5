"""What clusterers say of rows whose loss is a sum of distances."""

from __future__ import annotations

import contextlib
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from .._backend import Context, context_of, dtype_name
from .._problem import bring, unit_weights
from .._typing import Array
from .._validation import check_device_word, check_rows, check_same_place
from .._weight_checks import check_weight
from ..estimators._clusterer import Clusterer
from ..estimators._run import Place, place_of
from ._pairs import Measure, Metric, check_precomputed
from ._spaces import exact_total, in_spans, nearest_of, scaled


@dataclass(frozen=True)
class Question:
    """Rows that a fitted model is asked about."""

    n_rows: int
    n_clusters: int
    context: Context
    exponent: int
    bound: float | None
    table: Callable[[slice], Array]
    """Distances (k, p) of the rows of a span to the centers."""

    @classmethod
    def of_rows(
        cls, x: Array, centers: Array, metric: Metric, context: Context, /, *, who: str
    ) -> Question:
        measure = Measure.over(metric, [x, centers], context, who=who)
        points, rows = measure.ready(centers), measure.ready(x)

        def table(span: slice) -> Array:
            return measure.table(points, measure.some(rows, span))

        n_rows, k = int(x.shape[0]), int(centers.shape[0])
        return cls(n_rows, k, context, measure.exponent, measure.bound, table)

    @classmethod
    def of_table(cls, x: Array, medoids: Array, context: Context, /, *, who: str) -> Question:
        check_precomputed(x, context, who=who, n_columns=int(x.shape[1]))

        def table(span: slice) -> Array:
            xp = context.xp
            return xp.astype(xp.take(x[span, :], medoids, axis=1).T, xp.float64)

        return cls(int(x.shape[0]), int(medoids.shape[0]), context, 0, None, table)

    def nearest(self) -> tuple[Array, Array]:
        return nearest_of(self.table, self.n_rows, self.n_clusters, self.context)

    def loss(self, weight: Array | None, exponent: int, /) -> float:
        """The weighted sum of the distances, for weights without that power of two."""
        total = exact_total(self.nearest()[1], weight, self.context, self.bound)
        return scaled(total, exponent - self.exponent)

    def distances(self, dtype: Any, /) -> Array:
        """All distances (n, k) in the data's units."""
        xp = self.context.xp
        # in two steps: a power of two may be no number where the distances are
        first, second = (scaled(1.0, part) for part in _halves(-self.exponent))
        parts = []
        for span in in_spans(self.n_rows, self.n_clusters, self.context):
            parts.append(xp.astype(self.table(span).T * first * second, dtype, copy=False))
        return xp.concat(parts)


def _halves(power: int) -> tuple[int, int]:
    return power // 2, power - power // 2


class ByDistance(Clusterer):
    """Answers by the nearest center under a distance."""

    @property
    @abstractmethod
    def _home(self) -> Array:
        """A fitted array (n_clusters, ...): rows that are asked about must live where it does."""

    @abstractmethod
    def _pose(self, rows: Array, place: Place) -> Question:
        """Pose the question of checked rows, inside the scope of their place."""

    def _warn_of_few(self, n_distinct: int) -> None:
        """Warn the caller of `fit` of fewer clusters than were asked for."""
        n_clusters = int(self._home.shape[0])
        if n_distinct < n_clusters:
            warnings.warn(
                f"Number of distinct clusters ({n_distinct}) found smaller than "
                f"n_clusters ({n_clusters}). Possibly due to duplicate points in X.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def predict(self, X: Any) -> Array:
        """Return the index of the nearest center of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, n_samples_fit)
            Rows, in the library and on the device of those passed to fit; or, with
            ``metric="precomputed"``, their distances to the rows of fit.

        Returns
        -------
        labels : array of shape (n_samples,), int32
            The lowest index among equally near ones.
        """
        with self._asked(X, "predict") as (question, place, _):
            return place.send_home(question.nearest()[0])

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return minus the weighted sum of the distances to the nearest centers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, n_samples_fit)
            Rows or distances, as for `predict`.
        y : Ignored
            For compatibility.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            Minus the loss of X under the fitted centers.
        """
        with self._asked(X, "score") as (question, place, _):
            weight = check_weight(sample_weight, question.n_rows, place.work)
            weight, exponent = unit_weights(weight, place.work)
            return -question.loss(weight, exponent or 0)

    def transform(self, X: Any) -> Array:
        """Return the distance of each row to each center.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, n_samples_fit)
            Rows or distances, as for `predict`.

        Returns
        -------
        X_new : array of shape (n_samples, n_clusters), X's dtype
            Distances.
        """
        return self._distances(X, "transform")

    def _distances(self, X: Any, method: str) -> Array:
        with self._asked(X, method) as (question, place, x):
            dtype = getattr(place.work.xp, dtype_name(x))
            return place.send_home(question.distances(dtype))

    @contextlib.contextmanager
    def _asked(self, X: Any, method: str) -> Iterator[tuple[Question, Place, Array]]:
        """Check rows that are asked about, and hold the scope of their place."""
        check_is_fitted(self)
        check_device_word(self.device)
        check_same_place(self, self._home, X, method)
        x = check_rows(self, X, reset=False)
        place = place_of(x, self._device_of(context_of(x).device_name))
        with place.work.scope():
            rows = bring(x, place.work, int(self._home.shape[0]))
            yield self._pose(rows, place), place, x
