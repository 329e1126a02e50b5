"""Which columns of a table are clustered: names, numbers and ranges, as people type them."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
_SHOWN = 12


class UsageError(Exception):
    """An option does not fit the data; the text names the option and what there is."""


class DataError(Exception):
    """The data cannot be read or clustered; the text says where and what to do."""


@dataclass(frozen=True)
class Picked:
    """Positions of the columns to read."""

    features: tuple[int, ...]
    weight: int | None

    @property
    def all(self) -> tuple[int, ...]:
        """Features first, then the weight."""
        return self.features if self.weight is None else (*self.features, self.weight)


@dataclass(frozen=True)
class Selection:
    """What was asked for; `wanted` are a model's feature names, used when nothing else is said.

    With `gaps` values that are missing are read as NaN; else they are errors.
    """

    columns: Sequence[str] | None = None
    exclude: Sequence[str] | None = None
    weights: str | None = None
    wanted: Sequence[str] | None = None
    gaps: bool = False

    def pick(self, names: Sequence[str], *, named: bool) -> Picked:
        """Turn the words into positions among the columns that there are."""
        weight = None
        if self.weights is not None:
            found = _find("--weights", [self.weights], names)
            if len(found) != 1:
                raise UsageError(f"--weights {self.weights}: one column is needed, not a range")
            weight = found[0]
        if self.columns is None and self.exclude is None and self.wanted and named:
            return Picked(_by_name(self.wanted, names), weight)
        chosen = (
            list(range(len(names)))
            if self.columns is None
            else _find("--columns", self.columns, names)
        )
        left_out = set(_find("--exclude", self.exclude or (), names)) | {weight}
        features = tuple(index for index in chosen if index not in left_out)
        if not features:
            raise UsageError(
                "no column is left to cluster after --columns, --exclude and --weights; "
                f"there are: {listing(names)}"
            )
        return Picked(features, weight)


@dataclass(frozen=True)
class Table:
    """Rows to cluster, and how they were read."""

    values: npt.NDArray[Any]
    names: tuple[str, ...]
    named: bool
    weights: npt.NDArray[Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def n_rows(self) -> int:
        return len(self.values)

    @property
    def dtype(self) -> str:
        return str(self.values.dtype)

    def refuse_non_finite(self) -> None:
        """Raise for the first cell that is NaN or infinite, with its column's name."""
        step = max(1, (1 << 20) // self.values.shape[1])
        for start in range(0, len(self.values), step):
            bad = ~np.isfinite(self.values[start : start + step])
            if bad.any():
                row, column = divmod(int(bad.argmax()), bad.shape[1])
                value = float(self.values[start + row, column])
                raise DataError(
                    f"column {self.names[column]!r} is {value} in row {start + row} (rows are "
                    "counted from 0). Fill it or drop the row, or leave the column out with "
                    f"--exclude {quoted(self.names[column])}"
                )


def parse_words(text: str) -> list[str]:
    """Split "a,b,0-3"; a name that holds a comma is put in double quotes."""
    return [word.strip() for word in next(csv.reader([text], skipinitialspace=True), [])]


def plain_names(count: int) -> tuple[str, ...]:
    """Names for columns that have none: x0, x1, ..."""
    return tuple(f"x{index}" for index in range(count))


def refuse_text(cells: dict[str, Any], where: str) -> None:
    """Raise for columns that hold text, given an example of each."""
    if not cells:
        return
    shown = ", ".join(f"{name!r} ({value!r})" for name, value in list(cells.items())[:_SHOWN])
    more = f" and {len(cells) - _SHOWN} more" if len(cells) > _SHOWN else ""
    raise DataError(
        f"{where}: text in column {shown}{more}; k-means needs numbers. Leave such columns out "
        f"with --exclude {quoted(*cells)}, or name the others with --columns"
    )


def quoted(*names: str) -> str:
    """Names as one argument of a shell command."""
    text = ",".join(f'"{name}"' if "," in name else name for name in names)
    return text if re.fullmatch(r"[\w,.%+-]+", text) else "'" + text.replace("'", "'\\''") + "'"


def listing(names: Sequence[str]) -> str:
    """Names for a message, with an end."""
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _find(option: str, words: Sequence[str], names: Sequence[str]) -> list[int]:
    """Positions of the words, each once, in the order given; a name goes before a number."""
    found: list[int] = []
    for word in words:
        if word in names:
            if names.count(word) > 1:
                raise UsageError(
                    f"{option}: {names.count(word)} columns are called {word!r}; "
                    "use their numbers, counted from 0"
                )
            found.append(names.index(word))
            continue
        match = _RANGE.fullmatch(word)
        if match is None:
            raise UsageError(f"{option}: there is no column {word!r}; there are: {listing(names)}")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < len(names):
            raise UsageError(
                f"{option} {word}: columns are numbered 0 to {len(names) - 1}, and a range runs "
                "upward"
            )
        found.extend(range(first, last + 1))
    return list(dict.fromkeys(found))


def _by_name(wanted: Sequence[str], names: Sequence[str]) -> tuple[int, ...]:
    missing = [name for name in wanted if names.count(name) != 1]
    if missing:
        raise DataError(
            f"the model was fitted on columns that the data lacks: {listing(missing)}. The data "
            f"has: {listing(names)}. Rename them, or choose columns by position with --columns"
        )
    return tuple(names.index(name) for name in wanted)
