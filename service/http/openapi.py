"""The OpenAPI document: derived by FastAPI from the routes, and completed with the errors and headers.

A route declares its errors as `problems({404: "…"})`. This module adds the media type and the headers of all errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from service.http.problem_examples import problem_examples
from service.http.problems import MEDIA_TYPE
from service.http.schemas import ProblemDocument

Responses = dict[int | str, dict[str, Any]]

_REQUEST_ID = {"description": "The client's id if it sent one, else a new one.", "schema": {"type": "string"}}
_RETRY_AFTER = {"description": "Seconds after which to try again.", "schema": {"type": "integer", "minimum": 0}}
_PROBLEM_REFERENCE = f"/{ProblemDocument.__name__}"


def problems(descriptions: Mapping[int, str]) -> Responses:
    """Returns the `responses` of a route: problem documents.

    Args:
        descriptions: description of the cause, by HTTP status.
    """
    return {
        int(status): {"model": ProblemDocument, "description": description}
        for status, description in descriptions.items()
    }


class DocumentedApp(FastAPI):
    """A FastAPI application whose OpenAPI document describes the errors that Axon sends."""

    def openapi(self) -> dict[str, Any]:
        """Returns the OpenAPI document, made at the first call."""
        if self.openapi_schema is None:
            document = super().openapi()
            for path in document["paths"].values():
                for operation in path.values():
                    _complete(operation["operationId"], operation["responses"])
            for unused in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(unused, None)
        return super().openapi()


def _complete(operation: str, responses: dict[str, Any]) -> None:
    """Completes the responses of one operation.

    FastAPI gives problem documents the media type of the route. For every route with parameters, FastAPI also adds an
    error in its own format, even if all values of the parameters are valid.
    """
    for status, response in list(responses.items()):
        schema: dict[str, Any] = next(
            (content.get("schema", {}) for content in response.get("content", {}).values()), {}
        )
        reference = schema.get("$ref", "")
        if reference.endswith("/HTTPValidationError"):
            del responses[status]
        if not reference.endswith(_PROBLEM_REFERENCE):
            continue
        examples = problem_examples(operation, int(status))
        response["content"] = {MEDIA_TYPE: {"schema": schema, "examples": examples}}
        response["headers"] = {"X-Request-ID": _REQUEST_ID}
        if status in ("429", "503"):
            response["headers"]["Retry-After"] = _RETRY_AFTER
