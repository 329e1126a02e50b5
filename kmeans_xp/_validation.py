"""Checks of what users hand over; each failure is one error that names value and remedy."""

from __future__ import annotations

import re
from typing import Any

import array_api_compat
import numpy as np
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    check_array,
    validate_data,
)

from ._backend import Context, context_of, dtype_name, numpy_context, to_host
from ._typing import Array
from .exceptions import DeviceError

FLOATS = ("float32", "float64")
_DEVICE_WORD = re.compile(r"cpu|cuda(:\d+)?|auto")


def check_rows(estimator: Any, x: Any, /, *, reset: bool) -> Array:
    """Return X as a 2-d float32 or float64 array of its own library, without a copy if it is one.

    Other dtypes become float64.  Finiteness is left to the statistics pass.
    """
    if not is_foreign(x):
        return validate_data(
            estimator,
            x,
            reset=reset,
            dtype=[np.float64, np.float32],
            ensure_all_finite=False,
            accept_sparse=False,
        )
    if x.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {x.ndim}D array instead (shape {tuple(x.shape)}). Reshape "
            "your data with xp.reshape(X, (-1, 1)) if it has a single feature or "
            "xp.reshape(X, (1, -1)) if it is a single sample."
        )
    for axis, what in enumerate(("sample", "feature")):
        if x.shape[axis] < 1:
            raise ValueError(
                f"Found array with 0 {what}(s) (shape={tuple(x.shape)}) while a minimum of 1 "
                f"is required by {type(estimator).__name__}."
            )
    _check_feature_names(estimator, x, reset=reset)
    _check_n_features(estimator, x, reset=reset)
    return as_float(x, "X")


def is_foreign(x: Any, /) -> bool:
    """Whether x is an array of a library other than NumPy; lazy ones are refused."""
    if isinstance(x, np.ndarray) or not array_api_compat.is_array_api_obj(x):
        return False
    if array_api_compat.is_lazy_array(x) and not array_api_compat.is_jax_array(x):
        raise TypeError(
            f"X is a lazy array ({type(x).__module__}), which is not supported. Compute it "
            "first, for example with X.compute(), and pass the result."
        )
    return not array_api_compat.is_numpy_array(x)


def as_float(x: Array, name: str, /) -> Array:
    """Keep float32 and float64, turn other real dtypes into float64, refuse complex."""
    xp = array_api_compat.array_namespace(x)
    if dtype_name(x) in FLOATS:
        return x
    if xp.isdtype(x.dtype, "complex floating"):
        raise ValueError(f"Complex data not supported: {name} has dtype {x.dtype}. Pass its parts.")
    check_float64(context_of(x))
    return xp.astype(x, xp.float64)


