"""Large inference requests read in steps: the rows and the refusals of the small way, at any division into slices."""

from __future__ import annotations

import random
import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from infer_bodies import FORMATS, binary_tensor, element_bytes, tensor, with_bytes
from large_infer_requests import ENCODERS, LARGE, at_once, in_steps, large_request, number, packed, schema

from models.columns.schema import CategoricalColumn
from service.http.wire.json_text import USUAL_SIZES, SliceSizes

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
@pytest.mark.slow
def test_a_request_in_steps_is_what_it_is_at_once(
    kind: str, request: tuple[bytes, int | None], sizes: SliceSizes
) -> None:
    body, length = request
    expected = at_once(ENCODERS[kind], body, length)
    assert in_steps(ENCODERS[kind], body, length, sizes) == expected
    assert in_steps(ENCODERS[kind], body, length) == expected
    if length is None:
        assert at_once(ENCODERS[kind], body, len(body)) == expected, "the same with the length of the whole body"


@pytest.mark.parametrize("kind", LARGE)
def test_a_large_request_in_steps_is_what_it_is_at_once(kind: str) -> None:
    encoder, body, length = large_request(kind)
    assert in_steps(encoder, body, length) == at_once(encoder, body, length)


@pytest.mark.slow
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
