"""Tables as text: the separator and the header line are found, numbers are read by NumPy."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ._columns import DataError, Selection, Table, plain_names, quoted, refuse_text

_SAMPLE = 50
_SEPARATORS = ("\t", ";", ",", None)  # None is any run of spaces; the first that fits wins
_SEPARATOR_NAMES = {"\t": "tab", ";": "semicolon", ",": "comma", None: "space"}
_MISSING = {"", "na", "n/a", "null", "none", "-", "?"}


@dataclass(frozen=True)
class _Dialect:
    separator: str | None
    decimal_comma: bool = False

    def split(self, line: str) -> list[str]:
        if self.separator is not None:
            cells = next(csv.reader([line], delimiter=self.separator, skipinitialspace=True))
        elif '"' in line:
            cells = next(csv.reader([" ".join(line.split())], delimiter=" "))
        else:
            cells = line.split()
        return [cell.strip() for cell in cells]

    def count(self, line: str) -> int:
        """Number of cells, the quick way where there are no quotes."""
        if '"' in line or self.separator is None:
            return len(self.split(line))
        return line.count(self.separator) + 1

    def is_number(self, cell: str) -> bool:
        try:
            float(cell.replace(",", ".") if self.decimal_comma else cell)
        except ValueError:
            return False
        return True


class _Lines:
    """Lines that count; those without content are passed over."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.number = 0
        self.text = ""

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.number += 1
            self.text = line.rstrip("\r\n")
            if self.number == 1:
                self.text = self.text.removeprefix("\ufeff")
            if self.text.strip():
                yield self.text


def read_delimited(
    lines: Iterable[str], label: str, selection: Selection, header: str = "auto"
) -> Table:
    """Read text with one row a line; ``header`` is "auto", "yes" or "no"."""
    counted = _Lines(lines)
    content = itertools.dropwhile(lambda line: line.lstrip().startswith("#"), counted)
    sample: list[tuple[int, str]] = []
    for line in content:
        sample.append((counted.number, line))
        if len(sample) == _SAMPLE:
            break
    if not sample:
        raise DataError(f"{label} is empty; give one row of numbers a line")
    dialect = _sniff([line for _, line in sample])
    rows = [dialect.split(line) for _, line in sample]
    named = header == "yes" or (header == "auto" and _has_header(rows, dialect))
    names = _names(rows[0]) if named else plain_names(len(rows[0]))
    if named:
        del rows[0], sample[0]
    picked = selection.pick(names, named=named)
    refuse_text(_text_cells(rows, names, picked.all, dialect), label)
    source = itertools.chain(sample, ((counted.number, line) for line in content))
    data = _parse(source, names, picked.all, dialect, label, gaps=selection.gaps)
    weights = None if picked.weight is None else data[:, -1]
    facts = {
        "separator": _SEPARATOR_NAMES[dialect.separator],
        "header": named,
        "decimal_comma": dialect.decimal_comma,
    }
    chosen = tuple(names[index] for index in picked.features)
    return Table(data[:, : len(chosen)], chosen, named, weights, facts)


def _sniff(lines: Sequence[str]) -> _Dialect:
    """The separator on whose number of cells most lines agree, if it is above one."""

    def agreement(separator: str | None) -> int:
        counts = Counter(_Dialect(separator).count(line) for line in lines)
        cells, agreeing = counts.most_common(1)[0]
        return agreeing if cells > 1 else 0

    best = max(_SEPARATORS, key=agreement)
    if agreement(best) == 0:
        return _Dialect(",")
    plain, comma = _Dialect(best), _Dialect(best, decimal_comma=True)
    if best == ",":
        return plain
    cells = [cell for line in lines for cell in plain.split(line)]
    with_comma = [cell for cell in cells if "," in cell and comma.is_number(cell)]
    with_point = [cell for cell in cells if "." in cell and plain.is_number(cell)]
    return comma if with_comma and not with_point else plain


def _has_header(rows: Sequence[Sequence[str]], dialect: _Dialect) -> bool:
    """Whether the first line names the columns: text above numbers, or text throughout."""
    first, rest = rows[0], rows[1:]
    words = [
        index
        for index, cell in enumerate(first)
        if cell.lower() not in _MISSING and not dialect.is_number(cell)
    ]
    if not words or not rest:
        return bool(words)

    def is_numeric(index: int) -> bool:
        cells = [row[index] for row in rest if index < len(row)]
        return all(dialect.is_number(cell) or cell.lower() in _MISSING for cell in cells)

    return len(words) == len(first) or any(is_numeric(index) for index in words)


def _names(cells: Sequence[str]) -> tuple[str, ...]:
    return tuple(cell or f"x{index}" for index, cell in enumerate(cells))


def _text_cells(
    rows: Sequence[Sequence[str]], names: Sequence[str], wanted: Sequence[int], dialect: _Dialect
) -> dict[str, str]:
    """For each wanted column that holds text in the sample, its first text."""
    found: dict[str, str] = {}
    for index in sorted(wanted):
        for row in rows:
            cell = row[index] if index < len(row) else ""
            if cell.lower() not in _MISSING and not dialect.is_number(cell):
                found[names[index]] = cell
                break
    return found


def _parse(
    numbered: Iterable[tuple[int, str]],
    names: Sequence[str],
    wanted: Sequence[int],
    dialect: _Dialect,
    label: str,
    *,
    gaps: bool = False,
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Let NumPy read the numbers; on failure the last line handed out is the bad one."""
    last = (0, "")

    def checked() -> Iterator[str]:
        nonlocal last
        for last in numbered:
            number, line = last
            if dialect.count(line) != len(names):
                raise DataError(
                    f"{label}, line {number}: {dialect.count(line)} cells where the first line "
                    f"has {len(names)} (separator: {_SEPARATOR_NAMES[dialect.separator]}). "
                    "Correct the line, or put text that holds the separator in double quotes"
                )
            yield line.replace(",", ".") if dialect.decimal_comma else line

    content = checked()
    first = next(content, None)
    if first is None:
        raise DataError(f"{label} has a header line and no rows")
    try:
        return np.loadtxt(
            itertools.chain([first], content),
            dtype=np.float64,
            comments=None,
            delimiter=dialect.separator,
            quotechar='"',
            usecols=None if list(wanted) == list(range(len(names))) else list(wanted),
            ndmin=2,
            converters=_number_or_gap if gaps else None,
        )
    except ValueError as error:
        number, line = last
        cells = dialect.split(line)
        for index in wanted:
            is_gap = gaps and cells[index].lower() in _MISSING
            if not is_gap and not dialect.is_number(cells[index]):
                _refuse_cell(cells[index], names[index], f"{label}, line {number}")
        raise DataError(f"{label}, line {number}: {error}") from error


def _number_or_gap(cell: str) -> float:
    return float("nan") if cell.strip().lower() in _MISSING else float(cell)


def _refuse_cell(cell: str, name: str, where: str) -> None:
    if cell.lower() in _MISSING:
        raise DataError(
            f"{where}: column {name!r} has no value ({cell!r}). Fill it or drop the row, or "
            f"leave the column out with --exclude {quoted(name)}"
        )
    refuse_text({name: cell}, where)
