"""The classes of a target: what they are called in the table, and of which type these labels are.

How cells are told apart is `names_of`'s work, here as for features. A label is a cell as it stands in the table: `True`
in a column of strings stays that string, 1 in a column of whole numbers the number 1. Cells of a text table have no
type, and get the one that all of the column can be read as.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.columns.dictionary_column import DictionaryColumn
from models.columns.labels import GREATEST_INT, LEAST_INT, LabelType, label_text, typed_label
from models.errors import DataError
from training.data.cells import encoded, in_order
from training.data.raw_column import RawColumn

# 007 is a name, although it could be read as a number: its zeros would be lost.
_INT = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DIGITS = 21  # of a whole number of 64 bits and its sign, at most


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
        DataError: the column has one class only, or a type of which no name can be made.
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
    return Classes(labels=labels, type=kind, codes=_places(names, texts, labels))


def read_same_classes(column: RawColumn, labels: tuple[str, ...], kind: LabelType) -> NDArray[np.int64]:
    """`(rows,)` index of each row's label among those of another table.

    Raises:
        DataError: a row has none of these labels.
    """
    names = column.names()
    texts = _spellings(column, names) if kind == "str" else _canonical(names.names, kind, _decimal(column))
    codes = _places(names, texts, labels)
    if kind == "str" and (codes < 0).any():  # a spelling that one table folds and the other does not
        codes = np.where(codes < 0, _places(names, names.names, labels), codes)
    if (codes < 0).any():
        row = int((codes < 0).argmax())
        raise DataError(f"{column.called}: class {names[row]!r} at {column.at(row)} is none of the training rows'.")
    return codes


def _places(names: DictionaryColumn, texts: tuple[str, ...], labels: tuple[str, ...]) -> NDArray[np.int64]:
    """`(rows,)` place of each row's text among the labels, -1 where it is none; `texts` has one for each name."""
    place = {label: i for i, label in enumerate(labels)}
    return np.array([place.get(text, -1) for text in texts], dtype=np.int64)[names.codes]


def _type_of(column: RawColumn, names: DictionaryColumn) -> LabelType:
    if column.is_text:
        texts = column.texts()
        spelled = () if texts is None else tuple(encoded(texts)[1].to_pylist())
        marks = column.marks
        # A label whose marks divide thousands, or may do so, stays the text that it is.
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
        return "float" if all(_FLOAT.fullmatch(name) for name in names.names) else "str"  # infinity is no JSON
    return _type_in(names.names) if pa.types.is_decimal(kind) else "str"


def _decimal(column: RawColumn) -> str:
    return "." if column.marks is None else column.marks.decimal


def _type_in(texts: tuple[str, ...]) -> LabelType:
    """The type that all texts can be read as."""
    if all(text.lower() in ("true", "false") for text in texts):
        return "bool"
    if all(_INT.fullmatch(text) for text in texts):
        return (
            "int" if all(len(text) <= _DIGITS and LEAST_INT <= int(text) <= GREATEST_INT for text in texts) else "str"
        )
    return "float" if all(_FLOAT.fullmatch(text) and math.isfinite(float(text)) for text in texts) else "str"


def _canonical(texts: tuple[str, ...], kind: LabelType, decimal: str) -> tuple[str, ...]:
    """Texts as `label_text` writes their values, so that 1.5 and 1.50 are one; what has no such value stays."""
    return tuple(_rewritten(text.replace(decimal, "."), kind) for text in texts)


def _rewritten(text: str, kind: LabelType) -> str:
    try:
        label = typed_label(text.lower() if kind == "bool" else text, kind)
    except (ValueError, KeyError):
        return text
    return label_text(label + 0.0 if isinstance(label, float) else label)  # -0.0 is 0.0


def _spellings(column: RawColumn, names: DictionaryColumn) -> tuple[str, ...]:
    """How each name stands in the table; a name that stands in several spellings is as it is."""
    cells = column.texts()
    if cells is None:
        return names.names
    codes, texts = encoded(cells)
    present, rows = np.unique(codes, return_index=True)
    spelled: dict[int, list[str]] = {}
    for code, row in zip(present.tolist(), rows.tolist(), strict=True):
        if code >= 0:
            text = texts[code].as_py()
            spelled.setdefault(int(names.codes[row]), []).append(text.strip() if column.is_text else text)
    return tuple(spelled[i][0] if len(set(spelled.get(i, ()))) == 1 else name for i, name in enumerate(names.names))
