"""Checks of a batch of problems: once for all of them, with one wait for what the values say."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils.validation import check_array

from ._backend import Context, dtype_name, to_host
from ._typing import Array
from ._validation import FLOATS, as_float, is_foreign, real_numbers

_WHO = "k_means_batched"
_REMEDY = (
    f"{_WHO} needs finite values; drop such rows or fill them, for example with "
    "sklearn.impute.SimpleImputer."
)


def check_batch(x: Any, n_clusters: int, /) -> Array:
    """Return X as a float32 or float64 array (batch, n_samples, n_features) of its own library."""
    x = _as_floats(x, "X")
    shape = tuple(int(size) for size in x.shape)
    if len(shape) != 3:
        remedy = "Pass it with shape (batch, n_samples, n_features)."
        if len(shape) == 2:
            remedy = "Use k_means for one problem, or pass X[None, ...], a batch of one."
        raise ValueError(
            f"X has {len(shape)} dimensions (shape {shape}), but {_WHO} takes 3. {remedy}"
        )
    for size, what in zip(shape, ("problem", "sample", "feature"), strict=True):
        if size < 1:
            raise ValueError(
                f"Found array with 0 {what}(s) (shape={shape}) while a minimum of 1 is required "
                f"by {_WHO}. Pass X with at least one {what}."
            )
    if shape[1] < n_clusters:
        raise ValueError(
            f"n_samples={shape[1]} should be >= n_clusters={n_clusters}. Use fewer clusters, or "
            "give each problem more rows."
        )
    return x


def check_batch_weight(weight: Any, shape: tuple[int, int], context: Context, /) -> Array | None:
    """Return sample_weight as (batch, n_samples) float64 where X is worked on; None stays None."""
    if weight is None:
        return None
    if isinstance(weight, Real):
        weight = np.full(shape[1], float(weight))
    weight = _as_floats(weight, "sample_weight")
    found = tuple(int(size) for size in weight.shape)
    if found not in (shape, shape[1:]):
        raise ValueError(
            f"sample_weight.shape == {found}, expected {shape} (one weight for each row of each "
            f"problem) or {shape[1:]} (the same weights for every problem)."
        )
    xp = context.xp
    return xp.broadcast_to(xp.astype(context.move(weight), xp.float64, copy=False), shape)


def check_batch_centers(
    init: Any, shape: tuple[int, int, int], dtype: str, context: Context, /
) -> Array:
    """Return given starting centers (batch, k, d) in X's dtype, where X is worked on."""
    init = _as_floats(init, "init")
    found = tuple(int(size) for size in init.shape)
    if found not in (shape, shape[1:]):
        raise ValueError(
            f"The shape of the initial centers {found} is neither {shape}, one set of centers "
            f"(n_clusters, n_features) for each problem, nor {shape[1:]}, the same for all."
        )
    xp = context.xp
    placed = context.move(init)
    wide = xp.astype(placed, xp.float64, copy=False)
    names = ("problem", "cluster", "feature")[3 - len(found) :]
    bad = ~xp.isfinite(wide)
    beyond = xp.abs(wide) > float(np.finfo(dtype).max)
    counts = to_host(xp.stack([xp.count_nonzero(bad), xp.count_nonzero(beyond)])).tolist()
    if counts[0]:
        raise ValueError(f"Input init contains {_first(bad, wide, names)}. {_REMEDY}")
    if counts[1]:
        where = _first(beyond, wide, names)
        raise ValueError(
            f"init has values beyond the range of X's dtype {dtype}, as {where}. Pass X as "
            "float64, or centers that lie among the rows."
        )
    if dtype_name(placed) != dtype:
        placed = xp.astype(wide, getattr(xp, dtype), copy=False)
    return xp.broadcast_to(placed, shape)


def check_values(x: Array, weight: Array | None, n_clusters: int, context: Context, /) -> None:
    """Refuse values that cannot be clustered; rows and weights are looked at together."""
    xp = context.xp
    strange = ~xp.isfinite(x)
    counts = [xp.count_nonzero(strange)]
    if weight is not None:
        refused = ~(xp.isfinite(weight) & (weight >= 0.0))
        positive = xp.count_nonzero(weight > 0.0, axis=1)
        counts += [xp.count_nonzero(refused), xp.count_nonzero(positive < n_clusters)]
    found = to_host(xp.stack(counts)).tolist()
    if found[0]:
        where = _first(strange, x, ("problem", "row", "column"))
        raise ValueError(f"Input X contains {where}. {_REMEDY}")
    if weight is None or not any(found):
        return
    if found[1]:
        where = _first(refused, weight, ("problem", "row"))
        raise ValueError(
            f"sample_weight contains {where}. Weights are finite and not negative; 0 leaves a "
            "row out."
        )
    few = to_host(positive).tolist()
    problem = next(b for b, count in enumerate(few) if count < n_clusters)
    raise ValueError(
        f"sample_weight: only {few[problem]} rows of problem {problem} have a positive weight, "
        f"fewer than n_clusters={n_clusters}. Use fewer clusters or give more rows a weight."
    )


def _as_floats(values: Any, name: str) -> Array:
    if is_foreign(values, name):
        return as_float(values, name)
    if type(values) is np.ndarray and values.dtype.isnative and dtype_name(values) in FLOATS:
        return values
    with real_numbers(name):
        return check_array(
            values,
            dtype=[np.float64, np.float32],
            ensure_2d=False,
            allow_nd=True,
            ensure_all_finite=False,
            ensure_min_samples=0,
            ensure_min_features=0,
            input_name=name,
        )


def _first(bad: Array, values: Array, names: tuple[str, ...]) -> str:
    """ "NaN: the first is at problem 1, row 7": the first place that is marked."""
    marks = to_host(bad)
    place = np.unravel_index(int(marks.argmax()), marks.shape)
    value = float(to_host(values)[place])
    what = "NaN" if math.isnan(value) else "infinity" if math.isinf(value) else repr(value)
    where = ", ".join(f"{name} {int(at)}" for name, at in zip(names, place, strict=True))
    return f"{what}: the first is at {where}"
