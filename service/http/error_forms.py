"""The forms of error documents, by path: each protocol has its own, and problem documents are for all other paths."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

import orjson

from service.http.problems import MEDIA_TYPE, Problem

ErrorForm = Callable[[Problem, str | None], tuple[bytes, str]]  # takes a problem and the request id


def problem_document(problem: Problem, request_id: str | None) -> tuple[bytes, str]:
    """Returns a problem document of RFC 9457 and its media type."""
    return problem.body(request_id), MEDIA_TYPE


def error_text(problem: Problem, request_id: str | None) -> tuple[bytes, str]:
    """Returns `{"error": …}` and its media type; clients look for exactly `application/json`."""
    return orjson.dumps({"error": problem.detail}), "application/json"


def as_400(problem: Problem) -> Problem:
    """Returns a problem with 400 in place of 422, for protocols that have no 422."""
    if problem.status != HTTPStatus.UNPROCESSABLE_ENTITY:
        return problem
    return Problem(HTTPStatus.BAD_REQUEST, problem.code, problem.detail, problem.errors, problem.headers)


def mlflow_error(problem: Problem, request_id: str | None) -> tuple[bytes, str]:
    """Returns `{"error_code": …, "message": …}`, as MLflow's server writes an exception, and its media type."""
    code = _MLFLOW_CODES.get(int(problem.status), "INTERNAL_ERROR" if problem.status >= 500 else "BAD_REQUEST")
    return orjson.dumps({"error_code": code, "message": problem.detail}), "application/json"


# The names in MLflow's `ErrorCode` that fit a status.
_MLFLOW_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    405: "ENDPOINT_NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    429: "REQUEST_LIMIT_EXCEEDED",
    501: "NOT_IMPLEMENTED",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

_FORMS: tuple[tuple[str, ErrorForm], ...] = (("/v1", error_text), ("/v2", error_text), ("/invocations", mlflow_error))
_FORMS_OF_PATHS: dict[str, ErrorForm] = dict.fromkeys(("/health", "/ping", "/version"), mlflow_error)


def error_form(path: str) -> ErrorForm:
    """Returns the form of errors under a path, without the prefix that a proxy adds."""
    for prefix, form in _FORMS:
        if path == prefix or path.startswith(f"{prefix}/"):
            return form
    return _FORMS_OF_PATHS.get(path, problem_document)
