"""The picture of ``search.py``: inertia over time, a panel for each set."""

from __future__ import annotations

import math
import pathlib
from typing import Any

_INK, _FAINT, _GRID = "#1b1f24", "#6b7280", "#e3e6ea"
_LOOKS = {
    "kmeans_xp": ("#c2185b", "o", "white"),
    "kmeans_xp, search=auto": ("#c2185b", "o", "#c2185b"),
    "kmeans_xp, search=100": ("#c2185b", "s", "#f3b6cd"),
    "breathing": ("#8e6bbf", "v", "white"),
    "scikit-learn, n_init=1": ("#0072b2", "D", "white"),
    "scikit-learn, equal time": ("#0072b2", "D", "#9cc9e6"),
    "scikit-learn, n_init=10": ("#0072b2", "D", "#0072b2"),
    "faiss, nredo=1": ("#009e73", "^", "white"),
    "faiss, nredo=10": ("#009e73", "^", "#009e73"),
    "bkmeans": ("#e69f00", "P", "#e69f00"),
}
_COLUMNS = 4
_LEAST = 1e-6
"""Excess below which a way stands at the reference."""


def draw(report: dict[str, Any], path: pathlib.Path) -> None:
    """Draw mean excess over the reference against the mean processor time, both logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams.update({"font.size": 8.5, "text.color": _INK, "axes.edgecolor": _GRID})
    sets = report["sets"]
    rows = math.ceil((len(sets) + 1) / _COLUMNS)
    figure, grid = plt.subplots(rows, _COLUMNS, figsize=(13, 2.7 * rows + 0.9), squeeze=False)
    panels = grid.ravel().tolist()
    for panel, (name, found) in zip(panels, sets.items(), strict=False):
        _panel(panel, name, found["ways"])
    for panel in panels[len(sets) :]:
        panel.set_axis_off()
    _legend(panels[len(sets)])
    figure.suptitle("Inertia over time: lower and further left is better", x=0.01, ha="left")
    hardware = report["hardware"]
    figure.text(
        0.01, 0.006,
        f"mean excess over the best known inertia against mean processor seconds of a fit, one "
        f"thread; bottom line: none.  {hardware['processor']}, other load; {report['date']}",
        fontsize=8, color=_FAINT,
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0.02, 1, 0.985))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(panel: Any, name: str, ways: dict[str, dict[str, Any]]) -> None:
    from matplotlib.ticker import LogLocator

    panel.set_title(name, loc="left", fontsize=10, pad=9, weight="bold")
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.grid(color=_GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(length=0, which="both", labelcolor=_FAINT)
    panel.minorticks_off()
    for way, (color, marker, face) in _LOOKS.items():
        found = ways.get(way, {})
        if "s mean" in found:
            excess = min(max(found["inertia ratio mean"] - 1.0, _LEAST), 1.0)
            panel.plot(
                found["s mean"], excess, marker, color=color, markerfacecolor=face, markersize=7.5,
                markeredgewidth=1.5, zorder=4 if way.startswith("kmeans_xp") else 3, clip_on=False,
            )  # fmt: skip
    panel.set_ylim(_LEAST, 1.0)
    panel.set_yticks(
        [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1],
        ["0", ".001 %", ".01 %", ".1 %", "1 %", "10 %", "≥ 100 %"],
    )
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    panel.xaxis.set_major_formatter(lambda seconds, _: f"{seconds:g}")
    for spine in panel.spines.values():
        spine.set_visible(False)


def _legend(panel: Any) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker=marker, color=color, markerfacecolor=face, label=way,
               markersize=7.5, markeredgewidth=1.5)
        for way, (color, marker, face) in _LOOKS.items()
    ]  # fmt: skip
    panel.legend(handles=handles, loc="center left", frameon=False)
