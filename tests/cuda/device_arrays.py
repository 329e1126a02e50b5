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


class DeviceNamespace:
    """A namespace whose functions give such arrays."""

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self.__name__ = xp.__name__

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._xp, name)
        if isinstance(found, type) or not callable(found):
            return found

        def called(*args: Any, **kwargs: Any) -> Any:
            result = found(*args, **kwargs)
            return tuple(map(on_device, result)) if isinstance(result, tuple) else on_device(result)

        return called
