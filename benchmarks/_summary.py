"""What a result file says in a few lines: means of ratios, the least of them, who is ahead."""

from __future__ import annotations

import math
from typing import Any

from _peers import BY_NAME, OURS, SKLEARN

Record = dict[str, Any]
_ALIKE = 0.97


def best_sklearn(results: dict[str, Record]) -> str | None:
    """The faster of scikit-learn's two algorithms; None where neither was measured."""
    return _fastest(results, [name for name in SKLEARN if name in results])


def summarise(cells: dict[str, Record], mode: str) -> Record:
    """The summary of one mode over the cells of a report."""
    rows = {
        name: cell["modes"][mode]["results"]
        for name, cell in cells.items()
        if "times ours" in cell.get("modes", {}).get(mode, {}).get("results", {}).get(OURS, {})
    }
    to_sklearn, per_iteration, to_best, exact, ahead = [], [], [], [], []
    for name, results in rows.items():
        measured = {peer: r for peer, r in results.items() if "times ours" in r and peer != OURS}
        if best := best_sklearn(results):
            to_sklearn.append(results[best]["times ours"])
            counts = results[OURS]["iterations"] / results[best]["iterations"]
            per_iteration.append(results[best]["times ours"] * counts)
        if fastest := _fastest(measured, measured):
            to_best.append(measured[fastest]["times ours"])
        for peer, record in measured.items():
            ratio = record["times ours"]
            if BY_NAME[peer].exact:
                exact.append((ratio, name, peer))
            if ratio < _ALIKE:
                ahead.append({"cell": name, "peer": peer, "times ours": round(ratio, 3)})
    return {
        "cells": len(rows),
        "cells without a time of ours": sorted(set(cells) - set(rows)),
        "best of scikit-learn / ours, geometric mean": _mean(to_sklearn),
        "the same by iteration, geometric mean": _mean(per_iteration),
        "best peer / ours, geometric mean": _mean(to_best),
        "least ratio against an exact peer": _least(exact),
        f"a peer is ahead (ratio below {_ALIKE})": ahead,
    }


def table_lines(results: dict[str, Record]) -> list[str]:
    """One line a library, for the terminal."""
    lines = []
    for name, record in results.items():
        if "seconds" not in record:
            [(what, why)] = record.items()
            lines.append(f"  {name:<14} {what}: {why}")
            continue
        ratio = f"{record['times ours']:6.2f}" if "times ours" in record else "     -"
        peak = "?" if record["peak MiB"] is None else f"{record['peak MiB']:.0f}"
        lines.append(
            f"  {name:<14} {_seconds(record['seconds']):>9}  {ratio} x ours"
            f"  first {_seconds(record['first call']['seconds']):>9}"
            f"  iterations {record['iterations']:>4}  inertia {record['inertia']:.8g}"
            f"  labels off {record['labels differing']:.2g}  peak {peak} MiB"
            + ("  (own start)" if record["start"] == "own" else "")
        )
    return lines


def text(summary: Record) -> str:
    """The summary of a mode as lines."""
    lines = []
    for key, value in summary.items():
        if isinstance(value, list):
            lines.append(f"  {key}:{'' if value else ' none'}")
            lines += [f"    {_entry(item)}" for item in value]
        elif isinstance(value, dict):
            lines.append(f"  {key}: {value['ratio']:.2f} ({value['peer']}, {value['cell']})")
        else:
            lines.append(f"  {key}: {value if isinstance(value, int | None) else f'{value:.2f}'}")
    return "\n".join(lines)


def _entry(item: Any) -> str:
    if isinstance(item, str):
        return item
    return f"{item['cell']}: {item['peer']} {item['times ours']:.2f}"


def _fastest(results: dict[str, Record], names: Any) -> str | None:
    measured = [name for name in names if "seconds" in results[name]]
    return min(measured, key=lambda name: results[name]["seconds"], default=None)


def _mean(ratios: list[float]) -> float | None:
    if not ratios:
        return None
    return round(math.exp(sum(map(math.log, ratios)) / len(ratios)), 3)


def _least(exact: list[tuple[float, str, str]]) -> Record | None:
    if not exact:
        return None
    ratio, cell, peer = min(exact)
    return {"ratio": round(ratio, 3), "cell": cell, "peer": peer}


def _seconds(value: float) -> str:
    return f"{value * 1e3:.2f} ms" if value < 1 else f"{value:.2f} s"
