"""Points in the numbers of a text file whose cells semicolons divide: decimal points, or thousands marks.

Such files come from countries with a decimal comma, too: 8.180 is 8180 in one country and 8.18 in another.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable

from models.columns.cell_text import bare
from models.columns.cells import shown

# The numbers that training reads in a CSV file; Python's own parser would also accept `1_000` and `nan`.
NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf|infinity)", re.ASCII | re.IGNORECASE)
_MAY_BE_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+", re.ASCII)


class PointsSeen:
    """The columns of a file in which a number has shown that the point is a decimal one. The file is read in pieces."""

    def __init__(self) -> None:
        self._certain: set[Hashable] = set()

    def are_certain(self, column: Hashable) -> bool:
        """Returns True if a column has shown a decimal point."""
        return column in self._certain

    def doubtful(self, column: Hashable, cells: Iterable[str]) -> list[str]:
        """Returns the cells that have two readings, unless the column has shown a decimal point up to now.

        Args:
            column: key of the column.
            cells: texts of the next piece of the column.
        """
        if column in self._certain:
            return []
        texts = [(cell, bare(cell)) for cell in cells if "." in cell]
        open_cells = [cell for cell, text in texts if _MAY_BE_THOUSANDS.fullmatch(text)]
        if len(open_cells) < len(texts) and any(
            NUMBER.fullmatch(text) and not _MAY_BE_THOUSANDS.fullmatch(text) for _, text in texts
        ):
            self._certain.add(column)
            return []
        return open_cells


def two_readings(cell: str) -> str:
    """Returns the message for a number whose points have two readings."""
    text = bare(cell)
    whole = text.replace(".", "")
    other = f" or {float(text):g}" if text.count(".") == 1 else ""
    return (
        f"{shown(cell)} may mean {whole}{other} where semicolons divide cells: divide them by commas, and write "
        "numbers without thousands marks"
    )
