"""Declared gaps: the values that a user declared missing, as a part of the model's columns.

A served model then reads such a cell of a client as training has read the table's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from models.columns.column import CategoricalColumn, Column, DateColumn
from models.columns.dates import days_since_1970, elapsed_days, parse
from models.columns.dictionary_column import DictionaryColumn
from models.columns.gaps import CategoryGaps, NumberGaps
from training.data.notation import Notation
from training.data.number_texts import PLAIN, numbers_in
from training.data.values import Values


def with_declared_gaps(column: Column, values: Values, declared: tuple[str, ...], notation: Notation | None) -> Column:
    """Returns a copy of a column, whose gaps are the values that the user declared missing.

    Left out are values of another kind, and values that the table has in cells that are no gaps: there, training has
    compared texts, such as `1900-01-01` with `1900-01-01 00:00`.

    Args:
        column: column of a schema.
        values: values of the table, `(rows,)`.
        declared: texts of the declared values.
        notation: notation of the column's numbers; None if not known.
    """
    if not declared:
        return column
    if isinstance(column, CategoricalColumn):
        names = values.distinct() if isinstance(values, DictionaryColumn) else column.categories
        texts = (
            text for text in declared if (gaps := CategoryGaps([text])) and not any(name in gaps for name in names)
        )
        return replace(column, gaps=tuple(dict.fromkeys(texts)))
    assert not isinstance(values, DictionaryColumn)  # noqa: S101 -- only categories are names
    if isinstance(column, DateColumn):
        moments = (parse(value, column.form) for value in declared)
        days = dict.fromkeys(days_since_1970(moment) for moment in moments if moment is not None)
        return replace(column, gaps=tuple(day for day in days if not np.isin(elapsed_days(values), day).any()))
    numbers = dict.fromkeys(number for value in declared if (number := _number(value, notation)) is not None)
    return replace(column, gaps=tuple(gap for gap in numbers if not NumberGaps([gap]).rows(values).any()))


def _number(value: str, notation: Notation | None) -> float | None:
    """Returns the number of a text by the marks of the column, or else with a decimal dot; None without a number."""
    marks = None if notation is None else notation.marks
    for way in filter(None, (marks, PLAIN)):
        numbers, is_number = numbers_in(pa.array([value]), way)
        if is_number[0] and np.isfinite(numbers[0]):
            return float(numbers[0])
    return None
