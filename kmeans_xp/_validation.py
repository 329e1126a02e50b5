"""Checks of what users hand over; each failure is one error that names value and remedy."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import array_api_compat
import numpy as np
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    check_array,
    validate_data,
)

from ._backend import Context, context_of, dtype_name, numpy_context, to_host
from ._frames import refuse_text
from ._typing import Array
from .exceptions import DeviceError

FLOATS = ("float32", "float64")
_PLAIN = (np.dtype(np.float64), np.dtype(np.float32))
_DEVICE_WORD = re.compile(r"cpu|cuda(:\d+)?|auto")


def check_rows(estimator: Any, x: Any, /, *, reset: bool) -> Array:
    """Return X as a 2-d float32 or float64 array of its own library, without a copy if it is one.

    Other dtypes become float64.  Finiteness is left to the statistics pass.
    """
    if _is_plain(x) and (reset or _is_as_before(estimator, x)):
        # what scikit-learn's checks come to here; on few rows they cost more than a pass
        vars(estimator).pop("feature_names_in_", None)
        estimator.n_features_in_ = x.shape[1]
        return x
    if not is_foreign(x):
        _refuse_elsewhere(x, "X")
        refuse_text(x, "X")
        with real_numbers("X"):
            return validate_data(
                estimator,
                x,
                reset=reset,
                dtype=[np.float64, np.float32],
                ensure_all_finite=False,
                accept_sparse=False,
            )
    refuse_shape(tuple(x.shape), type(estimator).__name__)
    _check_feature_names(estimator, x, reset=reset)
    _check_n_features(estimator, x, reset=reset)
    return as_float(x, "X")


def refuse_shape(shape: tuple[int, ...], who: str, /) -> None:
    """Raise for what is no table of at least one row and one feature."""
    if len(shape) != 2:
        raise ValueError(
            f"Expected 2D array, got {len(shape)}D array instead (shape {shape}). Reshape "
            "your data with xp.reshape(X, (-1, 1)) if it has a single feature or "
            "xp.reshape(X, (1, -1)) if it is a single sample."
        )
    for size, what in zip(shape, ("sample", "feature"), strict=True):
        if size < 1:
            raise ValueError(
                f"Found array with 0 {what}(s) (shape={shape}) while a minimum of 1 "
                f"is required by {who}."
            )


def _is_as_before(estimator: Any, x: Any) -> bool:
    """Whether rows without names are what a fitted estimator knows."""
    named = hasattr(estimator, "feature_names_in_")
    return not named and getattr(estimator, "n_features_in_", None) == x.shape[1]


def _is_plain(x: Any) -> bool:
    """Whether x is a NumPy array that needs no conversion and names nothing."""
    return (
        type(x) is np.ndarray
        and x.dtype in _PLAIN
        and x.dtype.isnative
        and x.ndim == 2
        and 0 not in x.shape
    )


@contextlib.contextmanager
def real_numbers(name: str) -> Iterator[None]:
    """Name the argument when NumPy finds something in it that is no real number."""
    try:
        yield
    except (ValueError, OverflowError) as error:
        text = str(error)
        if text.startswith("Complex data not supported"):
            raise ValueError(
                f"Complex data not supported: {name} holds complex numbers. Pass its parts, for "
                "example np.hstack([a.real, a.imag])."
            ) from error
        if "could not convert" not in text and "too large" not in text:
            raise
        raise ValueError(
            f"{name} must hold real numbers: {text}. Drop such columns, or encode them, for "
            "example with sklearn.preprocessing.OneHotEncoder."
        ) from error


def is_foreign(x: Any, name: str = "X", /) -> bool:
    """Whether x is an array of a library other than NumPy; lazy and sparse ones are refused."""
    if isinstance(x, np.ndarray):
        return False
    _refuse_sparse(x, name)
    _refuse_lazy(x, name)
    return bool(array_api_compat.is_array_api_obj(x)) and not array_api_compat.is_numpy_array(x)


def is_dask(x: Any, /) -> bool:
    """Whether x is a collection of dask, which is not imported to find out."""
    return type(x).__module__.partition(".")[0] in ("dask", "dask_expr")


def _refuse_sparse(x: Any, name: str) -> None:
    # by name: a library is not imported to ask about an array that it did not make
    layout = str(getattr(x, "layout", "")) if array_api_compat.is_torch_array(x) else ""
    if "sparse" in type(x).__module__.split(".") or "sparse" in layout:
        way = "to_dense()" if layout else "toarray()"
        raise TypeError(
            f"Sparse data was passed for {name} ({type(x).__module__}.{type(x).__name__}), but "
            f"dense data is required. Pass {name}.{way}, or reduce it first with "
            "sklearn.decomposition.TruncatedSVD."
        )


def _refuse_lazy(x: Any, name: str) -> None:
    lazy = array_api_compat.is_array_api_obj(x) and array_api_compat.is_lazy_array(x)
    if type(x).__module__.startswith("dask") or (lazy and not array_api_compat.is_jax_array(x)):
        rows = "; or some of its rows. KMeans, k_means and MiniBatchKMeans take dask's as they are"
        raise TypeError(
            f"{name} is lazy ({type(x).__module__}.{type(x).__name__}), which is not supported. "
            f"Compute it first, for example with {name}.compute(), and pass the result"
            f"{rows if name == 'X' else ''}."
        )


def _refuse_elsewhere(x: Any, name: str) -> None:
    if isinstance(x, (str, os.PathLike)):
        raise TypeError(
            f"{name}={os.fspath(x)!r} is a text or a path, and values are needed here. Read the "
            "file first, for example with numpy.load; the fit, predict, transform and score of "
            "KMeans read files of rows themselves."
        )
    if isinstance(x, Iterator) or callable(x):
        raise TypeError(
            f"{name} ({type(x).__name__}) hands out its values, and they are needed at once here. "
            "Pass one array of them, for example numpy.concatenate(list(blocks))."
        )


def as_float(x: Array, name: str, /) -> Array:
    """Keep float32 and float64, turn other real dtypes into float64, refuse complex."""
    xp = array_api_compat.array_namespace(x)
    if dtype_name(x) in FLOATS:
        return x
    if xp.isdtype(x.dtype, "complex floating"):
        raise ValueError(f"Complex data not supported: {name} has dtype {x.dtype}. Pass its parts.")
    context = context_of(x)
    check_float64(context)
    with context.scope():
        return xp.astype(x, xp.float64)


def check_table(x: Any, name: str, who: str, /) -> Array:
    """Return a table as a 2-d float32 or float64 array of its own library, as `check_rows` does.

    For functions: no estimator remembers its features.  Finiteness is left to the caller.
    """
    if not is_foreign(x, name):
        _refuse_elsewhere(x, name)
        refuse_text(x, name)
        with real_numbers(name):
            return check_array(
                x,
                dtype=[np.float64, np.float32],
                ensure_all_finite=False,
                input_name=name,
                estimator=who,
            )
    shape = tuple(int(size) for size in x.shape)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(
            f"Expected 2D array for {name} of {who} with at least 1 row and 1 feature, got shape "
            f"{shape}. Pass {name} with shape (n_rows, n_features)."
        )
    return as_float(x, name)


def check_float64(context: Context, /) -> None:
    """Raise the one error for a device that has no float64."""
    if context.backend == "numpy":
        return
    with context.scope():
        try:
            context.xp.zeros(1, dtype=context.xp.float64, device=context.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DeviceError(
                f"the device {context.device_name} of {context.backend} has no float64, which "
                "exact labels need. Use device='cpu', or move X to a device with float64."
            ) from error


def check_device_word(device: Any, /) -> str | None:
    """The word for one device, also of a list with nothing else in it."""
    several = several_devices(device)
    word = device[0] if isinstance(device, (list, tuple)) else device
    if several is None and (
        word is None or (isinstance(word, str) and _DEVICE_WORD.fullmatch(word))
    ):
        return word
    if several is not None and (len(several) > 1 or several == ("cuda:all",)):
        raise DeviceError(
            f"device={device!r} names several devices, and this is done on one. Only KMeans and "
            "k_means split rows over several, and only those of a dense array in memory: neither "
            "streams nor sparse rows. Name one."
        )
    raise ValueError(
        f"device={device!r} is not known. Use None (where X is), 'cpu', 'cuda', 'cuda:1' "
        "(any number) or 'auto'."
    )


def several_devices(device: Any, /) -> tuple[str, ...] | None:
    """The words of a device that is several: texts, or one with commas, or "cuda:all".

    A list of a single one that is known everywhere is none.
    """
    words = device.split(",") if isinstance(device, str) else device
    if device != "cuda:all" and (not isinstance(words, (list, tuple)) or words == [device]):
        return None
    if not words or not all(isinstance(word, str) and word.strip() for word in words):
        raise ValueError(
            f"device={device!r} is not known: several devices are their words, as "
            "'cuda:0,cuda:1' or ['cuda:0', 'cuda:1'], or 'cuda:all'."
        )
    found = tuple(word.strip() for word in words)
    twice = next((word for number, word in enumerate(found) if word in found[:number]), None)
    if twice is not None:
        raise DeviceError(f"device={device!r} names a device twice: {twice}. Name each once.")
    return None if len(found) == 1 and _DEVICE_WORD.fullmatch(found[0]) else found


def check_centers(centers: Any, n_clusters: int, /) -> Array:
    """Return given starting centers as finite floats (n_clusters, d) in their own library."""
    if is_foreign(centers, "init"):
        centers = as_float(centers, "init")
    elif not _is_plain(centers):
        with real_numbers("init"):
            centers = check_array(
                centers,
                dtype=[np.float64, np.float32],
                ensure_2d=False,
                allow_nd=True,
                ensure_all_finite=False,
                input_name="init",
            )
    shape = tuple(int(size) for size in centers.shape)
    if len(shape) != 2:
        raise ValueError(
            f"The shape of the initial centers {shape} is not that of a 2D array. Pass init with "
            f"shape ({n_clusters}, n_features)."
        )
    if shape[0] != n_clusters:
        raise ValueError(
            f"The shape of the initial centers {shape} does not match the number of "
            f"clusters {n_clusters}."
        )
    refuse_non_finite(centers, "init", "KMeans")
    return centers


def place_centers(centers: Array, context: Context, dtype: str, n_features: int, /) -> Array:
    """Bring checked starting centers to X's dtype, where X is worked on."""
    shape = tuple(int(size) for size in centers.shape)
    if shape[1] != n_features:
        raise ValueError(
            f"The shape of the initial centers {shape} does not match the number of "
            f"features of the data {n_features}."
        )
    xp = context.xp
    if dtype_name(centers) == dtype:
        # as they are: some libraries lose subnormal numbers when they convert
        return context.move(centers)
    placed = xp.astype(context.move(centers), xp.float64, copy=False)
    if bool(xp.any(xp.abs(placed) > float(np.finfo(dtype).max))):
        raise ValueError(
            f"init has values beyond the range of X's dtype {dtype}. Pass X as float64, or "
            "centers that lie among the rows."
        )
    return xp.astype(placed, getattr(xp, dtype), copy=False)


