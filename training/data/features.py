"""Features: the columns to learn from; columns without information are left out, each with a note."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.columns.dictionary_column import DictionaryColumn
from models.errors import DataError
from training.data.cells import looks_like_a_date
from training.data.column_choices import ColumnChoices
from training.data.equal_rows import EqualRows, RowHashes
from training.data.notation import Notation
from training.data.raw_column import RawColumn
from training.data.scratch import Scratch, is_view, release_pages
from training.data.typed_options import typed
from training.data.values import Kind, Values, content_of, joined, kind_of, missing_of

# With fewer rows than this, whole numbers that increase from row to row are not taken for a row number.
MIN_NUMBERED_ROWS = 20
# A column of one value and gaps is a feature only if at least this many rows have the value.
MIN_MARKED_ROWS = 2

_BYTES_A_VALUE = 8  # float64 and datetime64
_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)  # 007 is a code
_EXACT, _MOST_DIGITS = 2.0**53, 2.0**64  # whole numbers of 64 bits that float64 may round lie between these
_IDENTIFIERS = ("id", "uuid", "guid", "key", "index", "rownum", "row_number")


def read_features(
    columns: Sequence[RawColumn],
    choices: ColumnChoices,
    notes: list[str],
    date_forms: dict[str, str],
    notations: dict[str, Notation],
) -> dict[str, Values]:
    """Reads the features of a table, and leaves out columns without information.

    Args:
        columns: candidates, without the target and without columns that the user left out.
        choices: the user's decisions.
        notes: list to which notes for the user are appended.
        date_forms: dictionary to which forms of dates other than ISO 8601 are added, by column.
        notations: dictionary to which the notation of columns read from numbers is added, by column.

    Raises:
        DataError: a column cannot be used; the message names the column, and the row if one is at fault.
    """
    features: dict[str, Values] = {}
    first_with_content: dict[tuple[str, bytes], str] = {}
    scratch = _scratch_of(columns)
    for column in columns:
        if column.count_missing() == len(column):
            notes.append(f"Column {column.name!r} has no value at all and was left out.")
            continue
        values = column.read(choices)
        if spellings := column.spellings:
            notes.append(f"Column {column.name!r} {spellings}")
        notes += [f"Column {column.name!r} {remark}" for remark in column.remarks]
        if not choices.keep_constant:
            if reason := reason_to_drop(values):
                notes.append(f"Column {column.name!r} {reason} and was left out.")
                continue
            twin = first_with_content.setdefault(content_of(values), column.name)
            if twin != column.name:
                notes.append(f"Column {column.name!r} equals {twin!r} in every row and was left out.")
                continue
        elif never_repeats(values):
            notes.append(f"Column {column.name!r} {_NEVER_REPEATS} and was left out.")
            continue
        if column.date_form is not None:
            date_forms[column.name] = column.date_form
        if column.notation is not None:
            notations[column.name] = column.notation
        if remark := column.remark or remark_on(column.name, values, choices):
            notes.append(f"Column {column.name!r} {remark}")
        features[column.name] = _kept(values, column, scratch)
    return features


def read_same_features(
    columns: Sequence[RawColumn], like: Mapping[str, Values], notes: list[str], date_forms: Mapping[str, str]
) -> dict[str, Values]:
    """Reads another table's columns, each with the kind of the first table's column of the same name.

    Args:
        columns: columns of the other table.
        like: values of the first table's columns by name.
        notes: list to which notes for the user are appended.
        date_forms: forms of the first table's dates by column, if other than ISO 8601.

    Raises:
        DataError: cells are of a different kind.
    """
    read: dict[str, Values] = {}
    scratch = _scratch_of(columns)
    for column in columns:
        values = like[column.name]
        categories = values.distinct() if isinstance(values, DictionaryColumn) else None
        form = date_forms.get(column.name)
        values = read_as_earlier(column, kind_of(values), notes, form=form, categories=categories)
        read[column.name] = _kept(values, column, scratch)
    return read


def read_as_earlier(
    column: RawColumn, kind: Kind, notes: list[str], *, form: str | None, categories: Sequence[str] | None
) -> Values:
    """Reads a column of a test file, or of a file to predict, as the training table's column was read.

    Args:
        column: column to read.
        kind: kind of the column in training.
        notes: list to which notes on how cells are read are appended.
        form: form of the dates in training; None for ISO 8601 and other kinds.
        categories: categories of the column in training; None for other kinds.

    Raises:
        DataError: cells are of a different kind or unit.
    """
    if column.count_missing() == len(column):
        return gaps(len(column), kind)
    if categories is not None and len(categories) == 1 and _WHOLE.fullmatch(categories[0]):
        values: Values = column.numbered_categories()  # as training names a single number beside gaps
    else:
        forms = {} if form is None else {column.name: form}
        values = column.read(as_kind(ColumnChoices(), column.name, kind, forms))
    if kind_of(values) != kind:
        raise DataError(f"{column.called} is {kind_of(values)}, where the training rows' is {kind}.")
    notes += column.notes()
    return values


def joined_features(first: Mapping[str, Values], second: Mapping[str, Values]) -> dict[str, Values]:
    """Concatenates the rows of two tables with the same columns."""
    columns = {name: (values, second[name]) for name, values in first.items()}
    scratch = Scratch.for_bytes(_BYTES_A_VALUE * sum(len(one) + len(other) for one, other in columns.values()))
    together = {}
    for name, (one, other) in columns.items():
        values = joined(one, other)
        together[name] = values if scratch is None else scratch.copy_values(values)
    return together


def _scratch_of(columns: Sequence[RawColumn]) -> Scratch | None:
    """Returns scratch space for the values of columns; None for a table that is small enough for memory."""
    return Scratch.for_bytes(_BYTES_A_VALUE * sum(map(len, columns)))


def _kept(values: Values, column: RawColumn, scratch: Scratch | None) -> Values:
    """Returns the values of a column, those of a large table in scratch space."""
    if scratch is None:
        return values
    kept = values if is_view(values, column.cells) else scratch.copy_values(values)
    release_pages()
    return kept


def as_kind(choices: ColumnChoices, name: str, kind: str, date_forms: Mapping[str, str]) -> ColumnChoices:
    """Returns choices that set the kind of one column, and the form of its dates."""
    return ColumnChoices(
        categorical=(name,) if kind == "categorical" else (),
        numeric=(name,) if kind == "numeric" else (),
        date=(name,) if kind == "date" else (),
        date_formats={name: date_forms[name]} if kind == "date" and name in date_forms else {},
        unknown=choices.unknown,
    )


_NEVER_REPEATS = "has another name in each row, as an identifier has,"
_NO_FORM = (
    "its cells are not all of one form that is read, such as 2024-05-31, 31/05/2024 or 31 May 2024, with a time of day "
    "and UTC or an offset (+02:00) after it."
)


def reason_to_drop(values: Values) -> str | None:
    """Returns why a column has no information, as words that follow the column's name; None for other columns."""
    if never_repeats(values):
        return f"looks like dates, but {_NO_FORM.rstrip('.')}," if look_like_dates(values) else _NEVER_REPEATS
    if isinstance(values, DictionaryColumn):
        distinct = values.distinct()
        if len(distinct) > 1:
            return None
        gaps = int(values.missing().sum())
        return _too_rare(len(values) - gaps, repr(distinct[0])) if gaps else f"has one value only, {distinct[0]!r},"
    present = values[~missing_of(values)]
    if (present != present[0]).any():
        return None
    shown = str(present[0])[:10] if values.dtype.kind == "M" else f"{present[0]:g}"
    if len(present) == len(values):
        rounded = " in 64-bit floating point" if are_rounded(present) else ""
        return f"has one value only{rounded}, {shown},"
    return _too_rare(len(present), shown)


