"""JSON documents that have exactly one reading: a key that occurs twice is refused, and so is a field of another type.

Two readers may take different values of a repeated key. What one of them verified, the other would not use.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from models.signatures.refusal import Refused

_T = TypeVar("_T")
_SHOWN = 80  # characters of a text of the document in a message


def read_strictly(text: bytes) -> Any:
    """Reads a JSON text.

    Raises:
        Refused: The text is not JSON in UTF-8, or an object has a key twice.
    """
    try:
        return json.loads(text.decode(), object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise Refused("is not JSON") from error


def field(document: Any, name: str, kind: type[_T]) -> _T:
    """Returns a field of an object.

    Args:
        document: parsed object.
        name: name of the field.
        kind: type of the field's value.

    Raises:
        Refused: The document is not an object, or has no such field of this type.
    """
    value = document.get(name) if isinstance(document, dict) else None
    if type(value) is not kind:
        raise Refused(f"has no sound field {name!r}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Refused(f"has the key {twice[:_SHOWN]!r} twice in one object")
    return made


def _constant(name: str) -> None:
    raise Refused(f"has the number {name}, which JSON does not know")
