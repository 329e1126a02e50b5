"""k-means++: each center a row drawn by its squared distance to the centers so far."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from . import _exact as exact
from ._backend import to_host
from ._draws import Lottery, distinct_rows, weighted_rows
from ._gains import Appraisal, Trials, limits
from ._primitives import Nearest, build_rung
from ._problem import Training
from ._random import Purpose
from ._stats import weigh
from ._typing import Array, Block, Rows, slices, some

_SMALL_WORK = 200_000
_PIECES_AT_ONCE = 16
_FEW_PAIRS = 20_000


def plusplus(
    problem: Training, n_clusters: int, seed: int, /, trials: int | None = None
) -> list[int]:
    """Greedy k-means++ (Arthur and Vassilvitskii, SODA 2007; trials as in their code).

    Each new center is the best of ``trials`` rows drawn in proportion to the weighted
    squared distance to the nearest center so far, judged by the sum that it leaves.
    """
    if trials is None:
        trials = 2 + int(math.log(n_clusters))
    rows = weighted_rows(problem, [(seed, Purpose.SEEDING, 0, 0)])
    closest = Closest(problem, problem.source.spans(problem.plan.seeding_rows))
    closest.begin(rows[0])
    for step in range(1, n_clusters):
        if closest.lottery.total == 0:
            # no row is away from all seeds (or its square underflows): any rows will do
            return rows + distinct_rows(problem, n_clusters - step, seed, rows)
        keys = [(seed, Purpose.SEEDING, step, trial) for trial in range(trials)]
        # dict keeps the order: of equal rows the first
        drawn = list(dict.fromkeys(closest.lottery.rows(keys)))
        best = closest.judge(drawn)
        rows.append(drawn[best])
        closest.accept(best)
    closest.leave_labels()
    return rows


@dataclass(frozen=True)
class _Compared:
    """Some rows that a candidate may bring nearer, with their distances before and after."""

    mask: Array
    rows: Array
    better: Array  # false for padding
    before: Array
    after: Array
    gained: Array  # in the lottery's integers


class Closest:
    """The canonical squared distance of every row to the nearest seed, kept up to date.

    It lives in the blocks' state; candidates leave theirs there until one is accepted.
    Few rows are compared with every candidate directly.  Of many, a limit for each seed and a
    product leave those that a candidate may bring nearer, and most often tell which candidate
    gains most, so that only the rows of the accepted one get a canonical distance.
    """

    lottery: Lottery

    def __init__(self, problem: Training, blocks: Sequence[Block]) -> None:
        self._problem = problem
        self._xp = problem.context.xp
        self._kernel = problem.kernel
        self._blocks = blocks
        self._most_rows = _PIECES_AT_ONCE * problem.source.piece_rows
        self._seeds: list[int] = []
        self._drawn: list[int] = []
        self._screens = False
        self._pairs = 0
        self._candidates: Nearest

    def mass(self, block: Block, rows: Rows) -> Array:
        """Weighted closest distances of some rows."""
        weight = None if block.weight is None else some(block.weight, rows, xp=self._xp)
        return weigh(some(block.state["closest"], rows, xp=self._xp), weight, xp=self._xp)

    def begin(self, row: int) -> None:
        """Start from one center."""
        xp = self._xp
        self._seeds = [row]
        nearest = self._problem.nearest_to(self._problem.source.take([row]), screens=False)

        def task(block: Block) -> None:
            distances = self._kernel.distances(block.x, nearest.centers, nearest.scale)
            block.state["closest"] = distances[0, :]
            device = self._problem.context.device
            block.state["seeds"] = xp.zeros(block.n_rows, dtype=xp.int32, device=device)

        self._problem.source.map(task, self._blocks)
        self.draw_anew()

    def draw_anew(self) -> None:
        """Set up the lottery for distances that were all written anew."""
        largest = max(self._problem.source.map(self._largest, self._blocks))
        self.lottery = Lottery(self._problem, self.mass, largest, self._blocks)

    def judge(self, drawn: list[int]) -> int:
        """Index of the candidate that leaves the smallest sum; the first among equals."""
        source = self._problem.source
        work = source.n_rows * source.n_features * len(drawn)
        self._screens = work > _SMALL_WORK and self._problem.plan.first != "exact"
        self._drawn = drawn
        nearest = self._problem.nearest_to(source.take(drawn), screens=False)
        self._candidates = nearest
        if self._screens:
            # equal candidates gain alike, and the first is taken
            depth = source.n_features
            rung = build_rung(nearest, nearest.first, depth, xp=self._xp, told_apart=True)
            trials = Trials(rung, self._limits(nearest))
            total = self._sum(
                lambda block: self._kernel.appraise(block.x, block.weight, block.state, trials)
            )
        else:
            total = self._sum(self._appraise_all)
        self._pairs = total.pairs
        leaders = total.leaders(self.lottery.unit)
        if len(leaders) == 1:
            return leaders[0]
        exactly = self._marked_gains if self._screens else self._all_gains
        parts = source.map(lambda block: exactly(block, leaders), self._blocks)
        gains = [sum(trial) for trial in zip(*parts, strict=True)]
        return leaders[gains.index(max(gains))]

    def _sum(self, task: Callable[[Block], Appraisal]) -> Appraisal:
        return functools.reduce(operator.add, self._problem.source.map(task, self._blocks))

    def accept(self, best: int) -> None:
        """Make the candidate a seed."""
        self._seeds.append(self._drawn[best])
        if not self._screens:
            self._problem.source.map(lambda block: self._take_over(block, best), self._blocks)
            self.draw_anew()
            return

        def task(block: Block) -> float:
            self._improve(block, best)
            return self._largest(block)

        if self._pairs < _FEW_PAIRS:
            # done before another thread is awake
            largest = max(task(block) for block in self._blocks)
        else:
            largest = max(self._problem.source.map(task, self._blocks))
        if not self.lottery.stands(largest):
            self.lottery = Lottery(self._problem, self.mass, largest, self._blocks)

    def leave_labels(self) -> None:
        """Leave the nearest seed of each row in the state of the source's blocks."""
        for block in self._problem.source.blocks:
            span = self._blocks[block.start // self._blocks[0].n_rows]
            first = block.start - span.start
            block.state["seed labels"] = span.state["seeds"][first : first + block.n_rows]

    def _largest(self, block: Block) -> float:
        """The largest weighted distance of a block."""
        parts = slices(block.n_rows, block.n_rows if block.weight is None else self._most_rows)
        return max(float(self._xp.max(self.mass(block, part))) for part in parts)

    def _limits(self, nearest: Nearest) -> Array:
        """Up to which distance the rows of each seed gain by no candidate."""
        # few lengths, for libraries that compile for each shape
        count = max(64, 4 ** -(-(len(self._seeds) - 1).bit_length() // 2))
        seeds = self._seeds + self._seeds[:1] * (count - len(self._seeds))
        return limits(nearest, self._problem.source.take(seeds), xp=self._xp)

    def _appraise_all(self, block: Block) -> Appraisal:
        """Bounds of the candidates' gains, and all their distances in the state."""
        xp, nearest = self._xp, self._candidates
        distances = self._kernel.distances(block.x, nearest.centers, nearest.scale)
        block.state["trial"] = distances
        left = weigh(xp.minimum(distances, block.state["closest"][None, :]), block.weight, xp=xp)
        sums = to_host(xp.sum(left, axis=1)).tolist()
        slack = 1.01 * (block.n_rows + 4) * 2.0**-53 * max(sums)
        return Appraisal([slack - value for value in sums], 2.0 * slack, block.n_rows)

    def _all_gains(self, block: Block, trials: list[int]) -> list[int]:
        """Minus the sums that candidates leave, in the lottery's integers."""
        xp, closest = self._xp, block.state["closest"]
        gains = []
        for trial in trials:
            left = xp.minimum(block.state["trial"][trial, :], closest)
            whole = self.lottery.whole(weigh(left, block.weight, xp=xp))
            gains.append(-int(exact.exact_sums(whole, xp=xp)))
        return gains

    def _take_over(self, block: Block, best: int) -> None:
        """Write the accepted candidate's distances where they are smaller."""
        xp, state = self._xp, block.state
        trial = state.pop("trial")[best, :]
        better = trial < state["closest"]
        state["closest"] = xp.where(better, trial, state["closest"])
        number = xp.full_like(state["seeds"], len(self._seeds) - 1)
        state["seeds"] = xp.where(better, number, state["seeds"])

    def _marked_gains(self, block: Block, trials: list[int]) -> list[int]:
        """By how much candidates lower the sum, in the lottery's integers."""
        return [
            sum(
                int(exact.exact_sums(found.gained, xp=self._xp))
                for found in self._compared(block, trial)
            )
            for trial in trials
        ]

    def _improve(self, block: Block, best: int) -> None:
        """Let the accepted candidate have the rows that it brings nearer."""
        xp, state = self._xp, block.state
        for found in self._compared(block, best):
            seeds = xp.take(state["seeds"], found.rows)
            number = xp.full_like(seeds, len(self._seeds) - 1)
            for name, values in (
                ("closest", xp.where(found.better, found.after, found.before)),
                ("seeds", xp.where(found.better, number, seeds)),
            ):
                state[name] = self._kernel.put(state[name], found.mask, found.rows, values)
            self.lottery.lower(block, found.rows, found.gained)
        del state["trial"]

    def _compared(self, block: Block, trial: int) -> Iterator[_Compared]:
        """Compare the rows that a candidate may bring nearer, not too many at a time."""
        positions, marks = block.state["trial"]
        for part in slices(int(marks.shape[1]), self._most_rows):
            mask = marks[trial, part]
            count = int(self._xp.count_nonzero(mask))
            if count:
                rows, valid = self._kernel.compress(mask, count)
                if positions is not None:
                    rows = positions[part][rows]
                elif part.start:
                    rows = rows + part.start
                yield self._compare(block, trial, mask, rows, valid)

    def _compare(
        self, block: Block, trial: int, mask: Array, rows: Array, valid: Array | None
    ) -> _Compared:
        xp, nearest, whole = self._xp, self._candidates, self.lottery.whole
        center = nearest.centers[trial, :]
        after = self._kernel.distances_at(block.x, rows, center, nearest.scale)
        before = xp.take(block.state["closest"], rows)
        better = after < before if valid is None else (after < before) & valid
        weight = None if block.weight is None else xp.take(block.weight, rows)
        gained = whole(weigh(before, weight, xp=xp)) - whole(weigh(after, weight, xp=xp))
        gained = xp.where(better, gained, xp.zeros_like(gained))
        return _Compared(mask, rows, better, before, after, gained)
