"""Answers of the Open Inference Protocol, read by the tests' own parser, hold the matrix that a worker has computed."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from infer_bodies import InferAnswer, read_answer

from models.checkpoint import Checkpoint
from models.columns.schema import ClassTarget, NumericColumn, NumericTarget, Schema, Target
from models.network.config import MLPConfig
from models.network.numpy_mlp import NumpyMLP
from models.store import Store
from service.batching.served_version import ServedVersion
from service.batching.ticket import Answer
from service.errors import InvalidRequest
from service.http.wire.open_inference_answers import InferWriter
from service.http.wire.wire_format import STEP_NUMBERS, Payload, WrittenAnswer
from service.metrics import ModelMetrics
from service.open_inference.form import InferForm
from service.open_inference.request import form_of

TARGETS: dict[str, tuple[Target, str]] = {
    "texts": (ClassTarget(name="y", labels=('quo"te', "naïve", "\\n:1")), "BYTES"),
    "whole numbers": (ClassTarget(name="y", labels=(-(2**63), 0, 2**63 - 1)), "INT64"),
    "large whole numbers": (ClassTarget(name="y", labels=(1, 0, 2**64 - 1)), "UINT64"),
    "whole numbers of mixed signs": (ClassTarget(name="y", labels=(-1, 0, 2**64 - 1)), "BYTES"),
    "numbers": (ClassTarget(name="y", labels=(1.0, 1.5, 1e300)), "FP64"),
    "truth values": (ClassTarget(name="y", labels=(False, True)), "BOOL"),
    "many": (ClassTarget(name="y", labels=tuple(f"class {i}" for i in range(700))), "BYTES"),
    "regressor": (NumericTarget(name="y", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0), "FP32"),
    "regressor far from zero": (
        NumericTarget(name="y", mean=1.7e9, std=29.0, minimum=1.6e9, maximum=1.8e9, origin=1.7e9 + 1 / 3), "FP64",
    ),
}  # fmt: skip
IDS = [None, "", "7", 'quo"te \\', "naïve \u2028 \U0001f40e", "\x00\x7f"]


def is_classifier(target: Target) -> bool:
    return isinstance(target, ClassTarget)


def width_of(target: Target) -> int:
    return len(target.labels) if isinstance(target, ClassTarget) else 1


def writer_for(target: Target, folder: Path) -> InferWriter:
    column = NumericColumn(name="x", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0)
    config = MLPConfig(layer_sizes=(1, width_of(target)), output="softmax" if is_classifier(target) else "linear")
    tensors = NumpyMLP(config, rng=np.random.default_rng(0)).to_tensors()
    checkpoint = Checkpoint(config=config, schema=Schema(columns=(column,), target=target), tensors=tensors)
    place = Store(folder).publish("model", checkpoint)
    return InferWriter(ServedVersion(place, (0, 0, 0), ModelMetrics("model", "1", lambda _: None)))


@pytest.fixture(params=TARGETS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def wanted(target: Target) -> list[dict[str, Any]]:
    """Returns what requests may say of their outputs: every order and mixture, and the most probable classes."""
    names = ["predictions", "probabilities"] if is_classifier(target) else ["predictions"]
    requests: list[dict[str, Any]] = [{}, {"outputs": []}, {"parameters": {"binary_data_output": True}}]
    for some in [*itertools.permutations(names), *([name] for name in names if len(names) > 1)]:
        for binary in itertools.product([None, True, False], repeat=len(some)):
            outputs = [
                {"name": name} if is_binary is None else {"name": name, "parameters": {"binary_data": is_binary}}
                for name, is_binary in zip(some, binary, strict=True)
            ]
            requests.append({"outputs": outputs})
            requests.append({"outputs": outputs, "parameters": {"binary_data_output": True}})
    if is_classifier(target):
        for classes, is_binary in itertools.product([1, 2, 3, 10**30], [True, False]):
            output = {"name": "probabilities", "parameters": {"classification": classes, "binary_data": is_binary}}
            requests += [{"outputs": [output]}, {"outputs": [{"name": "predictions"}, output]}]
    return requests


def answers_of(target: Target, rows: int, seed: int = 1) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Returns answers as from a worker, `(rows, width)`: some with ties, some tiny."""
    matrix = np.random.default_rng(seed).normal(size=(rows, width_of(target))).astype(np.float32)
    if is_classifier(target):
        matrix = np.abs(matrix)
        matrix[::3] = np.round(matrix[::3])  # ties
    matrix[1::5] *= np.float32(1e-30)
    return matrix


def read(payload: Payload) -> InferAnswer:
    """Reads the answer that a payload makes."""
    headers: dict[str, str] = {}
    content_type = "application/json"
    if isinstance(payload, WrittenAnswer):
        headers = {name.decode(): value.decode() for name, value in payload.head.headers}
        content_type, payload = payload.head.content_type.decode(), payload.body
    body = b"".join(payload) if isinstance(payload, tuple) else bytes(payload)
    return read_answer(body, headers, content_type)


