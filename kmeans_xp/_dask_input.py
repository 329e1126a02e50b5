"""dask collections that users hand over: checked, and made partitions of whole rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from ._backend import context_of, numpy_context, to_host
from ._dask import Partitions, client_of, scheduler_of
from ._dask_tasks import physical_memory
from ._exact import exponent_above
from ._typing import Array
from ._validation import check_rows, is_dask
from ._weight_checks import check_weight, refuse_bad_weight, refuse_few_rows, refuse_weight_shape

_SHARE = 0.5  # of the free memory, for rows that are held
_ROW_BYTES = 64  # beside a row


@dataclass(frozen=True)
class _Seen:
    """What a first look at a partition finds."""

    n_rows: int
    n_weights: int
    largest: float
    n_positive: int
    bad: tuple[int, float] | None
    place: tuple[str, str]  # library and device


def as_array(estimator: Any, x: Any, /, *, reset: bool) -> Any:
    """Return X as a dask array of float32 or float64 whose blocks are whole rows.

    Names, types and the number of columns are checked as those of rows in memory are.
    """
    if hasattr(type(x), "columns") and hasattr(x, "map_partitions"):  # a Delayed has any name
        dtype = check_rows(estimator, x._meta_nonempty, reset=reset).dtype
        meta = np.empty((0, len(x.columns)), dtype=dtype)
        return x.map_partitions(_numbers, dtype, meta=meta)
    if type(x).__name__ != "Array" or x.ndim != 2:
        shape = f" of shape {tuple(x.shape)}" if hasattr(type(x), "shape") else ""
        raise TypeError(
            f"X is a {type(x).__module__}.{type(x).__name__}{shape}; of dask, two-dimensional "
            "arrays and data frames are taken"
        )
    refuse_elsewhere(x._meta, "X")
    if math.isnan(x.shape[1]):
        raise ValueError("the number of columns of X is not known: call X.compute_chunk_sizes()")
    given = np.empty((0 if 0 in x.shape else 1, x.shape[1]), dtype=x.dtype)
    dtype = check_rows(estimator, given, reset=reset).dtype
    whole = x.rechunk({1: -1})
    return whole if whole.dtype == dtype else whole.astype(dtype)


def _numbers(frame: Any, dtype: np.dtype[Any]) -> Array:
    """The columns of a partition, with its nulls as NaN."""
    return frame.to_numpy(dtype=dtype, na_value=np.nan)


def refuse_elsewhere(block: Any, name: str, /) -> None:
    """Raise the error for blocks that are neither NumPy's nor CuPy's."""
    if isinstance(block, np.ndarray) or (
        is_array_api_obj(block) and context_of(block).backend == "cupy"
    ):
        return
    raise TypeError(
        f"the blocks of {name} are {type(block).__module__}.{type(block).__name__}, and dask "
        "collections are worked on as NumPy or CuPy arrays: make those of them with map_blocks"
    )


def make_partitions(x: Any, weight: Any, n_clusters: int | None, /) -> Partitions:
    """Look at the partitions once: sizes, weights; hold them if they fit.

    ``x`` comes from `as_array`.  Fewer rows than clusters are refused.
    """
    x, lazy = _optimised(x, _as_weights(weight, x))
    is_held = held_by_user = _is_persisted(x)
    if not held_by_user and not any(map(math.isnan, x.chunks[0])):
        is_held, x, lazy = _hold(x, lazy, sum(x.chunks[0]))
    seen = _look(x, lazy)
    lengths = tuple(part.n_rows for part in seen)
    n_rows = sum(lengths)
    if lazy is None and weight is not None:
        weights = check_weight(weight, n_rows, numpy_context())
        lazy, found = _of_host(weights, lengths)
        seen = [replace(part, place=ours.place) for part, ours in zip(found, seen, strict=True)]
    if lazy is not None:
        _check(seen)
    positive = None if lazy is None else sum(part.n_positive for part in seen)
    if n_clusters is not None:
        refuse_few_rows(n_rows, positive, n_clusters)
    exponent = None
    if lazy is not None:
        exponent = exponent_above(max(part.largest for part in seen))
        lazy = lazy.map_blocks(_unit, exponent, dtype=np.float64)
        lazy = _made_from(lazy) if is_held else _optimised(lazy, None)[0]
    if not is_held and any(map(math.isnan, x.chunks[0])):
        is_held, x, lazy = _hold(x, lazy, n_rows)
    places = tuple(sorted({part.place for part in seen if part.n_rows}))
    return Partitions(x, lazy, lengths, exponent, positive, is_held, places)


def _optimised(x: Any, weight: Any | None) -> tuple[Any, Any | None]:
    """Once, so that all passes ask for the same tasks."""
    import dask

    found = dask.optimize(*([x] if weight is None else [x, weight]))
    return found[0], None if weight is None else found[1]


def _as_weights(weight: Any, x: Any) -> Any | None:
    """Lazy weights in the partitions of X; None for none, and for those in host memory."""
    if isinstance(weight, Real):
        return x.map_blocks(_constant, float(weight), dtype=np.float64, drop_axis=1)
    if weight is None or not is_dask(weight):
        return None
    if hasattr(weight, "map_partitions"):
        weight = weight.map_partitions(_column, meta=np.empty(0))
    if weight.ndim != 1:
        refuse_weight_shape(weight.shape, x.shape[0])
    refuse_elsewhere(weight._meta, "sample_weight")
    ours, theirs = x.chunks[0], weight.chunks[0]
    is_known = not any(map(math.isnan, (*ours, *theirs)))
    if is_known and sum(ours) != sum(theirs):
        refuse_weight_shape(weight.shape, x.shape[0])
    if is_known:
        weight = weight.rechunk((ours,))
    elif len(ours) != len(theirs):
        raise ValueError(
            f"sample_weight has {len(theirs)} partitions and X {len(ours)}, and not all of their "
            "sizes are known: call compute_chunk_sizes() on both"
        )
    return weight.astype(np.float64)


def _column(values: Any) -> Array:
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def _constant(x: Array, value: float) -> Array:
    context = context_of(x)
    xp = context.xp
    with context.scope():
        return xp.full(x.shape[0], value, dtype=xp.float64, device=context.device)


def _unit(weight: Array, exponent: int) -> Array:
    """Weights of at most 1, as those of rows in memory."""
    half = exponent // 2
    return weight * math.ldexp(1.0, -half) * math.ldexp(1.0, half - exponent)


def _of_host(weights: Array | None, lengths: Sequence[int]) -> tuple[Any, list[_Seen]]:
    import dask.array as da

    assert weights is not None
    edges = [0, *itertools.accumulate(lengths)]
    parts = [weights[start:stop] for start, stop in itertools.pairwise(edges)]
    return da.from_array(weights, chunks=(tuple(lengths),)), [_see(part, part) for part in parts]


def _look(x: Any, weight: Any | None) -> list[_Seen]:
    import dask

    see = dask.delayed(_see)
    blocks = x.to_delayed(optimize_graph=False).ravel()
    if weight is None:
        parts = [see(block, None) for block in blocks]
    else:
        theirs = weight.to_delayed(optimize_graph=False).ravel()
        parts = [see(*both) for both in zip(blocks, theirs, strict=True)]
    return list(dask.compute(*parts))


def _see(x: Any, weight: Any) -> _Seen:
    refuse_elsewhere(x, "X")
    context = context_of(x)
    place = context.backend, context.device_name
    if weight is None:
        return _Seen(x.shape[0], x.shape[0], 0.0, 0, None, place)
    weight = to_host(weight)
    wrong = np.flatnonzero(~np.isfinite(weight))
    wrong = wrong if wrong.size else np.flatnonzero(weight < 0.0)
    bad = (int(wrong[0]), float(weight[wrong[0]])) if wrong.size else None
    largest = float(weight.max(initial=0.0))
    count = int(np.count_nonzero(weight > 0.0))
    return _Seen(x.shape[0], weight.shape[0], largest, count, bad, place)


def _check(seen: Sequence[_Seen]) -> None:
    """Refuse weights that do not fit the rows, or are none."""
    start = 0
    found: list[tuple[int, float]] = []
    for part in seen:
        if part.bad is not None:
            found.append((start + part.bad[0], part.bad[1]))
        start += part.n_rows
    if any(part.n_rows != part.n_weights for part in seen):
        ours, theirs = ([getattr(part, what) for part in seen] for what in ("n_rows", "n_weights"))
        raise ValueError(
            f"the partitions of sample_weight hold {theirs} values, those of X {ours} rows: give "
            "one weight for each row of X"
        )
    # as in memory: what is no number comes before what is negative
    for row, value in sorted(found, key=lambda bad: math.isfinite(bad[1])):
        refuse_bad_weight(value, row)


def _is_persisted(x: Any) -> bool:
    graph = x.__dask_graph__()
    return bool(len(graph) == x.npartitions and client_of(x) is not None and _are_futures(graph))


def _are_futures(graph: Any) -> bool:
    from distributed import futures_of

    return len(futures_of(graph)) == len(graph)


def _hold(x: Any, weight: Any | None, n_rows: int) -> tuple[bool, Any, Any | None]:
    """Rows and weights in memory, if they fit a share of what is free; else as they are."""
    if context_of(x._meta).backend != "numpy":
        # how much memory is free on the workers' devices dask does not tell
        return False, x, weight
    needed = n_rows * (x.shape[1] * x.dtype.itemsize + _ROW_BYTES)
    if needed > _SHARE * _free_memory(x):
        return False, x, weight
    import dask

    parts = [x] if weight is None else [x, weight]
    held = dask.persist(*parts)
    return True, held[0], None if weight is None else held[1]


def _made_from(lazy: Any) -> Any:
    """A collection in memory, made of held ones that may go afterwards."""
    made = lazy.persist()
    if client_of(made) is not None:
        from distributed import wait

        # the scheduler may hear that nobody wants those any more before it sees what depends on
        # them; until then the tasks of the lazy one (not if they were optimised) hold them
        wait(made)
    return made


def _free_memory(x: Any) -> float:
    """Bytes that are free where blocks would be held; none in processes, which keep nothing."""
    client = client_of(x)
    if client is not None:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        return float(sum(map(_free_of, workers)))
    module = getattr(scheduler_of(x), "__module__", "")
    return 0.0 if "multiprocessing" in module else float(_free_here())


def _free_of(worker: Any) -> int:
    limit = worker["memory_limit"] or physical_memory()
    return max(0, int(limit) - int(worker["metrics"].get("memory", 0)))


def _free_here() -> int:
    """Bytes that this machine can still give; of a system that does not say, half of all."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    except FileNotFoundError:
        found = []
    return int(found[0]) << 10 if found else physical_memory() // 2
