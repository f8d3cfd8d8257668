"""Large inference requests read in steps: the rows and the refusals of the small way, at any division into slices."""

from __future__ import annotations

import gc
import random
import struct
import time
import tracemalloc
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from infer_bodies import FORMATS, InferHead, binary_tensor, element_bytes, tensor, with_bytes

from models.columns.encoding import RowEncoder
from models.columns.schema import CategoricalColumn, ClassTarget, DateColumn, NumericColumn, Schema
from models.errors import RowError
from service.errors import InvalidRequest
from service.http.wire.bulk_json import NumberReader
from service.http.wire.json_text import USUAL_SIZES, SliceSizes
from service.http.wire.open_inference_format import BinaryInferFormat, JsonInferFormat
from service.http.wire.open_inference_reader import InferReader
from service.large_reading import LargeReading

NUMBERS = NumberReader()
LABELS = ClassTarget(name="y", labels=("no", "yes"))
LONG_SECONDS = 0.01  # of the processor, for one step, as the event loop promises; steps take 1 ms


def number(name: str, **changes: Any) -> NumericColumn:
    return NumericColumn(**({"name": name, "mean": 0.0, "std": 1.0, "minimum": -3.0, "maximum": 3.0} | changes))


def schema(*columns: Any) -> RowEncoder:
    return RowEncoder(Schema(columns=columns, target=LABELS))


PLAIN = schema(number("a"), number("b"))
GAPS = schema(number("a", missing="indicator"), number("b", missing="mean", origin=5.0))
MIXED = schema(
    number("a", missing="mean"),
    CategoricalColumn(name="b", categories=("5", "5.5", "red", "true"), unknown="ignore", missing="ignore"),
)
DATES = DateColumn(name="d", mean=19_000.0, std=300.0, minimum=18_000.0, maximum=20_000.0, parts=("weekday",))
ENCODERS = {"plain": PLAIN, "gaps": GAPS, "mixed": MIXED}


Found = tuple[bytes, str | None, Any] | None  # encoded rows, id and layout of the answer; None if refused


def at_once(encoder: RowEncoder, body: bytes, length: int | None) -> Found:
    """Reads a request in the small way."""
    wire = JsonInferFormat() if length is None else BinaryInferFormat()
    try:
        _, rows, may_hold_booleans, form = wire.read(body, "m", InferHead(length))
        data = bytes(encoder.encode_any(rows, may_hold_booleans=may_hold_booleans))
    except (InvalidRequest, RowError):
        return None
    finally:
        encoder.unknown.take()
    return data, form.id, form.layout  # type: ignore[union-attr]


def in_steps(encoder: RowEncoder, body: bytes, length: int | None, sizes: SliceSizes = USUAL_SIZES) -> Found:
    """Reads a request in the large way."""
    reader = InferReader(body, "m", len(body) if length is None else length, NUMBERS, sizes)
    reading = LargeReading(reader, encoder, most_rows=10**6)
    try:
        for _ in reading.steps():
            pass
    except (InvalidRequest, RowError):
        return None
    finally:
        encoder.unknown.take()
    assert reading.rows is not None
    return b"".join(reading.rows.cut(0, reading.rows.rows)), reader.form.id, reader.form.layout


cells = {
    "FP32": st.integers(-9, 9) | st.floats(-9, 9) | st.just(None) | st.sampled_from([5, 5.0, 5.5, 2**53 + 1, -0.0]),
    "FP16": st.integers(-9, 9) | st.floats(-9, 9) | st.just(None) | st.just(7e4),
    "FP64": st.integers(-9, 9) | st.floats(-9, 9) | st.just(None) | st.sampled_from([1e39, 2**70]),
    "INT64": st.integers(-(2**63), 2**63 - 1) | st.sampled_from([5, 5.0, 5.5, 2**53, -(2**63) - 1]),
    "UINT8": st.integers(-1, 256) | st.just(None),
    "BOOL": st.booleans() | st.just(None),
    "BYTES": st.text(max_size=5) | st.sampled_from(["red", '],["', "5", "true", "a\\", "\u2028"]),
}
strange = st.one_of(st.just([]), st.just({}), st.just([1]), st.none(), st.text(max_size=2), st.booleans())
sizes = st.builds(
    SliceSizes,
    first=st.integers(1, 64),
    usual=st.integers(64, 256),
    longest=st.just(1 << 18),
    scanned=st.integers(8, 64),
    space=st.integers(1, 16),
)


