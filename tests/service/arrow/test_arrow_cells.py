"""Cells of an Arrow stream of any type and storage have the bits of the same cells in JSON."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from arrow_streams import bytes_of, categories, date, encoder_of, number, read, stream_of
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import RowError
from training.data.raw_column import RawColumn
from training.data.table import Table

EPOCH = dt.datetime(1970, 1, 1)
UTC = dt.UTC
TEXTS = st.sampled_from(["", "Ulm", "Köln", " Ulm ", "NA", "TRUE", "3", "3.0", "none such", "日本", "x" * 40])
MOMENTS = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))
KNOWN = ("Ulm", "Köln", "true", "3", "日本", "1.10", "0.1", "2024-05-31", "-7")
LAYOUTS = ("plain", "dictionary", "runs")


def integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


def floats(width: Any) -> st.SearchStrategy[float]:
    return st.floats(width=width, allow_nan=False, allow_infinity=False)


NUMBERS = {
    **{f"int{bits}": (integers(bits, signed=True), getattr(pa, f"int{bits}")()) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (integers(bits, signed=False), getattr(pa, f"uint{bits}")()) for bits in (8, 16, 32, 64)},
    "half": (floats(16).map(np.float16), pa.float16()),
    "float": (floats(32), pa.float32()),
    "double": (floats(64).filter(lambda x: abs(x) < 1e38), pa.float64()),
    "decimal32": (st.decimals(-999, 999, places=2), pa.decimal32(7, 2)),
    "decimal64": (st.decimals(-(10**9), 10**9, places=6), pa.decimal64(18, 6)),
    "decimal128": (st.decimals(-(10**20), 10**20, places=10), pa.decimal128(38, 10)),
    "decimal256": (st.decimals(-(10**30), 10**30, places=30), pa.decimal256(70, 30)),
    "negative scale": (st.integers(-999, 999).map(lambda i: Decimal(i) * 1000), pa.decimal128(10, -3)),
}


def arranged(cells: list[Any], kind: pa.DataType, layout: str) -> pa.Array:
    """Returns an array in one of the layouts that a stream may have."""
    array = pa.array(cells, kind)
    if layout == "plain":
        return array
    if layout == "runs":
        return pc.run_end_encode(array)
    distinct = {repr(cell): cell for cell in cells if cell is not None}  # 0.0 and -0.0 are two
    codes = [None if cell is None else list(distinct).index(repr(cell)) for cell in cells]
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int16()), pa.array(distinct.values(), kind))


def faults_of(reading: Callable[[], object]) -> list[tuple[int, str | None]]:
    """Returns the rows and columns that are refused."""
    try:
        reading()
    except RowError as error:
        return [(fault.row, fault.column) for fault in error.faults]
    return []


def check(column: Any, array: pa.Array, expected: list[Any], rows_a_batch: int) -> None:
    """Compares the encoded rows of a stream with those of JSON cells."""
    encoder = encoder_of(column)
    body = stream_of(pa.table({"id": list(range(len(array))), column.name: array}), rows_a_batch=rows_a_batch)
    wanted: list[bytes] = []
    if refusal := faults_of(lambda: wanted.append(encoder.encode([[cell] for cell in expected]))):
        refused = faults_of(lambda: read(encoder, body))
        assert refused, f"the stream is read, and JSON gives {refusal}"
        assert refused == refusal[: len(refused)], "a stream is read up to the first batch with a fault"
        return
    unknown = encoder.unknown.take()
    reading = read(encoder, body)
    assert [bytes_of(reading)] == wanted
    assert reading.unknown.counts == unknown


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NUMBERS)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_numbers(name: str, layout: str, data: st.DataObject) -> None:
    cells, kind = NUMBERS[name]
    if layout == "runs" and name in ("decimal32", "decimal64", "half"):
        layout = "plain"  # Arrow does not encode runs of these
    values = data.draw(st.lists(st.none() | cells, min_size=1, max_size=40))
    origin = data.draw(st.sampled_from([0.0, 1e6]))
    expected = [value if value is None or isinstance(value, int) else float(value) for value in values]
    missing = data.draw(st.sampled_from(["refuse", "mean", "indicator"]))
    check(number("a", origin=origin, missing=missing), arranged(values, kind, layout), expected, 7)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
@given(values=st.lists(st.none() | TEXTS, min_size=1, max_size=40), refuse=st.booleans(), data=st.data())
@settings(max_examples=20, deadline=None)
def test_texts(kind: pa.DataType, layout: str, values: list[str | None], refuse: bool, data: st.DataObject) -> None:
    if layout == "runs" and kind == pa.string_view():
        layout = "plain"
    column = data.draw(
        st.sampled_from(
            [
                categories("a", *KNOWN, unknown="refuse" if refuse else "ignore"),
                number("a", missing="mean"),
                date("a"),
            ]
        )
    )
    check(column, arranged(values, kind, layout), values, 7)


@pytest.mark.parametrize("layout", ["plain", "runs"])
@given(values=st.lists(st.none() | st.booleans(), min_size=1, max_size=40))
@settings(max_examples=20, deadline=None)
def test_booleans(layout: str, values: list[bool | None]) -> None:
    bytes_ = pa.array([value if value is None else 5 * value for value in values], pa.int8())
    stored = pa.ExtensionArray.from_storage(pa.bool8(), bytes_)
    numbers = [value if value is None else int(value) for value in values]
    for array in (arranged(values, pa.bool_(), layout), stored):
        check(categories("a", "true", "false"), array, values, 9)
        check(number("a", missing="indicator"), array, numbers, 9)
        check(number("a"), array, numbers, 9)
        check(date("a", form="epoch-seconds"), array, values, 9)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin", "-07:30"])
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_timestamps(unit: str, zone: str | None, layout: str, data: st.DataObject) -> None:
    near = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)) if unit == "ns" else MOMENTS
    whole = {"s": dt.timedelta(seconds=1), "ms": dt.timedelta(milliseconds=1)}.get(unit, dt.timedelta(microseconds=1))
    values = data.draw(st.lists(st.none() | near.map(lambda x: x - (x - EPOCH) % whole), min_size=1, max_size=30))
    array = arranged(values, pa.timestamp(unit), layout)
    if zone is not None and layout == "plain":
        array = array.cast(pa.timestamp(unit, zone))  # the same numbers, which count in UTC
    expected = [value if value is None else value.isoformat(timespec="microseconds") for value in values]
    check(date("a"), array, expected, 7)
    check(number("a"), array, expected, 7)


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()], ids=str)
@given(values=st.lists(st.none() | st.dates(), min_size=1, max_size=30))
@settings(max_examples=20, deadline=None)
def test_dates(kind: pa.DataType, values: list[dt.date | None]) -> None:
    expected = [value if value is None else value.isoformat() for value in values]
    check(date("a"), pa.array(values, kind), expected, 7)
    check(categories("a", "2024-05-31"), pa.array(values, kind), expected, 7)


@pytest.mark.parametrize(
    "kind", [*(pa.duration(u) for u in ("s", "ms", "us", "ns")), pa.time32("ms"), pa.time64("us")], ids=str
)
@given(values=st.lists(st.none() | st.integers(0, 86_399), min_size=1, max_size=30))
@settings(max_examples=20, deadline=None)
def test_durations_and_times_are_seconds(kind: pa.DataType, values: list[int | None]) -> None:
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
    cells = [None if value is None else value * per_second // 8 for value in values]
    expected = [None if cell is None else cell / per_second for cell in cells]
    whole = pa.int32() if kind.bit_width == 32 else pa.int64()
    check(number("a", missing="indicator"), pa.array(cells, whole).cast(kind), expected, 7)


def test_the_null_type_is_missing_in_every_row() -> None:
    for column in (number("a", missing="mean"), categories("a", "x"), date("a"), number("a")):
        check(column, pa.nulls(20), [None] * 20, 7)


def test_categories_of_typed_columns_are_spelled_as_training_spells_them() -> None:
    cells = {
        "float": pa.array([0.1, 3.0, None], pa.float32()),
        "decimal": pa.array([Decimal("1.10"), Decimal("3.00"), None], pa.decimal128(9, 2)),
        "date": pa.array([dt.datetime(2024, 5, 31), dt.datetime(2024, 5, 31, 12), None], pa.timestamp("ms")),
        "integer": pa.array([-7, 3, None], pa.int8()),
    }
    for array in cells.values():
        raw = Table.from_arrow(pa.table({"a": array, "b": [1, 2, 3]}), source="t")
        trained = RawColumn(raw, "a").categories()
        encoder = encoder_of(categories("a", *trained.names, unknown="refuse"))
        expected = encoder.encode([[name] for name in trained.to_strings()])
        assert bytes_of(read(encoder, stream_of(pa.table({"a": array})))) == expected


def test_identifiers_of_16_bytes_are_texts() -> None:
    given = [uuid.UUID(int=7), uuid.UUID(int=2**127), None]
    array = pa.array([one if one is None else one.bytes for one in given], pa.uuid())
    check(categories("a", str(given[0])), array, [one if one is None else str(one) for one in given], 2)


REFUSED = {
    "list": pa.array([[1]]),
    "struct": pa.array([{"x": 1}]),
    "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
    "binary": pa.array([b"x"]),
    "interval": pa.array([pa.MonthDayNano([1, 1, 1])]),
    "dictionary(binary)": pa.array([b"x"]).dictionary_encode(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_types_are_refused_by_name_in_a_column_of_the_model_and_ignored_in_others(name: str) -> None:
    table = pa.table({"before": REFUSED[name], "b": [2.5], "behind": REFUSED[name], "c": ["x"]})
    encoder = encoder_of(number("b"), categories("c", "x"))
    assert bytes_of(read(encoder, stream_of(table))) == encoder.encode([[2.5, "x"]])
    with pytest.raises(RowError) as refused:
        read(encoder_of(number("b"), number("behind")), stream_of(table))
    [fault] = refused.value.faults
    assert (fault.column, fault.message) == ("behind", f"the Arrow type {name} is not read")


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("ns"), pa.date32(), pa.date64()])
@pytest.mark.parametrize("place", ["least", "beyond"])
def test_moments_outside_the_years_1_to_9999_are_refused_by_row(kind: pa.DataType, place: str) -> None:
    bits = kind.bit_width
    far = -(2 ** (bits - 1)) if place == "least" else 2 ** (bits - 1) - 1
    if place == "beyond" and kind == pa.timestamp("ns"):
        pytest.skip("the year 2262")
    array = pa.array([0, 1, far, None], pa.int32() if bits == 32 else pa.int64()).view(kind)
    with pytest.raises(RowError) as refused:
        read(encoder_of(date("a")), stream_of(pa.table({"a": array})))
    if kind == pa.timestamp("ns"):
        return
    assert [(fault.row, fault.column) for fault in refused.value.faults] == [(2, "a")]
