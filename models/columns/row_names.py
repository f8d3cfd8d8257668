"""Row names: the keys of a client's row, read as the names of the columns that they spell.

A key is a column's name where both have one spelling (`cell_text.tidy`): ` age ` is `age`, and é is é in one character
or in two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from models.columns.cell_text import tidy


class RowNames:
    """The columns' names, for rows whose keys are not letter for letter these."""

    def __init__(self, names: Iterable[str]) -> None:
        self._columns = {name: name for name in names}
        for name in tuple(self._columns):
            self._columns.setdefault(tidy(name), name)

    def find(self, key: Any) -> str | None:
        """Returns the column that a key names, or None."""
        if not isinstance(key, str):
            return None
        return self._columns.get(key) or self._columns.get(tidy(key))

    def respelled(self, row: Mapping[Any, Any]) -> dict[str, Any] | None:
        """Returns the row by the columns' own names, or None where a key names no column or two name the same."""
        if len(row) > len(self._columns):
            return None
        cells = {}
        for key, cell in row.items():
            if (name := self.find(key)) is None:
                return None
            cells[name] = cell
        return cells if len(cells) == len(row) else None

    def misfits(self, row: Mapping[Any, Any]) -> Iterator[tuple[Any, str | None]]:
        """Yields each key that names no column, with None, or one that another key names too, with that column."""
        seen: set[str] = set()
        for key in row:
            name = self.find(key)
            if name is None or name in seen:
                yield key, name
            else:
                seen.add(name)
