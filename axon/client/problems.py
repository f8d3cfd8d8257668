"""Errors of the server as exceptions: problem documents of `/predict` and the errors of the Open Inference Protocol."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import orjson

from axon.client.errors import (
    ClientError,
    DeadlinePassed,
    Forbidden,
    ModelUnknown,
    Overloaded,
    RequestRefused,
    RowsRefused,
    ServerFailed,
    TooLarge,
    Unauthenticated,
)
from models.errors import Fault

_CODES = "urn:axon:problem:"
_MOST_SHOWN = 200  # characters of a text that is no error document
_BY_STATUS: Mapping[int, type[ClientError]] = {
    401: Unauthenticated,
    403: Forbidden,
    413: TooLarge,
    429: Overloaded,
}
# Codes of errors of the Open Inference Protocol, which have a status and a sentence alone. A status with several codes,
# such as 500, is not in this table.
_CODE_BY_STATUS: Mapping[int, str] = {
    401: "unauthenticated",
    403: "forbidden",
    413: "too-large",
    429: "queue-full",
    503: "unavailable",
    504: "deadline-exceeded",
}


def error_of(status: int, headers: Mapping[str, str], body: bytes, request_id: str) -> ClientError:
    """Returns the exception of an answer that is an error.

    Args:
        status: HTTP status of the answer.
        headers: headers of the answer.
        body: body of the answer: a problem document, `{"error": …}`, or a text of a proxy.
        request_id: identifier that the request had.
    """
    document = _document(body)
    code = _code(document)
    if not code and _has_sentence_alone(document):
        code = _CODE_BY_STATUS.get(status, "")
    found_id = document.get("request_id")
    request_id = found_id if isinstance(found_id, str) else headers.get("x-request-id", request_id)
    if faults := _faults(document):
        return RowsRefused(faults, status=status, code=code, request_id=request_id)
    return _class_of(status, code)(
        _detail(status, document, body),
        status=status,
        code=code,
        request_id=request_id,
        retry_after=retry_after_of(headers.get("retry-after")),
    )


def retry_after_of(value: str | None, now: float | None = None) -> float | None:
    """Returns the seconds of a header `Retry-After`, which holds seconds or a date; None for anything else.

    Args:
        value: value of the header; None if the header is missing.
        now: time in seconds since 1970; the time of the call if None.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return max(moment - (time.time() if now is None else now), 0.0)


def is_from_axon(body: bytes) -> bool:
    """Returns True if the body of an error is one of Axon's, False for that of a proxy."""
    document = _document(body)
    return bool(_code(document)) or _has_sentence_alone(document)


def _class_of(status: int, code: str) -> type[ClientError]:
    if status == HTTPStatus.NOT_FOUND and code == "model-not-found":
        return ModelUnknown
    if status == HTTPStatus.GATEWAY_TIMEOUT and code == "deadline-exceeded":
        return DeadlinePassed
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return RequestRefused if 400 <= status < 500 else ServerFailed


def _document(body: bytes) -> Mapping[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _code(document: Mapping[str, Any]) -> str:
    kind = document.get("type")
    return kind.removeprefix(_CODES) if isinstance(kind, str) and kind.startswith(_CODES) else ""


def _has_sentence_alone(document: Mapping[str, Any]) -> bool:
    """Returns True for an error of the Open Inference Protocol, `{"error": …}`."""
    return isinstance(document.get("error"), str)


def _detail(status: int, document: Mapping[str, Any], body: bytes) -> str:
    """Returns the sentence of an error document; for a text that is none, the status and the text's beginning."""
    for key in ("detail", "error"):
        if isinstance(detail := document.get(key), str) and detail:
            return detail
    try:
        name = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        name = str(status)
    text = " ".join(body[: 4 * _MOST_SHOWN].decode("utf-8", "replace").split())[:_MOST_SHOWN]
    return f"The server answered {name}: {text}" if text else f"The server answered {name}."


def _faults(document: Mapping[str, Any]) -> list[Fault]:
    """Returns the faults in rows that a problem document lists; empty for other documents."""
    errors = document.get("errors")
    if not isinstance(errors, list):
        return []
    return [
        Fault(error["row"], error.get("column"), str(error.get("message", "")))
        for error in errors
        if isinstance(error, dict) and type(error.get("row")) is int
    ]
