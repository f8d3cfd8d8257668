"""Inputs of all datatypes, in JSON and as bytes, give the bits of the same cells in `/predict`, or are refused."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from infer_bodies import FORMATS, InferHead, binary_tensor, element_bytes, tensor, with_bytes

from models.columns.encoding import RowEncoder
from models.columns.schema import CategoricalColumn, ClassTarget, DateColumn, NumericColumn, Schema
from models.errors import RowError
from service.errors import InvalidRequest
from service.http.wire.json_format import JsonFormat
from service.http.wire.open_inference_format import BinaryInferFormat, JsonInferFormat
from service.open_inference.tensors import tensor_of_bytes_in_steps

WHOLE = tuple(name for name in FORMATS if "INT" in name)
FLOATS = ("FP16", "FP32", "FP64")
LABELS = ClassTarget(name="y", labels=("no", "yes"))


def number(name: str, **changes: Any) -> NumericColumn:
    return NumericColumn(**({"name": name, "mean": 0.5, "std": 2.0, "minimum": -9.0, "maximum": 9.0} | changes))


def schema(*columns: Any) -> RowEncoder:
    return RowEncoder(Schema(columns=columns, target=LABELS))


NUMBERS = {
    "plain": schema(number("a"), number("b"), number("c")),
    "with gaps": schema(number("a", missing="mean"), number("b", missing="indicator"), number("c", missing="mean")),
    "far from zero": schema(number("a"), number("b", origin=1.7e9 + 1 / 3), number("c", missing="indicator")),
    "mixed": schema(
        number("a", missing="mean"),
        CategoricalColumn(name="b", categories=("5", "red", "true"), unknown="ignore", missing="ignore"),
        DateColumn(
            name="c", mean=19_000.0, std=300.0, minimum=18_000.0, maximum=20_000.0, parts=("weekday",),
            missing="indicator",
        ),
    ),
}  # fmt: skip
NAMES = ("a", "b", "c")


def encoded(encoder: RowEncoder, body: bytes, json_length: int | None = None) -> bytes | None:
    """Returns the encoded rows of an inference request; None for a refusal."""
    wire = JsonInferFormat() if json_length is None else BinaryInferFormat()
    try:
        _, rows, may_hold_booleans, _ = wire.read(body, "m", InferHead(json_length))
        return bytes(encoder.encode_any(rows, may_hold_booleans=may_hold_booleans))
    except (InvalidRequest, RowError):
        return None
    finally:
        encoder.unknown.take()


def predicted(encoder: RowEncoder, rows: list[list[Any]]) -> bytes | None:
    """Returns the encoded rows of the same cells sent to `/predict`; None for a refusal."""
    body = orjson.dumps({"instances": rows})
    try:
        _, cells, may_hold_booleans, _ = JsonFormat().read(body, None, InferHead())
        return bytes(encoder.encode_any(cells, may_hold_booleans=may_hold_booleans))
    except (InvalidRequest, RowError):
        return None
    finally:
        encoder.unknown.take()


def limits(datatype: str) -> tuple[int, int]:
    bits = 8 * FORMATS[datatype][1]
    return (0, 2**bits - 1) if datatype[0] == "U" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def elements(datatype: str) -> st.SearchStrategy[Any]:
    """Generates elements that a datatype holds; NaN in binary floats is a gap."""
    if datatype in WHOLE:
        least, most = limits(datatype)
        edges = [edge for edge in (0, 2**53, 2**53 + 1, -(2**53) - 1, 2**24 + 1, least, most) if least <= edge <= most]
        return st.integers(least, most) | st.sampled_from(edges)
    if datatype in FLOATS:
        return st.floats(width=8 * FORMATS[datatype][1]) | st.sampled_from([0.0, -0.0, 5.0, math.nan, 1e-7, 1.5])
    return st.booleans() if datatype == "BOOL" else st.text(max_size=300) | st.sampled_from(["", "red", "2026-01-02"])


datatypes = st.sampled_from([*FORMATS, "BYTES"])


@st.composite
def matrices(draw: st.DrawFn) -> tuple[str, list[list[Any]]]:
    """Generates a datatype and rows of three of its elements."""
    datatype = draw(datatypes)
    row = st.lists(elements(datatype), min_size=3, max_size=3)
    rows = draw(st.lists(row, min_size=1, max_size=4) | row.map(lambda row: [row] * 40))
    return datatype, rows


def held(datatype: str, cell: Any) -> Any:
    """Returns the cell that an element means: NaN is a gap, and a float is what its bits say."""
    if isinstance(cell, float):
        letter = FORMATS[datatype][0]
        [cell] = struct.unpack(f"<{letter}", struct.pack(f"<{letter}", cell))
        return None if math.isnan(cell) else cell
    return cell


@pytest.mark.parametrize("kind", NUMBERS)
@given(given=matrices(), named=st.booleans(), order=st.permutations(range(3)))
@example(given=("INT64", [[2**53 + 1, 0, -(2**53) - 1]]), named=False, order=[0, 1, 2])
@example(given=("UINT64", [[2**64 - 1, 5, 2**63]] * 40), named=True, order=[2, 0, 1])
@example(given=("FP32", [[0.0, math.nan, -0.0]]), named=False, order=[0, 1, 2])
def test_binary_elements_mean_what_the_same_cells_mean_to_predict(
    kind: str, given: tuple[str, list[list[Any]]], named: bool, order: list[int]
) -> None:
    encoder, (datatype, rows) = NUMBERS[kind], given
    expected = predicted(encoder, [[held(datatype, cell) for cell in row] for row in rows])
    if any(isinstance(cell, float) and math.isinf(cell) for row in rows for cell in row):
        expected = None  # JSON has no infinity
    if named:
        parts = [element_bytes(datatype, [row[column] for row in rows]) for column in order]
        shapes = [(len(rows),), (len(rows), 1), (len(rows),)]
        inputs = [
            binary_tensor(NAMES[column], datatype, shape, len(part))
            for column, part, shape in zip(order, parts, shapes, strict=True)
        ]
    else:
        parts = [element_bytes(datatype, [cell for row in rows for cell in row])]
        inputs = [binary_tensor("anything", datatype, (len(rows), 3), len(parts[0]))]
    body, length = with_bytes({"inputs": inputs}, *parts)
    assert encoded(encoder, body, length) == expected
    assert encoded(encoder, bytearray(body), length) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", NUMBERS)
@given(given=matrices(), form=st.sampled_from(["flat", "nested", "named", "named and nested", "one binary"]))
def test_json_elements_mean_what_the_same_cells_mean_to_predict(
    kind: str, given: tuple[str, list[list[Any]]], form: str
) -> None:
    encoder, (datatype, rows) = NUMBERS[kind], given
    rows = [[None if isinstance(cell, float) and not math.isfinite(cell) else cell for cell in row] for row in rows]
    read = (lambda _, cell: cell) if datatype != "FP16" else held  # wider floats count as they are written
    expected = predicted(encoder, [[read(datatype, cell) for cell in row] for row in rows])
    flat, count = [cell for row in rows for cell in row], len(rows)
    columns = [[row[at] for row in rows] for at in range(3)]
    parts: list[bytes] = []
    match form:
        case "flat":
            inputs = [tensor("x", datatype, (count, 3), flat)]
        case "nested":
            inputs = [tensor("x", datatype, (count, 3), rows)]
        case "named":
            inputs = [tensor(name, datatype, (count,), columns[at]) for at, name in enumerate(NAMES)]
        case "named and nested":
            inputs = [tensor(name, datatype, (count, 1), [[c] for c in columns[at]]) for at, name in enumerate(NAMES)]
        case _:
            binary = [math.nan if cell is None else cell for cell in columns[1]]
            parts.append(element_bytes(datatype, binary))
            inputs = [
                tensor("c", datatype, (count,), columns[2]),
                binary_tensor("b", datatype, (count, 1), len(parts[0])),
                tensor("a", datatype, (count,), columns[0]),
            ]
            if datatype in ("FP32", "FP64"):
                expected = predicted(encoder, [[row[0], None if row[1] is None else held(datatype, row[1]), row[2]]
                                               for row in rows])  # fmt: skip
    body, length = with_bytes({"inputs": inputs}, *parts)
    assert encoded(encoder, body, length if parts else None) == expected


@pytest.mark.parametrize("datatype", WHOLE)
def test_a_whole_number_is_kept_to_the_last_digit_or_refused(datatype: str) -> None:
    encoder = schema(CategoricalColumn(name="a", categories=tuple(map(str, limits(datatype)))))  # no digit may be lost
    for at, value in enumerate(limits(datatype)):
        body, _ = with_bytes({"inputs": [tensor("a", datatype, (1,), [value])]})
        found = encoded(encoder, body)
        assert found is not None
        assert np.frombuffer(found, "<f4").argmax() == at
        beyond = value + (1 if value else 0) if at else value - 1
        body, _ = with_bytes({"inputs": [tensor("a", datatype, (1,), [beyond])]})
        assert encoded(encoder, body) is None or beyond == value
    for wrong in (0.5, "1", True, None, [1], {}, 1e300):
        body, _ = with_bytes({"inputs": [tensor("a", datatype, (1,), [wrong])]})
        assert encoded(NUMBERS["plain"], body) is None
        assert encoded(encoder, body) is None


@given(value=st.floats(-7e4, 7e4))
@example(value=65519.99)
@example(value=65520.0)
@example(value=6.1e-5)
@example(value=2**-25)
def test_a_number_of_fp16_is_rounded_as_struct_rounds_it_or_refused(value: float) -> None:
    encoder = schema(number("a"))
    body, _ = with_bytes({"inputs": [tensor("a", "FP16", (1,), [value])]})
    try:
        [rounded] = struct.unpack("<e", struct.pack("<e", value))
    except OverflowError:
        assert encoded(encoder, body) is None
    else:
        assert encoded(encoder, body) == struct.pack("<f", rounded)


@pytest.mark.parametrize("kind", ["plain", "with gaps", "far from zero"])
@given(data=st.data())
def test_a_raw_tensor_is_a_matrix_in_the_models_own_type(kind: str, data: st.DataObject) -> None:
    encoder = NUMBERS[kind]
    datatype = "FP64" if kind == "far from zero" else "FP32"
    cells = data.draw(st.lists(elements(datatype), min_size=3, max_size=9))
    body = element_bytes(datatype, cells)
    rows = [[held(datatype, cell) for cell in cells[at : at + 3]] for at in range(0, len(cells), 3)]
    is_whole = len(cells) % 3 == 0 and not any(map(math.isinf, cells))
    assert encoded(encoder, body, 0) == (predicted(encoder, rows) if is_whole else None)
    assert encoded(encoder, body[:-1], 0) is None
    assert encoded(encoder, b"", 0) is None
    assert encoded(NUMBERS["mixed"], body, 0) is None


@given(texts=st.lists(st.text(max_size=3) | st.integers(0, 70_000).map("x".__mul__), min_size=1, max_size=5))
def test_texts_of_every_length_arrive(texts: list[str]) -> None:
    wire = BinaryInferFormat()
    part = element_bytes("BYTES", texts)
    body, length = with_bytes({"inputs": [binary_tensor("a", "BYTES", (len(texts),), len(part))]}, part)
    _, rows, _, _ = wire.read(body, "m", InferHead(length))
    assert rows.by_name == {"a": texts}  # type: ignore[union-attr]


@given(part=st.binary(max_size=20), count=st.integers(1, 4))
def test_bytes_are_texts_of_the_given_lengths_or_refused(part: bytes, count: int) -> None:
    body, length = with_bytes({"inputs": [binary_tensor("a", "BYTES", (count,), len(part))]}, part)
    try:
        _, rows, _, _ = BinaryInferFormat().read(body, "m", InferHead(length))
    except InvalidRequest:
        return
    assert element_bytes("BYTES", rows.by_name["a"]) == part  # type: ignore[union-attr]
    assert len(rows) == count


@given(part=st.binary(min_size=1, max_size=8))
def test_booleans_are_0_or_1(part: bytes) -> None:
    body, length = with_bytes({"inputs": [binary_tensor("a", "BOOL", (len(part),), len(part))]}, part)
    try:
        _, rows, may_hold_booleans, _ = BinaryInferFormat().read(body, "m", InferHead(length))
    except InvalidRequest:
        assert set(part) - {0, 1}
    else:
        assert may_hold_booleans
        assert rows.by_name == {"a": [byte == 1 for byte in part]}  # type: ignore[union-attr]


@pytest.mark.parametrize(("datatype", "element"), [("BOOL", True), ("BYTES", "")])
def test_large_tensors_are_read_in_many_steps(datatype: str, element: Any) -> None:
    count = 300_001
    data = memoryview(element_bytes(datatype, [element]) * count)
    taken = 0

    def counted() -> Iterator[None]:
        nonlocal taken
        tensor = yield from tensor_of_bytes_in_steps("a", datatype, (count,), data)
        assert tensor.cells == [element] * count

    for _ in counted():
        taken += 1
    assert taken >= 5
