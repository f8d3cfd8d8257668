"""Labels: the names of a classifier's classes, as JSON values of one type."""

from __future__ import annotations

import math
from collections import Counter
from typing import Literal

from models.columns.fields import check_unicode, shown
from models.errors import DataError

Label = bool | int | float | str
LabelType = Literal["bool", "int", "float", "str"]

# JSON has no limits for whole numbers, but its parsers and writers have these.
LEAST_INT, GREATEST_INT = -(2**63), 2**64 - 1

_TYPES: dict[type[object], LabelType] = {bool: "bool", int: "int", float: "float", str: "str"}


def label_type(labels: tuple[Label, ...]) -> LabelType:
    """Returns the common type of checked labels."""
    return _TYPES[type(labels[0])]


def checked_labels(what: str, values: object) -> tuple[Label, ...]:
    """Returns labels as a tuple if there are two or more, distinct and of one type.

    Args:
        what: name of the field in messages.
        values: content of the field, of any type.

    Raises:
        DataError: The content is anything else; the message has a bounded length.
    """
    if not isinstance(values, list | tuple):  # a single string would pass as a list of letters
        raise DataError(f"{what} must be a list, got {shown(values)}.")
    if len(values) < 2:
        raise DataError(f"{what} must be two or more, got {shown(values)}.")
    types = {type(value) for value in values}
    if len(types) != 1 or not types <= _TYPES.keys():
        raise DataError(
            f"{what} must be all texts, all whole numbers, all numbers with a point or all true and false, "
            f"got {shown(values)}."
        )
    for value in values:
        _check_label(what, value)
    if len(set(values)) != len(values):
        twice, _ = Counter(values).most_common(1)[0]
        raise DataError(f"{what}: {shown(twice)} stands twice.")
    return tuple(values)


def _check_label(what: str, label: Label) -> None:
    if isinstance(label, str):
        check_unicode(what, label)
    elif isinstance(label, float):
        if not math.isfinite(label):
            raise DataError(f"{what} must be finite, got {shown(label)}.")
    elif not LEAST_INT <= label <= GREATEST_INT:
        raise DataError(f"{what} must be whole numbers of 64 bits, got {shown(label)}.")


def typed_label(text: str, kind: LabelType) -> Label:
    """Reads a label from the text that `label_text` wrote.

    Raises:
        ValueError: The text is not a label of this type.
    """
    match kind:
        case "str":
            return text
        case "int":
            return int(text)
        case "float":
            return float(text)
        case "bool":
            return {"true": True, "false": False}[text]


def label_text(label: Label) -> str:
    """Writes a label for people: `true`, `1` (also for 1.0), `1.5`, a text unchanged."""
    if isinstance(label, bool):
        return "true" if label else "false"
    return str(label).removesuffix(".0") if isinstance(label, float) else str(label)
