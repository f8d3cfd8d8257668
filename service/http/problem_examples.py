"""Examples of all errors in the OpenAPI document, made by the same code as the errors.

A test provokes each of these errors and compares the answer with the example.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson

from models.errors import Fault, ModelNotFound, RowError
from service.errors import (
    DeadlineExceeded,
    Forbidden,
    InvalidRequest,
    ModelFault,
    ModelUnavailable,
    NotAcceptable,
    QueueFull,
    TooLarge,
    Unauthenticated,
    UnsupportedBody,
)
from service.http.connection_problems import bad_request, head_too_large, too_many_connections, too_slow
from service.http.problems import Problem, problem_of

_REQUEST_ID = "6f1c7e0a9b2d-1"

# Errors of the connection, before a request was read.
_OF_CONNECTIONS: dict[int, dict[str, Problem]] = {
    400: {"not HTTP": bad_request("The request has no Host header.")},
    431: {"head too large": head_too_large(65_536)},
    501: {
        "transfer coding": Problem(
            HTTPStatus.NOT_IMPLEMENTED,
            "not-implemented",
            "Of the transfer codings, this server reads chunked alone.",
        )
    },
}

_OF_REQUESTS: dict[int, dict[str, Problem]] = {
    401: {"no key": problem_of(Unauthenticated())},
    403: {"another scope": problem_of(Forbidden("read"))},
    404: {"no model": problem_of(ModelNotFound("there is no model 'iriss'."))},
    406: {
        "no media type": problem_of(
            NotAcceptable(
                "Answers are application/json, text/csv or application/vnd.apache.arrow.stream, and the request "
                "accepts 'text/html'."
            )
        )
    },
    408: {"too slow": too_slow("body", 30)},
    413: {"too many rows": problem_of(TooLarge("200,000 rows in one request; the limit is 100,000."))},
    415: {
        "not JSON": problem_of(
            UnsupportedBody(
                "The body has to be JSON (Content-Type: application/json) or CSV (text/csv), in UTF-8, or an Arrow "
                "stream (application/vnd.apache.arrow.stream), not 'text/plain'.",
                accepted={},
            )
        )
    },
    422: {
        "wrong row": problem_of(RowError([Fault(0, "petal_width", '"0.2" is not a number')])),
        "wrong body": problem_of(
            InvalidRequest(
                "The body is not a prediction request: instances: Field required.",
                [{"location": "instances", "message": "Field required"}],
            )
        ),
    },
    429: {"queue full": problem_of(QueueFull("iris", retry_after=1))},
    500: {"a bug": problem_of(AssertionError())},
    503: {
        "cannot be loaded": problem_of(ModelUnavailable("version iris@3 cannot be loaded; GET /models says why.")),
        "too many connections": too_many_connections(),
    },
    504: {"deadline passed": problem_of(DeadlineExceeded("the deadline passed before the answer was there."))},
}

# Errors of an operation that differ from the table above.
_OF_OPERATIONS: dict[tuple[str, int], dict[str, Problem]] = {
    ("predict", 403): {"another scope": problem_of(Forbidden("predict"))},
    ("explain", 403): {"another scope": problem_of(Forbidden("predict"))},
    ("refresh_models", 403): {"another scope": problem_of(Forbidden("manage"))},
    ("predict", 500): {
        "model at fault": problem_of(ModelFault("the model's answer to row 0 is not finite.")),
        "a bug": problem_of(AssertionError()),
    },
    ("explain", 500): {
        "model at fault": problem_of(ModelFault("the worker died 3 times with these rows in hand.")),
        "a bug": problem_of(AssertionError()),
    },
    ("explain", 422): {
        "wrong row": problem_of(RowError([Fault(0, "petal_width", '"0.2" is not a number')])),
        "wrong body": problem_of(
            InvalidRequest(
                "The body is not a request for explanations: instances: Field required.",
                [{"location": "instances", "message": "Field required"}],
            )
        ),
    },
    ("explain", 413): {
        "too many combinations": problem_of(
            TooLarge(
                "the first 245 of 400 rows need 1,003,520 rows of coalitions, and a request may need 1,000,000: send "
                "fewer rows, fewer background rows, or kind 'sampled' with fewer samples."
            )
        )
    },
    ("show_summary", 422): {
        "no such format": problem_of(
            InvalidRequest(
                "query.format: Input should be 'json', 'text' or 'mermaid'.",
                [{"location": "query.format", "message": "Input should be 'json', 'text' or 'mermaid'"}],
            )
        )
    },
    ("show_drift", 422): {
        "no such window": problem_of(
            InvalidRequest(
                "query.window: Input should be 'current' or 'last'.",
                [{"location": "query.window", "message": "Input should be 'current' or 'last'"}],
            )
        )
    },
    ("show_study", 404): {
        "no such study": Problem(HTTPStatus.NOT_FOUND, "not-found", "There is no result of a study 'xorr'.")
    },
    ("show_study", 503): {
        "cannot be read": Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "unavailable",
            "The results of studies cannot be read: xor.json has more than 524,288 bytes.",
        ),
        "too many connections": too_many_connections(),
    },
    **{
        (operation, 503): {"too many connections": too_many_connections()}
        for operation in ("list_models", "refresh_models", "list_studies", "live", "scrape")
    },
}


def problem_examples(operation: str, status: int) -> Mapping[str, Any]:
    """Returns the examples for the errors of an operation with a status, in the form of OpenAPI.

    Raises:
        KeyError: there is no example.
    """
    found = {name: _document(problem, None) for name, problem in _OF_CONNECTIONS.get(status, {}).items()}
    if not found:
        problems = _OF_OPERATIONS.get((operation, status)) or _OF_REQUESTS[status]
        found = {
            name: _document(problem, None if name == "too many connections" else _REQUEST_ID)
            for name, problem in problems.items()
        }
    return {name: {"summary": name.capitalize(), "value": document} for name, document in found.items()}


def _document(problem: Problem, request_id: str | None) -> Any:
    """Returns a problem document as a JSON value."""
    return orjson.loads(problem.body(request_id))
