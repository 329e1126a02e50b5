"""Warnings that name the caller's own line."""

from __future__ import annotations

import sys
import warnings

_PASSED = ("kmeans_xp", "sklearn")


def warn(message: str, category: type[Warning], /) -> None:
    """Warn where the call came from, however deep in this package or in a pipeline that is found.

    (``skip_file_prefixes`` of `warnings.warn` is newer than the oldest Python that is supported.)
    """
    level, frame = 1, sys._getframe()
    while frame.f_globals.get("__name__", "").partition(".")[0] in _PASSED and frame.f_back:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
