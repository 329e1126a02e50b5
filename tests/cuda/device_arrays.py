"""NumPy arrays that stand for a device's: whatever makes the host wait for them is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

WAITS: list[str] = []
"""What waited, in order."""


class DeviceArray(np.ndarray):
    """An array whose values come to the host only by a wait; so do those of reductions."""

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return on_device(np.asarray(array))

    def __getitem__(self, key: Any) -> Any:
        return on_device(np.asarray(super().__getitem__(key)))


def _waiting(name: str) -> Callable[..., Any]:
    plain = getattr(np.ndarray, name)

    def waits(self: DeviceArray, *args: Any) -> Any:
        WAITS.append(name)
        return plain(self.view(np.ndarray), *args)

    return waits


for _name in ("__bool__", "__int__", "__float__", "__index__", "__iter__", "tolist", "item"):
    setattr(DeviceArray, _name, _waiting(_name))


def on_device(array: Any) -> Any:
    """The array as a device's; other things as they are."""
    if isinstance(array, np.generic):
        array = np.asarray(array)
    return array.view(DeviceArray) if isinstance(array, np.ndarray) else array


def to_host(array: Any) -> Any:
    """The one way to the host that is meant to be."""
    if isinstance(array, DeviceArray):
        WAITS.append("to_host")
    return np.asarray(array).view(np.ndarray)


def _flushed(array: Any) -> Any:
    """Subnormal float32 numbers as zeros, on plain arrays."""
    if isinstance(array, np.ndarray):
        array = array.view(np.ndarray)
    if getattr(array, "dtype", None) != np.float32:
        return array
    return np.where(np.abs(array) < np.finfo(np.float32).tiny, np.float32(0.0) * array, array)


class FlushingArray(np.ndarray):
    """As CuPy's: its own kernels take subnormal float32 numbers for zero; copies do not."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if "out" in kwargs:
            kwargs["out"] = tuple(part.view(np.ndarray) for part in kwargs["out"])
        return flushing(_flushed(getattr(ufunc, method)(*map(_flushed, inputs), **kwargs)))

    def astype(self, *args: Any, **kwargs: Any) -> Any:
        return flushing(_flushed(_flushed(self).astype(*args, **kwargs)))


def flushing(array: Any) -> Any:
    """The array as one of those; other things as they are."""
    return array.view(FlushingArray) if isinstance(array, np.ndarray) else array


class DeviceNamespace:
    """A namespace whose functions give such arrays."""

    def __init__(self, xp: Any, wrap: Callable[[Any], Any] = on_device) -> None:
        self._xp, self._wrap = xp, wrap
        self.__name__ = xp.__name__

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._xp, name)
        if isinstance(found, type) or not callable(found):
            return found

        def called(*args: Any, **kwargs: Any) -> Any:
            result = found(*args, **kwargs)
            wrap = self._wrap
            return tuple(map(wrap, result)) if isinstance(result, tuple) else wrap(result)

        return called
