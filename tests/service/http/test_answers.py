"""Answers written by hand equal those of the Pydantic model, number for number."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from models.checkpoint import Checkpoint
from models.columns.schema import ClassTarget, NumericColumn, NumericTarget, Schema, Target
from models.network.config import MLPConfig
from models.network.numpy_mlp import NumpyMLP
from models.store import Store
from service.batching.served_version import ServedVersion
from service.batching.ticket import Answer
from service.http.schemas import PredictResponse
from service.http.wire.json_answers import JsonWriter
from service.http.wire.wire_format import STEP_NUMBERS
from service.metrics import ModelMetrics

TARGETS: dict[str, Target] = {
    "texts": ClassTarget(name="y", labels=('quo"te', "naïve", "\\n")),
    "whole numbers": ClassTarget(name="y", labels=(-1, 0, 2**64 - 1)),
    "numbers": ClassTarget(name="y", labels=(1.0, 1.5, 1e300)),
    "truth values": ClassTarget(name="y", labels=(False, True)),
    "regressor": NumericTarget(name="y", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0),
    "regressor far from zero": NumericTarget(
        name="y", mean=1.7e9, std=29.0, minimum=1.6e9, maximum=1.8e9, origin=1.7e9 + 1 / 3
    ),
}


def width_of(target: Target) -> int:
    return len(target.labels) if isinstance(target, ClassTarget) else 1


def served(target: Target, folder: Path) -> ServedVersion:
    column = NumericColumn(name="x", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0)
    classes = isinstance(target, ClassTarget)
    config = MLPConfig(layer_sizes=(1, width_of(target)), output="softmax" if classes else "linear")
    tensors = NumpyMLP(config, rng=np.random.default_rng(0)).to_tensors()
    checkpoint = Checkpoint(config=config, schema=Schema(columns=(column,), target=target), tensors=tensors)
    place = Store(folder).publish("model", checkpoint)
    return ServedVersion(place, (0, 0, 0), ModelMetrics("model", "1", lambda _: None))


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize(("start", "rows"), [(0, 1), (3, 1), (2, 5), (0, 100), (7, 90)])
def test_written_answers_are_the_rows_own(kind: str, start: int, rows: int, tmp_path: Path) -> None:
    target = TARGETS[kind]
    matrix = np.random.default_rng(1).normal(size=(100, width_of(target))).astype(np.float32)
    matrix[3] = np.float32(1e-30)
    answer = Answer(matrix)
    writer = JsonWriter(served(target, tmp_path))
    written = writer.write(answer, start, rows)
    response = PredictResponse.model_validate_json(written, strict=True)
    own = matrix[start : start + rows]
    assert (response.model, response.version) == ("model", 1)
    if isinstance(target, ClassTarget):
        assert np.array_equal(np.float32(response.probabilities), own)
        expected = [target.labels[i] for i in own.argmax(axis=1)]
        assert list(map(repr, response.predictions)) == list(map(repr, expected)), "of the labels' own type"
        assert list(map(repr, json.loads(written)["predictions"])) == list(map(repr, expected))
    else:
        origin = getattr(target, "origin", 0.0)
        if origin:  # the exact sum, rounded to float64; sums of fractions are exact
            exact = [float(Fraction(origin) + Fraction(float(value))) for value in own[:, 0]]
            assert json.loads(written)["predictions"] == exact
        else:
            assert np.array_equal(np.float32(response.predictions), own[:, 0])
        assert response.probabilities is None
    assert "labels" not in json.loads(written)


@pytest.mark.parametrize("kind", TARGETS)
def test_a_large_answer_in_steps_is_what_it_is_at_once(kind: str, tmp_path: Path) -> None:
    target = TARGETS[kind]
    rows = 3 * STEP_NUMBERS // width_of(target) + 7
    matrix = np.random.default_rng(2).normal(size=(rows, width_of(target))).astype(np.float32)
    writer = JsonWriter(served(target, tmp_path))
    steps = writer.write_in_steps([matrix[:5], matrix[5:]])
    sizes = []
    try:
        while True:
            sizes.append(next(steps))
    except StopIteration as end:
        body = b"".join(end.value)
    assert body == writer.write(Answer(matrix), 0, rows)
    assert max(sizes) < 32 * STEP_NUMBERS


class Requester:
    """The recipient of the answer to one request of a batch."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.form = None
        self.payloads: list[bytes] = []
        self.errors: list[Exception] = []

    def send(self, payload: bytes) -> None:
        self.payloads.append(payload)

    def failed(self, error: Exception) -> None:
        self.errors.append(error)


@pytest.mark.parametrize(("width", "sizes"), [(1000, [1] * 256), (3, [1] * 1000), (500, [1, 40, 7, 31, 32, 20] * 4)])
@pytest.mark.slow
def test_a_long_batch_is_written_a_few_answers_at_a_time(width: int, sizes: list[int], tmp_path: Path) -> None:
    writer = JsonWriter(served(ClassTarget(name="y", labels=tuple(range(width))), tmp_path))
    matrix = np.random.default_rng(3).random((sum(sizes), width), dtype=np.float32)
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    requests = [(Requester(rows), start) for rows, start in zip(sizes, starts, strict=True)]
    del requests[5]  # its deadline has passed, so its rows belong to no request
    alone = [writer.write(Answer(matrix), start, requester.rows) for requester, start in requests]
    done = 0
    for _ in writer.write_batch_in_steps(matrix, requests):
        now = sum(len(requester.payloads) for requester, _ in requests)
        numbers = sum(requester.rows * width for requester, _ in requests[done:now])
        assert done < now <= done + 100
        assert numbers <= STEP_NUMBERS or now == done + 1
        done = now
    assert [requester.payloads for requester, _ in requests] == [[payload] for payload in alone]


def test_a_row_of_many_numbers_takes_several_steps(tmp_path: Path) -> None:
    width = 3 * STEP_NUMBERS + 5
    writer = JsonWriter(served(ClassTarget(name="y", labels=tuple(range(width))), tmp_path))
    matrix = np.random.default_rng(3).random((2, width), dtype=np.float32)
    steps, sizes = writer.write_in_steps([matrix]), []
    try:
        while True:
            sizes.append(next(steps))
    except StopIteration as end:
        body = b"".join(end.value)
    assert body == writer.write(Answer(matrix), 0, 2)
    assert max(sizes) < 32 * STEP_NUMBERS
    assert len(sizes) >= 8
