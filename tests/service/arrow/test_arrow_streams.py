"""Arrow streams are read in short steps, at any division into batches; what is not a valid stream is refused."""

from __future__ import annotations

import importlib.util
import random
import struct
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
from arrow_streams import LIMIT, bytes_of, categories, date, encoder_of, number, read, stream_of
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import AxonError, RowError
from service.arrow.flat_reader import FlatBuffer
from service.arrow.flat_writer import Node, Structs, flat_buffer
from service.errors import InvalidRequest, TooLarge, UnsupportedBody
from service.http.wire.arrow_request import ArrowRequest

CODECS = {"lz4": "lz4", "zstd": "zstandard"}
INSTALLED = [
    pytest.param(codec, marks=pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"needs {module}"))
    for codec, module in CODECS.items()
]
ROWS = 3000
ENCODER = encoder_of(
    number("size"),
    number("weight", missing="indicator"),
    categories("city", "Ulm", "Köln"),
    date("day"),
    categories("flag", "true", "false"),
)
NUMBERS = encoder_of(*(number(f"x{i}") for i in range(5)))


def make_table(rows: int = ROWS) -> pa.Table:
    """Makes a table of the model's columns, in another order and with others between."""
    dice = random.Random(rows)
    cities = [dice.choice(["Ulm", "Köln", None, "Rom"]) for _ in range(rows)]
    return pa.table(
        {
            "id": [[i, i] for i in range(rows)],
            "day": pa.array([dice.choice([None, 10**12 + 10**8 * i]) for i in range(rows)], pa.timestamp("ms")),
            "city": pa.array(cities).dictionary_encode(),
            "note": pa.array(["a text that is longer than its view"] * rows, pa.string_view()),
            "flag": [dice.choice([True, False]) for _ in range(rows)],
            "weight": [dice.choice([None, dice.gauss(0, 1)]) for _ in range(rows)],
            "size": pa.array(np.arange(rows), pa.int16()),
            "union": pa.UnionArray.from_sparse(pa.array([0] * rows, pa.int8()), [pa.array(range(rows))]),
        }
    )  # fmt: skip


def json_rows(table: pa.Table) -> list[dict[str, Any]]:
    days = [None if day is None else day.isoformat() for day in table["day"].to_pylist()]
    rows = table.select(["size", "weight", "city", "flag"]).to_pylist()
    return [{**row, "day": day} for row, day in zip(rows, days, strict=True)]


@pytest.mark.parametrize("rows_a_batch", [1, 7, 1000, None])
def test_rows_are_those_of_json_at_any_division_into_batches(rows_a_batch: int | None) -> None:
    table = make_table(200 if rows_a_batch == 1 else ROWS)
    wanted = ENCODER.encode(json_rows(table))
    unknown = ENCODER.unknown.take()
    reading = read(ENCODER, stream_of(table, rows_a_batch=rows_a_batch))
    assert bytes_of(reading) == wanted
    assert reading.unknown.counts == unknown
    assert reading.model == "m"


@pytest.mark.parametrize("codec", INSTALLED)
@pytest.mark.parametrize("rows_a_batch", [7, None])
def test_compressed_buffers_are_inflated(codec: str, rows_a_batch: int | None) -> None:
    table = make_table()
    plain, packed = stream_of(table), stream_of(table, rows_a_batch=rows_a_batch, compression=codec)
    assert bytes_of(read(ENCODER, packed)) == bytes_of(read(ENCODER, plain))
    with pytest.raises(TooLarge, match="Arrow buffers of more than 10,000 bytes"):
        read(ENCODER, packed, limit=10_000)


