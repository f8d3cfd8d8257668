"""The ONNX file: names, types, opset, metadata, marks for refused rows, spellings, and the calendar."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime
import pytest
from export_cases import (
    FAR_PRICE,
    KINDS,
    NO_DATE,
    PRICE,
    day,
    expected,
    feed,
    made,
    mixed_columns,
    number,
    onnx_session,
    random_rows,
    run_onnx,
    source,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from serving import SEVERAL

from conversion.exporting import numpy_network, onnx_activations, onnx_network, torch_activations, torch_file
from conversion.exporting.errors import ExportError
from conversion.exporting.graph import Graph
from conversion.exporting.onnx_columns import ColumnsGraph
from conversion.exporting.onnx_file import onnx_bytes, refused_label
from models.checkpoint import Checkpoint
from models.columns.cells import category_finder
from models.columns.column import CategoricalColumn
from models.columns.encoding import RowEncoder
from models.columns.schema import ClassTarget, Schema
from models.network.config import Activation, LayerActivation, NetworkOutput
from models.network.layer_activations import TYPES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
MIXED = made(mixed_columns(), KINDS, 8)


def test_the_file_is_sound_needs_opset_12_and_says_what_it_is() -> None:
    proto = onnx.load_model_from_string(onnx_bytes(source(MIXED, "people")))
    onnx.checker.check_model(proto, full_check=True)
    assert {one.domain: one.version for one in proto.opset_import} == {"": 12, "ai.onnx.ml": 2}
    assert (proto.producer_name, proto.producer_version, proto.model_version) == ("axon", "1.2", 3)
    assert {entry.key: entry.value for entry in proto.metadata_props} == {
        "axon.model": "people",
        "axon.model_version": "3",
        "axon.version": "1.2",
        "axon.digest": "sha256:" + "0" * 64,
        "axon.target": "kind",
        "axon.task": "classification",
        "axon.refused_label": "",
    }
    assert [one.name for one in proto.graph.input] == list(MIXED.schema.names)
    assert all(one.doc_string for one in [*proto.graph.input, *proto.graph.output])


def test_each_column_is_an_input_and_outputs_have_the_usual_names(tmp_path: Path) -> None:
    session = onnx_session(MIXED, tmp_path)
    kinds = {"numeric": "tensor(double)", "categorical": "tensor(string)", "date": "tensor(int64)"}
    assert [(one.name, one.type, one.shape) for one in session.get_inputs()] == [
        (column.name, kinds[column.kind], ["rows", 1]) for column in MIXED.schema.columns
    ]
    assert [(one.name, one.type, one.shape) for one in session.get_outputs()] == [
        ("label", "tensor(string)", ["rows"]),
        ("probabilities", "tensor(float)", ["rows", 3]),
        ("unknown", "tensor(int64)", ["rows", 1]),
    ]
    one_row = {name: values[:1] for name, values in feed(MIXED.schema, random_rows(MIXED.schema, 3)).items()}
    none = {name: values[:0] for name, values in one_row.items()}
    assert run_onnx(session, one_row)["probabilities"].shape == (1, 3)
    assert run_onnx(session, none)["probabilities"].shape == (0, 3)


def test_several_targets_are_columns_of_one_output_and_are_named_in_order(tmp_path: Path) -> None:
    checkpoint = made(mixed_columns(), SEVERAL, 8, clamp=True)
    proto = onnx.load_model_from_string(onnx_bytes(source(checkpoint)))
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(properties["axon.targets"]) == ["rent", "sold", "cost"]
    assert properties["axon.task"] == "regression"
    session = onnx_session(checkpoint, tmp_path)
    value, unknown = session.get_outputs()
    assert (value.name, value.type, value.shape) == ("value", "tensor(double)", ["rows", 3])
    assert unknown.name == "unknown"
    answers = run_onnx(session, feed(checkpoint.schema, random_rows(checkpoint.schema, 300)))["value"]
    for i, target in enumerate(SEVERAL.targets):  # the clamp of each target
        assert target.minimum is not None
        assert target.maximum is not None
        kept = answers[~np.isnan(answers[:, i]), i]
        assert kept.min() >= target.minimum - 1e-6 * target.std
        assert kept.max() <= target.maximum + 1e-6 * target.std


def test_the_same_model_gives_the_same_bytes_in_every_process() -> None:
    code = (
        "import sys, hashlib; sys.path += ['tests/conversion/exporting', 'tests'];"
        "from test_onnx_export import MIXED, source, onnx_bytes;"
        "print(hashlib.sha256(onnx_bytes(source(MIXED))).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}, text=True,
            capture_output=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1


def test_columns_may_have_the_names_of_outputs_and_of_values_inside(tmp_path: Path) -> None:
    names = ("value", "label", "probabilities", "axon/constant_0", "axon/cast_3", "predicted_label", "a b/é")
    classes = made([number(name) for name in names], KINDS, 4)
    values = made([number(name) for name in names], PRICE, 4)
    rows = random_rows(classes.schema, 50)
    found = run_onnx(onnx_session(classes, tmp_path), feed(classes.schema, rows))
    assert list(found) == ["predicted_predicted_label", "predicted_probabilities"]
    assert np.nanmax(np.abs(found["predicted_probabilities"] - expected(classes, rows).answers)) < 1e-6
    assert list(run_onnx(onnx_session(values, tmp_path), feed(values.schema, rows))) == ["predicted_value"]


def test_numbers_may_come_as_one_matrix_and_many_columns_need_no_more_operators(tmp_path: Path) -> None:
    columns = [number("rows", missing="indicator"), number("b", origin=2.0, missing="mean"), number("c")]
    checkpoint = made(columns, KINDS, 8)
    rows = random_rows(checkpoint.schema, 100)
    proto = onnx.load_model_from_string(onnx_bytes(source(checkpoint), matrix=True))
    assert [one.name for one in proto.graph.input] == ["rows"]
    assert "rows, b, c" in proto.graph.input[0].doc_string
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    cells = np.hstack([feed(checkpoint.schema, rows)[name] for name in checkpoint.schema.names])
    wanted = expected(checkpoint, rows)
    found = run_onnx(session, {"rows": cells})["probabilities"]
    assert np.nanmax(np.abs(found - wanted.answers)) < 1e-6
    assert (np.isnan(found).any(axis=1) == wanted.refused).all()
    with pytest.raises(ExportError, match="a matrix holds numbers, and column 'town' has none"):
        onnx_bytes(source(MIXED), matrix=True)
    few, many = (
        onnx.load_model_from_string(onnx_bytes(source(made([number(f"x{i}") for i in range(n)], KINDS, 8)))).graph
        for n in (2, 300)
    )
    assert len(many.input) == 300
    assert len(many.node) == len(few.node)


@pytest.mark.parametrize("checkpoint", [MIXED, made(mixed_columns(), FAR_PRICE, 8, clamp=True)])
def test_no_constant_is_left_over(checkpoint: Checkpoint) -> None:
    graph = onnx.load_model_from_string(onnx_bytes(source(checkpoint))).graph
    used = {name for node in graph.node for name in node.input}
    assert {one.name for one in graph.initializer} <= used


@pytest.mark.parametrize(
    ("labels", "type_", "mark"),
    [
        (("no", "yes"), "tensor(string)", ""),
        (("", "?", "x"), "tensor(string)", "??"),
        ((True, False), "tensor(string)", ""),
        ((1, 2, -5), "tensor(int64)", -(2**63)),
        ((-(2**63), 7), "tensor(int64)", -(2**63) + 1),
        ((2**63, 7), "tensor(string)", ""),
        ((0.5, 1.0), "tensor(double)", float("nan")),
    ],
)
def test_a_refused_row_has_a_label_that_is_no_label(
    labels: tuple[Any, ...], type_: str, mark: object, tmp_path: Path
) -> None:
    checkpoint = made([number("x")], ClassTarget(name="y", labels=labels), 4)
    session = onnx_session(checkpoint, tmp_path)
    assert session.get_outputs()[0].type == type_
    found = run_onnx(session, {"x": np.array([[0.5], [np.nan], [np.inf], [-3.5e38], [1e300], [2.0]])})
    wanted = expected(checkpoint, [[0.5], [2.0]]).labels
    texts = [str(label).lower() if isinstance(label, bool) else str(label) for label in wanted]
    assert [str(label) for label in found["label"][[0, 5]]] == texts
    assert repr(found["label"][1:5].tolist()) == repr([mark] * 4)
    assert np.isnan(found["probabilities"][1:5]).all()
    assert repr(refused_label(labels)) == repr(mark)


def test_an_answer_that_is_not_finite_is_marked(tmp_path: Path) -> None:
    checkpoint = made([number("x", mean=0, std=1), number("y", mean=0, std=1)], PRICE, 4, activation="identity")
    tensors = {name: tensor * np.float32(1e6) for name, tensor in checkpoint.tensors.items()}
    large = replace(checkpoint, tensors=tensors)
    rows: list[Any] = [{"x": 1.0, "y": 2.0}, {"x": 3e38, "y": 3e38}, {"x": 3e38, "y": -3e38}]
    wanted = expected(large, rows)
    assert wanted.refused.tolist() == [False, True, True]
    found = run_onnx(onnx_session(large, tmp_path), feed(large.schema, rows))
    assert np.isnan(found["value"]).ravel().tolist() == [False, True, True]


@pytest.mark.parametrize("activation", get_args(Activation))
def test_no_activation_hides_an_overflow(activation: Any, tmp_path: Path) -> None:
    """Compares rows whose sums are infinite or NaN inside the network; hidden layers are wide enough for SIMD."""
    checkpoint = made([number("x", mean=0, std=1)], PRICE, 33, 17, activation=activation)
    rows = [{"x": sign * 10.0**power} for power in (*range(20, 39), 38.5) for sign in (1, -1)]
    scaled = {name: tensor * np.float32(1e3) for name, tensor in checkpoint.tensors.items()}
    large = replace(checkpoint, tensors=scaled)
    wanted = expected(large, rows)
    found = run_onnx(onnx_session(large, tmp_path), feed(large.schema, rows))
    assert np.isnan(found["value"]).ravel().tolist() == wanted.refused.tolist()
    assert wanted.refused.any() or activation in ("tanh", "sigmoid")


def test_a_text_is_found_in_the_spellings_that_a_graph_can_know(tmp_path: Path) -> None:
    column = CategoricalColumn(
        name="c", categories=("true", "3", "lead", "NaN", "007"), unknown="ignore", missing="ignore"
    )
    session = onnx_session(made([column], KINDS, 4), tmp_path)
    texts = ["true", "True", "TRUE", "3", "3.0", "lead", "NaN", "nan", "NA", "", "null", "007", "7", "Lead", "new"]
    found = run_onnx(session, {"c": np.array(texts, dtype=object)[:, None]})
    wanted = expected(made([column], KINDS, 4), [[text] for text in texts])
    assert np.abs(found["probabilities"] - wanted.answers).max() < 1e-6
    find = category_finder(column)
    assert found["unknown"].ravel().tolist() == [int(find(text) == -1) for text in texts]


CALENDAR = day("d", parts=("month", "day", "weekday", "hour"), missing="mean", origin=0.0)


@pytest.fixture(scope="module")
def calendar_session() -> onnxruntime.InferenceSession:
    """A graph with the operators of one column of dates only."""
    graph = Graph(["d"])
    rows = ColumnsGraph(graph, [CALENDAR]).add()
    outputs = [
        helper.make_tensor_value_info(rows.x, onnx.TensorProto.FLOAT, None),
        helper.make_tensor_value_info(rows.refused[0], onnx.TensorProto.BOOL, None),
    ]
    proto = helper.make_model(
        helper.make_graph(graph.nodes, "dates", rows.inputs, outputs, graph.initializers),
        opset_imports=[helper.make_opsetid("", 12)],
        ir_version=7,
    )
    return onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


def encoded(session: onnxruntime.InferenceSession, moments: np.ndarray) -> np.ndarray:
    """Encodes moments, (rows,) microseconds; NaN for a refused one."""
    x, refused = session.run(None, {"d": moments[:, None]})
    return np.where(refused, np.nan, x)


def test_days_of_ten_thousand_years_have_their_parts(calendar_session: onnxruntime.InferenceSession) -> None:
    days = np.arange(np.datetime64("0001-01-01"), np.datetime64("9999-12-31") + np.timedelta64(1, "D"))
    hours = np.random.default_rng(0).integers(0, 24 * 3600 * 10**6, len(days)).astype("timedelta64[us]")
    moments = days.astype("datetime64[us]") + hours
    some = np.concatenate([moments[::17], moments[-400:], moments[:400]])
    texts = [[text + "Z"] for text in np.datetime_as_string(some, "us").tolist()]
    schema = Schema(columns=(CALENDAR,), target=KINDS)
    assert (encoded(calendar_session, some.astype(np.int64)) == RowEncoder(schema).encode_matrix(texts)).all()


@settings(max_examples=200, deadline=None)
@given(st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59, 999_999)))
def test_any_moment_has_its_parts(calendar_session: onnxruntime.InferenceSession, moment: datetime.datetime) -> None:
    microseconds = (moment - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1)
    schema = Schema(columns=(CALENDAR,), target=KINDS)
    found = encoded(calendar_session, np.array([microseconds]))
    assert (found == RowEncoder(schema).encode_matrix([[moment.isoformat()]])).all()


def test_moments_outside_the_calendar_are_refused_and_nat_is_a_gap(
    calendar_session: onnxruntime.InferenceSession,
) -> None:
    first, last = np.datetime64("0001-01-01", "us"), np.datetime64("9999-12-31T23:59:59.999999", "us")
    edges = np.array([first, last]).astype(np.int64)
    found = encoded(calendar_session, np.array([*edges, edges[0] - 1, edges[1] + 1, 2**63 - 1, NO_DATE]))
    assert np.isnan(found).any(axis=1).tolist() == [False, False, True, True, True, False]
    assert found[-1].tolist() == [CALENDAR.fill, *[0.0] * 8]
    assert np.datetime64("NaT", "us").astype(np.int64) == NO_DATE


def test_a_model_that_is_not_published_has_no_version_and_no_digest() -> None:
    proto = onnx.load_model_from_string(onnx_bytes(replace(source(MIXED), version=None, digest=None)))
    keys = {entry.key for entry in proto.metadata_props}
    assert "axon.digest" not in keys
    assert "axon.model_version" not in keys
    assert proto.doc_string == "Axon 1.2 wrote this file from exported."


def test_every_activation_and_output_is_in_every_table() -> None:
    activations, outputs = set(TYPES), set(get_args(NetworkOutput))
    assert activations == {name for one in get_args(LayerActivation) for name in (get_args(one) or (one,))}
    for table in (onnx_activations.ACTIVATIONS, torch_activations.ACTIVATIONS):
        assert set(table) == activations
    for table in (onnx_network.OUTPUTS, torch_file.OUTPUTS, numpy_network.OUTPUTS):
        assert set(table) == outputs
