"""Pickles that travel: arrays of an accelerator are stored as NumPy, with where they were."""

from __future__ import annotations

import importlib
import logging
from typing import Any

import array_api_compat

from .._backend import Context, context_of, to_host
from .._typing import Array

logger = logging.getLogger("kmeans_xp")
_MARK = "_arrays_were_on"
"""Maps the names of the arrays that were packed to (library, device)."""


class Portable:
    """A mixin before `sklearn.base.BaseEstimator`, whose pickles travel."""

    def __getstate__(self) -> dict[str, Any]:
        return pack(super().__getstate__())  # type: ignore[arg-type]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(unpack(state))  # type: ignore[misc]


def pack(state: dict[str, Any]) -> dict[str, Any]:
    """Replace device arrays by host arrays and remember library and device by name.

    JAX arrays are packed on the host too: its own pickles lose float64 outside x64.
    """
    packed = dict(state)
    places: dict[str, tuple[str, str]] = {}
    for name, value in state.items():
        if not array_api_compat.is_array_api_obj(value):
            continue
        context = context_of(value)
        away = context.backend in ("cupy", "torch") and context.device_name != "cpu"
        if away or context.backend == "jax":
            packed[name] = to_host(value)
            places[name] = (context.backend, context.device_name)
    if places:
        packed[_MARK] = places
    return packed


def unpack(state: dict[str, Any]) -> dict[str, Any]:
    """Bring arrays back to their device, or leave them as NumPy where there is none."""
    state = dict(state)
    places = state.pop(_MARK, None)
    if places is None:
        return state
    backend, device = places.get("cluster_centers_", next(iter(places.values())))
    try:
        placed = {name: _put(state[name], *place) for name, place in places.items()}
    except (ImportError, RuntimeError, IndexError) as error:
        named = state.get("device")
        if _is_cuda(named):
            state["device"] = None
        logger.warning(
            "the model was fitted on %s arrays on %s, which cannot be used here (%s); it now "
            "holds NumPy arrays, takes NumPy input and has device=%r",
            backend,
            device,
            str(error).strip().partition("\n")[0],
            state.get("device"),
        )
        return state
    return state | placed


def _is_cuda(device: Any) -> bool:
    return isinstance(device, str) and device.startswith("cuda")


def _put(value: Any, backend: str, device: str) -> Array:
    context = _context(backend, device)
    with context.scope():
        return context.from_host(value)


def _context(backend: str, name: str) -> Context:
    """The context of a library and a device by name; raises where they cannot be used."""
    library = importlib.import_module("jax.numpy" if backend == "jax" else backend)
    kind, _, number = name.partition(":")
    index = int(number or 0)
    if backend == "jax":
        target = importlib.import_module("jax").devices(kind)[index]
    elif backend == "torch":
        target = library.device(name)
        if kind == "cuda" and index >= library.cuda.device_count():
            # a build without CUDA would say so in a page of text
            raise RuntimeError(f"torch sees {library.cuda.device_count()} GPUs")
    else:
        target = library.cuda.Device(index)
    xp = array_api_compat.array_namespace(library.empty(0))
    return Context(xp, target, backend)
