"""JSON documents with large arrays read in steps: the content of the whole document, at any division into slices."""

from __future__ import annotations

import json
import math
import random
import tracemalloc
from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import InvalidRequest, TooLarge
from service.http.wire import json_text
from service.http.wire.bulk_json import NumberReader
from service.http.wire.json_document import SlicedDocument
from service.http.wire.json_text import USUAL_SIZES, SliceSizes
from service.http.wire.large_array import LargeArray

pytestmark = pytest.mark.slow

NUMBERS = NumberReader()
READERS = st.sampled_from([None, NUMBERS])
PATHS = [("inputs", "*", "data"), ("inputs",), ("inputs", "*"), ("instances",), ("a", "b"), ("*",), ()]
LONGEST = 600  # bytes of a value, with short slices

TRAPS = ["a", "],[", "},{", '"', "\\", '\\"', '{"a":[1,2],"b":"c"}', "é]", "x,y", "[1]", "NaN", "NaN,NaN", '"NaN', ""]
whole_numbers = st.integers(-(2**63), 2**64 - 1) | st.sampled_from([0, 1, -1, 2**53, 2**53 + 1, -(2**53) - 1])
scalars = (
    st.none() | st.booleans() | whole_numbers | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20) | st.sampled_from(TRAPS)
)  # fmt: skip
keys = st.sampled_from(["inputs", "data", "instances", "a", "b", "c"]) | st.text(max_size=5)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=8) | st.dictionaries(keys, inner, max_size=5), max_leaves=60
)
flat = st.lists(scalars, max_size=60) | st.lists(whole_numbers | st.floats(-1e9, 1e9), max_size=60)
rows = st.integers(0, 40).flatmap(lambda width: st.lists(st.lists(scalars, min_size=width, max_size=width), max_size=9))
matrices = st.integers(1, 40).flatmap(
    lambda width: st.lists(st.lists(st.floats(-1e9, 1e9) | st.integers(-9, 9), min_size=width, max_size=width))
)
objects = st.lists(st.dictionaries(keys, scalars, max_size=5) | scalars, max_size=20)
arrays = flat | rows | matrices | objects | st.lists(values, max_size=10)
documents = values | st.fixed_dictionaries(
    {},
    optional={
        "inputs": arrays | st.lists(st.fixed_dictionaries({"name": scalars, "data": arrays}), max_size=3),
        "instances": arrays,
        "a": st.fixed_dictionaries({"b": arrays}),
        "c": arrays,
    },
)
paths = st.lists(st.sampled_from(PATHS), max_size=3, unique=True)
sizes = st.builds(
    SliceSizes,
    first=st.integers(1, 64),
    usual=st.integers(64, 256),
    longest=st.just(LONGEST),
    scanned=st.integers(8, 64),
    space=st.integers(1, 16),
)
tensors = st.lists(
    st.fixed_dictionaries(
        {"name": st.text(max_size=5), "shape": st.just([1])}, optional={"data": flat | rows | values}
    ),
    max_size=40,
)
many_short_arrays = st.fixed_dictionaries(
    {}, optional={"inputs": tensors | st.dictionaries(st.text(max_size=3), flat | rows, max_size=40), "b": values}
)
indents = st.sampled_from([None, None, 0, 1])


def read(body: bytes, large: Iterable[tuple[str, ...]], **arguments: Any) -> Any:
    """Returns the content of a document, with lists in place of large arrays."""
    settings = {"numbers": None, "most_elements": 10**9} | arguments
    document = SlicedDocument(body, large, **settings)
    for _ in document.steps():
        pass
    assert document.at == len(body)
    return plain(document.document)


LIMIT = object()


def read_or_meet_a_limit(body: bytes, large: Iterable[tuple[str, ...]], **arguments: Any) -> Any:
    """Returns the content of a document, or `LIMIT` if a value is longer than the short slices of a test allow."""
    try:
        return read(body, large, **arguments)
    except InvalidRequest as error:
        limits = ("a long list or object holds another", "a value of more than")
        if len(body) > LONGEST // 2 and any(limit in str(error) for limit in limits):
            return LIMIT
        raise


def plain(value: Any) -> Any:
    """Returns a document with lists in place of large arrays."""
    if isinstance(value, LargeArray):
        length = len(value)
        found = value.collected()
        assert len(found) == length
        return found
    if isinstance(value, dict):
        return {key: plain(below) for key, below in value.items()}
    return [plain(below) for below in value] if isinstance(value, list) else value


