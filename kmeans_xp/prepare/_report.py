"""What a check of features hands back."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

_MOST_LINES = 100


@dataclass(frozen=True)
class Finding:
    """Something to know about a column.

    Attributes
    ----------
    kind : str
        One of "text", "missing", "infinite", "constant", "duplicate", "identifier", "boolean",
        "categorical", "heavy tail", "outweighs", "outweighed".
    fact : str
        What was found, with figures.
    remedy : str
        What to do about it, in one line.
    """

    kind: str
    fact: str
    remedy: str


@dataclass(frozen=True)
class Feature:
    """A column and what was found about it.

    Attributes
    ----------
    name : hashable
        The name in a data frame, the position in an array.
    findings : tuple of Finding
    keep : bool
        Whether it is worth keeping.
    """

    name: Hashable
    findings: tuple[Finding, ...]
    keep: bool


@dataclass(frozen=True)
class FeatureReport:
    """What `check_features` found; ``print`` shows it as a table.

    Attributes
    ----------
    n_rows : int
        Rows that were looked at.
    features : tuple of Feature
        One for each column, in their order.
    keep : list
        Names (of a data frame) or positions (in an array) of the columns worth keeping, ready to
        index with: ``frame[report.keep]``, ``X[:, report.keep]``.
    drop : list
        The others.
    findings : list of (name, Finding)
        All of them, in the order of the columns.

    Examples
    --------
    >>> from kmeans_xp import check_features
    >>> report = check_features([[1.0, 5.0], [2.5, 5.0], [4.0, 5.0]])
    >>> report.keep, report.drop
    ([0], [1])
    >>> [(name, found.kind, found.fact) for name, found in report.findings]
    [(1, 'constant', 'all values are 5')]
    """

    n_rows: int
    features: tuple[Feature, ...]

    @property
    def keep(self) -> list[Any]:
        return [feature.name for feature in self.features if feature.keep]

    @property
    def drop(self) -> list[Any]:
        return [feature.name for feature in self.features if not feature.keep]

    @property
    def findings(self) -> list[tuple[Any, Finding]]:
        return [(feature.name, found) for feature in self.features for found in feature.findings]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values.

        Returns
        -------
        report : dict
            JSON can hold it where the names of the columns are text or numbers.
        """
        return {
            "n_rows": self.n_rows,
            "n_features": len(self.features),
            "keep": self.keep,
            "drop": self.drop,
            "features": [
                {
                    "name": feature.name,
                    "keep": feature.keep,
                    "findings": [asdict(found) for found in feature.findings],
                }
                for feature in self.features
            ],
        }

    def __str__(self) -> str:
        head = f"{self.n_rows:,} rows, {len(self.features)} columns: "
        silent = sum(not feature.findings for feature in self.features)
        if silent == len(self.features):
            return head + "nothing to report"
        kept = len(self.keep)
        head += f"{kept} worth keeping, {len(self.features) - kept} to drop, {silent} unremarkable"
        return "\n".join([head, "", *self._lines()])

    def _lines(self) -> Iterator[str]:
        """A line for each finding, then each remedy once."""
        rows = [
            (feature, found, "" if number else _cell(feature.name))
            for feature in self.features
            for number, found in enumerate(feature.findings)
        ]
        names = max(len("column"), *(len(name) for _, _, name in rows))
        kinds = max(len("finding"), *(len(found.kind) for _, found, _ in rows))
        yield f"{'column':{names}}  {'':4}  {'finding':{kinds}}  what was found"
        for feature, found, name in rows[:_MOST_LINES]:
            mark = "drop" if name and not feature.keep else ""
            yield f"{name:{names}}  {mark:4}  {found.kind:{kinds}}  {found.fact}"
        if len(rows) > _MOST_LINES:
            yield f"... and {len(rows) - _MOST_LINES:,} more findings, which to_dict() has"
        yield ""
        remedies: dict[str, dict[str, None]] = {}
        for _, found, _ in rows:
            remedies.setdefault(found.remedy, {})[found.kind] = None
        yield from (f"{', '.join(kinds)}: {remedy}" for remedy, kinds in remedies.items())


def _cell(name: Any) -> str:
    text = str(name)
    return text if len(text) <= 32 else text[:29] + "..."
