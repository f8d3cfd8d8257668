"""A wire format: the form of a request, and the place of the probabilities in an answer."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from benchmarks.infer_messages import read_infer_response, write_infer_request

Rows = list[list[float]]

_JSON = {"content-type": "application/json"}
_HEADER_LENGTH = "inference-header-content-length"


@dataclass(frozen=True)
class Message:
    """The body of a request or an answer, with its headers.

    Attributes:
        body: bytes of the body.
        headers: headers by name in lower case.
    """

    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: _JSON)


class Wire(Protocol):
    """A form of requests and answers."""

    @property
    def grpc(self) -> bool:
        """True if the messages travel over gRPC."""

    @property
    def tensor(self) -> str:
        """Name of the input in the Open Inference Protocol; empty with another protocol."""

    def encode(self, rows: Rows) -> Message:
        """Returns a request."""

    def decode(self, answer: Message) -> Rows:
        """Returns the probabilities in an answer."""


@dataclass(frozen=True)
class JsonWire:
    """JSON in both directions.

    Attributes:
        request: function that puts rows into the form that the server takes, before it becomes JSON.
        probabilities: function that takes the (rows, classes) out of an answer.
        tensor: name of the input in the Open Inference Protocol; empty with another protocol.
    """

    request: Callable[[Rows], Any]
    probabilities: Callable[[Any], Rows]
    tensor: str = ""
    grpc: bool = False

    def encode(self, rows: Rows) -> Message:
        """Returns a request."""
        return Message(json.dumps(self.request(rows)).encode())

    def decode(self, answer: Message) -> Rows:
        """Returns the probabilities in an answer."""
        return self.probabilities(json.loads(answer.body))


@dataclass(frozen=True)
class BinaryWire:
    """The Open Inference Protocol over HTTP with binary tensors in both directions.

    Attributes:
        tensor: name of the input.
    """

    tensor: str
    grpc: bool = False

    def encode(self, rows: Rows) -> Message:
        """Returns a request."""
        data = np.asarray(rows, dtype="<f4")
        parameters = {"binary_data_size": data.nbytes}
        tensor = {"name": self.tensor, "shape": data.shape, "datatype": "FP32", "parameters": parameters}
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        headers = {"content-type": "application/octet-stream", _HEADER_LENGTH: str(len(head))}
        return Message(head + data.tobytes(), headers)

    def decode(self, answer: Message) -> Rows:
        """Returns the probabilities in an answer."""
        length = int(answer.headers[_HEADER_LENGTH])
        at = length
        for output in json.loads(answer.body[:length])["outputs"]:
            size = output.get("parameters", {}).get("binary_data_size", 0)
            if output["name"] == "probabilities":
                found = np.frombuffer(answer.body[at : at + size], "<f4").reshape(output["shape"])
                probabilities: Rows = found.tolist()
                return probabilities
            at += size
        raise LookupError("an answer without probabilities")


@dataclass(frozen=True)
class GrpcWire:
    """The Open Inference Protocol over gRPC, with the raw contents of tensors.

    Attributes:
        tensor: name of the input.
    """

    tensor: str
    grpc: bool = True

    def encode(self, rows: Rows) -> Message:
        """Returns a request."""
        return Message(write_infer_request("mlp", self.tensor, np.asarray(rows, dtype="<f4")), {})

    def decode(self, answer: Message) -> Rows:
        """Returns the probabilities in an answer."""
        probabilities: Rows = read_infer_response(answer.body)["probabilities"].tolist()
        return probabilities


def open_inference(tensor: str) -> JsonWire:
    """Returns the Open Inference Protocol with JSON.

    Args:
        tensor: name of the input.
    """

    def request(rows: Rows) -> Any:
        data = list(itertools.chain.from_iterable(rows))
        return {"inputs": [{"name": tensor, "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": data}]}

    return JsonWire(request, _open_inference_probabilities, tensor)


def _open_inference_probabilities(answer: Any) -> Rows:
    output = next(output for output in answer["outputs"] if output["name"] == "probabilities")
    data, classes = output["data"], output["shape"][-1]
    return [data[i : i + classes] for i in range(0, len(data), classes)]


INSTANCES = JsonWire(lambda rows: {"instances": rows}, lambda answer: answer["probabilities"])
MLFLOW = JsonWire(lambda rows: {"inputs": rows}, lambda answer: answer["predictions"]["probabilities"])
BENTOML = JsonWire(lambda rows: {"instances": rows}, lambda answer: [row[1:] for row in answer])  # [class, p, …]