def _too_rare(rows: int, shown: str) -> str | None:
    """Returns why a column of one value and gaps has no information; None if its gaps have some.

    Gaps distinguish rows, but nothing can be learned from a single row.
    """
    return None if rows >= MIN_MARKED_ROWS else f"has one value only, {shown}, in one row only,"


def look_like_dates(values: Values) -> bool:
    """Returns True if the categories of a column look like dates of a form that is not known."""
    if not isinstance(values, DictionaryColumn):
        return False
    names = values.distinct()
    return len(names) > 1 and all(looks_like_a_date(text) for text in names[:1000])


def never_repeats(values: Values) -> bool:
    """Returns True for categories that never repeat, so knowledge about a category is of no use for other rows."""
    return isinstance(values, DictionaryColumn) and len(values) > 1 and len(values.distinct()) == len(values)


def remark_on(name: str, values: Values, choices: ColumnChoices) -> str | None:
    """Returns a warning about a column that is kept, as words that follow the column's name, or None."""
    if isinstance(values, DictionaryColumn):
        names = values.distinct()
        if name not in choices.categorical and look_like_dates(values):
            return f"looks like dates, such as {names[0]!r}, but is read as names: {_NO_FORM}"
        return None
    if values.dtype.kind == "f" and is_row_number(name, values):
        drop = typed("--drop", name)
        return f"looks like an identifier or a row number, and is kept: if it is one, leave it out ({drop})."
    if are_rounded(values) and name not in choices.numeric:
        option = typed("--categorical", name)
        return (
            f"has whole numbers from 2**53 on, of which 16 digits count: {option} reads them as names, with all digits."
        )
    return None


