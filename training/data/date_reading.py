"""Reads a column's cells as dates: texts in a given form or one that is found, and numbers in a given form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.columns.date_forms import NUMBER_FORMS, is_number_form
from models.columns.date_numbers import moments_of_numbers
from models.columns.dates import iso_text
from models.errors import DataError
from training.data.cells import dates_in, dictionary_encoded, values_of
from training.data.date_columns import DateTexts, FoundForm, option
from training.data.missing_texts import MAX_MISSING_TEXTS, are_gaps
from training.data.number_dates import form_of_numbers, forms_for
from training.data.number_texts import PLAIN, Marks, numbers_in
from training.data.table import Table


@dataclass(frozen=True, kw_only=True, eq=False)
class DateReading:
    """A column that may hold dates.

    Attributes:
        name: name of the column.
        called: name of the column in messages.
        table: table as read from its source.
        cells: `(rows,)` Arrow array.
        marks: decimal and thousands marks of numbers in texts; None if the texts have two readings.
        at: function from a row, counted from 0, to its place in the file in words.
    """

    name: str
    called: str
    table: Table
    cells: pa.Array
    marks: Marks | None
    at: Callable[[int], str]

    def find_form(self, *, forced: bool, share: float) -> FoundForm | None:
        """Finds the form of texts that are dates, but not in ISO 8601; None if there is no such form.

        Args:
            forced: True if the user says that the column holds dates.
            share: least share of the cells that must have the form, in a table of texts.

        Raises:
            DataError: the cells do not show if the day or the month comes first, or show both.
        """
        codes, texts = dictionary_encoded(self.cells)
        is_word = ~pc.match_substring_regex(texts, "[0-9]").to_numpy(zero_copy_only=False).astype(np.bool_)
        words = texts.filter(pa.array(is_word)).slice(0, 10 * MAX_MISSING_TEXTS).to_pylist()
        if words and len(words) < len(texts) and are_gaps(words, forced=forced):
            codes = np.where(np.append(is_word, False)[codes], np.int32(-1), codes)
        present = int((codes >= 0).sum())
        is_iso = np.append(dates_in(texts)[1], False)[codes]
        if not present or is_iso.sum() >= share * present:
            return None
        is_strict = not (self.table.text or forced)
        others = {name: cells for name, cells in self.table.columns.items() if name != self.name}
        column = DateTexts(
            name=self.name, called=self.called, codes=codes, texts=texts, at=self.at, other_columns=lambda: others
        )
        found = column.find(1.0 if is_strict else share, forced=forced)
        if found is not None or not is_strict or (numbers := self.numbers()) is None:
            return found
        form, remark = form_of_numbers(self.name, numbers)
        return None if form is None else FoundForm(form=form, remark=remark or "")

    def read_texts(self, texts: pa.Array, form: str) -> tuple[NDArray[np.datetime64], NDArray[np.bool_]]:
        """Reads texts as serving does: dates in ISO 8601, dates of the form, and numbers if the form is of numbers."""
        dates, _ = dates_in(texts)
        if form not in NUMBER_FORMS:
            dates = np.where(np.isnat(dates), dates_in(texts, form)[0], dates)
        if is_number_form(form):
            numbers, _ = numbers_in(texts, self.marks or PLAIN)
            dates = np.where(np.isnat(dates), moments_of_numbers(numbers, form), dates)
        return dates, ~np.isnat(dates)

    def numbers(self) -> NDArray[np.float64] | None:
        """Reads the column as numbers; returns None unless each cell is a number or missing."""
        kind = self.cells.type
        if pa.types.is_dictionary(kind) or not self.table.fits(self.name):
            codes, texts = dictionary_encoded(self.table.with_texts(self.name))
            numbers, is_number = numbers_in(texts, self.marks or PLAIN)
            return np.append(numbers, np.nan)[codes] if is_number.all() and len(texts) else None
        is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        return values_of(self.cells) if is_number else None

    def read_numbers(
        self, numbers: NDArray[np.float64], form: str | None
    ) -> tuple[NDArray[np.datetime64], FoundForm | None, str]:
        """Reads numbers as dates, where the user says that the column holds dates.

        Args:
            numbers: `(rows,)` numbers, NaN for missing.
            form: form that the user gives; None to find it.

        Returns:
            `(rows,)` datetime64[us], the form that was found (None if the user gives it), and the form.

        Raises:
            DataError: the numbers fit no form, or several.
        """
        found: FoundForm | None = None
        if form is None:
            forms = forms_for(numbers)
            if len(forms) != 1:
                raise self.not_dates()
            form = forms[0]
            first = int(np.flatnonzero(~np.isnan(numbers))[0])
            moment = iso_text(moments_of_numbers(numbers[first : first + 1], form)[0])
            remark = f"holds dates of the form {form}: {numbers[first]:.15g} is read as {moment}."
            found = FoundForm(form=form, remark=remark)
        if not is_number_form(form):
            raise DataError(f"{self.called} holds numbers, which are no dates of the form {form}.")
        dates = moments_of_numbers(numbers, form)
        is_none = np.isnat(dates) & ~np.isnan(numbers)
        if is_none.any():
            row = int(is_none.argmax())
            raise DataError(f"{self.called}: {numbers[row]:.15g} at {self.at(row)} is not a date of the form {form}.")
        return dates, found, form

    def not_dates(self) -> DataError:
        """Returns the error for a column that has to hold dates and does not."""
        held = "numbers" if pa.types.is_dictionary(self.cells.type) else self.cells.type
        return DataError(
            f"{self.called} holds {held}, not dates: those are written as in ISO 8601, 2024-05-31 or "
            f"2024-05-31T13:45:00Z, or in a form that is said, such as {option(self.name, 'epoch-seconds')}."
        )
