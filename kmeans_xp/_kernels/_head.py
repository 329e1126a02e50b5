"""Heads: the leading directions of the centers, by which most centers are ruled out unscored.

Let Q be any float32 matrix (d, r), p a shifted row and q a shifted center as a rung holds them,
y and z any float32 vectors: the heads, about Q'p and Q'q.  With p = Qy + a, q = Qz + b,
f = Q'q - z, g = Q'p - y and E = Q'Q - I,

    p.q = y.z + y.f + z.g - y'Ez + a.b,      |a|^2 = |p|^2 - |y|^2 - 2 y.g + y'Ey,

since Qy.b = y.f - y'Ez and a.Qz = z.g - y'Ez.  So with numbers rho >= |a| and sigma >= |b|,

    p.q <= y.z + rho sigma + |y| |f| + |z| |g| + |E| |y| |z|           (Cauchy and Schwarz)

and y.z + rho sigma is one product of r + 1 features.  Nothing is asked of Q but that E be
small: it decides speed, never labels.

Rounding; u is float32's unit, norms are Frobenius', and all that follows is computed in float64.
* A head is added up in parts of PIECE features, so |g_i| <= gamma sum_f |Q_fi| |p_f| with
  gamma = m u / (1 - m u), m = PIECE + number of parts + 1, and |g| <= G |p| + g0 with
  G = gamma |Q| and g0 = tiny (2 d + 4) sqrt(r) (1 + R) for underflow, R at least every |p|
  and |q|; the same holds for f.
* |y| <= |Qp| + |g| <= K |p| + g0 with K = sqrt(1 + |E|) + G.  Without the underflow the error
  above is at most tau |p| |q| with tau = 2 G K + |E| K^2.
* rho^2 is taken as max(0, |p|^2 - |y|^2) + 2 |y| (G |p| + g0) + |E| |y|^2, more by 2**-30 of |p|^2
  for its own rounding, and rho rounded up.  |y|^2 + rho^2 <= (1 + 2 tau + 2**-20) |p|^2.
* The head's score H_j = bias'_j - y.z - rho sigma is added up as a full score is.  With
  w = 1.01 (PART + number of parts + 3) u it errs by at most
  w (|bias'_j| + (1 + 2 tau + 2**-20) |p| |q|).

bias'_j = bias_j - theta |q|^2 (rounded: u |q|^2 / 2 at most), |bias_j| <= |q|^2 / 2 and
|p| |q| <= (|p|^2 + |q|^2) / 2.  So with theta = 1.02 (tau / 2 + w (1 + tau) + u), what the full
product would give without rounding, G_j = bias_j - p.q, is at least H_j - theta |p|^2 - eta,
with eta = 8 tiny (4 d + 16) sqrt(r) (1 + R)^2 for all underflow.

A row scores one center in full: the one of its last label.  With L its score, L* <= L that of the
best center and S the distance of the exclusion threshold, L* + S(L*) <= L + S(L).  For a target
T >= L + 2 S(L), a center with H_j > T + theta |p|^2 + eta has G_j > T and is not the nearest, by
the proof in `_primitives`: that is about a computed score which errs by no more than the product,
and G_j has no error of the product.  What is left is scored in full, by sums of which none is
deeper than the tile's.  For the bounds, T stands for the scores that were not taken.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _primitives as p
from .._typing import Array
from ._numpy_scores import is_same, moved_rows
from ._tile import GROUP, PART, STRIDE

LEAST_FEATURES, LEAST_CLUSTERS = 128, 64
MOST_DIRECTIONS = 128
PIECE = 128
_SPARE = 0.02  # of the squared distance
_UNIT, _TINY = p.UNIT_ROUNDOFF["float32"], 2.0**-126
_TURNS, _OVERSAMPLED = 2, 8
_ROWS = 1024
TRIAL = 256  # rows
_TRIES = 3  # sweeps
_WORTH_KEEPING = 0.25  # share of a block's rows
_PRICE = 4.0  # of a feature in a full score, in features of a tile
_WORTH = 0.8  # share of the tile's work


@dataclass(frozen=True)
class Basis:
    """Directions, and how far their computed heads may be off; see the module's doc."""

    q: Array  # (d, r) float32
    skew: float  # |E|
    rounding: float  # G

    @property
    def error(self) -> float:
        """tau."""
        largest = math.sqrt(1.0 + self.skew) + self.rounding
        return 2.0 * self.rounding * largest + self.skew * largest**2


