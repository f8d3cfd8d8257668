"""The texts of cells whose category training did not see, which the encoded rows do not tell."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from models.columns.cell_text import category_of
from models.columns.cells import UNKNOWN, category_finder
from models.columns.column import CategoricalColumn
from models.columns.named_columns import Cells, cells_for
from models.columns.schema import Schema


class UnknownText(NamedTuple):
    """The text of a cell whose category training did not see.

    Attributes:
        row: position of the row.
        column: position of the column in the schema.
        text: category as it was read.
    """

    row: int
    column: int
    text: str


def unknown_texts(
    schema: Schema, columns: Sequence[Cells], unknown: Collection[str], first: int = 0
) -> list[UnknownText]:
    """Returns the texts of unknown cells.

    Args:
        schema: schema of the rows, which were encoded without a fault.
        columns: cells of each column, in the schema's order, `(rows,)` each.
        unknown: names of the columns that have unknown cells.
        first: position of the first row.
    """
    found: list[UnknownText] = []
    for at, (column, cells) in enumerate(zip(schema.columns, columns, strict=True)):
        if column.name in unknown and isinstance(column, CategoricalColumn):
            find = category_finder(column)
            for row, cell in enumerate(cells_for(column, cells), first):
                if find(cell) == UNKNOWN:
                    found.append(UnknownText(row, at, category_of(cell) or ""))
    return found
