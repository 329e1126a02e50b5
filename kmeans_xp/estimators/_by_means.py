"""Fits that go through the one loop: rows to the nearest center, centers to means."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

from sklearn.utils._param_validation import Interval, StrOptions

from .._outcome import Iteration, Status
from .._solver import LLOYD, Way
from .._typing import Array
from ._clusterer import Clusterer
from ._place import Rows
from ._run import NAMED_STARTS, Outcome, run_fit


class ByMeans(Clusterer):
    """The best of some runs of the loop, by a way of its own."""

    _parameter_constraints: dict[str, list[Any]] = {
        **Clusterer._parameter_constraints,
        "init": [StrOptions(set(NAMED_STARTS)), callable, "array-like"],
        "n_init": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="left")],
    }
    # what a run is told where these are no parameters
    verbose: int = 0
    empty_cluster: str = "farthest"
    callback: Callable[[Iteration, Array], bool | None] | None = None
    search: Any = None
    checkpoint: Any = None
    # of a column that decides
    _warns: ClassVar[bool] = True

    def _way(self) -> Way:
        return LLOYD

    def _solve(self, rows: Rows, X: Any, given: Any) -> tuple[Status, int | None]:
        outcome = run_fit(self, rows, X, given, self._way(), warns=self._warns)
        self._keep_run(outcome, rows)
        outcome.close()
        return outcome.result.status, outcome.result.n_distinct

    def _keep_run(self, outcome: Outcome, rows: Rows) -> None:
        """Set the fitted attributes."""
        self._keep(outcome.result, rows, outcome.middle)
        self.status_ = outcome.status
        self.history_: tuple[Iteration, ...] = outcome.result.history
        self.n_best_ = outcome.n_best
        self.kernel_ = outcome.kernel
        self._middle = outcome.middle
