"""Silhouettes as bars."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..metrics import silhouette_samples
from . import _canvas as canvas
from . import _rows as host


class SilhouetteDisplay:
    """The silhouette of each row as a bar, longest first within its cluster [1]_.

    Parameters
    ----------
    silhouettes : ndarray of shape (n_shown,)
        Between -1 and 1.
    labels : ndarray of shape (n_shown,)
        Number of each row's cluster, from 0.
    names : list of str
        Names of the clusters.
    n_rows : int
        Rows that those shown were drawn from.
    space : str, default=""
        Where distances were taken, such as "after StandardScaler".

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    bars_ : list of matplotlib PolyCollection
        One a cluster that has rows in the picture.
    line_ : matplotlib Line2D
        The mean of all silhouettes.

    References
    ----------
    .. [1] P. J. Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of
           cluster analysis", Journal of Computational and Applied Mathematics 20, 1987.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from kmeans_xp import KMeans
    >>> from kmeans_xp.plot import SilhouetteDisplay
    >>> X = load_iris().data
    >>> model = KMeans(n_clusters=3, random_state=0).fit(X)
    >>> display = SilhouetteDisplay.from_estimator(model, X)
    >>> round(float(display.silhouettes.mean()), 4)
    0.5528
    """

    def __init__(
        self,
        silhouettes: npt.NDArray[np.float64],
        labels: npt.NDArray[np.int64],
        *,
        names: list[str],
        n_rows: int,
        space: str = "",
    ) -> None:
        self.silhouettes = silhouettes
        self.labels = labels
        self.names = names
        self.n_rows = n_rows
        self.space = space

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        max_rows: int | None = 5_000,
        random_state: Any = 0,
        ax: Any = None,
    ) -> SilhouetteDisplay:
        """Draw the silhouettes of rows with the labels that a fitted estimator gives them.

        Parameters
        ----------
        estimator : KMeans or Pipeline
            Fitted.  After other steps of a pipeline distances are taken as these leave the rows.
        X : array-like of shape (n_samples, n_features)
            Rows, in the library and on the device of those passed to fit.
        max_rows : int or None, default=5_000
            Most rows to score, among themselves; of more, so many are drawn and the picture
            tells.  Time grows with the square of their number.
        random_state : int, RandomState instance or None, default=0
            Draws the rows.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : SilhouetteDisplay
        """
        display = cls._read(estimator, X, max_rows=max_rows, random_state=random_state)
        return display.plot(ax=ax)

    @classmethod
    def _read(
        cls, estimator: Any, x: Any, *, max_rows: int | None = 5_000, random_state: Any = 0
    ) -> SilhouetteDisplay:
        steps, model = host.split(estimator)
        sample = host.labels_from(estimator, x, max_rows, random_state)
        names = [str(number) for number in range(int(model.cluster_centers_.shape[0]))]
        display = cls._scored(sample, names)
        display.space = host.name_of_space(steps)
        return display

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        labels: Any,
        *,
        max_rows: int | None = 5_000,
        random_state: Any = 0,
        ax: Any = None,
    ) -> SilhouetteDisplay:
        """Draw the silhouettes of rows with labels that are known.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, of any array API library.
        labels : array-like of shape (n_samples,)
            Their clusters: numbers or strings.
        max_rows, random_state, ax
            As in `from_estimator`.

        Returns
        -------
        display : SilhouetteDisplay
        """
        return cls._scored(*host.labelled(X, labels, max_rows, random_state)).plot(ax=ax)

    @classmethod
    def _scored(cls, sample: host.Sample, names: list[str]) -> SilhouetteDisplay:
        found = silhouette_samples(sample.rows, sample.labels)
        return cls(found, sample.labels, names=names, n_rows=sample.n_rows)

    def plot(self, ax: Any = None) -> SilhouetteDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : SilhouetteDisplay
            Itself, with the artists as attributes.
        """
        self.figure_, self.ax_ = canvas.one_axes(ax, self._size())
        colors = canvas.colors_of(self.names)
        gap = max(1.0, len(self.labels) / 150 / max(1.0, len(self.names) / 12))
        self.bars_, middles, top = [], [], 0.0
        for number, color in enumerate(colors):
            mine = np.sort(self.silhouettes[self.labels == number])[::-1]
            # steps: the bar of a row is as high as one row
            edges = top + np.arange(len(mine) + 1)
            if len(mine):
                ends = np.append(mine, mine[-1])
                bar = self.ax_.fill_betweenx(edges, 0, ends, step="post", color=color, lw=0)
                self.bars_.append(bar)
            middles.append(top + len(mine) / 2)
            top += len(mine) + gap
        self.ax_.set_ylim(top, -gap)
        self._label(middles)
        return self

    def _size(self) -> tuple[float, float]:
        return 6.4, float(np.clip(0.17 * len(self.names), 4.8, 14))

    def _label(self, middles: list[float]) -> None:
        mean = float(self.silhouettes.mean())
        self.line_ = self.ax_.axvline(mean, color=canvas.INK, linestyle="--", linewidth=1.2)
        lowest = float(self.silhouettes.min())
        self.ax_.set_xlim(min(lowest - 0.05, -0.05), 1.02)
        size = 7.5 if len(self.names) > 25 else 9.5
        low, high = self.ax_.get_ylim()
        apart = 0.9 * size * abs(high - low) / canvas.room(self.ax_)[1]
        names = [canvas.short(name, 18) for name in self.names]
        self.ax_.set_yticks(*canvas.crowd(middles, names, apart), fontsize=size)
        self.ax_.tick_params(axis="y", length=0)
        self.ax_.set_xlabel("silhouette")
        self.ax_.set_ylabel("cluster")
        canvas.tidy(self.ax_, grid="x")
        below = int((self.silhouettes < 0).sum())
        share = 100 * below / len(self.silhouettes)
        detail = f"{canvas.told(len(self.labels), self.n_rows)}, {share:.1f} % below 0"
        if self.space:
            detail += f", distances {self.space}"
        canvas.heading(self.ax_, f"Silhouettes, mean {mean:.2f}", detail)