def has_digits(value: Any) -> Any:
    """Returns a value in which whole numbers beyond 2**53 are texts, so that a comparison sees all their digits."""
    if isinstance(value, dict):
        return {key: has_digits(below) for key, below in value.items()}
    if isinstance(value, list):
        return [has_digits(below) for below in value]
    return str(value) if isinstance(value, int) and abs(value) > 2**53 else value


@given(documents, paths, READERS, sizes, indents, st.booleans())
def test_a_document_is_read_as_its_whole_json_is(
    document: Any,
    large: list[tuple[str, ...]],
    numbers: NumberReader | None,
    sizes: SliceSizes,
    indent: int | None,
    ascii_only: bool,
) -> None:
    body = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode()
    found = read_or_meet_a_limit(body, large, numbers=numbers, sizes=sizes)
    assert found is LIMIT or has_digits(found) == has_digits(orjson.loads(body))


@given(documents | many_short_arrays, paths, READERS, indents)
def test_usual_sizes_read_any_small_document(
    document: Any, large: list[tuple[str, ...]], numbers: NumberReader | None, indent: int | None
) -> None:
    body = json.dumps(document, indent=indent).encode()
    assert has_digits(read(body, large, numbers=numbers)) == has_digits(document)


def with_gaps(value: Any) -> Any:
    """Returns a value with None in place of NaN."""
    if isinstance(value, dict):
        return {key: with_gaps(below) for key, below in value.items()}
    if isinstance(value, list):
        return [with_gaps(below) for below in value]
    return None if isinstance(value, float) and math.isnan(value) else value


gaps = st.lists(st.just(math.nan) | scalars, max_size=60)


@given(st.fixed_dictionaries({"a": gaps, "b": st.lists(gaps, max_size=9), "c": st.just(math.nan) | scalars}), sizes)
def test_the_token_nan_is_a_gap_where_it_is_taken(document: dict[str, Any], sizes: SliceSizes) -> None:
    body = json.dumps(document, ensure_ascii=False).encode()
    large = [("a",), ("b",)]
    found = read_or_meet_a_limit(body, large, numbers=NUMBERS, takes_nan=True, sizes=sizes)
    assert found is LIMIT or has_digits(found) == has_digits(with_gaps(document))
    try:
        assert has_digits(read(body, large)) == has_digits(document)
    except InvalidRequest:
        assert b"NaN" in body


