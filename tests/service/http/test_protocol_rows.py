"""Rows of TensorFlow Serving and MLflow mean the same as in `POST /predict`: the same bits, or the same faults."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.columns.encoding import RowEncoder
from models.columns.schema import CategoricalColumn, ClassTarget, DateColumn, NumericColumn, Schema
from models.errors import Fault, RowError
from service.errors import InvalidRequest
from service.http.wire.document_reader import DocumentReader
from service.http.wire.json_format import JsonFormat
from service.http.wire.mlflow_format import MlflowFormat
from service.http.wire.tf_serving_format import TfServingFormat, tf_serving_formats
from service.large_reading import LargeReading

TARGET = ClassTarget(name="y", labels=("no", "yes"))


def number(name: str, **changes: Any) -> NumericColumn:
    return NumericColumn(**({"name": name, "mean": 0.0, "std": 1.0, "minimum": -3.0, "maximum": 3.0} | changes))


ENCODERS = {
    "numbers": RowEncoder(Schema(columns=(number("a"), number("b")), target=TARGET)),
    "far numbers": RowEncoder(Schema(columns=(number("a", mean=1e9, origin=1e9), number("b")), target=TARGET)),
    "mixed": RowEncoder(
        Schema(
            columns=(
                number("a", missing="indicator"),
                CategoricalColumn(
                    name="c", categories=("1", "1.5", "true", "Köln", "9007199254740993"), unknown="ignore"
                ),
                CategoricalColumn(name="b64", categories=("x", "y"), missing="ignore"),
                DateColumn(
                    name="d", mean=19e3, std=300.0, minimum=18e3, maximum=2e4, parts=("weekday",), missing="indicator"
                ),
            ),
            target=TARGET,
        )
    ),
    "one": RowEncoder(Schema(columns=(CategoricalColumn(name="c", categories=("x", "2")),), target=TARGET)),
}
TF = tf_serving_formats()
MLFLOW = MlflowFormat()


class Head:
    """The head of a request for a model."""

    fields: Mapping[bytes, bytes] = {}
    query = b""
    parameters: Mapping[str, str] = {"model": "m"}


Form = Callable[[list[str], list[list[Any]]], tuple[TfServingFormat | MlflowFormat, dict[str, Any]]]


def columns(names: list[str], rows: list[list[Any]]) -> dict[str, list[Any]]:
    return {name: [row[at] for row in rows] for at, name in enumerate(names)}


def records(names: list[str], rows: list[list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(names, row, strict=True)) for row in rows]


def nested(cells: dict[str, list[Any]]) -> dict[str, list[list[Any]]]:
    return {name: [[cell] for cell in column] for name, column in cells.items()}


FORMS: dict[str, Form] = {
    "tf rows": lambda names, rows: (TF["predict"], {"instances": rows}),
    "tf objects": lambda names, rows: (TF["predict"], {"instances": records(names, rows), "signature_name": ""}),
    "tf objects of lists": lambda names, rows: (
        TF["predict"],
        {"instances": [{name: [cell] for name, cell in record.items()} for record in records(names, rows)]},
    ),
    "tf matrix": lambda names, rows: (TF["predict"], {"inputs": rows, "signature_name": "serving_default"}),
    "tf named matrix": lambda names, rows: (TF["predict"], {"inputs": {"dense_1_input": rows}}),
    "tf columns": lambda names, rows: (TF["predict"], {"inputs": columns(names, rows)}),
    "tf nested columns": lambda names, rows: (TF["predict"], {"inputs": nested(columns(names, rows))}),
    "tf classify": lambda names, rows: (TF["classify"], {"examples": records(names, rows)}),
    "tf regress": lambda names, rows: (TF["regress"], {"examples": records(names, rows), "context": {}}),
    "mlflow split": lambda names, rows: (
        MLFLOW,
        {"dataframe_split": {"index": list(range(len(rows))), "columns": names, "data": rows}, "params": None},
    ),
    "mlflow split with others": lambda names, rows: (
        MLFLOW,
        {"dataframe_split": {"columns": ["other", *names], "data": [[{"x": []}, *row] for row in rows]}, "params": {}},
    ),
    "mlflow split without columns": lambda names, rows: (MLFLOW, {"dataframe_split": {"data": rows}}),
    "mlflow records": lambda names, rows: (
        MLFLOW,
        {"dataframe_records": records(["other", *names], [[1, *r] for r in rows])},
    ),
    "mlflow instances": lambda names, rows: (MLFLOW, {"instances": rows}),
    "mlflow instances by column": lambda names, rows: (MLFLOW, {"instances": columns(names, rows)}),
    "mlflow inputs": lambda names, rows: (MLFLOW, {"inputs": rows}),
    "mlflow inputs by column": lambda names, rows: (MLFLOW, {"inputs": columns(names, rows)}),
}

Outcome = bytes | list[tuple[int, str | None, str]]


def small(wire: Any, encoder: RowEncoder, body: bytes) -> Outcome:
    """Reads a body at once; returns the encoded rows, or the faults."""
    try:
        _, rows, may_hold_booleans, _ = wire.read(body, "m", Head())
        return bytes(encoder.encode_any(rows, may_hold_booleans=may_hold_booleans))
    except RowError as error:
        return faults_of(error.faults)


def large(wire: Any, encoder: RowEncoder, body: bytes) -> Outcome:
    """Reads a body in steps; returns the encoded rows, or the faults."""
    try:
        reading = LargeReading(DocumentReader(wire, body, "m", encoder), encoder, most_rows=10**6)
        for _ in reading.steps():
            pass
        assert reading.rows is not None
        return b"".join(map(bytes, reading.rows.cut(0, reading.rows.rows)))
    except RowError as error:
        return faults_of(error.faults)


def faults_of(faults: tuple[Fault, ...]) -> list[tuple[int, str | None, str]]:
    return sorted((fault.row, fault.column or "", fault.message) for fault in faults)


whole_numbers = st.integers() | st.sampled_from(
    [1, 2, 2**53 - 1, 2**53, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400]
)
numbers = (
    whole_numbers | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([1.5, 3.5e38, -0.0, 5e-324])
)
texts = st.sampled_from(
    ["0.2", "1", "x", " x ", "Köln", "Ko\u0308ln", "NA", "", "true", "2024-05-31", "2024-05-31T10:00:00+02:00", "null"]
) | st.text(max_size=4)
odd = st.sampled_from([[], [1, 2], {}, {"a": 1}, {"b64": 5}, [[1, 2], 3], {"b64": "eA==", "more": 1}])
cells = numbers | texts | st.booleans() | st.none() | odd


def sound_cells(encoder: RowEncoder) -> list[st.SearchStrategy[Any]]:
    """Returns strategies for cells that the columns accept."""
    sound: list[st.SearchStrategy[Any]] = []
    for column in encoder.schema.columns:
        if isinstance(column, CategoricalColumn):
            sound.append(st.sampled_from([*column.categories, 1, 1.5, True, 2] if column.name == "c" else ["x", "y"]))
        elif isinstance(column, DateColumn):
            sound.append(st.dates().map(str) | st.none())
        else:
            sound.append(st.floats(-1e30, 1e30) | st.integers(-(2**60), 2**60))
    return sound


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, list[list[Any]]]:
    """Generates an encoder, a form and rows, most of which are sound."""
    name = draw(st.sampled_from(sorted(ENCODERS)))
    form = draw(st.sampled_from(sorted(FORMS)))
    sound = sound_cells(ENCODERS[name])
    row = st.tuples(*sound).map(list)
    if draw(st.booleans()):
        row |= st.tuples(*(column | cells for column in sound)).map(list)
    return name, form, draw(st.lists(row, min_size=1, max_size=40))


@settings(max_examples=500)
@given(requests())
@pytest.mark.slow
def test_rows_are_those_of_predict(request_: tuple[str, str, list[list[Any]]]) -> None:
    name, form, rows = request_
    encoder = ENCODERS[name]
    wire, document = FORMS[form](list(encoder.schema.names), rows)
    body = json.dumps(document).encode()
    try:
        expected = small(JsonFormat(), encoder, json.dumps({"instances": rows}).encode())
    except InvalidRequest:  # a number beyond all floats
        for read in (small, large):
            with pytest.raises(InvalidRequest):
                read(wire, encoder, body)
        return
    for read in (small, large):
        found = read(wire, encoder, body)
        if isinstance(expected, bytes) or isinstance(found, bytes):
            assert found == expected, read.__name__
        elif len(expected) < 20 and name != "one":  # a list in its column may begin a matrix
            assert [fault[:2] for fault in found] == [fault[:2] for fault in expected], read.__name__


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["mixed", "far numbers"])
@pytest.mark.slow
def test_many_rows_are_those_of_predict_at_any_cut(form: str, name: str) -> None:
    encoder, dice, rows = ENCODERS[name], random.Random(form), []
    for _ in range(6000):
        row: list[Any] = [dice.gauss(0, 1), dice.randint(0, 10 ** dice.randint(1, 12))]
        if name == "mixed":
            row = [None if dice.random() < 0.1 else dice.gauss(0, 9), dice.choice(["Köln", 1, 1.5, True, 2**53 + 1])]
            row += [dice.choice("xy"), f"20{dice.randint(10, 29)}-0{dice.randint(1, 9)}-{dice.randint(10, 28)}"]
        rows.append(row)
    wire, document = FORMS[form](list(encoder.schema.names), rows)
    expected = b"".join(encoder.encode([row]) for row in rows)
    assert large(wire, encoder, json.dumps(document).encode()) == expected
    at = dice.randrange(6000)
    rows[at] = [*rows[at][:-1], "no date or number"]
    wire, document = FORMS[form](list(encoder.schema.names), rows)
    found = large(wire, encoder, json.dumps(document).encode())
    assert [fault[:2] for fault in found] == [(at, encoder.schema.names[-1])]


@given(st.lists(st.none() | st.floats(-9, 9), min_size=1, max_size=30), st.sampled_from(sorted(FORMS)))
def test_the_token_nan_is_a_missing_value(cells: list[float | None], form: str) -> None:
    encoder = ENCODERS["mixed"]
    texts = ["NaN", '"NaN', "\\NaN\\", 'NaN"']  # a text is no token
    rows = [[cell, texts[at % 4], "x", None] for at, cell in enumerate(cells)]
    with_gaps = [[float("nan") if cell is None else cell for cell in row] for row in rows]
    wire, document = FORMS[form](list(encoder.schema.names), rows)
    with_null = json.dumps(document).encode()
    with_nan = json.dumps(FORMS[form](list(encoder.schema.names), with_gaps)[1]).encode()
    for read in (small, large):
        assert read(wire, encoder, with_nan) == read(wire, encoder, with_null)


def test_texts_in_base64_are_decoded_in_every_place_of_a_cell() -> None:
    encoder = ENCODERS["mixed"]
    coded = {"b64": base64.b64encode("Köln".encode()).decode()}
    plain, rows = [[1.0, "Köln", "x", None]], [[1.0, coded, "x", None]]
    for form in FORMS:
        wire, document = FORMS[form](list(encoder.schema.names), rows)
        for read in (small, large):
            found = read(wire, encoder, json.dumps(document).encode())
            if "split" in form or "records" in form:  # a data frame has no such values
                assert not isinstance(found, bytes), form
            else:
                assert found == encoder.encode(plain), form


@pytest.mark.parametrize("text", ["S8O2bG4", "%%%%", "/w==", "S8O2 bG4="])
def test_a_text_in_base64_is_valid_or_refused_by_row_and_column(text: str) -> None:
    body = json.dumps({"instances": [{"a": 1}, {"c": {"b64": text}}]}).encode()
    for read in (small, large):
        assert read(TF["predict"], ENCODERS["one"], body) == [(1, "c", f'"{text}" is not a UTF-8 text in base64')]


def test_single_values_are_rows_of_a_model_with_one_column() -> None:
    encoder = ENCODERS["one"]
    for body in (
        b'{"instances": ["x", 2, {"b64": "eA=="}]}',
        b'{"instances": [["x"], [2], {"c": "x"}]}',
        b'{"inputs": ["x", 2, "x"]}',
        b'{"inputs": {"any": ["x", 2, "x"]}}',
        b'{"inputs": {"any": [["x"], [2], [{"b64": "eA=="}]]}}',
    ):
        for read in (small, large):
            assert read(TF["predict"], encoder, body) == encoder.encode([["x"], [2], ["x"]]), body


@pytest.mark.parametrize(
    "frame",
    [
        {"dataframe_records": [{"age": "x"}, {"age": 2}]},
        {"dataframe_split": {"columns": ["age"], "data": [["x"], [2]]}},
        {"dataframe_split": {"columns": [0], "data": [["x"], [2]]}},
        {"dataframe_split": {"columns": ["age"], "data": [[1.5], [2.5]]}},
    ],
)
def test_the_only_column_of_a_frame_is_not_read_as_another_column(frame: dict[str, Any]) -> None:
    for read in (small, large):
        found = read(MLFLOW, ENCODERS["one"], json.dumps(frame).encode())
        assert found == [(0, "c", "this column is missing")], read.__name__


def test_the_context_holds_for_every_example() -> None:
    encoder = ENCODERS["numbers"]
    for body in (
        b'{"examples": [{"a": 1}, {"a": [2]}], "context": {"b": 5}}',
        b'{"context": {"b": [5]}, "examples": [{"a": 1}, {"a": 2}]}',
    ):
        for read in (small, large):
            assert read(TF["regress"], encoder, body) == encoder.encode([[1, 5], [2, 5]])
    for body in (
        b'{"examples": [{"a": 1}, {"a": 2, "b": 3}], "context": {"b": 5}}',
        b'{"examples": [{"a": 1}, [2]], "context": {"b": 5}}',
    ):
        for read in (small, large):
            assert [fault[0] for fault in read(TF["regress"], encoder, body)] == [1]


REFUSED: dict[str, list[tuple[dict[str, Any] | list[Any] | str, str]]] = {
    "predict": [
        ([], "has to be a JSON object, not a list"),
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ('{"instances": [[1, Infinity]]}', "is not JSON"),
        ('{"instances": [[1, -NaN]]}', "is not JSON"),
        ('{"instances": [[1, 2]], "instances": [[3, 4]]}', "stands twice"),
        ('{"inputs": {"a": [1], "b": [2], "a": [3]}}', "stands twice"),
        ({}, "exactly one of 'instances', 'inputs', and has none"),
        ({"instances": [[1, 2]], "inputs": [[1, 2]]}, "exactly one of"),
        ({"instances": [[1, 2]], "model": "x"}, 'the key "model"'),
        ({"instances": [[1, 2]], "signature_name": "other"}, "signature_name"),
        ({"instances": [[1, 2]], "signature_name": ["serving_default"]}, "signature_name"),
        ({"instances": []}, "has no rows"),
        ({"instances": 5}, "has to be a list of rows"),
        ({"instances": {"a": [1], "b": [2]}}, "has to be a list of rows"),
        ({"inputs": None}, "has to be a list of rows"),
        ({"inputs": {}}, "has no columns"),
        ({"inputs": {"a": [], "b": []}}, "has no rows"),
        ({"inputs": {"a": 1, "b": 2}}, "column 'a' has to be a list"),
        ({"inputs": {"a": [1, 2], "b": [2]}}, "column 'a' has 2 values, and column 'b' has 1"),
    ],
    "classify": [
        ({}, "has no examples"),
        ({"examples": [{"a": 1}], "context": [1]}, "context"),
        ({"examples": [{"a": 1}], "signature_name": "tensorflow/serving/regress"}, "signature_name"),
        ({"instances": [[1, 2]]}, 'the key "instances"'),
    ],
    "mlflow": [
        ({}, "exactly one of 'dataframe_split', 'dataframe_records', 'instances', 'inputs'"),
        ({"instances": [[1, 2]], "inputs": [[1, 2]]}, "exactly one of"),
        ({"messages": []}, 'the key "messages"'),
        ({"instances": [[1, 2]], "params": {"temperature": 1}}, "params has to be empty"),
        ({"instances": [[1, 2]], "params": 0}, "params has to be empty"),
        ({"dataframe_split": [[1, 2]]}, "has to be an object"),
        ({"dataframe_split": {"columns": ["a", "b"]}}, "data has to be a list"),
        ({"dataframe_split": {"columns": ["a", "b"], "data": []}}, "has no rows"),
        ({"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}, '"a" stands twice'),
        ({"dataframe_split": {"columns": ["1", 1], "data": [[1, 2]]}}, '"1" stands twice'),
        ({"dataframe_split": {"columns": ["a", ["b"]], "data": [[1, 2]]}}, "is not a name"),
        ({"dataframe_split": {"columns": "ab", "data": [[1, 2]]}}, "has to be a list of names"),
        ({"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]], "index": [0, 1]}}, "index"),
        ({"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]], "more": 1}}, 'the key "more"'),
        ({"dataframe_records": []}, "has no rows"),
        ({"dataframe_records": {"a": 1, "b": 2}}, "has to be a list of objects"),
    ],
}


def refusals() -> Iterator[tuple[str, bytes, str]]:
    """Yields the method, the body and a part of the message of each refused body."""
    for method, bodies in REFUSED.items():
        for body, message in bodies:
            yield method, body.encode() if isinstance(body, str) else json.dumps(body).encode(), message


@pytest.mark.parametrize(("method", "body", "message"), list(refusals()))
def test_other_documents_are_refused_with_a_sentence(method: str, body: bytes, message: str) -> None:
    wire = MLFLOW if method == "mlflow" else TF[method]
    for read in (small, large):
        with pytest.raises(InvalidRequest) as caught:
            read(wire, ENCODERS["numbers"], body)
        assert message in str(caught.value) or "stands twice" in message, read.__name__


@pytest.mark.parametrize(
    ("frame", "fault"),
    [
        ({"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [1]]}}, (1, "", "1 value where ")),
        ({"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], {"a": 1}]}}, (1, "", "an object where ")),
        ({"dataframe_split": {"columns": ["a", "c"], "data": [[1, 2]]}}, (0, "b", "this column is missing")),
        ({"dataframe_split": {"columns": ["a", " a ", "b"], "data": [[1, 2, 3]]}}, (0, "a", "another column")),
        ({"dataframe_records": [{"a": 1, "b": 2}, {"a": 1}]}, (1, "b", "this column is missing")),
        ({"dataframe_records": [{"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}]}, (1, "c", "record 0 does not have")),
        ({"dataframe_records": [{"a": 1, "b": 2}, [1, 2]]}, (1, "", "a list where an object")),
        ({"dataframe_records": [{"a": 1}]}, (0, "b", "this column is missing")),
        ({"inputs": {"a": [1], "b": [2], "c": [3]}}, (0, "c", "not a column of this model")),
        ({"instances": [{"a": 1, "b": 2, "c": 3}]}, (0, "c", "not a column of this model")),
    ],
)
def test_frames_that_do_not_fit_are_refused_by_row_and_column(
    frame: dict[str, Any], fault: tuple[int, str, str]
) -> None:
    for read in (small, large):
        [found] = read(MLFLOW, ENCODERS["numbers"], json.dumps(frame).encode())
        assert isinstance(found, tuple)
        assert found[:2] == fault[:2]
        assert found[2].startswith(fault[2])
