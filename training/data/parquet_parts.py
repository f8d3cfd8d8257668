"""Reads a folder or a pattern of Parquet files, as Spark, Dask and Hive write, as one table.

A folder named KEY=VALUE between the root and a file becomes a column. Names that begin with `_` or a dot are ignored.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from models.errors import DataError
from training.data.folder_files import files_in, files_matching, is_pattern
from training.data.parquet_file import read_columns
from training.data.scratch import Scratch
from training.data.table import Table, check_names

PARQUET_SUFFIXES = (".parquet", ".pq", ".parq")

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,99})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_SHOWN = 3  # files in a message

_EXACT = 2**53  # float64 holds every whole number up to this one
_INTEGERS = {pa.int64(): (-(2**63), 2**63 - 1), pa.uint64(): (0, 2**64 - 1)}
_DIGITS = 20  # of the greatest whole number of 64 bits
_MOST_DIGITS = 38  # of a decimal of 128 bits


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One file of a table.

    Attributes:
        path: path of the file.
        called: path of the file below the root.
        keys: value of each key in the names of the folders between root and file, None for no value.
    """

    path: Path
    called: str
    keys: dict[str, str | None]


def read_parts(source: str | Path) -> Table:
    """Reads all Parquet files of a folder, or of a pattern, as one table.

    Args:
        source: folder, whose subfolders are read too, or a pattern such as `parts/*.parquet`.

    Raises:
        DataError: there is no Parquet file, the files do not fit together, or the folder's format keeps deleted rows.
    """
    called = Path(source).name or str(source)
    if is_pattern(str(source)):
        root, found = files_matching(str(source))
        called = str(source)
    else:
        root, found = Path(source), files_in(Path(source))
    notes: list[str] = []
    parts = _parts(root, sorted(found, key=_natural), called, notes)
    tables = _read(parts, called)
    _check_keys(parts, called)
    table = Table.from_arrow(_typed_keys(_concatenated(parts, tables, called, notes), parts), source=called)
    notes.append(f"{called} was read as one table of {len(parts)} file{'s' if len(parts) > 1 else ''}.")
    ends: list[int] = []
    for one in tables:
        ends.append(one.num_rows + (ends[-1] if ends else 0))
    return replace(table, notes=(*notes, *table.notes), locate=lambda row: _place(row, ends, parts))


def _read(parts: Sequence[_Part], called: str) -> list[pa.Table]:
    """Reads the parts, each with its keys. Once the parts so far are large, all further ones go to scratch space."""
    tables: list[pa.Table] = []
    size, scratch = 0, None
    for part in parts:
        read = read_columns(part.path, called=f"{part.called} of {called}", scratch=scratch)
        check_names(read.column_names, source=f"{part.called} of {called}")
        tables.append(_with_keys(part, read))
        size += read.nbytes
        scratch = scratch or Scratch.for_bytes(size)
    return tables


def _place(row: int, ends: Sequence[int], parts: Sequence[_Part]) -> str:
    part = bisect.bisect_right(ends, row)
    begins = ends[part - 1] if part else 0
    return f"row {row - begins} of {parts[part].called} (counting from 0)"


def _parts(root: Path, found: Sequence[Path], called: str, notes: list[str]) -> list[_Part]:
    """Returns the Parquet files among the files found.

    Raises:
        DataError: no file is Parquet.
    """
    parts = [path for path in found if is_parquet(path)]
    others = [str(path.relative_to(root)) for path in found if path not in set(parts)]
    shown = f"{', '.join(others[:_SHOWN])}{f' and {len(others) - _SHOWN} more' if len(others) > _SHOWN else ''}"
    if not parts:
        if not others:
            raise DataError(
                f"no file matches {called!r}." if is_pattern(called) else f"{called} is a folder without a file in it."
            )
        raise DataError(
            f"{called} has no Parquet file, but {shown}: only Parquet files are read as one table. Join CSV files to "
            "one first, and name that."
        )
    if others:
        notes.append(f"{called}: {shown} {'is' if len(others) == 1 else 'are'} not Parquet and passed over.")
    return [_Part(path=path, called=str(path.relative_to(root)), keys=_keys(path.relative_to(root))) for path in parts]


def is_parquet(path: Path) -> bool:
    """Returns True if a file's suffix or first bytes are those of Parquet."""
    if path.suffix.lower() in PARQUET_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError:
        return False


