"""Answers as Arrow and CSV have the numbers and labels of the JSON answer, by the readers of other libraries."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
from test_answers import TARGETS, served, width_of

from models.columns.schema import ClassTarget
from service.batching.served_version import ServedVersion
from service.batching.ticket import Answer
from service.http.wire.arrow_answers import ArrowWriter
from service.http.wire.csv_answers import CsvWriter
from service.http.wire.json_answers import JsonWriter
from service.http.wire.wire_format import STEP_NUMBERS, AnswerWriter, WrittenAnswer

ALL = {
    **TARGETS,
    "formulas": ClassTarget(name="y", labels=("=1+1", " x ", "a,b\r\nc", "", "+2")),
    "large whole numbers": ClassTarget(name="y", labels=(0, 2**64 - 1)),
    "many": ClassTarget(name="y", labels=tuple(range(300))),
}
TYPES = {
    "texts": pa.dictionary(pa.int32(), pa.string()),
    "whole numbers": pa.dictionary(pa.int32(), pa.string()),  # no type of 64 bits holds -1 and 2**64 - 1
    "numbers": pa.float64(),
    "truth values": pa.bool_(),
    "regressor": pa.float32(),
    "regressor far from zero": pa.float64(),
    "formulas": pa.dictionary(pa.int32(), pa.string()),
    "large whole numbers": pa.uint64(),
    "many": pa.int64(),
}


def answers(kind: str, rows: int, folder: Path) -> tuple[ServedVersion, np.ndarray]:
    version = served(ALL[kind], folder)
    return version, np.random.default_rng(1).normal(size=(rows, width_of(ALL[kind]))).astype(np.float32)


def body_of(answer: WrittenAnswer) -> bytes:
    return b"".join(answer.body) if isinstance(answer.body, tuple) else bytes(answer.body)


def in_steps(writer: AnswerWriter, matrices: list[np.ndarray]) -> tuple[bytes, list[int]]:
    steps, sizes = writer.write_in_steps(matrices), []
    try:
        while True:
            sizes.append(next(steps))
    except StopIteration as end:
        return body_of(end.value), sizes


def json_of(version: ServedVersion, matrix: np.ndarray) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(JsonWriter(version).write(Answer(matrix), 0, len(matrix)))
    return document


def as_label(kind: str, prediction: Any) -> Any:
    """Returns a label of JSON in the form of the Arrow answer."""
    return str(prediction) if kind == "whole numbers" else prediction


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(("start", "rows"), [(0, 1), (3, 1), (2, 5), (7, 90)])
def test_an_arrow_answer_is_the_rows_own(kind: str, start: int, rows: int, tmp_path: Path) -> None:
    version, matrix = answers(kind, 100, tmp_path)
    written = ArrowWriter(version).write(Answer(matrix), start, rows)
    assert isinstance(written, WrittenAnswer)
    assert (written.head.content_type, list(written.head.headers)) == (
        b"application/vnd.apache.arrow.stream",
        [(b"vary", b"accept"), (b"x-axon-model", b"model@1")],
    )
    table = pa.ipc.open_stream(body_of(written)).read_all()
    table.validate(full=True)
    own = matrix[start : start + rows]
    expected = json_of(version, own)
    assert table.schema.field("prediction").type == TYPES[kind]
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert (metadata["model"], metadata["version"]) == ("model", "1")
    if isinstance(target := ALL[kind], ClassTarget):
        predictions = [as_label(kind, label) for label in expected["predictions"]]
        assert list(map(repr, table["prediction"].to_pylist())) == list(map(repr, predictions))
        assert json.loads(metadata["labels"]) == list(target.labels)
        assert np.array_equal(np.stack(table["probabilities"].to_numpy()), own)
    else:
        found = table["prediction"].to_numpy()
        assert np.array_equal(found, np.array(expected["predictions"], found.dtype))


@pytest.mark.parametrize("kind", ALL)
def test_a_csv_answer_has_the_digits_of_json(kind: str, tmp_path: Path) -> None:
    version, matrix = answers(kind, 100, tmp_path)
    writer = CsvWriter(version)
    text = body_of(writer.write(Answer(matrix), 5, 90)).decode()
    assert text.endswith("\r\n")
    head, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    expected = json.loads(JsonWriter(version).write(Answer(matrix), 5, 90), parse_float=str)
    labels = [label if isinstance(label, str) else json.dumps(label) for label in expected["predictions"]]
    assert [line[0] for line in lines] == labels
    if isinstance(target := ALL[kind], ClassTarget):
        assert [line[1:] for line in lines] == expected["probabilities"]
        names = [label if isinstance(label, str) else json.dumps(label) for label in target.labels]
        if kind != "numbers":  # JSON has two ways to write 1e300
            assert head == ["prediction", *(f"probability_{name}" for name in names)]
    else:
        assert head == ["prediction"]


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("make", [ArrowWriter, CsvWriter])
def test_a_large_answer_in_steps_has_the_same_rows(
    kind: str, make: type[ArrowWriter | CsvWriter], tmp_path: Path
) -> None:
    rows = 9 * STEP_NUMBERS // width_of(ALL[kind]) + 7
    version, matrix = answers(kind, rows, tmp_path)
    writer = make(version)
    stepped, sizes = in_steps(writer, [matrix[:5], matrix[5:]])
    at_once = body_of(writer.write(Answer(matrix), 0, rows))
    if make is CsvWriter:
        assert stepped == at_once
    else:
        whole, parts = (pa.ipc.open_stream(body).read_all() for body in (at_once, stepped))
        assert whole.schema.equals(parts.schema, check_metadata=True)
        assert whole.combine_chunks().equals(parts.combine_chunks())
    assert len(sizes) >= 2
    assert max(sizes) <= 1 << 20


@pytest.mark.skipif(importlib.util.find_spec("polars") is None, reason="polars is not installed")
@pytest.mark.parametrize("kind", ALL)
def test_polars_reads_an_arrow_answer(kind: str, tmp_path: Path) -> None:
    polars = importlib.import_module("polars")
    version, matrix = answers(kind, 50, tmp_path)
    frame = polars.read_ipc_stream(body_of(ArrowWriter(version).write(Answer(matrix), 0, 50)))
    expected = json_of(version, matrix)
    if isinstance(ALL[kind], ClassTarget):
        assert frame["prediction"].to_list() == [as_label(kind, label) for label in expected["predictions"]]
        assert np.array_equal(frame["probabilities"].to_numpy(), matrix)
    else:
        assert np.array_equal(
            frame["prediction"].to_numpy(), np.array(expected["predictions"], frame["prediction"].to_numpy().dtype)
        )
