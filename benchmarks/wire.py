"""A wire format: how rows are asked about, and where the probabilities are in the answer."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Rows = list[list[float]]


@dataclass(frozen=True)
class Wire:
    """JSON both ways.

    Attributes:
        question: rows as the server wants them, before they become JSON.
        probabilities: (rows, classes) out of its answer.
    """

    question: Callable[[Rows], Any]
    probabilities: Callable[[Any], Rows]

    def encode(self, rows: Rows) -> bytes:
        """A request body."""
        return json.dumps(self.question(rows)).encode()

    def decode(self, body: bytes) -> Rows:
        """The probabilities in an answer's body."""
        return self.probabilities(json.loads(body))


def _open_inference_question(rows: Rows) -> Any:
    data = list(itertools.chain.from_iterable(rows))
    return {"inputs": [{"name": "x", "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": data}]}


def _open_inference_probabilities(answer: Any) -> Rows:
    output = next(output for output in answer["outputs"] if output["name"] == "probabilities")
    data, classes = output["data"], output["shape"][-1]
    return [data[i : i + classes] for i in range(0, len(data), classes)]


INSTANCES = Wire(lambda rows: {"instances": rows}, lambda answer: answer["probabilities"])
OPEN_INFERENCE = Wire(_open_inference_question, _open_inference_probabilities)
MLFLOW = Wire(lambda rows: {"inputs": rows}, lambda answer: answer["predictions"]["probabilities"])
BENTOML = Wire(lambda rows: {"instances": rows}, lambda answer: [row[1:] for row in answer])  # [class, probability, …]
