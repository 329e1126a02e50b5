"""Axes and colours that all pictures share."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

INK, FAINT, GRID = "#1b1f24", "#6b7280", "#d9dde2"
NOISE = "-1"  # the label of rows in no cluster
OKABE_ITO = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#F0E442",
    "#000000",
)
"""Colours that stay apart for colour-blind readers (M. Okabe, K. Ito, 2008)."""

_GOLDEN = 0.618033988749895
_LONGEST = 36


def load() -> Any:
    """matplotlib, or the one error that says what to install."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError(
            f"pictures need matplotlib, which cannot be imported ({error}). Install it with "
            'pip install "kmeans-xp[plot]"'
        ) from error
    return matplotlib


def one_axes(ax: Any, size: tuple[float, float], /) -> tuple[Any, Any]:
    """Return figure and axes to draw in: those given, or new ones of pyplot."""
    load()
    if ax is not None:
        return ax.figure, ax
    figure = _new_figure(size)
    return figure, figure.add_subplot()


def many_axes(ax: Any, size: tuple[float, float], /) -> tuple[Any, Any]:
    """Return a figure and a place in it that can be divided: that of ``ax``, or a new figure."""
    load()
    if ax is None:
        figure = _new_figure(size)
        return figure, figure.add_gridspec(1, 1)[0]
    place = ax.get_subplotspec()
    if place is None:
        raise ValueError(
            "ax stands outside of any grid, so that its place cannot be divided into panels. Pass "
            "ax made by plt.subplots or figure.add_subplot."
        )
    ax.set_axis_off()
    return ax.figure, place


def _new_figure(size: tuple[float, float]) -> Any:
    import matplotlib.pyplot as plt

    return plt.figure(figsize=size, layout="constrained")


def cluster_colors(n_clusters: int, /) -> list[Any]:
    """One colour a cluster; beyond eight, numbers must tell clusters apart."""
    if n_clusters <= len(OKABE_ITO):
        return list(OKABE_ITO[:n_clusters])
    # steps of the golden section: clusters with near numbers get colours that are far apart
    table = load().colormaps["viridis"]
    return [table(0.97 * ((number * _GOLDEN) % 1.0)) for number in range(n_clusters)]


def colors_of(names: Sequence[str], /) -> list[Any]:
    """Colours of clusters by their names; what `NOISE` names is none, and grey."""
    colors = iter(cluster_colors(count(names)))
    return [FAINT if name == NOISE else next(colors) for name in names]


def count(names: Sequence[str], /) -> int:
    """Clusters among the names."""
    return sum(name != NOISE for name in names)


def tidy(ax: Any, /, *, grid: str | None = None) -> None:
    """Only the lines that help to read."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    if grid is not None:
        ax.grid(axis=grid, color=GRID, linewidth=0.8)


def heading(ax: Any, title: str, detail: str = "", /) -> None:
    """A title on the left, and what it is about in small print below."""
    lines = textwrap.wrap(detail, max(24, int(room(ax)[0] / 4.7)))
    ax.set_title(title + "\n" * len(lines), loc="left", fontsize=11, weight="bold")
    ax.annotate(
        "\n".join(lines), (0, 1), xytext=(0, 6), xycoords="axes fraction",
        textcoords="offset points", fontsize=9, color=FAINT, va="bottom", annotation_clip=False,
    )  # fmt: skip


def room(ax: Any, /) -> tuple[float, float]:
    """Width and height of axes in points, before their labels take some of it."""
    box = ax.get_window_extent()
    points = 72 / ax.figure.dpi
    return box.width * points, box.height * points


def crowd(places: Sequence[float], names: Sequence[str], apart: float, /) -> tuple[Any, Any]:
    """The places and names of labels that stand at least so far from the one before."""
    kept: list[int] = []
    for number, place in enumerate(places):
        if not kept or place - places[kept[-1]] >= apart:
            kept.append(number)
    return [places[number] for number in kept], [names[number] for number in kept]


def plain_numbers(axis: Any, /) -> None:
    """Large and small numbers as they are: a factor at the end of the axis hides in titles."""
    axis.set_major_formatter(
        lambda value, _: f"{value:,.10g}" if 1e-3 <= abs(value) < 1e8 else f"{value:.4g}"
    )


def short(name: str, /, longest: int = _LONGEST) -> str:
    """A name that leaves room for the picture."""
    return name if len(name) <= longest else name[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"


def told(shown: int, total: int, /, what: str = "rows") -> str:
    """Which share of the rows a picture shows: "10,000 of 2,000,000 rows"."""
    return f"{total:,} {what}" if shown == total else f"{shown:,} of {total:,} {what}"
