"""Finds the form of a column's dates: tries all known forms, and takes the one with which all cells agree."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.columns.date_forms import TEXT_FORMS, pattern_of, twin_of
from models.columns.dates import iso_text
from models.columns.dictionary_column import MISSING
from models.errors import DataError
from training.data.cells import dates_in
from training.data.typed_options import typed

_SAMPLE = 64  # number of texts with which a form is tried first
_FULL = re.compile(r"\d\d[.-]\d\d[.-]\d\d\b")  # 1.2.10 is a version rather than a date
# Two digits, three times, with hyphens: the short form of ISO 8601, or a day or month first.
_YEAR_FIRST, _YEAR_LAST = "%y-%m-%d", ("%d-%m-%y", "%m-%d-%y")
_MANY_DAYS = 4  # so many times as many numbers of days as of years tell which is which
_LEAST_DIGITS = 2  # digits of a text that may be a date, such as Feb-24


@dataclass(frozen=True, kw_only=True, eq=False)
class TriedForm:
    """A date form, with the cells of a column that the form can read.

    Attributes:
        form: form of the dates.
        dates: `(texts,)` datetime64[us], NaT where a text is not a date of the form.
        rows: number of rows whose text is a date of the form.
    """

    form: str
    dates: NDArray[np.datetime64]
    rows: int


@dataclass(frozen=True, kw_only=True)
class FoundForm:
    """The form of a column's dates, and a remark for the user.

    Attributes:
        form: form of the dates.
        remark: remark on the column, as words that follow the column's name in a sentence.
    """

    form: str
    remark: str


@dataclass(frozen=True, kw_only=True, eq=False)
class DateTexts:
    """A column of texts that may be dates of a form other than ISO 8601.

    Attributes:
        name: name of the column.
        called: name of the column in messages.
        codes: `(rows,)` index of each row's text, -1 for missing.
        texts: distinct texts.
        at: function from a row, counted from 0, to its place in the file in words.
        other_columns: function that returns the table's other columns by name, for columns whose own cells do not show
            the order of day and month.
    """

    name: str
    called: str
    codes: NDArray[np.int32]
    texts: pa.Array
    at: Callable[[int], str]
    other_columns: Callable[[], dict[str, pa.Array]]

    def find(self, share: float, *, forced: bool) -> FoundForm | None:
        """Finds the form of the dates.

        Args:
            share: least share of the rows with a text that must be dates of the form; the others count as errors.
            forced: True if the column must hold dates, so that its values count, even if all are the same.

        Returns:
            The form, or None if no form reads this share of the rows.

        Raises:
            DataError: the cells do not show if the day or the month comes first, or show both.
        """
        tried = forms_in(self.codes, self.texts, share)
        if not tried:
            return None
        year_first = next((one for one in tried if one.form == _YEAR_FIRST), None)
        others = [one for one in tried if year_first and one.form in _YEAR_LAST and one.rows >= year_first.rows]
        if year_first is not None and others and (forced or len(self.texts) > 1):
            is_first = self._is_year_first()
            if is_first is None:
                raise self._ambiguous_year(year_first, others)
            tried = [year_first] if is_first else [one for one in tried if one is not year_first]
        best = tried[0]
        twin = next((one for one in tried if one.form == twin_of(best.form)), None)
        if twin is None:
            return self._found(best)
        self._check_not_mixed(best, twin)
        is_constant = len(self.texts) == 1 and not (self.codes == MISSING).any()
        if best.rows > twin.rows or (is_constant and not forced):  # a constant column is left out of training
            return self._found(best)
        if "." in best.form:
            return self._with_day_first(*sorted((best, twin), key=lambda one: one.form))
        return self._as_other_columns(best, twin)

    def _found(self, tried: TriedForm, because: str = "") -> FoundForm:
        place = int(np.flatnonzero(~np.isnat(tried.dates))[0])
        text = self.texts[place].as_py()
        remark = f"holds dates of the form {tried.form}: {text!r} is read as {iso_text(tried.dates[place])}{because}."
        if "%y" in tried.form:
            remark += " Years of two digits are 1969 to 2068."
        return FoundForm(form=tried.form, remark=remark)

    def _with_day_first(self, day_first: TriedForm, month_first: TriedForm) -> FoundForm:
        """Takes the day as the first number, which is usual in dates with points."""
        found = self._found(day_first)
        otherwise = f"should it not: {option(self.name, month_first.form)}."
        return replace(found, remark=f"{found.remark} Where points divide a date, the day comes first; {otherwise}")

    def _as_other_columns(self, best: TriedForm, twin: TriedForm) -> FoundForm:
        """Takes the order of day and month from the table's other columns."""
        shown: dict[str, str] = {}
        for name, cells in self.other_columns().items():
            if order := day_or_month_first(forms_of_all(cells)):
                shown.setdefault(order, name)
        if len(shown) == 1:
            ((order, name),) = shown.items()
            by_order = {day_or_month_first([one.form]): one for one in (best, twin)}
            return self._found(by_order[order], f", with the {order} first as in column {name!r}")
        raise self._ambiguous(*sorted((best, twin), key=lambda one: one.form))

    def _is_year_first(self) -> bool | None:
        """Returns True if the first number of `24-09-17` is the year, False if the last; None if nothing tells.

        A table has many more days than years, unless all of its dates are the first day of a month.
        """
        numbers = pc.extract_regex(self.texts, r"^\s*(?P<first>\d\d)-\d\d-(?P<last>\d\d)")
        first, last = (set(pc.struct_field(numbers, name).drop_null().to_pylist()) for name in ("first", "last"))
        few, many = sorted((first, last), key=len)
        if len(many) < _MANY_DAYS * len(few) or few == {"01"}:
            return None
        return few is first

    def _ambiguous_year(self, year_first: TriedForm, others: list[TriedForm]) -> DataError:
        place = int(np.argmax(~np.isnat(year_first.dates) & ~np.isnat(others[0].dates)))
        cell = f"{self.texts[place].as_py()!r} at {self.at(int(np.argmax(self.codes == place)))}"
        readings = [
            f"{iso_text(one.dates[place])} by {option(self.name, one.form)}"
            for one in (year_first, *sorted(others, key=lambda one: one.form))
        ]
        names = f"read the column as names ({typed('--categorical', self.name)})"
        return DataError(
            f"{self.called}: {cell} is {', '.join(readings[:-1])}, and {readings[-1]}, and no cell of the column tells "
            f"which: say it by that option, or {names}."
        )

    def _ambiguous(self, day_first: TriedForm, month_first: TriedForm) -> DataError:
        differ = (day_first.dates != month_first.dates) & ~np.isnat(day_first.dates)
        place = int(np.argmax(differ if differ.any() else ~np.isnat(day_first.dates)))
        cell = f"{self.texts[place].as_py()!r} at {self.at(int(np.argmax(self.codes == place)))}"
        first, second = (option(self.name, one.form) for one in (day_first, month_first))
        names = f"read the column as names ({typed('--categorical', self.name)})"
        if not differ.any():
            return DataError(
                f"{self.called}: {cell} has one number for day and month, as the other cells have, so that none tells "
                f"which comes first: say {first} or {second}, or {names}."
            )
        return DataError(
            f"{self.called}: {cell} is {iso_text(day_first.dates[place])} by {first}, and "
            f"{iso_text(month_first.dates[place])} by {second}, and no cell of the column tells which: say it by that "
            f"option, or {names}."
        )

    def _check_not_mixed(self, best: TriedForm, twin: TriedForm) -> None:
        """Refuses a column in which some cells have the day first and others the month."""
        only = [
            np.flatnonzero(~np.isnat(one.dates) & np.isnat(other.dates)) for one, other in ((best, twin), (twin, best))
        ]
        if len(only[0]) and len(only[1]):
            places = [int(found[0]) for found in only]
            cells = [f"{self.texts[i].as_py()!r} at {self.at(int(np.argmax(self.codes == i)))}" for i in places]
            raise DataError(
                f"{self.called}: {cells[0]} is of the form {best.form} and {cells[1]} of the form {twin.form}, so that "
                "other cells could be either: write them in one form, or drop the column "
                f"({typed('--drop', self.name)})."
            )


