"""What the criteria need to know of a fit: passes over the rows, with exact sums."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import _exact as exact
from .._backend import to_host
from .._distances import squared_distances, widened
from .._outcome import Result
from .._primitives import Nearest
from .._problem import Training
from .._stats import weigh
from .._typing import Array, Block, slices

_MOST_CELLS = 1 << 16
Host = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """One fit, and the rows that it was made of."""

    problem: Training
    result: Result

    @property
    def k(self) -> int:
        return int(self.result.centers.shape[0])

    def labels(self, block: Block) -> Array:
        """The labels of a block's rows."""
        return self.result.labels[block.start : block.start + block.n_rows]

    @functools.cached_property
    def nearest(self) -> Nearest:
        """The fitted centers, ready for distances."""
        return self.problem.nearest_to(self.result.centers, screens=False)

    @functools.cached_property
    def own(self) -> list[Array]:
        """Canonical squared distances of the rows to their centers, by block."""
        kernel, nearest, kept = self.problem.kernel, self.nearest, self.result.kept
        if kept is not None and kept.scale == nearest.scale:
            return [
                kept.own[block.start : block.start + block.n_rows]
                for block in self.problem.source.blocks
            ]
        return self.problem.source.map(
            lambda block: kernel.own_distances(block.x, nearest, self.labels(block))
        )

    @functools.cached_property
    def weighed(self) -> Array:
        """What the ledger reads the clusters' rows and weights from."""
        problem = self.problem
        sums = exact.Accumulator(problem.context.xp, problem.ledger.words)

        def task(block: Block) -> None:
            labels = self.labels(block)
            for part in slices(block.n_rows, problem.source.piece_rows):
                weight = None if block.weight is None else block.weight[part]
                columns = problem.ledger.weight_columns(block.x[part, :], weight)
                found = problem.kernel.group_sums(columns, labels[part], self.k)
                sums.add(found, int(columns.shape[0]))

        problem.source.map(task)
        return sums.total()


def masses(fitted: Fitted, /) -> list[float]:
    """Summed weights of the clusters (k)."""
    problem = fitted.problem
    # as the user gave them: a power of two was taken out
    half = problem.weight_exponent // 2
    found = to_host(problem.ledger.masses(fitted.weighed)).astype(np.float64)
    found = found * math.ldexp(1.0, half) * math.ldexp(1.0, problem.weight_exponent - half)
    return [float(mass) for mass in found]


def davies_bouldin(fitted: Fitted, weights: list[float], /) -> float:
    """The mean over the clusters of the worst ratio of two spreads to the centers' distance."""
    problem = fitted.problem
    # lengths and masses in the units of the problem, as the weights in its blocks are
    units = problem.weight_exponent
    spread = np.asarray(
        [
            length / math.ldexp(mass, -units) if mass > 0.0 else 0.0
            for length, mass in zip(_lengths(fitted), weights, strict=True)
        ]
    )
    centers = to_host(fitted.result.centers)
    worst = []
    for number in range(fitted.k):
        mine = centers[number : number + 1, :]
        squared = squared_distances(centers, mine, problem.frame.scale, xp=np)
        apart = squared > 0.0
        ratios = (spread + spread[number])[apart] / np.sqrt(squared[apart])
        worst.append(float(ratios.max(initial=0.0)))
    return math.fsum(worst) / fitted.k


def _lengths(fitted: Fitted) -> list[float]:
    """Weighted sums of the distances to the own center, by cluster, in units of the scale."""
    problem, xp = fitted.problem, fitted.problem.context.xp
    own = fitted.own

    def measure(block: Block) -> Array:
        return weigh(xp.sqrt(own[block.number]), block.weight, xp=xp)

    lengths = problem.source.map(measure)
    exponent = exact.exponent_above(max(float(xp.max(part)) for part in lengths))
    up = math.ldexp(1.0, exact.LIMB_BITS - exponent)
    sums = exact.Accumulator(xp, problem.ledger.words)

    def task(block: Block) -> None:
        labels = fitted.labels(block)
        for part in slices(block.n_rows, problem.source.piece_rows):
            limbs = exact.quantise(lengths[block.number][part], up, 2, xp=xp)
            found = problem.kernel.group_sums(xp.stack(limbs, axis=1), labels[part], fitted.k)
            sums.add(found, int(limbs[0].shape[0]))

    problem.source.map(task)
    total = sums.total()
    assert total is not None
    down = exponent - 2 * exact.LIMB_BITS
    return [
        math.ldexp(float((high << exact.LIMB_BITS) + low), down) for high, low in _integers(total)
    ]


def _integers(total: Array) -> list[list[int]]:
    """Totals (words, k, columns) as whole numbers, by cluster and column."""
    highest, *lower = to_host(total).astype(object)
    for word in lower:
        highest = (highest << exact.LIMB_BITS) + word
    numbers: list[list[int]] = highest.tolist()
    return numbers


def simplified_silhouette(fitted: Fitted, weights: list[float], /) -> float:
    """The weighted mean silhouette with distances to centers in place of those to rows.

    A row that is a cluster by itself has 0, as in Rousseeuw's: its distance of 0 to the center
    is no sign of a good cluster.
    """
    problem, xp = fitted.problem, fitted.problem.context.xp
    own = fitted.own
    counts = to_host(problem.ledger.counts(fitted.weighed))
    # a row of weight 2 stands for two
    lone = problem.context.from_host((counts == 1) & (np.asarray(weights) <= 1.0))

    def task(block: Block) -> tuple[int, int]:
        second = problem.kernel.own_distances(block.x, fitted.nearest, _seconds(fitted, block))
        # a row is as near to its own center as to any
        a, b = xp.sqrt(own[block.number]), xp.sqrt(xp.maximum(second, own[block.number]))
        apart = (b > 0.0) & ~xp.take(lone, fitted.labels(block))
        gaps = xp.where(apart, (b - a) / xp.where(apart, b, xp.ones_like(b)), xp.zeros_like(b))
        weight = xp.ones_like(gaps) if block.weight is None else block.weight
        return _whole(problem, gaps * weight), _whole(problem, weight)

    tops, bottoms = zip(*problem.source.map(task), strict=True)
    return float(sum(tops) / sum(bottoms))


def _whole(problem: Training, values: Array) -> int:
    """The sum of numbers up to 1 as an integer."""
    high, low = problem.kernel.limb_sums(values, exact.ONE_LIMB)
    return (high << exact.LIMB_BITS) + low


def _seconds(fitted: Fitted, block: Block) -> Array:
    """For each row the next center after its own, by a float64 product."""
    xp, nearest, labels = fitted.problem.context.xp, fitted.nearest, fitted.labels(block)
    factor = nearest.scale.factor
    centers, shift = widened(nearest.centers, xp=xp), nearest.shift
    centers = (centers if shift is None else centers - shift) * factor
    half = 0.5 * xp.sum(centers * centers, axis=1)
    # by the label of a row, what each center's score starts from: its own is out of the question
    own = xp.eye(fitted.k, dtype=xp.bool, device=fitted.problem.context.device)
    starts = xp.where(own, xp.full_like(own, float("inf"), dtype=xp.float64), half[None, :])
    found = []
    step = max(64, min(fitted.problem.source.piece_rows, _MOST_CELLS // fitted.k))
    for part in slices(block.n_rows, step):
        x = widened(block.x[part, :], xp=xp)
        x = (x if shift is None else x - shift) * factor
        scores = xp.take(starts, labels[part], axis=0) - xp.matmul(x, centers.T)
        found.append(xp.argmin(scores, axis=1))
    return xp.astype(xp.concat(found), labels.dtype)
