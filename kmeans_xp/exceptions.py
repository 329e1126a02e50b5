"""Errors and warnings of the library, for ``except`` clauses and filters."""

from __future__ import annotations

from typing import Any


class DeviceError(RuntimeError):
    """A device that was asked for by name cannot be used; the text says what to install."""


class DeviceMemoryError(DeviceError, MemoryError):
    """A device has too little memory, in small blocks of rows too; the text says how much."""


class EmptyClusterError(ValueError):
    """A cluster lost all its rows and ``empty_cluster="error"`` was asked for."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be resumed: damaged, or of other rows or parameters."""


class ChooseKInterrupted(KeyboardInterrupt):
    """Ctrl-C came while `choose_k` ran; ``result`` holds every k that was done by then.

    A `KeyboardInterrupt`, so that a script that does not know it ends as usual.
    """

    def __init__(self, result: Any) -> None:
        super().__init__(f"{result.status}; the `result` of this exception holds it")
        self.result = result


class DataWarning(UserWarning):
    """The data can be clustered, but one column alone decides the distances.

    ``warnings.filterwarnings("ignore", category=kmeans_xp.DataWarning)`` silences it.
    """


__all__ = [
    "CheckpointError",
    "ChooseKInterrupted",
    "DataWarning",
    "DeviceError",
    "DeviceMemoryError",
    "EmptyClusterError",
]
