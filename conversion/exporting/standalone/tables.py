"""The command of a standalone file: reads a CSV table and writes the same table with the predictions."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from conversion.exporting.standalone.columns import CellError, Number
from conversion.exporting.standalone.rows import Column
from models.columns.cell_text import bare
from models.columns.row_names import RowNames

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def read_cells(path: str, columns: Sequence[Column]) -> tuple[list[str], list[list[str]], dict[str, list[Any]]]:
    """Reads a CSV file in UTF-8 whose first line has the names of the columns.

    Returns:
        Names of the file's columns, its rows, and the cells of the model's columns, by name.
    """
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    # An empty line is no row, unless a row has one cell: then the cell is empty.
    rows = [row or [""] for row in rows] if len(header) == 1 else [row for row in rows if row]
    for i, row in enumerate(rows):
        if len(row) != len(header):
            raise CellError(f"row {i}: {len(row)} cells, where the first line has {len(header)}.")
    known = RowNames(column.name for column in columns)
    places: dict[str, int] = {}
    for at, key in enumerate(header):
        if (name := known.find(key)) is None:
            continue
        if name in places:
            raise CellError(f"the table has column {name!r} twice.")
        places[name] = at
    cells: dict[str, list[Any]] = {}
    for column in columns:
        if column.name not in places:
            raise CellError(f"the table lacks column {column.name!r}.")
        texts = [row[places[column.name]] for row in rows]
        cells[column.name] = [number_of(text) for text in texts] if isinstance(column, Number) else list(texts)
    return header, rows, cells


def number_of(text: str) -> float | str:
    """Returns the number that a text writes; the text if there is no number."""
    return float(bare(text)) if NUMBER.fullmatch(bare(text)) else text


def answer_table(
    arguments: Sequence[str],
    columns: Sequence[Column],
    answer: Callable[[Mapping[str, list[Any]]], Mapping[str, Sequence[Any]]],
    out: TextIO,
) -> int:
    """Answers the rows of a CSV file, and returns the exit code.

    Args:
        arguments: arguments of the command: the path of the file.
        columns: columns of the model.
        answer: function from the cells of columns to the columns of answers, by name.
        out: stream for the table with the answers.
    """
    if len(arguments) != 1:
        sys.stderr.write("give one argument: the path of a CSV file\n")
        return 2
    try:
        header, rows, cells = read_cells(arguments[0], columns)
        answers = answer(cells)
        if taken := [name for name in answers if name in header]:
            raise CellError(f"the table has a column {taken[0]!r}, which is the name of an answer: rename the column.")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*header, *answers])
    writer.writerows([*row, *more] for row, more in zip(rows, zip(*answers.values(), strict=True), strict=True))
    return 0
