"""What can go wrong with a request, and what HTTP says of it: RFC 9457 `application/problem+json`.

Every error becomes a `Problem` here and nowhere else. `type` is stable and meant for programs, `detail` is a
sentence for people; an error in the rows adds `errors`, each with `row`, `column` and `message`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson

from models.errors import AxonError, InvalidName, ModelNotFound, RowError, StoreError

MEDIA_TYPE = "application/problem+json"

#: nginx's status for a client that hung up before it had its answer. It is counted and never sent.
CLIENT_CLOSED_REQUEST = 499
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content", 499: "Client Closed Request"}


class ServiceError(AxonError):
    """An error of the service's own."""


class QueueFull(ServiceError):
    """More rows wait than may; the client should try again in `retry_after` seconds."""

    def __init__(self, model: str, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(f"model {model!r} has its queue full: try again in {retry_after} s.")


class ReadingCongested(ServiceError):
    """More large requests wait to be read than can be in time; the client should try again in `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(f"this process has more requests to read than it can in time: try again in {retry_after} s.")


class DeadlineExceeded(ServiceError):
    """The request's deadline passed before its answer was there."""


class ClientGone(ServiceError):
    """The client hung up before it had its answer."""


class NoWorker(ServiceError):
    """The inference worker went, or none is up."""


class ModelFault(ServiceError):
    """The model failed on these rows; the rows of other requests in the batch were answered."""


class ModelUnavailable(ServiceError):
    """The model is in the store, but cannot be loaded."""


@dataclass(eq=False)  # not frozen: whoever passes an exception on writes its traceback into it
class Problem(Exception):
    """An error as HTTP tells it."""

    status: int
    code: str
    detail: str
    errors: Sequence[Mapping[str, Any]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """Its headers as ASGI and the HTTP protocol write them."""
        return [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]

    def body(self, request_id: str | None = None) -> bytes:
        """The problem document."""
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
    """Returns a status's name, the same on each Python: 3.13 took over those of RFC 9110."""
    return _TITLES.get(status) or HTTPStatus(status).phrase


def problem_of(error: Exception) -> Problem:
    """What HTTP says of an error; an unforeseen one is a 500 that tells nothing of our insides."""
    match error:
        case Problem():
            return error
        case RowError():
            errors = [{"row": f.row, "column": f.column, "message": f.message} for f in error.faults]
            return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-rows", _sentence(error), errors)
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
            detail = "The store cannot be read as it should be; GET /models says why."  # its own words may have a path
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail, headers={"Retry-After": "1"})
        case NoWorker() | ModelUnavailable():
            retry = {"Retry-After": "1"}
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", _sentence(error), headers=retry)
        case ModelFault():
            return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "model-fault", _sentence(error))
        case _:
            return Problem(
                HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "The server failed on this request; its log says why."
            )


def invalid_request(detail: str, errors: Sequence[Mapping[str, Any]] = ()) -> Problem:
    """A body or parameter that is not what the API takes: 422."""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", detail, errors)


def too_large(detail: str) -> Problem:
    """A body with more bytes or rows than the limit: 413."""
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", detail)


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}"
