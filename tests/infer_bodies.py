"""Bodies of the Open Inference Protocol, written and read by the tests alone: nothing here is the service's code."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

# Letter of `struct` and size in bytes of each datatype with elements of one size.
FORMATS = {
    "BOOL": ("?", 1), "UINT8": ("B", 1), "UINT16": ("H", 2), "UINT32": ("I", 4), "UINT64": ("Q", 8), "INT8": ("b", 1),
    "INT16": ("h", 2), "INT32": ("i", 4), "INT64": ("q", 8), "FP16": ("e", 2), "FP32": ("f", 4), "FP64": ("d", 8),
}  # fmt: skip
HEADER_LENGTH = "inference-header-content-length"


class InferHead:
    """The head of an inference request for the model `m`, as a wire format gets the head.

    Args:
        json_length: value of `Inference-Header-Content-Length`; None without this header.

    Attributes:
        fields: values of headers by name.
    """

    query, parameters = b"", {"model": "m"}

    def __init__(self, json_length: int | None = None) -> None:
        self.fields = {} if json_length is None else {HEADER_LENGTH.encode(): b"%d" % json_length}


def element_bytes(datatype: str, elements: Sequence[Any]) -> bytes:
    """Returns elements in binary form, little-endian."""
    if datatype == "BYTES":
        texts = [text.encode() if isinstance(text, str) else text for text in elements]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return struct.pack(f"<{len(elements)}{FORMATS[datatype][0]}", *elements)


def tensor(name: str, datatype: str, shape: Sequence[int], data: Any) -> dict[str, Any]:
    """Returns an input with data in JSON."""
    return {"name": name, "shape": list(shape), "datatype": datatype, "data": data}


def binary_tensor(name: str, datatype: str, shape: Sequence[int], size: int) -> dict[str, Any]:
    """Returns an input whose data is in the bytes behind the JSON part."""
    return {
        "name": name, "shape": list(shape), "datatype": datatype, "parameters": {"binary_data_size": size},
    }  # fmt: skip


def with_bytes(document: Mapping[str, Any], *parts: bytes) -> tuple[bytes, int]:
    """Returns a body with bytes behind its JSON part, and the length of the JSON part."""
    text = json.dumps(document).encode()
    return text + b"".join(parts), len(text)


@dataclass(frozen=True)
class Output:
    """An output of an answer.

    Attributes:
        datatype: datatype of the elements.
        shape: shape of the tensor.
        values: elements in row-major order, numbers or texts.
        is_binary: True if the data stands behind the JSON part.
    """

    datatype: str
    shape: tuple[int, ...]
    values: list[Any]
    is_binary: bool

    @property
    def rows(self) -> list[list[Any]]:
        """Elements by row."""
        width = len(self.values) // self.shape[0]
        return [self.values[at : at + width] for at in range(0, len(self.values), width)]


@dataclass(frozen=True)
class InferAnswer:
    """An answer of the protocol.

    Attributes:
        document: JSON part.
        outputs: outputs by name, in the order of the answer.
    """

    document: dict[str, Any]
    outputs: dict[str, Output]


def read_answer(body: bytes, headers: Mapping[str, str], content_type: str | None = None) -> InferAnswer:
    """Reads an answer as strictly as the protocol allows.

    Args:
        body: body of the answer, not compressed.
        headers: headers with names in lower case.
        content_type: media type of the answer, if it is not among the headers.
    """
    content_type = content_type or headers["content-type"]
    given = headers.get(HEADER_LENGTH)
    length = len(body) if given is None else int(given)
    assert given is None or given == str(length)
    document = json.loads(body[:length], parse_constant=pytest.fail)
    assert set(document) <= {"id", "model_name", "model_version", "outputs"}
    assert type(document["model_version"]) is str
    outputs: dict[str, Output] = {}
    at = length
    for output in document["outputs"]:
        datatype, shape = output["datatype"], tuple(output["shape"])
        count = int(np.prod(shape))
        if "data" in output:
            assert set(output) == {"name", "datatype", "shape", "data"}
            values, is_binary = output["data"], False
        else:
            assert set(output) == {"name", "datatype", "shape", "parameters"}
            assert set(output["parameters"]) == {"binary_data_size"}
            size = output["parameters"]["binary_data_size"]
            values, is_binary = elements_of(datatype, body[at : at + size], count), True
            assert size <= len(body) - at
            at += size
        assert len(values) == count
        assert output["name"] not in outputs
        outputs[output["name"]] = Output(datatype, shape, values, is_binary)
    assert at == len(body), "each byte belongs to an output"
    is_binary = any(output.is_binary for output in outputs.values())
    assert (given is not None) == is_binary
    assert content_type == ("application/octet-stream" if is_binary else "application/json")
    return InferAnswer(document, outputs)


def elements_of(datatype: str, data: bytes, count: int) -> list[Any]:
    """Returns the elements of a tensor in binary form; texts from UTF-8."""
    if datatype != "BYTES":
        letter, size = FORMATS[datatype]
        assert len(data) == count * size
        return list(struct.unpack(f"<{count}{letter}", data))
    texts, at = [], 0
    while at < len(data):
        [length] = struct.unpack_from("<I", data, at)
        texts.append(data[at + 4 : at + 4 + length].decode())
        at += 4 + length
    assert at == len(data)
    return texts
