"""Rows of sparse matrices: dense where they are looked at, a block of them at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._backend import context_of, dtype_name
from ._kernels._sparse_block import SparseBlock
from ._readers import Direct, result_dtype
from ._typing import Array
from ._validation import refuse_shape

_PRICE = 16
"""Products with values that lie side by side, in the time of one with a stored value.

By counting, not measured: it is fetched with its place (12 bytes), and for each value there is a
row of the centers to fetch.
"""
_MAKERS = ("scipy.sparse.", "cupyx.scipy.sparse.")


def is_sparse(x: Any, /) -> bool:
    """Whether x is a sparse matrix of SciPy or CuPy, which are not imported to find out."""
    kinds = type(x).__mro__
    return hasattr(x, "tocsr") and any(kind.__module__.startswith(_MAKERS) for kind in kinds)


class SparseRows(Direct):
    """Rows of a matrix in CSR form, which stays as it is.

    Duplicates add up in the order in which they are stored, as in the matrix's own ``toarray``.
    A matrix of CuPy becomes dense on its GPU.
    """

    name = "X"
    kind = "rows of a sparse matrix"

    def __init__(self, matrix: Any, *, is_stored: bool) -> None:
        self._matrix = matrix
        self.n_rows, self.n_features = (int(size) for size in matrix.shape)
        self.dtype = result_dtype(np.dtype(dtype_name(matrix.data)))
        self.is_stored = is_stored
        context = context_of(matrix.data)
        with context.scope():
            self.head = context.from_host(np.empty((0, self.n_features), self.dtype))

    @property
    def home(self) -> Array:
        return self.head

    def read(self, start: int, stop: int, out: Array, /) -> Array:
        rows = self._matrix[start:stop]
        return SparseBlock(rows, self.dtype) if self.is_stored else self._dense(rows, out)

    def pick(self, rows: Sequence[int], /) -> Array:
        return self._dense(self._named(rows), None)

    def part(self, rows: Sequence[int], /) -> SparseRows:
        return SparseRows(self._named(rows), is_stored=self.is_stored)

    def where(self, row: int, /) -> str:
        return f"row {row}"

    def _named(self, rows: Sequence[int]) -> Any:
        where = context_of(self._matrix.data)
        with where.scope():
            return self._matrix[where.from_host(np.asarray(rows, dtype=np.int64))]

    def _dense(self, rows: Any, out: Array | None) -> Array:
        if not isinstance(rows.data, np.ndarray):
            # CuPy writes to new arrays only
            found = rows.toarray()
        elif out is None or rows.dtype != out.dtype:
            found = rows.toarray()
        else:
            return rows.toarray(out=out)
        # not before: duplicates add up in the dtype that they have
        xp = context_of(found).xp
        return xp.astype(found, getattr(xp, self.dtype), copy=False)


def open_sparse(x: Any, who: str, /) -> SparseRows:
    """The reader of a sparse matrix, once it is known to be sound and to hold real numbers."""
    refuse_shape(tuple(x.shape), who)
    matrix = x.tocsr()
    kind = np.dtype(dtype_name(matrix.data)).kind
    if kind == "c":
        raise ValueError(f"Complex data not supported: X has dtype {matrix.dtype}. Pass its parts.")
    if kind not in "fiub":
        raise ValueError(f"X must hold real numbers, and has dtype {matrix.dtype}.")
    with context_of(matrix.data).scope():
        _refuse_unsound(matrix)
    matrix, is_stored = _without_repeats(matrix)
    return SparseRows(matrix, is_stored=is_stored)


def _without_repeats(matrix: Any) -> tuple[Any, bool]:
    """The matrix, and whether its kernel may take it: thin, in host memory, no place twice."""
    n_rows, n_features = matrix.shape
    is_thin = int(matrix.indptr[-1]) * _PRICE <= n_rows * n_features
    if not is_thin or not isinstance(matrix.data, np.ndarray):
        return matrix, False
    if _is_ascending(matrix):
        return matrix, True
    ordered = matrix.copy()
    ordered.has_sorted_indices = False  # what the user's matrix remembers of itself may be old
    ordered.sort_indices()
    # of places stored twice the order decides what their sum rounds to
    return (ordered, True) if _is_ascending(ordered) else (matrix, False)


def _is_ascending(matrix: Any) -> bool:
    """Whether the columns of each row rise."""
    ends, columns = matrix.indptr, matrix.indices[: int(matrix.indptr[-1])]
    rises = columns[1:] > columns[:-1]
    starts = ends[1:-1]
    rises[starts[(starts > 0) & (starts < len(columns))] - 1] = True
    return bool(rises.all())


def _refuse_unsound(matrix: Any) -> None:
    """Raise for places outside of the matrix: a look at its rows would write to them."""
    xp, (n_rows, n_features) = context_of(matrix.data).xp, matrix.shape
    ends, columns = matrix.indptr, matrix.indices
    stored = min(int(columns.shape[0]), int(matrix.data.shape[0]))
    fits = int(ends.shape[0]) == n_rows + 1 and int(ends[0]) == 0 and int(ends[-1]) <= stored
    fits = fits and not bool(xp.any(ends[1:] < ends[:-1]))
    if not fits:
        raise ValueError(
            f"X.indptr does not tell the {n_rows} rows of X apart among its {stored} stored "
            "values. It begins with 0, and nowhere falls."
        )
    columns = columns[: int(ends[-1])]
    if not columns.shape[0]:
        return
    first, last = int(xp.min(columns)), int(xp.max(columns))
    if first < 0 or last >= n_features:
        raise ValueError(
            f"X.indices names columns from {first} to {last}, and X has the columns 0 to "
            f"{n_features - 1}."
        )
