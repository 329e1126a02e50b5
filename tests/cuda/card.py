"""A stand-in for a GPU and CuPy's arrays on it, by an emulated device: what is mixed is refused."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from device_arrays import DeviceNamespace
from emulator import cuda_kernel

from kmeans_xp import _backend, _kernels
from kmeans_xp._backend import Context, numpy_context
from kmeans_xp._kernels.cuda._kernel import CudaKernel


class Card(np.ndarray):
    """An array on the card: with one of the host it is not worked on, and no host sees its values.

    Scalars of the host are taken; values come by `to_host` alone.
    """

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if "out" in kwargs:
            kwargs["out"] = tuple(map(_bare, kwargs["out"]))
        return on_card(getattr(ufunc, method)(*map(_bare, inputs), **kwargs))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return on_card(func(*_all_bare(args), **{k: _all_bare(v) for k, v in kwargs.items()}))

    def __getitem__(self, key: Any) -> Any:
        return on_card(self.view(np.ndarray)[_all_bare(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.view(np.ndarray)[_all_bare(key)] = _bare(value)


def _bare(value: Any) -> Any:
    if isinstance(value, Card):
        return value.view(np.ndarray)
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError("an array of the host among those of the card")
    return value


def _all_bare(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(map(_all_bare, value))
    return _bare(value)


def on_card(value: Any) -> Any:
    """Values as an array of the card; other things as they are."""
    if isinstance(value, (tuple, list)):
        return type(value)(map(on_card, value))
    if isinstance(value, np.generic):
        value = np.asarray(value)
    return value.view(Card) if isinstance(value, np.ndarray) else value


class _Namespace(DeviceNamespace):
    """NumPy's functions on the card; `asarray` brings host arrays there."""

    def __getattr__(self, name: str) -> Any:
        if name == "asarray":
            return lambda values, **kwargs: on_card(np.array(values, dtype=kwargs.get("dtype")))
        found = super().__getattr__(name)
        if isinstance(found, type) or not callable(found):
            return found
        return lambda *args, **kwargs: on_card(
            found(*_all_bare(args), **{k: _all_bare(v) for k, v in kwargs.items()})
        )


class _Device(str):
    """NumPy's word for its one device, as CuPy's device."""

    def synchronize(self) -> None:
        """Nothing is under way."""


@dataclass(frozen=True)
class CardContext(Context):
    """The context of the card's arrays, to the library CuPy's."""

    @property
    def device_name(self) -> str:
        return "cuda:0"

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        with np.errstate(over="ignore", invalid="ignore"):
            yield

    @property
    def free_memory(self) -> int | None:
        return None

    def from_host(self, host: Any) -> Any:
        return on_card(np.array(_bare_host(host)))

    def move(self, array: Any) -> Any:
        return array if isinstance(array, Card) else self.from_host(array)


def _bare_host(host: Any) -> Any:
    if isinstance(host, Card):
        raise TypeError("an array of the card where one of the host belongs")
    return host


LAUNCHERS: list[Any] = []
"""What launched kernels on the card; each tells its launches."""

CARD = CardContext(_Namespace(numpy_context().xp), _Device("cpu"), "cupy")


def _context_of(array: Any) -> Context:
    return CARD if isinstance(array, Card) else _HONEST["context_of"](array)


def _to_host(array: Any) -> Any:
    return (
        np.array(array.view(np.ndarray)) if isinstance(array, Card) else _HONEST["to_host"](array)
    )


def _kernel_for(context: Context) -> Any:
    if context is not CARD:
        return _HONEST["kernel_for"](context)
    LAUNCHERS.append(cuda_kernel().launcher)
    return CudaKernel(CARD.xp, launcher=LAUNCHERS[-1])


_HONEST: dict[str, Callable[..., Any]] = {
    "context_of": _backend.context_of,
    "to_host": _backend.to_host,
    "kernel_for": _kernels.kernel_for,
}


@contextlib.contextmanager
def card_in_use() -> Iterator[CardContext]:
    """Let the library meet the card's arrays as it would CuPy's."""
    ours = {"context_of": _context_of, "to_host": _to_host, "kernel_for": _kernel_for}
    with pytest.MonkeyPatch.context() as patch:
        for module_name, module in list(sys.modules.items()):
            for name, honest in _HONEST.items():
                if module_name.startswith("kmeans_xp") and vars(module).get(name) is honest:
                    patch.setattr(module, name, ours[name])
        yield CARD
