"""Too little memory on a device: smaller blocks, and at last one error that says what is needed.

Host kernels do not try again: their blocks fit a cache, and where the system has no memory left
half a block helps nobody.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from ._backend import Context
from ._kernels import Plan, Shape
from ._travel import Together
from ._typing import Source
from .exceptions import DeviceMemoryError

_ROW_BYTES = 64
_GROUP_BYTES = 4  # a bound
_NEEDS_BYTES = 24
_BLOCK_ROW_BYTES = 96
_CENTER_BYTES = 128  # for each feature
_PIECES_BYTES = 5 << 25
_HOST_KERNELS = ("numpy", "numba")


def memory_errors(context: Context, kernel: str, /) -> tuple[type[BaseException], ...]:
    """What is answered by smaller blocks; CuPy's error is a MemoryError, JAX's has no type."""
    if kernel in _HOST_KERNELS:
        return ()
    if context.backend == "torch":
        return MemoryError, sys.modules["torch"].cuda.OutOfMemoryError
    return (MemoryError,)


def needed_bytes(shape: Shape, block_rows: int, group_size: int = 0, /) -> int:
    """Device memory of a fit, with its rows: an upper estimate of the peak."""
    return _data_bytes(shape) + passing_bytes(shape, block_rows, group_size)


def passing_bytes(shape: Shape, block_rows: int, group_size: int = 0, /) -> int:
    """Device memory of a fit without its rows: an upper estimate of the peak.

    Beside a row: its label and the one before, three bounds, and what is gathered from the blocks;
    beside a row of a block: lists of rows and centers, distances and marks.  Then the centers in
    several precisions with their integer sums, and pieces of the passes that are not fused.  With
    groups of centers a row keeps a bound for each, and what rows of a block need is listed.
    """
    n, d, k = shape.n_rows, shape.n_features, shape.n_clusters
    rows = n * _ROW_BYTES + min(n, block_rows) * _BLOCK_ROW_BYTES
    if group_size:
        rows += n * _GROUP_BYTES * -(-k // group_size) + min(n, block_rows) * _NEEDS_BYTES
    return rows + _CENTER_BYTES * k * (d + 2) + _PIECES_BYTES


def _data_bytes(shape: Shape) -> int:
    return shape.n_rows * shape.n_features * (4 if shape.dtype == "float32" else 8)


def shrink(plan: Plan, source: Source, shape: Shape, reason: str, /) -> Plan:
    """Cut the rows into blocks of half the size, which forget their state; or give up.

    A device that holds some of the rows holds fewer, at last none.
    """
    released = source.release()
    smaller = plan.halved(shape.n_rows) or (plan if released else None)
    if smaller is None:
        raise too_little(source.context, shape, plan.block_rows, reason, source.is_resident)
    source.cut(smaller.block_rows, smaller.piece_rows)
    return smaller


def too_little(
    context: Context, shape: Shape, block_rows: int, reason: str, /, holds_rows: bool = True
) -> Exception:
    """The one error: what is needed, what there is, and what to do."""
    n, d, k = shape.n_rows, shape.n_features, shape.n_clusters
    free, remedy = context.free_memory, "device='cpu'"
    there = "" if free is None else f" {_mib(free)} are free now."
    need, rows = passing_bytes(shape, block_rows), "beside rows, which came block by block"
    if isinstance(context, Together) and context.devices:
        share = replace(shape, n_rows=-(-n // len(context.devices)))
        need, rows = needed_bytes(share, block_rows), "on each, its share of the rows included"
        there = there.replace(" now", " on the one that has least")
    elif isinstance(context, Together):
        rows, remedy = "on all workers together, beside the rows in partitions", "more workers"
    elif holds_rows:
        need, rows = needed_bytes(shape, block_rows), "the rows included"
    narrow = ", pass X as float32" if shape.dtype == "float64" else ""
    return DeviceMemoryError(
        f"{context.device_name} has too little memory for {n} rows of {d} {shape.dtype} features "
        f"and {k} clusters, in blocks of {block_rows} rows too: about "
        f"{_mib(need)} are needed, {rows}.{there} Free "
        "memory there (cupy.get_default_memory_pool().free_all_blocks() and "
        "torch.cuda.empty_cache() give back what these libraries keep), use fewer rows or "
        f"clusters{narrow}, or {remedy}. The device said: {reason}"
    )


def _mib(size: int) -> str:
    return f"{size} bytes ({size / 2**20:.0f} MiB)"
