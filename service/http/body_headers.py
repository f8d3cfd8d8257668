"""What a request's headers say of its body: whether it is JSON or CSV, and how it is compressed."""

from __future__ import annotations

import re

from service.errors import UnsupportedBody
from service.http.inflater import CODINGS
from service.http.request_head import list_items

_MAX_KNOWN = 256
_MAX_SHOWN = 100
_MEDIA_TYPE = re.compile(r"([\w!#$&^.+*'`|~%-]+)/([\w!#$&^.+*'`|~%-]+)", re.ASCII)
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^";\s]*)"?', re.ASCII | re.IGNORECASE)
_UTF8 = {"utf-8", "utf8", "us-ascii", "ascii"}
# curl sends the second with `-d` where it is told nothing else, as the README's examples do.
_JSON_TYPES = {"application/json", "text/json", "application/x-www-form-urlencoded"}
_CSV_TYPES = {"text/csv", "text/tab-separated-values"}

#: Values of `Content-Type` that are known to mean JSON: one look-up is all that a request pays.
json_types: set[bytes] = {b"application/json"}


def is_csv(content_type: bytes) -> bool:
    """Returns True if a body is CSV by its `Content-Type`, False if it is JSON.

    Args:
        content_type: header's value; several lines are joined by a line feed.

    Raises:
        UnsupportedBody: another type, or another charset than UTF-8.
    """
    if content_type in json_types:
        return False
    text = content_type.decode("latin-1").strip()
    kind = _media_type(text)
    if kind in _CSV_TYPES:
        return True
    if text and kind not in _JSON_TYPES and not kind.endswith("+json"):
        raise _unsupported(
            "The body has to be JSON (Content-Type: application/json) or CSV (text/csv), in UTF-8, "
            f"not {text[:_MAX_SHOWN]!r}.",
            {"Accept": "application/json, text/csv"},
        )
    if len(json_types) < _MAX_KNOWN:
        json_types.add(content_type)
    return False


def body_coding(content_encoding: bytes) -> str | None:
    """Returns the content coding of a body, None for a body that is sent as it is.

    Args:
        content_encoding: header's value; several lines are joined by a line feed.

    Raises:
        UnsupportedBody: a coding that the server does not read, or for more than one.
    """
    names = [name.decode("latin-1") for name in list_items(content_encoding) if name != b"identity"]
    if not names:
        return None
    coding = names[0].removeprefix("x-")
    if len(names) > 1 or coding not in CODINGS:
        raise _unsupported(
            f"The body has to be sent as it is or compressed with {' or '.join(CODINGS)}, "
            f"not {', '.join(names)[:_MAX_SHOWN]!r}.",
            {"Accept-Encoding": ", ".join(CODINGS)},
        )
    return coding


def _media_type(text: str) -> str:
    """Returns the media type that a `Content-Type` names, empty where it is none or its charset is not UTF-8."""
    media_type, semicolon, parameters = text.partition(";")
    found = _MEDIA_TYPE.fullmatch(media_type.strip().lower())
    if found is None or any(charset.lower() not in _UTF8 for charset in _CHARSET.findall(semicolon + parameters)):
        return ""
    return found[0]


def _unsupported(detail: str, headers: dict[str, str]) -> UnsupportedBody:
    return UnsupportedBody(detail, headers)