@dataclass(frozen=True)
class HeadCenters:
    """The centers of a sweep as `score_heads` wants them."""

    weights: Array  # (k * width,), rows filled up to a multiple of STRIDE
    panels: Array  # (groups, r + 1, GROUP)
    bias: Array  # (groups * GROUP,)
    terms: Array  # spare share, 2 theta (for |p|^2 / 2), eta: with bounds, and without
    reach: float


def direction_count(n_features: int, n_clusters: int) -> int:
    """How many directions: so few that all heads take a fifth of the rows' memory at most."""
    most = min(n_features // 5 - 1, n_clusters // 4, MOST_DIRECTIONS)
    return most // 8 * 8


def basis_of(sample: Array, count: int) -> Basis:
    """Leading directions of the rows of a sample about the origin, by subspace iteration.

    Source: Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review, 2011.
    """
    random = np.random.default_rng(0)
    q = random.standard_normal((sample.shape[1], count + _OVERSAMPLED))
    for _ in range(_TURNS):
        turned = sample.T @ (sample @ q.astype(sample.dtype))
        q, _ = np.linalg.qr(turned.astype(np.float64))
    shares = (sample @ q.astype(sample.dtype)).astype(np.float64)
    _, directions = np.linalg.eigh(shares.T @ shares)
    return measured((q @ directions[:, -count:]).astype(np.float32))


def measured(q: Array) -> Basis:
    """A basis, with what its heads may be off by."""
    d, r = q.shape
    wide = q.astype(np.float64)
    gram = wide.T @ wide
    skew = float(np.linalg.norm(gram - np.eye(r))) + 2.0**-50 * d * r
    norm = math.sqrt(float(np.trace(gram))) * (1.0 + 2.0**-30)
    depth = (min(d, PIECE) + -(-d // PIECE) + 1) * _UNIT
    return Basis(q, skew, norm * depth / (1.0 - depth))


def heads_of(moved: Array, basis: Basis, reach: float, out: Array) -> None:
    """Write the heads (m, r + 1) of rows p, float32; the last is rho."""
    d, r = basis.q.shape
    head = out[:, :r]
    np.matmul(moved[:, :PIECE], basis.q[:PIECE], out=head)
    for start in range(PIECE, d, PIECE):
        head += moved[:, start : start + PIECE] @ basis.q[start : start + PIECE]
    whole, part = (np.einsum("ij,ij->i", a, a, dtype=np.float64) for a in (moved, head))
    out[:, r] = tail_bounds(whole, part, basis, reach)


def tail_bounds(whole: Array, part: Array, basis: Basis, reach: float) -> Array:
    """rho from |p|^2 and |y|^2, rounded up."""
    lost = basis.rounding * np.sqrt(whole) + _underflow(basis, reach)
    squared = np.maximum(whole - part, 0.0) + 2.0 * np.sqrt(part) * lost
    squared += basis.skew * part + 2.0**-30 * whole
    rho = np.sqrt(squared) * (1.0 + 2.0**-22)
    return np.nextafter(rho.astype(np.float32), np.float32(np.inf))


def _underflow(basis: Basis, reach: float) -> float:
    d, r = (int(size) for size in basis.q.shape)
    return _TINY * (2 * d + 4) * math.sqrt(r) * (1.0 + reach)


def head_centers(rung: p.Rung, basis: Basis, reach: float) -> HeadCenters:
    """Prepare the centers of a rung."""
    k, d = rung.weights.shape
    r = basis.q.shape[1]
    heads = np.empty((k, r + 1), dtype=np.float32)
    heads_of(rung.weights, basis, reach, heads)
    # rung.weights are -q, so heads are -z already
    heads[:, r] *= -1.0
    parts = -(-(r + 1) // PART)
    tau, w = basis.error, 1.01 * (PART + parts + 3) * _UNIT
    theta = 1.02 * (0.5 * tau + w * (1.0 + tau) + _UNIT)
    squares = np.einsum("ij,ij->i", rung.weights, rung.weights, dtype=np.float64)
    groups = -(-k // GROUP)
    bias = np.full(groups * GROUP, np.inf, dtype=np.float32)
    bias[:k] = rung.bias.astype(np.float64) - theta * squares
    padded = np.zeros((groups * GROUP, r + 1), dtype=np.float32)
    padded[:k] = heads
    weights = np.zeros((k, -(-d // STRIDE) * STRIDE), dtype=np.float32)
    weights[:, :d] = rung.weights
    eta = 8.0 * _TINY * (4 * d + 16) * math.sqrt(r) * (1.0 + reach) ** 2
    return HeadCenters(
        weights.ravel(),
        np.ascontiguousarray(padded.reshape(groups, GROUP, r + 1).transpose(0, 2, 1)),
        bias,
        np.asarray([[_SPARE, 2.0 * theta, eta], [0.0, 2.0 * theta, eta]]),
        reach,
    )


class Heads:
    """The heads of a fit: built when first needed, given up where they do not pay.

    ``rows`` counts those that were labelled by heads, ``scores`` the full scores it took.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._basis: Basis | None = None
        self.tries = _TRIES
        self.rows = self.scores = 0
        self._before = 0, 0
        self._paused = False

    def serve(self, nearest: p.Nearest, state: dict[str, Any]) -> bool:
        """Whether heads may be the better choice; else what a block keeps of them goes."""
        if self.tries == 0:
            state.pop("heads", None)
            return False
        (k, d), labels = nearest.centers.shape, state.get("labels")
        if labels is None or d < LEAST_FEATURES or k < LEAST_CLUSTERS:
            return False
        return bool(nearest.first == "float32" and labels.max() < k)

    def begin(self, nearest: p.Nearest, rung: p.Rung) -> HeadCenters:
        """The heads of a sweep's centers."""
        with self._lock:
            if self._basis is None:
                k, d = rung.weights.shape
                self._basis = basis_of(rung.weights, direction_count(d, k))
            if "heads" not in nearest.notes:
                # a new sweep, a new chance
                reach = nearest.reach * math.sqrt(rung.weights.shape[1])
                nearest.notes["heads"] = head_centers(rung, self._basis, reach)
                self._before, self._paused = (self.rows, self.scores), False
            centers: HeadCenters = nearest.notes["heads"]
            return centers

    def of(self, x: Array, rung: p.Rung, reach: float, state: dict[str, Any], rows: Array) -> Array:
        """Heads of a block, of the named rows at least; kept if these are many."""
        assert self._basis is not None
        origin, maker, heads = state.get("heads", (None, None, None))
        # where rows are elsewhere a block may outlive the kernel, whose basis it was
        if maker is self and is_same(origin, rung.origin):
            return heads
        heads = np.empty((x.shape[0], self._basis.q.shape[1] + 1), dtype=np.float32)
        many = rows.size >= _WORTH_KEEPING * x.shape[0]
        for start in range(0, x.shape[0] if many else rows.size, _ROWS):
            part = slice(start, start + _ROWS) if many else rows[start : start + _ROWS]
            moved = moved_rows(x[part], rung)
            out = np.empty((moved.shape[0], heads.shape[1]), dtype=np.float32)
            heads_of(moved, self._basis, reach, out)
            heads[part] = out
        if many:
            state["heads"] = rung.origin, self, heads
        return heads

    def next_part(self, rows: Array) -> Array:
        """Rows to go on with: a few show whether it pays, none if it does not."""
        if self._paused:
            return rows[:0]
        return rows[:TRIAL] if self.rows == self._before[0] else rows

    def learn(self, rows: int, scores: int, n_features: int, centers: HeadCenters, k: int) -> None:
        """Add up full scores; pause for the sweep where they cost more than they save."""
        with self._lock:
            self.rows += rows
            self.scores += scores
            mean = (self.scores - self._before[1]) / (self.rows - self._before[0])
            width, directions = centers.weights.size // k, centers.panels.shape[1]
            price = directions * k + _PRICE * width * (1.0 + mean)
            if price > _WORTH * k * n_features and not self._paused:
                self._paused = True
                self.tries -= 1
