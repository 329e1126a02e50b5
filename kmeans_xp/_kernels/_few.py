"""Few rows in compiled loops: a sweep is one call, and rows lie ready in tiles.

Loaded only when numba was chosen by routing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _primitives as p
from .._bounds import Drift, Proposal
from .._typing import Array
from . import _few_loops
from ._loops import Frame, make_frame
from ._numba import NumbaKernel
from ._numpy import NumpyKernel
from ._tile import LANES, PART

_WORK = np.dtype(np.float32)
_MOST_OPEN = 0.25


@dataclass(frozen=True)
class _Tiles:
    """Rows by tile, kept while shift, scale and reach stay the same."""

    origin: tuple[Array | None, float, float]  # what they depend on
    frame: Frame
    rows: Array  # (tiles, d, LANES), the last one filled up with its last row
    half: Array  # (tiles, LANES), half the squared norms
    share: float  # of a center's squared norm that is its bias

    def serve(self, nearest: p.Nearest) -> bool:
        """Whether the question is measured as these are."""
        shift, factor, reach = self.origin
        return shift is nearest.shift and factor == nearest.scale.factor and reach == nearest.reach


def label(x: Array, nearest: p.Nearest, state: dict[str, Any]) -> tuple[Array, int]:
    """Exact labels, and how many rows float32 scores left open: they are settled on the spot.

    Repeated centers are not looked for: both are scored, which leaves their rows open.
    """
    tiles: _Tiles | None = state.get("tiles")
    if tiles is None or not tiles.serve(nearest):
        tiles = state["tiles"] = _tiles(x, nearest)
    scale = nearest.scale
    scales = scale.factor, scale.before, scale.after
    labels = np.empty(x.shape[0], np.int32)
    rows = tiles.rows, tiles.half
    settled = _few_loops.label_rows(
        x, *rows, nearest.centers, tiles.frame, scales, tiles.share, labels
    )
    return labels, int(settled)


def _tiles(x: Array, nearest: p.Nearest) -> _Tiles:
    d = x.shape[1]
    errors = p.errors(nearest, _WORK.name, min(d, PART + -(-d // PART)))
    frame = make_frame(nearest, errors, _WORK, x.dtype)
    count = -(-x.shape[0] // LANES)
    rows, half = np.empty((count, d, LANES), _WORK), np.empty((count, LANES), _WORK)
    _few_loops.fill_tiles(x, frame, rows, half)
    origin = nearest.shift, nearest.scale.factor, nearest.reach
    return _Tiles(origin, frame, rows, half, 0.5 - errors[0])


class FewKernel(NumbaKernel):
    """Few rows, without bounds; where float32 scores are of no use, NumPy goes on.

    The loops for many rows are left alone, since nothing has paid for compiling them.
    """

    def prepare(self, nearest: p.Nearest, /) -> None:
        NumpyKernel.prepare(self, nearest)

    def settle(self, x: Array, nearest: p.Nearest, /) -> Array:
        return NumpyKernel.settle(self, x, nearest)

    def propose(
        self, x: Array, nearest: p.Nearest, notes: dict[str, Any], drift: Drift | None = None, /
    ) -> Proposal:
        if drift is None and nearest.first == _WORK.name:
            return Proposal(label(x, nearest, {})[0], None, None)
        return NumpyKernel.propose(self, x, nearest, notes, drift)

    def look(
        self, x: Array, nearest: p.Nearest, drift: Drift | None, state: dict[str, Any], /
    ) -> tuple[int, Array | None]:
        if drift is not None or nearest.first != _WORK.name or state.get("many open"):
            return NumpyKernel.look(self, x, nearest, drift, state)
        state["labels"], settled = label(x, nearest, state)
        # rows by rows costs more than the next precision then
        state["many open"] = settled > _MOST_OPEN * x.shape[0]
        return x.shape[0], None
