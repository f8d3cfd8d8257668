"""The binary form of the Open Inference Protocol: a matrix becomes a request, and an answer becomes arrays.

A body is a JSON part and the bytes of the tensors behind it, little-endian and row-major. The header
`Inference-Header-Content-Length` has the number of bytes of the JSON part. In a tensor of BYTES, each element has its
length in four bytes before its text.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

LENGTH_HEADER = "Inference-Header-Content-Length"
MEDIA_TYPE = "application/octet-stream"
INPUT = "input"

_BYTES = "BYTES"
_KINDS = {"i": b"INT", "u": b"UINT", "f": b"FP"}  # datatypes without the number of bits, by NumPy's kinds
_DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    **{
        f"{name}{8 * size}": np.dtype(f"<{kind}{size}")
        for name, kind, sizes in (
            ("INT", "i", (1, 2, 4, 8)),
            ("UINT", "u", (1, 2, 4, 8)),
            ("FP", "f", (2, 4, 8)),
        )
        for size in sizes
    },
}
_LENGTH = struct.Struct("<I")
_LAST_DIGIT = 1 << 24  # up to here, float32 holds each whole number, and needs all digits to tell it from the next

Tensor = NDArray[Any] | list[str]


class NotOpenInference(Exception):
    """A signal for a body that is not an answer of the protocol."""


def narrowed(matrix: NDArray[Any], *, is_numeric: bool) -> NDArray[Any]:
    """Returns a matrix of numbers as float32 if the server then reads the same cells, else as 64 bits of its own kind.

    The server spells a number that is the name of a category, a float32 by its shortest digits: 134217744 would become
    134217740.

    Args:
        matrix: `(rows, columns)` integers or floats; NaN is a missing value.
        is_numeric: True if all columns of the model hold numbers; False if some have names, or the kinds are not known.
    """
    kind = matrix.dtype.kind
    if kind == "f" and matrix.dtype.itemsize <= 4:
        return np.ascontiguousarray(matrix, dtype="<f4")
    with np.errstate(over="ignore"):
        narrow = matrix.astype("<f4")
    wide = matrix.astype("<f8" if is_numeric else f"<{kind}8")
    if is_numeric:
        is_same = narrow == wide
    else:
        is_same = (wide >= -_LAST_DIGIT) & (wide <= _LAST_DIGIT) & (wide == np.trunc(wide))
    if kind == "f":
        is_same |= np.isnan(wide)
    return np.ascontiguousarray(narrow if is_same.all() else wide)


def write_matrix(matrix: NDArray[Any], members: int | None = None) -> tuple[bytes, int]:
    """Returns the body of a request for one tensor, and the number of bytes of the JSON part.

    Args:
        matrix: `(rows, columns)` result of `narrowed`.
        members: number of members of an ensemble that answer; None for all.
    """
    rows, columns = matrix.shape
    head = b'{"inputs":[{"name":"%b","datatype":"%b%d","shape":[%d,%d],"parameters":{"binary_data_size":%d}}],' % (
        INPUT.encode(),
        _KINDS[matrix.dtype.kind],
        8 * matrix.itemsize,
        rows,
        columns,
        matrix.nbytes,
    )
    if members is not None:
        head += b'"parameters":{"binary_data_output":true,"members":%d}}' % members
    else:
        head += b'"parameters":{"binary_data_output":true}}'
    return b"".join((head, matrix.data)), len(head)


def read_answer(body: bytes, json_bytes: int | None) -> tuple[str, str, dict[str, Tensor]]:
    """Reads an answer.

    Args:
        body: body of the answer.
        json_bytes: number of bytes of the JSON part; None if the body is JSON alone.

    Returns:
        The names of the model and of the version, and each output by name: an array in its shape, or a list of texts.

    Raises:
        NotOpenInference: the body is not an answer of the protocol.
    """
    length = len(body) if json_bytes is None else json_bytes
    try:
        if not 0 <= length <= len(body):
            raise NotOpenInference(f"the JSON part of {length:,} bytes is longer than the body of {len(body):,}")
        document = orjson.loads(body[:length])
        binary = memoryview(body)[length:]
        outputs: dict[str, Tensor] = {}
        at = 0
        for output in document["outputs"]:
            size = output.get("parameters", {}).get("binary_data_size")
            if size is None:
                outputs[output["name"]] = _of_list(output)
                continue
            if type(size) is not int or not 0 <= size <= len(binary) - at:
                raise NotOpenInference(f"an output of {size} bytes, and {len(binary) - at:,} are left")
            outputs[output["name"]] = _of_bytes(output, binary[at : at + size])
            at += size
        if at != len(binary):
            raise NotOpenInference(f"{len(binary) - at:,} bytes belong to no output")
        return str(document["model_name"]), str(document["model_version"]), outputs
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise NotOpenInference(f"{type(error).__name__}: {error}") from error


def _shape(output: Mapping[str, Any]) -> tuple[int, ...]:
    shape = tuple(output["shape"])
    if not all(type(size) is int and size >= 0 for size in shape):
        raise NotOpenInference(f"an output of shape {shape}")
    return shape


def _of_bytes(output: Mapping[str, Any], data: memoryview) -> Tensor:
    shape = _shape(output)
    if output["datatype"] == _BYTES:
        return _texts(data, math.prod(shape))
    return np.frombuffer(data, dtype=_DTYPES[output["datatype"]]).reshape(shape)


def _of_list(output: Mapping[str, Any]) -> Tensor:
    shape, data = _shape(output), output["data"]
    if output["datatype"] == _BYTES:
        if len(data) != math.prod(shape):
            raise NotOpenInference(f"{len(data):,} texts for the shape {shape}")
        return [str(text) for text in data]
    return np.array(data, dtype=_DTYPES[output["datatype"]]).reshape(shape)


def _texts(data: memoryview, count: int) -> list[str]:
    """Returns the texts of a tensor of BYTES."""
    texts: list[str] = []
    at = 0
    while at < len(data):
        if len(data) - at < _LENGTH.size:
            raise NotOpenInference("a text without its length")
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if size > len(data) - at:
            raise NotOpenInference(f"a text of {size:,} bytes, and {len(data) - at:,} are left")
        texts.append(bytes(data[at : at + size]).decode())
        at += size
    if len(texts) != count:
        raise NotOpenInference(f"{len(texts):,} texts where the shape has {count:,}")
    return texts
