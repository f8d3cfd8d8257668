"""Answers of TensorFlow Serving and MLflow hold the numbers of `POST /predict`, in the places of their protocols."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_answers import TARGETS, served, width_of

from models.columns.labels import label_text
from models.columns.schema import ClassTarget
from service.batching.served_version import ServedVersion
from service.batching.ticket import Answer
from service.errors import InvalidRequest
from service.http.wire.json_answers import JsonWriter
from service.http.wire.mlflow_answers import MlflowWriter
from service.http.wire.tf_serving_answers import OUTPUTS, ROWS, ClassifyWriter, PredictWriter, RegressWriter
from service.http.wire.wire_format import STEP_NUMBERS, AnswerWriter

Document = dict[str, Any]


def by_row(answer: Document) -> Any:
    """Returns the answer to `instances` with the content of an answer of `/predict`."""
    if "probabilities" not in answer:
        return {"predictions": answer["predictions"]}
    pairs = zip(answer["predictions"], answer["probabilities"], strict=True)
    return {"predictions": [{"predictions": label, "probabilities": scores} for label, scores in pairs]}


def by_output(answer: Document) -> Any:
    """Returns the answer to `inputs`."""
    outputs = {key: answer[key] for key in ("predictions", "probabilities") if key in answer}
    return {"outputs": outputs if len(outputs) > 1 else outputs["predictions"]}


def results(answer: Document, labels: tuple[Any, ...]) -> Any:
    """Returns the answer to `:classify` or `:regress`."""
    if "probabilities" not in answer:
        return {"results": answer["predictions"]}
    texts = list(map(label_text, labels))
    return {"results": [[list(pair) for pair in zip(texts, row, strict=True)] for row in answer["probabilities"]]}


def frame(answer: Document) -> Any:
    """Returns the answer of MLflow's protocol."""
    return {key: value for key, value in answer.items() if key in ("predictions", "probabilities")}


def cases(kind: str) -> list[tuple[type[AnswerWriter], Any, Callable[[Document], Any]]]:
    """Returns writers and forms for a target, each with a function that makes the expected document."""
    target = TARGETS[kind]
    labels = target.labels if isinstance(target, ClassTarget) else ()
    method = ClassifyWriter if labels else RegressWriter
    return [
        (PredictWriter, ROWS, by_row),
        (PredictWriter, OUTPUTS, by_output),
        (method, None, lambda answer: results(answer, labels)),
        (MlflowWriter, None, frame),
    ]


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ServedVersion]:
    return {kind: served(target, tmp_path_factory.mktemp("store")) for kind, target in TARGETS.items()}


def in_steps(writer: AnswerWriter, matrices: list[np.ndarray], form: Any) -> tuple[bytes, list[int]]:
    """Returns the body that a writer makes in steps, and the bytes of each step."""
    steps, sizes = writer.write_in_steps(matrices, form), []
    while True:
        try:
            sizes.append(next(steps))
        except StopIteration as end:
            return b"".join(end.value), sizes


@settings(max_examples=60)
@given(st.sampled_from(sorted(TARGETS)), st.integers(1, 80), st.data())
def test_answers_have_the_numbers_of_predict(
    versions: dict[str, ServedVersion], kind: str, batch: int, data: st.DataObject
) -> None:
    version, width = versions[kind], width_of(TARGETS[kind])
    start = data.draw(st.integers(0, batch - 1))
    rows = data.draw(st.integers(1, batch - start))
    matrix = np.random.default_rng(batch).normal(size=(batch, width)).astype(np.float32)
    answer = json.loads(JsonWriter(version).write(Answer(matrix), start, rows))
    for kind_of_writer, form, expected in cases(kind):
        writer = kind_of_writer(version)
        found = writer.write(Answer(matrix), start, rows, form)
        assert found == in_steps(writer, [matrix[start : start + 1], matrix[start + 1 : start + rows]], form)[0]
        assert repr(json.loads(found)) == repr(expected(answer))  # repr, since 1 and 1.0 and True are equal
        each = writer.write_each(Answer(matrix), start, [form] * rows)
        assert list(each) == [writer.write(Answer(matrix), start + row, 1, form) for row in range(rows)]


def test_requests_of_both_forms_may_share_a_batch(versions: dict[str, ServedVersion]) -> None:
    writer = PredictWriter(versions["texts"])
    matrix = np.random.default_rng(0).random((4, 3), dtype=np.float32)
    forms = [ROWS, OUTPUTS, ROWS, OUTPUTS]
    assert writer.write_each(Answer(matrix), 0, forms) == [
        writer.write(Answer(matrix), row, 1, form) for row, form in enumerate(forms)
    ]


@pytest.mark.parametrize(("width", "rows"), [(3, STEP_NUMBERS), (3 * STEP_NUMBERS + 5, 2)])
@pytest.mark.slow
def test_no_step_writes_much(width: int, rows: int, tmp_path: Path) -> None:
    version = served(ClassTarget(name="y", labels=tuple(range(width))), tmp_path)
    matrix = np.random.default_rng(1).random((rows, width), dtype=np.float32)
    for writer, form in (
        (PredictWriter(version), ROWS),
        (PredictWriter(version), OUTPUTS),
        (ClassifyWriter(version), None),
    ):
        body, sizes = in_steps(writer, [matrix], form)
        assert body == writer.write(Answer(matrix), 0, rows, form)
        assert max(sizes) < 64 * STEP_NUMBERS
        assert sum(sizes) > 0.9 * len(body)


def test_a_classifier_has_no_regression_and_a_regressor_no_classes(versions: dict[str, ServedVersion]) -> None:
    with pytest.raises(InvalidRequest, match="'model' is a classifier: ask for :classify or :predict"):
        RegressWriter(versions["texts"])
    with pytest.raises(InvalidRequest, match="'model' is a regressor: ask for :regress or :predict"):
        ClassifyWriter(versions["regressor"])
