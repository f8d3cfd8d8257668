"""The headers of a request's body: the media type, JSON, CSV or Arrow, and the content coding."""

from __future__ import annotations

import re
from enum import Enum, auto

from service.errors import UnsupportedBody
from service.http.inflater import CODINGS
from service.http.request_head import list_items

_MAX_KNOWN = 256
_MAX_SHOWN = 100
_MEDIA_TYPE = re.compile(r"([\w!#$&^.+*'`|~%-]+)/([\w!#$&^.+*'`|~%-]+)", re.ASCII)
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^";\s]*)"?', re.ASCII | re.IGNORECASE)
_UTF8 = {"utf-8", "utf8", "us-ascii", "ascii"}
# curl sends the last one with `-d` by default, as in the README's examples.
_JSON_TYPES = {"application/json", "text/json", "application/x-www-form-urlencoded"}
_CSV_TYPES = {"text/csv", "text/tab-separated-values"}
_ARROW_TYPE = "application/vnd.apache.arrow.stream"

#: Values of `Content-Type` that are known to mean JSON, so that most requests need only one look-up.
json_types: set[bytes] = {b"application/json"}


class BodyKind(Enum):
    """The kind of a body without the name of a model."""

    CSV = auto()
    ARROW = auto()


def kind_of_body(content_type: bytes) -> BodyKind | None:
    """Returns the kind of a body by its `Content-Type`; None for JSON.

    Args:
        content_type: value of the header; several lines are joined by a line feed.

    Raises:
        UnsupportedBody: another type, or another charset than UTF-8.
    """
    if content_type in json_types:
        return None
    text = content_type.decode("latin-1").strip()
    kind = _media_type(text)
    if kind in _CSV_TYPES:
        return BodyKind.CSV
    if kind == _ARROW_TYPE:
        return BodyKind.ARROW
    if text and kind not in _JSON_TYPES and not kind.endswith("+json"):
        raise _unsupported(
            "The body has to be JSON (Content-Type: application/json) or CSV (text/csv), in UTF-8, or an Arrow stream "
            f"({_ARROW_TYPE}), not {text[:_MAX_SHOWN]!r}.",
            {"Accept": f"application/json, text/csv, {_ARROW_TYPE}"},
        )
    if len(json_types) < _MAX_KNOWN:
        json_types.add(content_type)
    return None


def body_coding(content_encoding: bytes) -> str | None:
    """Returns the content coding of a body, or None for a body without compression.

    Args:
        content_encoding: value of the header; several lines are joined by a line feed.

    Raises:
        UnsupportedBody: a coding that the server does not read, or more than one coding.
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
    """Returns the media type of a `Content-Type`, or an empty text if the value is invalid or not in UTF-8."""
    media_type, semicolon, parameters = text.partition(";")
    found = _MEDIA_TYPE.fullmatch(media_type.strip().lower())
    if found is None or any(charset.lower() not in _UTF8 for charset in _CHARSET.findall(semicolon + parameters)):
        return ""
    return found[0]


def _unsupported(detail: str, headers: dict[str, str]) -> UnsupportedBody:
    return UnsupportedBody(detail, headers)
