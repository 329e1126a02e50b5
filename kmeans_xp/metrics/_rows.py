"""Rows and labels made ready for the scores of a clustering."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .._backend import Context, dtype_name, resolve
from .._problem import bring
from .._query import extent_of
from .._stats import Extent
from .._typing import Array
from .._validation import check_device_word, check_float64, check_table
from ._labels import Groups, check_labels, check_same_length, group, placed

_HOST_CELLS, _DEVICE_CELLS = 1 << 20, 1 << 22


@dataclass(frozen=True)
class LabelledRows:
    """Finite rows and the groups that their labels make of them, where the work happens."""

    x: Array  # (n, d), float32 or float64
    groups: Groups
    extent: Extent
    context: Context
    home: Context

    @property
    def n_rows(self) -> int:
        return int(self.x.shape[0])

    @property
    def dtype(self) -> str:
        return dtype_name(self.x)

    @property
    def cells(self) -> int:
        """Numbers of a temporary array: few enough for a cache, or for a small GPU."""
        return _HOST_CELLS if self.context.on_host else _DEVICE_CELLS


@contextlib.contextmanager
def labelled_rows(
    x: Any,
    labels: Any,
    device: str | None,
    who: str,
    *,
    chosen: npt.NDArray[np.int64] | None = None,
) -> Iterator[LabelledRows]:
    """Check and move what a score is about, and hold the scope of its place.

    ``chosen`` are the positions of the rows that the score is taken of.
    """
    device = check_device_word(device)
    rows, labels = check_table(x, "X", who), check_labels(labels, "labels")
    check_same_length(rows, labels, ("X", "labels"))
    work, home = resolve(rows, device)
    check_float64(work)
    with work.scope():
        there, marks = bring(rows, work, 1), placed(labels, work)
        extent = extent_of(there, work, who)
        if chosen is not None:
            positions = work.from_host(chosen)
            there = work.xp.take(there, positions, axis=0)
            marks = work.xp.take(marks, positions)
        groups = group(marks, xp=work.xp)
        _check_number(groups.n_groups, int(there.shape[0]))
        yield LabelledRows(there, groups, extent, work, home)


def _check_number(n_labels: int, n_rows: int) -> None:
    if not 1 < n_labels < n_rows:
        raise ValueError(
            f"Number of labels is {n_labels}. Valid values are 2 to n_samples - 1 (inclusive), "
            f"and n_samples is {n_rows}. Score a clustering with more than one cluster and fewer "
            "clusters than rows."
        )
