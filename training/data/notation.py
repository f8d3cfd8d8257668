"""Notation: how a table wrote the numbers of its columns, kept for later tables of the same columns.

A test file, or a file to predict, may not show how it is to be read: `8.180` alone is 8.18 or 8180, and 12 may be
12 per cent. It is read as the training table was, or refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from models.errors import DataError
from training.data.missing_texts import MissingValues
from training.data.number_texts import Marks

_PER_CENT = "%٪％"
_SHARES = f"{_PER_CENT}‰"
_USUAL = Marks(decimal=".", thousands=",")


@dataclass(frozen=True, kw_only=True)
class Notation:
    """The marks and the unit with which a column's numbers are written.

    Attributes:
        marks: decimal and thousands marks; None if the cells do not show them.
        unit: sign of a currency or per cent around the numbers, empty for none; None if it is not known.
    """

    marks: Marks | None = None
    unit: str | None = None


@dataclass(frozen=True, kw_only=True)
class Precedent:
    """The notation and the missing values of an earlier table, for a table of the same columns.

    Attributes:
        source: name of the earlier table in messages.
        notations: notation by column.
        others: notation of all other columns.
        missing: values that the user declared missing in the earlier table.
    """

    source: str
    notations: Mapping[str, Notation] = field(default_factory=dict)
    others: Notation = Notation()
    missing: MissingValues = field(default_factory=MissingValues)

    def of(self, column: str) -> Notation:
        """Returns the notation of a column."""
        return self.notations.get(column, self.others)


def differ(unit: str | None, earlier: str | None) -> bool:
    """Returns True if numbers of two units are not alike: two currencies, or per cent in one place only."""
    if unit is None or earlier is None or unit == earlier:
        return False
    if not (unit and earlier):
        return (unit or earlier) in _SHARES
    return not (unit in _PER_CENT and earlier in _PER_CENT)


def other_unit(called: str, unit: str, cell: str, where: str, earlier: str, source: str) -> DataError:
    """Returns the error for a column whose unit differs from that of an earlier table.

    Args:
        called: name of the column in messages.
        unit: unit of the column, empty for none.
        cell: a cell of this unit.
        where: place of the cell in words.
        earlier: unit of the column in the earlier table.
        source: name of the earlier table.
    """
    signs = [f"with the sign {sign!r}" if sign else "without a sign" for sign in (unit, earlier)]
    return DataError(
        f"{called} has numbers {signs[0]} ({cell!r} at {where}), and {source} has them {signs[1]}: write them as "
        "there, in the same unit."
    )


def notation_section(notations: Mapping[str, Notation]) -> list[dict[str, Any]]:
    """Returns notations as JSON types: an object for each notation, with the columns that are written so.

    Columns without marks and units are left out. If all columns have decimal dots and no units, there is no object: a
    CSV file and a Parquet file of the same numbers give the same checkpoint.
    """
    columns: dict[Notation, list[str]] = {}
    for name, notation in notations.items():
        if notation.marks is not None or notation.unit:
            columns.setdefault(notation, []).append(name)
    if all(notation.marks == _USUAL and not notation.unit for notation in columns):
        return []
    return [
        {
            "marks": None if notation.marks is None else asdict(notation.marks),
            "unit": notation.unit or "",
            "columns": names,
        }
        for notation, names in columns.items()
    ]


def missing_section(missing: MissingValues, columns: Iterable[str]) -> dict[str, Any]:
    """Returns missing values as JSON types: those of every column, and those of some of the columns.

    Args:
        missing: values that the user declared missing.
        columns: columns to keep the values of.
    """
    own = {name: list(missing.by_column[name]) for name in columns if name in missing.by_column}
    return {"everywhere": list(missing.everywhere), "columns": own}


def precedent_of(
    section: Iterable[Mapping[str, Any]] | None, missing: Mapping[str, Any] | None = None, *, source: str
) -> Precedent | None:
    """Reads the results of `notation_section` and `missing_section`; returns None if the first one is not there.

    Args:
        section: section of a checkpoint, which may come from a server.
        missing: section on missing values; None without any.
        source: name of the training table in messages.

    Raises:
        DataError: a section is not valid.
    """
    if section is None:
        return None
    notations: dict[str, Notation] = {}
    try:
        values = MissingValues() if missing is None else _missing_of(missing)
        for entry in section:
            notation = Notation(marks=_marks_of(entry["marks"]), unit=entry["unit"])
            if not isinstance(notation.unit, str):
                raise TypeError("unit is not a text")
            notations |= dict.fromkeys(entry["columns"], notation)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the model does not say in a way that this version of Axon reads how {source} wrote its numbers and gaps: "
            "upgrade Axon."
        ) from error
    return Precedent(source=source, notations=notations, others=Notation(unit=""), missing=values)


def _missing_of(section: Mapping[str, Any]) -> MissingValues:
    everywhere, by_column = section["everywhere"], section["columns"]
    for values in (everywhere, *by_column.values()):
        if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
            raise TypeError("missing values are not a list of texts")
    return MissingValues(everywhere=tuple(everywhere), by_column={name: tuple(of) for name, of in by_column.items()})


def _marks_of(section: Mapping[str, Any] | None) -> Marks | None:
    if section is None:
        return None
    marks = Marks(**section)
    if marks.decimal not in (".", ",") or marks.thousands not in (".", ",", "") or not isinstance(marks.neutral, bool):
        raise ValueError("marks are not valid")
    return marks
