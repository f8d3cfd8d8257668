"""Counts of the rows that a version refuses, by kind: bounded by the columns, however many values are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.columns.cells import reason
from models.columns.column import Column
from models.errors import Fault


@dataclass(kw_only=True)
class Refusal:
    """A kind of refusal: cells of one column, either missing or not valid.

    Attributes:
        first: reason of the first refusal of the kind, with its value.
        rows: number of refused rows.
        varies: True if rows were refused for other values too.
    """

    first: str
    rows: int = 0
    varies: bool = False

    def __str__(self) -> str:
        """Returns column and reason, with one value as an example."""
        return f"{self.first} (and other values)" if self.varies else self.first


class Refusals:
    """Counts refused rows by column, and by whether the cell is missing.

    A count by the text of the reason would grow with the log: the text has the refused value.

    Args:
        columns: columns of the version.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._missing = {column.name: reason(column, None) for column in columns}
        self._kinds: dict[tuple[str | None, bool], Refusal] = {}

    def __len__(self) -> int:
        """Returns the number of kinds, at most two for a column."""
        return len(self._kinds)

    @property
    def rows(self) -> int:
        """Number of refused rows."""
        return sum(kind.rows for kind in self._kinds.values())

    def add(self, fault: Fault) -> None:
        """Counts a refused row by its first fault."""
        is_missing = fault.column is not None and fault.message == self._missing.get(fault.column)
        text = fault.message if fault.column is None else f"column {fault.column!r}: {fault.message}"
        kind = self._kinds.setdefault((fault.column, is_missing), Refusal(first=text))
        kind.rows += 1
        kind.varies = kind.varies or text != kind.first

    def most_frequent(self, number: int) -> list[Refusal]:
        """Returns the kinds with most rows, the most frequent first."""
        return sorted(self._kinds.values(), key=lambda kind: -kind.rows)[:number]
