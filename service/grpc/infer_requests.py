"""Requests for inferences: from the bytes of a `ModelInferRequest` to rows and the form of the answer.

A client repeats everything but the numbers. So the bytes of a request before its numbers are kept, and the next request
with the same bytes is only its numbers: an `Envelope`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

from models.at_once import at_once
from models.columns.encoding import Rows
from service.errors import InvalidRequest
from service.grpc.message_fields import BYTES, InferFields, read_infer_fields, records, varint
from service.grpc.messages import message_class, parsed
from service.grpc.typed_contents import TypedContents
from service.open_inference.form import InferForm
from service.open_inference.request import form_of, refuse_shared_memory
from service.open_inference.tensors import (
    DTYPES,
    Tensor,
    checked_shape,
    rows_in_steps,
    tensor_of_bytes_in_steps,
    tensor_of_elements,
)
from service.stream.frames import Buffer

REQUEST = message_class("inference.ModelInferRequest")

_MOST_ENVELOPES = 256
_MOST_ENVELOPE_BYTES = 1024
_RAW = 7  # number of the field `raw_input_contents`
_MOST_PEEKED = 8

ReadRequest = tuple[str | None, Rows, bool, InferForm]  # reference, rows, whether booleans may be there, form


class Envelope:
    """The content of a request with one raw tensor, without the numbers.

    Attributes:
        reference: reference of the model.
        dtype: NumPy's type of the elements.
        shape: shape of the matrix.
        form: form of the answer.
    """

    __slots__ = ("dtype", "form", "reference", "shape")

    def __init__(self, reference: str | None, datatype: str, shape: tuple[int, ...], form: InferForm) -> None:
        self.reference = reference
        self.dtype = DTYPES[datatype]
        self.shape = shape
        self.form = form


class InferReader:
    """A reader of requests, which keeps envelopes. Their number is bounded; beyond it, all are learned again."""

    def __init__(self) -> None:
        self._known: dict[bytes, Envelope] = {}
        self._tails: dict[int, tuple[int, ...]] = {}  # by the size of a request, sizes of its numbers
        self._seen: set[int] = set()  # hashes of envelopes that came once: most of them never come again

    def read(self, message: bytes) -> ReadRequest:
        """Reads a small request.

        Raises:
            InvalidRequest: the request is not valid.
        """
        size = len(message)
        for tail in self._tails.get(size, ()):
            envelope = self._known.get(message[: size - tail])
            if envelope is not None:
                numbers = np.frombuffer(message, dtype=envelope.dtype, offset=size - tail).reshape(envelope.shape)
                return envelope.reference, numbers, False, envelope.form
        request = parsed(REQUEST, message)
        fields = InferFields()
        fields.message = request
        fields.raw = [memoryview(raw) for raw in request.raw_input_contents]
        for given in request.inputs:
            contents = None
            if given.HasField("contents"):
                contents = TypedContents()
                contents.add(given.contents)
            fields.contents.append(contents)
        result = at_once(read_fields(fields))
        reference, rows, _, form = result
        if isinstance(rows, np.ndarray) and len(fields.raw) == 1 and (datatype := request.inputs[0].datatype) in DTYPES:
            self._learn(message, len(fields.raw[0]), Envelope(reference, datatype, rows.shape, form))
        return result

    def _learn(self, message: bytes, tail: int, envelope: Envelope) -> None:
        """Keeps the envelope of a valid request that ends with its only raw contents.

        protobuf reads a message from its start to its end. So any numbers of the same size behind the same bytes are
        the raw contents of the same request.

        Args:
            message: bytes of the request.
            tail: number of bytes of the raw contents.
            envelope: everything else.
        """
        key = message[: len(message) - tail]
        if len(key) > _MOST_ENVELOPE_BYTES or not key.endswith(bytes((_RAW << 3 | BYTES,)) + varint(tail)):
            return
        mark = hash(key)
        if mark not in self._seen:
            if len(self._seen) >= _MOST_ENVELOPES:
                self._seen.clear()
            self._seen.add(mark)
            return
        *_, last = records(memoryview(message))
        if last[0] != _RAW or last[4] - last[3] != tail:
            return
        if len(self._known) >= _MOST_ENVELOPES:
            self._known.clear()
            self._tails.clear()
        self._known[key] = envelope
        tails = self._tails.get(len(message), ())
        if tail not in tails:
            self._tails[len(message)] = (*tails, tail)

    def read_in_steps(self, message: Buffer) -> Generator[None, None, ReadRequest]:
        """Does the work of `read` in short steps, for a large request."""
        fields = yield from read_infer_fields(REQUEST, memoryview(message))
        return (yield from read_fields(fields))


def peek_reference(message: Buffer) -> str | None:
    """Returns the model at the beginning of a request; a guess, because a later field may say otherwise."""
    name = version = ""
    try:
        for count, (number, kind, _, start, stop) in enumerate(records(memoryview(message))):
            if count == _MOST_PEEKED or number > 2 or kind != BYTES or stop - start > _MOST_ENVELOPE_BYTES:
                break
            text = str(memoryview(message)[start:stop], "utf-8")
            name, version = (text, version) if number == 1 else (name, text)
    except (InvalidRequest, UnicodeDecodeError):
        return None
    return reference_of(name, version)


def reference_of(name: str, version: str) -> str | None:
    """Returns the reference of a model and perhaps a version; None for the default model."""
    if not name:
        return None
    return f"{name}@{version}" if version else name


def read_fields(fields: InferFields) -> Generator[None, None, ReadRequest]:
    """Reads the parts of a request in short steps.

    Raises:
        InvalidRequest: the request is not valid.
    """
    request, raw = fields.message, fields.raw
    form = _form(request, is_raw=bool(raw))
    if raw and any(contents is not None for contents in fields.contents):
        raise InvalidRequest("The request has both raw_input_contents and contents of an input; send one of them.")
    if raw and len(raw) != len(request.inputs):
        raise InvalidRequest(
            f"The request has {len(request.inputs):,} inputs and {len(raw):,} raw_input_contents, one for each input."
        )
    tensors: list[Tensor] = []
    for position, given in enumerate(request.inputs):
        name, datatype = given.name, given.datatype
        if not name:
            raise InvalidRequest(f"Input {position} has to have a name.")
        if given.parameters:
            refuse_shared_memory(f"Input {name!r}", given.parameters)
        shape = checked_shape(name, tuple(given.shape))
        if raw:
            tensors.append((yield from tensor_of_bytes_in_steps(name, datatype, shape, raw[position])))
        else:
            contents = fields.contents[position] or TypedContents()
            elements = yield from contents.elements(name, datatype)
            tensors.append(tensor_of_elements(name, datatype, shape, elements))
        if position % 256 == 255:
            yield
    reference = reference_of(request.model_name, request.model_version)
    rows, may_hold_booleans = yield from rows_in_steps(tensors)
    return reference, rows, may_hold_booleans, form


def _form(request: Any, *, is_raw: bool) -> InferForm:
    """Returns the form of the answer, whose contents are raw if those of the request are."""
    document: dict[str, Any] = {"id": request.id}
    parameters = _values(request.parameters)
    parameters["binary_data_output"] = is_raw
    document["parameters"] = parameters
    if request.outputs:
        document["outputs"] = [
            {"name": output.name, "parameters": _values(output.parameters) | {"binary_data": is_raw}}
            for output in request.outputs
        ]
    return form_of(document)


def _values(parameters: Any) -> dict[str, Any]:
    """Returns the values of parameters by name."""
    values: dict[str, Any] = {}
    for name, parameter in parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        values[name] = None if kind is None else getattr(parameter, kind)
    return values
