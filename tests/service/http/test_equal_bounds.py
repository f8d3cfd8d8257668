"""The bounds of an interval have the same bits over HTTP, in `axon score`, in `axon predict` and in `Model.predict`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from serving import make_checkpoint, numeric

from models.answering import Answerer
from models.columns.schema import NumericTarget, Schema
from models.conformal import Conformal
from models.network.inference_network import in_unit
from models.store import Store
from scoring.answer_columns import AnswerColumns
from scoring.answering import Answered
from service.answer_form import AnswerForm
from service.batching.served_version import ServedVersion
from service.batching.ticket import Answer
from service.http.wire.arrow_answers import ArrowWriter
from service.http.wire.json_answers import JsonWriter
from service.metrics import ModelMetrics

LEVEL = 0.8
SCORES = Conformal(50, np.round(np.linspace(0.01, 7, 50) ** 1.5, 6))
TARGETS = {
    "plain": NumericTarget(name="price", mean=60, std=20, minimum=-1e3, maximum=1e3),
    "counts": NumericTarget(name="visits", mean=0, std=20, minimum=0, maximum=1e3),
    "share": NumericTarget(name="rain", mean=0, std=1, minimum=0, maximum=1),
    "origin": NumericTarget(name="time", mean=1.7e9, std=90, minimum=1.6e9, maximum=1.8e9, origin=1.7e9),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_the_same_answer_has_the_same_bounds_everywhere(kind: str, tmp_path: Path) -> None:
    target = TARGETS[kind]
    schema = Schema(columns=(numeric("x"),), target=target)
    checkpoint = dataclasses.replace(make_checkpoint(schema, 8), conformal=SCORES)
    if output := {"counts": "exponential", "share": "logistic"}.get(kind):
        checkpoint = dataclasses.replace(checkpoint, config=dataclasses.replace(checkpoint.config, output=output))
    served = ServedVersion(
        Store(tmp_path).publish("model", checkpoint), (0, 0, 0), ModelMetrics("model", "1", lambda _: None)
    )
    matrix = np.random.default_rng(0).normal(0, 60, (300, 1)).astype(np.float32)
    answers = in_unit(matrix, target.origin)
    covered = Answerer(checkpoint).covered(answers, LEVEL)
    assert covered.intervals is not None
    assert kind not in ("counts", "share") or covered.intervals.min() == 0
    assert kind != "share" or covered.intervals.max() == 1
    columns = AnswerColumns(checkpoint, intervals=LEVEL)
    form = AnswerForm(level=LEVEL)

    arrow = pa.ipc.open_stream(ArrowWriter(served).write(Answer(matrix), 0, len(matrix), form).body).read_all()
    kind_of_value = pa.float64() if target.origin else pa.float32()
    assert arrow["low"].type == arrow["prediction"].type == kind_of_value
    wanted = np.stack([arrow[name].to_numpy() for name in ("low", "high")], axis=1)
    in_json = json.loads(JsonWriter(served).write(Answer(matrix), 0, len(matrix), form))["intervals"]
    np.testing.assert_array_equal(np.array(in_json).astype(wanted.dtype), wanted)

    scored = columns.of(Answered(answers=answers, rows=len(matrix)), with_gaps=False)[-2:]
    for found in (covered.intervals, np.stack([column.to_numpy() for column in scored], axis=1)):
        assert found is not None
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, wanted.astype(np.float64))
