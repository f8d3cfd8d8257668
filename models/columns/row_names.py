"""Matching of the keys of a client's row with the names of the columns.

A key matches a column's name if both are the same after `cell_text.tidy`: ` age ` matches `age`, and é as one character
matches é as two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from models.columns.cell_text import tidy


class RowNames:
    """The names of columns, for rows whose keys may be spelled differently."""

    def __init__(self, names: Iterable[str]) -> None:
        self._columns = {name: name for name in names}
        for name in tuple(self._columns):
            self._columns.setdefault(tidy(name), name)

    def find(self, key: Any) -> str | None:
        """Returns the name of the column that a key matches, or None."""
        if not isinstance(key, str):
            return None
        return self._columns.get(key) or self._columns.get(tidy(key))

    def respelled(self, row: Mapping[Any, Any]) -> dict[str, Any] | None:
        """Returns the row by the columns' own names; None if a key matches no column, or two keys the same column."""
        if len(row) > len(self._columns):
            return None
        cells = {}
        for key, cell in row.items():
            if (name := self.find(key)) is None:
                return None
            cells[name] = cell
        return cells if len(cells) == len(row) else None

    def misfits(self, row: Mapping[Any, Any]) -> Iterator[tuple[Any, str | None]]:
        """Yields each key that matches no column, with None, and each that repeats a column, with the column's name."""
        seen: set[str] = set()
        for key in row:
            name = self.find(key)
            if name is None or name in seen:
                yield key, name
            else:
                seen.add(name)
