"""Unknown cells: the number of cells of a request with a category that training did not see, by column.

Only unknown cells cost time; for a request without them, the counts are read once.
"""

from __future__ import annotations


class UnknownCells:
    """A counter of unknown categories, filled while rows are encoded and read afterwards.

    Attributes:
        counts: number of unknown cells by column name; columns without one are absent.
    """

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self, column: str, cells: int = 1) -> None:
        """Counts unknown cells of one column."""
        self.counts[column] = self.counts.get(column, 0) + cells

    def take(self) -> dict[str, int]:
        """Returns and resets the counts."""
        counts, self.counts = self.counts, {}
        return counts


def unknown_in_words(column: str, cells: int) -> str:
    """Returns a sentence on a column's unknown cells, for the user who asked for answers.

    Args:
        column: name of the column.
        cells: number of unknown cells in the column.
    """
    return (
        f"{cells:,} cell{'s' if cells > 1 else ''} of column {column!r} hold a category that training did not see: "
        "these rows are answered from their other columns."
    )