def check(
    answer: InferAnswer, request: dict[str, Any], target: Target, datatype: str, matrix: np.ndarray[Any, Any]
) -> None:
    """Compares an answer with the matrix."""
    asked = request.get("outputs") or [
        {"name": name} for name in ("predictions", "probabilities")[: 1 + is_classifier(target)]
    ]
    assert list(answer.outputs) == [output["name"] for output in asked]
    assert answer.document.get("id") == request.get("id")
    assert (answer.document["model_name"], answer.document["model_version"]) == ("model", "1")
    default = request.get("parameters", {}).get("binary_data_output", False)
    for output in asked:
        parameters = output.get("parameters", {})
        found = answer.outputs[output["name"]]
        assert found.is_binary is parameters.get("binary_data", default)
        if "classification" in parameters:
            check_classes(found.rows, parameters["classification"], target, matrix)
            assert (found.datatype, found.shape) == ("BYTES", (len(matrix), len(found.rows[0])))
        elif output["name"] == "probabilities":
            assert (found.datatype, found.shape) == ("FP32", matrix.shape)
            assert np.array_equal(np.float32(found.rows), matrix)
        else:
            assert (found.datatype, found.shape) == (datatype, (len(matrix),))
            check_predictions(found.values, target, datatype, matrix)


def check_predictions(values: list[Any], target: Target, datatype: str, matrix: np.ndarray[Any, Any]) -> None:
    if isinstance(target, ClassTarget):
        expected: list[Any] = [target.labels[best] for best in matrix.argmax(axis=1)]
        if datatype == "BYTES":
            expected = [label if isinstance(label, str) else str(label) for label in expected]
        assert list(map(repr, values)) == list(map(repr, expected))
    elif target.origin:
        assert values == [float(value) + target.origin for value in matrix[:, 0]]
    else:
        assert np.array_equal(np.float32(values), matrix[:, 0])


def check_classes(rows: list[list[str]], classes: int, target: Target, matrix: np.ndarray[Any, Any]) -> None:
    assert isinstance(target, ClassTarget)
    for texts, scores in zip(rows, matrix, strict=True):
        order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:classes]
        assert len(texts) == min(classes, len(scores))
        for text, best in zip(texts, order, strict=True):
            score, index, label = text.split(":", 2)
            assert (np.float32(score), int(index)) == (scores[best], best)
            own = target.labels[best]
            assert label == (own if isinstance(own, str) else json.dumps(own).removesuffix(".0"))


def test_every_order_and_mixture_of_outputs_is_the_matrix(kind: str, tmp_path: Path) -> None:
    target, datatype = TARGETS[kind]
    writer = writer_for(target, tmp_path)
    matrix = answers_of(target, 20)
    for number, request in enumerate(wanted(target)):
        asked = request if (id_ := IDS[number % len(IDS)]) is None else {**request, "id": id_}
        form = form_of({"inputs": [], **asked})
        for start, rows in [(0, 1), (3, 1), (2, 5), (0, 20)]:
            answer = read(writer.write(Answer(matrix), start, rows, form))
            check(answer, asked, target, datatype, matrix[start : start + rows])


def test_requests_with_one_row_each_get_their_own_rows_in_their_own_form(kind: str, tmp_path: Path) -> None:
    target, datatype = TARGETS[kind]
    writer = writer_for(target, tmp_path)
    requests = [{**request, **({} if id_ is None else {"id": id_})} for id_ in IDS for request in wanted(target)]
    np.random.default_rng(5).shuffle(requests)  # type: ignore[arg-type]
    requests += requests[:7] * 2 + [{}] * 5
    matrix = answers_of(target, len(requests) + 3)
    forms = [form_of({"inputs": [], **request}) for request in requests]
    payloads = list(writer.write_each(Answer(matrix), 2, forms))
    assert len(payloads) == len(requests)
    for row, (payload, request) in enumerate(zip(payloads, requests, strict=True), 2):
        check(read(payload), request, target, datatype, matrix[row : row + 1])


@pytest.mark.slow
def test_a_large_answer_in_steps_is_the_matrix_too(kind: str, tmp_path: Path) -> None:
    target, datatype = TARGETS[kind]
    writer = writer_for(target, tmp_path)
    rows = 2 * STEP_NUMBERS // width_of(target) + 7
    matrix = answers_of(target, rows)
    for request in wanted(target)[::5]:
        steps, sizes = writer.write_in_steps([matrix[:5], matrix[5:]], form_of({"inputs": [], **request})), []
        try:
            while True:
                sizes.append(next(steps))
        except StopIteration as end:
            answer = read(end.value)
        assert max(sizes) < 32 * STEP_NUMBERS
        check(answer, request, target, datatype, matrix)


@pytest.mark.parametrize(
    ("outputs", "model"),
    [
        ([{"name": "other"}], "texts"),
        ([{"name": "probabilities"}], "regressor"),
        ([{"name": "predictions", "parameters": {"classification": 1}}], "texts"),
        ([{"name": "predictions", "parameters": {"classification": 1}}], "regressor"),
        ([{"name": ""}], "texts"),
    ],
)
def test_an_output_that_the_model_lacks_is_refused(outputs: list[Any], model: str, tmp_path: Path) -> None:
    writer = writer_for(TARGETS[model][0], tmp_path)
    form = form_of({"inputs": [], "outputs": outputs})
    answer = Answer(answers_of(TARGETS[model][0], 3))
    for rows in (1, 3):
        with pytest.raises(InvalidRequest):
            writer.write(answer, 0, rows, form)
    with pytest.raises(InvalidRequest):
        list(writer.write_each(answer, 0, [InferForm(), form]))


def test_forms_of_hostile_clients_are_not_kept(tmp_path: Path) -> None:
    target = TARGETS["texts"][0]
    writer = writer_for(target, tmp_path)
    answer = Answer(answers_of(target, 1))
    for classes in range(1, 500):
        parameters = {"classification": classes}
        writer.write(answer, 0, 1, form_of({"outputs": [{"name": "probabilities", "parameters": parameters}]}))
    for request in wanted(target):
        writer.write(answer, 0, 1, form_of(request))
    assert len(writer._prepared) <= 14, "two outputs in any order, each as text or bytes"
