"""The relatives of k-means: loss and time beside public implementations, in one process.

    OMP_NUM_THREADS=1 KMEANS_XP_NUMBA=1 python benchmarks/relatives.py \\
        [--only NAME] [--data SET] [--rounds 3] [--out benchmarks/results/relatives.json]

Fits take turns, and each round has a seed and a start of its own, the same on both sides where both
take one.  Processor time stands beside wall time, which other work on the machine disturbs.  Sets
that are read from files need KMEANS_XP_DATA.  What is not installed is left out, with the reason.
A file that is there already keeps the fits that were not run again, each run with its own facts.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import time
import warnings
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from _contest import Case, Contest
from _data import blobs, digits, iris, no_table, table, texts
from _relatives import CONTESTS, SPARSE
from _report import busy, header, write

_PEERS = (
    "scikit-learn",
    "scipy",
    "kmedoids",
    "scikit-fuzzy",
    "pyclustering",
    "faiss-cpu",
    "numba",
)
_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "KMEANS_XP_NUMBA")


def cases(contest: str) -> dict[str, Case | str]:
    """The data of a contest, or why it is missing."""
    if contest in SPARSE:
        return {
            "2,000 x 1,000": Case(texts(2_000, 1_000, 10, 0.02), 10),
            "20,000 x 10,000": Case(texts(20_000, 10_000, 20, 0.005), 20),
        }
    made: dict[str, Case | str] = {
        "iris": Case(iris(150, 4, 3, "float64"), 3, 0.6, 5),
        "digits": Case(digits(1797, 64, 10, "float64"), 10, 22.0, 5),
    }
    for name, k, eps, few in (("s1", 15, 25_000.0, 10), ("a1", 20, 1_200.0, 10)):
        problem = no_table(name)
        made[name] = problem if problem else Case(table(name), k, eps, few)
    made["blobs"] = Case(blobs(20_000, 8, 10, "float64"), 10, 2.0, 10)
    if contest == "KMedoids":
        made["100,000 blobs"] = Case(blobs(100_000, 8, 30, "float64"), 30)
    return made


def compare(contest: Contest, rounds: int) -> dict[str, Any]:
    """Median seconds of a fit, and the mean loss."""
    seconds: dict[str, list[tuple[float, float]]] = {who: [] for who in contest.fits}
    losses: dict[str, list[float]] = {who: [] for who in contest.fits}
    results: dict[str, Any] = {}
    for seed in range(rounds):
        for who, fit in contest.fits.items():
            wall, own = time.perf_counter(), time.process_time()
            results[who] = fit(seed)
            own, wall = time.process_time() - own, time.perf_counter() - wall
            seconds[who].append((own, wall))
            losses[who].append(contest.loss(results[who]))
    report: dict[str, Any] = {"loss": contest.what}
    report |= {
        who: {
            "processor s": _median(own for own, _ in seconds[who]),
            "wall s": _median(wall for _, wall in seconds[who]),
            "loss mean": statistics.mean(losses[who]),
            "losses": losses[who],
        }
        for who in contest.fits
    }
    return report | {who: {"left out": why} for who, why in contest.missing.items()}


def same_groups(case: Case) -> bool:
    """Whether scikit-learn's DBSCAN has our labels, up to the numbers of the clusters."""
    from sklearn.metrics import adjusted_rand_score

    ours, theirs = (fit(0) for fit in CONTESTS["DBSCAN"](case).fits.values())
    same_noise = bool(((ours == -1) == (theirs == -1)).all())
    return same_noise and adjusted_rand_score(ours, theirs) == 1.0


def joined(run: dict[str, Any], path: pathlib.Path | None) -> dict[str, Any]:
    """A run, and of the runs that a file holds those fits that it did not repeat."""
    runs = []
    if path is not None and path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        for old in before["runs"]:
            old["fits"] = {
                name: fit for name, fit in old["fits"].items() if name not in run["fits"]
            }
            runs += [old] if old["fits"] else []
    return {"runs": [*runs, run]}


def _median(values: Any) -> float:
    return float(f"{statistics.median(values):.3g}")


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in _PEERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=(*CONTESTS, *SPARSE), action="append")
    parser.add_argument("--data", action="append", help="some of the sets")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    report: dict[str, Any] = {
        **header("relatives.py"),
        "versions": _versions(),
        "variables": {name: os.environ.get(name) for name in _VARIABLES},
        "busy processors before": busy(),
        "rounds": arguments.rounds,
        "fits": {},
    }
    contests = CONTESTS | SPARSE
    for name in arguments.only or contests:
        for title, case in cases(name).items():
            if arguments.data and title not in arguments.data:
                continue
            if isinstance(case, str):
                report["fits"][f"{name}, {title}"] = {"left out": case}
                continue
            few = replace(case, X=case.X[:2000])
            compare(contests[name](few), 1)  # imports and compilation
            found = compare(contests[name](case), arguments.rounds)
            if name == "DBSCAN":
                found["same labels"] = same_groups(case)
            report["fits"][f"{name}, {title}"] = found
            print(f"{name}, {title}: {found}", flush=True)
            write(joined(report, arguments.out), arguments.out)


if __name__ == "__main__":
    main()
