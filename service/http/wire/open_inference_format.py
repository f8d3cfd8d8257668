"""The Open Inference Protocol over HTTP: `POST /v2/models/{model}/infer`, in JSON or with binary tensors.

A client repeats everything but the numbers. So what a request says beside its numbers is kept by its bytes, and the
next request with the same bytes is only its numbers: an `Envelope`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson

from models.at_once import at_once
from models.columns.encoding import RowEncoder
from service.answer_form import AnswerForm
from service.batching.served_version import ServedVersion
from service.errors import InvalidRequest
from service.http.error_forms import error_text
from service.http.problems import Problem, problem_of
from service.http.wire.bulk_json import NumberReader
from service.http.wire.open_inference_answers import HEADER_LENGTH, InferWriter
from service.http.wire.open_inference_reader import InferReader, parsed
from service.http.wire.wire_format import AnswerWriter, Body, Head, ReadRequest, WireFormat, WrittenError
from service.open_inference.form import InferForm, check_outputs
from service.open_inference.request import read_request
from service.open_inference.tensors import DTYPES

_IN_STEPS_FROM = 8192  # a smaller body, of texts for dates at worst, takes 4 ms
_DATA = b'"data"'
_MOST_ENVELOPES = 256
_MOST_ENVELOPE_BYTES = 1024
_DOUBLES = frozenset(("FP32", "FP64"))


class Envelope:
    """The facts of a request with one tensor, without its numbers.

    Args:
        datatype: datatype of the tensor.
        shape: `(rows, columns)`, with several columns.
        form: form of the answer.

    Attributes:
        dtype: NumPy's type of the tensor's elements.
        shape: `(rows, columns)`, with several columns.
        form: form of the answer.
        count: number of elements.
    """

    __slots__ = ("count", "dtype", "form", "shape")

    def __init__(self, datatype: str, shape: tuple[int, int], form: InferForm) -> None:
        self.dtype = DTYPES[datatype]
        self.shape = shape
        self.form = form
        self.count = math.prod(shape)


class Envelopes:
    """The envelopes that came more than once. Their number is bounded; beyond it, all are learned again."""

    def __init__(self) -> None:
        self._known: dict[Any, Envelope] = {}
        self._seen: set[int] = set()  # hashes of those that came once: most of them never come again
        self.find = self._known.get

    def is_repeated(self, key: Any) -> bool:
        """Returns True if the bytes of an envelope came before."""
        mark = hash(key)
        if mark in self._seen:
            return True
        if len(self._seen) >= _MOST_ENVELOPES:
            self._seen.clear()
        self._seen.add(mark)
        return False

    def keep(self, key: Any, envelope: Envelope) -> None:
        """Keeps an envelope by its bytes."""
        if len(self._known) >= _MOST_ENVELOPES:
            self._known.clear()
        self._known[key] = envelope


class InferFormat(WireFormat):
    """The common part of both forms: the model in the path, answers and errors."""

    content_type = b"application/json"

    def model_in_head(self, head: Head) -> str | None:
        """Returns the model of the path; queries are ignored."""
        parameters = head.parameters
        version = parameters.get("version")
        return parameters["model"] if version is None else f"{parameters['model']}@{version}"

    def check_form(self, served: ServedVersion, form: AnswerForm | None) -> None:
        """Checks that a model version has the outputs that a request asks for."""
        assert isinstance(form, InferForm)  # noqa: S101 -- each request of this protocol has one
        check_outputs(form.layout, served.labels)

    def writer(self, served: ServedVersion) -> AnswerWriter:
        """Returns a writer of a model version's answers."""
        return InferWriter(served)

    def write_error(self, error: Exception, request_id: str) -> WrittenError:
        """Writes `{"error": …}`. A request that is not valid gets 400, as from other servers of this protocol."""
        problem = infer_problem(error)
        body, media_type = error_text(problem, request_id)
        return WrittenError(
            int(problem.status), problem.code, problem.detail, media_type.encode(), body, problem.raw_headers()
        )


