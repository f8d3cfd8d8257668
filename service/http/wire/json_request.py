"""Validation of the JSON body of a prediction request."""

from __future__ import annotations

import itertools
from typing import Any

from pydantic import ValidationError

from service.answer_form import AnswerForm, form_with
from service.errors import InvalidRequest
from service.http.schemas import PredictRequest

_MAX_VALIDATION_ERRORS = 20


def check_document(document: Any) -> tuple[str | None, list[Any], AnswerForm | None]:
    """Validates a parsed body except the cells of the rows, which the encoder checks and Pydantic would copy.

    Returns:
        The reference of the model, None for the default model; the rows; and the form of the answer, None for the
        usual form.

    Raises:
        InvalidRequest: the document is not a prediction request; of 100,000 unknown keys, the first few are reported.
    """
    request = check_shape(_shell(document) if type(document) is dict else document)
    return request.model, document["instances"], form_with(request.members, request.intervals)


def check_shape(document: object) -> PredictRequest:
    """Validates a document, or a small document with the same faults.

    Raises:
        InvalidRequest: the document is not a prediction request.
    """
    try:
        return PredictRequest.model_validate(document)
    except ValidationError as error:
        errors = [
            {"location": ".".join(map(str, fault["loc"])), "message": fault["msg"]}
            for fault in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise _refusal(errors) from error


def _refusal(errors: list[dict[str, str]]) -> InvalidRequest:
    """Returns the error that lists some faults of the body."""
    first = f"{errors[0]['location']}: {errors[0]['message']}" if errors[0]["location"] else errors[0]["message"]
    return InvalidRequest(f"The body is not a prediction request: {first}.", errors[:_MAX_VALIDATION_ERRORS])


def _shell(document: dict[str, Any]) -> dict[str, Any]:
    """Returns a small document with the same faults: few keys, and one empty row in place of all rows."""
    instances = document.get("instances")
    shell = dict(itertools.islice(document.items(), _MAX_VALIDATION_ERRORS))
    shell["instances"] = [[]] if isinstance(instances, list) and instances else instances
    for name in ("model", "members", "intervals"):
        if name in document:
            shell[name] = document[name]
    return shell