@st.composite
def inputs(draw: st.DrawFn, name: str, rows: int, width: int) -> tuple[dict[str, Any], bytes]:
    """Generates an input, sound or with one fault, and its bytes behind the JSON part."""
    datatype = draw(st.sampled_from(sorted(cells)))
    cell = cells[datatype]
    data = draw(st.lists(st.lists(cell, min_size=width, max_size=width), min_size=rows, max_size=rows))
    shape = [rows, width] if width > 1 or draw(st.booleans()) else [rows]
    if draw(st.integers(0, 5)) == 0:
        return draw(binary(name, datatype, shape, [cell for row in data for cell in row]))
    if fault := draw(st.integers(0, 9)) == 0:
        row = draw(st.integers(0, rows - 1))
        match draw(st.integers(0, 4)):
            case 0:
                data[row].append(draw(cell))
            case 1:
                data[row].pop()
            case 2:
                data.append(data[row])
            case 3:
                del data[row]
            case _:
                data[row][0] = draw(strange)
    content: list[Any] = data
    if draw(st.booleans()):
        content = [cell for row in data for cell in row]
        if fault and content and draw(st.booleans()):
            at = draw(st.integers(0, len(content) - 1))
            content[at] = [content[at]]
    if draw(st.integers(0, 20)) == 0:
        shape = draw(st.sampled_from([[rows + 1, width], [rows * width], [rows, width, 1], [rows, 0], [width, rows]]))
    return tensor(name, datatype, shape, content), b""


@st.composite
def binary(
    draw: st.DrawFn, name: str, datatype: str, shape: list[int], flat: list[Any]
) -> tuple[dict[str, Any], bytes]:
    """Generates an input in binary form, perhaps with a size that lies."""
    try:
        part = element_bytes(datatype, flat)
    except (struct.error, OverflowError, TypeError, AttributeError):
        part = bytes(len(flat) * FORMATS.get(datatype, ("", 4))[1])
    size = len(part) + draw(st.sampled_from([0] * 9 + [-1, 1, 4]))
    return binary_tensor(name, datatype, shape, max(0, size)), part


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, int | None]:
    """Generates a body, and the length of the JSON part; None for JSON alone."""
    rows = draw(st.integers(1, 30))
    if draw(st.booleans()):
        given = [draw(inputs("x", rows, draw(st.sampled_from([2, 2, 2, 1, 3]))))]
    else:
        names = draw(st.permutations(["a", "b"])) + draw(st.sampled_from([[]] * 5 + [["a"], ["other"]]))
        given = [draw(inputs(name, rows + (draw(st.integers(0, 30)) == 0), 1)) for name in names]
    document: dict[str, Any] = {"inputs": [input_ for input_, _ in given]}
    if draw(st.booleans()):
        document["id"] = draw(st.text(max_size=5))
    if draw(st.booleans()):
        document["outputs"] = [{"name": "predictions", "parameters": {"binary_data": draw(st.booleans())}}]
    items = draw(st.permutations(list(document.items())))
    parts = [part for _, part in given]
    body, length = with_bytes(dict(items), *parts)
    return body, length if any(parts) or draw(st.booleans()) else None


