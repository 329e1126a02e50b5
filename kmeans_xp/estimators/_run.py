"""From checked arguments to the best of several runs: the part that KMeans and k_means share."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import _is_arraylike_not_scalar

from .._init import seed_centers
from .._outcome import Iteration, Observer, Result, Rules, Snapshot, Status
from .._problem import Training, bring, training_problem
from .._random import Purpose, mix
from .._solver import LLOYD, Way, lloyd
from .._stats import NonFiniteError, outweighing
from .._trials import LOWERS, Trial
from .._typing import Array
from .._validation import check_centers, first_bad_cell, place_centers
from .._warnings import warn
from .._weight_checks import check_enough_rows, check_weight
from ..exceptions import DataWarning
from ._logbook import Logbook, open_logbook
from ._place import Place, Rows
from ._searched import effort_for, line_ahead, searched

NAMED_STARTS = ("k-means++", "random", "random-partition", "k-means||")
_SPREAD_STARTS = ("k-means++", "k-means||")  # one run is enough
_SCALED = "make_pipeline(kmeans_xp.FeatureScaler('standard'), model)"
TIMED = " (the search was given seconds: another fit may end elsewhere)"


@dataclass(frozen=True)
class Outcome:
    """The best run, all runs, the kernel that did them, the middle of the rows' range, the log."""

    result: Result
    trials: tuple[Trial, ...]
    kernel: str
    middle: tuple[float, ...]
    log: Logbook | None
    lower_bound: float | None = None
    is_timed: bool = False

    @property
    def status(self) -> str:
        """Why the best run ended, and that seconds decided which runs there were."""
        return self.result.status.value + (TIMED if self.is_timed else "")

    @property
    def n_best(self) -> int:
        """How many runs ended as low as the best, but for where the tolerance stopped them."""
        most = self.result.inertia * (1.0 + LOWERS)
        return sum(trial.inertia <= most for trial in self.trials)

    def close(self) -> None:
        """Write the last checkpoint, if there is one, once the result is in safety."""
        if self.log is not None:
            self.log.close(self.result, self.trials)


def given_centers(model: Any) -> Array | None:
    """The checked array of ``init``; None when it is a name or a callable."""
    if callable(model.init) or not _is_arraylike_not_scalar(model.init):
        return None
    return check_centers(model.init, model.n_clusters)


def run_fit(
    model: Any,
    rows: Rows,
    given: Any,
    start: Array | None,
    way: Way = LLOYD,
    *,
    warns: bool = True,
) -> Outcome:
    """Prepare the problem that an estimator's parameters pose, and run it from its starts.

    ``given`` is what the user passed for X; ``start`` comes from `given_centers`.  A way on which
    the variance of a column does not tell what it decides ``warns`` of none.
    """
    random_state, place = check_random_state(model.random_state), rows.place
    runs = count_runs(model, start, type(model).__name__)
    effort = effort_for(model, start)
    if start is not None:
        start = place_centers(start, place.work, rows.dtype, rows.n_features)
    problem = rows.training(
        model.n_clusters,
        who=type(model).__name__,
        # for the tolerance, and for the warning of a column that decides
        variance=model.tol > 0 or (warns and rows.n_features > 1),
    )
    if warns:
        warn_of_one_column(problem, getattr(model, "feature_names_in_", None))
    seed = draw_seed(random_state)
    log = open_logbook(model, problem, seed, random_state, start, runs, searches=effort is not None)
    if log is not None:
        seed, random_state = log.seed, log.generator
    find_line = line_ahead(problem, model.n_clusters, effort, log)
    starts = _starts(problem, model, given, start, seed, random_state, place)
    rules = Rules(model.max_iter, float(model.tol), model.empty_cluster, _observer(model, place))
    announce = _announcer(problem, rules) if model.verbose else None
    trials: list[Trial] = [] if log is None else log.trials
    result = best_of(
        problem, starts, runs, rules, seed, announce=announce, trials=trials, log=log, way=way
    )
    bound = None
    if effort is not None:
        result, bound, more = searched(
            problem, result, rules, effort, seed, announce, log, trials, find_line
        )
        trials += more
    middle = tuple(problem.extent.middle.tolist())
    is_timed = effort is not None and effort.seconds is not None
    # what is proven does not depend on the clock
    is_timed = is_timed and result.status is not Status.OPTIMUM
    return Outcome(result, tuple(trials), problem.plan.kernel, middle, log, bound, is_timed)


def prepare(
    x: Array,
    sample_weight: Any,
    place: Place,
    n_clusters: int,
    *,
    who: str,
    variance: bool,
    fits: float = 1.0,
) -> Training:
    """Move the data once and take the statistics pass; refuse what cannot be clustered."""
    x_there, weight = brought(x, sample_weight, place, n_clusters)
    try:
        return training_problem(
            x_there, weight, place.work, n_clusters, variance=variance, fits=fits
        )
    except NonFiniteError:
        first_bad_cell(x, who)


def brought(
    x: Array, sample_weight: Any, place: Place, n_clusters: int, /
) -> tuple[Array, Array | None]:
    """Rows and checked weights where the work happens; refuse fewer than clusters."""
    n_rows = int(x.shape[0])
    check_enough_rows(n_rows, None, n_clusters)
    weight = check_weight(sample_weight, n_rows, place.work)
    check_enough_rows(n_rows, weight, n_clusters)
    return bring(x, place.work, n_clusters), weight


