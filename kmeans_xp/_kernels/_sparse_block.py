"""Rows as a sparse matrix stores them, for the kernel that takes them so."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _primitives as p
from .._typing import Array

Host = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
_FEW_VALUES = 1 << 18


class SparseBlock:
    """Rows of a CSR matrix of SciPy that stores no place twice.  Indexed, they are dense arrays.

    Parameters
    ----------
    csr : the rows
    dtype : float32 or float64, of the rows that are dense
    """

    ndim = 2

    def __init__(self, csr: Any, dtype: npt.DTypeLike) -> None:
        self._csr, self.dtype = csr, np.dtype(dtype)
        self.shape: tuple[int, int] = csr.shape
        self.indices: npt.NDArray[np.integer] = csr.indices

    def __getitem__(self, key: Any) -> Array:
        return self._csr[key].toarray().astype(self.dtype, copy=False)

    def take(self, rows: Array, axis: int = 0, **_: Any) -> Array:
        """The named rows, dense; what NumPy's function of this name asks for."""
        return self[rows]

    @property
    def few(self) -> int:
        """How many rows may be dense at a time, where nobody needs more."""
        return max(1, _FEW_VALUES // self.shape[1])

    @property
    def size(self) -> int:
        """Places, stored or not."""
        return self.shape[0] * self.shape[1]

    @property
    def values(self) -> Host:
        """What is stored, in float64."""
        values: Host = self._csr.data.astype(np.float64, copy=False)
        return values

    @property
    def rows(self) -> npt.NDArray[np.intp]:
        """The row of each stored value."""
        return np.repeat(np.arange(self.shape[0]), np.diff(self._csr.indptr))

    @property
    def n_stored(self) -> int:
        """How many places are stored."""
        return int(self._csr.indptr[-1])

    def in_order(self, keys: npt.NDArray[np.int64], bits: int) -> tuple[Codes, Codes, Host]:
        """Codes, columns and values of the stored places, row by row in the order of their keys.

        A code is the row, and below it the key of the column in so many bits.
        """
        columns = self.indices
        codes: Codes = (self.rows.astype(np.int64) << bits) | keys[columns]
        # rows are in order already, of which a stable sort makes most
        order = np.argsort(codes, kind="stable")
        return codes[order], columns[order].astype(np.int64), self.values[order]

    def part(self, rows: Any) -> SparseBlock:
        """Some rows as they are stored."""
        return SparseBlock(self._csr[rows], self.dtype)

    def times(self, factors: Host) -> Host:
        """The product with a matrix (n_features, k) whose rows lie one after another."""
        found: Host = self._csr @ factors
        return found

    def scaled(self, factor: float) -> SparseBlock:
        """The same times a power of two, in float64."""
        values = self.values
        values = values if factor == 1.0 else values * factor
        return SparseBlock(self._alike(values), np.float64)

    def squares(self) -> Host:
        """The sum of each row's squares."""
        values = self.values
        found: Host = self._alike(values * values) @ np.ones(self.shape[1])
        return found

    def ranges(self) -> tuple[Host, Host]:
        """Smallest and largest value of each column; infinite without rows."""
        return self._extreme(np.minimum, np.inf), self._extreme(np.maximum, -np.inf)

    def largest(self, values: Host) -> Host:
        """The largest magnitude in each column of what stands in the stored places."""
        found = np.zeros(self.shape[1])
        np.maximum.at(found, self.indices, np.abs(values))
        return found

    def column_counts(self) -> npt.NDArray[np.int64]:
        """How many places of each column are stored."""
        return np.bincount(self.indices, minlength=self.shape[1]).astype(np.int64)

    def column_sums(self, whole: Host) -> npt.NDArray[np.int64]:
        """Sums by column of whole numbers that stand in the stored places."""
        total = np.zeros(self.shape[1], dtype=np.int64)
        np.add.at(total, self.indices, whole.astype(np.int64))
        return total

    def _alike(self, values: Host) -> Any:
        csr = self._csr
        return type(csr)((values, csr.indices, csr.indptr), shape=csr.shape)

    def _extreme(self, better: np.ufunc, none: float) -> Host:
        is_full = self.column_counts() == self.shape[0]
        found = np.where(is_full, none, 0.0)
        better.at(found, self.indices, self.values)
        return found


class SparseScores:
    """Scores of all or the listed rows of a block; as `_numpy_wide.Scores`."""

    def __init__(self, x: SparseBlock, rung: p.Rung, rows: Array | None = None) -> None:
        self.rung = rung
        self._x = (x if rows is None else x.part(rows)).scaled(rung.scale)
        self.half: Host = 0.5 * self._x.squares()

    def lower_bounds(self, part: slice) -> Host:
        """L (k, m)."""
        return scores(self._x.part(part), self.rung)

    def note(self) -> None:
        """Norms take no longer than looking them up."""


def scores(x: SparseBlock, rung: p.Rung) -> Host:
    """L (k, m) of scaled rows."""
    found: Host = np.add(x.times(by_feature(rung).weights.T).T, rung.bias[:, None], order="C")
    return found


def by_feature(rung: p.Rung) -> p.Rung:
    """The rung with weights that lie feature by feature, as a sparse product takes them."""
    if not rung.weights.T.flags.c_contiguous:
        rung.weights = np.ascontiguousarray(rung.weights.T).T
    return rung
