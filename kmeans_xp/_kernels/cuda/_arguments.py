"""How arrays become arguments of CUDA kernels."""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np

from ..._typing import Array, Namespace


def like(x: Array) -> dict[str, Any]:
    """Where new arrays belong."""
    return {"device": array_api_compat.device(x)}


def strided(x: Array, /, *, xp: Namespace) -> tuple[Array, Any, Any]:
    """Rows where they are, whatever their strides."""
    if any(stride % x.itemsize for stride in x.strides):
        x = xp.ascontiguousarray(x)  # a field of records, which no pointer to numbers can walk
    return x, *(np.int64(stride // x.itemsize) for stride in x.strides)
