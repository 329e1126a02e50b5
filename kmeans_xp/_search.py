"""A search for a better optimum: centers move from where they are wasted to where they are missed.

Lloyd's loop ends in the first local optimum; typically two true clusters share a center there, and
two centers share a true cluster.  A swap repairs both: it merges a pair of clusters, and its free
center splits a third one.  `_split` tells what either is worth before any center moves.  A swap
whose split gains more than its merge costs lowers the inertia, since Lloyd's loop from there
never raises it (but for roundings, and where the tolerance ended the run before the means were
reached).  As long as there are such swaps, several are made at once.  Then come single swaps that
promise most, though their sum is a loss: Lloyd's loop often turns it into a gain.  A swap is
kept when the run from it ends with a lower inertia, whatever ended it; so the result is never
worse than the run that the search began from.

Swaps of merged and split clusters are those of T. Kaukoranta, P. Fränti and O. Nevalainen,
"Iterative split-and-merge algorithm for VQ codebook generation", Optical Engineering 37, 1998, and
of H. Ismkhan, "I-k-means-+: an iterative clustering algorithm based on an enhanced version of the
k-means", Pattern Recognition 79, 2018; the choice among them and the draws are our own.

Rows of one feature need no swaps: `_line` knows their optimum, from which Lloyd's loop runs once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from . import _exact as exact
from ._line import best_on_a_line
from ._problem import Training
from ._random import Purpose, mix
from ._solver import Result, Rules, Status, lloyd
from ._split import Outlook, outlook
from .exceptions import EmptyClusterError

LOWERS = 2.0**-20
"""By less than this share two runs do not differ: they may have stopped by the tolerance."""

_HOPE = 0.3  # of what the merge costs, which a split must gain
_PATIENCE = 3
_EMPTY_LOOK = 2  # failed swaps that a look without any counts for
_IDLE = 2  # looks in a row without a swap, after which others would hardly bring one
_AT_ONCE = 4  # clusters to one swap
_WORTHY = 32
_ENDED = (Status.CONVERGED, Status.TOLERANCE)
_NUMBERS = ("_spent", "_looks", "_failed", "_idle", "_most")
"""What a hunt counts, which a stage keeps."""

_BROKEN_OFF = (Status.CALLBACK, Status.INTERRUPTED)


@dataclass(frozen=True)
class Trial:
    """One run of Lloyd's loop, from a start or from swapped centers, as plain numbers.

    Attributes
    ----------
    swaps : int
        Centers that were moved to another cluster before the run; 0 for a start, and all of them
        where the best places on a line are known.
    n_iter : int
        Iterations of the run.
    inertia : float
        Inertia that it ended with.
    kept : bool
        Whether it was the best so far; for swaps: lower by more than a millionth, on a line: not
        higher.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp import KMeans
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> model = KMeans(n_clusters=9, random_state=0, search="auto").fit(X)
    >>> model.trials_[0].swaps
    0
    >>> min(trial.inertia for trial in model.trials_) == model.inertia_
    True
    """

    swaps: int
    n_iter: int
    inertia: float
    kept: bool


@dataclass(frozen=True)
class Effort:
    """How long to search: until some swaps in a row lower nothing, or for so many passes.

    Passes are Lloyd's iterations, and one for each look at what splits would gain.  They are not
    spent where no swap is left to try; a run that was given up over an empty cluster counts none.
    """

    passes: int | None = None

    @property
    def patience(self) -> int | None:
        return _PATIENCE if self.passes is None else None

    @property
    def hope(self) -> float:
        return _HOPE if self.passes is None else 0.0


Swap = tuple[int, int]
"""A cluster to split, and one to merge with its partner."""


@dataclass(frozen=True)
class Stage:
    """A search between two swaps, from which it goes on to the same end."""

    best: Result
    trials: tuple[Trial, ...] = ()
    tried: frozenset[Swap] = frozenset()
    numbers: dict[str, int] = field(default_factory=dict)  # those that are named in `_NUMBERS`
    earlier: tuple[Trial, ...] = ()  # before all swaps, on a line


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
) -> tuple[Result, list[Trial]]:
    """Swap centers of a converged run as long as that lowers the inertia; or go on from a stage.

    On a line the optimum takes the place of swaps, where it can be proven.  ``announce`` is told of
    each run, ``keep`` of each stage.
    """
    trials: list[Trial] = []
    if isinstance(found, Stage):
        trials += found.earlier
    elif problem.source.n_features == 1 and found.status not in _BROKEN_OFF:
        found, trials, is_over = _from_the_line(problem, found, rules, seed, announce)
        if is_over:
            return found, trials

    def reach(stage: Stage) -> None:
        if keep is not None:
            keep(replace(stage, earlier=tuple(trials)))

    hunt = _Hunt(problem, found, rules, effort, seed, announce, reach)
    # a swap takes three clusters
    if isinstance(found, Stage) or (found.status in _ENDED and int(found.centers.shape[0]) > 2):
        hunt.run()
    return hunt.best, trials + hunt.trials


def _from_the_line(
    problem: Training,
    found: Result,
    rules: Rules,
    seed: int,
    announce: Callable[[Result | None], None] | None,
) -> tuple[Result, list[Trial], bool]:
    """Run from the best centers on a line, and keep that if it is not worse.

    The last of the answers: whether the search is over, for there is nothing better, or by a break.
    """
    count = int(found.centers.shape[0])
    try:
        line = problem.within_memory(lambda: best_on_a_line(problem, count))
        if line is None:
            return found, [], False
        key = mix(seed, Purpose.SEARCH, 0)
        result = problem.within_memory(lambda: lloyd(problem, line.centers, rules, key))
    except EmptyClusterError:
        # the error is for runs from the user's start
        return found, [], False
    except KeyboardInterrupt:
        return found.interrupted(), [], True
    if announce is not None:
        announce(result)
    kept = result.inertia <= found.inertia
    best = result if kept else found
    trials = [Trial(count, result.n_iter, result.inertia, kept)]
    if result.status is Status.INTERRUPTED:
        return best.interrupted(), trials, True
    if best.status in _ENDED and best.inertia <= line.bound * (1.0 + LOWERS):
        best = replace(best, status=Status.OPTIMUM)
    return best, trials, line.proven or result.status in _BROKEN_OFF


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
    ) -> None:
        self._problem, self._rules, self._effort, self._seed = problem, rules, effort, seed
        self._announce, self._keep = announce, keep
        stage = found if isinstance(found, Stage) else Stage(found)
        self.best = stage.best
        self.trials = list(stage.trials)
        self._spent = self._looks = self._failed = self._idle = 0
        self._tried = set(stage.tried)
        self._most = max(1, int(stage.best.centers.shape[0]) // _AT_ONCE)
        vars(self).update(stage.numbers)

    def run(self) -> None:
        """Look and swap, anew each time: other rows are drawn, which other splits come from."""
        try:
            while self._may_go_on():
                if self._keep is not None:
                    self._keep(self._stage())
                view = self._look()
                if view is None:
                    return
                swaps = self._choose(view)
                if not swaps:
                    self._failed += _EMPTY_LOOK
                    self._idle += 1
                    continue
                self._idle = 0
                status = self._try(view, swaps)
                if status is Status.INTERRUPTED:
                    self.best = self.best.interrupted()
                if status in _BROKEN_OFF:
                    return
        except KeyboardInterrupt:
            self.best = self.best.interrupted()

    def _stage(self) -> Stage:
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        return Stage(self.best, tuple(self.trials), frozenset(self._tried), numbers)

    def _may_go_on(self) -> bool:
        passes, patience = self._effort.passes, self._effort.patience
        if passes is not None and self._spent + 2 > passes:
            # a look and an iteration are the least
            return False
        return self._idle < _IDLE and (patience is None or self._failed < patience)

    def _look(self) -> Outlook | None:
        self._spent += 1
        self._looks += 1
        key = (self._seed, Purpose.SEARCH, self._looks)
        best = self.best
        return self._problem.within_memory(
            lambda: outlook(self._problem, best.centers, best.labels, key)
        )

    def _choose(self, view: Outlook) -> list[Swap]:
        """Swaps that lower the inertia; else the one that promises most."""
        sure = list(itertools.islice(_sure(view, self._tried), self._most))
        if sure:
            return sure
        hope = self._effort.hope
        left = [
            (view.gains[split] - view.costs[freed], (split, freed))
            for split, freed in _pairs(view)
            if (split, freed) not in self._tried
            and view.gains[split] > max(0.0, hope * view.costs[freed])
        ]
        return [max(left, key=lambda pair: pair[0])[1]] if left else []

    def _try(self, view: Outlook, swaps: list[Swap]) -> Status | None:
        """Run from swapped centers, and keep what is better; None where a cluster was lost."""
        problem, rules, passes = self._problem, self._rules, self._effort.passes
        if passes is not None:
            left = passes - self._spent
            most = left if rules.max_iter is None else min(left, rules.max_iter)
            rules = replace(rules, max_iter=most)
        start = exact.to_device(
            _swapped(view, swaps).astype(problem.dtype), self.best.centers, xp=problem.context.xp
        )
        seed = mix(self._seed, Purpose.SEARCH, len(self.trials))
        try:
            result = problem.within_memory(lambda: lloyd(problem, start, rules, seed))
        except EmptyClusterError:
            # the error is for runs from the user's start; this one is given up
            self._give_up(swaps)
            return None
        if result.status is Status.MAX_ITER and result.n_iter != self._rules.max_iter:
            result = replace(result, status=Status.PASSES)
        if self._announce is not None:
            self._announce(result)
        kept = result.inertia < self.best.inertia * (1.0 - LOWERS)
        self._spent += result.n_iter
        self.trials.append(Trial(len(swaps), result.n_iter, result.inertia, kept))
        if kept:
            self.best, self._failed = result, 0
            self._tried.clear()
        else:
            self._give_up(swaps)
        return result.status

    def _give_up(self, swaps: list[Swap]) -> None:
        if len(swaps) > 1:
            self._most = len(swaps) // 2
        else:
            self._tried.update(swaps)
            self._failed += 1


def _by_worth(view: Outlook) -> tuple[list[int], list[int]]:
    """Clusters by what a split gains, largest first, and by what a merge costs."""
    every = range(len(view.gains))
    return (
        sorted(every, key=lambda cluster: -view.gains[cluster]),
        sorted(every, key=lambda cluster: view.costs[cluster]),
    )


def _sure(view: Outlook, tried: set[Swap]) -> Iterator[Swap]:
    """Swaps of different clusters whose split gains more than the merge costs."""
    splits, merges = _by_worth(view)
    used: set[int] = set()
    for freed in merges:
        pair = {freed, view.partners[freed]}
        if used & pair:
            continue
        split = next((s for s in splits if s not in used | pair and (s, freed) not in tried), None)
        if split is None or not view.gains[split] > view.costs[freed]:
            return
        used |= {split, *pair}
        yield split, freed


def _pairs(view: Outlook) -> Iterator[Swap]:
    """Swaps of the clusters that gain most and those that cost least."""
    splits, merges = _by_worth(view)
    for freed in merges[:_WORTHY]:
        for split in splits[:_WORTHY]:
            if split not in (freed, view.partners[freed]):
                yield split, freed


def _swapped(view: Outlook, swaps: list[Swap]) -> npt.NDArray[np.float64]:
    """The centers after merging and splitting: a freed one becomes the second half."""
    centers = view.centers.copy()
    for split, freed in swaps:
        centers[view.partners[freed]] = view.merged[freed]
        centers[split], centers[freed] = view.first[split], view.second[split]
    return centers
