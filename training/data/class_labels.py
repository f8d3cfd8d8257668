"""The classes of a target: their labels as written in the table, and the type of these labels.

`names_of` decides which cells are equal, here as for features. A label is a cell as written in the table: `True` in a
column of strings stays a string, and 1 in a column of whole numbers stays the number 1. Cells of a text table have no
type; they get the type with which all cells of the column can be read.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.columns.cell_text import tidy
from models.columns.dictionary_column import DictionaryColumn
from models.columns.labels import GREATEST_INT, LEAST_INT, LabelType, label_text, typed_label
from models.errors import DataError
from training.data.cells import dictionary_encoded, in_order
from training.data.raw_column import RawColumn

# 007 is a name although it can be read as a number: a number would lose the zeros.
_INT = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DIGITS = 21  # the most characters of a whole number of 64 bits with a sign


@dataclass(frozen=True, kw_only=True, eq=False)
class Classes:
    """The classes of a target column.

    Attributes:
        labels: labels in order, as texts.
        type: type of the labels.
        codes: `(rows,)` int64 index of each row's label.
    """

    labels: tuple[str, ...]
    type: LabelType
    codes: NDArray[np.int64]


def read_classes(column: RawColumn) -> Classes:
    """Reads a complete column as classes.

    Raises:
        DataError: the column has one class only, or a type that cannot be written as names.
    """
    names = column.names()
    kind = _type_of(column, names)
    texts = _spellings(column, names) if kind == "str" else _canonical(names.names, kind, _decimal(column))
    if kind == "str":
        spelled = dict(zip(names.names, texts, strict=True))
        labels = tuple(spelled[name] for name in in_order(set(names.names)))
    else:
        labels = tuple(sorted(set(texts), key=lambda text: typed_label(text, kind)))
    if len(labels) < 2:
        raise DataError(f"{column.called} has one class only, {labels[0]!r}: there is nothing to tell apart.")
    codes = _places(names, texts, labels)
    _check_look_different(column, labels, codes)
    return Classes(labels=labels, type=kind, codes=codes)


def read_same_classes(column: RawColumn, labels: tuple[str, ...], kind: LabelType) -> NDArray[np.int64]:
    """Returns `(rows,)` indices of the rows' labels among the labels of another table.

    Raises:
        DataError: a row's label is not among these labels.
    """
    names = column.names()
    texts = _spellings(column, names) if kind == "str" else _canonical(names.names, kind, _decimal(column))
    codes = _places(names, texts, labels)
    if kind == "str" and (codes < 0).any():  # one table folds spellings to one label, and the other does not
        codes = np.where(codes < 0, _places(names, names.names, labels), codes)
    if (codes < 0).any():
        row = int((codes < 0).argmax())
        name = str(names[row])
        if alike := [label for label in labels if tidy(label) == tidy(name)]:
            raise DataError(
                f"{column.called}: class {name!a} at {column.at(row)} is none of the training rows', but looks like "
                f"their {alike[0]!a}: write both alike."
            )
        raise DataError(f"{column.called}: class {name!r} at {column.at(row)} is none of the training rows'.")
    return codes


def _check_look_different(column: RawColumn, labels: tuple[str, ...], codes: NDArray[np.int64]) -> None:
    """Refuses labels that differ only in blanks, invisible characters or composed letters.

    Raises:
        DataError: two labels look alike, so nobody could tell their answers apart; the message has a row of each.
    """
    first: dict[str, int] = {}
    for place, label in enumerate(labels):
        other = first.setdefault(tidy(label), place)
        if other != place:
            one, two = (column.at(int((codes == code).argmax())) for code in (other, place))
            raise DataError(
                f"{column.called} writes a class in two ways, {labels[other]!a} at {one} and {label!a} at {two}, "
                "which look alike in every answer: write them alike."
            )


def _places(names: DictionaryColumn, texts: tuple[str, ...], labels: tuple[str, ...]) -> NDArray[np.int64]:
    """Returns `(rows,)` indices of labels, -1 for a text that is not a label; `texts` has one text for each name.

    Raises:
        ValueError: a row has no name, so it has no class.
    """
    if names.missing().any():
        raise ValueError(f"row {int(names.missing().argmax())} has no name: a target must be complete.")
    place = {label: i for i, label in enumerate(labels)}
    return np.array([place.get(text, -1) for text in texts], dtype=np.int64)[names.codes]


def _type_of(column: RawColumn, names: DictionaryColumn) -> LabelType:
    if column.is_text:
        texts = column.texts()
        spelled = () if texts is None else tuple(dictionary_encoded(texts)[1].to_pylist())
        marks = column.marks
        # A text with a mark that divides thousands, or may do so, stays a text.
        other = ".," if marks is None else marks.thousands
        if any(mark in text for text in spelled for mark in other):
            return "str"
        return _type_in(tuple(text.strip().replace(_decimal(column), ".") for text in spelled))
    kind = column.cells.type
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "int"
    if pa.types.is_floating(kind):
        return "float" if all(_FLOAT.fullmatch(name) for name in names.names) else "str"  # JSON has no infinity
    return _type_in(names.names) if pa.types.is_decimal(kind) else "str"


def _decimal(column: RawColumn) -> str:
    return "." if column.marks is None else column.marks.decimal


def _type_in(texts: tuple[str, ...]) -> LabelType:
    """Returns the type with which all texts can be read."""
    if all(text.lower() in ("true", "false") for text in texts):
        return "bool"
    if all(_INT.fullmatch(text) for text in texts):
        return (
            "int" if all(len(text) <= _DIGITS and LEAST_INT <= int(text) <= GREATEST_INT for text in texts) else "str"
        )
    return "float" if all(_FLOAT.fullmatch(text) and math.isfinite(float(text)) for text in texts) else "str"


def _canonical(texts: tuple[str, ...], kind: LabelType, decimal: str) -> tuple[str, ...]:
    """Rewrites texts as `label_text` writes their values, so that 1.5 and 1.50 are equal; others stay unchanged."""
    return tuple(_rewritten(text.replace(decimal, "."), kind) for text in texts)


def _rewritten(text: str, kind: LabelType) -> str:
    try:
        label = typed_label(text.lower() if kind == "bool" else text, kind)
    except (ValueError, KeyError):
        return text
    return label_text(label + 0.0 if isinstance(label, float) else label)  # -0.0 is 0.0


def _spellings(column: RawColumn, names: DictionaryColumn) -> tuple[str, ...]:
    """Returns the spelling of each name in the table; a name with several spellings is returned unchanged."""
    cells = column.texts()
    if cells is None:
        return names.names
    codes, texts = dictionary_encoded(cells)
    present, rows = np.unique(codes, return_index=True)
    spelled: dict[int, list[str]] = {}
    for code, row in zip(present.tolist(), rows.tolist(), strict=True):
        if code >= 0:
            text = texts[code].as_py()
            spelled.setdefault(int(names.codes[row]), []).append(text.strip() if column.is_text else text)
    return tuple(spelled[i][0] if len(set(spelled.get(i, ()))) == 1 else name for i, name in enumerate(names.names))