NOISE = [b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b" ", b"1", b"a", b"x", b"-", b".", b"e", b"NaN", b"\xff",
         b"\xc3", b"\n", b"\x00", b"null", b"[]", b"{}", b'"a":', b"[" * 40]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Generates the bytes of a document with a few changes."""
    body = bytearray(json.dumps(draw(documents | many_short_arrays), ensure_ascii=draw(st.booleans())).encode())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 4))] = draw(st.sampled_from([b"", *NOISE]))
    return bytes(body)


@given(damaged() | st.binary(max_size=60), paths, READERS, sizes | st.just(USUAL_SIZES), st.booleans())
@example(b"[1,NaN,2,", [()], None, USUAL_SIZES, True)
@example(b'["a\xff", NaN]', [()], None, USUAL_SIZES, True)
@example(b'["\\', [()], None, USUAL_SIZES, True)
def test_damaged_json_is_refused_where_the_parser_refuses_it(
    body: bytes, large: list[tuple[str, ...]], numbers: NumberReader | None, sizes: SliceSizes, takes_nan: bool
) -> None:
    try:
        found = read(body, large, numbers=numbers, sizes=sizes, takes_nan=takes_nan)
    except InvalidRequest as error:
        message = str(error)
        assert "at byte" in message
        at = int("".join(filter(str.isdigit, message.rsplit("at byte", 1)[1].partition(";")[0])))
        assert 0 <= at <= len(body)
        if "is not JSON" in message and not (takes_nan and b"NaN" in body):
            with pytest.raises(orjson.JSONDecodeError):
                orjson.loads(body)
        return
    if takes_nan and b"NaN" in body:
        assert has_digits(found) == has_digits(with_gaps(json.loads(body)))
    else:
        assert has_digits(found) == has_digits(orjson.loads(body))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "unexpected end at byte 0"),
        (b'{"a": 1', "unexpected end at byte 7"),
        (b'{"a": 1} x', "unexpected content after the document at byte 9"),
        (b'{"a": [1, 2], "a": 3}', '"a" stands twice, again at byte 14'),
        (b'{"b": {"c": 1, "c": 1}}', '"c" stands twice, again at byte 15'),
        (b'{"a": [1, 2 3]}', "at byte 12"),
        (b'{"a": [1, x]}', "at byte 10"),
        (b'{"a": [1, ]}', "at byte"),
        (b'{"a": [,1]}', "a value is expected at byte 7"),
        ('{"a": ["é", x]}'.encode(), "at byte 13"),
        (b'{"a": ["\xff"]}', "not valid UTF-8"),
        (b'{"a": [NaN]}', "at byte 7"),
        (b'{"a": [1', "unexpected end at byte 8"),
        (b'{"a": ["x', "unexpected end at byte 9"),
        (b'{"a": [Infinity]}', "at byte 7"),
        (b'{"b": Infinity}', "at byte 6"),
        (b'{"a": [1e999]}', "infinity when parsed as double at byte 7"),
        (b'{"b": ' + b"9" * 5000 + b"}", "a number has over 4,096 bytes at byte 6"),
        (b'{"b": "' + b"9" * 5000 + b'"}', "a text has over 4,096 bytes at byte 6"),
        (b'{"b": ' + b"[" * 100 + b"]" * 100 + b"}", "nested more than 64 levels deep at byte 69"),
        (b'{"b": [' + b"1," * 140_000 + b"1]}", "more than 131,072 values stand outside of its long lists at byte"),
        (b'{"a": ["' + b"x" * 300_000 + b'"]}', "Element 0: a value of more than 262,144 bytes begins at byte 7"),
        (b'{"a": [7, ' + b"1" * 300_000 + b"]}", "Element 1: a value of more than 262,144 bytes begins at byte 10"),
        (b'{"a": [[' + b"[1]," * 100_000 + b"1]]}", "holds another one: element 0 at byte 7"),
        (b'{"a": [' + b"[" * 300_000 + b"]" * 300_000 + b"]}", "at byte"),
        (b'{"a": [' + b"[" * 300_000, "at byte"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(body: bytes, reason: str) -> None:
    for numbers in (None, NUMBERS):
        with pytest.raises(InvalidRequest) as caught:
            read(body, [("a",)], numbers=numbers)
        assert reason in str(caught.value)


def test_infinity_is_refused_and_nan_in_a_text_stays_where_nan_is_taken() -> None:
    assert read(b'{"a": [1, NaN, "NaN", "\\"NaN"], "b": NaN}', [("a",)], takes_nan=True) == {
        "a": [1, None, "NaN", '"NaN'],
        "b": None,
    }
    for token in (b"Infinity", b"-Infinity", b"-NaN", b"NaN1", b"nan"):
        for body in (b'{"a": [NaN, %s]}', b'{"b": %s}'):
            with pytest.raises(InvalidRequest, match="at byte"):
                read(body % token, [("a",)], takes_nan=True)


def test_limits_of_elements_and_cells_hold_while_reading() -> None:
    body = b'{"a": [' + b"[]," * 2_000_000 + b"[]]}"
    document = SlicedDocument(body, [("a",)], numbers=NUMBERS, most_elements=1000)
    with pytest.raises(TooLarge, match="more than 1,000 values"):
        list(document.steps())
    assert document.at < 10_000
    wide = b'{"a": [[0], [' + b"1," * 4_000_000 + b"1]]}"
    document = SlicedDocument(wide, [("a",)], numbers=NUMBERS, most_elements=10**9, most_cells=30)
    with pytest.raises(InvalidRequest, match="element 1 of an array has more than 30 values"):
        list(document.steps())
    assert document.at < 600_000


def array_of(elements: list[Any], numbers: NumberReader | None = NUMBERS) -> LargeArray:
    """Returns a large array."""
    document = SlicedDocument(orjson.dumps(elements), [()], numbers=numbers, most_elements=10**9)
    for _ in document.steps():
        pass
    found: LargeArray = document.document
    return found


def joined(chunks: Iterable[Any]) -> list[Any]:
    """Returns the elements of chunks as one list."""
    found: list[Any] = []
    for chunk in chunks:
        if chunk is not None:
            found += chunk.tolist() if isinstance(chunk, np.ndarray) else chunk
    return found


@given(flat, st.integers(1, 7), READERS)
def test_a_flat_array_is_given_in_rows(cells: list[Any], width: int, numbers: NumberReader | None) -> None:
    whole = cells[: len(cells) // width * width]
    expected = [whole[start : start + width] for start in range(0, len(whole), width)]
    assert has_digits(joined(array_of(whole, numbers).in_rows(width))) == has_digits(expected)
    if whole != cells:
        with pytest.raises(InvalidRequest, match=f"has {len(cells)} elements"):
            list(array_of(cells, numbers).in_rows(width))


def test_rows_go_over_the_borders_of_chunks() -> None:
    dice = random.Random(1)
    cells: list[Any] = [dice.gauss(0, 1) for _ in range(50_000)]
    expected = [cells[start : start + 20_000] for start in (0, 20_000)]
    assert joined(array_of(cells[:40_000]).in_rows(20_000)) == expected
    cells[30_000] = None
    found = joined(array_of(cells).in_rows(10))
    assert found == [cells[start : start + 10] for start in range(0, 50_000, 10)]


def test_plain_numbers_are_arrays_and_others_are_lists() -> None:
    for elements, shape in [([1, 2.5], (2,)), ([[1, 2], [3, 4], [5, 6]], (3, 2))]:
        [chunk] = array_of(elements).chunks()
        assert isinstance(chunk, np.ndarray)
        assert (chunk.dtype, chunk.shape) == (np.float64, shape)
    for elements in ([1, None], [[1], [2, 3]], ["a"], [True], [2**53 + 1], [{"a": 1}], [[], []]):
        assert list(array_of(elements).chunks()) == [elements]


@pytest.mark.parametrize(
    ("elements", "accessor", "reason"),
    [
        ([1, [2]], "flat", "element 1 of the array at byte 0 is a list, and has to be a single value"),
        ([[1, 2]], "flat", "element 0 of the array at byte 0 is a list, and has to be a single value"),
        (["a", {}], "flat", "element 1 of the array at byte 0 is an object, and has to be a single value"),
        ([1, 2], "rows", "element 0 of the array at byte 0 is a number, and has to be a list"),
        ([[1], "a"], "rows", "element 1 of the array at byte 0 is a text, and has to be a list"),
        ([[1], [[2]]], "rows", "element 1 of the array at byte 0 has to be a list of single values"),
        ([[1], [2]], "objects", "element 0 of the array at byte 0 is a list, and has to be an object"),
        ([{}, None], "objects", "element 1 of the array at byte 0 is null, and has to be an object"),
    ],
)
def test_elements_of_another_kind_are_refused(elements: list[Any], accessor: str, reason: str) -> None:
    for numbers in (None, NUMBERS):
        with pytest.raises(InvalidRequest) as caught:
            list(getattr(array_of(elements, numbers), accessor)())
        assert reason in str(caught.value)


@given(many_short_arrays, sizes | st.just(USUAL_SIZES), indents)
def test_a_large_array_knows_its_place_in_the_body(
    document: dict[str, Any], sizes: SliceSizes, indent: int | None
) -> None:
    text = json.dumps(document, indent=indent)
    reader = SlicedDocument(
        text.encode(), [("inputs", "*", "data"), ("inputs", "*")], numbers=NUMBERS, most_elements=10**9, sizes=sizes
    )
    try:
        for _ in reader.steps():
            pass
    except InvalidRequest:
        return
    inputs = reader.document.get("inputs", [])
    for tensor in inputs.values() if isinstance(inputs, dict) else inputs:
        array = tensor if isinstance(tensor, LargeArray) else tensor.get("data")
        if isinstance(array, LargeArray):
            assert json.JSONDecoder().raw_decode(text, array.at)[0] == array.collected()


@pytest.mark.parametrize("unit", [b'{"data":[1]},', b'{"data":[]},', b"{},", b'"x",', b"[],"])
def test_many_values_outside_large_arrays_are_refused_before_they_take_memory(unit: bytes) -> None:
    body = b'{"inputs": [' + unit * ((4 << 20) // len(unit)) + b"1]}"
    document = SlicedDocument(body, [("inputs", "*", "data")], numbers=NUMBERS, most_elements=10**9)
    tracemalloc.start()
    with pytest.raises(InvalidRequest, match="more than 131,072 values stand outside of its long lists at byte"):
        list(document.steps())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize("columns", [300, 5000])
def test_columns_read_side_by_side_take_little_memory(columns: int) -> None:
    size = 8 << 20
    data = b",".join([b'"a"'] * (size // columns // 4))
    body = b'{"inputs": {' + b",".join(b'"%d": [%s]' % (column, data) for column in range(columns)) + b"}}"
    document = SlicedDocument(body, [("inputs", "*")], numbers=NUMBERS, most_elements=10**9)
    tracemalloc.start()
    for _ in document.steps():
        pass
    rounds = zip_longest(*(array.chunks() for array in document.document["inputs"].values()))
    read = sum(len(chunk) for chunks in rounds for chunk in chunks if chunk is not None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read == columns * (size // columns // 4)
    assert len(body) + peak <= 6 * len(body)


def test_rows_and_objects_are_given_as_they_are() -> None:
    for elements in ([[1, 2], [3, 4]], [["a", None], []], [[0.5] * 40_000, [1.5]]):
        assert joined(array_of(elements).rows()) == elements
    named = [{"a": 1, "b": [1, 2]}, {}]
    assert joined(array_of(named).objects()) == named
    assert array_of([]).collected() == []


UNITS = {
    "lists": b"[],", "ones": b"1,", "letters": b'"a",', "objects": b"{},", "rows": b"[1],", "nulls": b"null,",
    "named": b'{"a":1},', "commas": b'"' + b"a," * 50_000 + b'",', "brackets": b'"' + b'],' * 90_000 + b'",',
    "escapes": b'"' + b'\\"],' * 40_000 + b'",1,', "fractions": b"0.1,1,", "blanks": b"1" + b" " * 5000 + b",",
    "words": b'"ab","cd",', "deep": b"[" * 500 + b"]" * 500 + b",", "gaps": b'NaN,"",',
    "large": b"18446744073709551615,", "dense behind a text": b'"' + b"x" * 70_000 + b'",' + b"[]," * 40_000,
}  # fmt: skip
WHOLE = {
    "one text": (b'"', b"a", b'"'), "one number": (b"", b"1", b""), "only blanks": (b"", b" ", b""),
    "depth": (b"", b"[", b""), "depth of objects": (b"", b'{"a":', b""), "one long row": (b"[", b"1,", b"1]"),
    "a row of lists": (b"[", b"[],", b"1]"), "texts without end": (b"", b'"a,', b""),
}  # fmt: skip


def body_of(name: str, size: int) -> bytes:
    """Returns a body of about `size` bytes."""
    if name in UNITS:
        unit = UNITS[name]
        inner = unit * (size // len(unit)) + unit[:-1]
    else:
        begin, unit, end = WHOLE[name]
        inner = begin + unit * (size // len(unit)) + end
    return b'{"name": "x", "data": [' + inner + b'], "shape": [1, 2]}'


class CountedParser:
    """The parser, with a count of the bytes of each step."""

    JSONDecodeError = orjson.JSONDecodeError

    def __init__(self) -> None:
        self.steps = [0]

    def loads(self, text: bytes) -> Any:
        self.steps[-1] += len(text)
        return orjson.loads(text)


@pytest.mark.parametrize("name", [*UNITS, *WHOLE])
def test_no_step_parses_much_and_no_body_takes_much_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body = body_of(name, 2 << 20)
    parser = CountedParser()
    monkeypatch.setattr(json_text, "orjson", parser)
    document = SlicedDocument(body, [("data",)], numbers=NUMBERS, most_elements=10**9, takes_nan=True)
    tracemalloc.start()
    reached = 0
    try:
        for _ in document.steps():
            parser.steps.append(0)
            assert document.at - reached <= USUAL_SIZES.space + USUAL_SIZES.longest
            reached = document.at
        for _ in document.document["data"].chunks():
            parser.steps.append(0)
    except InvalidRequest:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert max(parser.steps) <= 2 * USUAL_SIZES.longest
    assert sum(parser.steps) <= 6 * len(body)
    assert len(body) + peak <= 6 * len(body)