def draw_seed(random_state: np.random.RandomState) -> int:
    """One 64-bit seed a fit, whatever the device."""
    return int(random_state.randint(0, 2**63 - 1, dtype=np.int64))


def best_of(
    problem: Training,
    starts: Callable[[int], Array],
    runs: int,
    rules: Rules,
    seed: int,
    *,
    announce: Callable[[Result | None], None] | None = None,
    trials: list[Trial] | None = None,
    log: Logbook | None = None,
    way: Way = LLOYD,
) -> Result:
    """Run from each start; keep the smallest inertia, the earliest among equals.

    ``trials`` gets a record of each run; those that the log knows are done are not done again.
    """
    best: Result | None = None
    trials = [] if trials is None else trials
    first = 0
    with problem.source.working():
        if log is not None:
            first, best = log.resume(problem)
            rules = replace(rules, keep=log.keep)
        for run in range(first, runs):
            try:
                start = starts(run) if log is None else log.start(run, best, trials, starts)
                if announce is not None and not isinstance(start, Snapshot):
                    announce(None)
                # centers that the user's function made are not asked for again
                run_seed = mix(seed, Purpose.RUN, run)
                go = functools.partial(lloyd, problem, start, rules, run_seed, way=way)
                result = problem.within_memory(go)
            except KeyboardInterrupt:
                if best is None:
                    raise
                return best.interrupted()
            if announce is not None:
                announce(result)
            kept = best is None or result.inertia < best.inertia
            best = result if best is None or kept else best
            trials.append(Trial(0, result.n_iter, result.inertia, kept))
            if result.status is Status.INTERRUPTED:
                return best.interrupted()
    assert best is not None
    return best


def count_runs(model: Any, start: Array | None, who: str, many: int = 10) -> int:
    """Number of runs, with scikit-learn's meaning of "auto" and its warnings."""
    if model.n_init != "auto":
        runs = int(model.n_init)
    elif start is not None or (isinstance(model.init, str) and model.init in _SPREAD_STARTS):
        runs = 1
    else:
        runs = many
    if start is not None and runs != 1:
        warn(
            "Explicit initial center position passed: performing only one init in "
            f"{who} instead of n_init={runs}.",
            RuntimeWarning,
        )
        runs = 1
    if getattr(model, "algorithm", None) == "elkan" and model.n_clusters == 1:
        warn(
            "algorithm='elkan' doesn't make sense for a single cluster. Using 'lloyd' instead.",
            RuntimeWarning,
        )
    return runs


def warn_of_one_column(problem: Training, names: Any, scaled: str = _SCALED) -> None:
    """Warn when one column's variance decides; ``scaled`` is how to bring columns to one scale."""
    variances = problem.summary.variances
    found = None if variances is None else outweighing(variances)
    if found is None:
        return
    column, times = found
    name = "" if names is None else f" ({str(names[column])!r})"
    warn(
        f"column {column}{name} of X outweighs the others: its variance is {times:.3g} times the "
        "sum of theirs, so that it alone decides the clusters. Bring the columns to one scale, as "
        f"{scaled} and the command line's --scale standard do, or leave it out; "
        "kmeans_xp.check_features(X) tells more. Silence this with "
        "warnings.filterwarnings('ignore', category=kmeans_xp.DataWarning).",
        DataWarning,
    )


def _starts(
    problem: Training,
    model: Any,
    x: Any,
    start: Array | None,
    seed: int,
    random_state: np.random.RandomState,
    place: Place,
) -> Callable[[int], Array]:
    """Return the function that makes the centers of each run."""
    init, n_clusters = model.init, model.n_clusters
    if start is not None:
        return lambda run: start
    if isinstance(init, str):
        return lambda run: problem.within_memory(
            lambda: seed_centers(problem, init, n_clusters, mix(seed, Purpose.RUN, run))
        )

    return lambda run: called_centers(init, x, n_clusters, random_state, problem, place)


def called_centers(
    init: Callable[..., Any],
    x: Any,
    n_clusters: int,
    random_state: np.random.RandomState,
    problem: Training,
    place: Place,
    /,
) -> Array:
    """The centers that a user's function makes of rows that are at home."""
    with place.home.scope():
        centers = check_centers(init(x, n_clusters, random_state=random_state), n_clusters)
    return place_centers(centers, problem.context, problem.dtype, problem.source.n_features)


def _observer(model: Any, place: Place) -> Observer | None:
    if model.callback is None and not model.verbose:
        return None

    def observe(record: Iteration, centers: Array) -> bool:
        if model.verbose:
            print(f"Iteration {record.iteration}, inertia {record.inertia}.")
        if model.callback is None:
            return False
        with place.home.scope():
            return bool(model.callback(record, place.send_home(centers)))

    return observe


def _announcer(problem: Training, rules: Rules) -> Callable[[Result | None], None]:
    """Say what scikit-learn says at the start (None) and at the end of a run."""

    def announce(result: Result | None) -> None:
        if result is None:
            print("Initialization complete")
        elif result.status is Status.CONVERGED:
            print(f"Converged at iteration {result.n_iter}: strict convergence.")
        elif result.status is Status.TOLERANCE:
            scale = problem.frame.scale
            # roots: squares in the data's units may over- or underflow
            root = math.sqrt(rules.tol * problem.summary.variance_in(scale)) / scale.factor
            print(
                f"Converged at iteration {result.n_iter}: center shift "
                f"{result.history[-1].shift} within tolerance {root}."
            )
        else:
            print(f"{result.status.value} (iteration {result.n_iter})")

    return announce
