"""A prediction request's body: JSON text → the model's id and the rows, or what is wrong with it."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
from pydantic import ValidationError

from service.errors import InvalidRequest
from service.http.schemas import PredictRequest

_MAX_VALIDATION_ERRORS = 20


def parse_request(body: bytes | bytearray) -> tuple[str | None, list[Any]]:
    """Reads a small body.

    Returns:
        The model's id, and the rows, whose cells are not looked at yet.

    Raises:
        InvalidRequest: the body is no prediction request.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not JSON: {error}.") from error
    if type(document) is dict:
        instances, model = document.get("instances"), document.get("model")
        known = ("instances" in document) + ("model" in document)
        if known == len(document) and type(instances) is list and instances and (model is None or type(model) is str):
            return model, instances
    # The rows' cells are the encoder's to judge: here they would only be copied.
    # Nor need all of 100,000 unknown keys be told.
    request = check_shape(_shell(document) if type(document) is dict else document)
    return request.model, document["instances"]


def check_shape(document: object) -> PredictRequest:
    """Validates a document, or a small one with the same faults.

    Raises:
        InvalidRequest: the document is no prediction request.
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
    first = f"{errors[0]['location']}: {errors[0]['message']}" if errors[0]["location"] else errors[0]["message"]
    return InvalidRequest(f"The body is not a prediction request: {first}.", errors[:_MAX_VALIDATION_ERRORS])


def _shell(document: dict[str, Any]) -> dict[str, Any]:
    instances = document.get("instances")
    shell = dict(itertools.islice(document.items(), _MAX_VALIDATION_ERRORS))
    shell["instances"] = [[]] if isinstance(instances, list) and instances else instances
    if "model" in document:
        shell["model"] = document["model"]
    return shell
