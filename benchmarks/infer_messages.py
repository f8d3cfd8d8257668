"""The two messages of an inference over gRPC, written and read without generated code.

So every server gets the same bytes, whichever version of protobuf its environment has. The fields are those of
`inference.ModelInferRequest` and `inference.ModelInferResponse` of the Open Inference Protocol.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

INFER = "/inference.GRPCInferenceService/ModelInfer"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Types of raw tensors by name, and the fields of typed contents that hold numbers of a fixed size.
_DTYPES = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "INT32": "<i4", "BOOL": "?"}
_TYPED = {"FP32": 6, "FP64": 7}


def write_infer_request(model: str, tensor: str, data: NDArray[np.float32]) -> bytes:
    """Writes a request with one tensor, in raw contents.

    Args:
        model: name of the model.
        tensor: name of the input.
        data: `(rows, features)` float32.
    """
    shape = b"".join(_varint(size) for size in data.shape)
    described = _field(1, tensor.encode()) + _field(2, b"FP32") + _field(3, shape)
    return _field(1, model.encode()) + _field(5, described) + _field(7, data.astype("<f4").tobytes())


def read_infer_response(message: bytes) -> dict[str, NDArray[np.generic]]:
    """Reads the outputs of an answer that hold numbers.

    Args:
        message: `ModelInferResponse`, with raw or typed contents.
    """
    fields = list(_fields(message))
    raw = [content for number, content in fields if number == 6]
    found = {}
    for place, described in enumerate(content for number, content in fields if number == 5):
        parts = dict(_fields(described))
        name, datatype = bytes(parts[1]).decode(), bytes(parts[2]).decode()
        shape = list(_varints(b"".join(content for number, content in _fields(described) if number == 3)))
        if datatype not in _DTYPES:
            continue
        if raw:
            found[name] = np.frombuffer(raw[place], _DTYPES[datatype]).reshape(shape)
        elif datatype in _TYPED:
            typed = b"".join(content for number, content in _fields(parts.get(5, b"")) if number == _TYPED[datatype])
            found[name] = np.frombuffer(typed, _DTYPES[datatype]).reshape(shape)
    return found


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def _varints(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _read_varint(data, at)
        yield value


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the number and the content of each field; a number's content is its encoded bytes."""
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        kind, end = key & 7, at
        if kind == _VARINT:
            _, end = _read_varint(message, at)
        elif kind == _BYTES:
            size, at = _read_varint(message, at)
            end = at + size
        else:
            end = at + {_FIXED64: 8, _FIXED32: 4}[kind]
        yield key >> 3, message[at:end]
        at = end
