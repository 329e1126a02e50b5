"""Centers as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _canvas as canvas
from . import _rows as host

_MOST_TEXTS = 320


class CentersDisplay:
    """Heat map of the centers in original units: a row a feature, a column a cluster.

    Features differ in their units, so each is coloured from its lowest to its highest center;
    numbers in the cells, or beside the names of the features where cells are many, are in the
    features' own units.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters, n_features)
        In original units.
    feature_names : list of str
        Names of the features.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    im_ : matplotlib AxesImage
        Array of shape (n_features, n_clusters).
    text_ : ndarray of matplotlib Text, shape (n_features, n_clusters), or None
        The numbers in the cells; None where cells are many.
    colorbar_ : matplotlib Colorbar

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from kmeans_xp import KMeans
    >>> from kmeans_xp.plot import CentersDisplay
    >>> iris = load_iris()
    >>> model = make_pipeline(StandardScaler(), KMeans(n_clusters=3, random_state=0))
    >>> model = model.fit(iris.data)
    >>> display = CentersDisplay.from_estimator(model, feature_names=iris.feature_names)
    >>> display.text_[0, 0].get_text() == f"{display.centers[0, 0]:.3g}"
    True
    """

    def __init__(self, centers: npt.NDArray[np.float64], *, feature_names: list[str]) -> None:
        self.centers = centers
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, feature_names: Sequence[str] | None = None, ax: Any = None
    ) -> CentersDisplay:
        """Draw the centers of a fitted estimator.

        Parameters
        ----------
        estimator : KMeans or Pipeline
            Fitted.  The steps of a pipeline before the clustering take the centers back to
            original units by their ``inverse_transform``.
        feature_names : sequence of str, default=None
            Names of the features; None takes those seen in fit.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : CentersDisplay
        """
        return cls._read(estimator, feature_names=feature_names).plot(ax=ax)

    @classmethod
    def _read(cls, estimator: Any, *, feature_names: Sequence[str] | None = None) -> CentersDisplay:
        steps, model = host.split(estimator)
        centers = host.in_original_units(steps, model)
        names = host.names_of(estimator, feature_names, centers.shape[1])
        return cls(centers, feature_names=names)

    def plot(
        self, ax: Any = None, *, scale: str = "feature", cmap: str = "cividis"
    ) -> CentersDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        scale : {"feature", "common"}, default="feature"
            Colours from the lowest to the highest center of each feature, or of all features
            (which must then have one unit).
        cmap : str, default="cividis"
            A colour map of matplotlib.

        Returns
        -------
        display : CentersDisplay
            Itself, with the artists as attributes.
        """
        if scale not in ("feature", "common"):
            raise ValueError(f"scale={scale!r} is not known. Use 'feature' or 'common'.")
        self.figure_, self.ax_ = canvas.one_axes(ax, self._size())
        values = self.centers.T if scale == "common" else _shares(self.centers).T
        self.im_ = self.ax_.imshow(values, aspect="auto", cmap=cmap, interpolation="nearest")
        self.colorbar_ = self.figure_.colorbar(
            self.im_, ax=self.ax_, aspect=max(8.0, canvas.room(self.ax_)[1] / 10), pad=0.02
        )
        if scale == "feature":
            self.im_.set_clim(0, 1)
            self.colorbar_.set_ticks([0, 1], labels=["lowest", "highest"])
        self.colorbar_.outline.set_visible(False)
        self.text_ = self._write_numbers() if self._has_texts else None
        self._label()
        return self

    @property
    def _has_texts(self) -> bool:
        n_clusters, n_features = map(int, self.centers.shape)
        return n_clusters <= 16 and n_clusters * n_features <= _MOST_TEXTS and n_features <= 40

    def _size(self) -> tuple[float, float]:
        n_clusters, n_features = self.centers.shape
        cell = 0.52 if self._has_texts else 0.12
        width = float(np.clip(3.6 + cell * n_clusters, 6.4, 13))
        return width, float(np.clip(1.4 + 0.27 * n_features, 2.6, 13))

    def _write_numbers(self) -> npt.NDArray[np.object_]:
        n_clusters, n_features = self.centers.shape
        texts = np.empty((n_features, n_clusters), dtype=object)
        for feature in range(n_features):
            for cluster in range(n_clusters):
                shade = self.im_.cmap(self.im_.norm(self.im_.get_array()[feature, cluster]))
                texts[feature, cluster] = self.ax_.text(
                    cluster, feature, _number(self.centers[cluster, feature]),
                    ha="center", va="center", fontsize=9, color=_readable_on(shade),
                )  # fmt: skip
        return texts

    def _label(self) -> None:
        low, high = self.centers.min(axis=0), self.centers.max(axis=0)
        names = [canvas.short(name) for name in self.feature_names]
        if not self._has_texts:
            names = [
                f"{name}  {_number(bottom)} to {_number(top)}"
                for name, bottom, top in zip(names, low, high, strict=True)
            ]
        width, height = canvas.room(self.ax_)
        size = 9 if len(names) <= 40 else 8
        apart = 1.15 * size * len(names) / height
        self.ax_.set_yticks(*canvas.crowd(range(len(names)), names, apart), fontsize=size)
        numbers = [str(number) for number in range(len(self.centers))]
        apart = 20 * len(numbers) / width
        self.ax_.set_xticks(*canvas.crowd(range(len(numbers)), numbers, apart), fontsize=9)
        self.ax_.set_xlabel("cluster")
        self.ax_.tick_params(length=0)
        self.ax_.spines[:].set_visible(False)
        what = "center" if len(self.centers) == 1 else "centers"
        canvas.heading(self.ax_, f"{len(self.centers)} {what}", "in original units")


def _shares(centers: host.Floats) -> host.Floats:
    """Each feature from 0 at its lowest center to 1 at its highest; 0.5 where all are equal."""
    low, high = centers.min(axis=0), centers.max(axis=0)
    # halves: the span of values near the largest float64 overflows
    span = high / 2 - low / 2
    shares = (centers / 2 - low / 2) / np.where(span > 0, span, 1.0)
    return np.where(span > 0, shares, 0.5)


def _number(value: float) -> str:
    """Three digits; all of thousands, where an exponent would be the longer one."""
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e5 else f"{value:.3g}"


def _readable_on(shade: tuple[float, ...]) -> str:
    red, green, blue = shade[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
