"""A table as read from its source: columns of raw cells by name, and the place of each row in its file.

The meaning of the columns is not known yet. In a table read from text every cell is a text, also a number. In a table
that came with types, the types are trusted. Texts are dictionary-encoded. A long column of a text table that holds
only numbers, or only dates, is stored as numbers or dates instead (`text_column`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.columns.cell_text import is_missing, tidy
from models.errors import DataError
from training.data.arrow_types import plain_column
from training.data.cells import bare_cells, dictionary_encoded, without_null_values
from training.data.mark_evidence import NO_EVIDENCE, Decision, MarkEvidence, decide, decide_as_earlier, evidence_of
from training.data.missing_texts import MissingValues
from training.data.notation import Notation, Precedent
from training.data.number_texts import Marks
from training.data.scratch import Scratch, is_view

# Name of an index that pandas stored as a column; not a column of the user's.
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns of equal length, by name, in order.

    Attributes:
        source: name of the table in messages, such as a file's name.
        columns: Arrow array by column name, null or NaN where a cell is missing. Strings are dictionary-encoded.
        notes: sentences on parts of the source that were left out or changed.
        text: True if cells are texts that may stand for numbers (CSV).
        delimiter: delimiter of a CSV file; None for other tables.
        marks: decimal and thousands marks that the user gives for numbers in texts.
        shown: evidence of the marks, by column, for columns whose texts are not kept.
        precedent: notation of an earlier table, which decides the marks where this table's cells do not.
        locate: function from a row, counted from 0, to its place in words ("line 7").
        read_texts: function that reads the texts of a column again, for columns whose texts are not kept.
        read_unchanged: function that returns the texts of a column as the source has them, with all blanks and with
            texts that count as missing; None for a column without such texts.
        categorical: columns of numbers that the source declares categories, as pandas' `category` does.
        missing: values that the user declared missing, whose cells are null.
        row_numbers: `(rows,)` number of each row in the source, from 0; None if no row was left out.
    """

    source: str
    columns: Mapping[str, pa.Array]
    notes: tuple[str, ...] = ()
    text: bool = False
    delimiter: str | None = None
    marks: Marks | None = None
    shown: Mapping[str, MarkEvidence] = field(default_factory=dict)
    precedent: Precedent | None = None
    locate: Callable[[int], str] = lambda row: f"row {row} (counting from 0)"
    read_texts: Callable[[str], pa.Array] | None = None
    read_unchanged: Callable[[str], pa.Array | None] | None = None
    categorical: frozenset[str] = frozenset()
    missing: MissingValues = field(default_factory=MissingValues)
    row_numbers: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if not self.columns:
            raise DataError(f"{self.source} has no columns.")
        if self.rows == 0:
            raise DataError(f"{self.source} has columns but no rows.")
        columns = {name: _encoded(cells) for name, cells in self.columns.items()}
        object.__setattr__(self, "columns", columns)

    @property
    def rows(self) -> int:
        """The number of rows of the table."""
        return len(next(iter(self.columns.values())))

    def column(self, name: str) -> pa.Array:
        """Returns a column by name.

        Raises:
            DataError: the table has no such column; the message suggests close names.
        """
        if name not in self.columns:
            raise DataError(f"{self.source} has no column {name!r}; {self._suggestion(name)}")
        return self.columns[name]

    def with_texts(self, name: str) -> pa.Array:
        """Returns a column with its texts, read again if a text table did not keep these."""
        cells = self.column(name)
        if self.read_texts is None or pa.types.is_dictionary(cells.type):
            return cells
        return self.read_texts(name)

    def unchanged(self, name: str) -> pa.Array:
        """Returns a column with the texts of the source, with all blanks and with texts such as `NA`."""
        cells = None if self.read_unchanged is None else self.read_unchanged(name)
        return self.with_texts(name) if cells is None else cells

    def decision(self, name: str) -> Decision:
        """Decides the marks of a column's numbers: by the user's choice, the column's texts, or those of the table."""
        if name not in self._decisions:
            self._decisions[name] = self._decide(name)
        return self._decisions[name]

    def _decide(self, name: str) -> Decision:
        if self.marks is not None:
            return Decision(marks=self.marks)
        own = self.evidence(name)
        others = ((other, shown) for other, shown in self._certain.items() if other != name)
        decided = decide(own, others, delimiter=self.delimiter)
        earlier = None if self.precedent is None else self.precedent.of(name).marks
        if self.precedent is None or earlier is None or own.dot or own.comma:
            return decided
        return decide_as_earlier(own, decided, earlier, source=self.precedent.source)

    def shown_marks(self, name: str) -> Marks | None:
        """Returns the marks of a column for later tables; None if no cell has marks and nobody gives any."""
        decided = self.decision(name)
        return decided.marks if decided.is_shown or self.evidence(name).is_open else None

    def as_precedent(self) -> Precedent:
        """Returns the marks of the columns, without units, for a table of the same columns."""
        texts = [name for name, cells in self.columns.items() if self.text or pa.types.is_dictionary(cells.type)]
        return Precedent(source=self.source, notations={name: Notation(marks=self.shown_marks(name)) for name in texts})

    def evidence(self, name: str) -> MarkEvidence:
        """Returns the evidence of marks in a column's texts."""
        return self._evidence.get(name, NO_EVIDENCE)

    def most_likely_decimal(self) -> str:
        """Returns the decimal mark of most columns."""
        shown = list(self._evidence.values())
        commas = sum(bool(one.comma or one.open_comma) for one in shown)
        return "," if commas > sum(bool(one.dot or one.open_dot) for one in shown) else "."

    def fits(self, name: str) -> bool:
        """Returns True if numbers of a column whose texts are not kept were read with the marks finally decided."""
        shown = self.shown.get(name)
        if shown is None:
            return True
        marks = self.decision(name).marks
        if marks is None:
            return False
        dots, commas = shown.dot or shown.open_dot, shown.comma or shown.open_comma
        return not (commas if marks.decimal == "." else dots)

    @cached_property
    def _decisions(self) -> dict[str, Decision]:
        """The decisions so far, by column."""
        return {}

    @cached_property
    def _certain(self) -> dict[str, MarkEvidence]:
        """The evidence of the first columns that decide for others: two of each mark, since a column is no other."""
        dots = [name for name, shown in self._evidence.items() if shown.dot]
        commas = [name for name, shown in self._evidence.items() if shown.comma]
        return {name: self._evidence[name] for name in (*dots[:2], *commas[:2])}

    @cached_property
    def _evidence(self) -> dict[str, MarkEvidence]:
        found = dict(self.shown)
        for name, cells in self.columns.items():
            if pa.types.is_dictionary(cells.type):
                found[name] = evidence_of(dictionary_encoded(cells)[1])
        return found

    def select(self, keep: NDArray[np.bool_]) -> Table:
        """Returns the rows at which `keep`, `(rows,)`, is True; messages locate each row at its original place."""
        mask, places = pa.array(keep), np.flatnonzero(keep)
        locate, read_texts, read_unchanged = self.locate, self.read_texts, self.read_unchanged
        scratch = self.scratch()
        kept = {}
        for name, cells in self.columns.items():
            some = cells.filter(mask)
            kept[name] = some if scratch is None else scratch.copy_cells(some)
        return replace(
            self,
            columns=kept,
            locate=lambda row: locate(int(places[row])),
            read_texts=None if read_texts is None else lambda name: read_texts(name).filter(mask),
            read_unchanged=None if read_unchanged is None else lambda name: _filtered(read_unchanged(name), mask),
            row_numbers=places.astype(np.int64) if self.row_numbers is None else self.row_numbers[places],
        )

    def scratch(self) -> Scratch | None:
        """Returns new scratch space if the table is too large to have its columns in memory twice; None otherwise."""
        return Scratch.for_bytes(sum(cells.nbytes for cells in self.columns.values()))

    def _suggestion(self, name: str) -> str:
        by_folded = {column.casefold(): column for column in self.columns}
        if close := difflib.get_close_matches(name.casefold(), by_folded, n=3):
            return f"did you mean {' or '.join(repr(by_folded[match]) for match in close)}?"
        shown = ", ".join(repr(column) for column in list(self.columns)[:10])
        return f"its columns are {shown}{f', … ({len(self.columns)} in all)' if len(self.columns) > 10 else ''}."

    @classmethod
    def from_arrow(cls, table: pa.Table, *, source: str) -> Table:
        """Makes a table from an Arrow table, whose columns have types.

        Raises:
            DataError: two columns have one name, a column has no name, or there are no columns or no rows.
        """
        names = [tidy(name) for name in table.column_names]
        check_names(names, source=source)
        notes: list[str] = []
        scratch = Scratch.for_bytes(table.nbytes)
        columns: dict[str, pa.Array] = {}
        changed: dict[str, pa.Array] = {}
        for name, column, kind in zip(names, table.columns, table.schema, strict=True):
            if not _PANDAS_INDEX.fullmatch(name):
                cells, texts = _typed(column, kind, f"Column {name!r} of {source}", notes, scratch)
                columns[name] = cells
                if texts is not None:
                    changed[name] = texts
        return cls(source=source, columns=columns, notes=tuple(notes), read_unchanged=changed.get)

    @classmethod
    def from_pandas(cls, frame: Any, *, source: str = "the data frame") -> Table:
        """Makes a table from a pandas DataFrame, without the index.

        A column of numbers with the dtype `category` is one of categories, as the user said. In other sources such a
        type is an encoding that saves memory.

        Raises:
            DataError: a reason of `from_arrow`, or a column that mixes types.
        """
        names = [str(name) for name in frame.columns]
        check_names(names, source=source)
        try:
            arrow = pa.Table.from_pandas(frame.set_axis(names, axis="columns"), preserve_index=False)
        except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
            reason = " ".join(str(error.args[0] if error.args else error).split())[:200].rstrip(".")
            at_fault = next(
                (repr(name) for i, name in enumerate(names) if not _is_held(frame.iloc[:, i])), "one of them"
            )
            raise DataError(
                f"{source} has a column of mixed types, or of a type that is not read, {at_fault}: {reason}."
            ) from error
        table = cls.from_arrow(arrow, source=source)
        declared = {tidy(name) for name, dtype in zip(names, frame.dtypes, strict=True) if str(dtype) == "category"}
        return replace(table, categorical=frozenset(name for name in declared if _is_number(table.columns[name].type)))