def are_rounded(values: Values) -> bool:
    """Returns True for whole numbers that float64 may have rounded, because some are above 2**53."""
    if isinstance(values, DictionaryColumn) or values.dtype.kind != "f":
        return False
    present = values[np.isfinite(values)]
    largest = float(np.abs(present).max(initial=0.0))
    return _EXACT < largest < _MOST_DIGITS and bool((np.trunc(present) == present).all())


def is_row_number(name: str, values: NDArray[np.float64]) -> bool:
    """Returns True if numbers look like a row number or an identifier.

    Such numbers are whole and all different. In addition they have no gap between least and greatest, or the column's
    name says so.
    """
    if len(values) < MIN_NUMBERED_ROWS or np.isnan(values).any() or not (np.trunc(values) == values).all():
        return False
    low, high = float(values.min()), float(values.max())
    is_run = high - low == len(values) - 1
    parts = name.casefold().replace("-", "_").replace(" ", "_")
    is_named = (
        parts in _IDENTIFIERS or parts.endswith(tuple(f"_{word}" for word in _IDENTIFIERS)) or name.endswith("Id")
    )
    return (is_run or is_named) and len(np.unique(values)) == len(values)


def equal_rows_of(features: Mapping[str, Values], target: Values, *, row_numbers: Collection[str] = ()) -> EqualRows:
    """Finds the rows that are equal in all features but row numbers.

    Args:
        features: `(rows,)` values by column name.
        target: `(rows,)` categories or float64, or `(rows, targets)` float64.
        row_numbers: names of columns known to number the rows. Those of two tables joined may begin again in the
            second, and then no longer look like row numbers.
    """
    hashes = RowHashes(len(target))
    for name, values in features.items():
        if name in row_numbers:
            hashes.skip_row_number(name)
        else:
            add_feature(hashes, name, values)
        release_pages()
    return hashes.equal_rows(target)


def add_feature(hashes: RowHashes, name: str, values: Values) -> None:
    """Adds a feature to the hashes of the rows."""
    if not isinstance(values, DictionaryColumn) and values.dtype.kind == "f" and is_row_number(name, values):
        hashes.skip_row_number(name)
    else:
        hashes.add(values)


def gaps(rows: int, kind: str) -> Values:
    """Returns a column of a kind in which every value is missing."""
    if kind == "categorical":
        return DictionaryColumn(np.full(rows, -1, dtype=np.int32), ())
    return np.full(rows, np.nan) if kind == "numeric" else np.full(rows, "NaT", dtype="datetime64[us]")
