"""Weights of rows, and how many rows there must be."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, NoReturn

import array_api_compat
import numpy as np
from sklearn.utils.validation import check_array

from ._backend import Context
from ._typing import Array
from ._validation import as_float, is_foreign, real_numbers


def check_weight(
    weight: Any, n_rows: int, context: Context, /, *, signed: bool = False
) -> Array | None:
    """Return sample_weight as (n_rows,) float64 where X is worked on; None stays None.

    Negative ones are refused unless they may be ``signed``.
    """
    if weight is None:
        return None
    xp = context.xp
    if isinstance(weight, Real):
        weight = np.full(n_rows, float(weight))
    elif not is_foreign(weight, "sample_weight"):
        with real_numbers("sample_weight"):
            weight = check_array(
                weight,
                ensure_2d=False,
                allow_nd=True,
                ensure_all_finite=False,
                dtype=np.float64,
                ensure_min_samples=0,
                input_name="sample_weight",
            )
    if weight.ndim != 1 or weight.shape[0] != n_rows:
        refuse_weight_shape(tuple(weight.shape), n_rows)
    weight = context.move(as_float(weight, "sample_weight"))
    weight = xp.astype(weight, xp.float64, copy=False)
    for bad in (~xp.isfinite(weight), *(() if signed else (weight < 0.0,))):
        if bool(xp.any(bad)):
            row = int(xp.argmax(xp.astype(bad, xp.int8)))
            refuse_bad_weight(float(weight[row]), row, signed=signed)
    return weight


def refuse_weight_shape(shape: tuple[int, ...], n_rows: int, /) -> NoReturn:
    """Raise the error for weights that are not one for each row."""
    if len(shape) != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {len(shape)}D array of shape {shape}. "
            f"Expected shape ({n_rows},)."
        )
    raise ValueError(
        f"sample_weight.shape == {shape}, expected ({n_rows},): give one weight for each row of X."
    )


def refuse_bad_weight(value: float, row: int, /, *, signed: bool = False) -> NoReturn:
    """Raise the error for a weight that is not finite, or negative where it may not be."""
    what = "sample_weight contains NaN or infinity"
    if math.isfinite(value):
        what = "Negative values in data passed to `sample_weight`"
    kind = "finite" if signed else "finite and not negative"
    raise ValueError(f"{what}: {value!r} at row {row}. Weights are {kind}; 0 leaves a row out.")


def check_enough_rows(n_rows: int, weight: Array | None, n_clusters: int, /) -> None:
    """Refuse fewer rows, or rows that count, than clusters."""
    n_positive = None
    if weight is not None and n_rows >= n_clusters:
        xp = array_api_compat.array_namespace(weight)
        n_positive = int(xp.count_nonzero(weight > 0.0))
    refuse_few_rows(n_rows, n_positive, n_clusters)


def refuse_few_rows(n_rows: int, n_positive: int | None, n_clusters: int, /) -> None:
    """The same where it is known how many rows have a positive weight; None: all count."""
    if n_rows < n_clusters:
        raise ValueError(f"n_samples={n_rows} should be >= n_clusters={n_clusters}.")
    if n_positive is None:
        return
    if n_positive == 0:
        raise ValueError(
            "sample_weight is zero for every row. At least n_clusters rows need a positive weight."
        )
    if n_positive < n_clusters:
        raise ValueError(
            f"only {n_positive} rows have a positive sample_weight, fewer than n_clusters="
            f"{n_clusters}. Use fewer clusters or give more rows a weight."
        )
