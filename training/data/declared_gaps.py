"""Declared gaps: the values that a user declared missing, as a part of the model's columns.

A served model then reads such a cell of a client as training has read the table's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from models.columns.column import CategoricalColumn, Column, DateColumn
from models.columns.dates import days_since_1970, parse
from models.columns.gaps import gap_texts
from training.data.notation import Notation
from training.data.number_texts import PLAIN, numbers_in


def with_declared_gaps(column: Column, values: tuple[str, ...], notation: Notation | None) -> Column:
    """Returns a column with the values that the user declared missing; values of another kind are left out.

    Args:
        column: column of a schema.
        values: texts of the values.
        notation: notation of the column's numbers; None if not known.
    """
    if not values:
        return column
    if isinstance(column, CategoricalColumn):
        texts = (value for value in values if gap_texts([value]) and gap_texts([value]).isdisjoint(column.categories))
        return replace(column, gaps=tuple(dict.fromkeys(texts)))
    if isinstance(column, DateColumn):
        moments = (parse(value, column.form) for value in values)
        return replace(column, gaps=tuple(dict.fromkeys(days_since_1970(m) for m in moments if m is not None)))
    numbers = (_number(value, notation) for value in values)
    return replace(column, gaps=tuple(dict.fromkeys(number for number in numbers if number is not None)))


def _number(value: str, notation: Notation | None) -> float | None:
    """Returns the number of a text by the marks of the column, or else with a decimal dot; None without a number."""
    marks = None if notation is None else notation.marks
    for way in filter(None, (marks, PLAIN)):
        numbers, is_number = numbers_in(pa.array([value]), way)
        if is_number[0] and np.isfinite(numbers[0]):
            return float(numbers[0])
    return None
