"""What compiled loops cost, and whether what they have not yet saved has reached that price.

``KMEANS_XP_NUMBA=0`` says never, ``KMEANS_XP_NUMBA=1`` at once.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import pathlib
import sys
import threading
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

SECONDS_A_UNIT = 5e-11  # of scores without compiled loops, on one thread
PER_SCORE = 24  # what a score costs beside its product, in features
_READY_SECONDS = 0.05  # numba is loaded anyway, the code is read from disk
_LOAD_SECONDS = 0.6


class Kind(NamedTuple):
    """Rows for which loops are compiled apart."""

    dtype: str
    is_contiguous: bool

    @classmethod
    def of(cls, x: npt.NDArray[np.floating]) -> Kind:
        """The kind of some rows."""
        return cls(x.dtype.name, x.flags.c_contiguous)


class Account:
    """Adds up the work that was done without some loops, for each kind of rows.

    Parameters
    ----------
    loops : one of them, as its file in numba's cache is named; its rows are called ``x``
    seconds : what compiling all of them takes
    """

    def __init__(self, loops: str, seconds: float) -> None:
        self._loops, self._seconds = loops, seconds
        self._lock = threading.Lock()
        self._spent: dict[Kind, float] = {}
        self._bought: set[Kind] = set()

    def pays(self, kind: Kind, seconds: float) -> bool:
        """Whether work that takes so long without the loops should use them."""
        wish = os.environ.get("KMEANS_XP_NUMBA", "")
        if wish in ("0", "1"):
            return wish == "1" and has_numba()
        with self._lock:
            self._spent[kind] = self._spent.get(kind, 0.0) + seconds
            if kind not in self._bought and not self._has_paid(kind):
                return False
            self._bought.add(kind)
            return True

    def _has_paid(self, kind: Kind) -> bool:
        """Ask the cheap questions first: most processes stay small."""
        loading = _READY_SECONDS if "numba" in sys.modules else _LOAD_SECONDS
        if self._spent[kind] < loading or not has_numba():
            return False
        return self._spent[kind] >= self._seconds or (
            is_compiled(self._loops) and lies_ready(self._loops, kind)
        )


def has_numba() -> bool:
    """Whether numba is installed; it is not imported."""
    return "numba" in sys.modules or importlib.util.find_spec("numba") is not None


def is_compiled(loops: str) -> bool:
    """Whether these sources' compiled loops lie on disk, in one of the places numba keeps them."""
    here = pathlib.Path(__file__).parent
    places = [here / "__pycache__", pathlib.Path.home() / ".cache" / "numba"]
    if os.environ.get("NUMBA_CACHE_DIR"):
        places = [pathlib.Path(os.environ["NUMBA_CACHE_DIR"])]
    # what an earlier version left there does not count
    newest = max((file.stat().st_mtime for file in here.parent.rglob("*.py")), default=0.0)
    found = (file for place in places for file in place.glob(f"**/{loops}-*.nbi"))
    return any(file.stat().st_mtime > newest for file in found)


def lies_ready(loops: str, kind: Kind) -> bool:
    """Whether loops on disk include those for this kind of rows; loads numba."""
    module, name = loops.split(".")
    function = getattr(importlib.import_module(f".{module}", __package__), name)
    place = list(inspect.signature(function.py_func).parameters).index("x")
    rows = (signature[place] for signature in kept_signatures(function))
    return any((x.dtype.name, x.layout == "C") == kind for x in rows)


def kept_signatures(function: Any) -> list[Any]:
    """The signatures for which numba keeps compiled code on disk."""
    file = getattr(function._cache, "_cache_file", None)
    # without a place that can be written there is no cache
    return [] if file is None else [key[0] for key in file._load_index()]
