"""The columns of an exported model: cells in, float32 features out, with the numbers that the server computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from models.columns.cell_text import NoCategory, bare, category_of, is_missing
from models.columns.cells import listed, shown
from models.columns.column import FLOAT32_LIMIT
from models.columns.date_forms import is_number_form
from models.columns.date_numbers import moment_of_number
from models.columns.dates import CIRCLES, PART_OF, Part, days_since_1970, parse
from models.columns.gaps import CategoryGaps, NumberGaps


class CellError(ValueError):
    """A cell that the model does not take; the message names row and column."""


def refuse(row: int, column: str, reason: str) -> NoReturn:
    """Raises the error for a cell."""
    raise CellError(f"row {row}, column {column!r}: {reason}.")


@dataclass(frozen=True, kw_only=True)
class Number:
    """A column of numbers: one feature, and a second one with `indicator`, which is 1 for a gap.

    Attributes:
        name: name of the column.
        gap: treatment of a gap: `refuse`, `mean` (the number `fill`) or `indicator` (the same, and the second feature).
        fill: feature of a gap.
        origin: number that is subtracted in float64, before a cell is rounded to float32.
        gaps: numbers that stand for a gap.
    """

    name: str
    gap: str
    fill: float
    origin: float = 0.0
    gaps: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """Number of features."""
        return 2 if self.gap == "indicator" else 1

    def encode(self, cells: Sequence[Any]) -> NDArray[np.float32]:
        """Returns the features of cells, (rows, width)."""
        block = np.zeros((len(cells), self.width), dtype=np.float32)
        gaps = NumberGaps(self.gaps)
        for row, cell in enumerate(cells):
            if _is_gap(cell, gaps):
                if self.gap == "refuse":
                    refuse(row, self.name, "the value is missing, and training saw no missing value in this column")
                block[row] = (self.fill, 1.0)[: self.width]
            else:
                block[row, 0] = self._number(row, cell)
        return block

    def _number(self, row: int, cell: Any) -> float:
        if isinstance(cell, bool) or not isinstance(cell, int | float):
            refuse(row, self.name, f"{shown(cell)} is not a number")
        try:
            value = cell - self.origin
        except OverflowError:  # a whole number too large for a float
            value = float("inf")
        if not -FLOAT32_LIMIT < value < FLOAT32_LIMIT:
            refuse(row, self.name, f"{shown(cell)} is not a finite 32-bit number")
        return value


def _is_gap(cell: Any, gaps: NumberGaps) -> bool:
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        return bool(gaps) and gaps.has(cell)
    return cell is None or (isinstance(cell, str) and is_missing(cell))


@dataclass(frozen=True, kw_only=True)
class Category:
    """A column of names.

    Attributes:
        name: name of the column.
        categories: categories that training saw.
        numbers: feature of each category, for a column of one feature; None for one-hot features, one a category.
        refuses_gaps: True to refuse a gap; otherwise all features of a gap are 0.
        refuses_unknown: True to refuse a category that training did not see; otherwise all its features are 0.
        gap_category: category for which a gap stands; None if `refuses_gaps` says what happens.
        gaps: texts that stand for a gap.
    """

    name: str
    categories: tuple[str, ...]
    numbers: tuple[float, ...] | None = None
    refuses_gaps: bool = True
    refuses_unknown: bool = True
    gap_category: str | None = None
    gaps: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.categories) if self.numbers is None else 1

    def encode(self, cells: Sequence[Any]) -> NDArray[np.float32]:
        """Returns the features of cells, (rows, width)."""
        positions = {category: i for i, category in enumerate(self.categories)}
        for i, category in enumerate(self.categories):
            if (spelled := category_of(category)) is not None:
                positions.setdefault(spelled, i)
        gaps = CategoryGaps(self.gaps)
        block = np.zeros((len(cells), self.width), dtype=np.float32)
        for row, cell in enumerate(cells):
            position = self._position(row, cell, positions, gaps)
            if position is None:
                continue
            if self.numbers is None:
                block[row, position] = 1.0
            else:
                block[row, 0] = self.numbers[position]
        return block

    def _position(self, row: int, cell: Any, positions: dict[str, int], gaps: CategoryGaps) -> int | None:
        if isinstance(cell, str) and cell in positions:
            return positions[cell]
        try:
            name = category_of(cell)
        except NoCategory:
            refuse(row, self.name, f"{shown(cell)} is not a category")
        if name is None or name in gaps:
            if self.gap_category is not None:
                return positions[self.gap_category]
            if self.refuses_gaps:
                refuse(row, self.name, "the value is missing, and training saw no missing value in this column")
            return None
        if name not in positions and self.refuses_unknown:
            known = listed(self.categories)
            refuse(row, self.name, f"{shown(cell)} is not a category of this column, which knows {known}")
        return positions.get(name)


@dataclass(frozen=True, kw_only=True)
class Date:
    """A column of dates: the days since 1970, two features for each part of the calendar, and an indicator of gaps.

    Attributes:
        name: name of the column.
        gap: treatment of a gap, as in a column of numbers.
        fill: first feature of a gap; the parts of a gap are 0.
        origin: number of days that is subtracted in float64.
        parts: parts of the calendar, each as sine and cosine of its angle.
        form: form of the training table's dates, besides ISO 8601; None for ISO 8601 only.
        gaps: dates that stand for a gap, in days since 1970.
    """

    name: str
    gap: str
    fill: float
    origin: float = 0.0
    parts: tuple[Part, ...] = ()
    form: str | None = None
    gaps: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """Number of features."""
        return 1 + 2 * len(self.parts) + (self.gap == "indicator")

    def encode(self, cells: Sequence[Any]) -> NDArray[np.float32]:
        """Returns the features of cells, (rows, width)."""
        block = np.zeros((len(cells), self.width), dtype=np.float32)
        for row, cell in enumerate(cells):
            moment = self._moment(row, cell)
            if moment is None or days_since_1970(moment) in self.gaps:
                if self.gap == "refuse":
                    refuse(row, self.name, "the value is missing, and training saw no missing value in this column")
                block[row, 0] = self.fill
                if self.gap == "indicator":
                    block[row, -1] = 1.0
                continue
            block[row, 0] = days_since_1970(moment) - self.origin
            for i, part in enumerate(self.parts):
                block[row, 1 + 2 * i : 3 + 2 * i] = CIRCLES[part][PART_OF[part](moment)]
        return block

    def _moment(self, row: int, cell: Any) -> datetime | None:
        """Returns a cell's moment in UTC; None for a gap."""
        moment = None
        if cell is None or (isinstance(cell, str) and is_missing(cell)):
            return None
        if isinstance(cell, str):
            moment = parse(cell, self.form) or parse(bare(cell), self.form)
        elif isinstance(cell, int | float) and not isinstance(cell, bool) and self.form and is_number_form(self.form):
            moment = moment_of_number(float(cell), self.form) if abs(cell) < 1e300 else None
        if moment is None:
            also = "" if self.form is None else f", or in the form {self.form}"
            refuse(row, self.name, f"{shown(cell)} is not a date (ISO 8601, such as 2024-05-31T13:45:00Z{also})")
        return moment
