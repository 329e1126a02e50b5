"""The options of ``fit`` that one algorithm takes and another does not.

None has a default here: `settle` in `_models` tells what was said from what was not, and takes the
defaults of the estimators.
"""

from __future__ import annotations

import argparse
import pathlib
from typing import Any

from ._algorithms import ALGORITHMS, takers
from ._words import at_least, fuzzifier, or_word, radius, search, seed, share, tolerance

_RULES = ("farthest", "random", "error")
_STRATEGIES = ("biggest_inertia", "largest_cluster")
_METRICS = ("manhattan", "euclidean", "sqeuclidean", "cosine", "chebyshev", "precomputed")


def add_fit_options(fit: argparse.ArgumentParser) -> None:
    """Add the choice of the algorithm, and what the algorithms take."""
    fit.add_argument(
        "--algorithm",
        choices=tuple(ALGORITHMS),
        default="lloyd",
        help="lloyd is k-means, over all rows in each iteration; minibatch looks at a few drawn "
        "rows, and comes near on many rows in less time; the others are relatives of k-means "
        "(default: %(default)s)",
    )
    _add(fit, "--n-clusters", type=at_least(1), metavar="K", help="all but dbscan (default: 8)")
    _add(fit, "--seed", type=seed, metavar="N", help="default: drawn, and reported")
    _add_runs(fit)
    _add_own(fit)


def _add_runs(fit: argparse.ArgumentParser) -> None:
    _add(
        fit,
        "--init",
        choices=tuple(
            dict.fromkeys(word for entry in ALGORITHMS.values() for word in entry.starts)
        ),
        help="where centers start; k-means|| needs quotes in a shell, and fewest passes over files "
        "larger than memory; build is for medoids (default: k-means++; random with bisecting and "
        "trimmed, build with kmedoids)",
    )
    _add(
        fit,
        "--n-init",
        type=or_word("auto", 1),
        metavar="N",
        help="runs, of which the best is kept (default: auto; 1 with bisecting)",
    )
    _add(
        fit,
        "--max-iter",
        type=or_word("none", 1),
        metavar="N",
        help='most iterations a run, or "none" (default: 300; 100 with minibatch)',
    )
    _add(
        fit,
        "--tol",
        type=tolerance,
        metavar="T",
        help="stop when centers move less, relative to the variance; 0: only when no row "
        "changes (default: 1e-4; 1e-6 with fuzzy; 0 with trimmed, and with minibatch, which then "
        "goes by the inertia of the batches)",
    )


def _add_own(fit: argparse.ArgumentParser) -> None:
    _add(
        fit,
        "--search",
        type=search,
        metavar="N",
        help='how long to go on to a better optimum: "auto", N passes over the rows, seconds such '
        'as 10s, which give up repeatable results, or "off" (default: auto, which does nothing '
        "with a number as --n-init)",
    )
    _add(
        fit,
        "--empty-cluster",
        choices=_RULES,
        help="what a cluster without rows gets (default: the farthest row)",
    )
    _add(
        fit,
        "--checkpoint",
        type=pathlib.Path,
        metavar="FILE",
        help="keep how far the fit has come, and go on from there after a kill; needs --seed",
    )
    _add(fit, "--batch-size", type=at_least(1), metavar="N", help="rows in a batch (default: 1024)")
    _add(
        fit,
        "--strategy",
        choices=_STRATEGIES,
        help="which cluster is parted next (default: biggest_inertia)",
    )
    _add(
        fit,
        "--metric",
        choices=_METRICS,
        help="the distance (default: manhattan with kmedoids, euclidean with dbscan); precomputed: "
        "the table is that of the distances, of the row to the column",
    )
    _add(
        fit,
        "--fuzzifier",
        type=fuzzifier,
        metavar="M",
        help="1 is crisp, and more is fuzzier (default: 2)",
    )
    fit.add_argument(
        "--memberships",
        action="store_true",
        help="of fuzzy: write memberships.csv too, how much each row belongs to each cluster; "
        "needs --out",
    )
    _add(
        fit,
        "--trim",
        type=share,
        metavar="SHARE",
        help="share of the rows that is left out, those farthest away (default: 0.05)",
    )
    _add(
        fit,
        "--eps",
        type=radius,
        metavar="E",
        help="largest distance between neighbours (default: 0.5)",
    )
    _add(
        fit,
        "--min-samples",
        type=at_least(1),
        metavar="N",
        help="neighbours that make a core row, itself included (default: 5)",
    )


def _add(fit: argparse.ArgumentParser, option: str, *, help: str, **how: Any) -> None:
    """Add an option, and name the algorithms that take it where they are few."""
    names = takers(option.lstrip("-").replace("-", "_"))
    of = f"of {' and '.join(names)}: " if len(names) <= 2 else ""
    fit.add_argument(option, default=argparse.SUPPRESS, help=of + help, **how)