class JsonInferFormat(InferFormat):
    """Requests in JSON alone."""

    in_steps_from = _IN_STEPS_FROM

    def __init__(self) -> None:
        self._envelopes = Envelopes()
        self._numbers = NumberReader()

    def read(self, body: Body, named: str | None, head: Head) -> ReadRequest:
        """Reads a small body."""
        begin = body.find(b"[", body.find(_DATA))
        end = body.find(b"]", begin) + 1
        if isinstance(body, bytearray):
            body = bytes(body)
        key = body[:begin], body[end:]
        envelope = self._envelopes.find(key)
        if envelope is not None and b'"' not in (text := body[begin:end]) and b"{" not in text:
            cells = _elements(text)
            if cells is not None and len(cells) == envelope.count and b"true" not in text and b"false" not in text:
                return named, _rows(cells, envelope.shape[1]), False, envelope.form
        document = parsed(body)
        rows, may_hold_booleans, form = at_once(read_request(document, None))
        if 0 < begin < end and sum(map(len, key)) < _MOST_ENVELOPE_BYTES:
            self._learn(key)
        return named, rows, may_hold_booleans, form

    def _learn(self, key: tuple[bytes, bytes]) -> None:
        """Keeps the envelope of a request that was valid.

        With an empty list in place of the numbers, the bytes show whether the list is the data of the only input. If it
        is, any other list in its place is this data, because JSON is read from left to right.
        """
        if not self._envelopes.is_repeated(key):
            return
        try:
            document = orjson.loads(b"[]".join(key))
        except orjson.JSONDecodeError:
            return
        inputs = document.get("inputs")
        if type(inputs) is not list or len(inputs) != 1 or inputs[0].get("data") != []:
            return
        datatype, shape = inputs[0].get("datatype"), inputs[0].get("shape")
        if datatype in _DOUBLES and len(shape) == 2 and shape[1] > 1:
            inputs[0]["data"] = [0] * math.prod(shape)
            *_, form = at_once(read_request(document, None))
            self._envelopes.keep(key, Envelope(datatype, tuple(shape), form))

    def reader(self, body: Body, reference: str | None, encoder: RowEncoder | None, head: Head) -> InferReader:
        """Returns a reader of a large body."""
        return InferReader(body, reference, len(body), self._numbers)


class BinaryInferFormat(InferFormat):
    """Requests with tensors as bytes behind a JSON part, or with one raw tensor and no JSON part."""

    in_steps_from = _IN_STEPS_FROM

    def __init__(self) -> None:
        self._envelopes = Envelopes()
        self._numbers = NumberReader()

    def read(self, body: Body, named: str | None, head: Head) -> ReadRequest:
        """Reads a body of a few thousand bytes, or without a copy."""
        length = json_length(body, head)
        if length == 0:
            return named, memoryview(body), False, InferForm()
        key = bytes(body[:length])
        envelope = self._envelopes.find(key)
        if envelope is not None and len(body) - length == envelope.count * envelope.dtype.itemsize:
            numbers = np.frombuffer(body, dtype=envelope.dtype, offset=length).reshape(envelope.shape)
            return named, numbers, False, envelope.form
        document = parsed(key)
        rows, may_hold_booleans, form = at_once(read_request(document, memoryview(body)[length:]))
        if length < _MOST_ENVELOPE_BYTES and isinstance(rows, np.ndarray) and self._envelopes.is_repeated(key):
            [given] = document["inputs"]
            if "data" not in given:
                self._envelopes.keep(key, Envelope(given["datatype"], rows.shape, form))
        return named, rows, may_hold_booleans, form

    def reader(self, body: Body, reference: str | None, encoder: RowEncoder | None, head: Head) -> InferReader:
        """Returns a reader of a large body."""
        return InferReader(body, reference, json_length(body, head), self._numbers)


def infer_problem(error: Exception) -> Problem:
    """Returns the problem of an error, with 400 for what is not valid."""
    problem = problem_of(error)
    if problem.status == 422:
        return Problem(400, problem.code, problem.detail, problem.errors, problem.headers)
    return problem


def json_length(body: Body, head: Head) -> int:
    """Returns the number of bytes of the JSON part of a body.

    Raises:
        InvalidRequest: the header is not a number, or larger than the body.
    """
    given = head.fields[HEADER_LENGTH]
    if not given.isdigit() or len(given) > 12 or int(given) > len(body):
        raise InvalidRequest(
            f"Inference-Header-Content-Length has to be a number of bytes up to the body's {len(body):,}, "
            f"not {given[:40].decode('latin-1')!r}."
        )
    return int(given)


def _elements(text: bytes) -> list[Any] | None:
    """Returns the elements of a list, None if the text is anything else."""
    try:
        elements: list[Any] = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return elements


def _rows(cells: list[Any], columns: int) -> list[list[Any]]:
    """Divides a flat list into rows."""
    if len(cells) == columns:
        return [cells]
    return [cells[at : at + columns] for at in range(0, len(cells), columns)]
