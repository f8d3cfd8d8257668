"""Answers with several targets: a list of values for each row, in JSON and in binary, and a column for each target."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from answering_server import AnsweringServer, Recorded, answering, problem, response

from axon.client import Client
from models.errors import ConfigError

NAMES = ["rent", "sold", "cost"]
ROW = [12.5, 1701000000.0, -0.2]
DETAIL = {
    "name": "homes",
    "version": 2,
    "classes": None,
    "targets": NAMES,
    "columns": [{"name": f"x{i}", "kind": "numeric"} for i in range(64)],
}
TENSOR = struct.pack("<3f", 12.5, 0.1, -0.2)  # of 32 bits: the client shows the shortest digits


def answer_to(number: int, request: Recorded, *, detail: dict[str, Any] | None = None) -> bytes:
    """Answers a request as a server with the model `homes` does, in the format that the request has."""
    path = request.line.split()[1]
    if path.startswith("/models/"):
        return response(200, DETAIL if detail is None else detail)
    if path == "/predict":
        rows = len(json.loads(request.body)["instances"])
        found: dict[str, Any] = {"model": "homes", "version": 2, "predictions": [ROW] * rows}
        if "intervals" in json.loads(request.body):
            found["intervals"] = [[[value - 1, value + 2] for value in ROW]] * rows
        return response(200, found)
    output = {"name": "predictions", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}}
    head = json.dumps({"model_name": "homes", "model_version": "2", "outputs": [output]}).encode()
    lines = (
        f"HTTP/1.1 200 OK\r\nContent-Length: {len(head) + 12}\r\nInference-Header-Content-Length: {len(head)}\r\n\r\n"
    )
    return lines.encode() + head + TENSOR


@pytest.fixture
def server() -> Iterator[AnsweringServer]:
    with answering(answer_to) as found:
        yield found


def test_each_row_is_a_list_of_values_and_each_target_a_column(server: AnsweringServer) -> None:
    with Client(server.url) as client:
        answer = client.predict([[0.5] * 64] * 2, model="homes")
    assert answer.predictions == list(answer) == [ROW] * 2
    assert (answer.targets, answer.classes, answer.probabilities) == (tuple(NAMES), (), None)
    frame = answer.to_pandas()
    assert list(frame) == [f"prediction_{name}" for name in NAMES]
    np.testing.assert_array_equal(frame.to_numpy(), [ROW] * 2)
    assert answer.to_arrow().column_names == list(frame)
    assert list(answer.columns("my ")) == [f"my {name}" for name in frame]


def test_intervals_are_a_pair_of_bounds_for_each_target(server: AnsweringServer) -> None:
    with Client(server.url) as client:
        answer = client.predict([[0.5] * 64] * 2, model="homes", intervals=0.9)
    assert answer.intervals is not None
    assert answer.intervals.shape == (2, 3, 2)
    frame = answer.to_pandas()
    assert list(frame)[3:] == [f"prediction_{name}_{bound}" for name in NAMES for bound in ("low", "high")]
    np.testing.assert_array_equal(frame["prediction_sold_low"], [1701000000.0 - 1] * 2)
    np.testing.assert_array_equal(frame["prediction_cost_high"], [-0.2 + 2] * 2)


def test_a_tensor_of_the_binary_form_has_the_values_of_json(server: AnsweringServer) -> None:
    with Client(server.url) as client:
        answer = client.predict(np.full((1, 64), 0.5), model="homes")
    assert server.requests[-1].line.split()[1] == "/v2/models/homes/infer" or any(
        "/infer" in request.line for request in server.requests
    )
    assert answer.predictions == [[12.5, 0.1, -0.2]]
    assert answer.targets == tuple(NAMES)


def test_no_rows_have_a_column_for_each_target(server: AnsweringServer) -> None:
    with Client(server.url) as client:
        answer = client.predict([], model="homes")
    assert {name: len(cells) for name, cells in answer.columns().items()} == {f"prediction_{name}": 0 for name in NAMES}


def test_names_that_a_key_may_not_read_are_numbers() -> None:
    def answer(number: int, request: Recorded) -> bytes:
        if "/models/" in request.line:
            return response(403, problem(403, "forbidden"))
        return answer_to(number, request)

    with answering(answer) as server, Client(server.url) as client:
        found = client.predict([[0.5] * 64], model="homes")
    assert list(found.columns()) == ["prediction_0", "prediction_1", "prediction_2"]


def test_two_columns_of_one_name_are_refused() -> None:
    clash = {**DETAIL, "targets": ["rent", "rent_low", "cost"]}
    with answering(lambda number, request: answer_to(number, request, detail=clash)) as server:
        with Client(server.url) as client:
            answer = client.predict([[0.5] * 64], model="homes", intervals=0.9)
        with pytest.raises(ConfigError, match="two columns of the answer would be called 'prediction_rent_low'"):
            answer.columns()
