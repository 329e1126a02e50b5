"""Scalers that give the same bits on every device, with scikit-learn's interface."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._backend import Context, dtype_name, resolve
from .._problem import bring
from .._typing import Array, Namespace, slices
from .._validation import check_float64, check_rows, check_same_place, check_table, first_bad_cell
from ..estimators._portable import Portable
from ._measures import CELLS, Host, middle_and_deviation, quantiles, ranges

METHODS = ("standard", "minmax", "maxabs", "robust", "quantile", "none")
_FITTED = ("center_", "scale_", "quantiles_")
Formula = Callable[..., Array]
_QUARTILES = np.asarray([0.25, 0.5, 0.75])


class FeatureScaler(Portable, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Bring columns to one scale, on arrays of any array API library and where they are.

    A step for `sklearn.pipeline.Pipeline` in front of `KMeans`.  Input is never changed, and the
    same rows are scaled to the same bits on every device.

    scikit-learn's own scalers work in front of `KMeans` as they are, with pictures and with
    `save_model`.  Take those for NumPy arrays and data frames, or for their options.  On tensors
    they give NumPy arrays, unless array-API dispatch is on, which needs ``SCIPY_ARRAY_API=1``
    before SciPy is imported, and which not all of them know (StandardScaler, MinMaxScaler and
    MaxAbsScaler do in scikit-learn 1.9; JAX arrays are not among its inputs).  Take this one for
    rows on a GPU or in JAX, without settings, and where results are to be the same everywhere.

    Parameters
    ----------
    method : {"standard", "minmax", "maxabs", "robust", "quantile", "none"}, default="standard"
        What becomes of a column.

        - "standard": less its mean, by its standard deviation.
        - "minmax": its range becomes 0 to 1.
        - "maxabs": by its largest magnitude; zeros stay.
        - "robust": less its median, by the distance of its quartiles (by its standard deviation
          where the quartiles coincide).
        - "quantile": the share of rows below a value, from 0 to 1; no outlier is left.
        - "none": nothing.
    n_quantiles : int, default=1000
        Values that "quantile" remembers, between which it interpolates; no more than rows.

    Attributes
    ----------
    center_ : array of shape (n_features,), float64
        What is subtracted, in X's library and on its device.  Not for "quantile".
    scale_ : array of shape (n_features,), float64
        What is divided by; 1 for a column that does not vary.  Not for "quantile".
    quantiles_ : array of shape (n, n_features), float64
        For "quantile"; n is n_quantiles or n_samples, whichever is smaller, and at least 2.
    n_features_in_ : int
        Features seen during fit.
    feature_names_in_ : ndarray of str
        Names of the features, when X had string names.

    Raises
    ------
    ValueError
        For parameters, shapes or values that cannot be scaled; the text names them.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import FeatureScaler
    >>> X = np.array([[1.0, 1000], [2, 3000], [3, 2000]])
    >>> scaler = FeatureScaler("minmax").fit(X)
    >>> scaler.transform(X)
    array([[0. , 0. ],
           [0.5, 1. ],
           [1. , 0.5]])
    >>> scaler.inverse_transform([[0.5, 0.5]])
    array([[   2., 2000.]])
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "method": [StrOptions(set(METHODS))],
        "n_quantiles": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, method: str = "standard", *, n_quantiles: int = 1000) -> None:
        self.method = method
        self.n_quantiles = n_quantiles

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> FeatureScaler:
        """Measure the columns.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Finite rows, of any array API library.
        y : Ignored
            For compatibility.

        Returns
        -------
        self : FeatureScaler
            The fitted scaler.
        """
        rows = check_rows(self, X, reset=True)
        work, home = _places(rows)
        for name in _FITTED:
            self.__dict__.pop(name, None)
        with work.scope():
            found = self._measure(bring(rows, work, 1), work)
        with home.scope():
            for name, host in found.items():
                setattr(self, name, home.from_host(host))
        return self

    def _measure(self, x: Array, context: Context) -> dict[str, Host]:
        """The fitted arrays, on the host."""
        low, high = ranges(x, context)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            first_bad_cell(x, type(self).__name__)
        with np.errstate(over="ignore"):
            span = high - low
        zero, one = np.zeros_like(low), np.ones_like(low)
        if self.method == "none":
            return {"center_": zero, "scale_": one}
        if self.method == "maxabs":
            return {"center_": zero, "scale_": _no_zeros(np.maximum(np.abs(low), np.abs(high)))}
        _refuse_overflow(span)
        if self.method == "minmax":
            return {"center_": low, "scale_": _no_zeros(span)}
        if self.method == "standard":
            middle, deviation = middle_and_deviation(x, low, high, context)
            return {"center_": middle, "scale_": _no_zeros(deviation)}
        if self.method == "robust":
            first, median, third = quantiles(x, _QUARTILES, context)
            between = third - first
            if (flat := (between == 0.0) & (span > 0.0)).any():
                deviation = middle_and_deviation(x, low, high, context)[1]
                between = np.where(flat, deviation, between)
            return {"center_": median, "scale_": _no_zeros(between)}
        number = min(int(self.n_quantiles), int(x.shape[0]))
        # at least two, to lie between
        shares = np.arange(max(2, number)) / max(1, number - 1)
        return {"quantiles_": quantiles(x, np.minimum(shares, 1.0), context)}

    def transform(self, X: Any) -> Array:
        """Scale rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, in the library and on the device of those passed to fit.

        Returns
        -------
        X_new : array of shape (n_samples, n_features)
            In X's library, dtype (float64 for other dtypes than float32) and device.
        """
        check_is_fitted(self)
        self._check_place(X, "transform")
        rows = check_rows(self, X, reset=False)
        formulas: dict[str, Formula] = {"none": _unchanged, "quantile": _shares}
        return self._by_rows(rows, formulas.get(self.method, _scaled))

    def inverse_transform(self, X: Any) -> Array:
        """Bring scaled rows, such as centers, back to the units of the data.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Scaled rows, in the library and on the device of those passed to fit.

        Returns
        -------
        X_original : array of shape (n_samples, n_features)
            In X's library, dtype (float64 for other dtypes than float32) and device.
        """
        check_is_fitted(self)
        self._check_place(X, "inverse_transform")
        rows = check_table(X, "X", f"{type(self).__name__}.inverse_transform")
        if int(rows.shape[1]) != self.n_features_in_:
            raise ValueError(
                f"X has {int(rows.shape[1])} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input. Pass rows that transform gave, or "
                "centers of a model fitted on such rows."
            )
        formulas: dict[str, Formula] = {"none": _unchanged, "quantile": _values}
        return self._by_rows(rows, formulas.get(self.method, _unscaled))

    def _fitted(self) -> list[Array]:
        return [vars(self)[name] for name in _FITTED if name in vars(self)]

    def _check_place(self, X: Any, method: str) -> None:
        check_same_place(self, self._fitted()[0], X, method)

    def _by_rows(self, rows: Array, formula: Formula) -> Array:
        """Apply a formula in float64 to some rows at a time; round once to the rows' dtype."""
        work, home = _places(rows)
        xp, dtype = work.xp, dtype_name(rows)
        with work.scope():
            there = bring(rows, work, 1)
            measures = [work.move(array) for array in self._fitted()]
            parts = []
            for part in slices(int(there.shape[0]), max(1, CELLS // int(there.shape[1]))):
                x = xp.astype(there[part, :], xp.float64, copy=False)
                if not bool(xp.all(xp.isfinite(x))):
                    first_bad_cell(rows, type(self).__name__)
                found = formula(x, *measures, xp=xp)
                parts.append(xp.astype(found, getattr(xp, dtype), copy=False))
            result = parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)
        if work == home:
            return result
        with home.scope():
            return home.move(result)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _places(rows: Array) -> tuple[Context, Context]:
    work, home = resolve(rows, None)
    check_float64(work)
    return work, home


def _unchanged(x: Array, center: Array, scale: Array, /, *, xp: Namespace) -> Array:
    # as of every method, the result is the user's to change
    return xp.asarray(x, copy=True)


def _scaled(x: Array, center: Array, scale: Array, /, *, xp: Namespace) -> Array:
    return (x - center) / scale


def _unscaled(x: Array, center: Array, scale: Array, /, *, xp: Namespace) -> Array:
    return x * scale + center


def _shares(x: Array, marks: Array, /, *, xp: Namespace) -> Array:
    columns = (_share(x[:, at], marks[:, at], xp=xp) for at in range(int(x.shape[1])))
    return xp.stack(list(columns), axis=1)


def _values(x: Array, marks: Array, /, *, xp: Namespace) -> Array:
    columns = (_value(x[:, at], marks[:, at], xp=xp) for at in range(int(x.shape[1])))
    return xp.stack(list(columns), axis=1)


def _share(x: Array, marks: Array, /, *, xp: Namespace) -> Array:
    """The place of values among sorted marks, 0 to 1; the middle of equal marks between them."""
    last = int(marks.shape[0]) - 1
    below = xp.searchsorted(marks, x, side="left")
    not_above = xp.searchsorted(marks, x, side="right")
    left = xp.take(marks, xp.clip(below - 1, 0, last))
    right = xp.take(marks, xp.clip(below, 0, last))
    gap = right - left
    between = (x - left) / xp.where(gap > 0.0, gap, xp.ones_like(gap))
    first = xp.astype(below, xp.float64)
    equal = (first + xp.astype(not_above, xp.float64) - 1.0) * 0.5
    place = xp.where(not_above > below, equal, first - 1.0 + between) / float(last)
    place = xp.where(x >= marks[-1], xp.ones_like(place), place)
    return xp.where(x <= marks[0], xp.zeros_like(place), place)


def _value(x: Array, marks: Array, /, *, xp: Namespace) -> Array:
    """The way back of `_share`."""
    last = int(marks.shape[0]) - 1
    place = xp.clip(x, 0.0, 1.0) * float(last)
    first = xp.clip(xp.floor(place), 0.0, float(last - 1))
    at = xp.astype(first, xp.int64)
    left, right = xp.take(marks, at), xp.take(marks, xp.clip(at + 1, 0, last))
    return left + (right - left) * (place - first)


def _no_zeros(scale: Host) -> Host:
    return np.where(scale > 0.0, scale, 1.0)


def _refuse_overflow(span: Host) -> None:
    wide = np.flatnonzero(~np.isfinite(span))
    if len(wide):
        raise ValueError(
            f"column {int(wide[0])} of X is wider than the largest float64. Divide it by a power "
            "of two first, for example by 2.0**10."
        )
