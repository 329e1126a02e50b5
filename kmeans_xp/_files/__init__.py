"""Files of the command line: tables in, results out."""

from ._columns import DataError, Selection, Table, UsageError, listing, parse_words, quoted
from ._streamed import (
    Blocks,
    StreamedTable,
    array_blocks,
    open_streamed,
    outgrown,
    size_of,
)
from ._tables import (
    EXAMPLES,
    read_example,
    read_table,
    replacing,
    write_centers,
    write_json,
    write_labels,
    write_rows,
)

__all__ = [
    "EXAMPLES",
    "Blocks",
    "DataError",
    "Selection",
    "StreamedTable",
    "Table",
    "UsageError",
    "array_blocks",
    "listing",
    "open_streamed",
    "outgrown",
    "parse_words",
    "quoted",
    "read_example",
    "read_table",
    "replacing",
    "size_of",
    "write_centers",
    "write_json",
    "write_labels",
    "write_rows",
]