def refuse_non_finite(
    x: Array, name: str, who: str, /, where: Callable[[int], str] = "row {}".format
) -> None:
    """Raise for the first NaN or infinity of a 2-d array, if there is one."""
    xp = array_api_compat.array_namespace(x)
    with context_of(x).scope():
        bad = ~xp.isfinite(x)
        if not bool(xp.any(bad)):
            return
        flat = int(xp.argmax(xp.reshape(xp.astype(bad, xp.int8), (-1,))))
        row, column = divmod(flat, int(x.shape[1]))
        value = float(x[row, column])
    raise non_finite(value, f"{where(row)}, column {column}", name, who)


def non_finite(value: float, where: str, name: str, who: str, /) -> ValueError:
    """The error for the first value that is NaN or infinite."""
    return ValueError(
        f"Input {name} contains {'NaN' if math.isnan(value) else 'infinity'}: the first is at "
        f"{where}. {who} needs finite values; drop such rows or fill them, for example with "
        "sklearn.impute.SimpleImputer."
    )


def check_same_place(estimator: Any, array: Array, x: Any, method: str, /) -> None:
    """Raise scikit-learn's error when X does not live where an array of the fitted model does."""
    fitted = context_of(array)
    given = context_of(x) if not is_dask(x) and is_foreign(x) else numpy_context()
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


def first_bad_cell(x: Array, who: str, /) -> NoReturn:
    """Turn a failed statistics pass into the error that names the cell."""
    refuse_non_finite(x, "X", who)
    raise AssertionError(f"no bad cell in {to_host(x).shape}")
