"""Pickles that travel: arrays of an accelerator are stored as NumPy, with where they were."""

from __future__ import annotations

import importlib
import logging
from typing import Any

import array_api_compat

from .._backend import context_of, to_host

logger = logging.getLogger("kmeans_xp")
_MARK = "_arrays_were_on"


def pack(state: dict[str, Any]) -> dict[str, Any]:
    """Replace device arrays by host arrays and remember library and device by name."""
    packed = dict(state)
    for name, value in state.items():
        if not array_api_compat.is_array_api_obj(value):
            continue
        context = context_of(value)
        if context.backend in ("cupy", "torch", "jax") and context.device_name != "cpu":
            packed[name] = to_host(value)
            packed[_MARK] = (context.backend, context.device_name)
    return packed


def unpack(state: dict[str, Any]) -> dict[str, Any]:
    """Bring arrays back to their device, or leave them as NumPy where there is none."""
    state = dict(state)
    mark = state.pop(_MARK, None)
    if mark is None:
        return state
    backend, device = mark
    try:
        put = _placer(backend, device)
        return {
            name: put(value) if array_api_compat.is_numpy_array(value) else value
            for name, value in state.items()
        }
    except (ImportError, RuntimeError) as error:
        logger.warning(
            "the model was fitted on %s (%s), which cannot be used here (%s); it now holds "
            "NumPy arrays and takes NumPy input",
            device,
            backend,
            error,
        )
        return state


def _placer(backend: str, device: str) -> Any:
    library = importlib.import_module("jax.numpy" if backend == "jax" else backend)
    if backend == "torch":
        return lambda value: library.asarray(value, device=device)
    index = int(device.partition(":")[2] or 0)
    if backend == "jax":
        target = importlib.import_module("jax").devices(device.partition(":")[0])[index]
        return lambda value: library.asarray(value, device=target)

    def to_cupy(value: Any) -> Any:
        with library.cuda.Device(index):
            return library.asarray(value)

    return to_cupy
