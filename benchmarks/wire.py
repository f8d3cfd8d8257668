"""A wire format: the form of a request, and the place of the probabilities in an answer."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Rows = list[list[float]]


@dataclass(frozen=True)
class Wire:
    """JSON in both directions.

    Attributes:
        request: function that puts rows into the form that the server takes, before it becomes JSON.
        probabilities: function that takes the (rows, classes) out of an answer.
    """

    request: Callable[[Rows], Any]
    probabilities: Callable[[Any], Rows]

    def encode(self, rows: Rows) -> bytes:
        """Returns the body of a request."""
        return json.dumps(self.request(rows)).encode()

    def decode(self, body: bytes) -> Rows:
        """Returns the probabilities in an answer's body."""
        return self.probabilities(json.loads(body))


def _open_inference_request(rows: Rows) -> Any:
    data = list(itertools.chain.from_iterable(rows))
    return {"inputs": [{"name": "x", "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": data}]}


def _open_inference_probabilities(answer: Any) -> Rows:
    output = next(output for output in answer["outputs"] if output["name"] == "probabilities")
    data, classes = output["data"], output["shape"][-1]
    return [data[i : i + classes] for i in range(0, len(data), classes)]


INSTANCES = Wire(lambda rows: {"instances": rows}, lambda answer: answer["probabilities"])
OPEN_INFERENCE = Wire(_open_inference_request, _open_inference_probabilities)
MLFLOW = Wire(lambda rows: {"inputs": rows}, lambda answer: answer["predictions"]["probabilities"])
BENTOML = Wire(lambda rows: {"instances": rows}, lambda answer: [row[1:] for row in answer])  # [class, probability, …]
