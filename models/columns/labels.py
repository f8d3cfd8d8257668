"""Labels: what the classes of a classifier are called, as JSON values of one type."""

from __future__ import annotations

import math
from collections import Counter
from typing import Literal

from models.columns.fields import check_unicode, shown
from models.errors import DataError

Label = bool | int | float | str
LabelType = Literal["bool", "int", "float", "str"]

# JSON knows no limits for whole numbers; the writers and readers of it do, and these are theirs.
LEAST_INT, GREATEST_INT = -(2**63), 2**64 - 1

_TYPES: dict[type[object], LabelType] = {bool: "bool", int: "int", float: "float", str: "str"}


def label_type(labels: tuple[Label, ...]) -> LabelType:
    """The type that checked labels share."""
    return _TYPES[type(labels[0])]


def checked_labels(what: str, values: object) -> tuple[Label, ...]:
    """Two or more labels of one type, each given once.

    Args:
        what: name of the field in messages.
        values: content of the field, of any type.

    Raises:
        DataError: anything else; the message has a bounded length.
    """
    if not isinstance(values, list | tuple):  # a lone string would pass for a list of letters
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
    """The label that `label_text` wrote.

    Raises:
        ValueError: the text is none of that type.
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
    """A label as people read it: `true`, `1` for 1.0 too, `1.5`, a text as it is."""
    if isinstance(label, bool):
        return "true" if label else "false"
    return str(label).removesuffix(".0") if isinstance(label, float) else str(label)
