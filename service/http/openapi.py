"""The OpenAPI document: what FastAPI derives from the routes, and what it cannot know of their errors and headers.

A route declares its errors as `problems({404: "…"})`; their media type and headers are filled in here, once for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from service.http.problem_examples import problem_examples
from service.http.problems import MEDIA_TYPE
from service.http.schemas import ProblemDocument

Responses = dict[int | str, dict[str, Any]]

_REQUEST_ID = {"description": "The client's id where it sent one, else one made up.", "schema": {"type": "string"}}
_RETRY_AFTER = {"description": "Seconds after which to try again.", "schema": {"type": "integer", "minimum": 0}}
_PROBLEM_REFERENCE = f"/{ProblemDocument.__name__}"


def problems(descriptions: Mapping[int, str]) -> Responses:
    """A route's `responses`: problem documents, with when each status is given."""
    return {
        int(status): {"model": ProblemDocument, "description": description}
        for status, description in descriptions.items()
    }


class DocumentedApp(FastAPI):
    """A FastAPI application whose document says what is true of its errors, and names its operations as we do."""

    def openapi(self) -> dict[str, Any]:
        """The document; it is made at the first call."""
        if self.openapi_schema is None:
            document = super().openapi()
            for path in document["paths"].values():
                for operation in path.values():
                    _complete(operation["operationId"], operation["responses"])
            for unused in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(unused, None)
        return super().openapi()


def _complete(operation: str, responses: dict[str, Any]) -> None:
    """Completes one operation's responses.

    FastAPI gives problem documents the media type of the route, and adds an error of its own form to every route with
    parameters, even where any value of these will do.
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
