"""The JSON part of an inference request: inputs, outputs that are asked for, and parameters."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from typing import Any

from models.columns.cells import listed, shown
from models.columns.encoding import Rows
from service.answer_form import members_of
from service.errors import InvalidRequest
from service.open_inference.form import BINARY_LAYOUT, JSON_LAYOUT, InferForm, Layout, WantedOutput, distinct
from service.open_inference.tensors import Tensor, checked_shape, rows_of, tensor_of_bytes_in_steps, tensor_of_list

MICROSECONDS = 1e6
_MOST_ID_CHARACTERS = 1024
_MOST_OUTPUTS = 16  # a model has two
# kserve's client repeats in the body what the path says: the model's name and version.
_REQUEST_KEYS = frozenset(("id", "inputs", "outputs", "parameters", "model_name", "model_version"))
_INPUT_KEYS = frozenset(("name", "shape", "datatype", "data", "parameters"))
_OUTPUT_KEYS = frozenset(("name", "parameters", "datatype", "shape"))
_SHARED_MEMORY = "shared_memory"
_NOTHING: Mapping[str, Any] = {}


def read_request(document: Any, binary: memoryview | None) -> Generator[None, None, tuple[Rows, bool, InferForm]]:
    """Reads an inference request in short steps.

    Args:
        document: parsed JSON part of the request.
        binary: bytes behind the JSON part; None if the body is JSON alone.

    Returns:
        The rows, False if no cell is a boolean, and the form of the answer, as the generator's value.

    Raises:
        InvalidRequest: the request is not valid.
    """
    request = checked_request(document)
    form = form_of(request)
    tensors: list[Tensor] = []
    data, at = binary if binary is not None else memoryview(b""), 0
    for position, given in enumerate(request["inputs"]):
        name, datatype, shape, size = declared_input(position, given, len(data) - at)
        if size is None:
            tensors.append(tensor_of_list(name, datatype, shape, given["data"]))
        else:
            tensors.append((yield from tensor_of_bytes_in_steps(name, datatype, shape, data[at : at + size])))
            at += size
    left_over(len(data) - at)
    return *rows_of(tensors), form


def checked_request(document: Any) -> dict[str, Any]:
    """Checks that a request is an object with a list of inputs and only the protocol's fields, and returns the request.

    Raises:
        InvalidRequest: the request is anything else.
    """
    if type(document) is not dict:
        raise InvalidRequest("The request has to be a JSON object.")
    if not _REQUEST_KEYS.issuperset(document):
        raise _strange_key("The request", document, _REQUEST_KEYS)
    if type(document.get("inputs")) is not list:
        raise InvalidRequest("The request has to have a list of inputs.")
    return document


def left_over(size: int) -> None:
    """Refuses bytes behind those of all inputs.

    Raises:
        InvalidRequest: there are such bytes.
    """
    if size:
        raise InvalidRequest(f"{size:,} bytes of the body belong to no input.")


def declared_input(position: int, given: Any, left: int) -> tuple[str, str, tuple[int, ...], int | None]:
    """Returns name, datatype, shape and number of binary bytes of an input, None for JSON data.

    Args:
        position: position of the input in the request.
        given: input of the parsed request.
        left: number of binary bytes that no input before has.

    Raises:
        InvalidRequest: the input is not valid, or has more bytes than are left.
    """
    if type(given) is not dict:
        raise InvalidRequest(f"Input {position} has to be an object.")
    name, datatype = given.get("name"), given.get("datatype")
    if type(name) is not str or not name:
        raise InvalidRequest(f"Input {position} has to have a name.")
    if not _INPUT_KEYS.issuperset(given):
        raise _strange_key(f"Input {shown(name)}", given, _INPUT_KEYS)
    if type(datatype) is not str:
        raise InvalidRequest(f"Input {shown(name)} has to have a datatype.")
    shape = checked_shape(name, given.get("shape"))
    size = None
    if (parameters := given.get("parameters")) is not None:
        refuse_shared_memory(f"Input {shown(name)}", _parameters(parameters))
        size = parameters.get("binary_data_size")
    if size is None:
        if "data" not in given:
            raise InvalidRequest(f"Input {shown(name)} has neither data nor a binary_data_size.")
        return name, datatype, shape, None
    if type(size) is not int or size < 0:
        raise InvalidRequest(f"Input {shown(name)}: binary_data_size has to be a whole number, not {shown(size)}.")
    if "data" in given:
        raise InvalidRequest(f"Input {shown(name)} has both data and a binary_data_size.")
    if size > left:
        raise InvalidRequest(
            f"Input {shown(name)}: binary_data_size is {size:,}, and {left:,} bytes are left of the body."
        )
    return name, datatype, shape, size


def form_of(document: Mapping[str, Any]) -> InferForm:
    """Returns the form of the answer that a request asks for.

    Raises:
        InvalidRequest: the id, the outputs or the parameters are not valid.
    """
    id_, outputs, parameters = document.get("id"), document.get("outputs"), document.get("parameters")
    if id_ is not None and (type(id_) is not str or len(id_) > _MOST_ID_CHARACTERS):
        raise InvalidRequest(f"id has to be a text of at most {_MOST_ID_CHARACTERS:,} characters.")
    if not parameters and outputs is None:
        return InferForm(JSON_LAYOUT, id_)
    parameters = _parameters(parameters)
    refuse_shared_memory("The request", parameters)
    if parameters.get("intervals") is not None:
        raise InvalidRequest("The outputs of this protocol have no place for intervals: ask POST /predict.")
    is_binary = _truth(parameters, "binary_data_output")
    layout = BINARY_LAYOUT if is_binary else JSON_LAYOUT
    if outputs is not None:
        if type(outputs) is not list or len(outputs) > _MOST_OUTPUTS:
            raise InvalidRequest(f"outputs has to be a list of at most {_MOST_OUTPUTS} outputs.")
        if outputs:  # an empty list asks for all outputs
            layout = Layout(distinct([_wanted(position, given, is_binary) for position, given in enumerate(outputs)]))
    return InferForm(layout, id_, seconds_of(parameters.get("timeout")), members_of(parameters.get("members")))


def seconds_of(microseconds: Any) -> float | None:
    """Returns the value of the parameter `timeout` in seconds, None for no timeout.

    Raises:
        InvalidRequest: the value is not a number from 0 on.
    """
    if microseconds is None:
        return None
    if type(microseconds) not in (int, float) or not 0 <= microseconds < math.inf:
        raise InvalidRequest(f"timeout has to be a number of microseconds, not {shown(microseconds)}.")
    return min(microseconds, 2**62) / MICROSECONDS or None  # 0 is no timeout, as in Triton


def _wanted(position: int, given: Any, is_binary: bool) -> WantedOutput:
    """Returns an output that a request asks for."""
    if type(given) is not dict:
        raise InvalidRequest(f"Output {position} has to be an object.")
    name = given.get("name")
    if type(name) is not str:
        raise InvalidRequest(f"Output {position} has to have a name.")
    if not _OUTPUT_KEYS.issuperset(given):
        raise _strange_key(f"Output {shown(name)}", given, _OUTPUT_KEYS)
    parameters = _parameters(given.get("parameters"))
    refuse_shared_memory(f"Output {shown(name)}", parameters)
    classes = parameters.get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise InvalidRequest(f"Output {shown(name)}: classification has to be a number of classes.")
    return WantedOutput(name, _truth(parameters, "binary_data", default=is_binary), classes)


def _parameters(given: Any) -> Mapping[str, Any]:
    if given is None:
        return _NOTHING
    if type(given) is not dict:
        raise InvalidRequest("parameters has to be an object.")
    return given


def _truth(parameters: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    value = parameters.get(name, default)
    if type(value) is not bool:
        raise InvalidRequest(f"{name} has to be true or false, not {shown(value)}.")
    return value


def refuse_shared_memory(what: str, parameters: Mapping[str, Any]) -> None:
    """Refuses parameters of shared memory, which would otherwise be ignored with their data."""
    for name in parameters:
        if name.startswith(_SHARED_MEMORY):
            raise InvalidRequest(f"{what}: {name} is not supported; send the data in the request.")


def _strange_key(what: str, document: Mapping[str, Any], known: frozenset[str]) -> InvalidRequest:
    strange = next(key for key in document if key not in known)
    return InvalidRequest(f"{what} has no field {shown(strange)}; its fields are {listed(sorted(known))}.")
