"""The report of a fit: as plain values for JSON, and as text to read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .._files import Blocks
from .._info import versions

_MOST_LINES = 40
_LONGEST_NAME = 24


def cluster_facts(
    blocks: Blocks,
    weights: npt.NDArray[Any] | None,
    labels: npt.NDArray[Any],
    centers: npt.NDArray[Any],
) -> dict[str, list[Any]]:
    """Rows, weight and mean distance of each cluster; None where a cluster has no weight."""
    k = len(centers)
    total, distance = np.zeros(k), np.zeros(k)
    centers = centers.astype(np.float64)
    for start, rows in blocks:
        part = labels[start : start + len(rows)]
        away = rows.astype(np.float64) - centers[part]
        largest = np.maximum(np.max(np.abs(away), axis=1), np.finfo(np.float64).tiny)
        length = largest * np.sqrt(np.sum((away / largest[:, None]) ** 2, axis=1))
        weight = np.ones(len(part)) if weights is None else weights[start : start + len(rows)]
        total += np.bincount(part, weight, k)
        distance += np.bincount(part, weight * length, k)
    facts: dict[str, list[Any]] = {"cluster_sizes": np.bincount(labels, minlength=k).tolist()}
    if weights is not None:
        facts["cluster_weights"] = total.tolist()
    facts["mean_distances"] = [
        float(d / w) if w > 0 else None for d, w in zip(distance, total, strict=True)
    ]
    return facts


def library_versions() -> dict[str, str | None]:
    """What ran, for the report."""
    import platform

    from .. import __version__

    return {"kmeans-xp": __version__, "python": platform.python_version(), **versions()}


def fit_text(report: dict[str, Any], width: int) -> str:
    """The report of a fit for a person, in lines of about ``width`` characters."""
    source, parameters = report["input"], report["parameters"]
    runs = "" if parameters["n_init"] == "auto" else f", best of {parameters['n_init']} runs"
    if parameters.get("search") is not None:
        more = sum(trial["swaps"] > 0 or trial["exchanges"] > 0 for trial in report["trials"])
        runs += f", then {more} {'run' if more == 1 else 'runs'} of a search"
    drawn = "" if report["seed_given"] else f" (drawn; repeat with --seed {parameters['seed']})"
    facts = [
        ("input", source["name"]),
        ("rows", f"{source['rows']:,}"),
        ("features", f"{source['features']:,}"),
        ("status", report["status"]),
        ("iterations", f"{report['iterations']}"),
        ("inertia", f"{report['inertia']:.10g}"),
        ("start", f"{parameters['init']}{runs}"),
        ("seed", f"{parameters['seed']}{drawn}"),
        ("device", f"{report['device']} ({report['backend']}, kernel {report['kernel']})"),
        ("time", f"{report['seconds']['fit']:.3g} s"),
    ]
    if parameters.get("search") is not None:
        # whether more budget would pay
        facts.insert(6, ("reached by", f"{report['n_best']} of {len(report['trials'])} runs"))
    if report.get("lower_bound") is not None:
        facts.insert(7, ("at least", f"{report['lower_bound']:.4g} for any clustering"))
    if report.get("n_passes") is not None:
        facts.append(("passes", f"{report['n_passes']}"))
    if parameters["memory_limit"] is not None:
        facts.append(("limit", f"{parameters['memory_limit']:,} bytes of memory"))
    if "n_steps" in report:
        size = min(parameters["batch_size"], source["rows"])
        facts.insert(5, ("batches", f"{report['n_steps']:,} of {size:,} rows"))
    if report["scale"] != "none":
        # the rest is shown as it was clustered
        facts.insert(3, ("scale", f"{report['scale']} (of all but the centers)"))
    if source["weights"] is not None:
        facts.insert(3, ("weights", f"column {source['weights']}"))
    if "header" in source:
        found = "names the columns" if source["header"] else "is data (no header)"
        facts.insert(1, ("first line", f"{found}; separator: {source['separator']}"))
    return "\n".join([aligned_pairs(facts), "", *_cluster_tables(report, width)])


def predict_text(report: dict[str, Any]) -> str:
    """The report of a predict for a person."""
    facts = [
        ("input", report["input"]["name"]),
        ("rows", f"{report['input']['rows']:,}"),
        ("model", report["model"]),
        ("time", f"{report['seconds']['predict']:.3g} s"),
    ]
    sizes = report["cluster_sizes"]
    columns = [["cluster", *map(str, range(len(sizes)))], ["rows", *(f"{n:,}" for n in sizes)]]
    return "\n".join([aligned_pairs(facts), "", *_grid(columns)])


def elbow_text(report: dict[str, Any], result: str) -> str:
    """The report of a choice of k for a person, around the result's own table."""
    source, parameters = report["input"], report["parameters"]
    drawn = "" if report["seed_given"] else f" (drawn; repeat with --seed {parameters['seed']})"
    facts = [
        ("input", source["name"]),
        ("rows", f"{source['rows']:,}"),
        ("features", f"{source['features']:,}"),
        ("status", report["status"]),
        ("seed", f"{parameters['seed']}{drawn}"),
        ("device", f"{report['device']} ({report['backend']}, kernel {report['kernel']})"),
        ("time", f"{report['total_seconds']['choose']:.3g} s"),
    ]
    if report["scale"] != "none":
        facts.insert(3, ("scale", report["scale"]))
    return "\n".join([aligned_pairs(facts), "", result])


