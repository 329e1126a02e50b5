"""Labels of any kind as whole numbers from 0, and tables of two of them without a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_array

from .._backend import Context, context_of
from .._exact import to_device
from .._typing import Array, Namespace
from .._validation import as_float, is_foreign


@dataclass(frozen=True)
class Groups:
    """Rows by their label: the groups are numbered in the order of the labels."""

    codes: Array  # (n,) int64, the number of each row's group
    order: Array  # (n,) int64, the rows by group, in row order within each
    edges: Array  # (n_groups + 1,) int64, where the groups begin in that order
    n_groups: int

    @property
    def counts(self) -> Array:
        """Rows in each group (int64); there is no empty one."""
        return self.edges[1:] - self.edges[: self.n_groups]


def check_labels(labels: Any, name: str, /) -> Array:
    """Return labels as a 1-d array of real numbers in their own library.

    Those of other kinds, such as strings, become their places among the distinct ones.
    """
    if is_foreign(labels, name):
        return _numbers(labels, name)
    # a list, a column of a data frame, an array of strings: scikit-learn's rules
    host = check_array(
        labels, ensure_2d=False, allow_nd=True, ensure_min_samples=0, dtype=None, input_name=name
    )
    if host.dtype.kind in "biuf":
        return _numbers(host, name)
    _check_1d(host, name)
    return _places(host, name)


def _check_1d(labels: Array, name: str) -> None:
    if labels.ndim != 1:
        raise ValueError(
            f"{name} must be 1D: shape is {tuple(labels.shape)}. Pass one label for each row, for "
            f"example xp.reshape({name}, (-1,))."
        )


def _numbers(labels: Array, name: str) -> Array:
    _check_1d(labels, name)
    xp = array_api_compat.array_namespace(labels)
    if xp.isdtype(labels.dtype, "bool"):
        return xp.astype(labels, xp.int8)
    if xp.isdtype(labels.dtype, "integral"):
        return labels
    labels = as_float(labels, name)
    with context_of(labels).scope():
        bad = ~(xp.isfinite(labels) & (xp.floor(labels) == labels))
        if bool(xp.any(bad)):
            row = int(xp.argmax(xp.astype(bad, xp.int8)))
            raise ValueError(
                f"{name} has {float(labels[row])!r} at row {row}, which is not a whole number. "
                "Labels are integers or strings; is this the column of labels?"
            )
    return labels


def _places(labels: npt.NDArray[Any], name: str) -> npt.NDArray[np.int64]:
    try:
        return np.unique(labels, return_inverse=True)[1].astype(np.int64)
    except TypeError as error:
        raise ValueError(
            f"{name} mixes kinds that have no order ({error}). Make all of them strings or all "
            "of them integers."
        ) from error


def check_same_length(first: Array, second: Array, names: tuple[str, str], /) -> None:
    """Refuse labels that do not belong to the same rows."""
    sizes = [int(first.shape[0]), int(second.shape[0])]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: {sizes}. "
            f"{names[0]} and {names[1]} must tell of the same rows."
        )


def group(labels: Array, /, *, xp: Namespace) -> Groups:
    """Sort rows by label; nothing has a shape that depends on more than the number of groups."""
    n = int(labels.shape[0])
    device = array_api_compat.device(labels)
    order = xp.argsort(labels, stable=True)
    ordered = xp.take(labels, order)
    differs = xp.astype(ordered[1:] != ordered[: n - 1], xp.int64)
    ranks = xp.cumulative_sum(differs, include_initial=True)
    n_groups = int(ranks[n - 1]) + 1
    edges = xp.searchsorted(ranks, xp.arange(n_groups + 1, dtype=xp.int64, device=device))
    codes = xp.take(ranks, xp.argsort(order))
    return Groups(codes, order, edges, n_groups)


def placed(labels: Array, context: Context, /) -> Array:
    """Checked labels where the work happens."""
    if isinstance(labels, np.ndarray) and context.backend != "numpy":
        # some libraries have no byte order but the machine's own
        native = labels.astype(np.float64 if labels.dtype.kind == "f" else np.int64)
        return to_device(native, context.from_host(np.zeros(1)), xp=context.xp)
    return context.move(labels)
