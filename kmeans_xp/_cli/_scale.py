"""The option --scale: columns brought to one scale before they are clustered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._files import DataError, StreamedTable, Table


@dataclass(frozen=True)
class Scaled:
    """The rows that are clustered, and the way back to the units of the data."""

    values: Any
    scaler: Any = None

    def original(self, centers: Any) -> Any:
        return centers if self.scaler is None else self.scaler.inverse_transform(centers)


def scale(method: str, table: Table | StreamedTable) -> Scaled:
    """Scale the rows of a table, as they are with "none"; of a stream, what stands for them."""
    if isinstance(table, StreamedTable):
        return Scaled(table.paths)
    if method == "none":
        return Scaled(table.values)
    from .. import FeatureScaler

    counted = table.values
    if table.weights is not None and (table.weights == 0.0).any():
        # as everywhere, such rows change nothing
        counted = counted[table.weights != 0.0]
    try:
        scaler = FeatureScaler(method).fit(counted)
        return Scaled(scaler.transform(table.values), scaler)
    except ValueError as error:
        table.refuse_non_finite()
        raise DataError(str(error)) from error
