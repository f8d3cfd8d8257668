"""The errors of the service, in its own terms. Each door has one table that turns them into its protocol's errors.

    AxonError
    └── ServiceError
        ├── RequestError            the client has to change the request
        │   ├── InvalidRequest      the body or a parameter is not valid
        │   ├── TooLarge            more bytes or rows than the limit
        │   ├── UnsupportedBody     a media type or a coding that the server does not read
        │   └── NotAcceptable       no media type that the server writes is accepted
        ├── AccessDenied            the key does not allow the request
        │   ├── RepeatedKey         the key was sent more than once
        │   ├── Unauthenticated     the key is missing or unknown
        │   └── Forbidden           the key lacks a scope
        ├── QueueFull               too many rows wait for the model
        ├── ReadingCongested        too many large requests wait to be read
        ├── BodiesCongested         too many bytes of request bodies are held
        ├── DeadlineExceeded        the deadline passed
        ├── ClientGone              the client hung up
        ├── NoWorker                no worker is up
        ├── ModelUnavailable        the model cannot be loaded
        └── ModelFault              the model failed on the rows

The errors of `models.errors` that a request can meet are `RowError`, `InvalidName`, `ModelNotFound` and `StoreError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.errors import AxonError


class ServiceError(AxonError):
    """An error of the service."""


class RequestError(ServiceError):
    """A request that the client has to change."""


class InvalidRequest(RequestError):
    """A body or a parameter that is not valid.

    Args:
        detail: sentence for people.
        errors: faults, each with a `location` and a `message`.
    """

    def __init__(self, detail: str, errors: Sequence[Mapping[str, Any]] = ()) -> None:
        self.errors = errors
        super().__init__(detail)


class TooLarge(RequestError):
    """A body with more bytes or rows than the limit."""


class UnsupportedBody(RequestError):
    """A body of a media type, or with a content coding, that the server does not read.

    Args:
        detail: sentence for people.
        accepted: names and values of headers that list the types or codings that the server reads.
    """

    def __init__(self, detail: str, accepted: Mapping[str, str]) -> None:
        self.accepted = accepted
        super().__init__(detail)


class NotAcceptable(RequestError):
    """A request that accepts no media type in which the server writes answers."""


class AccessDenied(ServiceError):
    """A request whose key does not allow the request."""


class RepeatedKey(AccessDenied):
    """A key that was sent more than once: each program on the way could use a different one (RFC 6750, 3.1)."""

    def __init__(self) -> None:
        super().__init__("Authorization or X-API-Key was sent more than once.")


class Unauthenticated(AccessDenied):
    """A request without a key, or with an unknown one.

    Args:
        has_key: True if the request has an unknown key, False if the request has none.
    """

    def __init__(self, *, has_key: bool = False) -> None:
        self.has_key = has_key
        super().__init__(
            "The API key is not known."
            if has_key
            else "An API key is needed: Authorization: Bearer …, or X-API-Key: …."
        )


class Forbidden(AccessDenied):
    """A known key that lacks a scope.

    Args:
        scope: scope that the request needs.
    """

    def __init__(self, scope: str) -> None:
        self.scope = scope
        super().__init__(f"The API key is not for this: it lacks the scope {scope}.")


class QueueFull(ServiceError):
    """Too many rows wait for the model; the client should try again in `retry_after` seconds."""

    def __init__(self, model: str, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(f"model {model!r} has its queue full: try again in {retry_after} s.")


class ReadingCongested(ServiceError):
    """Too many large requests wait to be read; the client should try again in `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(f"this process has more requests to read than it can in time: try again in {retry_after} s.")


class BodiesCongested(ServiceError):
    """The process holds too many bytes of request bodies; the client should try again in a second."""

    retry_after = 1

    def __init__(self) -> None:
        super().__init__("This process is reading as many bytes of request bodies as it takes; try again in a moment.")


class DeadlineExceeded(ServiceError):
    """The deadline of a request passed before its answer was ready."""


class ClientGone(ServiceError):
    """The client hung up before its answer was ready."""


class NoWorker(ServiceError):
    """No inference worker is up, or the worker died before its reply."""


class ModelFault(ServiceError):
    """The model failed on these rows; the rows of other requests in the batch were answered."""


class ModelUnavailable(ServiceError):
    """The model is in the store, but cannot be loaded."""
