"""A search for a better optimum: centers move from where they are wasted to where they are missed.

Lloyd's loop ends in the first local optimum; typically two true clusters share a center there, and
two centers share a true cluster.  A swap repairs both: it merges a pair of clusters, and its free
center splits a third one.  `_split` tells what either is worth before any center moves.  A swap
whose split gains more than its merge costs lowers the inertia, since Lloyd's loop from there
never raises it (but for roundings, and where the tolerance ended the run before the means were
reached).  As long as there are such swaps, several are made at once.  Then come single swaps that
promise most, though their sum is a loss: Lloyd's loop often turns it into a gain.  When they no
longer lower anything, rows change clusters where that pays once both means follow (see
`_exchange`), which Lloyd's loop does not see; with few rows to a cluster that is worth as much as
the swaps.  A run is kept when it ends with a lower inertia, whatever ended it; so the result is
never worse than the run that the search began from.

Swaps of merged and split clusters are those of T. Kaukoranta, P. Fränti and O. Nevalainen,
"Iterative split-and-merge algorithm for VQ codebook generation", Optical Engineering 37, 1998, and
of H. Ismkhan, "I-k-means-+: an iterative clustering algorithm based on an enhanced version of the
k-means", Pattern Recognition 79, 2018; the choice among them and the draws are our own.

Rows of one feature need no swaps: `_line` knows their optimum, from which Lloyd's loop runs once.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from . import _exact as exact
from ._effort import Effort, Thrift
from ._exchange import exchanges
from ._handover import Near, hold
from ._line import Line
from ._line_run import from_the_line, line_finder
from ._outcome import BROKEN_OFF, ENDED, Result, Rules, Status
from ._problem import Training
from ._random import Purpose, mix
from ._solver import labels_of, lloyd
from ._split import Outlook, outlook
from ._swaps import Swap, pairs, sure, swapped
from ._trials import LOWERS, Stage, Trial
from ._typing import Array
from .exceptions import EmptyClusterError

_HOPE = 0.3  # of what a merge costs, which a split must gain for the swap to be tried at first
_PATIENCE = 4
_EMPTY_LOOK = 2  # failed swaps that a look without any counts for
_IDLE = 2  # looks in a row without a swap, after which others would hardly bring one
_AT_ONCE = 4  # clusters to one swap
_FEWER = 8  # times as few rows, where all together lowered nothing
_SMALL_WORK = 1 << 24  # n k d, up to which rows change clusters until none does
_WORTH = 2.0**-12  # share by which they must lower the inertia to go on with more
_NUMBERS = (
    *("_spent", "_looks", "_failed", "_idle", "_most"),
    *("_is_exchanging", "_is_settled", "_goes_beyond"),
)
"""What a hunt counts, which a stage keeps beside its thrift."""


def search(
    problem: Training,
    found: Result | Stage,
    rules: Rules,
    effort: Effort,
    seed: int,
    /,
    *,
    announce: Callable[[Result | None], None] | None = None,
    keep: Callable[[Stage], None] | None = None,
    find_line: Callable[[], Line | None] | None = None,
    before: int | None = None,
) -> tuple[Result, list[Trial]]:
    """Swap centers of a converged run as long as that lowers the inertia; or go on from a stage.

    On a line the optimum takes the place of swaps, where it can be proven; ``find_line`` finds it,
    where it may be known already.  ``announce`` is told of each run, ``keep`` of each stage.  With
    the number of iterations ``before`` it, a search that takes as long and lowers little ends, or
    goes on with what its budget alone asks for.
    """
    trials: list[Trial] = []
    if isinstance(found, Stage):
        trials += found.earlier
    elif problem.source.n_features == 1 and found.status not in BROKEN_OFF:
        find_line = find_line or line_finder(problem, int(found.centers.shape[0]))
        found, trials, is_over = from_the_line(problem, found, rules, seed, announce, find_line)
        if is_over:
            return found, trials

    def reach(stage: Stage) -> None:
        if keep is not None:
            keep(replace(stage, earlier=tuple(trials)))

    hunt = _Hunt(problem, found, rules, effort, seed, announce, reach, before)
    try:
        if isinstance(found, Stage) or _may_be_lowered(found):
            hunt.run()
    finally:
        problem.source.forget("resting")
    return hunt.best, trials + hunt.trials


def _may_be_lowered(found: Result) -> bool:
    """Whether a swap (of three clusters) or an exchange (of two) may lower an inertia of this run.

    Not one that is 0, nor one beyond the range of float64.
    """
    has_others = int(found.centers.shape[0]) > 1
    return found.status in ENDED and has_others and 0.0 < found.inertia < math.inf


class _Hunt:
    """The state of a search."""

    def __init__(
        self,
        problem: Training,
        found: Result | Stage,
        rules: Rules,
        effort: Effort,
        seed: int,
        announce: Callable[[Result | None], None] | None = None,
        keep: Callable[[Stage], None] | None = None,
        before: int | None = None,
    ) -> None:
        self._problem, self._effort, self._seed = problem, effort, seed
        if effort.seconds is not None:
            rules = replace(rules, deadline=time.monotonic() + effort.seconds)
        self._rules = rules
        self._announce, self._keep = announce, keep
        if not isinstance(found, Stage):
            found = Stage(found, thrift=Thrift.after(before))
        stage, self._thrift = found, replace(found.thrift)
        self.best = stage.best
        self.trials = list(stage.trials)
        self._spent = self._looks = self._failed = self._idle = 0
        self._is_exchanging = self._goes_beyond = self._is_settled = 0
        self._tried = set(stage.tried)
        self._most = max(1, int(stage.best.centers.shape[0]) // _AT_ONCE)
        vars(self).update(stage.numbers)
        self._is_labelled = False  # by the best run, where labels stay with the rows
        self._end = hold(problem, self.best.end)

    def run(self) -> None:
        """Swap until that lowers nothing, let rows change clusters; with a budget, go on."""
        try:
            while self._may_go_on():
                if self._keep is not None:
                    self._keep(self._stage())
                is_stuck = self._is_stuck()
                if is_stuck and not self._is_settled:
                    status = self._exchange()
                elif is_stuck and not self._goes_on():
                    return
                else:
                    status = self._swap()
                if status is Status.INTERRUPTED:
                    self.best = self.best.interrupted()
                if status in BROKEN_OFF:
                    return
        except KeyboardInterrupt:
            self.best = self.best.interrupted()

    def _is_stuck(self) -> bool:
        """Whether swaps have lowered nothing for long enough, or too little for their time."""
        if self._thrift.is_out and not self._goes_beyond and not self._is_exchanging:
            self._failed = _PATIENCE
        return self._failed >= _PATIENCE or self._idle >= _IDLE

    def _stage(self) -> Stage:
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        trials, tried = tuple(self.trials), frozenset(self._tried)
        return Stage(self.best, trials, tried, numbers, thrift=replace(self._thrift))

    def _goes_on(self) -> bool:
        """Whether there is a budget for more than "auto" does, and swaps that it left out."""
        if self._effort.is_auto or (self._goes_beyond and self._idle >= _IDLE):
            return False
        if not self._goes_beyond:
            self._goes_beyond, self._failed, self._idle = 1, 0, 0
        return True

    def _may_go_on(self) -> bool:
        passes, deadline = self._effort.passes, self._rules.deadline
        if deadline is not None:
            return time.monotonic() < deadline
        # a look and an iteration are the least
        return passes is None or self._spent + 2 <= passes

    def _swap(self) -> Status | None:
        """Look and swap, anew each time: other rows are drawn, which other splits come from."""
        self._spent += 1
        self._thrift.looked()
        self._looks += 1
        key = (self._seed, Purpose.SEARCH, self._looks)
        best, problem = self.best, self._problem
        view = problem.within_memory(lambda: outlook(problem, best.centers, self._labels(), key))
        swaps = [] if view is None else self._choose(view)
        if view is None or not swaps:
            self._failed += _EMPTY_LOOK
            self._idle += 1
            return None
        self._idle = 0
        start = swapped(view, swaps).astype(problem.dtype)
        jumped = {c for split, freed in swaps for c in (split, freed, view.partners[freed])}
        result, kept = self._try(start, swaps=len(swaps), jumped=sorted(jumped))
        if kept:
            self._tried.clear()
        elif len(swaps) > 1:
            self._most = len(swaps) // 2
        else:
            self._tried.update(swaps)
            self._failed += 1
        return result.status if result is not None else None

    def _labels(self) -> Array | None:
        """The best run's labels; None where they stay with the rows, which then have them."""
        if self.best.labels is None and not self._is_labelled:
            labels_of(self._problem, self.best.centers)
            self._is_labelled = True
        return self.best.labels

    def _choose(self, view: Outlook) -> list[Swap]:
        """Swaps that lower the inertia; else the one that promises most."""
        certain = list(itertools.islice(sure(view, self._tried), self._most))
        if certain:
            return certain
        hope = 0.0 if self._goes_beyond else _HOPE
        left = [
            (view.gains[split] - view.costs[freed], (split, freed))
            for split, freed in pairs(view)
            if (split, freed) not in self._tried
            and view.gains[split] > max(0.0, hope * view.costs[freed])
        ]
        return [max(left, key=lambda pair: pair[0])[1]] if left else []

    def _exchange(self) -> Status | None:
        """Let the rows that pay elsewhere go there, fewer of them where that lowered nothing."""
        if not self._is_exchanging:
            self._is_exchanging = 1
            self._thrift.halve()
        self._spent += 1
        self._thrift.looked()
        best, problem = self.best, self._problem
        look = functools.partial(exchanges, problem, best.centers, self._labels(), self._end)
        view = problem.within_memory(look)
        count = 0 if view is None else len(view.rows)
        while view is not None and count > 0 and self._may_go_on():
            start, rows = view.after(problem, count), count
            result, kept = self._try(start, exchanges=rows)
            if result is not None and (kept or result.status in BROKEN_OFF):
                self._is_settled = int(self._is_hardly_worth(best))
                return result.status
            count //= _FEWER
            if self._is_too_long():
                count = 0
        if count == 0:
            self._is_settled = 1
        return None

    def _is_too_long(self) -> bool:
        """Whether exchanges take too long for what they lower."""
        return self._thrift.is_out and not self._goes_beyond

    def _is_hardly_worth(self, before: Result) -> bool:
        """Whether to let no more rows change clusters for now: many rows, and little gained."""
        source, k = self._problem.source, int(before.centers.shape[0])
        is_large = source.n_rows * source.n_features * k > _SMALL_WORK
        lowered = before.inertia - self.best.inertia
        is_little = is_large and lowered < _WORTH * before.inertia
        return self._is_too_long() or (not self._goes_beyond and is_little)

    def _try(
        self, start: Array, *, swaps: int = 0, exchanges: int = 0, jumped: Sequence[int] = ()
    ) -> tuple[Result | None, bool]:
        """Run from new centers, and keep what is better; None where a cluster was lost."""
        problem, rules, passes = self._problem, self._rules, self._effort.passes
        if passes is not None:
            left = passes - self._spent
            most = left if rules.max_iter is None else min(left, rules.max_iter)
            rules = replace(rules, max_iter=most)
        centers = exact.to_device(start, self.best.centers, xp=problem.context.xp)
        seed = mix(self._seed, Purpose.SEARCH, len(self.trials))
        self._is_labelled = False
        near = None if self._end is None else Near(self._end, self.best.labels, jumped)
        try:
            go = functools.partial(lloyd, problem, centers, rules, seed, near=near)
            result = problem.within_memory(go)
        except EmptyClusterError:
            # the error is for runs from the user's start; this one is given up
            return None, False
        if result.status is Status.MAX_ITER and result.n_iter != self._rules.max_iter:
            result = replace(result, status=Status.PASSES)
        if self._announce is not None:
            self._announce(result)
        kept = result.inertia < self.best.inertia * (1.0 - LOWERS)
        self._spent += result.n_iter
        fall = 1.0 - result.inertia / self.best.inertia if kept else 0.0
        self._thrift.ran(result.n_iter, fall)
        self.trials.append(Trial(swaps, result.n_iter, result.inertia, kept, exchanges))
        if kept:
            self.best, self._is_settled, self._is_labelled = result, 0, True
            self._end = hold(problem, result.end)
            if swaps or self._goes_beyond:
                self._failed = 0
        return result, kept
