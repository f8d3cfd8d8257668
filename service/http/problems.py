"""Problems: errors of the service in HTTP, as `application/problem+json` of RFC 9457.

`problem_of` is the only place where an error gets its status. `type` is stable and meant for programs; `detail` is a
sentence for people. Errors in rows add `errors`, each with `row`, `column` and `message`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson

from models.errors import InvalidName, ModelNotFound, RowError, StoreError
from service.errors import (
    BodiesCongested,
    ClientGone,
    DeadlineExceeded,
    Forbidden,
    InvalidRequest,
    ModelFault,
    ModelUnavailable,
    NotAcceptable,
    NoWorker,
    QueueFull,
    ReadingCongested,
    RepeatedKey,
    TooLarge,
    Unauthenticated,
    UnsupportedBody,
)

MEDIA_TYPE = "application/problem+json"

#: nginx's status for a client that hung up before its answer. The status is counted and never sent.
CLIENT_CLOSED_REQUEST = 499
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content", 499: "Client Closed Request"}
_TRY_AGAIN = {"Retry-After": "1"}


@dataclass(eq=False)  # not frozen: Python writes the traceback into an exception
class Problem(Exception):
    """An error in HTTP.

    Attributes:
        status: HTTP status.
        code: stable code of the error, the end of the document's `type`.
        detail: sentence for people.
        errors: faults in rows, columns or parameters.
        headers: further headers of the answer.
    """

    status: int
    code: str
    detail: str
    errors: Sequence[Mapping[str, Any]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """Returns the headers as bytes, with names in lower case."""
        return [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]

    def body(self, request_id: str | None = None) -> bytes:
        """Returns the problem document."""
        document: dict[str, Any] = {
            "type": f"urn:axon:problem:{self.code}",
            "title": title_of(self.status),
            "status": int(self.status),
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = list(self.errors)
        if request_id is not None:
            document["request_id"] = request_id
        return orjson.dumps(document, default=str)


def title_of(status: int) -> str:
    """Returns the name of a status in RFC 9110. Python has these names only since 3.13."""
    return _TITLES.get(status) or HTTPStatus(status).phrase


def problem_of(error: Exception) -> Problem:
    """Returns the problem of an error; an unforeseen error becomes a 500 that does not describe the server's code."""
    match error:
        case Problem():
            return error
        case RowError():
            errors = [{"row": f.row, "column": f.column, "message": f.message} for f in error.faults]
            return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-rows", _sentence(error), errors)
        case InvalidRequest():
            return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", str(error), error.errors)
        case TooLarge():
            return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", str(error))
        case UnsupportedBody():
            status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
            return Problem(status, "unsupported-media-type", str(error), headers=error.accepted)
        case NotAcceptable():
            return Problem(HTTPStatus.NOT_ACCEPTABLE, "not-acceptable", str(error), headers={"Vary": "Accept"})
        case RepeatedKey():
            return Problem(
                HTTPStatus.BAD_REQUEST, "bad-request", str(error), headers=_challenge(', error="invalid_request"')
            )
        case Unauthenticated():
            reason = ', error="invalid_token"' if error.has_key else ""
            return Problem(HTTPStatus.UNAUTHORIZED, "unauthenticated", str(error), headers=_challenge(reason))
        case Forbidden():
            reason = f', error="insufficient_scope", scope="{error.scope}"'
            return Problem(HTTPStatus.FORBIDDEN, "forbidden", str(error), headers=_challenge(reason))
        case InvalidName() | ModelNotFound():
            return Problem(HTTPStatus.NOT_FOUND, "model-not-found", _sentence(error))
        case QueueFull() | ReadingCongested():
            retry = {"Retry-After": str(error.retry_after)}
            return Problem(HTTPStatus.TOO_MANY_REQUESTS, "queue-full", _sentence(error), headers=retry)
        case DeadlineExceeded():
            return Problem(HTTPStatus.GATEWAY_TIMEOUT, "deadline-exceeded", _sentence(error))
        case ClientGone():
            return Problem(CLIENT_CLOSED_REQUEST, "client-gone", _sentence(error))
        case StoreError():
            # The text of the error may have a path.
            detail = "The store cannot be read as it should be; GET /models says why."
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail, headers=_TRY_AGAIN)
        case BodiesCongested() | NoWorker() | ModelUnavailable():
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", _sentence(error), headers=_TRY_AGAIN)
        case ModelFault():
            return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "model-fault", _sentence(error))
        case _:
            return Problem(
                HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "The server failed on this request; its log says why."
            )


def _challenge(reason: str) -> dict[str, str]:
    """Returns the header that asks for a key (RFC 6750, 3)."""
    return {"WWW-Authenticate": f'Bearer realm="axon"{reason}'}


def _sentence(error: Exception) -> str:
    """Returns the text of an error with a capital first letter."""
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}"
