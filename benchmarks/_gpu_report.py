"""What the stored figures of a GPU say: tables for the terminal, and the roofline."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

from _data import count
from _summary import table_lines

Record = dict[str, Any]
_LOOKS = {
    "float32": ("#3b4252", "s"),
    "tf32": ("#0072b2", "^"),
    "3xtf32": ("#e69f00", "D"),
    "float16": ("#009e73", "v"),
    "tf32 wgmma": ("#0072b2", "<"),
    "3xtf32 wgmma": ("#e69f00", "d"),
    "float16 wgmma": ("#009e73", ">"),
    "exact labels": ("#c2185b", "o"),
}
_INK, _FAINT, _GRID = "#1b1f24", "#6b7280", "#e3e6ea"


def text(report: Record) -> str:
    """All sections as lines; what is missing says why."""
    lines = []
    for name, section in report["sections"].items():
        lines.append(f"\n{name}: {section['ended']}, {section['seconds']} s")
        lines += [f"  {line}" for line in _WORDS.get(name, _nothing)(section)]
        for what in section.get("left out, the time was over", []):
            lines.append(f"  left out, the time was over: {what}")
    return "\n".join(lines)


def _nothing(section: Record) -> Iterator[str]:
    return iter(())


def _checked(section: Record) -> Iterator[str]:
    for run in section.get("runs", []):
        if "skipped" in run:
            yield f"skipped: {run['skipped']}"
            continue
        yield f"{run['name']}: exit code {run['exit code']}; {run['last line']}"
        yield from (f"  {line}" for line in run["failed"])


def _limits(section: Record) -> Iterator[str]:
    if "copy" in section:
        yield f"copy {section['copy']['GB/s']:.0f} GB/s"
    for name in ("float16", "tf32"):
        if name in section:
            yield f"matmul {name} {section[name]['TFLOP/s']:.1f} TFLOP/s"


def _passes(section: Record) -> Iterator[str]:
    for case in section.get("cases", []):
        yield f"{case['rows']} {_shape(case)}"
        for name, found in points_of(case):
            share = found.get("share of rows open")
            said = "" if share is None else f"  open {100 * share:.3g} %"
            if found.get("ms over the first") is not None:
                said = f"  {found['ms over the first']:.3f} ms over {found['products'][0]} alone"
            yield (
                f"  {name:<12} {found['ms']:9.3f} ms {found['TFLOP/s']:8.1f} TFLOP/s"
                f" {found['GB/s']:7.0f} GB/s{said}"
            )

        for product, found in case.get("flash-kmeans", {}).items():
            if product == "absent":
                yield f"  flash-kmeans is absent: {found}"
            else:
                yield f"  flash-kmeans by {product}: {found['ms']:.3f} ms"


def _sums(section: Record) -> Iterator[str]:
    for work in ("float16", "float16 wgmma", "tf32", "tf32 wgmma"):
        if work in section:
            low, high = section[work]["512 positive products, errors in 2**-24 of the sum"]
            kept = section[work]["one product of 1, others of 2**-j"]
            last = max(
                (j for j, found in kept.items() if found["after it"]), default="none", key=int
            )
            yield (
                f"{work}: 2**-{last} is the least that is kept beside 1; "
                f"512 products of one sign err by {low:.0f} to {high:.0f} times 2**-24"
            )


def _small(section: Record) -> Iterator[str]:
    for fit in section.get("fits", []):
        target = "" if fit["target ms"] is None else f" (target {fit['target ms']:g})"
        yield (
            f"{_shape(fit)}, {fit['start']}: {fit['ms']:.2f} ms{target}, {fit['iterations']} "
            f"iterations, inertia {fit['inertia']:.8g}"
        )


def _batches(section: Record) -> Iterator[str]:
    for batch in section.get("batches", []):
        yield (
            f"{batch['batch']} of {_shape(batch)}: {batch['ms']:.2f} ms, "
            f"{batch['ms'] / batch['batch']:.4f} a problem, alone {batch['ms a problem alone']:.3f}"
            f", first {batch['first ms'] / 1e3:.2f} s"
            f", {batch['left to fits alone']} left to fits alone"
        )


def _seeding(section: Record) -> Iterator[str]:
    for start in section.get("starts", []):
        yield (
            f"{start['start']:<10} {start['rows']} {_shape(start)}: {start['seconds']:.4f} s"
            f" (first {start['first seconds']:.2f})"
        )


def _memory(section: Record) -> Iterator[str]:
    for fit in section.get("fits", []):
        data, peak, target, said = (
            fit[key] / 2**20
            for key in ("data bytes", "peak bytes", "target bytes", "said to be needed")
        )
        yield (
            f"{_shape(fit)}: {peak:.0f} MiB, {peak / data:.2f} of the data's {data:.0f} "
            f"(target {target:.0f}, said {said:.0f})"
        )


def _streams(section: Record) -> Iterator[str]:
    for fit in section.get("fits", []):
        copied = f", {fit['GB/s']:.1f} GB/s copied" if fit["GB/s"] else ""
        yield f"{_shape(fit)}: {fit['ms an iteration']:.1f} ms an iteration{copied}"
        yield f"  {fit['reading']}"


def _fits(section: Record) -> Iterator[str]:
    for name, results in section.get("cells", {}).items():
        yield name
        yield from table_lines(results)
        yield from (
            f"    {peer}: {record['device MiB']} MiB on the device"
            for peer, record in results.items()
            if "device MiB" in record
        )


_WORDS = {
    "tests": _checked,
    "limits": _limits,
    "sums": _sums,
    "passes": _passes,
    "small": _small,
    "fits": _fits,
    "batches": _batches,
    "seeding": _seeding,
    "memory": _memory,
    "streams": _streams,
    "sanitizer": _checked,
    "all tests": _checked,
}


def _shape(record: Record) -> str:
    return f"{count(record['n'])} x {record['d']}, k={record['k']}"


def points_of(case: Record) -> Iterator[tuple[str, Record]]:
    """Each product of a pass, and the pass with exact labels."""
    yield from case["products"].items()
    if "exact labels" in case:
        yield "exact labels", case["exact labels"]


def roofs(report: Record) -> tuple[float, dict[str, float]]:
    """Bandwidth in TB/s, and TFLOP/s by product, as this card was measured; 0 for what was not."""
    limits = report["sections"].get("limits", {})
    plain = report["sections"].get("passes", {}).get("float32", {})
    tf32 = limits.get("tf32", {}).get("TFLOP/s", 0.0)
    rates = {
        "float16": limits.get("float16", {}).get("TFLOP/s", 0.0),
        "tf32": tf32,
        "3xtf32": tf32 / 3,
        "float32": plain.get("TFLOP/s", 0.0),
    }
    return limits.get("copy", {}).get("GB/s", 0.0) / 1e3, rates


def draw(report: Record, path: pathlib.Path) -> bool:
    """The roofline of the passes; False where the report has not enough for one."""
    bandwidth, rates = roofs(report)
    cases = report["sections"].get("passes", {}).get("cases", [])
    if not (bandwidth and cases):
        return False
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(9.5, 6))
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.grid(color=_GRID, linewidth=0.8)
    reach = [case["flops a byte"] for case in cases]
    left, right = min(reach) / 3, max(max(reach) * 3, 2 * max(rates.values()) / bandwidth)
    for name, rate in rates.items():
        if rate:
            knee = rate / bandwidth
            xs = [left, max(left, min(knee, right)), right]
            ys = [min(x * bandwidth, rate) for x in xs]
            panel.plot(xs, ys, color=_LOOKS[name][0], linewidth=1.3, zorder=1)
            panel.annotate(
                f"{name} {rate:.0f}", (right, rate), fontsize=8, color=_LOOKS[name][0],
                xytext=(-4, 3), textcoords="offset points", ha="right",
            )  # fmt: skip
    for case in cases:
        for name, found in points_of(case):
            color, marker = _LOOKS[name]
            face = color if case["rows"] == "uniform" else "white"
            panel.scatter(
                [case["flops a byte"]], [found["TFLOP/s"]], color=color, marker=marker,
                facecolors=face, s=40, zorder=3,
            )  # fmt: skip
    _explain(figure, panel, report, bandwidth)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return True


def _explain(figure: Any, panel: Any, report: Record, bandwidth: float) -> None:
    from matplotlib.lines import Line2D

    panel.set_xlabel("operations a byte of rows and labels")
    panel.set_ylabel("TFLOP/s")
    panel.set_title(
        "One assignment pass against what the card reaches itself", loc="left", weight="bold"
    )
    marks = [
        Line2D([], [], linestyle="", marker=marker, color=color, label=name)
        for name, (color, marker) in _LOOKS.items()
    ]
    panel.legend(handles=marks, loc="lower right", fontsize=9, framealpha=1)
    card = str(report["sections"]["limits"].get("card") or "").splitlines()
    figure.text(
        0.01, 0.01,
        f"lines: measured copy of {bandwidth:.2f} TB/s and measured matrix products (3xtf32: "
        f"a third of tf32); filled: uniform rows, hollow: blobs.  {card[-1] if card else ''}  "
        f"{report.get('date', '')}",
        fontsize=7, color=_FAINT,
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0.025, 1, 1))
