"""How many threads may work at a time: ours, and those of BLAS beside them."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import Any


@functools.cache
def thread_count() -> int:
    """Threads to use: OMP_NUM_THREADS if set, else the processors this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    import joblib

    return int(joblib.cpu_count())


@functools.cache
def _blas_controller() -> Any:
    import threadpoolctl

    return threadpoolctl.ThreadpoolController()


def one_blas_thread() -> contextlib.AbstractContextManager[Any]:
    """Hold BLAS to one thread each while our own threads share the processors."""
    manager: contextlib.AbstractContextManager[Any] = _blas_controller().limit(
        limits=1, user_api="blas"
    )
    return manager
