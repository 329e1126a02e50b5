"""How arrays become arguments of CUDA kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._typing import Array, Namespace


def like(x: Array) -> dict[str, Any]:
    """Where new arrays belong."""
    return {"device": x.device}


def strided(x: Array, /, *, xp: Namespace) -> tuple[Array, Any, Any]:
    """Rows where they are, whatever their strides."""
    size, (row, column) = x.itemsize, x.strides
    if row % size or column % size:
        x = xp.ascontiguousarray(x)  # a field of records, which no pointer to numbers can walk
        row, column = x.strides
    return x, np.int64(row // size), np.int64(column // size)