def _is_held(column: Any) -> bool:
    """Returns True if Arrow can convert a column of pandas."""
    try:
        pa.Array.from_pandas(column)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return False
    return True


def check_names(names: Iterable[str], *, source: str, passed_over: Container[int] = ()) -> None:
    """Refuses column names that are empty or not unique.

    Args:
        names: names of all columns.
        source: name of the table in messages.
        passed_over: indices of columns that need no name.

    Raises:
        DataError: a name is empty or occurs twice.
    """
    seen: dict[str, int] = {}
    for position, name in enumerate(names, start=1):
        if position - 1 in passed_over:
            continue
        if not name:
            raise DataError(f"column {position} of {source} has no name: give it one, or leave it out.")
        if name in seen:
            raise DataError(f"column {name!r} stands twice in {source}, as column {seen[name]} and column {position}.")
        seen[name] = position


def _typed(
    column: pa.ChunkedArray, field: pa.Field, called: str, notes: list[str], scratch: Scratch | None
) -> tuple[pa.Array, pa.Array | None]:
    """Returns the cells of a column, and the texts of the source; None in place of unchanged texts."""
    plain, remark = plain_column(column, field)
    if remark is not None:
        notes.append(f"{called} {remark}")
    array = _array(plain)
    cells = _bare(array, called, notes)
    texts = array if pa.types.is_dictionary(cells.type) and cells is not array else None
    if scratch is None:
        return cells, texts
    kept = cells if is_view(cells, column) else scratch.copy_cells(cells)
    return kept, None if texts is None else scratch.copy_cells(texts)


