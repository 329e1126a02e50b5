"""How many rows each cluster has."""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np
import numpy.typing as npt

from .._backend import context_of, to_host
from ..metrics._labels import check_labels
from . import _canvas as canvas
from . import _rows as host

_MOST_TEXTS = 16


class SizesDisplay:
    """Rows of each cluster as bars.

    Parameters
    ----------
    sizes : ndarray of shape (n_clusters,)
        Numbers of rows.
    names : list of str
        Names of the clusters.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    bars_ : matplotlib BarContainer
    line_ : matplotlib Line2D
        What each cluster would have if all had as many.
    texts_ : list of matplotlib Text
        Numbers on the bars, where these are few.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from kmeans_xp import KMeans
    >>> from kmeans_xp.plot import SizesDisplay
    >>> model = KMeans(n_clusters=3, random_state=0).fit(load_iris().data)
    >>> display = SizesDisplay.from_estimator(model)
    >>> int(display.sizes.sum())
    150
    """

    def __init__(self, sizes: npt.NDArray[np.int64], *, names: list[str]) -> None:
        self.sizes = sizes
        self.names = names

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any = None, *, ax: Any = None) -> SizesDisplay:
        """Draw how many rows each cluster has.

        Parameters
        ----------
        estimator : KMeans or Pipeline
            Fitted.
        X : array-like of shape (n_samples, n_features), default=None
            Rows to label and count, all of them; None counts those of the fit.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : SizesDisplay
        """
        return cls._read(estimator, X).plot(ax=ax)

    @classmethod
    def _read(cls, estimator: Any, x: Any = None) -> SizesDisplay:
        _, model = host.split(estimator)
        n_clusters = int(model.cluster_centers_.shape[0])
        if x is None and not hasattr(model, "labels_"):
            raise ValueError(
                "the estimator has no labels_ of the rows of its fit. Pass X, the rows to count."
            )
        labels = model.labels_ if x is None else estimator.predict(x)
        names = [str(number) for number in range(n_clusters)]
        return cls(_counts(labels, n_clusters), names=names)

    @classmethod
    def from_predictions(cls, labels: Any, *, ax: Any = None) -> SizesDisplay:
        """Draw how many rows have each label.

        Parameters
        ----------
        labels : array-like of shape (n_samples,)
            Numbers or strings.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : SizesDisplay
        """
        clusters = host.cluster(labels)
        return cls(clusters.sizes, names=clusters.names).plot(ax=ax)

    def plot(self, ax: Any = None) -> SizesDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : SizesDisplay
            Itself, with the artists as attributes.
        """
        self.figure_, self.ax_ = canvas.one_axes(ax, self._size())
        from matplotlib.patheffects import withStroke

        places = np.arange(len(self.sizes))
        colors = canvas.colors_of(self.names)
        self.bars_ = self.ax_.bar(places, self.sizes, color=colors, width=0.8)
        mean = float(self._of_clusters().mean())
        self.line_ = self.ax_.axhline(
            mean, color=canvas.INK, linestyle="--", linewidth=1.0, zorder=0.9
        )
        self.texts_ = []
        if len(self.sizes) <= _MOST_TEXTS:
            texts = [f"{size:,}" for size in self.sizes]
            size = 9 if len(self.sizes) <= 10 else 8
            self.texts_ = self.ax_.bar_label(self.bars_, texts, padding=2, fontsize=size)
            halo = withStroke(linewidth=3, foreground=self.ax_.get_facecolor())
            for text in self.texts_:
                text.set_path_effects([halo])
        self._label()
        return self

    def _size(self) -> tuple[float, float]:
        return float(np.clip(1.5 + 0.14 * len(self.sizes), 6.4, 13)), 3.6

    def _label(self) -> None:
        names = [canvas.short(name, 14) for name in self.names]
        width = canvas.room(self.ax_)[0] / (len(names) + 0.4)
        apart = (8 + 5.5 * max(map(len, names))) / width
        self.ax_.set_xticks(*canvas.crowd(range(len(names)), names, apart), fontsize=9)
        self.ax_.set_xlim(-0.7, len(self.sizes) - 0.3)
        self.ax_.tick_params(axis="x", length=0)
        self.ax_.yaxis.set_major_formatter("{x:,.0f}")
        self.ax_.margins(y=0.1)
        self.ax_.set(xlabel="cluster", ylabel="rows")
        canvas.tidy(self.ax_, grid="y")
        sizes = self._of_clusters()
        what = "cluster" if len(sizes) == 1 else "clusters"
        canvas.heading(
            self.ax_,
            f"{int(sizes.sum()):,} rows in {len(sizes)} {what}",
            f"smallest {int(sizes.min()):,}, mean (dashed) {float(sizes.mean()):,.0f}, "
            f"largest {int(sizes.max()):,}",
        )

    def _of_clusters(self) -> npt.NDArray[np.int64]:
        """Sizes without noise, where there is anything else."""
        kept = np.asarray([name != canvas.NOISE for name in self.names])
        return self.sizes[kept] if kept.any() else self.sizes


def _counts(labels: Any, n_clusters: int) -> npt.NDArray[np.int64]:
    """Rows of each cluster, counted where the labels are."""
    labels = check_labels(labels, "labels")
    xp = array_api_compat.array_namespace(labels)
    with context_of(labels).scope():
        device = array_api_compat.device(labels)
        edges = xp.arange(n_clusters + 1, dtype=labels.dtype, device=device)
        ends = xp.searchsorted(xp.sort(labels), edges)
        counts: npt.NDArray[np.int64] = to_host(ends[1:] - ends[:n_clusters]).astype(np.int64)
    return counts