def forms_in(codes: NDArray[np.int32], texts: pa.Array, share: float) -> list[TriedForm]:
    """Tries all forms on a column, and returns those that read enough rows, the best first.

    Args:
        codes: `(rows,)` index of each row's text, -1 for missing.
        texts: distinct texts.
        share: least share of the rows with a text that a form has to read.
    """
    some = texts.take(pa.array(np.unique(np.linspace(0, len(texts) - 1, _SAMPLE).astype(np.int64))))
    sample = [text for text in some.to_pylist() if sum(map(str.isdecimal, text)) >= _LEAST_DIGITS]
    if 2 * len(sample) < len(some):
        return []
    counts = np.bincount(codes[codes != MISSING], minlength=len(texts))
    tried = []
    for form in TEXT_FORMS:
        pattern = pattern_of(form)
        is_short = "%y" in form and "/" not in form and "%b" not in form
        likely = [text for text in sample if pattern.fullmatch(text) and (not is_short or _FULL.match(text))]
        if 2 * len(likely) < len(some):
            continue
        dates, is_date = dates_in(texts, form)
        rows = int(counts[is_date].sum())
        if rows and rows >= share * counts.sum():
            tried.append(TriedForm(form=form, dates=dates, rows=rows))
    return sorted(tried, key=lambda one: -one.rows)


def forms_of_all(cells: pa.Array) -> list[str]:
    """Returns the forms that read every cell of a column; none if the cells are not texts."""
    if not pa.types.is_dictionary(cells.type) or not len(cells.dictionary):
        return []
    texts = pc.unique(cells).dictionary_decode().drop_null()
    codes = np.arange(len(texts), dtype=np.int32)
    return [one.form for one in forms_in(codes, texts, 1.0)] if len(texts) else []


def day_or_month_first(forms: list[str]) -> str | None:
    """Returns `day` or `month`, the one that comes first in the forms of a column; None if these do not decide.

    Forms with points are ignored: they say nothing about forms with other marks.
    """
    orders = [form for form in forms if twin_of(form) is not None and "." not in form]
    if len(orders) != 1 or _YEAR_FIRST in forms:
        return None
    return "day" if orders[0].index("%d") < orders[0].index("%m") else "month"


def option(name: str, form: str) -> str:
    """Returns the command-line option that sets a column's date form."""
    return f"--date-format {shlex.quote(f'{name}={form}')}"
