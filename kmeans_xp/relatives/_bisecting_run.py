"""From checked arguments to a tree of clusters, and to what its leaves are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from .._init import seed_centers
from .._outcome import Result, Rules, Status
from .._problem import Training, training_problem
from .._stats import NonFiniteError
from .._typing import Array
from .._validation import first_bad_cell
from ..estimators._place import Place
from ..estimators._rows import ArrayRows
from ..estimators._run import brought, called_centers, draw_seed, warn_of_one_column
from . import _bisecting as bisecting


@dataclass(frozen=True)
class Outcome:
    """The leaves as a result, the tree, the centers of all its clusters; the kernel, the middle."""

    result: Result
    tree: bisecting.Tree
    centers: Array
    kernel: str
    middle: tuple[float, ...]


def run_fit(model: Any, rows: ArrayRows) -> Outcome:
    """Grow the tree that an estimator's parameters ask for."""
    random_state, place = check_random_state(model.random_state), rows.place
    x, weight = brought(rows.x, rows.weight, place, model.n_clusters)
    problem = _posed(model, rows.x, x, weight, place)
    seed, n_clusters = draw_seed(random_state), model.n_clusters
    tree, status = bisecting.begin(problem, seed), None
    try:
        for made in bisecting.grow(tree, problem, x, weight, _ask(model, place)):
            if model.verbose:
                _tell(len(tree.leaves), tree.clusters[made.cluster], made)
    except KeyboardInterrupt:
        status, n_clusters = Status.INTERRUPTED, len(tree.leaves)
    n_found = len(tree.leaves)
    bisecting.fill(tree, n_clusters, x, xp=place.work.xp)
    return _outcome(tree, problem, status or tree.status, n_found)


def _posed(model: Any, x: Array, x_there: Array, weight: Array | None, place: Place) -> Training:
    # for the tolerance, and for the warning of a column that decides
    variance = model.tol > 0 or int(x.shape[1]) > 1
    try:
        problem = training_problem(x_there, weight, place.work, 2, variance=variance)
    except NonFiniteError:
        first_bad_cell(x, type(model).__name__)
    warn_of_one_column(problem, getattr(model, "feature_names_in_", None))
    return problem


def _ask(model: Any, place: Place) -> bisecting.Ask:
    return bisecting.Ask(
        model.n_clusters,
        _start_by(model.init, place),
        model.n_init,
        Rules(model.max_iter, float(model.tol)),
        model.bisecting_strategy == "largest_cluster",
    )


def _outcome(tree: bisecting.Tree, problem: Training, status: Status, n_found: int) -> Outcome:
    context, n_rows = problem.context, problem.source.n_rows
    xp = context.xp
    labels = bisecting.leaf_labels(tree, n_rows, problem.source.sample, xp=xp)
    every = xp.concat(tree.centers, axis=0)
    leaves = context.from_host(np.asarray(tree.leaves, dtype=np.int64))
    centers = xp.take(every, leaves, axis=0)
    inertia = bisecting.inertia_by(problem, centers, labels)
    n_iter = sum(made.n_iter for made in tree.made)
    result = Result(centers, labels, inertia, n_iter, status, (), n_found)
    middle = tuple(problem.extent.middle.tolist())
    return Outcome(result, tree, every, problem.plan.kernel, middle)


def _start_by(init: Any, place: Place) -> bisecting.Start:
    """Two centers by the named start or the user's function."""
    if isinstance(init, str):
        return lambda problem, x, seed: seed_centers(problem, init, 2, seed)

    def called(problem: Training, x: Array, seed: int) -> Array:
        # keyed as all draws are: it does not depend on the bisections before
        random_state = np.random.RandomState(seed >> 32)
        return called_centers(init, place.send_home(x), 2, random_state, problem, place)

    return called


def _tell(n_leaves: int, whole: bisecting.Cluster, made: bisecting.Parted) -> None:
    first, second = made.halves
    print(
        f"Bisection {n_leaves - 1}: cluster {made.cluster} of inertia {whole.inertia} into "
        f"{first.n_positive} and {second.n_positive} rows of {first.inertia} and "
        f"{second.inertia} in {made.n_iter} iterations."
    )
