"""Answers of a model with several targets, in each format, are those of the network in float64 by hand."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
from grpc_client import message_class
from serving import SEVERAL, make_checkpoint, numeric

from models.answering import Answerer
from models.checkpoint import Checkpoint
from models.columns.schema import NumericTarget, Schema, ValuesTarget
from models.conformal import Conformal
from models.store import Store
from service.answer_form import AnswerForm
from service.batching.served_version import ServedVersion
from service.batching.ticket import Answer
from service.errors import InvalidRequest
from service.grpc.infer_answers import InferWriter as GrpcWriter
from service.http.schemas import PredictResponse
from service.http.wire.arrow_answers import ArrowWriter
from service.http.wire.csv_answers import CsvWriter
from service.http.wire.json_answers import JsonWriter
from service.http.wire.mlflow_answers import MlflowWriter
from service.http.wire.open_inference_answers import InferWriter
from service.http.wire.tf_serving_answers import OUTPUTS, ROWS, ClassifyWriter, PredictWriter, RegressWriter
from service.http.wire.wire_format import STEP_NUMBERS, AnswerWriter, WrittenAnswer
from service.metrics import ModelMetrics
from service.open_inference.description import model_config, model_metadata
from service.open_inference.form import InferForm, Layout

LEVEL = 0.8
ROWS_OF_BATCH = 100
SCORES = np.array([np.linspace(0, most, 49) for most in (3.0, 2e6, 0.1)])
NEAR = ValuesTarget(targets=tuple(dataclasses.replace(one, mean=5, origin=0.0, minimum=-99, maximum=99, std=2)
                                  for one in SEVERAL.targets))  # fmt: skip


def checkpoint_of(target: ValuesTarget) -> Checkpoint:
    schema = Schema(columns=(numeric("rent"), numeric("x")), target=target)
    return dataclasses.replace(make_checkpoint(schema, 8, clamp=True), conformal=Conformal(49, SCORES))


def served_of(checkpoint: Checkpoint, folder: Path) -> ServedVersion:
    place = Store(folder).publish("model", checkpoint)
    return ServedVersion(place, (0, 0, 0), ModelMetrics("model", "1", lambda _: None))


@pytest.fixture(params=["far", "near"])
def target(request: pytest.FixtureRequest) -> ValuesTarget:
    return SEVERAL if request.param == "far" else NEAR


@pytest.fixture
def served(target: ValuesTarget, tmp_path: Path) -> ServedVersion:
    return served_of(checkpoint_of(target), tmp_path)


@pytest.fixture
def matrix(target: ValuesTarget) -> np.ndarray:
    """Float32 answers of a worker, without origins."""
    return np.random.default_rng(3).normal(0, 9, (ROWS_OF_BATCH, 3)).astype(np.float32)


def truth_of(target: ValuesTarget, matrix: np.ndarray) -> np.ndarray:
    return matrix.astype(np.float64) + [one.origin for one in target.targets]


def bounds_of(target: ValuesTarget, matrix: np.ndarray) -> np.ndarray:
    """Returns the bounds at rank ⌈50 · 0.8⌉ = 40 of 49 scores, by hand."""
    values, size = truth_of(target, matrix), SCORES[:, 39]
    bounds = np.stack([values - size, values + size], axis=2)
    return bounds if target is SEVERAL else bounds.astype(np.float32).astype(np.float64)


def body_of(payload: Any) -> bytes:
    body = payload.body if isinstance(payload, WrittenAnswer) else payload
    return b"".join(body) if isinstance(body, tuple) else bytes(body)


def ways(writer: AnswerWriter, matrix: np.ndarray, form: Any) -> list[tuple[slice, bytes]]:
    """Returns the rows and the body of answers: to one row, to some rows, to many, alone in a batch, and in steps."""
    answer = Answer(matrix)
    found = [
        (slice(at, at + rows), body_of(writer.write(answer, at, rows, form)))
        for at, rows in ((0, 1), (7, 1), (2, 5), (0, len(matrix)), (9, 60))
    ]
    steps = writer.write_in_steps([matrix[:40], matrix[40:]], form)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return [*found, (slice(0, len(matrix)), body_of(end.value))]


def in_float32_if_near(target: ValuesTarget, values: Any) -> np.ndarray:
    found = np.array(values, dtype=np.float64)
    return found if target is SEVERAL else found.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("level", [None, LEVEL])
def test_a_row_of_json_is_a_list_of_the_values_in_order(
    level: float | None, target: ValuesTarget, served: ServedVersion, matrix: np.ndarray
) -> None:
    form = AnswerForm(level=level)
    for rows, body in ways(JsonWriter(served), matrix, form):
        response = PredictResponse.model_validate_json(body, strict=True)
        assert np.array_equal(in_float32_if_near(target, response.predictions), truth_of(target, matrix[rows]))
        if level is None:
            assert response.intervals is None
        else:
            assert np.array_equal(in_float32_if_near(target, response.intervals), bounds_of(target, matrix[rows]))
    if level is None:
        each = JsonWriter(served).write_each(Answer(matrix), 4, [None] * 3)
        assert each == [JsonWriter(served).write(Answer(matrix), row, 1) for row in (4, 5, 6)]


@pytest.mark.parametrize(
    ("writer", "form", "member"),
    [(MlflowWriter, None, "predictions"), (PredictWriter, ROWS, "predictions"), (PredictWriter, OUTPUTS, "outputs")],
)
def test_other_json_has_the_same_lists(
    writer: type[AnswerWriter], form: Any, member: str, target: ValuesTarget, served: ServedVersion, matrix: np.ndarray
) -> None:
    for rows, body in ways(writer(served), matrix, form):
        document = json.loads(body)
        assert list(document) == [member]
        assert np.array_equal(in_float32_if_near(target, document[member]), truth_of(target, matrix[rows]))


def test_regress_and_classify_refuse_several_targets(served: ServedVersion) -> None:
    with pytest.raises(InvalidRequest, match="several targets: ask for :predict"):
        RegressWriter(served)
    with pytest.raises(InvalidRequest, match="is a regressor"):
        ClassifyWriter(served)


@pytest.mark.parametrize("level", [None, LEVEL])
def test_tables_have_a_column_for_each_target(
    level: float | None, target: ValuesTarget, served: ServedVersion, matrix: np.ndarray
) -> None:
    names = [f"prediction_{name}" for name in ("rent", "sold", "cost")]
    bounds = [] if level is None else [f"{name}_{end}" for name in names for end in ("low", "high")]
    form = AnswerForm(level=level)

    def check(cells: np.ndarray, rows: slice) -> None:
        found = in_float32_if_near(target, cells)
        assert np.array_equal(found[:, :3], truth_of(target, matrix[rows]))
        if level is not None:
            assert np.array_equal(found[:, 3:].reshape(-1, 3, 2), bounds_of(target, matrix[rows]))

    for rows, body in ways(CsvWriter(served), matrix, form):
        head, *lines = csv.reader(io.StringIO(body.decode(), newline=""))
        assert head == names + bounds
        check(np.array(lines, dtype=np.float64), rows)
    for rows, body in ways(ArrowWriter(served), matrix, form):
        table = pa.ipc.open_stream(body).read_all()
        assert table.column_names == names + bounds
        assert set(table.schema.types) == {pa.float64() if target is SEVERAL else pa.float32()}
        assert json.loads(table.schema.metadata[b"targets"]) == ["rent", "sold", "cost"]
        check(np.column_stack([column.to_numpy() for column in table.columns]), rows)


def test_a_bound_that_would_share_a_column_is_refused(tmp_path: Path) -> None:
    target = ValuesTarget(targets=tuple(NumericTarget(name=name, mean=0, std=1, minimum=-9, maximum=9)
                                        for name in ("a", "b", "a_low")))  # fmt: skip
    served, answer = served_of(checkpoint_of(target), tmp_path), Answer(np.zeros((2, 3), np.float32))
    for writer in (CsvWriter(served), ArrowWriter(served)):
        assert writer.write(answer, 0, 2)
        with pytest.raises(InvalidRequest, match="'prediction_a_low'"):
            writer.write(answer, 0, 2, AnswerForm(level=LEVEL))


def test_a_tensor_has_a_value_of_each_target_in_a_row(
    target: ValuesTarget, served: ServedVersion, matrix: np.ndarray
) -> None:
    datatype, size = ("FP64", 8) if target is SEVERAL else ("FP32", 4)
    for rows, body in ways(InferWriter(served), matrix, InferForm()):
        [output] = json.loads(body)["outputs"]
        assert (output["name"], output["datatype"]) == ("predictions", datatype)
        values = np.array(output["data"]).reshape(output["shape"])
        assert np.array_equal(in_float32_if_near(target, values), truth_of(target, matrix[rows]))
    for rows, body in ways(InferWriter(served), matrix, InferForm(Layout(is_binary=True))):
        data = body[-3 * size * len(matrix[rows]) :]
        [output] = json.loads(body[: -len(data)])["outputs"]
        assert (output["shape"], output["parameters"]) == ([len(matrix[rows]), 3], {"binary_data_size": len(data)})
        values = np.frombuffer(data, f"<f{size}").reshape(-1, 3)
        assert np.array_equal(values.astype(np.float64), truth_of(target, matrix[rows]))
    response = message_class("inference.ModelInferResponse")
    writer = GrpcWriter(served)
    for is_raw in (True, False):
        for at, count in ((0, 1), (5, 1), (2, 7)):
            written = writer.write(Answer(matrix), at, count, InferForm(Layout(is_binary=is_raw)))
            message = response.FromString(written)
            assert (list(message.outputs[0].shape), message.outputs[0].datatype) == ([count, 3], datatype)
            contents = message.outputs[0].contents
            typed = list(contents.fp64_contents if target is SEVERAL else contents.fp32_contents)
            raw = np.frombuffer(message.raw_output_contents[0], f"<f{size}") if is_raw else np.array(typed)
            assert np.array_equal(raw.reshape(-1, 3), truth_of(target, matrix[at : at + count]))


def test_the_description_of_tensors_has_the_number_of_targets(served: ServedVersion) -> None:
    assert model_metadata(served, [1])["outputs"][0]["shape"] == [-1, 3]
    assert model_config(served, 100)["output"][0]["dims"] == [3]
    assert served.targets == ("rent", "sold", "cost")


def test_a_large_answer_is_written_in_steps(target: ValuesTarget, served: ServedVersion) -> None:
    matrix = np.random.default_rng(0).normal(size=(STEP_NUMBERS, 3)).astype(np.float32)
    for writer in (JsonWriter(served), InferWriter(served), CsvWriter(served), ArrowWriter(served)):
        form = InferForm() if isinstance(writer, InferWriter) else None
        rows, body = ways(writer, matrix, form)[-1]
        assert len(matrix[rows]) == STEP_NUMBERS
        whole = writer.write(Answer(matrix), 0, len(matrix), form)
        if not isinstance(writer, ArrowWriter):  # whose steps are batches
            assert body == body_of(whole)


def test_answers_in_the_process_are_those_of_the_network(target: ValuesTarget) -> None:
    checkpoint = checkpoint_of(target)
    answerer = Answerer(checkpoint)
    rows = np.random.default_rng(5).normal(0, 2, (200, 2))
    values = by_hand(checkpoint, rows)
    stds = np.array([one.std for one in target.targets])
    assert answerer.targets == ("rent", "sold", "cost")
    found = answerer.predict(rows.tolist())
    assert all(type(value) is float for row in found for value in row)
    np.testing.assert_allclose((np.array(found) - values) / stds, 0, atol=2e-6)
    covered = answerer.covered(answerer.answer(rows.astype(np.float32)), LEVEL)
    assert covered.intervals is not None
    wanted = np.stack([values - SCORES[:, 39], values + SCORES[:, 39]], axis=2)
    np.testing.assert_allclose(covered.intervals, wanted, rtol=1e-6, atol=1e-5)
    columns = covered.columns()
    assert list(columns)[:4] == ["prediction_rent", "prediction_sold", "prediction_cost", "prediction_rent_low"]
    np.testing.assert_array_equal(columns["prediction_cost_high"], covered.intervals[:, 2, 1])


def by_hand(checkpoint: Checkpoint, rows: np.ndarray) -> np.ndarray:
    """Returns the values of a network with one hidden layer, in float64, from its tensors."""
    tensors = {name: tensor.astype(np.float64) for name, tensor in checkpoint.tensors.items()}
    x = (rows - 0.3) / 1.7
    first, second = (name for name in tensors if name.endswith("weight"))
    hidden = np.maximum(x @ tensors[first].T + tensors[first.replace("weight", "bias")], 0)
    y = hidden @ tensors[second].T + tensors[second.replace("weight", "bias")]
    targets = checkpoint.schema.values
    values = y * [one.std for one in targets] + [one.mean for one in targets]
    return np.clip(values, [one.minimum for one in targets], [one.maximum for one in targets])
