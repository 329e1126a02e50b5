"""What is read as a stream, how it is opened, and how much memory its passes may take."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import array_api_compat
import numpy as np

from ._iterables import Batches
from ._readers import ArrayFile, Direct, InOrder, Joined, Mapped
from ._sparse import is_sparse, open_sparse
from ._table_files import SUFFIXES, TableFiles

_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?)\s*([KMGT]?)(i?)B?\s*", re.IGNORECASE)
_LEAST_DEFAULT = 256 << 20
_UNKNOWN_MEMORY = 4 << 30
_SHARE = 4
_ARRAY = ".npy"


def memory_limit_of(limit: Any, /) -> int:
    """Bytes that ``memory_limit`` says; a quarter of what is available where it says nothing."""
    if limit is None:
        return max(_LEAST_DEFAULT, available_memory() // _SHARE)
    if not isinstance(limit, str):
        return int(limit)
    match = _SIZE.fullmatch(limit)
    size = 0
    if match is not None:
        base = 1024 if match[3] else 1000
        size = int(float(match[1]) * base ** _UNITS[match[2].upper()])
    if size < 1:
        raise ValueError(
            f'memory_limit={limit!r} is no size; give bytes, or a text such as "500MB" or "1.5GiB"'
        )
    return size


def available_memory() -> int:
    """Memory that this process may still take, as the system tells."""
    found = []
    try:
        facts = pathlib.Path("/proc/meminfo").read_text(encoding="ascii")
        found += [int(size) << 10 for size in re.findall(r"MemAvailable:\s+(\d+) kB", facts)]
        limit = pathlib.Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        found += [int(limit)] if limit.isdigit() else []
    except OSError:
        pass  # another system, or an older one: what is known counts
    return min(found, default=_UNKNOWN_MEMORY)


def is_at_hand(x: Any, /) -> bool:
    """Whether X is an array in memory, whose rows are never read in passes."""
    if isinstance(x, np.ndarray):
        return type(x) is np.ndarray
    return array_api_compat.is_array_api_obj(x)


def open_stream(x: Any, limit: int, /, *, who: str = "KMeans") -> Direct | InOrder | None:
    """The reader of X where it is a path, an iterable of blocks, a sparse matrix, or a large map.

    A map is one if it is larger than the limit.
    """
    if isinstance(x, np.memmap):
        is_table = x.ndim == 2 and 0 not in x.shape and x.dtype.kind in "fiub"
        return Mapped(x, f"X (a map of {x.filename})") if is_table and x.nbytes > limit else None
    if isinstance(x, np.ndarray):
        return None
    if is_sparse(x):
        return open_sparse(x, who)
    if _is_path(x):
        return _nonempty(_open_paths(_expanded(pathlib.Path(x)), x))
    if isinstance(x, (list, tuple)):
        if x and all(map(_is_path, x)):
            return _nonempty(
                _open_paths([p for path in x for p in _expanded(pathlib.Path(path))], x)
            )
        return _nonempty(Batches(x)) if x and all(map(_is_block, x)) else None
    if isinstance(x, Iterator):
        raise TypeError(
            f"X is an iterator ({type(x).__name__}), whose rows come once, and k-means needs them "
            "in several passes. Pass a callable that opens it anew, as lambda: blocks(), or give "
            "each block to the partial_fit of MiniBatchKMeans"
        )
    return _nonempty(Batches(x)) if _hands_out_blocks(x) else None


def _hands_out_blocks(x: Any) -> bool:
    """Whether x can be iterated (or called) and is no table, array or collection of scalars."""
    if array_api_compat.is_array_api_obj(x) or _is_block(x) or isinstance(x, (dict, set, bytes)):
        return False
    if any(
        hasattr(type(x), name) for name in ("__array__", "__dlpack__", "__dataframe__", "shape")
    ):
        return False
    if callable(x):
        return not isinstance(x, type)
    return hasattr(type(x), "__iter__")


def _nonempty(reader: Direct | InOrder) -> Direct | InOrder:
    if reader.n_rows == 0:
        raise ValueError(f"{reader.name} has no rows (0 samples)")
    return reader


def _expanded(path: pathlib.Path) -> list[pathlib.Path]:
    """The files of a folder in the order of their names; a file itself."""
    if not path.is_dir():
        return [path]
    # hidden files are a system's own, as its notes about the others
    seen = sorted(file for file in path.iterdir() if not file.name.startswith("."))
    # arrays beside tables may be anything, as weights of their rows
    for endings in (SUFFIXES, (_ARRAY,)):
        found = [file for file in seen if file.suffix.lower() in endings]
        if found:
            return found
    raise ValueError(
        f"X={str(path)!r} is a folder without files of {', '.join((*SUFFIXES, _ARRAY))}"
    )


def _open_paths(paths: Sequence[pathlib.Path], given: Any) -> Direct | InOrder:
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"X={given!r}: there is no file {path}")
    if all(path.suffix.lower() in SUFFIXES for path in paths):
        return TableFiles(paths)
    if all(path.suffix.lower() == _ARRAY for path in paths):
        found = [_open_array(path) for path in paths]
        return found[0] if len(found) == 1 else Joined(found)
    raise ValueError(
        f"X={given!r}: files of {', '.join(SUFFIXES)}, or .npy files, can be read a piece at a "
        "time. Read other files first, or pass a callable that opens an iterable of blocks"
    )


def _open_array(path: pathlib.Path) -> Direct:
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(mapped, np.memmap):
        mapped.close()
        raise ValueError(f"{path} cannot be read: it is an archive (.npz). Save one array of it")
    if mapped.ndim != 2 or mapped.shape[1] < 1:
        raise ValueError(f"Expected 2D array, got shape {mapped.shape} in {path}")
    if mapped.dtype.kind not in "fiub":
        raise ValueError(f"{path} must hold real numbers, and has dtype {mapped.dtype}")
    if mapped.flags.c_contiguous:
        return ArrayFile(path, mapped)
    return Mapped(mapped, str(path))


def _is_path(x: Any, /) -> bool:
    return isinstance(x, (str, os.PathLike))


def _is_block(x: Any, /) -> bool:
    """Whether x is an array (m, d) or a data frame: one of several blocks, not a row."""
    return getattr(x, "ndim", None) == 2 or hasattr(type(x), "columns")