@pytest.mark.parametrize("kind", ENCODERS)
@settings(max_examples=150)
@given(request=requests(), sizes=sizes)
@example(
    request=with_bytes({"inputs": [tensor("b", "FP32", [3], [1, [2], 3])]}), sizes=SliceSizes(1, 64, 1 << 18, 8, 1)
)
@example(request=with_bytes({"inputs": [binary_tensor("a", "FP32", [1], 0)]}), sizes=USUAL_SIZES)
def test_a_request_in_steps_is_what_it_is_at_once(
    kind: str, request: tuple[bytes, int | None], sizes: SliceSizes
) -> None:
    body, length = request
    expected = at_once(ENCODERS[kind], body, length)
    assert in_steps(ENCODERS[kind], body, length, sizes) == expected
    assert in_steps(ENCODERS[kind], body, length) == expected
    if length is None:
        assert at_once(ENCODERS[kind], body, len(body)) == expected, "the same with the length of the whole body"


dice = random.Random(3)
MANY = 30_000
FLOATS = [dice.gauss(0, 1) for _ in range(2 * MANY)]
WHOLE = [dice.randrange(-999, 999) for _ in range(2 * MANY)]
TEXTS = [dice.choice(["red", "5", "true", "blue", "é" * 9]) for _ in range(MANY)]
HALF_GAPS = [None if at % 5 == 0 else value for at, value in enumerate(FLOATS)]
DAYS = [f"20{dice.randrange(10, 29)}-0{dice.randrange(1, 9)}-{dice.randrange(10, 28)}" for _ in range(MANY)]


def pairs(flat: list[Any]) -> list[list[Any]]:
    return [flat[at : at + 2] for at in range(0, len(flat), 2)]


def packed(name: str, datatype: str, shape: tuple[int, ...], flat: list[Any]) -> tuple[dict[str, Any], bytes]:
    part = element_bytes(datatype, flat)
    return binary_tensor(name, datatype, shape, len(part)), part


LARGE: dict[str, tuple[RowEncoder, list[tuple[dict[str, Any], bytes]]]] = {
    "floats": (PLAIN, [(tensor("x", "FP32", (MANY, 2), FLOATS), b"")]),
    "nested floats": (PLAIN, [(tensor("x", "FP64", (MANY, 2), pairs(FLOATS)), b"")]),
    "whole numbers": (PLAIN, [(tensor("x", "INT32", (MANY, 2), WHOLE), b"")]),
    "halves": (PLAIN, [(tensor("x", "FP16", (MANY, 2), FLOATS), b"")]),
    "gaps": (GAPS, [(tensor("x", "FP32", (MANY, 2), pairs(HALF_GAPS)), b"")]),
    "named columns": (
        MIXED,
        [(tensor("b", "BYTES", (MANY, 1), TEXTS), b""), (tensor("a", "FP32", (MANY,), FLOATS[:MANY]), b"")],
    ),
    "dates": (schema(DATES), [(tensor("d", "BYTES", (MANY,), DAYS), b"")]),
    "binary floats": (PLAIN, [packed("x", "FP32", (MANY, 2), FLOATS)]),
    "binary doubles": (GAPS, [packed("x", "FP64", (MANY, 2), FLOATS)]),
    "binary whole numbers": (PLAIN, [packed("x", "INT64", (MANY, 2), WHOLE)]),
    "binary texts": (
        MIXED, [packed("b", "BYTES", (MANY,), TEXTS), packed("a", "FP32", (MANY, 1), FLOATS[:MANY])],
    ),
    "binary truth values": (
        MIXED, [packed("b", "BOOL", (MANY,), [n > 0 for n in WHOLE[1::2]]), packed("a", "INT16", (MANY,), WHOLE[::2])],
    ),
    "binary dates": (schema(DATES), [packed("d", "BYTES", (MANY,), DAYS)]),
}  # fmt: skip


@pytest.mark.parametrize("kind", LARGE)
def test_a_large_request_is_read_in_short_steps(kind: str) -> None:
    encoder, given = LARGE[kind]
    body, length = with_bytes({"inputs": [input_ for input_, _ in given], "id": "x"}, *[part for _, part in given])
    length = length if length < len(body) else None  # type: ignore[assignment]
    gc.collect()
    gc.freeze()  # as the server does: the collector leaves alone what was there before the request
    try:
        assert min(longest_step(encoder, body, length) for _ in range(3)) < LONG_SECONDS
    finally:
        gc.unfreeze()
    assert in_steps(encoder, body, length) == at_once(encoder, body, length)