def bomb(codec: str, size: int, stated: int) -> bytes:
    """Returns a stream with a column of zeros whose buffer states a size."""
    body = stream_of(pa.table({"x": np.zeros(size // 8)}), compression=codec)
    at = body.rindex(struct.pack("<q", size))
    return body[:at] + struct.pack("<q", stated) + body[at + 8 :]


@pytest.mark.parametrize("codec", INSTALLED)
@pytest.mark.parametrize("stated", [0, 1, 8 * 10**4, 10**6 + 1, LIMIT + 1, 2**62, -2, -(2**63)])
def test_bombs_and_sizes_that_lie_are_refused(codec: str, stated: int) -> None:
    encoder = encoder_of(number("x"))
    assert len(bytes_of(read(encoder, bomb(codec, 10**6, 10**6)))) == 10**6 // 2
    with pytest.raises((TooLarge, InvalidRequest)) as refused:
        read(encoder, bomb(codec, 10**6, stated))
    assert isinstance(refused.value, TooLarge) == (stated > LIMIT)


@pytest.mark.parametrize("codec", CODECS)
def test_without_the_library_a_compressed_stream_is_refused_by_the_name_of_the_extra(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("lz4", "lz4.frame", "zstandard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnsupportedBody, match=rf"\({codec}\).*axon\[service,arrow\]"):
        read(ENCODER, stream_of(make_table(), compression=codec))


def test_a_dictionary_may_grow_and_be_replaced() -> None:
    encoder = encoder_of(categories("c", "a", "b", "c", "d"))
    batches = [
        pa.DictionaryArray.from_arrays(pa.array(codes, pa.uint8()), pa.array(values))
        for codes, values in [([0, 1, None], ["a", "b"]), ([2, 0], ["a", "b", "c"]), ([1, 0], ["d", "zz"])]
    ]
    table = pa.table({"c": pa.chunked_array(batches)})
    wanted = encoder.encode([[cell] for cell in ["a", "b", None, "c", "a", "zz", "d"]])
    for deltas in (False, True):
        body = stream_of(table, emit_dictionary_deltas=deltas, unify_dictionaries=False)
        reading = read(encoder, body)
        assert bytes_of(reading) == wanted
        assert reading.unknown.counts == {"c": 1}


def test_columns_that_share_a_dictionary_and_repeat_its_values_are_read() -> None:
    values = pa.array(["3", "3", "", "2024-05-31"])
    codes = {"c": [0, 2, 1], "n": [2, 2, 2], "d": [3, 2, 3]}
    columns = {
        name: pa.DictionaryArray.from_arrays(pa.array(places, pa.uint16()), values) for name, places in codes.items()
    }
    body = bytearray(stream_of(pa.table(columns)))
    schema = FlatBuffer(memoryview(body)[8 : 8 + struct.unpack_from("<i", body, 4)[0]]).root().needed(2)
    # pyarrow gives each column a dictionary of its own, by its number; here all columns get that of the first.
    numbers = [schema.at(place).needed(4) for place in schema.tables(1)]
    changed = [8 + number._at(0) for number in numbers if number.long(0)]
    assert len(changed) == 2
    for at in changed:
        struct.pack_into("<q", body, at, 0)
    encoder = encoder_of(categories("c", "3"), number("n", missing="indicator"), date("d"))
    cells = [["3", "", "2024-05-31"], ["", "", ""], ["3", "", "2024-05-31"]]
    assert bytes_of(read(encoder, bytes(body))) == encoder.encode(cells)


def test_a_value_that_no_row_has_may_be_wrong() -> None:
    encoder = encoder_of(number("n"))
    values = pa.array([float("inf"), 2.5])
    sound = pa.DictionaryArray.from_arrays(pa.array([1, 1], pa.int8()), values)
    assert bytes_of(read(encoder, stream_of(pa.table({"n": sound})))) == encoder.encode([[2.5], [2.5]])
    wrong = pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int8()), values)
    with pytest.raises(RowError) as refused:
        read(encoder, stream_of(pa.table({"n": wrong})))
    assert [(fault.row, fault.column) for fault in refused.value.faults] == [(1, "n")]


def test_the_row_at_fault_is_told_by_its_place_in_the_stream() -> None:
    table = make_table()
    for at in (0, 777, ROWS - 1):
        numbers = np.arange(ROWS, dtype=np.float64)
        numbers[at] = np.inf
        changed = table.set_column(table.column_names.index("size"), "size", pa.array(numbers))
        with pytest.raises(RowError) as refused:
            read(ENCODER, stream_of(changed, rows_a_batch=500))
        [fault] = refused.value.faults
        assert (fault.row, fault.column, fault.message) == (at, "size", "inf is not a finite number")


def test_text_that_is_not_utf8_is_refused_by_row() -> None:
    text = pa.StringArray.from_buffers(3, pa.py_buffer(np.array([0, 1, 2, 3], "<i4")), pa.py_buffer(b"a\xffc"))
    with pytest.raises(RowError) as refused:
        read(encoder_of(categories("c", "a")), stream_of(pa.table({"c": text})))
    [fault] = refused.value.faults
    assert (fault.row, fault.column, fault.message) == (1, "c", "the cell has a text that is not UTF-8")
    coded = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), text)
    with pytest.raises(InvalidRequest, match="Column 'c': its dictionary has a text that is not UTF-8"):
        read(encoder_of(categories("c", "a")), stream_of(pa.table({"c": coded})))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.drop_columns(["city", "day"]), "lacks 'city', 'day'; it has 'id', 'note'"),
        (lambda table: table.append_column(" size ", table["size"]), "has column 'size' twice"),
        (lambda table: table.slice(0, 0), "no rows"),
    ],
)
def test_what_is_no_table_of_the_models_columns_is_refused(change: Callable[[pa.Table], pa.Table], said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(ENCODER, stream_of(change(make_table(5))))
    assert said in str(refused.value)


def file_of(table: pa.Table) -> bytes:
    out = pa.BufferOutputStream()
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it is empty"),
        (b"garbage", "it ends within a message"),
        (b"size,weight\n1,2\n", "a message does not begin with FF FF FF FF"),
        (b"\xff" * 4 + b"\0" * 4, "it is empty"),
        (b"\xff" * 4 + b"\xff" * 4, "it ends within a message"),
        (b"\xff" * 4 + b"\xff\xff\xff\x7f", "it ends within a message"),
        (b"\xff" * 4 + b"\x08\0\0\0" + b"\0" * 8, "its metadata"),
        (file_of(make_table(5)), "an Arrow file"),
        (stream_of(make_table(5)) + b"x", "1 bytes follow its end"),
        (stream_of(make_table(5)) * 2, "bytes follow its end"),
        (stream_of(make_table(5))[:-20], "it ends within a message"),
    ],
)
def test_other_bytes_are_refused_in_a_sentence(body: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(ENCODER, body)
    assert said in str(refused.value)


@pytest.mark.slow
def test_a_stream_may_end_without_its_end_mark_and_nowhere_else() -> None:
    body = stream_of(make_table(20), rows_a_batch=10)
    whole = bytes_of(read(ENCODER, body))
    complete = set()
    for size in range(len(body)):
        try:
            rows = bytes_of(read(ENCODER, body[:size]))
        except AxonError:
            continue
        assert whole.startswith(rows)
        complete.add(len(rows))
    assert complete == {len(whole) // 2, len(whole)}, "a stream that is cut between batches cannot be told from its end"


def test_a_stream_of_the_other_byte_order_is_refused() -> None:
    schema = flat_buffer(Node({0: ("h", 4), 1: ("B", 1), 2: Node({0: ("h", 1)}), 3: ("q", 0)}))
    with pytest.raises(InvalidRequest, match="big-endian"):
        read(ENCODER, struct.pack("<Ii", 0xFFFFFFFF, len(schema)) + schema)


def test_metadata_that_refers_to_itself_a_billion_times_is_refused() -> None:
    def nested(depth: int) -> Node:
        children = [nested(depth - 1), Node({})] if depth else []
        return Node({0: b"x", 2: ("B", 13), 3: Node({}), 5: children})

    schema = bytearray(flat_buffer(Node({0: ("h", 4), 1: ("B", 1), 2: Node({1: [nested(40)]}), 3: ("q", 0)})))
    header = FlatBuffer(memoryview(bytes(schema))).root().needed(2)
    field = header.at(header.tables(1)[0])
    while children := field.tables(5):  # the second child becomes the first one
        first, second = children
        target = first + struct.unpack_from("<I", schema, first)[0]
        struct.pack_into("<I", schema, second, target - second)
        field = field.at(first)
    with pytest.raises(InvalidRequest, match="its metadata refers to itself"):
        read(ENCODER, struct.pack("<Ii", 0xFFFFFFFF, len(schema)) + schema)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(garbage: bytes) -> None:
    for body in (garbage, b"\xff" * 4 + struct.pack("<i", len(garbage)) + garbage, STREAMS[0][:600] + garbage):
        try:
            read(ENCODER, body)
        except AxonError:
            continue


STREAMS = [stream_of(make_table(20), rows_a_batch=12), stream_of(pa.table({f"x{i}": [0.5, 1.5] for i in range(5)}))]
_LIES = [0, -1, 2**31, 2**62, 2**40, 255, 65536, -(2**63), 1, 7]


@given(
    st.sampled_from(STREAMS),
    st.lists(st.tuples(st.integers(0, 10**4), st.sampled_from([1, 2, 4, 8]), st.sampled_from(_LIES)), max_size=4),
)
@settings(max_examples=600, deadline=None)
@pytest.mark.slow
def test_streams_with_lies_are_read_or_refused(stream: bytes, lies: list[tuple[int, int, int]]) -> None:
    body = bytearray(stream)
    for place, size, lie in lies:
        at = place % (len(body) - size)
        body[at : at + size] = (lie % 2 ** (8 * size)).to_bytes(size, "little")
    for encoder in (ENCODER, NUMBERS):
        try:
            read(encoder, bytes(body))
        except AxonError:
            continue


def test_a_batch_of_endless_rows_without_buffers_is_refused_at_the_limit() -> None:
    encoder = encoder_of(categories("n", "x"))
    schema = stream_of(pa.table({"n": pa.nulls(0)}))[:-8]
    batch = flat_buffer(
        Node(
            {
                0: ("h", 4),
                1: ("B", 3),
                2: Node({0: ("q", 2**62), 1: Structs([2**62, 2**62], 2), 2: Structs([], 2)}),
                3: ("q", 0),
            }
        )
    )
    body = schema + struct.pack("<Ii", 0xFFFFFFFF, len(batch)) + batch
    with pytest.raises(TooLarge):
        read(encoder, body, most_rows=100_000)


def test_a_dictionary_of_endless_missing_values_is_refused() -> None:
    encoder = encoder_of(categories("n", "x"))
    coded = pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.nulls(7))
    body = bytearray(stream_of(pa.table({"n": coded})))
    assert bytes_of(read(encoder, bytes(body))) == encoder.encode([[None]])
    for place in [at for at in range(len(body) - 8) if body[at : at + 8] == struct.pack("<q", 7)]:
        body[place : place + 8] = struct.pack("<q", 2**62)
    with pytest.raises(InvalidRequest, match="a dictionary has more values"):
        read(encoder, bytes(body))


def steps_of(encoder: Any, body: bytes) -> tuple[int, int]:
    """Returns the number of steps of a reading, and the most rows of one step."""
    steps, most = 0, 0
    for some in ArrowRequest(body, "m", encoder, limit=LIMIT, kept={}).slices():
        steps += 1
        most = max(most, 0 if some is None else len(some))
    return steps, most


def test_a_large_batch_is_read_in_many_steps() -> None:
    table = pa.table({f"x{i}": np.zeros(200_000, np.float32) for i in range(5)})
    steps, most = steps_of(NUMBERS, stream_of(table))
    assert most * 5 <= 1 << 16
    assert steps >= 200_000 // most


def test_many_columns_of_one_row_are_read_in_many_steps() -> None:
    names = [f"x{i}" for i in range(2000)]
    encoder = encoder_of(*(number(name) for name in names))
    steps, _ = steps_of(encoder, stream_of(pa.table({name: [1.0] for name in names})))
    assert steps >= 50


def test_long_texts_are_read_a_few_at_a_time() -> None:
    encoder = encoder_of(categories("c", "x"))
    body = stream_of(pa.table({"c": ["y" * 100_000] * 100 + ["x"] * 1000}))
    steps, most = steps_of(encoder, body)
    assert steps > 50
    assert most >= 500
    with pytest.raises(RowError, match="a text of more than 262,144 bytes"):
        read(encoder, stream_of(pa.table({"c": ["x", "y" * 300_000]})))


def test_a_schema_that_was_read_before_is_found_again() -> None:
    kept: dict[Any, Any] = {}
    for rows in (3, 5):
        request = ArrowRequest(stream_of(make_table(rows)), "m", ENCODER, limit=LIMIT, kept=kept)
        assert sum(len(some) for some in request.slices() if some is not None) == rows
        assert len(kept) == 1
    other = ArrowRequest(stream_of(make_table(5)), "m", encoder_of(number("size")), limit=LIMIT, kept=kept)
    assert sum(len(some) for some in other.slices() if some is not None) == 5
    assert len(kept) == 2
