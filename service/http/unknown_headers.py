"""Headers that tell of unknown categories: how many cells of a request, and in which columns.

The names are the model's own, percent-encoded, and the list is bounded however long they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

CELLS_HEADER = b"X-Axon-Unknown-Categories"
COLUMNS_HEADER = b"X-Axon-Unknown-Columns"

_MAX_COLUMNS = 10
_MAX_BYTES = 1_000  # of the list of columns


def unknown_headers(counts: Mapping[str, int]) -> list[tuple[bytes, bytes]]:
    """Tells of unknown categories.

    Args:
        counts: number of unknown cells by column name; not empty.

    Returns:
        The number of cells, and the columns as `city=2, zip%20code=1`, those with most cells first.
    """
    columns = b""
    for name, cells in sorted(counts.items(), key=lambda item: -item[1])[:_MAX_COLUMNS]:
        column = f"{quote(name, safe='')}={cells}".encode()
        if len(columns) + len(column) + 2 <= _MAX_BYTES:
            columns += b", " * bool(columns) + column
    headers = [(CELLS_HEADER, b"%d" % sum(counts.values()))]
    return [*headers, (COLUMNS_HEADER, columns)] if columns else headers
