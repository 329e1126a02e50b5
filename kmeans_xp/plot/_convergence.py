"""How a fit came to its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _canvas as canvas
from . import _rows as host


class ConvergenceDisplay:
    """Inertia, movement of the centers and rows that changed cluster, by iteration.

    Parameters
    ----------
    iterations : ndarray of shape (n_iter,)
        Numbers, from 1.
    changed : ndarray of shape (n_iter,)
        Rows that changed cluster.
    shift : ndarray of shape (n_iter,)
        Movement of the centers.
    inertia : ndarray of shape (n_iter,) or None
        Before the centers moved; None where the fit took none (it does with ``verbose`` or a
        ``callback``), and then there is no panel for it.
    status : str, default=""
        Why the fit ended.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        The panels, from above.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
    lines_ : dict of matplotlib Line2D
        By "inertia", "shift" and "changed".

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from kmeans_xp import KMeans
    >>> from kmeans_xp.plot import ConvergenceDisplay
    >>> model = KMeans(n_clusters=3, random_state=0).fit(load_iris().data)
    >>> display = ConvergenceDisplay.from_estimator(model)
    >>> sorted(display.lines_)
    ['changed', 'shift']
    """

    def __init__(
        self,
        iterations: npt.NDArray[np.int64],
        changed: npt.NDArray[np.int64],
        shift: npt.NDArray[np.float64],
        inertia: npt.NDArray[np.float64] | None = None,
        *,
        status: str = "",
    ) -> None:
        self.iterations = iterations
        self.changed = changed
        self.shift = shift
        self.inertia = inertia
        self.status = status

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> ConvergenceDisplay:
        """Draw the ``history_`` of a fitted estimator.

        Parameters
        ----------
        estimator : KMeans or Pipeline
            Fitted.
        ax : matplotlib Axes, default=None
            Whose place is divided into panels; None makes a figure.

        Returns
        -------
        display : ConvergenceDisplay
        """
        return cls._read(estimator).plot(ax=ax)

    @classmethod
    def _read(cls, estimator: Any) -> ConvergenceDisplay:
        _, model = host.split(estimator)
        if not getattr(model, "history_", None):
            raise TypeError(
                f"{type(model).__name__} has no history_ of its iterations. Fit a kmeans_xp.KMeans."
            )
        return cls._of(model.history_, model.status_)

    @classmethod
    def from_history(
        cls, history: Sequence[Any], *, status: str = "", ax: Any = None
    ) -> ConvergenceDisplay:
        """Draw records of iterations, for example those that a ``callback`` was given.

        Parameters
        ----------
        history : sequence of Iteration
            At least one.
        status : str, default=""
            Why the fit ended.
        ax : matplotlib Axes, default=None
            Whose place is divided into panels; None makes a figure.

        Returns
        -------
        display : ConvergenceDisplay
        """
        if not len(history):
            raise ValueError("history has no iteration. Pass at least one record.")
        return cls._of(history, status).plot(ax=ax)

    @classmethod
    def _of(cls, history: Sequence[Any], status: str) -> ConvergenceDisplay:
        inertia = [record.inertia for record in history]
        return cls(
            np.asarray([record.iteration for record in history], dtype=np.int64),
            np.asarray([record.changed for record in history], dtype=np.int64),
            np.asarray([record.shift for record in history], dtype=np.float64),
            None if None in inertia else np.asarray(inertia, dtype=np.float64),
            status=status,
        )

    def plot(self, ax: Any = None) -> ConvergenceDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Whose place is divided into panels; None makes a figure.

        Returns
        -------
        display : ConvergenceDisplay
            Itself, with the artists as attributes.
        """
        panels: dict[str, tuple[str, Any]] = {
            "inertia": ("inertia", self.inertia),
            "shift": ("movement of\nthe centers", self.shift),
            "changed": ("rows that\nchanged cluster", self.changed),
        }
        panels = {name: panel for name, panel in panels.items() if panel[1] is not None}
        self.figure_, place = canvas.many_axes(ax, self._size())
        axes = place.subgridspec(len(panels), 1).subplots(sharex=True, squeeze=False)[:, 0]
        self.axes_, self.ax_, self.lines_ = axes, axes[0], {}
        colors = dict(zip(("inertia", "shift", "changed"), canvas.OKABE_ITO, strict=False))
        for panel, (name, (text, values)) in zip(axes, panels.items(), strict=True):
            [self.lines_[name]] = panel.plot(
                self.iterations, values, color=colors[name], linewidth=1.8,
                marker="o" if len(values) <= 60 else "", markersize=4, clip_on=False, zorder=3,
            )  # fmt: skip
            if name == "inertia":
                canvas.plain_numbers(panel.yaxis)
            else:
                _scale(panel, values)
            panel.set_ylabel(text)
            canvas.tidy(panel, grid="y")
        self._label()
        return self

    def _size(self) -> tuple[float, float]:
        return 6.4, 3.7 if self.inertia is None else 5.2

    def _label(self) -> None:
        from matplotlib.ticker import MaxNLocator

        self.axes_[-1].set_xlabel("iteration")
        self.axes_[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        first, last = self.iterations[0], self.iterations[-1]
        edge = max(0.5, 0.02 * (last - first))
        self.axes_[-1].set_xlim(first - edge, last + edge)
        count = len(self.iterations)
        what = "iteration" if count == 1 else "iterations"
        canvas.heading(self.ax_, f"{count} {what}", self.status)
        self.figure_.align_ylabels(list(self.axes_))


def _scale(panel: Any, values: Any) -> None:
    """Logarithmic down to the smallest positive value, and 0 below it."""
    positive = values[values > 0]
    if not len(positive):
        return
    if positive.max() < 10 * positive.min():
        panel.set_ylim(bottom=0)
        return
    if (values > 0).all():
        panel.set_yscale("log")
    else:
        panel.set_yscale("symlog", linthresh=float(10 ** np.floor(np.log10(positive.min()))))
        panel.set_ylim(bottom=0)
