"""What a request's headers say of its body: whether it is JSON, and how it is compressed."""

from __future__ import annotations

import re
from http import HTTPStatus

from service.errors import Problem
from service.http.inflater import CODINGS
from service.http.request_head import list_items

_MAX_KNOWN = 256
_MAX_SHOWN = 100
_MEDIA_TYPE = re.compile(r"([\w!#$&^.+*'`|~%-]+)/([\w!#$&^.+*'`|~%-]+)", re.ASCII)
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^";\s]*)"?', re.ASCII | re.IGNORECASE)
_UTF8 = {"utf-8", "utf8", "us-ascii", "ascii"}
# curl sends the second with `-d` where it is told nothing else, as the README's examples do.
_JSON_TYPES = {"application/json", "text/json", "application/x-www-form-urlencoded"}

#: Values of `Content-Type` that are known to mean JSON: one look-up is all that a request pays.
json_types: set[bytes] = {b"application/json"}


def check_json(content_type: bytes) -> None:
    """Accepts a body that is JSON by its `Content-Type`.

    Args:
        content_type: header's value; several lines are joined by a line feed.

    Raises:
        Problem: 415 `unsupported-media-type` for another type, or another charset than UTF-8.
    """
    if content_type in json_types:
        return
    text = content_type.decode("latin-1").strip()
    if text and not _is_json(text):
        raise _unsupported(
            f"The body has to be JSON in UTF-8 (Content-Type: application/json), not {text[:_MAX_SHOWN]!r}.",
            {"Accept": "application/json"},
        )
    if len(json_types) < _MAX_KNOWN:
        json_types.add(content_type)


def body_coding(content_encoding: bytes) -> str | None:
    """Returns the content coding of a body, None for a body that is sent as it is.

    Args:
        content_encoding: header's value; several lines are joined by a line feed.

    Raises:
        Problem: 415 `unsupported-media-type` for a coding that the server does not read, or for more than one.
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


def _is_json(text: str) -> bool:
    media_type, semicolon, parameters = text.partition(";")
    found = _MEDIA_TYPE.fullmatch(media_type.strip().lower())
    if found is None or not (found[0] in _JSON_TYPES or found[2].endswith("+json")):
        return False
    return all(charset.lower() in _UTF8 for charset in _CHARSET.findall(semicolon + parameters))


def _unsupported(detail: str, headers: dict[str, str]) -> Problem:
    return Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail, headers=headers)
