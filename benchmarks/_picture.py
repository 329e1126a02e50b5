"""The pictures of a result file: one row a cell, and the curves over rows and clusters."""

from __future__ import annotations

import pathlib
from typing import Any

from _peers import OURS, PEERS, SKLEARN
from _summary import best_sklearn
from _turns import MODES

Record = dict[str, Any]
_TIMES = "\N{MULTIPLICATION SIGN}"
_INK, _FAINT, _GRID = "#1b1f24", "#6b7280", "#e3e6ea"
_LOOKS = {
    OURS: ("#c2185b", "o", 92),
    "sklearn lloyd": ("#3b4252", "|", 90),
    "sklearn elkan": ("#3b4252", "x", 34),
    "sklearnex": ("#0072b2", "s", 34),
    "faiss": ("#009e73", "^", 42),
    "SuperKMeans": ("#e69f00", "D", 32),
    "fastkmeans": ("#8e6bbf", "v", 42),
}
_OUTSIDE = 14
"""Speeds beyond this factor are drawn at the edge, with their number."""


def draw(report: Record, path: pathlib.Path) -> list[pathlib.Path]:
    """Draw the pictures that the report has figures for; returns the files written."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update(
        {
            "font.size": 9.5,
            "text.color": _INK,
            "axes.labelcolor": _INK,
            "axes.edgecolor": _GRID,
            "xtick.color": _FAINT,
            "ytick.color": _INK,
            "figure.facecolor": "white",
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    written = []
    if any(cell.get("modes") for cell in report["cells"].values()):
        _draw_speeds(report, path)
        written.append(path)
    if any(report["scaling"].values()):
        curves = path.with_name(f"{path.stem}-scaling{path.suffix}")
        _draw_curves(report, curves)
        written.append(curves)
    return written


def _draw_speeds(report: Record, path: pathlib.Path) -> None:
    import matplotlib.pyplot as plt

    cells = {name: cell for name, cell in report["cells"].items() if cell.get("modes")}
    height = 2.2 + 0.36 * len(cells)
    figure, panels = plt.subplots(1, len(MODES), figsize=(13, height), sharey=True)
    for panel, (mode, title) in zip(panels, MODES.items(), strict=True):
        _frame(panel, cells, title)
        for row, cell in enumerate(cells.values()):
            _speeds_of_row(panel, row, cell["modes"].get(mode, {}).get("results", {}))
    panels[0].set_yticks([])
    _row_labels(panels[0], cells)
    top = 1 - 1.1 / height
    figure.subplots_adjust(left=0.215, right=0.985, top=top, bottom=0.75 / height, wspace=0.05)
    figure.text(
        0.012, 1 - 0.3 / height, "Speed relative to the best of scikit-learn's two algorithms",
        fontsize=14, weight="bold", va="center",
    )  # fmt: skip
    figure.text(0.012, 0.2 / height, _small_print(report), fontsize=8, color=_FAINT, va="center")
    _legend(figure, 1 - 0.62 / height)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _frame(panel: Any, cells: dict[str, Record], title: str) -> None:
    """Axes, bands and the line at 1."""
    panel.set_xscale("log")
    panel.set_xlim(1 / _OUTSIDE / 1.5, _OUTSIDE * 1.5)
    panel.set_ylim(len(cells) - 0.4, -0.6)
    ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10]
    panel.set_xticks(ticks, [f"{tick:g}{_TIMES}" for tick in ticks])
    panel.minorticks_off()
    panel.set_xlabel("slower   ←   scikit-learn   →   faster")
    panel.set_title(title, fontsize=11, loc="left", weight="bold")
    panel.grid(axis="x", color=_GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(length=0)
    for row in range(0, len(cells), 2):
        panel.axhspan(row - 0.5, row + 0.5, color="#f6f7f9", zorder=0)
    panel.axvline(1, color=_FAINT, linewidth=1.1, zorder=1)
    for spine in panel.spines.values():
        spine.set_visible(False)


def _speeds_of_row(panel: Any, row: int, results: dict[str, Record]) -> None:
    best = best_sklearn(results)
    if best is None:
        return
    for name in reversed(_LOOKS):
        record = results.get(name, {})
        if "seconds" not in record:
            continue
        speed = results[best]["seconds"] / record["seconds"]
        shown = min(max(speed, 1 / _OUTSIDE), _OUTSIDE)
        _mark(panel, shown, row, name, own=record["start"] == "own")
        if name == OURS:
            _our_bar(panel, shown, row, speed)
            _note_iterations(panel, row, record["iterations"], results[best]["iterations"])
        elif speed > _OUTSIDE:
            panel.annotate(
                f"{speed:.0f}{_TIMES}", (shown, row), xytext=(7, 0), textcoords="offset points",
                va="center", fontsize=7.5, color=_FAINT,
            )  # fmt: skip


def _our_bar(panel: Any, shown: float, row: int, speed: float) -> None:
    color = _LOOKS[OURS][0]
    panel.plot([1, shown], [row, row], color=color, linewidth=2.4, zorder=2, alpha=0.55)
    number = f"{speed:.1f}" if speed >= 1 else f"{speed:.2f}"
    panel.annotate(
        number + _TIMES, (shown, row), xytext=(0, 6), textcoords="offset points", ha="center",
        fontsize=7.5, color=color, weight="bold",
    )  # fmt: skip


def _note_iterations(panel: Any, row: int, ours: int, theirs: int) -> None:
    """Both counts, where rounding led the best of scikit-learn to another end."""
    if abs(ours - theirs) > 0.05 * theirs:
        panel.annotate(
            f"{ours} : {theirs} iterations", (1, row), xytext=(-4, -9), fontsize=6.5,
            xycoords=panel.get_yaxis_transform(), textcoords="offset points", ha="right",
            va="center", color=_FAINT,
        )  # fmt: skip


def _mark(panel: Any, x: float, y: float, name: str, *, own: bool = False) -> None:
    """Filled for exact libraries, hollow for the others, faint where the start is another."""
    color, marker, size = _LOOKS[name]
    exact = next(peer.exact for peer in PEERS if peer.name == name)
    style = {"color": color} if exact else {"facecolors": "white", "edgecolors": color}
    panel.scatter(
        [x], [y], marker=marker, s=size, linewidths=1.6, zorder=5 if name == OURS else 3,
        alpha=0.6 if own else 1, **style,
    )  # fmt: skip


def _legend(figure: Any, y: float) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for peer in PEERS:
        color, marker, size = _LOOKS[peer.name]
        handles.append(
            Line2D(
                [], [], linestyle="", marker=marker, markersize=size**0.5, color=color,
                markerfacecolor=color if peer.exact else "white", markeredgewidth=1.6,
                label=peer.name,
            )
        )  # fmt: skip
    figure.legend(
        handles=handles, loc="center left", bbox_to_anchor=(0.004, y), ncols=len(handles),
        frameon=False, handletextpad=0.2, columnspacing=1.6, fontsize=10,
    )  # fmt: skip


def _row_labels(panel: Any, cells: dict[str, Record]) -> None:
    """Name, shape, clusters and dtype of each cell, in columns left of the panel."""
    for row, (name, cell) in enumerate(cells.items()):
        shape = f"{cell['n']:,} {_TIMES} {cell['d']}".replace(",", "\u2009")
        bits = {"float32": "f4", "float64": "f8"}[cell["dtype"]]
        columns = (
            (-0.53, name.split()[0], "left"),
            (-0.175, shape, "right"),
            (-0.065, f"k {cell['k']}", "right"),
            (-0.02, bits, "right"),
        )
        for x, text, side in columns:
            panel.text(x, row, text, ha=side, va="center", transform=panel.get_yaxis_transform())


def _small_print(report: Record) -> str:
    hardware = report.get("hardware", {})
    return (
        "filled: exact in the data's dtype; hollow: float32 or approximate; faint: starts from "
        f"rows of its own; at the edge: beyond {_OUTSIDE}{_TIMES}.  "
        f"{hardware.get('processor')}, {hardware.get('processors usable')} processors, "
        f"{report['date']}"
    )


def _draw_curves(report: Record, path: pathlib.Path) -> None:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(11, 7.6), sharex="col")
    axes = {"n": "rows n", "k": "clusters k"}
    for column, (axis, title) in enumerate(axes.items()):
        points = report["scaling"].get(axis, [])
        for row, per_iteration in enumerate((False, True)):
            _curve_panel(panels[row, column], points, axis, per_iteration=per_iteration)
        panels[1, column].set_xlabel(title)
        panels[0, column].set_title(_curve_title(points, axis), fontsize=11, loc="left")
    panels[0, 0].set_ylabel("seconds to convergence")
    panels[1, 0].set_ylabel("milliseconds an iteration")
    panels[0, 0].legend(loc="upper left", facecolor="white", edgecolor="none", framealpha=1)
    figure.suptitle("Time over rows and over clusters", x=0.012, ha="left", weight="bold", size=14)
    figure.text(
        0.012, 0.012, "dotted lines: proportional to n or to k.  Until no row changes cluster.  "
        f"{report.get('hardware', {}).get('processor')}, {report['date']}",
        fontsize=8, color=_FAINT,
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0.025, 1, 0.985))
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _curve_title(points: list[Record], axis: str) -> str:
    if not points:
        return ""
    fixed = "32 clusters" if axis == "n" else f"{points[0]['n']:,} rows".replace(",", "\u2009")
    return f"{'Rows' if axis == 'n' else 'Clusters'} grow; 8 features, {fixed}"


def _curve_panel(panel: Any, points: list[Record], axis: str, *, per_iteration: bool) -> None:
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.grid(color=_GRID, linewidth=0.8)
    panel.tick_params(length=0, which="both")
    for spine in panel.spines.values():
        spine.set_visible(False)
    for name in (*SKLEARN, OURS):
        xs, ys = _curve(points, axis, name, per_iteration=per_iteration)
        if not xs:
            continue
        color, marker, _ = _LOOKS[name]
        style = {"linestyle": "--" if name == SKLEARN[1] else "-", "label": name}
        if name == OURS:
            panel.plot(xs, ys, "o-", color=color, linewidth=2.4, markersize=7, label=name, zorder=4)
        else:
            panel.plot(xs, ys, marker=marker, color=color, linewidth=1.3, **style)
    _diagonals(panel)


def _diagonals(panel: Any) -> None:
    """Lines of proportional growth behind the curves."""
    (left, right), (low, high) = panel.get_xlim(), panel.get_ylim()
    panel.set_xlim(left, right)
    panel.set_ylim(low, high)
    for power in range(-14, 8):
        for start in (1, 10**0.5):
            ends = [start * 10**power * x for x in (left, right)]
            panel.plot([left, right], ends, ":", color=_FAINT, linewidth=0.7, alpha=0.6, zorder=1)


def _curve(
    points: list[Record], axis: str, name: str, *, per_iteration: bool
) -> tuple[list[float], list[float]]:
    xs, ys = [], []
    for point in points:
        record = point["results"].get(name, {})
        if "seconds" in record:
            xs.append(point[axis])
            by = record["iterations"] / 1e3 if per_iteration else 1
            ys.append(record["seconds"] / by)
    return xs, ys