def _filtered(cells: pa.Array | None, mask: pa.Array) -> pa.Array | None:
    return None if cells is None else cells.filter(mask)


def _array(column: pa.ChunkedArray) -> pa.Array:
    """Joins the chunks of a column to one array; dictionaries of other types than strings are decoded."""
    if pa.types.is_dictionary(column.type):
        kind = column.type.value_type
        column = column.unify_dictionaries() if _is_string(kind) else column.cast(kind)
    elif _is_string(column.type):  # before the chunks are joined: one array holds at most 2 GB of text
        column = column.dictionary_encode()
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _encoded(cells: pa.Array) -> pa.Array:
    """Returns texts as a dictionary array whose values are not null, and other cells unchanged."""
    if pa.types.is_dictionary(cells.type):
        return without_null_values(cells)
    return cells.dictionary_encode() if _is_string(cells.type) else cells


def _bare(cells: pa.Array, called: str, notes: list[str]) -> pa.Array:
    """Reads the texts of a typed column as those of a CSV file: no blanks around texts, `NA` and the like missing."""
    if not (pa.types.is_dictionary(cells.type) or _is_string(cells.type)):
        return cells
    texts = cells if pa.types.is_dictionary(cells.type) else cells.dictionary_encode()
    read = bare_cells(texts)
    if gaps := read.null_count - texts.null_count:
        shown = ", ".join(repr(text) for text in texts.dictionary.to_pylist() if text is not None and is_missing(text))
        notes.append(f"{called} has {gaps} cell{'s' if gaps > 1 else ''} that say missing ({shown}): they are gaps.")
    return read


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_string(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
