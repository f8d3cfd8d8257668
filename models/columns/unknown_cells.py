"""Unknown cells: how many cells of a request name a category that training did not see, by column.

Only a cell that is unknown costs anything: a request without one asks once whether the counts are empty.
"""

from __future__ import annotations


class UnknownCells:
    """Counts of unknown categories, filled while rows are encoded and taken when they are.

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
        """Returns the counts and begins anew."""
        counts, self.counts = self.counts, {}
        return counts


def unknown_in_words(column: str, cells: int) -> str:
    """Returns a sentence on a column's unknown cells, for whoever asked for answers.

    Args:
        column: column's name.
        cells: number of its unknown cells.
    """
    return (
        f"{cells:,} cell{'s' if cells > 1 else ''} of column {column!r} hold a category that training did not see: "
        "these rows are answered from their other columns."
    )
