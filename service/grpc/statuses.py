"""Statuses of gRPC: `status_of` is the only place where an error gets its code.

A client may repeat a call with UNAVAILABLE without a thought, and KServe's client does. So no error after the execution
has this code.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from models.errors import InvalidName, ModelNotFound, RowError, StoreError
from service.errors import (
    BodiesCongested,
    ClientGone,
    DeadlineExceeded,
    Forbidden,
    InvalidRequest,
    ModelFault,
    ModelUnavailable,
    NoWorker,
    QueueFull,
    ReadingCongested,
    RepeatedKey,
    ServiceError,
    TooLarge,
    Unauthenticated,
)
from service.grpc.frames import error_trailers, field


class Code(IntEnum):
    """The codes of gRPC that the server sends."""

    OK = 0
    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class Unimplemented(ServiceError):
    """A method or a compression that the server does not have."""


class Status(NamedTuple):
    """A status that is not OK.

    Attributes:
        code: code of gRPC.
        http: status of the same error over HTTP, by which requests are counted.
        kind: stable name of the error, as in the problems of HTTP.
        detail: sentence for people.
        retry_seconds: time after which the client should try again, in seconds; 0 if it is not known.
    """

    code: Code
    http: int
    kind: str
    detail: str
    retry_seconds: int = 0

    def trailers(self) -> bytes:
        """Returns the fields of the status."""
        fields = error_trailers(self.code, self.detail)
        if self.retry_seconds:
            fields += field(b"grpc-retry-pushback-ms", b"%d" % (1000 * self.retry_seconds))
        return fields


def status_of(error: Exception) -> Status:
    """Returns the status of an error; an unforeseen error becomes INTERNAL and does not describe the server's code."""
    match error:
        case RowError():
            return Status(Code.INVALID_ARGUMENT, 400, "invalid-rows", _sentence(error))
        case InvalidRequest():
            return Status(Code.INVALID_ARGUMENT, 400, "invalid-request", str(error))
        case RepeatedKey():
            return Status(Code.INVALID_ARGUMENT, 400, "bad-request", str(error))
        case TooLarge():
            return Status(Code.RESOURCE_EXHAUSTED, 413, "too-large", _sentence(error))
        case Unauthenticated():
            return Status(Code.UNAUTHENTICATED, 401, "unauthenticated", str(error))
        case Forbidden():
            return Status(Code.PERMISSION_DENIED, 403, "forbidden", str(error))
        case InvalidName() | ModelNotFound():
            return Status(Code.NOT_FOUND, 404, "model-not-found", _sentence(error))
        case QueueFull() | ReadingCongested():
            return Status(Code.RESOURCE_EXHAUSTED, 429, "queue-full", _sentence(error), error.retry_after)
        case BodiesCongested():
            return Status(Code.RESOURCE_EXHAUSTED, 503, "unavailable", _sentence(error), error.retry_after)
        case DeadlineExceeded():
            return Status(Code.DEADLINE_EXCEEDED, 504, "deadline-exceeded", _sentence(error))
        case ClientGone():
            return Status(Code.CANCELLED, 499, "client-gone", _sentence(error))
        case StoreError():
            # The text of the error may have a path.
            detail = "The store cannot be read as it should be; GET /models says why."
            return Status(Code.UNAVAILABLE, 503, "unavailable", detail)
        case NoWorker() | ModelUnavailable():
            return Status(Code.UNAVAILABLE, 503, "unavailable", _sentence(error))
        case Unimplemented():
            return Status(Code.UNIMPLEMENTED, 501, "unimplemented", _sentence(error))
        case ModelFault():
            return Status(Code.INTERNAL, 500, "model-fault", _sentence(error))
        case _:
            return Status(Code.INTERNAL, 500, "internal", "The server failed on this request; its log says why.")


def _sentence(error: Exception) -> str:
    """Returns the text of an error with a capital first letter."""
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}"