def longest_step(encoder: RowEncoder, body: bytes, length: int | None) -> float:
    """Returns the processor seconds of the longest step of reading a request."""
    reader = InferReader(body, "m", len(body) if length is None else length, NUMBERS)
    steps = LargeReading(reader, encoder, most_rows=10**6).steps()
    longest = 0.0
    while True:
        began = time.thread_time()
        try:
            if next(steps, "end") == "end":
                return longest
        except (InvalidRequest, RowError):
            return longest
        finally:
            longest = max(longest, time.thread_time() - began)


def test_each_of_thousands_of_columns_may_be_an_input() -> None:
    names = [f"c{i}" for i in range(5000)]
    encoder = schema(*map(number, names))
    for binary in (True, False):
        flat = [0.5, 1.5]
        given = [
            packed(name, "FP32", (2, 1), flat) if binary else (tensor(name, "FP32", (2,), flat), b"") for name in names
        ]
        random.Random(1).shuffle(given)
        body, length = with_bytes({"inputs": [input_ for input_, _ in given]}, *[part for _, part in given])
        expected = at_once(encoder, body, length if binary else None)
        assert expected is not None
        assert in_steps(encoder, body, length if binary else None) == expected


IGNORANT = schema(CategoricalColumn(name="d", categories=("a", "b"), unknown="ignore", missing="ignore"))
DATES_WITH_GAPS = schema(replace(DATES, name="d", missing="indicator"))


@pytest.mark.parametrize("encoder", [IGNORANT, DATES_WITH_GAPS, schema(number("d", missing="mean"))])
@pytest.mark.parametrize(
    ("datatype", "elements"),
    [
        ("BYTES", [""]), ("BYTES", [f"{i:04x}" for i in range(5000)]), ("BYTES", [" 2020-01-01 "]), ("BOOL", [True]),
        ("INT8", [5]), ("UINT64", [2**64 - 1]), ("FP16", [float("nan")]), ("FP64", [5.5]),
    ],
)  # fmt: skip
def test_a_body_of_any_size_holds_the_event_loop_for_a_short_time(
    encoder: RowEncoder, datatype: str, elements: list[Any]
) -> None:
    """Reads the worst cells for each column, in a body that is read at once, and in one that is read in steps."""
    for size in (BinaryInferFormat.in_steps_from - 500, 100_000):
        count = size // max(1, len(element_bytes(datatype, elements)) // len(elements))
        given, part = packed("d", datatype, (count,), list(islice(cycle(elements), count)))
        body, length = with_bytes({"inputs": [given]}, part)
        held = at_once_seconds if len(body) < BinaryInferFormat.in_steps_from else longest_step
        gc.collect()
        gc.freeze()
        try:
            assert min(held(encoder, body, length) for _ in range(3)) < LONG_SECONDS
        finally:
            gc.unfreeze()


def at_once_seconds(encoder: RowEncoder, body: bytes, length: int) -> float:
    """Returns the processor seconds of reading a request at once."""
    began = time.thread_time()
    at_once(encoder, body, length)
    return time.thread_time() - began


@pytest.mark.parametrize(("datatype", "element"), [("BOOL", False), ("BYTES", ""), ("BYTES", "no")])
def test_short_elements_in_binary_form_take_little_memory_until_they_are_refused(datatype: str, element: Any) -> None:
    count = 1_000_000
    part = element_bytes(datatype, [element]) * count
    body, length = with_bytes({"inputs": [binary_tensor("b", datatype, (count,), len(part))]}, part)
    encoder = schema(CategoricalColumn(name="b", categories=("red", "blue")))
    tracemalloc.start()
    try:
        assert in_steps(encoder, body, length) is None
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()
