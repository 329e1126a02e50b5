"""Errors and warnings of the library, for ``except`` clauses and filters."""

from __future__ import annotations


class DeviceError(RuntimeError):
    """A device that was asked for by name cannot be used; the text says what to install."""


class DeviceMemoryError(DeviceError, MemoryError):
    """A device has too little memory, in small blocks of rows too; the text says how much."""


class EmptyClusterError(ValueError):
    """A cluster lost all its rows and ``empty_cluster="error"`` was asked for."""


__all__ = ["DeviceError", "DeviceMemoryError", "EmptyClusterError"]
