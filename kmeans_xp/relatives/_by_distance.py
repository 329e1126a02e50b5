"""What clusterers say of rows whose loss is a sum of distances."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .._backend import Context
from .._problem import bring, unit_weights
from .._typing import Array
from .._weight_checks import check_weight
from ..estimators._clusterer import Clusterer
from ..estimators._place import Place
from ..estimators._rows import ArrayRows
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

    @abstractmethod
    def _pose(self, rows: Array, place: Place) -> Question:
        """Pose the question of checked rows, inside the scope of their place."""

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
        with self._asked(X, "predict") as (question, rows):
            return rows.place.send_home(question.nearest()[0])

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
        with self._asked(X, "score") as (question, rows):
            weight = check_weight(sample_weight, question.n_rows, rows.place.work)
            weight, exponent = unit_weights(weight, rows.place.work)
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
        with self._asked(X, method) as (question, rows):
            dtype = getattr(rows.place.work.xp, rows.dtype)
            return rows.place.send_home(question.distances(dtype))

    @contextlib.contextmanager
    def _asked(self, X: Any, method: str) -> Iterator[tuple[Question, ArrayRows]]:
        """Check rows that are asked about, and hold the scope of their place."""
        rows = self._placed(X, None, method)
        with rows.place.work.scope():
            there = bring(rows.x, rows.place.work, int(self._home.shape[0]))
            yield self._pose(there, rows.place), rows
