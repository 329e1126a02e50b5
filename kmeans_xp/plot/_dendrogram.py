"""The tree of a hierarchy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..relatives import centers_linkage
from . import _canvas as canvas
from . import _rows as host

_MOST_NAMES = 60


class DendrogramDisplay:
    """Tree of clusters: how high two of them are one.

    Parameters
    ----------
    linkage : ndarray of shape (n_clusters - 1, 4)
        As of :func:`scipy.cluster.hierarchy.linkage`.
    height : str, default="height"
        What the heights are.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib LineCollection
        The tree.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from kmeans_xp import BisectingKMeans, plot
    >>> model = BisectingKMeans(n_clusters=4, random_state=0).fit(load_iris().data)
    >>> plot.DendrogramDisplay.from_estimator(model).ax_.get_ylabel()
    'inertia of the cluster'
    """

    def __init__(self, linkage: npt.NDArray[np.float64], *, height: str = "height") -> None:
        self.linkage = linkage
        self.height = height

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> DendrogramDisplay:
        """Draw the tree of a `BisectingKMeans`, or Ward's tree over the centers of another fit.

        Parameters
        ----------
        estimator : BisectingKMeans, KMeans, MiniBatchKMeans or Pipeline
            Fitted, with two clusters at least.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : DendrogramDisplay
        """
        _, model = host.split(estimator)
        if hasattr(model, "linkage_"):
            display = cls(model.linkage_, height="inertia of the cluster")
        else:
            display = cls(centers_linkage(model), height="Ward's distance of the clusters")
        return display.plot(ax=ax)

    def plot(self, ax: Any = None) -> DendrogramDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : DendrogramDisplay
            Itself, with the artists as attributes.
        """
        from scipy.cluster.hierarchy import dendrogram

        if not len(self.linkage):
            raise ValueError("one cluster has no tree. Fit two clusters or more.")
        self.figure_, self.ax_ = canvas.one_axes(ax, self._size())
        before, n_leaves = set(self.ax_.collections), len(self.linkage) + 1
        dendrogram(
            self.linkage, ax=self.ax_, color_threshold=0.0, above_threshold_color=canvas.INK,
            no_labels=n_leaves > _MOST_NAMES, leaf_font_size=9 if n_leaves <= 25 else 6.5,
        )  # fmt: skip
        self.lines_ = [drawn for drawn in self.ax_.collections if drawn not in before]
        self.ax_.set(xlabel="cluster", ylabel=self.height)
        canvas.tidy(self.ax_)
        canvas.heading(self.ax_, f"Tree of {n_leaves:,} clusters")
        return self

    def _size(self) -> tuple[float, float]:
        return 6.4, 4.2
