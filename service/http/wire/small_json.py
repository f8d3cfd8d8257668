"""Small JSON bodies of other protocols: with the bare token `NaN` for a missing value, and without repeated keys."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from models.columns.cells import shown
from service.errors import InvalidRequest
from service.http.wire.wire_format import Body

_NAN = b"NaN"
# A text or the token. A text without an end reaches to the end of the body, so that no character is looked at twice.
_TEXT_OR_NAN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|NaN', re.DOTALL)


class _Repeated(Exception):
    """An error for a key that stands twice in one object."""


def parse_small(body: Body) -> Any:
    """Parses a JSON text, with None in place of `NaN`.

    Raises:
        InvalidRequest: the text is not JSON, or a key stands twice in one object.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if _NAN not in body:
            raise _not_json(error) from None
        body = _TEXT_OR_NAN.sub(_null_for_nan, body)
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise _not_json(error) from None
    # Each key has a colon, and so does each repeated key. A text may have colons too, and then another parser decides.
    if body.count(b":") != _keys(document):
        _refuse_repeated_keys(body)
    return document


def _null_for_nan(found: re.Match[bytes]) -> bytes:
    """Returns `null` for the token, and a text unchanged."""
    return b"null" if found[0] == _NAN else found[0]


def _keys(value: Any) -> int:
    """Returns the number of keys in the objects of a document; looks into no list within a list."""
    if type(value) is list:
        return sum([len(item) for item in value if type(item) is dict])
    if type(value) is not dict:
        return 0
    return len(value) + sum([_keys(item) for item in value.values() if type(item) in (dict, list)])


def _refuse_repeated_keys(body: Body) -> None:
    """Refuses a JSON text with a key that stands twice in one object."""
    try:
        json.loads(bytes(body), object_pairs_hook=_checked_keys, parse_int=_nothing, parse_float=_nothing)
    except _Repeated as repeated:
        raise InvalidRequest(f"The key {shown(repeated.args[0])} stands twice in one object of the body.") from None
    except RecursionError:
        raise InvalidRequest("The body has too many lists or objects within each other.") from None


def _checked_keys(pairs: list[tuple[str, Any]]) -> None:
    """Raises an error if a key stands twice."""
    keys: set[str] = set()
    for key, _ in pairs:
        if key in keys:
            raise _Repeated(key)
        keys.add(key)


def _nothing(text: str) -> None:
    """Returns None: the values do not matter, and Python refuses whole numbers of very many digits."""


def _not_json(error: orjson.JSONDecodeError) -> InvalidRequest:
    return InvalidRequest(f"The body is not JSON: {error}.")
