"""How far all rows are from the seeds so far, kept up to date while candidates are judged."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _exact as exact
from ._assign import assign
from ._backend import to_host
from ._gains import Appraisal, Trials
from ._lottery import Lottery
from ._primitives import Nearest
from ._problem import Training
from ._stats import weigh
from ._typing import Array, Block, Namespace, Rows, slices, some

_SMALL_WORK = 200_000
_FEW_PAIRS = 20_000


class _Beside:
    """Seeds that are no rows, or rows not at hand: to kernels a source, whose rows they are."""

    def __init__(self, problem: Training, centers: Array) -> None:
        self._xp, self.points = problem.context.xp, centers
        self.n_rows, self.n_features = problem.source.n_rows, problem.source.n_features
        self.piece_rows, self.sample = problem.source.piece_rows, problem.source.sample

    def add(self, points: Array) -> None:
        """Let these be the next."""
        self.points = self._xp.concat([self.points, points], axis=0)

    def take(self, numbers: Sequence[int]) -> Array:
        """Some of them as one array."""
        places = exact.to_device(np.asarray(numbers, dtype=np.int64), self.points, xp=self._xp)
        return self._xp.take(self.points, places, axis=0)


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
        self._seeds: list[int] = []
        self._standing: Any = problem.source
        self._drawn: list[int] = []
        self._pairs = 0
        self._candidates: Nearest
        self._trials: Trials | None = None
        self._top: tuple[Block, int]

    def __getstate__(self) -> dict[str, Any]:
        """What tasks elsewhere need: the list of all blocks is not among it, nor the seeds."""
        return {**vars(self), "_blocks": [], "_seeds": [], "_standing": None}

    def mass(self, block: Block, rows: Rows) -> Array:
        """Weighted closest distances of some rows."""
        weight = None if block.weight is None else some(block.weight, rows, xp=self._xp)
        return weigh(some(block.state["closest"], rows, xp=self._xp), weight, xp=self._xp)

    def begin(self, row: int) -> None:
        """Start from one center."""
        xp = self._xp
        source = self._problem.source
        nearest = self._problem.nearest_to(source.take([row]), screens=False)
        self._seeds = [row]
        if not source.is_resident:
            self._stand_by(nearest.centers)

        def task(block: Block) -> None:
            distances = self._kernel.distances(block.x, nearest.centers, nearest.scale)
            block.state["closest"] = distances[0, :]
            device = self._problem.context.device
            block.state["seeds"] = xp.zeros(block.n_rows, dtype=xp.int32, device=device)

        source.map(task, self._blocks)
        self.draw_anew()

    def _stand_by(self, points: Array) -> None:
        """Hold the seeds themselves; they are as many as these points."""
        self._standing = _Beside(self._problem, points)
        self._seeds = list(range(int(points.shape[0])))

    def begin_beside(self, nearest: Nearest, labels: Array, own: Array | None = None) -> None:
        """Start from centers that are no rows; each row has the label of the nearest one.

        ``own`` are the distances of all rows to these, where they are known.
        """
        xp = self._xp
        self._stand_by(nearest.centers)

        def task(block: Block) -> None:
            here = slice(block.start, block.start + block.n_rows)
            mine = labels[here]
            # kernels write to both
            block.state["closest"] = (
                self._kernel.own_distances(block.x, nearest, mine)
                if own is None
                else xp.asarray(own[here], copy=True)
            )
            block.state["seeds"] = xp.asarray(mine, copy=True)

        self._problem.source.map(task, self._blocks)
        self.draw_anew()

    def draw_anew(self) -> None:
        """Set up the lottery for distances that were all written anew."""
        self._say_how()
        self.lottery = Lottery(self._problem, self.mass, self._seek_top(), self._blocks)

    def _say_how(self) -> None:
        """How distances to the seeds so far are made, should a block lose its own."""
        if isinstance(self._standing, _Beside):
            points, problem = self._standing.points, self._problem
            problem.source.remake("closest", functools.partial(_remade, problem, points))

    def _rewrite(self, task: Callable[[Block], None]) -> None:
        """Let a task write distances, and set up the lottery for them.

        Where rows come and go that is one pass, as long as the lottery's integers stay.
        """
        source = self._problem.source
        if source.is_resident:
            source.map(task, self._blocks)
            self.draw_anew()
            return

        def whole(block: Block) -> tuple[tuple[float, int], npt.NDArray[np.int64] | None]:
            task(block)
            return self._top_of(block), self.lottery.counted(block)

        tops, counted = zip(*source.map(whole, self._blocks), strict=True)
        self._say_how()
        largest = self._keep_top(tops)
        if not self.lottery.redrawn(largest, counted):
            self.lottery = Lottery(self._problem, self.mass, largest, self._blocks)

    def _seek_top(self) -> float:
        """The largest weighted distance; whose it is is kept."""
        return self._keep_top(self._problem.source.map(self._top_of, self._blocks))

    def _keep_top(self, tops: Sequence[tuple[float, int]]) -> float:
        number, (largest, row) = max(enumerate(tops), key=lambda top: top[1][0])
        self._top = self._blocks[number], row
        return largest

    def _top_of(self, block: Block) -> tuple[float, int]:
        best = -1.0, 0
        most = block.n_rows if block.weight is None else 16 * self._problem.source.piece_rows
        for part in slices(block.n_rows, most):
            mass = self.mass(block, part)
            row = int(self._xp.argmax(mass))
            best = max(best, (float(mass[row]), part.start + row))
        return best

    def judge(self, drawn: list[int]) -> int:
        """Index of the candidate that leaves the smallest sum; the first among equals."""
        source = self._problem.source
        self._drawn = drawn
        nearest = self._problem.nearest_to(source.take(drawn), screens=False)
        self._candidates, self._trials = nearest, None
        if self._screens(len(drawn)):
            self._trials = self._kernel.trials(nearest, self._seeds, self._standing)
            total = self._sum(self._appraise)
        else:
            total = self._sum(self._appraise_all)
        self._pairs = total.pairs
        leaders = total.leaders(self.lottery.unit)
        if len(leaders) == 1:
            return leaders[0]
        parts = source.map(lambda block: self._gains(block, leaders), self._blocks)
        gains = [sum(trial) for trial in zip(*parts, strict=True)]
        return leaders[gains.index(max(gains))]

    def _screens(self, count: int) -> bool:
        """Whether a product comes before distances to so many candidates.

        Elsewhere that is for processors: GPUs make distances quickly, and wait for each answer.
        """
        source, plan = self._problem.source, self._problem.plan
        if source.n_rows * source.n_features * count <= _SMALL_WORK or plan.first == "exact":
            return False
        return source.shares or self._problem.context.library == "numpy"

    def _sum(self, task: Callable[[Block], Appraisal]) -> Appraisal:
        return functools.reduce(operator.add, self._problem.source.map(task, self._blocks))

    def accept(self, best: int) -> None:
        """Make the candidate a seed."""
        row = self._drawn[best]
        source, trials, number = self._problem.source, self._trials, len(self._seeds)
        if isinstance(self._standing, _Beside):
            self._standing.add(self._candidates.centers[best : best + 1, :])
            row = number
        self._seeds.append(row)
        if trials is None:
            self._rewrite(lambda block: self._take_over(block, best, number))
            return
        if not source.shares:
            self._improve_there(best, number)
            return

        def task(block: Block) -> None:
            self._kernel.improve(block, trials, best, number, self.lottery)

        if self._pairs < _FEW_PAIRS and source.is_resident:
            # done before another thread is awake
            for block in self._blocks:
                task(block)
        else:
            source.map(task, self._blocks)
        # distances only fall: as long as the top one stays in place no other need be looked at
        block, row = self._top
        [top] = source.map(lambda block: float(self.mass(block, slice(row, row + 1))[0]), [block])
        if self.lottery.stands(top):
            return
        largest = self._seek_top()
        if not self.lottery.stands(largest):
            self.lottery = Lottery(self._problem, self.mass, largest, self._blocks)

    def _improve_there(self, best: int, number: int) -> None:
        """Make the candidate of this number a seed in one pass, of rows that are elsewhere."""

        def task(block: Block) -> tuple[tuple[float, int], npt.NDArray[np.int64]]:
            lottery = self.lottery.aside(block)
            self._look_once(block)
            self._kernel.improve(block, self._trials, best, number, lottery)
            return self._top_of(block), lottery.pieces(block)[0]

        tops, changes = zip(*self._problem.source.map(task, self._blocks), strict=True)
        self._say_how()
        largest = self._keep_top(tops)
        if not self.lottery.lowered(largest, changes):
            self.lottery = Lottery(self._problem, self.mass, largest, self._blocks)

    def _appraise(self, block: Block) -> Appraisal:
        """Bounds of the candidates' gains, and the rows that may gain in the state."""
        assert self._trials is not None
        found: Appraisal = self._kernel.appraise(block.x, block.weight, block.state, self._trials)
        return found

    def _look_once(self, block: Block) -> None:
        """Appraise again where a block has lost what that left."""
        if "trial" not in block.state:
            self._appraise(block)

    def _appraise_all(self, block: Block) -> Appraisal:
        """Bounds of the candidates' gains, and all their distances in the state."""
        xp = self._xp
        distances = block.state["trial"] = self._tried(block)
        left = weigh(xp.minimum(distances, block.state["closest"][None, :]), block.weight, xp=xp)
        sums = to_host(xp.sum(left, axis=1)).tolist()
        slack = 1.01 * (block.n_rows + 4) * 2.0**-53 * max(sums)
        return Appraisal([slack - value for value in sums], 2.0 * slack, block.n_rows)

    def _tried(self, block: Block) -> Array:
        """Distances to all candidates."""
        nearest = self._candidates
        return self._kernel.distances(block.x, nearest.centers, nearest.scale)

    def _gains(self, block: Block, leaders: list[int]) -> list[int]:
        """By how much candidates lower the sum (but for a constant), in the lottery's integers."""
        xp, trials = self._xp, self._trials
        if trials is not None:
            self._look_once(block)
            return [self._kernel.gained(block, trials, i, self.lottery) for i in leaders]
        gains, tried = [], block.state.get("trial")
        if tried is None:
            tried = self._tried(block)
        for trial in leaders:
            left = xp.minimum(tried[trial, :], block.state["closest"])
            whole = self.lottery.whole(weigh(left, block.weight, xp=xp))
            gains.append(-int(exact.exact_sums(whole, xp=xp)))
        return gains

    def _take_over(self, block: Block, best: int, number: int) -> None:
        """Write the accepted candidate's distances where they are smaller."""
        tried = block.state.pop("trial", None)
        if tried is None:
            tried = self._tried(block)
        improve(block, tried[best, :], number, xp=self._xp)

    def take_many(self, centers: Array) -> None:
        """Let several new seeds improve the distances at once."""
        problem, first = self._problem, len(self._seeds)
        nearest = problem.nearest_to(centers)

        def task(block: Block) -> None:
            labels = assign(problem, block, nearest)
            distances = self._kernel.own_distances(block.x, nearest, labels)
            improve(block, distances, labels + first, xp=self._xp)

        self._seeds += range(first, first + int(centers.shape[0]))
        if isinstance(self._standing, _Beside):
            self._standing.add(centers)
        self._rewrite(task)


def improve(block: Block, distances: Array, numbers: Array | int, /, *, xp: Namespace) -> None:
    """Write distances, and the numbers of their seeds, where they are smaller than the closest.

    Of equally near seeds the first stays.
    """
    state = block.state
    better = distances < state["closest"]
    state["closest"] = xp.where(better, distances, state["closest"])
    if isinstance(numbers, int):
        numbers = xp.full_like(state["seeds"], numbers)
    state["seeds"] = xp.where(better, numbers, state["seeds"])


def _remade(problem: Training, points: Array, block: Block) -> None:
    """Make a block's distances to all seeds anew."""
    state, nearest = block.state, problem.nearest_to(points)
    state["seeds"] = assign(problem, block, nearest)
    state["closest"] = problem.kernel.own_distances(block.x, nearest, state["seeds"])
