"""Whether compiled loops are worth having: rent or buy.

Loading numba and its compiled code takes a moment, compiling it several seconds.  A process
starts without, and adds up what its fits are estimated to take; as soon as that reaches the
price of the compiled loops, they are brought in.  So no fit waits for a compiler to save less
than the wait, and a process never pays more than twice what the best choice would have cost.

``KMEANS_XP_NUMBA=0`` says never, ``KMEANS_XP_NUMBA=1`` at once.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import sys
import threading

from ._select import Shape

_SECONDS_A_UNIT = 5e-11  # of a sweep without compiled loops, on one thread
_PER_SCORE = 24  # what a score costs beside its product, in features
_SWEEPS = 30
_READY_SECONDS = 0.05  # numba is loaded anyway, its code is read from disk
_LOAD_SECONDS = 0.6
_COMPILE_SECONDS = 12.0


class Meter:
    """Adds up the work that was done without compiled loops."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spent = 0.0
        self._bought: set[str] = set()

    def wants(self, shape: Shape, threads: int) -> bool:
        """Whether a fit of this shape should use compiled loops."""
        wish = os.environ.get("KMEANS_XP_NUMBA", "")
        if wish in ("0", "1"):
            return wish == "1" and has_numba()
        with self._lock:
            self._spent += estimate(shape, threads)
            if shape.dtype not in self._bought and not self._pays():
                return False
            self._bought.add(shape.dtype)
            return True

    def _pays(self) -> bool:
        """Ask the cheap questions first: most processes stay small."""
        loading = _READY_SECONDS if self._bought or "numba" in sys.modules else _LOAD_SECONDS
        if self._spent < loading or not has_numba():
            return False
        return self._spent >= _COMPILE_SECONDS or bool(self._bought) or is_compiled()


def estimate(shape: Shape, threads: int) -> float:
    """Seconds that a typical fit takes without compiled loops, roughly."""
    work = shape.n_rows * shape.n_clusters * (shape.n_features + _PER_SCORE)
    return work * _SECONDS_A_UNIT * _SWEEPS / threads


def has_numba() -> bool:
    """Whether numba is installed; it is not imported."""
    return "numba" in sys.modules or importlib.util.find_spec("numba") is not None


def is_compiled() -> bool:
    """Whether compiled loops lie on disk, in one of the places where numba keeps them."""
    here = pathlib.Path(__file__).parent
    places = [here / "__pycache__", pathlib.Path.home() / ".cache" / "numba"]
    if os.environ.get("NUMBA_CACHE_DIR"):
        places = [pathlib.Path(os.environ["NUMBA_CACHE_DIR"])]
    return any(any(place.glob("**/_loops.score_rows-*.nbi")) for place in places)


METER = Meter()
"""The meter of this process."""
