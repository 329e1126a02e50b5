"""The report of a fit: as plain values for JSON, and as text to read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .._files import Blocks
from .._info import versions
from ._algorithms import Algorithm

_MOST_LINES = 40
_LONGEST_NAME = 24


Measure = Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[Any]]


def cluster_facts(
    blocks: Blocks,
    weights: npt.NDArray[Any] | None,
    labels: npt.NDArray[Any],
    centers: npt.NDArray[Any] | None,
    measure: Measure | None = None,
) -> dict[str, Any]:
    """Rows, weight and mean distance of each cluster; None where a cluster has no weight.

    ``measure`` takes rows and their clusters; without it a distance is the Euclidean one.  Rows of
    label -1 are counted for themselves.
    """
    k = int(labels.max(initial=-1)) + 1 if centers is None else len(centers)
    if measure is None and centers is not None:
        measure = _euclidean(centers.astype(np.float64))
    total, distance = np.zeros(k), np.zeros(k)
    for start, rows in blocks:
        part = labels[start : start + len(rows)]
        weight = np.ones(len(part)) if weights is None else weights[start : start + len(rows)]
        inside = part >= 0
        part, weight = part[inside], weight[inside]
        total += np.bincount(part, weight, k)
        if measure is not None:
            distance += np.bincount(part, weight * measure(rows[inside], part), k)
    facts: dict[str, Any] = {
        "cluster_sizes": np.bincount(labels[labels >= 0], minlength=k).tolist()
    }
    if weights is not None:
        facts["cluster_weights"] = total.tolist()
    if measure is not None:
        facts["mean_distances"] = [
            float(d / w) if w > 0 else None for d, w in zip(distance, total, strict=True)
        ]
    return facts


def _euclidean(centers: npt.NDArray[np.float64]) -> Measure:
    def measure(rows: npt.NDArray[Any], part: npt.NDArray[Any]) -> npt.NDArray[Any]:
        away = rows.astype(np.float64) - centers[part]
        largest = np.maximum(np.max(np.abs(away), axis=1), np.finfo(np.float64).tiny)
        length: npt.NDArray[Any] = largest * np.sqrt(np.sum((away / largest[:, None]) ** 2, axis=1))
        return length

    return measure


def own_distances(model: Any) -> Measure:
    """Distances as the model's metric has them."""

    def measure(rows: npt.NDArray[Any], part: npt.NDArray[Any]) -> npt.NDArray[Any]:
        apart: npt.NDArray[Any] = np.asarray(model.transform(rows))[np.arange(len(part)), part]
        return apart

    return measure


def plain(value: Any) -> Any:
    """A number, a text or a list of them."""
    return value.tolist() if hasattr(value, "tolist") else value


def library_versions() -> dict[str, str | None]:
    """What ran, for the report."""
    import platform

    from .. import __version__

    return {"kmeans-xp": __version__, "python": platform.python_version(), **versions()}


def fit_text(report: dict[str, Any], entry: Algorithm, width: int) -> str:
    """The report of a fit for a person, in lines of about ``width`` characters."""
    facts = [*_input_facts(report), *_end_facts(report, entry), *_work_facts(report)]
    return "\n".join([aligned_pairs(facts), "", *_cluster_tables(report, width)])


def _input_facts(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    source = report["input"]
    yield "input", source["name"]
    if "header" in source:
        found = "names the columns" if source["header"] else "is data (no header)"
        yield "first line", f"{found}; separator: {source['separator']}"
    yield "rows", f"{source['rows']:,}"
    yield "features", f"{source['features']:,}"
    if source["weights"] is not None:
        yield "weights", f"column {source['weights']}"
    if report["scale"] != "none":
        # the rest is shown as it was clustered
        yield "scale", f"{report['scale']} (of all but the centers)"


def _end_facts(report: dict[str, Any], entry: Algorithm) -> Iterator[tuple[str, str]]:
    """How the fit ended, and how good that is."""
    if "status" in report:
        yield "status", report["status"]
        yield "iterations", f"{report['iterations']}"
    if "n_steps" in report:
        size = min(report["parameters"]["batch_size"], report["input"]["rows"])
        yield "batches", f"{report['n_steps']:,} of {size:,} rows"
    if "inertia" in report:
        yield "inertia", f"{report['inertia']:.10g}"
    if report.get("search") is not None:
        yield "search", report["search"]
    if report.get("lower_bound") is not None:
        yield "at least", f"{report['lower_bound']:.4g} for any clustering"
    for name, title in entry.tells.items():
        if title:
            value = report[name.rstrip("_")]
            yield title, f"{value:.6g}" if isinstance(value, float) else f"{value}"
    if entry.apart:
        count = report["input"]["rows"] - sum(report["cluster_sizes"])
        yield entry.apart, f"{count:,} rows (label -1)"


def _work_facts(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What it was done with, and where."""
    parameters = report["parameters"]
    if "init" in parameters:
        yield "start", f"{parameters['init']}{_runs(report)}"
    if "metric" in parameters:
        yield "distance", parameters["metric"]
    if "seed" in parameters:
        drawn = "" if report["seed_given"] else f" (drawn; repeat with --seed {parameters['seed']})"
        yield "seed", f"{parameters['seed']}{drawn}"
    kernel = f", kernel {report['kernel']}" if "kernel" in report else ""
    yield "device", f"{report['device']} ({report['backend']}{kernel})"
    yield "time", f"{report['seconds']['fit']:.3g} s"
    if report.get("n_passes") is not None:
        yield "passes", f"{report['n_passes']}"
        if report["device"] != "cpu":
            yield "reading", report["reading"]
    if parameters.get("memory_limit") is not None:
        yield "limit", f"{parameters['memory_limit']:,} bytes of memory"


def _runs(report: dict[str, Any]) -> str:
    parameters = report["parameters"]
    n_init = parameters.get("n_init", "auto")
    return "" if n_init == "auto" else f", best of {n_init} runs"


def search_text(model: Any) -> str | None:
    """What the search of a fit did, in a line; None where none was asked for."""
    if getattr(model, "search", None) is None:
        return None
    if model.n_init != "auto":
        return "none, as the number of runs is given"
    # a run of the search has moved centers or rows
    first = [trial for trial in model.trials_ if not (trial.swaps or trial.exchanges)]
    count, more = len(model.trials_), len(model.trials_) - len(first)
    if not more and not model.status_.startswith("converged"):
        return "none, as the run did not converge"
    if not more:
        return "nothing that promises to lower the inertia"
    lowest = min(trial.inertia for trial in first)
    fall = 1.0 - model.inertia_ / lowest if lowest > 0.0 else 0.0
    found = (
        f"lowered the inertia by {100.0 * fall:.2f} %" if fall > 0.0 else "found no lower inertia"
    )
    # whether more would pay
    reached = f"{model.n_best_} of {count} in all ended as low"
    return f"{more} more {'run' if more == 1 else 'runs'} {found}; {reached}"


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
    if "centers" not in report:
        yield from _grid(facts)
        yield from _left_out(report, len(sizes) - shown, 0)
        return
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
    if "mean_distances" in report:
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
        files = [name for name in ("centers.csv", "report.json") if name in report.get("files", ())]
        where = " and ".join(files) or "--out FOLDER or --json"
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
