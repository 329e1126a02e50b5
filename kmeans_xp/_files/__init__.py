"""Files of the command line: tables in, results out."""

from ._columns import DataError, Selection, Table, UsageError, parse_words, quoted
from ._tables import (
    EXAMPLES,
    read_example,
    read_table,
    replacing,
    write_centers,
    write_json,
    write_labels,
)

__all__ = [
    "EXAMPLES",
    "DataError",
    "Selection",
    "Table",
    "UsageError",
    "parse_words",
    "quoted",
    "read_example",
    "read_table",
    "replacing",
    "write_centers",
    "write_json",
    "write_labels",
]
