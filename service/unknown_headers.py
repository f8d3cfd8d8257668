"""The headers for unknown categories: the number of such cells in a request, and their columns.

The names of columns are percent-encoded, and the length of the list is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

CELLS_HEADER = b"X-Axon-Unknown-Categories"
COLUMNS_HEADER = b"X-Axon-Unknown-Columns"

_MAX_COLUMNS = 10
_MAX_BYTES = 1_000  # limit for the list of columns


def unknown_headers(counts: Mapping[str, int]) -> list[tuple[bytes, bytes]]:
    """Returns the headers for unknown categories.

    Args:
        counts: number of cells with unknown categories, by column name; not empty.

    Returns:
        The number of cells, and the columns as `city=2, zip%20code=1`, with most cells first.
    """
    columns = b""
    for name, cells in sorted(counts.items(), key=lambda item: -item[1])[:_MAX_COLUMNS]:
        column = f"{quote(name, safe='')}={cells}".encode()
        if len(columns) + len(column) + 2 <= _MAX_BYTES:
            columns += b", " * bool(columns) + column
    headers = [(CELLS_HEADER, b"%d" % sum(counts.values()))]
    return [*headers, (COLUMNS_HEADER, columns)] if columns else headers
