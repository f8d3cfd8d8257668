"""A raw column: reads the cells as one kind of values, or refuses a cell in a message that names the row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.columns.cell_text import NoCategory
from models.columns.date_forms import ISO, NUMBER_FORMS
from models.columns.date_numbers import moments_of_numbers
from models.columns.dictionary_column import DictionaryColumn
from models.errors import DataError
from training.data.arrow_types import is_plain
from training.data.cells import (
    categories_of,
    categories_of_numbers,
    dates_in,
    dictionary_encoded,
    moments_of,
    names_of,
    numbered_names,
    values_of,
)
from training.data.column_choices import ColumnChoices
from training.data.date_reading import DateReading
from training.data.missing_remarks import extreme_values, gap_names, missing_option
from training.data.missing_texts import MAX_MISSING_TEXTS, are_gaps
from training.data.notation import Notation, differ, other_unit
from training.data.number_dates import form_of_numbers
from training.data.number_texts import PLAIN, Marks, numbers_in
from training.data.table import Table
from training.data.text_numbers import SHARE_OF_A_KIND, TextNumbers, reading_remark
from training.data.typed_options import typed
from training.data.values import Values

# A standard deviation of this many steps of float64 loses 0.03 % of the variance to rounding.
_LEAST_STEPS = 16
# In a typed table, a column of texts with at least this share of numbers gets a remark on its other texts.
_MANY_NUMBERS = 0.5

_Reader = Callable[[pa.Array, str], tuple[NDArray[np.datetime64], NDArray[np.bool_]]]

_FLOAT32_MAX = float(np.finfo(np.float32).max)


class RawColumn:
    """One column of a table.

    Args:
        table: table as read from its source.
        name: name of the column.
        role: role of the column in messages: `column`, `target`, ….

    Attributes:
        name: name of the column.
        role: `column`, `target`, `weight`, `group` or `time`.
        called: name of the column in messages.
        cells: `(rows,)` Arrow array.
        spellings: remark by `categories` on a category with two spellings, to follow the column's name; or None.
        date_form: form of the dates read; None for ISO 8601, typed dates, and other kinds.
        remark: remark on dates, or on numbers that look like dates, to follow the column's name; or None.
        remarks: remarks on how cells were read as numbers, each to follow the column's name.
        notation: marks and unit, set by `numbers` if the cells are numbers; or None.
        looks_numeric: example, set by `numbers`, from a typed table's texts that all look like numbers; or None.
        code: example, set by `numbers`, of a code with zeros before it (`007`) among a text table's numbers; or None.
        is_of_codes: True, set by `numbers`, if all cells are codes of one width, which are names, and no dates.
    """

    def __init__(self, table: Table, name: str, role: str = "column") -> None:
        self.name = name
        self.role = role
        self.called = f"{role} {name!r} of {table.source}"
        self._table = table
        self.cells = table.column(name)
        self.spellings: str | None = None
        self.date_form: str | None = None
        self.remark: str | None = None
        self.remarks: list[str] = []
        self.notation: Notation | None = None
        self.looks_numeric: str | None = None
        self.code: str | None = None
        self.is_of_codes = False

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def is_text(self) -> bool:
        """True if cells are texts that may stand for numbers (CSV)."""
        return self._table.text

    @property
    def is_declared_categorical(self) -> bool:
        """True for a feature or target whose cells are numbers that the source declares categories."""
        return self.role in ("column", "target") and self.name in self._table.categorical

    @property
    def is_string(self) -> bool:
        """True if cells are texts, in any kind of table."""
        return bool(pa.types.is_dictionary(self.cells.type))

    @property
    def marks(self) -> Marks | None:
        """The decimal and thousands marks of numbers in texts; None if the texts have two readings."""
        return self._table.decision(self.name).marks

    def texts(self) -> pa.Array | None:
        """Returns the cells as dictionary-encoded texts, unchanged; None for cells of a different type."""
        cells = self._table.with_texts(self.name)
        return cells if pa.types.is_dictionary(cells.type) else None

    def read(self, choices: ColumnChoices) -> Values:
        """Reads the column as the kind that the user chose, or else the kind that its cells look like.

        Raises:
            DataError: a cell does not fit the kind, or the type is none of numbers, dates and texts.
        """
        is_declared = self.is_declared_categorical and not choices.says_kind(self.name)
        if self.name in choices.categorical or is_declared:
            return self.categories()
        form = choices.date_formats.get(self.name)
        # A kind is not tried if the user chose another one.
        if self.name not in choices.date and form is None:
            numbers = self.numbers(
                forced=self.name in choices.numeric,
                remedy=f"read the column as names ({typed('--categorical', self.name)})",
            )
            if numbers is not None:
                if self.name not in choices.numeric:
                    self.date_form, self.remark = form_of_numbers(self.name, numbers)
                if self.date_form is not None:
                    return moments_of_numbers(numbers, self.date_form)
                self.check_range(numbers)
                self.remark_on_extremes(numbers)
                # In a column of 1 and gaps, serving has to read a 0 as an unknown category, not as a number.
                is_mark = self.name not in choices.numeric and _is_whole_beside_gaps(numbers)
                return categories_of_numbers(numbers) if is_mark else numbers
            if self.is_of_codes:
                return self.categories()
        dates = self.dates(
            forced=self.name in choices.date or form is not None,
            remedy=f"read the column as names ({typed('--categorical', self.name)})",
            form=form,
        )
        if dates is not None:
            return dates
        if self.looks_numeric is not None:
            self.remarks.append(
                f"holds numbers as texts, such as {self.looks_numeric!r}, and is read as names: "
                f"{typed('--numeric', self.name)} reads them as numbers."
            )
        return self.categories()

    def notes(self) -> list[str]:
        """Returns sentences on how cells were read, for a table that is not the one to train with."""
        called = f"{self.called[0].upper()}{self.called[1:]}"
        return [f"{called} {remark}" for remark in (*self.remarks, *filter(None, [self.remark]))]

    def numbered_categories(self) -> DictionaryColumn:
        """Reads the column as categories; cells that are numbers are named as JSON writes numbers, with any marks.

        Raises:
            DataError: a category cannot be made of the type, or of a number.
        """
        if not self._table.text and self.is_string:
            return self.categories()
        if self.is_string and self.marks is not None and not are_gaps(self.words()[0], forced=False):
            return numbered_names(self.cells, self.marks)
        numbers = self.numbers(forced=False, remedy="read the column as names")
        if numbers is None or np.isinf(numbers).any():
            return self.categories()
        return categories_of_numbers(numbers)

    def names(self) -> DictionaryColumn:
        """Reads the column as names of classes.

        Raises:
            DataError: cells of this type cannot be written as names.
        """
        return names_of(self._nameable())

    def categories(self) -> DictionaryColumn:
        """Reads the column as categories, by the rule of serving.

        Raises:
            DataError: a category cannot be made of the type, or of a number.
        """
        try:
            names, pair = categories_of(self._nameable())
        except NoCategory:
            raise DataError(f"{self.called} holds an infinite number, which is no category.") from None
        if pair:
            what = "category" if self.role == "column" else self.role
            self.spellings = f"writes a {what} in two ways, such as {pair[0]!a} and {pair[1]!a}: it is one."
        self.remark_on_gap_names(names.names, names.counts())
        return names

    def remark_on_gap_names(self, names: Sequence[str], counts: NDArray[np.int64]) -> None:
        """Adds a remark on categories that people write for a missing value, unless another remark says so already.

        Args:
            names: distinct categories.
            counts: `(names,)` number of cells of each category.
        """
        if not self.remarks and (remark := gap_names(names, counts, self.name, is_target=self.role == "target")):
            self.remarks.append(remark)

    def _nameable(self) -> pa.Array:
        if not is_plain(self.cells.type):
            raise self._unsupported_type()
        return self._table.with_texts(self.name)

    def numbers(self, *, forced: bool, remedy: str, allow_gaps: bool = True) -> NDArray[np.float64] | None:
        """Reads the column as numbers; returns None for categories or dates.

        Args:
            forced: True if the column must hold numbers.
            remedy: advice in the message if a few cells are words.
            allow_gaps: True if texts among numbers may stand for missing.

        Raises:
            DataError: a cell is not a number where it has to be, or the type is none of numbers, dates and texts.
        """
        kind = self.cells.type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            if not self._table.fits(self.name):
                return self._numbers_in_texts(
                    self._table.with_texts(self.name), forced=forced, allow_gaps=allow_gaps, remedy=remedy
                )
            self._remark_on_marks()
            values, is_text = values_of(self.cells), self._table.text
            self.notation = Notation(marks=self._table.shown_marks(self.name) if is_text else None, unit="")
            self._compare_unit_of_plain(values)
            return values
        if pa.types.is_boolean(kind):
            if forced and self.role == "column":
                self.remarks.append(
                    "holds truth values, which are read, and served, as 1 and 0: a client writes 1 and 0 in JSON."
                )
            return values_of(self.cells) if forced else None
        if _is_temporal(kind):
            if forced:
                raise DataError(f"{self.called} holds dates, not numbers: {remedy}, or leave them dates.")
            return None
        if not pa.types.is_dictionary(kind):
            raise self._unsupported_type()
        return self._numbers_in_texts(self.cells, forced=forced, allow_gaps=allow_gaps, remedy=remedy)

    def share_of_numbers(self) -> float:
        """Returns the share of a text column's cells, gaps aside, that are numbers."""
        codes, texts = dictionary_encoded(self._table.with_texts(self.name))
        is_number = np.append(numbers_in(texts, self.marks or PLAIN)[1], False)[codes]
        return float(is_number.sum() / max((codes >= 0).sum(), 1))

    def words(self) -> tuple[list[str], int]:
        """Returns the distinct texts of a text column that are not numbers, and counts the distinct ones that are."""
        texts = dictionary_encoded(self._table.with_texts(self.name))[1]
        is_number = numbers_in(texts, self.marks or PLAIN)[1]
        return list(texts.filter(pa.array(~is_number)).to_pylist()), int(is_number.sum())

    def as_numbers(self, remedy: str) -> NDArray[np.float64]:
        """Reads the column as numbers without gaps, or refuses the column.

        Raises:
            DataError: a cell is not a number.
        """
        numbers = self.numbers(forced=True, remedy=remedy, allow_gaps=False)
        if numbers is None:
            raise self._unsupported_type()
        return numbers

    def dates(self, *, forced: bool, remedy: str, form: str | None = None) -> NDArray[np.datetime64] | None:
        """Reads the column as `(rows,)` datetime64[us] in UTC; returns None for categories or numbers.

        Texts are dates if all are in ISO 8601, or all in one other form with a certain order of day and month.

        Args:
            forced: True if the column must hold dates.
            remedy: advice in the message if a few cells are not dates.
            form: form of the dates that the user gives; None to find it.

        Raises:
            DataError: a cell is not a date where it has to be, could be two dates, or is outside the years 1 to 9999.
        """
        if _is_temporal(self.cells.type):
            dates, is_outside = moments_of(self.cells)
            if is_outside.any():
                row = int(is_outside.argmax())
                raise DataError(f"{self.called}: the date at {self.at(row)} is outside the years 1 to 9999.")
            return dates
        reading = DateReading(
            name=self.name, called=self.called, table=self._table, cells=self.cells, marks=self.marks, at=self.at
        )
        if forced and (numbers := reading.numbers()) is not None:
            dates, found, self.date_form = reading.read_numbers(numbers, form)
            self.remark = None if found is None else found.remark
            return dates
        if not pa.types.is_dictionary(self.cells.type):
            if forced:
                raise reading.not_dates()
            return None
        read: _Reader = dates_in
        if form is None and (found := reading.find_form(forced=forced, share=SHARE_OF_A_KIND)) is not None:
            form, self.remark = found.form, found.remark
            self.date_form = form
            read = reading.read_texts if form in NUMBER_FORMS else dates_in
        elif form is not None:
            self.date_form, read = (None if form == ISO else form), reading.read_texts
        if form is None:
            return self._read(dates_in, kind="date", forced=forced, remedy=remedy)
        kind = f"date of the form {form}"
        return self._read(lambda texts: read(texts, form), kind=kind, forced=forced, remedy=remedy)

    def holds_dates(self) -> bool:
        """Returns True if all cells but the missing ones are dates, typed or in ISO 8601."""
        if not pa.types.is_dictionary(self.cells.type):
            return _is_temporal(self.cells.type)
        _, texts = dictionary_encoded(self.cells)
        return len(texts) > 0 and bool(dates_in(texts)[1].all())

    def check_has_values(self) -> None:
        """Refuses a column without any value."""
        if self.count_missing() == len(self):
            raise DataError(f"{self.called} has no value at all: drop it ({typed('--drop', self.name)}).")

    def check_complete(self, remedy: str = "fill it in or remove the row") -> None:
        """Refuses a column with a gap."""
        if missing := self.count_missing():
            others = f" and {missing - 1} more" if missing > 1 else ""
            raise DataError(f"{self.called} has no value at {self.at(int(self.missing().argmax()))}{others}: {remedy}.")

    def check_range(self, values: NDArray[np.float64]) -> None:
        """Refuses numbers that float32 cannot hold."""
        beyond = np.abs(values) > _FLOAT32_MAX  # False for NaN
        if beyond.any():
            row = int(beyond.argmax())
            reason = "infinite" if np.isinf(values[row]) else "too large for 32-bit floating point"
            raise DataError(
                f"{self.called}: the value at {self.at(row)} is {reason}. If it stands for missing, say so "
                f"({missing_option(self.name, [float(values[row])], is_target=self.role == 'target')})."
            )

    def remark_on_extremes(self, values: NDArray[np.float64]) -> None:
        """Adds a remark on extreme values among `(rows,)` numbers.

        Raises:
            DataError: the target has extreme values so large that the others are equal in 32-bit floating point.
        """
        if remark := extreme_values(values, self.name, called=self.called, is_target=self.role == "target", at=self.at):
            self.remarks.append(remark)

    def check_resolution(self, values: NDArray[np.float64]) -> None:
        """Refuses numbers whose spread is a few steps of float64, so that rounding has lost most of the information."""
        step, spread = float(np.spacing(np.abs(values).max())), float(values.std())
        if (values == values[0]).all():
            is_rounded = step > 1 and len(pc.unique(self.cells)) > 1
        else:
            is_rounded = spread < _LEAST_STEPS * step
        if is_rounded:
            raise DataError(
                f"{self.called}: its values lie about {values[0]:.4g} and differ by too little for 64-bit floating "
                f"point, whose steps are {step:.3g} there: subtract a constant from them."
            )

    def at(self, row: int) -> str:
        """Returns the place of a row in the file, in words."""
        return self._table.locate(row)

    def missing(self) -> NDArray[np.bool_]:
        """Returns `(rows,)` True for a missing value."""
        gaps: NDArray[np.bool_] = pc.is_null(self.cells, nan_is_null=True).to_numpy(zero_copy_only=False)
        return gaps

    def count_missing(self) -> int:
        """Returns the number of rows without a value."""
        return int(self.missing().sum())

    def _numbers_in_texts(
        self, cells: pa.Array, *, forced: bool, allow_gaps: bool, remedy: str
    ) -> NDArray[np.float64] | None:
        """Returns the numbers in texts, reading each distinct text once; None if the column does not hold numbers."""
        codes, texts = dictionary_encoded(cells)
        if not len(texts):
            return np.full(len(codes), np.nan) if forced else None
        numbers = TextNumbers(
            called=self.called,
            name=self.name,
            texts=texts,
            counts=np.bincount(codes[codes >= 0], minlength=len(texts)),
            where=lambda place: self.at(int((codes == place).argmax())),
            evidence=self._table.evidence(self.name),
            decision=self._table.decision(self.name),
            delimiter=self._table.delimiter,
            is_target=self.role == "target",
            is_feature=self.role == "column",
            precedent=self._table.precedent,
            remarks=self.remarks,
        )
        if not self._table.text and not forced:
            # Texts of a typed table are categories unless the user says otherwise.
            self.looks_numeric = numbers.example_of_numbers()
            if self.looks_numeric is None and self.share_of_numbers() >= _MANY_NUMBERS:
                numbers.remark_on_names()
            return None
        self.code = None if forced else numbers.code()
        values = numbers.read(forced=forced, allow_gaps=allow_gaps, remedy=remedy)
        self.is_of_codes = numbers.are_codes
        if values is None:
            return None
        self.notation = Notation(marks=self._table.shown_marks(self.name), unit=numbers.unit)
        return np.append(values, np.nan)[codes]  # code -1, a gap, takes the last element

    def _compare_unit_of_plain(self, values: NDArray[np.float64]) -> None:
        """Refuses numbers without a sign where those of an earlier table have per cent; remarks on typed ones."""
        places = np.flatnonzero((values != 0) & ~np.isnan(values))
        if self._table.precedent is None or not len(places):
            return
        row, called, earlier = int(places[0]), self.called, self._table.precedent.of(self.name).unit
        if differ("", earlier):
            source = self._table.precedent.source
            if self._table.text:
                raise other_unit(called, "", f"{values[row]:.15g}", self.at(row), str(earlier), source)
            # A typed table has no signs: its numbers may be in the right unit.
            self.remarks.append(
                f"has no sign beside its numbers, and {source} has {earlier!r}: 12 is read as 12 {earlier}."
            )

    def _remark_on_marks(self) -> None:
        """Adds a remark on numbers with two readings whose texts were not kept."""
        shown, decision = self._table.evidence(self.name), self._table.decision(self.name)
        text = shown.open_dot or shown.open_comma
        if text and shown.is_open and decision.marks is not None and decision.because:
            self.remarks.append(reading_remark(text, decision.marks, decision.because))

    def _read(
        self,
        read: Callable[[pa.Array], tuple[NDArray[Any], NDArray[np.bool_]]],
        *,
        kind: str,
        forced: bool,
        remedy: str,
    ) -> NDArray[Any] | None:
        """Reads each distinct text with `read`; returns None if the texts are of a different kind."""
        codes, texts = dictionary_encoded(self.cells)
        values, is_read = read(texts)
        self._accept_gaps(texts, is_read, forced=forced)
        # Code -1, a gap, takes the last element.
        gap = np.full(1, "NaT" if values.dtype.kind == "M" else np.nan, dtype=values.dtype)
        if is_read.all():
            return np.concatenate((values, gap))[codes] if len(texts) or forced else None
        is_wrong = np.append(~is_read, False)[codes]  # (rows,)
        present = int((codes >= 0).sum())
        count = present - int(is_wrong.sum())
        # Texts of a typed table are categories unless all are dates: such a table has no typing errors to point out.
        if not forced and (count < SHARE_OF_A_KIND * present or not self._table.text):
            return None
        row = int(is_wrong.argmax())
        form = " of ISO 8601 (2024-05-31, 2024-05-31T13:45:00Z)" if kind == "date" else ""
        raise DataError(
            f"{self.called}: {self.cells[row].as_py()[:60]!r} at {self.at(row)} is not a {kind}{form}, while "
            f"{count} of {present} cells are; correct it, or {remedy}."
        )

    def _accept_gaps(self, texts: pa.Array, is_read: NDArray[np.bool_], *, forced: bool) -> None:
        """Counts texts that are not dates as missing, with a remark, if all of these stand for missing."""
        words = texts.filter(pa.array(~is_read)).to_pylist()
        if words and is_read.any() and are_gaps(words, forced=forced):
            listed = ", ".join(map(repr, words[: MAX_MISSING_TEXTS + 1]))
            self.remarks.append(f"is read as dates, and {listed} as missing.")
            is_read[:] = True

    def _unsupported_type(self) -> DataError:
        if self.role == "column":
            remedy = f"drop it ({typed('--drop', self.name)})"
        else:
            remedy = f"name another column as the {self.role} (--{self.role})"
        return DataError(
            f"{self.called} holds {self.cells.type}, which is neither numbers nor names nor dates: "
            f"convert it, or {remedy}."
        )


def _is_whole_beside_gaps(numbers: NDArray[np.float64]) -> bool:
    """Returns True if numbers are one whole number in some rows, and NaN in the others."""
    present = numbers[~np.isnan(numbers)]
    return 0 < len(present) < len(numbers) and bool((present == np.trunc(present[0])).all())


def _is_temporal(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))
