"""The rooms of the house: which module may import which.

Every module has a place in one list, and imports only what stands before it.  A new module
goes into the list, into the room that it belongs to.
"""

from __future__ import annotations

import ast
import itertools
import pathlib
from collections.abc import Iterator

import pytest

import kmeans_xp

PACKAGE = pathlib.Path(kmeans_xp.__file__).parent

ROOMS: dict[str, tuple[str, ...]] = {
    "words": ("_typing", "exceptions", "_warnings"),
    "mathematics": (
        "_exact",
        "_products",
        "_doubled",
        "_cuts",
        "_random",
        "_distances",
        "_picks",
        "_primitives",
        "_groups",
        "_bounds",
        "_look",
        "_pruning",
        "_gains",
    ),
    "where arrays live": ("_cuda", "_dlpack", "_threads", "_backend", "_feed"),
    "statistics": ("_stats", "_ledger"),
    "kernels": (
        "_kernels._compare",
        "_kernels._reference",
        "_kernels._space",
        "_kernels._numpy_gains",
        "_kernels._numpy_scores",
        "_kernels._numpy_few",
        "_kernels._numpy_pairs",
        "_kernels._numpy_wide",
        "_kernels._numpy_sums",
        "_kernels._numpy_survey",
        "_kernels._numpy",
        "_kernels._sparse_block",
        "_kernels._sparse_distances",
        "_kernels._sparse_survey",
        "_kernels._sparse",
        "_kernels._tile",
        "_kernels._row_tile",
        "_kernels._proof_tile",
        "_kernels._loops",
        "_kernels._mean_loops",
        "_kernels._add_loops",
        "_kernels._own_loops",
        "_kernels._group_tile",
        "_kernels._center_loops",
        "_kernels._few_loops",
        "_kernels._group_loops",
        "_kernels._group_centers",
        "_kernels._survey",
        "_kernels._price",
        "_kernels._gain_tile",
        "_kernels._gain_loops",
        "_kernels._numba_gains",
        "_kernels._head_loops",
        "_kernels._head",
        "_kernels._numba",
        "_kernels.cuda._source",
        "_kernels.cuda._route",
        "_kernels.cuda._arguments",
        "_kernels.cuda._sums",
        "_kernels.cuda._errors",
        "_kernels.cuda._centers",
        "_kernels.cuda._calls",
        "_kernels.cuda._sweep",
        "_kernels.cuda._group_calls",
        "_kernels.cuda._shortlist",
        "_kernels.cuda._looked",
        "_kernels.cuda._loop_calls",
        "_kernels.cuda._loop",
        "_kernels.cuda._survey",
        "_kernels.cuda._seed",
        "_kernels.cuda._kernel",
        "_kernels.cuda._batch",
        "_kernels.cuda",
        "_kernels._few",
        "_kernels._select",
        "_kernels._meter",
        "_kernels",
    ),
    "sources": (
        "_sources",
        "_travel",
        "_several",
        "_dask_groups",
        "_dask_tasks",
        "_dask_calls",
        "_dask",
    ),
    "passes": ("_memory", "_problem", "_totals", "_assign", "_passes", "_far_rows", "_digest"),
    "starts": ("_lottery", "_draws", "_closest", "_plusplus", "_init"),
    "solver": ("_outcome", "_empty", "_handover", "_solver"),
    "mini-batches": ("_minibatch", "_sampling"),
    "search": (
        "_effort",
        "_subset",
        "_split",
        "_swaps",
        "_line_sums",
        "_line",
        "_paying",
        "_exchange",
        "_trials",
        "_line_run",
        "_search",
        "_lower_bound",
    ),
    "checkpoints": ("_checkpoint_file", "_progress", "_batch_progress"),
    "validation": ("_frames", "_validation", "_weight_checks", "_batch_checks", "_dask_input"),
    "streams": (
        "_readers",
        "_iterables",
        "_table_files",
        "_sparse",
        "_shelf",
        "_ahead",
        "_device_rows",
        "_streams",
        "_opening",
    ),
    "questions": ("_query",),
    "metrics": (
        "metrics._labels",
        "metrics._rows",
        "metrics._silhouette",
        "metrics._dispersion",
        "metrics._agreement",
        "metrics._centroid_index",
        "metrics",
    ),
    "estimators": (
        "estimators._portable",
        "estimators._checkpoint",
        "estimators._logbook",
        "estimators._searched",
        "estimators._place",
        "estimators._run",
        "estimators._streamed",
        "estimators._rows",
        "estimators._dask_rows",
        "estimators._several_rows",
        "estimators._answers",
        "estimators._clusterer",
        "estimators._by_means",
        "estimators._kmeans",
        "estimators._batch_logbook",
        "estimators._minibatch_run",
        "estimators._minibatch",
        "estimators._functions",
        "estimators._batch_run",
        "estimators._batched",
        "estimators._convert",
        "estimators",
    ),
    "relatives": (
        "relatives._linkage",
        "relatives._bisecting",
        "relatives._bisecting_run",
        "relatives._bisecting_kmeans",
        "relatives._hierarchy",
        "relatives._pairs",
        "relatives._spaces",
        "relatives._losses",
        "relatives._medoids",
        "relatives._medoid_starts",
        "relatives._best_rows",
        "relatives._clara",
        "relatives._by_distance",
        "relatives._medoid_run",
        "relatives._k_medoids",
        "relatives._medians",
        "relatives._median_run",
        "relatives._k_medians",
        "relatives._leaves",
        "relatives._by_product",
        "relatives._neighbours",
        "relatives._cores",
        "relatives._density",
        "relatives._dbscan",
        "relatives._powers",
        "relatives._objective",
        "relatives._fuzzy",
        "relatives._fuzzy_c_means",
        "relatives._spherical",
        "relatives._spherical_k_means",
        "relatives._trimmed",
        "relatives._trimmed_k_means",
        "relatives",
    ),
    "selection": (
        "selection._arguments",
        "selection._ladder",
        "selection._measures",
        "selection._criteria",
        "selection._null",
        "selection._suggest",
        "selection._result",
        "selection._choose",
        "selection",
    ),
    "preparation": (
        "prepare._facts",
        "prepare._report",
        "prepare._rules",
        "prepare._check",
        "prepare._measures",
        "prepare._scalers",
        "prepare",
    ),
    "files": (
        "_files._columns",
        "_files._delimited",
        "_files._streamed",
        "_files._tables",
        "_files",
        "_model_scalers",
        "_model_file",
    ),
    "pictures": (
        "plot._canvas",
        "plot._rows",
        "plot._regions",
        "plot._elbow",
        "plot._clusters",
        "plot._silhouette",
        "plot._convergence",
        "plot._centers",
        "plot._sizes",
        "plot._dendrogram",
        "plot._save",
        "plot",
    ),
    "machine": ("_info",),
    "face": ("",),
    "command line": (
        "_cli",
        "_cli._console",
        "_cli._common",
        "_cli._rows",
        "_cli._words",
        "_cli._algorithms",
        "_cli._fit_options",
        "_cli._models",
        "_cli._arguments",
        "_cli._report",
        "_cli._check",
        "_cli._scale",
        "_cli._fit",
        "_cli._predict",
        "_cli._plot",
        "_cli._elbow",
        "cli",
        "__main__",
    ),
}
ORDER = list(itertools.chain.from_iterable(ROOMS.values()))
ROOM_OF = {module: room for room, modules in ROOMS.items() for module in modules}
COMPILED = (
    "_kernels._tile",
    "_kernels._row_tile",
    "_kernels._proof_tile",
    "_kernels._loops",
    "_kernels._mean_loops",
    "_kernels._add_loops",
    "_kernels._own_loops",
    "_kernels._group_tile",
    "_kernels._center_loops",
    "_kernels._few_loops",
    "_kernels._group_loops",
    "_kernels._head_loops",
    "_kernels._survey",
    "_kernels._gain_tile",
    "_kernels._gain_loops",
)
OPTIONAL = {
    "array_api_strict",
    "cupy",
    "dask",
    "jax",
    "matplotlib",
    "narwhals",
    "numba",
    "pandas",
    "polars",
    "pyarrow",
    "torch",
}


