"""Problems of a connection, which are sent before a request is complete or accepted."""

from __future__ import annotations

from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.http.problems import MEDIA_TYPE, Problem
from service.http.response_headers import NOSNIFF


def closing_answer(problem: Problem) -> bytes:
    """Returns a problem as the bytes of an answer that closes the connection."""
    body = problem.body()
    fields = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        *problem.raw_headers(),
        NOSNIFF,
        (b"connection", b"close"),
    ]
    head = b"".join(b"%b: %b\r\n" % field for field in fields)
    return STATUS_LINE[problem.status] + head + b"\r\n" + body


def bad_request(detail: str) -> Problem:
    """Returns the problem of an invalid or incomplete request."""
    return Problem(HTTPStatus.BAD_REQUEST, "bad-request", detail)


def too_many_connections() -> Problem:
    """Returns the problem of a connection beyond `AXON_MAX_CONNECTIONS`."""
    detail = "This process has as many connections as it takes; try again in a moment."
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail, headers={"Retry-After": "1"})


def head_too_large(limit: int) -> Problem:
    """Returns the problem of a head with more than `limit` bytes."""
    detail = f"The request's head has more than {limit:,} bytes."
    return Problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", detail)


def too_slow(part: str, seconds: float) -> Problem:
    """Returns the problem of a head or a body that did not arrive within `seconds` seconds."""
    return Problem(HTTPStatus.REQUEST_TIMEOUT, "request-timeout", f"The request's {part} took more than {seconds:g} s.")
