"""What iterations take whose rows a GPU has no room for: all held, half of them, none."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from _gpu_kit import Keeper

STREAMS = ((2_000_000, 128, 64), (2_000_000, 128, 1024))
_SHARES = (1.0, 0.5, 0.0)
_FIRST = 2  # iterations that are not counted


def streams(
    keeper: Keeper,
    gpu: Any,
    cases: Sequence[tuple[int, int, int]] = STREAMS,
    iterations: int = 10,
) -> None:
    """Milliseconds an iteration by the wall's clock, and the rows that were copied for it."""
    for n, d, k in cases:
        x = np.random.default_rng(0).random((n, d), dtype=np.float32)
        for share in _SHARES:
            if not keeper.has_time(f"{n} x {d}, k={k}, {share} held"):
                continue
            gpu.release()
            gpu.limit(None if share == 1.0 else _room(n, d, k) + int(share * x.nbytes))
            try:
                _fit(x, k, 1)  # kernels are compiled
                before, model = _fit(x, k, _FIRST)
                after, model = _fit(x, k, _FIRST + iterations)
            finally:
                gpu.limit(None)
            seconds = (after - before) / (model.n_iter_ - _FIRST)
            keeper.add(
                "fits",
                {
                    "n": n, "d": d, "k": k, "share": share, "reading": model.reading_,
                    "ms an iteration": 1e3 * seconds, "iterations": model.n_iter_,
                    "GB/s": (1.0 - share) * x.nbytes / seconds / 1e9,
                },
            )  # fmt: skip


def _fit(x: Any, k: int, most: int) -> tuple[float, Any]:
    """Seconds of a fit from the first rows, and the model; rows are in host memory."""
    from kmeans_xp import KMeans

    model = KMeans(k, init=x[:k], n_init=1, max_iter=most, tol=0.0, device="cuda")
    began = time.perf_counter()
    model.fit(x)
    return time.perf_counter() - began, model


def _room(n: int, d: int, k: int) -> int:
    """Bytes that passes over streamed rows take, with two blocks."""
    from kmeans_xp import _streams
    from kmeans_xp._device_rows import LANES
    from kmeans_xp._kernels import Shape
    from kmeans_xp._memory import passing_bytes

    rows = min(n, _streams.BLOCK_BYTES // (4 * d))
    return passing_bytes(Shape(n, d, k, "float32"), rows) + LANES * rows * 4 * d