def name_of(path: pathlib.Path) -> str:
    """ "_kernels._numpy" for the file; "" for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(module: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each module of this package that a module imports, at any depth."""
    package = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, name) for name in named_by(node, package))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                root, _, rest = alias.name.partition(".")
                if root == PACKAGE.name:
                    yield node.lineno, rest


def named_by(node: ast.ImportFrom, package: str) -> Iterator[str]:
    """Modules that ``from x import a, b`` names; the version is everybody's."""
    if node.level:
        parts = package.split(".") if package else []
        kept = parts[: len(parts) - (node.level - 1)]
        base = ".".join([*kept, *filter(None, [node.module])])
    else:
        root, _, base = (node.module or "").partition(".")
        if root != PACKAGE.name:
            return
    for alias in node.names:
        inner = f"{base}.{alias.name}" if base else alias.name
        if inner in FILES:
            yield inner
        elif alias.name != "__version__":
            yield base


def top_level_imports(body: list[ast.stmt]) -> Iterator[tuple[int, str]]:
    """Line and library of each import that runs when the module is imported."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.lineno, (node.module or "").partition(".")[0]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from top_level_imports(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
            handlers = [child.body for child in getattr(node, "handlers", [])]
            yield from top_level_imports([*inner, *itertools.chain.from_iterable(handlers)])


def parse(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def test_every_module_has_one_place() -> None:
    assert len(ORDER) == len(set(ORDER))
    unranked, gone = sorted(set(FILES) - set(ORDER)), sorted(set(ORDER) - set(FILES))
    assert not unranked, f"give these modules a place in ROOMS: {unranked}"
    assert not gone, f"these modules of ROOMS do not exist: {gone}"


@pytest.mark.parametrize("module", FILES, ids=lambda name: name or "kmeans_xp")
def test_imports_point_upward(module: str) -> None:
    rank = ORDER.index(module)
    downward = [
        f"{FILES[module].name}:{line} imports {name or PACKAGE.name!r} of room {ROOM_OF[name]!r}"
        for line, name in imported(module, parse(module))
        if ORDER.index(name) >= rank
    ]
    assert not downward, f"room {ROOM_OF[module]!r} stands higher: {downward}"


@pytest.mark.parametrize("module", ROOMS["command line"])
def test_the_command_line_uses_public_names_for_the_algorithm(module: str) -> None:
    allowed = {"command line", "face", "files", "machine", "pictures"}
    private = [
        f"{FILES[module].name}:{line} imports {name!r}"
        for line, name in imported(module, parse(module))
        if ROOM_OF[name] not in allowed
    ]
    assert not private


@pytest.mark.parametrize("module", FILES, ids=lambda name: name or "kmeans_xp")
def test_optional_libraries_are_imported_where_they_are_used(module: str) -> None:
    early = [
        f"{FILES[module].name}:{line} imports {library}"
        for line, library in top_level_imports(parse(module).body)
        if library in OPTIONAL and not (library == "numba" and module in COMPILED)
    ]
    assert not early


def test_the_reader_sees_imports_of_every_form() -> None:
    text = (
        "from . import _exact\n"
        "from ._primitives import Scale\n"
        "def late():\n    from .estimators import KMeans\n    import kmeans_xp.cli\n"
        "from kmeans_xp import info, __version__\n"
    )
    found = {name for _, name in imported("_solver", ast.parse(text))}
    assert found == {"_exact", "_primitives", "estimators", "cli", ""}
    nested = {name for _, name in imported("_kernels._numpy", ast.parse("from .. import _exact"))}
    assert nested == {"_exact"}
    guarded = (
        "try:\n    import cupy\nexcept ImportError:\n    import jax\n"
        "if TYPE_CHECKING:\n    import dask\nelse:\n    import numba\n"
        "class A:\n    import torch\n"
        "def late():\n    import pandas\n"
    )
    early = {library for _, library in top_level_imports(ast.parse(guarded).body)}
    assert early == {"cupy", "jax", "numba", "torch"}