def _keys(path: Path) -> dict[str, str | None]:
    pairs = (folder.partition("=") for folder in path.parts[:-1] if "=" in folder)
    return {unquote(key): None if value == _NO_VALUE else unquote(value) for key, _, value in pairs}


def _check_keys(parts: Sequence[_Part], called: str) -> None:
    for part in parts[1:]:
        if list(part.keys) != list(parts[0].keys):
            raise DataError(
                f"{called}: {parts[0].called} and {part.called} lie in folders of different keys, so they are not one "
                "table: name the folder of one table."
            )


def _with_keys(part: _Part, table: pa.Table) -> pa.Table:
    """Adds a column of texts to a part's table for each of the part's keys.

    Raises:
        DataError: the file has a column of this name with other values.
    """
    for key, value in part.keys.items():
        if key not in table.column_names:
            cells = pa.repeat(pa.scalar(value, pa.string()), table.num_rows)
            table = table.append_column(key, cells.dictionary_encode())
            continue
        own = pc.unique(table[key].cast(pa.string())).to_pylist()
        if table.num_rows and own != [value]:
            raise DataError(
                f"{part.called}: its column {key!r} holds {own[0]!r}, but its folder says {value!r}: rename one "
                "of them."
            )
    return table


def _typed_keys(table: pa.Table, parts: Sequence[_Part]) -> pa.Table:
    """Converts the columns of keys to numbers if all values are numbers."""
    for key in parts[0].keys:
        values = [value for part in parts if (value := part.keys[key]) is not None]
        kind = _type_of_keys(values)
        if kind is not None and pa.types.is_dictionary(table.schema.field(key).type):
            place = table.column_names.index(key)
            table = table.set_column(place, key, table[key].cast(pa.string()).cast(kind))
    return table


def _type_of_keys(values: Sequence[str]) -> pa.DataType | None:
    """Returns the type of numbers that holds all values of a key as written; None for names, or for no value."""
    if not values or not all(_NUMBER.fullmatch(value) for value in values):
        return None
    if all(_WHOLE.fullmatch(value) for value in values):
        return _type_of_integers(min(map(int, values)), max(map(int, values)))
    is_rounded = any(_WHOLE.fullmatch(value) and abs(int(value)) > _EXACT for value in values)
    return None if is_rounded else pa.float64()


def _type_of_integers(least: int, greatest: int) -> pa.DataType | None:
    """Returns a type of 64 bits that holds all whole numbers of a range; None if there is none."""
    return next((kind for kind, (low, high) in _INTEGERS.items() if low <= least and greatest <= high), None)


def _concatenated(parts: Sequence[_Part], tables: Sequence[pa.Table], called: str, notes: list[str]) -> pa.Table:
    """Joins the parts to one table; a column that some parts lack has gaps there, and a note says so.

    Raises:
        DataError: a column has types that cannot be joined.
    """
    first: dict[str, tuple[_Part, pa.DataType]] = {}
    for part, table in zip(parts, tables, strict=True):
        for field in table.schema:
            kind = _plain(field.type)
            other, known = first.setdefault(field.name, (part, kind))
            if not _are_joinable(kind, known):
                raise DataError(
                    f"{called}: column {field.name!r} holds {kind} in {part.called} and {known} in {other.called}: "
                    "convert one of them."
                )
            if pa.types.is_null(known):
                first[field.name] = (part, kind)
    for name in first:
        lacking = [part.called for part, table in zip(parts, tables, strict=True) if name not in table.column_names]
        if lacking:
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            notes.append(f"Column {name!r} of {called} is not in {lacking[0]}{more}: its rows have gaps there.")
    of_names: dict[str, list[pa.ChunkedArray]] = {}
    for table in tables:
        for field, cells in zip(table.schema, table.columns, strict=True):
            of_names.setdefault(field.name, []).append(cells)
    kinds = {name: _common_type(columns) for name, columns in of_names.items()}
    _check_no_rounding(parts, tables, kinds, called)
    return pa.concat_tables([_cast(table, kinds) for table in tables], promote_options="default")


