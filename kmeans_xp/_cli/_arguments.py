"""The words of the command line: commands, options, and what they may be."""

from __future__ import annotations

import argparse
import pathlib
from typing import Any, NoReturn

from .. import __version__
from .._files import EXAMPLES, parse_words
from ._common import BAD_USAGE
from ._fit_options import add_fit_options
from ._words import at_least, criteria, device, seed, size

_SCALES = ("none", "standard", "minmax", "maxabs", "robust", "quantile")
_EXIT_CODES = (
    "exit codes: 0 done, 1 output failed, 2 bad usage, 3 bad data, 4 device missing, "
    "130 interrupted"
)


class _Parser(argparse.ArgumentParser):
    """Errors in one line, and no abbreviated options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **options, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_USAGE, f"kmeans-xp: error: {message} (see {self.prog} --help)\n")


def make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="kmeans-xp",
        description="K-means clustering: one seed, one answer, on every device.",
        epilog="example: kmeans-xp fit --example iris --n-clusters 3 --seed 0 --out iris-clusters"
        f"\n{_EXIT_CODES}",
    )
    parser.add_argument("--version", action="version", version=f"kmeans-xp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_check(commands)
    _add_elbow(commands)
    _add_fit(commands)
    _add_predict(commands)
    _add_plot(commands)
    about = commands.add_parser(
        "info",
        help="show platform, devices and versions",
        description="Show platform, threads, BLAS, versions, and whether CUDA can be used.",
        epilog="example: kmeans-xp info --json",
    )
    about.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _add_fit(commands: Any) -> None:
    fit = commands.add_parser(
        "fit",
        help="cluster a table",
        description="Cluster the rows of a table and report on the clusters.",
        epilog="example: kmeans-xp fit flowers.csv --n-clusters 3 --exclude species --seed 0 "
        f"--out clusters\n{_EXIT_CODES}",
    )
    _add_input(fit)
    _add_stream(fit, argparse.SUPPRESS)
    fit.add_argument("--weights", metavar="COLUMN", help="column with the weights of the rows")
    _add_scale(fit, "; centers are reported in the data's units, and the model takes rows in them")
    add_fit_options(fit)
    _add_output(
        fit,
        "labels.csv, report.json; centers.csv where there are centers; memberships.csv if asked "
        "for; model.npz of lloyd and minibatch",
    )


def _add_elbow(commands: Any) -> None:
    elbow = commands.add_parser(
        "elbow",
        help="fit a range of k and judge it by several criteria",
        description="Fit each number of clusters of a range, and tell what criteria make of them: "
        "suggestions that may differ, whether each is stable, and whether there is any structure.",
        epilog="example: kmeans-xp elbow flowers.csv --k-max 12 --exclude species --seed 0\n"
        f"{_EXIT_CODES}",
    )
    _add_input(elbow)
    elbow.add_argument("--weights", metavar="COLUMN", help="column with the weights of the rows")
    _add_scale(elbow)
    elbow.add_argument(
        "--k-max", type=at_least(1), default=10, metavar="K", help="default: %(default)s"
    )
    elbow.add_argument(
        "--k-min", type=at_least(1), default=1, metavar="K", help="default: %(default)s"
    )
    elbow.add_argument(
        "--criteria",
        type=criteria,
        default=["default"],
        metavar="LIST",
        help='"default" (what is quick), "all", or names such as elbow,silhouette,gap',
    )
    elbow.add_argument("--seed", type=seed, metavar="N", help="default: drawn, and reported")
    elbow.add_argument(
        "--plot",
        type=pathlib.Path,
        metavar="FILE",
        help='draw it: .png, .svg or .pdf (pip install "kmeans-xp[plot]")',
    )
    _add_output(elbow, "elbow.csv, report.json")


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="label rows by a saved model",
        description="Print the nearest center of each row, one label a line. Columns are found "
        "by the names that the model was fitted on, if both have names.",
        epilog="example: kmeans-xp predict --model clusters/model.npz new.csv > labels.txt"
        f"\n{_EXIT_CODES}",
    )
    _add_input(predict)
    _add_stream(predict)
    _add_model(predict)
    _add_output(predict, "labels.csv, report.json")


def _add_plot(commands: Any) -> None:
    plot = commands.add_parser(
        "plot",
        help="draw pictures of rows under a saved model",
        description="Draw clusters, silhouettes, centers, sizes and convergence; needs "
        'matplotlib (pip install "kmeans-xp[plot]"). Of many rows a drawn sample is shown, and '
        "the pictures say so.",
        epilog="example: kmeans-xp plot flowers.csv --exclude species --model clusters/model.npz "
        f"--out pictures\n{_EXIT_CODES}",
    )
    _add_input(plot)
    _add_model(plot)
    plot.add_argument(
        "--kind",
        type=parse_words,
        metavar="LIST",
        help="some of clusters,silhouette,centers,sizes,convergence (default: all that apply)",
    )
    plot.add_argument(
        "--format", choices=("png", "svg", "pdf"), default="png", help="default: %(default)s"
    )
    _add_output(plot, "a picture of each kind, such as clusters.png", required=True)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", type=pathlib.Path, required=True, metavar="FILE", help="model.npz of a fit"
    )


def _add_check(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        help="look at the columns before a fit",
        description="Report columns that are constant, duplicated, identifiers, categories, "
        "incomplete, with heavy tails or on another scale, and end with the options that a fit "
        "would want. What is found is no error.",
        epilog=f"example: kmeans-xp check flowers.csv --exclude species\n{_EXIT_CODES}",
    )
    _add_input(check)
    check.add_argument("--device", type=device, metavar="D", help="cpu, cuda, cuda:1 or auto")
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    check.add_argument("--quiet", action="store_true", help="no progress")


def _add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input",
        nargs="?",
        metavar="INPUT",
        help=".csv or other text, .npy, .npz, .parquet, .arrow, .feather; - is text on stdin",
    )
    parser.add_argument("--example", choices=EXAMPLES, help="a data set of scikit-learn instead")
    parser.add_argument(
        "--columns",
        type=parse_words,
        metavar="LIST",
        help="columns to use: names, or numbers from 0 and ranges, such as age,2,5-7",
    )
    parser.add_argument("--exclude", type=parse_words, metavar="LIST", help="columns to leave out")
    parser.add_argument("--array", metavar="NAME", help="which array of an .npz file")
    parser.add_argument(
        "--header",
        choices=("auto", "yes", "no"),
        default="auto",
        help="whether the first line of text names the columns (default: found out)",
    )


def _add_stream(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    parser.add_argument(
        "more",
        nargs="*",
        metavar="INPUT",
        help="with --memory-limit: more files (or one folder instead), read one after another",
    )
    parser.add_argument(
        "--memory-limit",
        type=size,
        default=default,
        metavar="SIZE",
        help="read the rows in passes, with so much memory for them, such as 500MB or 1.5GiB, "
        "to the same result: .npy, .parquet, .arrow, .feather, .csv, .tsv with all their columns "
        "(default: read whole)",
    )


def _add_scale(parser: argparse.ArgumentParser, more: str = "") -> None:
    parser.add_argument(
        "--scale",
        choices=_SCALES,
        default="none",
        help=f"bring the columns to one scale first{more} (default: none)",
    )


def _add_output(parser: argparse.ArgumentParser, files: str, *, required: bool = False) -> None:
    several = "; lloyd on several: cuda:0,cuda:1"
    parser.add_argument(
        "--device", type=device, metavar="D", help=f"cpu, cuda, cuda:1 or auto{several}"
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        required=required,
        metavar="FOLDER",
        help=f"write there: {files}",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--quiet", action="store_true", help="no progress, and no printed report with --out"
    )
