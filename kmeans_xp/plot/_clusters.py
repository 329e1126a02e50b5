"""Rows and centers in the plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.utils import check_random_state

from . import _canvas as canvas
from . import _rows as host
from ._regions import voronoi

_MOST_NUMBERS = 120


class ClustersDisplay:
    """Scatter of rows, coloured by cluster, with the centers.

    Two features are shown as they are, with the Voronoi region of each center: the part of the
    plane where it is the nearest one.  More features go through a PCA of the rows shown; the
    axes tell how much of their variance is left.  One feature is drawn along a line, with the
    rows at random heights.

    Parameters
    ----------
    points : ndarray of shape (n_shown, 2)
        Rows in the plane.
    labels : ndarray of shape (n_shown,)
        Number of each row's cluster, from 0.
    centers : ndarray of shape (n_clusters, 2)
        Centers in the plane.
    names : list of str
        Names of the clusters.
    axis_names : (str, str)
        What the axes show; an empty one has no ticks.
    n_rows : int
        Rows that those shown were drawn from.
    explained : (float, float) or None
        Shares of the variance of the rows shown, from 0 to 1, that a PCA left to the axes; None
        without one.
    nearest : bool, default=False
        Whether each row is in the cluster of its nearest center; then, and without a PCA, there
        are Voronoi regions.
    space : str, default=""
        Where the rows of a PCA were taken from, such as "after StandardScaler".

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    scatter_ : matplotlib PathCollection
        The rows.
    centers_ : matplotlib PathCollection
        The centers.
    texts_ : list of matplotlib Text
        Names of the clusters at their centers.
    regions_ : matplotlib PolyCollection or None
        Voronoi regions.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from kmeans_xp import KMeans
    >>> from kmeans_xp.plot import ClustersDisplay
    >>> X = load_iris().data
    >>> model = KMeans(n_clusters=3, random_state=0).fit(X)
    >>> display = ClustersDisplay.from_estimator(model, X)
    >>> display.ax_.get_xlabel()
    'PC 1 (92.5 % of the variance)'
    """

    def __init__(
        self,
        points: npt.NDArray[np.float64],
        labels: npt.NDArray[np.int64],
        centers: npt.NDArray[np.float64],
        *,
        names: list[str],
        axis_names: tuple[str, str],
        n_rows: int,
        explained: tuple[float, float] | None = None,
        nearest: bool = False,
        space: str = "",
    ) -> None:
        self.points = points
        self.labels = labels
        self.centers = centers
        self.names = names
        self.axis_names = axis_names
        self.n_rows = n_rows
        self.explained = explained
        self.nearest = nearest
        self.space = space

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        max_rows: int | None = 10_000,
        random_state: Any = 0,
        feature_names: Sequence[str] | None = None,
        ax: Any = None,
    ) -> ClustersDisplay:
        """Draw rows with the labels that a fitted estimator gives them.

        Parameters
        ----------
        estimator : KMeans or Pipeline
            Fitted.  After other steps of a pipeline rows are shown as these leave them, which is
            where the distances are taken.
        X : array-like of shape (n_samples, n_features)
            Rows, in the library and on the device of those passed to fit.
        max_rows : int or None, default=10_000
            Most rows to show.  Of more, so many are drawn, each equally likely, and only they
            leave the device; the picture tells.
        random_state : int, RandomState instance or None, default=0
            Draws the rows.
        feature_names : sequence of str, default=None
            Names for the axes; None takes those seen in fit.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : ClustersDisplay
        """
        return cls._read(
            estimator, X, max_rows=max_rows, random_state=random_state, feature_names=feature_names
        ).plot(ax=ax)

    @classmethod
    def _read(
        cls,
        estimator: Any,
        x: Any,
        *,
        max_rows: int | None = 10_000,
        random_state: Any = 0,
        feature_names: Sequence[str] | None = None,
    ) -> ClustersDisplay:
        steps, model = host.split(estimator)
        sample = host.labels_from(estimator, x, max_rows, random_state)
        centers, space = host.centers_of(model), host.name_of_space(steps)
        note = f" ({space})" if space else ""
        names = host.names_after(steps, estimator, feature_names, centers.shape[1])
        clusters = [str(number) for number in range(len(centers))]
        display = cls._placed(sample, centers, clusters, [n + note for n in names], random_state)
        display.nearest, display.space = host.are_nearest(sample, centers), space
        return display

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        labels: Any,
        *,
        max_rows: int | None = 10_000,
        random_state: Any = 0,
        feature_names: Sequence[str] | None = None,
        ax: Any = None,
    ) -> ClustersDisplay:
        """Draw rows with labels that are known; centers are the means of the rows shown.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, of any array API library.
        labels : array-like of shape (n_samples,)
            Their clusters: numbers or strings.  Rows of -1 are in none: grey, without a center.
        max_rows, random_state, feature_names, ax
            As in `from_estimator`.

        Returns
        -------
        display : ClustersDisplay
            Without Voronoi regions: nothing says that each row is in the nearest cluster.
        """
        sample, clusters = host.labelled(X, labels, max_rows, random_state)
        names = host.names_of(X, feature_names, sample.rows.shape[1])
        means = [
            sample.rows[sample.labels == number].mean(axis=0)
            if name != canvas.NOISE and (sample.labels == number).any()
            else np.full(sample.rows.shape[1], np.nan)
            for number, name in enumerate(clusters)
        ]
        return cls._placed(sample, np.asarray(means), clusters, names, random_state).plot(ax=ax)

    @classmethod
    def _placed(
        cls,
        sample: host.Sample,
        centers: host.Floats,
        clusters: list[str],
        names: list[str],
        random_state: Any,
    ) -> ClustersDisplay:
        """Bring rows and centers into the plane."""
        points, explained, axis_names = sample.rows, None, (names[0], names[-1])
        if len(names) == 1:
            heights = check_random_state(random_state).random_sample(len(points))
            points = np.column_stack([points, heights])
            centers = np.column_stack([centers, np.full(len(centers), 0.5)])
            axis_names = (names[0], "")
        elif len(names) > 2:
            points, centers, explained = _project(points, centers)
            axis_names = (
                f"PC 1 ({100 * explained[0]:.1f} % of the variance)",
                f"PC 2 ({100 * explained[1]:.1f} %)",
            )
        return cls(
            points,
            sample.labels,
            centers,
            names=clusters,
            axis_names=axis_names,
            n_rows=sample.n_rows,
            explained=explained,
        )

    def plot(self, ax: Any = None, *, voronoi: bool = True) -> ClustersDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        voronoi : bool, default=True
            Whether to draw Voronoi regions, if there are any.

        Returns
        -------
        display : ClustersDisplay
            Itself, with the artists as attributes.
        """
        self.figure_, self.ax_ = canvas.one_axes(ax, self._size())
        colors = canvas.colors_of(self.names)
        rows = np.asarray([colors[label] for label in self.labels], dtype=object)
        size = float(np.clip(9000 / max(1, len(self.points)), 3, 26))
        self.scatter_ = self.ax_.scatter(
            *self.points.T, s=size, c=list(rows), linewidths=0, alpha=0.75, zorder=2,
            rasterized=len(self.points) > 2000,
        )  # fmt: skip
        low, high = self._limits()
        span = high - low
        has_regions = voronoi and self.nearest and self.explained is None
        self.regions_ = (
            self._draw_regions(colors, low - span.max(), high + span.max()) if has_regions else None
        )
        self._draw_centers()
        if self.axis_names[1] and span.max() <= 3 * span.min() and _is_alone(self.ax_):
            # distances as they are, where that leaves room for them
            self.ax_.set_aspect("equal", adjustable="datalim")
        self._label()
        return self

    def _size(self) -> tuple[float, float]:
        return (6.4, 3.0) if not self.axis_names[1] else (6.4, 5.2)

    def _limits(self) -> tuple[host.Floats, host.Floats]:
        """A little more than rows and centers span."""
        everything = np.concatenate([self.points, self.centers])
        low, high = np.nanmin(everything, axis=0), np.nanmax(everything, axis=0)
        span = np.where(high > low, high - low, np.maximum(np.abs(high), 1.0))
        return low - 0.05 * span, high + 0.05 * span

    def _draw_regions(self, colors: list[Any], low: host.Floats, high: host.Floats) -> Any:
        from matplotlib.collections import PolyCollection

        regions = PolyCollection(
            voronoi(self.centers, low, high),
            facecolors=colors,
            alpha=0.14,
            zorder=0,
        )
        edges = PolyCollection(
            regions_of(regions), facecolors="none", edgecolors=canvas.INK, linewidths=0.8, zorder=3
        )
        edges.set_alpha(0.55)
        self.ax_.add_collection(regions, autolim=False)
        self.ax_.add_collection(edges, autolim=False)
        return regions

    def _draw_centers(self) -> None:
        has_texts = len(self.names) <= _MOST_NUMBERS
        is_numbers = has_texts and max(map(len, self.names)) <= 2
        crowded = len(self.names) > 20
        self.centers_ = self.ax_.scatter(
            *self.centers.T, s=(110 if crowded else 130) if is_numbers else 16, c="white",
            edgecolors=canvas.INK, linewidths=1.1, zorder=4,
        )  # fmt: skip
        box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": canvas.INK}
        self.texts_ = [
            self.ax_.text(
                *center, canvas.short(name, 14), ha="center", va="center_baseline",
                fontsize=7.5 if crowded else 8.5, color=canvas.INK, zorder=5, clip_on=True,
                bbox=None if is_numbers else box,
            )
            for name, center in zip(self.names, self.centers, strict=True)
            if has_texts and np.isfinite(center).all()
        ]  # fmt: skip

    def _label(self) -> None:
        self.ax_.set_xlabel(canvas.short(self.axis_names[0], 60))
        self.ax_.set_ylabel(canvas.short(self.axis_names[1], 40))
        if not self.axis_names[1]:
            self.ax_.set_yticks([])
        canvas.tidy(self.ax_)
        n_clusters = canvas.count(self.names)
        what = "cluster" if n_clusters == 1 else "clusters"
        detail = canvas.told(len(self.points), self.n_rows)
        if self.explained is not None:
            space = f" {self.space}" if self.space else ""
            detail += f", PCA{space} with {100 * sum(self.explained):.1f} % of their variance"
        canvas.heading(self.ax_, f"{n_clusters} {what}", detail)


def regions_of(collection: Any, /) -> list[host.Floats]:
    """Vertices of each region; empty ones keep their place."""
    return [path.vertices for path in collection.get_paths()]


def _is_alone(ax: Any) -> bool:
    """Whether no other axes share a scale with these, which would change with it."""
    shared = ax.get_shared_x_axes(), ax.get_shared_y_axes()
    return all(len(group.get_siblings(ax)) == 1 for group in shared)


def _project(
    points: host.Floats, centers: host.Floats
) -> tuple[host.Floats, host.Floats, tuple[float, float]]:
    """The plane of the largest variance of the rows."""
    pca = PCA(n_components=min(2, len(points)), random_state=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        placed = pca.fit_transform(points)
    shares = np.nan_to_num(pca.explained_variance_ratio_)
    missing = 2 - placed.shape[1]
    pad = ((0, 0), (0, missing))
    # a cluster without rows in the picture has no center there
    known = np.isfinite(centers).all(axis=1)
    there = np.full((len(centers), 2), np.nan)
    there[known] = np.pad(pca.transform(centers[known]), pad)
    shares = np.pad(shares, (0, missing))
    return np.pad(placed, pad), there, (float(shares[0]), float(shares[1]))