def _check_no_rounding(
    parts: Sequence[_Part], tables: Sequence[pa.Table], kinds: dict[str, pa.DataType], called: str
) -> None:
    """Refuses whole numbers above 2⁵³ that become floats: rounding could make one identifier of two.

    Raises:
        DataError: a part has such a number; the message names the part and the column.
    """
    for part, table in zip(parts, tables, strict=True):
        for field, cells in zip(table.schema, table.columns, strict=True):
            kind = _plain(kinds[field.name])
            if pa.types.is_floating(kind) and (number := _beyond_floats(cells)) is not None:
                raise DataError(
                    f"{called}: column {field.name!r} of {part.called} holds {number}, and {kind}, the type that suits "
                    "all parts, rounds numbers above 2⁵³: write the column as whole numbers in each part (Int64 in "
                    "pandas, which has gaps), or as texts."
                )


def _beyond_floats(cells: pa.ChunkedArray) -> int | None:
    """Returns a whole number above 2⁵³ among integers or decimals; None if there is none, and for other types."""
    kind = _plain(cells.type)
    if not (pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        return None
    return next((int(end) for end in _range(cells) if abs(end) > _EXACT), None)


def _range(cells: pa.ChunkedArray) -> tuple[Any, ...]:
    """Returns the least and the greatest number of a column; nothing for a column of gaps."""
    ends = pc.min_max(cells.cast(_plain(cells.type)))
    return tuple(end for end in (ends["min"].as_py(), ends["max"].as_py()) if end is not None)


def _common_type(columns: Sequence[pa.ChunkedArray]) -> pa.DataType:
    """Returns a type that holds the cells of all columns, whose types can be joined."""
    kinds = [cells.type for cells in columns]
    known = [kind for kind in kinds if not pa.types.is_null(_plain(kind))] or list(kinds)
    if all(kind.equals(known[0]) for kind in known):
        return known[0]
    plain = [_plain(kind) for kind in known]
    if all(kind.equals(plain[0]) for kind in plain):
        return plain[0]
    if all(pa.types.is_integer(kind) and kind != pa.uint64() for kind in plain):
        return pa.int64()
    if all(pa.types.is_integer(kind) for kind in plain):
        ends = [end for cells in columns if pa.types.is_integer(_plain(cells.type)) for end in _range(cells)]
        return _type_of_integers(min(ends, default=0), max(ends, default=0)) or pa.decimal128(_DIGITS, 0)
    if all(pa.types.is_integer(kind) or pa.types.is_decimal(kind) for kind in plain):
        scale = max(getattr(kind, "scale", 0) for kind in plain)
        whole = max(kind.precision - kind.scale if pa.types.is_decimal(kind) else _DIGITS for kind in plain)
        if scale >= 0 and whole + scale <= _MOST_DIGITS:
            return pa.decimal128(whole + scale, scale)
    if pa.types.is_timestamp(plain[0]) or pa.types.is_date(plain[0]):
        return pa.timestamp("us", getattr(plain[0], "tz", None))
    return pa.large_string() if _is_text(plain[0]) else pa.float64()


def _cast(table: pa.Table, kinds: dict[str, pa.DataType]) -> pa.Table:
    for i, field in enumerate(table.schema):
        if not field.type.equals(kinds[field.name]):
            cells = table[i].cast(_plain(field.type)) if pa.types.is_dictionary(field.type) else table[i]
            kind = _plain(kinds[field.name])  # encoded below: a column of nulls has no dictionary
            table = table.set_column(i, pa.field(field.name, kind), cells.cast(kind, safe=False))
            if kind != kinds[field.name]:
                table = table.set_column(i, field.name, table[i].dictionary_encode().cast(kinds[field.name]))
    return table


def _are_joinable(one: pa.DataType, other: pa.DataType) -> bool:
    """Returns True if two types can be joined in one column without a change in a cell's meaning."""
    if one.equals(other) or pa.types.is_null(one) or pa.types.is_null(other):
        return True
    if _is_text(one):
        return _is_text(other)
    if _is_number(one):
        return _is_number(other)
    is_moment = all(pa.types.is_timestamp(kind) or pa.types.is_date(kind) for kind in (one, other))
    return is_moment and getattr(one, "tz", None) == getattr(other, "tz", None)


def _plain(kind: Any) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _natural(path: Path) -> list[tuple[int, str]]:
    """Returns a sort key that puts part.2 before part.10."""
    return [
        (int(piece), "") if piece.isdecimal() and piece.isascii() else (-1, piece)
        for piece in re.split(r"([0-9]+)", str(path))
        if piece
    ]
