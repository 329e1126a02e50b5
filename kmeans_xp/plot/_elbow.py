"""How good each number of clusters is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..selection import ChooseKResult, choose_k
from . import _canvas as canvas
from . import _rows as host

Floats = npt.NDArray[np.float64]

_TITLES = {
    "calinski_harabasz": "Calinski-Harabasz",
    "davies_bouldin": "Davies-Bouldin (low)",
    "silhouette": "silhouette",
    "silhouette_sampled": "silhouette, sampled",
    "silhouette_simplified": "silhouette, simplified",
    "gap": "gap",
    "bic": "BIC",
}
_KNEE = "elbow"
_ROOM = 330  # points of height that take curve, time and criteria


class ElbowDisplay:
    """Inertia over the number of clusters: the curve, its knee, what fits cost, and criteria.

    The scale on the right tells the same curve as variance explained.  The band shows between
    which numbers the knee moves when the range of numbers is made shorter.

    Parameters
    ----------
    k : ndarray of shape (n_k,)
        Numbers of clusters.
    inertia : ndarray of shape (n_k,)
        Of the best fit of each.
    variance_explained : ndarray of shape (n_k,)
        In percent.
    seconds : ndarray of shape (n_k,) or None
        Time of the fits of each.
    criteria : dict of str to ndarray of shape (n_k,)
        NaN where a criterion is not defined.
    gap_error : ndarray of shape (n_k,) or None
        Standard error of the gap.
    suggestions : dict of str to (int or None)
        The number that each criterion suggests; "elbow" is the knee.
    bands : dict of str to ((int, int) or None)
        Smallest and largest suggestion of shorter ranges.
    stable : dict of str to bool
        Whether the suggestion stays in shorter ranges.
    note : str, default=""
        A sentence about the result.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The curve.
    figure_ : matplotlib Figure
    line_ : matplotlib Line2D
        The curve.
    knee_ : matplotlib Line2D or None
        At the suggested number.
    band_ : matplotlib artist or None
        Where the knee moves.
    explained_ax_ : matplotlib Axes or None
        The scale of the variance explained.
    time_ax_ : matplotlib Axes or None
        The time of the fits.
    criteria_axes_ : dict of matplotlib Axes
        One a criterion.

    Examples
    --------
    >>> import numpy as np
    >>> from kmeans_xp.plot import ElbowDisplay
    >>> display = ElbowDisplay(
    ...     np.array([1, 2, 3]),
    ...     np.array([90.0, 20.0, 15.0]),
    ...     np.array([0.0, 77.8, 83.3]),
    ...     suggestions={"elbow": 2},
    ... )
    >>> display.plot().ax_.get_xlabel()
    'clusters k'
    """

    def __init__(
        self,
        k: npt.NDArray[np.int64],
        inertia: Floats,
        variance_explained: Floats,
        *,
        seconds: Floats | None = None,
        criteria: dict[str, Floats] | None = None,
        gap_error: Floats | None = None,
        suggestions: Mapping[str, int | None] | None = None,
        bands: Mapping[str, tuple[int, int] | None] | None = None,
        stable: Mapping[str, bool] | None = None,
        note: str = "",
    ) -> None:
        self.k = k
        self.inertia = inertia
        self.variance_explained = variance_explained
        self.seconds = seconds
        self.criteria = criteria
        self.gap_error = gap_error
        self.suggestions = suggestions
        self.bands = bands
        self.stable = stable
        self.note = note

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, k: Any = 10, ax: Any = None, **options: Any
    ) -> ElbowDisplay:
        """Fit a range of numbers of clusters with an estimator's parameters, and draw.

        Parameters
        ----------
        estimator : KMeans or Pipeline
            Its ``max_iter``, ``tol``, ``random_state`` and ``device`` are those of the fits.  It
            need not be fitted, but the steps before it in a pipeline must be.
        X : array-like of shape (n_samples, n_features)
            Rows, of any array API library.
        k : int or collection of int, default=10
            The largest number of clusters, or the numbers themselves.
        ax : matplotlib Axes, default=None
            Whose place is divided into panels; None makes a figure.
        **options
            Further parameters of `choose_k`.

        Returns
        -------
        display : ElbowDisplay
        """
        steps, model = host.parts(estimator)
        if steps is not None:
            X = steps.transform(X)
        names = ("max_iter", "tol", "random_state", "device")
        asked = {name: getattr(model, name) for name in names if hasattr(model, name)}
        return cls.from_result(choose_k(X, k, **{**asked, **options}), ax=ax)

    @classmethod
    def from_result(cls, result: ChooseKResult, *, ax: Any = None) -> ElbowDisplay:
        """Draw what `choose_k` found.

        Parameters
        ----------
        result : ChooseKResult
            What `choose_k` returns.
        ax : matplotlib Axes, default=None
            Whose place is divided into panels; None makes a figure.

        Returns
        -------
        display : ElbowDisplay
        """
        return cls._read(result).plot(ax=ax)

    @classmethod
    def _read(cls, result: ChooseKResult) -> ElbowDisplay:
        criteria = {
            name: _numbers(values)
            for name, values in result.criteria.items()
            if name != _KNEE and any(value is not None for value in values)
        }
        return cls(
            np.asarray(result.k, dtype=np.int64),
            _numbers(result.inertia),
            _numbers(result.variance_explained),
            seconds=_numbers(result.seconds),
            criteria=criteria,
            gap_error=None if result.gap_error is None else _numbers(result.gap_error),
            suggestions=dict(result.suggestions),
            bands=dict(result.bands),
            stable=dict(result.stable),
            note=result.structure,
        )

    def plot(
        self, ax: Any = None, *, time: bool = True, criteria: bool | None = None
    ) -> ElbowDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Whose place is divided into panels; None makes a figure.
        time : bool, default=True
            Whether to draw the time of the fits, if it is known.
        criteria : bool, default=None
            Whether to draw the criteria, if there are any; None does so where there is room.

        Returns
        -------
        display : ElbowDisplay
            Itself, with the artists as attributes.
        """
        if criteria is None:
            criteria = ax is None or canvas.room(ax)[1] >= _ROOM
        shown = dict(self.criteria or {}) if criteria else {}
        has_time = time and self.seconds is not None
        heights = _heights(has_time, len(shown))
        self.figure_, place = canvas.many_axes(ax, _figure_size(heights))
        parts = iter(place.subgridspec(len(heights), 1, height_ratios=heights))
        self.ax_ = self.figure_.add_subplot(next(parts))
        self._draw_curve()
        self.time_ax_ = self._draw_time(next(parts)) if has_time else None
        self.criteria_axes_ = self._draw_criteria(next(parts), shown) if shown else {}
        return self

    def _size(self) -> tuple[float, float]:
        return _figure_size(_heights(self.seconds is not None, len(self.criteria or {})))

    def _draw_curve(self) -> None:
        ax, knee = self.ax_, (self.suggestions or {}).get(_KNEE)
        band = (self.bands or {}).get(_KNEE)
        self.band_ = self.knee_ = None
        if band is not None:
            # a band of one number is seen too
            self.band_ = ax.axvspan(
                band[0] - 0.25, band[1] + 0.25, color=canvas.OKABE_ITO[4], alpha=0.25, lw=0
            )
        if knee is not None:
            self.knee_ = ax.axvline(knee, color=canvas.OKABE_ITO[1], linestyle="--", linewidth=1.5)
        [self.line_] = ax.plot(
            self.k, self.inertia, color=canvas.OKABE_ITO[0], linewidth=2, zorder=3,
            marker="o" if len(self.k) <= 40 else "", markersize=4.5,
        )  # fmt: skip
        ax.set_ylim(bottom=0)
        ax.set_ylabel("inertia")
        canvas.plain_numbers(ax.yaxis)
        _count_axis(ax)
        canvas.tidy(ax, grid="y")
        self.explained_ax_ = self._explained_scale()
        title = "No knee" if knee is None else f"Knee at {knee} clusters"
        if band is not None and band[0] < band[1]:
            title += f", band {band[0]} to {band[1]}"
        stable = (self.stable or {}).get(_KNEE)
        if knee is not None and stable is not None:
            title += ", stable" if stable else ", not stable"
        canvas.heading(ax, title, self.note)
        ax.set_xlabel("clusters k")

    def _explained_scale(self) -> Any:
        """The scale on the right: inertia is what is left of the total."""
        left = 1 - self.variance_explained / 100
        known = np.isfinite(left) & (left > 0) & (self.inertia > 0)
        if not known.any():
            return None
        total = float(np.median(self.inertia[known] / left[known]))
        scale = self.ax_.secondary_yaxis(
            "right",
            functions=(
                lambda inertia: 100 - inertia / total * 100,
                lambda x: (100 - x) / 100 * total,
            ),
        )
        scale.set_ylabel("variance explained (%)")
        scale.spines["right"].set_visible(False)
        return scale

    def _draw_time(self, place: Any) -> Any:
        ax = self.figure_.add_subplot(place, sharex=self.ax_)
        ax.bar(self.k, self.seconds, color=canvas.OKABE_ITO[5], width=_step(self.k) * 0.7)
        ax.set_ylabel("seconds")
        ax.set_ylim(bottom=0)
        canvas.tidy(ax, grid="y")
        return ax

    def _draw_criteria(self, place: Any, shown: Mapping[str, Floats]) -> dict[str, Any]:
        n_columns = _columns(len(shown))
        grid = place.subgridspec(-(-len(shown) // n_columns), n_columns)
        axes = {}
        for cell, (name, values) in zip(grid, shown.items(), strict=False):
            ax = axes[name] = self.figure_.add_subplot(cell)
            error = self.gap_error if name == "gap" else None
            ax.errorbar(
                self.k, values, yerr=error, color=canvas.OKABE_ITO[2], linewidth=1.5,
                marker="o" if len(self.k) <= 16 else "", markersize=3, elinewidth=0.9,
            )  # fmt: skip
            best = (self.suggestions or {}).get(name)
            if best is not None:
                ax.axvline(best, color=canvas.OKABE_ITO[1], linestyle="--", linewidth=1.2)
            told = _TITLES.get(name, name.replace("_", " "))
            ax.set_title(told if best is None else f"{told}: {best}", fontsize=9, loc="left")
            _count_axis(ax)
            canvas.plain_numbers(ax.yaxis)
            canvas.tidy(ax, grid="y")
            ax.tick_params(labelsize=8)
        return axes


def _heights(has_time: bool, n_criteria: int) -> list[float]:
    """Heights of the panels, relative to each other."""
    n_rows = -(-n_criteria // _columns(n_criteria))
    return [3.2, *([0.9] if has_time else []), *([1.25 * n_rows] if n_rows else [])]


def _figure_size(heights: list[float]) -> tuple[float, float]:
    return 6.4, 1.0 + 1.12 * sum(heights)


def _columns(count: int) -> int:
    return {1: 1, 2: 2, 4: 2}.get(count, 3)


def _numbers(values: Sequence[float | None]) -> Floats:
    return np.asarray([np.nan if value is None else value for value in values], dtype=np.float64)


def _step(k: npt.NDArray[np.int64]) -> float:
    return float(np.diff(np.sort(k)).min()) if len(k) > 1 else 1.0


def _count_axis(ax: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