def check_float64(context: Context, /) -> None:
    """Raise the one error for a device that has no float64."""
    with context.scope():
        try:
            context.xp.zeros(1, dtype=context.xp.float64, device=context.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DeviceError(
                f"the device {context.device_name} of {context.backend} has no float64, which "
                "exact labels need. Use device='cpu', or move X to a device with float64."
            ) from error


def check_device_word(device: Any, /) -> None:
    if device is None or (isinstance(device, str) and _DEVICE_WORD.fullmatch(device)):
        return
    raise ValueError(
        f"device={device!r} is not known. Use None (where X is), 'cpu', 'cuda', 'cuda:1' "
        "(any number) or 'auto'."
    )


def check_weight(weight: Any, n_rows: int, context: Context, /) -> Array | None:
    """Return sample_weight as (n_rows,) float64 where X is worked on; None stays None."""
    if weight is None:
        return None
    xp = context.xp
    if np.isscalar(weight):
        weight = np.full(n_rows, weight, dtype=np.float64)
    elif not is_foreign(weight):
        weight = check_array(
            weight,
            ensure_2d=False,
            ensure_all_finite=False,
            dtype=np.float64,
            ensure_min_samples=0,
            input_name="sample_weight",
        )
    if weight.ndim != 1:
        raise ValueError(
            "Sample weights must be 1D array or scalar, got "
            f"{weight.ndim}D array. Expected shape ({n_rows},)."
        )
    if weight.shape[0] != n_rows:
        raise ValueError(
            f"sample_weight.shape == {tuple(weight.shape)}, expected ({n_rows},): "
            "give one weight for each row of X."
        )
    weight = context.move(as_float(weight, "sample_weight"))
    weight = xp.astype(weight, xp.float64, copy=False)
    _refuse(~xp.isfinite(weight), weight, "sample_weight contains NaN or infinity", xp)
    _refuse(weight < 0.0, weight, "Negative values in data passed to `sample_weight`", xp)
    return weight


def _refuse(bad: Array, weight: Array, what: str, xp: Any) -> None:
    if not bool(xp.any(bad)):
        return
    row = int(xp.argmax(xp.astype(bad, xp.int8)))
    raise ValueError(
        f"{what}: {float(weight[row])!r} at row {row}. Weights are finite and not negative; "
        "0 leaves a row out."
    )


def check_positive_rows(n_positive: int, n_clusters: int, /) -> None:
    if n_positive == 0:
        raise ValueError(
            "sample_weight is zero for every row. At least n_clusters rows need a positive weight."
        )
    if n_positive < n_clusters:
        raise ValueError(
            f"only {n_positive} rows have a positive sample_weight, fewer than n_clusters="
            f"{n_clusters}. Use fewer clusters or give more rows a weight."
        )


def check_centers(
    centers: Any, context: Context, dtype: str, n_clusters: int, n_features: int, /
) -> Array:
    """Return given starting centers as (k, d) of X's dtype, where X is worked on."""
    if not is_foreign(centers):
        centers = check_array(
            centers, dtype=[np.float64, np.float32], ensure_all_finite=False, input_name="init"
        )
    shape = tuple(int(size) for size in centers.shape)
    if shape[0] != n_clusters:
        raise ValueError(
            f"The shape of the initial centers {shape} does not match the number of "
            f"clusters {n_clusters}."
        )
    if len(shape) != 2 or shape[1] != n_features:
        raise ValueError(
            f"The shape of the initial centers {shape} does not match the number of "
            f"features of the data {n_features}."
        )
    refuse_non_finite(centers, "init", "KMeans")
    xp = context.xp
    return xp.astype(context.move(as_float(centers, "init")), getattr(xp, dtype), copy=False)


def refuse_non_finite(x: Array, name: str, who: str, /) -> None:
    """Raise for the first NaN or infinity of a 2-d array, if there is one."""
    xp = array_api_compat.array_namespace(x)
    bad = ~xp.isfinite(x)
    if not bool(xp.any(bad)):
        return
    flat = int(xp.argmax(xp.reshape(xp.astype(bad, xp.int8), (-1,))))
    row, column = divmod(flat, int(x.shape[1]))
    what = "NaN" if bool(xp.isnan(x[row, column])) else "infinity"
    raise ValueError(
        f"Input {name} contains {what}: the first is at row {row}, column {column}. "
        f"{who} needs finite values; drop such rows or fill them, for example with "
        "sklearn.impute.SimpleImputer."
    )


def check_same_place(estimator: Any, x: Any, method: str, /) -> None:
    """Raise scikit-learn's error when X does not live where the fitted model does."""
    fitted = context_of(estimator.cluster_centers_)
    given = context_of(x) if is_foreign(x) else numpy_context()
    if fitted == given:
        return
    if fitted.backend != given.backend:
        detail = (
            f"Array namespaces used during fit ({fitted.xp.__name__}) and {method} "
            f"({given.xp.__name__}) differ."
        )
    else:
        detail = f"Devices used during fit ({fitted.device}) and {method} ({given.device}) differ."
    raise ValueError(
        f"Inputs passed to {type(estimator).__name__}.{method}() must use the same namespace "
        f"and the same device as those passed to fit(). {detail} Move X to "
        f"{fitted.backend} on {fitted.device_name}, or move the model: in scikit-learn 1.9 "
        "'from sklearn.utils._array_api import get_namespace_and_device, move_estimator_to; "
        "xp, _, device = get_namespace_and_device(X); "
        "estimator = move_estimator_to(estimator, xp, device)'"
    )


def first_bad_cell(x: Array, who: str, /) -> None:
    """Turn a failed statistics pass into the error that names the cell."""
    refuse_non_finite(x, "X", who)
    raise AssertionError(f"no bad cell in {to_host(x).shape}")
