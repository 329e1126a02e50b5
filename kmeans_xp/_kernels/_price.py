"""What compiled loops cost, and whether what they have not yet saved has reached that price.

``KMEANS_XP_NUMBA=0`` says never, ``KMEANS_XP_NUMBA=1`` at once.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import sys
import threading

SECONDS_A_UNIT = 5e-11  # of scores without compiled loops, on one thread
PER_SCORE = 24  # what a score costs beside its product, in features
_READY_SECONDS = 0.05  # numba is loaded anyway, the code is read from disk
_LOAD_SECONDS = 0.6


class Account:
    """Adds up the work that was done without some loops.

    Parameters
    ----------
    loops : one of them, as its file in numba's cache is named
    seconds : what compiling all of them takes
    """

    def __init__(self, loops: str, seconds: float) -> None:
        self._loops, self._seconds = loops, seconds
        self._lock = threading.Lock()
        self._spent = 0.0
        self._bought: set[str] = set()

    def pays(self, dtype: str, seconds: float) -> bool:
        """Whether work that takes so long without the loops should use them."""
        wish = os.environ.get("KMEANS_XP_NUMBA", "")
        if wish in ("0", "1"):
            return wish == "1" and has_numba()
        with self._lock:
            self._spent += seconds
            if dtype not in self._bought and not self._has_paid():
                return False
            self._bought.add(dtype)
            return True

    def _has_paid(self) -> bool:
        """Ask the cheap questions first: most processes stay small."""
        loading = _READY_SECONDS if self._bought or "numba" in sys.modules else _LOAD_SECONDS
        if self._spent < loading or not has_numba():
            return False
        return self._spent >= self._seconds or bool(self._bought) or is_compiled(self._loops)


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