def info_text(facts: dict[str, Any]) -> str:
    """What `info` found, as one aligned table."""
    pairs = [(name, str(facts[name])) for name in ("kmeans_xp", "python", "platform")]
    pairs.append(("processors", f"{facts['processors']}, {facts['threads']} threads used"))
    for pool in facts["blas"]:
        pairs.append(("BLAS", f"{pool['library']} {pool['version']}, {pool['threads']} threads"))
    for group in ("versions", "array_libraries", "optional"):
        pairs += [(name, version or "not installed") for name, version in facts[group].items()]
    cuda = facts["cuda"]
    pairs.append(("CUDA", "usable" if cuda["usable"] else f"not usable: {cuda['problem']}"))
    pairs += [
        (label, cuda[name])
        for label, name in (
            ("NVIDIA driver", "driver"),
            ("driver's CUDA", "driver_cuda"),
            ("CUDA runtime", "runtime"),
            ("NVRTC", "nvrtc"),
        )
        if cuda[name] is not None
    ]
    for index, gpu in enumerate(cuda["devices"]):
        pairs.append((f"cuda:{index}", f"{gpu['name']}, {gpu['memory_gib']} GiB"))
    return aligned_pairs(pairs)


def aligned_pairs(pairs: Sequence[tuple[str, str]]) -> str:
    """Names and values in two columns."""
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in pairs)


def _cluster_tables(report: dict[str, Any], width: int) -> Iterator[str]:
    """One line a cluster; centers follow as one line a feature where that fits better."""
    sizes, names = report["cluster_sizes"], report["input"]["columns"]
    shown = min(len(sizes), _MOST_LINES)
    facts = _fact_columns(report, shown)
    centers = np.asarray(report["centers"], dtype=np.float64)[:shown]
    by_feature = [
        [_shortened(name), *_numbers(centers[:, index].tolist())]
        for index, name in enumerate(names[:_MOST_LINES])
    ]
    numbers = zip(*(column[1:] for column in by_feature), strict=True)
    by_cluster = [["center", *(column[0] for column in by_feature)]]
    by_cluster += [[f"{index}", *center] for index, center in enumerate(numbers)]
    listed = min(len(names), _MOST_LINES)
    if _breadth(facts + by_feature) <= width and listed == len(names):
        yield from _grid(facts + by_feature)
    elif _breadth(by_cluster) <= width:
        yield from _grid(facts)
        yield ""
        yield from _grid(by_cluster)
    else:
        listed = _fitting(facts, by_feature, width)
        yield from _grid(facts + by_feature[:listed])
    yield from _left_out(report, len(sizes) - shown, len(names) - listed)


def _fact_columns(report: dict[str, Any], shown: int) -> list[list[str]]:
    sizes = report["cluster_sizes"]
    rows = max(1, sum(sizes))
    columns = [
        ["cluster", *(str(index) for index in range(shown))],
        ["rows", *(f"{size:,}" for size in sizes[:shown])],
        ["share", *(f"{100 * size / rows:.1f} %" for size in sizes[:shown])],
    ]
    if "cluster_weights" in report:
        columns.append(["weight", *_numbers(report["cluster_weights"][:shown])])
    columns.append(["mean distance", *_numbers(report["mean_distances"][:shown])])
    return columns


def _fitting(facts: list[list[str]], more: list[list[str]], width: int) -> int:
    """How many more columns fit; one is always shown."""
    count = 1
    while count < len(more) and _breadth(facts + more[: count + 1]) <= width:
        count += 1
    return count


def _left_out(report: dict[str, Any], clusters: int, features: int) -> Iterator[str]:
    parts = [
        f"{count} more {word}{'s' if count > 1 else ''}"
        for count, word in ((clusters, "cluster"), (features, "feature"))
        if count
    ]
    if parts:
        where = "centers.csv and report.json" if "files" in report else "--out FOLDER or --json"
        yield f"({' and '.join(parts)}: see {where})"


def _breadth(columns: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, column)) + 2 for column in columns) - 2


def _grid(columns: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in columns]
    for cells in zip(*columns, strict=True):
        yield "  ".join(cell.rjust(size) for cell, size in zip(cells, widths, strict=True))


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."


def _numbers(values: Sequence[float | None]) -> list[str]:
    """Numbers of one column with the same decimals: five digits of the largest."""
    largest = max((abs(v) for v in values if v is not None and math.isfinite(v)), default=0.0)
    if largest != 0.0 and not 1e-3 <= largest < 1e9:
        return ["-" if v is None else f"{v:.4e}" for v in values]
    whole = math.floor(math.log10(largest)) if largest else 0
    decimals = min(max(4 - whole, 0), 7)
    return ["-" if v is None else f"{v:.{decimals}f}" for v in values]
