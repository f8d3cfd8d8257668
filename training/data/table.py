"""A table as it was read: columns of raw cells by name, and where each row stands in its file.

Nothing is known yet of what a column means. In a table read from text every cell is a text, and telling numbers from
words is still to be done; in one that came with types, the types are taken at their word.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from models.errors import DataError

# What pandas calls an index that it stored as a column: no column of the user's.
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns of equal length, by name, in order.

    Attributes:
        source: what messages call the table: a file's name, or what it is.
        columns: an Arrow array by column name; null where a cell is missing.
        text: whether cells are texts that may stand for numbers (CSV).
        decimal: the decimal mark of such texts.
        locate: a row, counted from 0 → where it stands, in words ("line 7").
    """

    source: str
    columns: Mapping[str, pa.Array]
    text: bool = False
    decimal: str = "."
    locate: Callable[[int], str] = lambda row: f"row {row} (counting from 0)"

    def __post_init__(self) -> None:
        if not self.columns:
            raise DataError(f"{self.source} has no columns.")
        if self.rows == 0:
            raise DataError(f"{self.source} has columns but no rows.")

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return len(next(iter(self.columns.values())))

    def column(self, name: str) -> pa.Array:
        """A column by name.

        Raises:
            DataError: there is none; close names are suggested.
        """
        if name not in self.columns:
            raise DataError(f"{self.source} has no column {name!r}; {self._suggestion(name)}")
        return self.columns[name]

    def _suggestion(self, name: str) -> str:
        by_folded = {column.casefold(): column for column in self.columns}
        if close := difflib.get_close_matches(name.casefold(), by_folded, n=3):
            return f"did you mean {' or '.join(repr(by_folded[match]) for match in close)}?"
        shown = ", ".join(repr(column) for column in list(self.columns)[:10])
        return f"its columns are {shown}{f', … ({len(self.columns)} in all)' if len(self.columns) > 10 else ''}."

    @classmethod
    def from_arrow(cls, table: pa.Table, *, source: str) -> Table:
        """A table that came with types.

        Raises:
            DataError: two columns of one name, a column without name, no columns or no rows.
        """
        check_names(table.column_names, source=source)
        return cls(
            source=source,
            columns={
                name: _array(table.column(name)) for name in table.column_names if not _PANDAS_INDEX.fullmatch(name)
            },
        )

    @classmethod
    def from_pandas(cls, frame: Any, *, source: str = "the data frame") -> Table:
        """A pandas DataFrame; its index is not a column.

        Raises:
            DataError: as `from_arrow`, or a column that mixes types.
        """
        names = [str(name) for name in frame.columns]
        check_names(names, source=source)
        try:
            arrow = pa.Table.from_pandas(frame.set_axis(names, axis="columns"), preserve_index=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            reason = str(error.args[-1] if error.args else error).rstrip(".")
            raise DataError(f"{source} has a column of mixed types: {reason}.") from error
        return cls.from_arrow(arrow, source=source)


def check_names(names: Iterable[str], *, source: str) -> None:
    """Refuses names that do not tell columns apart.

    Raises:
        DataError: a name that is empty or stands twice.
    """
    seen: dict[str, int] = {}
    for position, name in enumerate(names, start=1):
        if not name:
            raise DataError(
                f"column {position} of {source} has no name: give it one, or leave it out (pandas writes its index so, "
                "unless told index=False)."
            )
        if name in seen:
            raise DataError(f"column {name!r} stands twice in {source}, as column {seen[name]} and column {position}.")
        seen[name] = position


def _array(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # nothing to combine, or too large for one array
        whole = whole.chunk(0) if whole.num_chunks == 1 else pa.concat_arrays(whole.chunks)
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole
