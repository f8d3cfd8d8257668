"""Rows → float32: the encoder's paths against each other and a naive oracle, and every kind of faulty row."""

import json
import math
import random
import struct
import time
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.columns.cells import category_finder
from models.columns.dictionary_column import DictionaryColumn
from models.columns.encoding import MAX_FAULTS, RowEncoder, encode_columns
from models.columns.schema import CategoricalColumn, ClassTarget, DateColumn, NumericColumn, Schema
from models.errors import DataError, RowError

FLOAT32_MAX = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
HALFWAY = 2.0**128 - 2.0**103  # the first float64 that rounds to infinity


def numeric(name, **changes):
    return NumericColumn(**({"name": name, "mean": 0.5, "std": 2.0, "minimum": -9.0, "maximum": 9.0} | changes))


def categorical(name, *categories, **changes):
    return CategoricalColumn(name=name, categories=categories, **changes)


def date(name, **changes):
    fields = {"name": name, "mean": 19_000.25, "std": 300.0, "minimum": 18_000.0, "maximum": 20_000.0}
    return DateColumn(**(fields | changes))


def schema_of(*columns):
    return Schema(columns=columns, target=ClassTarget(name="y", labels=("no", "yes")))


def naive(schema, rows):
    """Computes the matrix as documented, one cell at a time; rows are lists."""
    return np.array(
        [
            np.concatenate([naive_cell(column, cell) for column, cell in zip(schema.columns, row, strict=True)])
            for row in rows
        ],
        dtype=np.float32,
    )


def naive_cell(column, cell):
    if isinstance(column, CategoricalColumn):
        if column.encoding == "one_hot":
            return [float(category == cell) for category in column.categories]
        numbers = (-1.0, 1.0) if column.encoding == "sign" else range(1, len(column.categories) + 1)
        return [dict(zip(column.categories, numbers, strict=True)).get(cell, 0.0)]
    fill = column.mean if column.center is None else column.center
    if isinstance(column, NumericColumn):
        value, parts = np.float64(fill if cell is None else cell), []
    elif cell is None:
        value, parts = np.float64(fill), [0.0] * (2 * len(column.parts))
    else:
        moment = utc(cell)
        since = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)
        value = np.float64(since) / np.float64(86_400_000_000)
        places = {
            "month": (moment.month - 1, 12),
            "day": (moment.day - 1, 31),
            "weekday": (moment.isoweekday() - 1, 7),
            "hour": (moment.hour, 24),
        }
        turns = [2 * math.pi * places[part][0] / places[part][1] for part in column.parts]
        parts = [round(f(turn), 9) for turn in turns for f in (math.sin, math.cos)]
    indicator = [float(cell is None)] if column.missing == "indicator" else []
    return [value - np.float64(column.origin), *parts, *indicator]


def utc(text):
    """Returns an ISO 8601 text as a UTC time without a zone."""
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def faults(encoder, rows, **options):
    with pytest.raises(RowError) as caught:
        encoder.encode(rows, **options)
    assert 1 <= len(caught.value.faults) <= MAX_FAULTS
    str(caught.value).encode()  # the message can be sent
    return caught.value.faults


# ---------------------------------------------------------------- agreement

NUMBERS = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.floats(-1e30, 1e30),
    st.integers(-(2**70), 2**70),
    st.sampled_from(
        [0, -0.0, SMALLEST, -SMALLEST, SMALLEST / 2, 5e-324, FLOAT32_MAX, -FLOAT32_MAX, 3.4028235e38, 2**53 + 1]
    ),
)
WORDS = ["a", "b", "e é", "ü", "true", "1", "A", "n/a"]


ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
# The ends are a day inside the range of Python's own conversion to UTC.
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.none() | st.just(UTC) | ZONES)
DATES = st.one_of(
    MOMENTS.map(lambda moment: moment.date().isoformat()),
    MOMENTS.map(lambda moment: moment.isoformat()),
    MOMENTS.map(lambda moment: moment.isoformat(" ", "minutes")),
    MOMENTS.map(lambda moment: moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"),
)


@st.composite
def number_columns(draw, name):
    missing = draw(st.sampled_from(["refuse", "mean", "indicator"]))
    origin = draw(st.sampled_from([0.0, 1.7e9, -3.25]))
    center = draw(st.sampled_from([None, 0.0, 12.5]))
    return numeric(name, missing=missing, origin=origin, center=center), NUMBERS


@st.composite
def category_columns(draw, name):
    encoding = draw(st.sampled_from(["one_hot", "sign", "index"]))
    least, most = (2, 2) if encoding == "sign" else (1, len(WORDS))
    known = draw(st.lists(st.sampled_from(WORDS), min_size=least, max_size=most, unique=True))
    unknown, missing = (draw(st.sampled_from(["refuse", "ignore"])) for _ in range(2))
    column = categorical(name, *known, unknown=unknown, missing=missing, encoding=encoding)
    return column, st.sampled_from(WORDS if unknown == "ignore" else known)


@st.composite
def date_columns(draw, name):
    parts = draw(st.lists(st.sampled_from(["month", "day", "weekday", "hour"]), unique=True))
    missing = draw(st.sampled_from(["refuse", "mean", "indicator"]))
    origin = draw(st.sampled_from([0.0, 19_000.25]))
    center = draw(st.sampled_from([None, -3.5]))
    return date(name, parts=parts, missing=missing, origin=origin, center=center), DATES


@st.composite
def columns_and_rows(draw, *, plain=False):
    columns, cells = [], []
    for i in range(draw(st.integers(1, 5))):
        name = f"{draw(st.sampled_from(['x', 'y z', 'é']))}{i}"
        if plain:
            column, cell = numeric(name), NUMBERS
        else:
            column, cell = draw(draw(st.sampled_from([number_columns, category_columns, date_columns]))(name))
        columns.append(column)
        cells.append(cell if column.missing == "refuse" else cell | st.none())
    rows = draw(st.lists(st.tuples(*cells).map(list), min_size=1, max_size=6))
    return schema_of(*columns), rows


def in_any_form(schema, rows, seed):
    """Yields the rows, some as mappings with shuffled keys, some as tuples."""
    dice = random.Random(seed)
    for row in rows:
        cells = list(zip(schema.names, row, strict=True))
        dice.shuffle(cells)
        yield dice.choice([row, tuple(row), dict(cells)])


@settings(max_examples=150)
@given(columns_and_rows(), st.integers(0, 2**32))
@pytest.mark.slow
def test_every_form_of_a_row_gives_the_bytes_of_the_naive_oracle(case, seed):
    schema, rows = case
    expected = naive(schema, rows)
    encoder = RowEncoder(schema)
    assert encoder.encode(rows) == expected.tobytes()
    assert encoder.encode(rows, may_hold_booleans=False) == expected.tobytes()
    mixed = list(in_any_form(schema, rows, seed))
    assert encoder.encode(mixed) == expected.tobytes()
    assert encoder.encode(mixed, may_hold_booleans=False) == expected.tobytes()
    for i, row in enumerate(mixed):
        assert encoder.encode([row]) == expected[i].tobytes(), "a row alone is the same row in a crowd"
    for form in (rows, mixed, [dict(zip(schema.names, row, strict=True)) for row in rows]):
        compact = encoder.encode_compact(form)
        assert encoder.compact.expand(compact).tobytes() == expected.tobytes(), "by columns as by cells"
        at = len(form) // 2
        assert encoder.compact.expand(compact[at:]).tobytes() == expected[at:].tobytes()


ODD_CELLS = st.one_of(
    NUMBERS, DATES, st.sampled_from(WORDS), st.none(), st.booleans(), st.text(max_size=3), st.just([]), st.just({}),
    st.sampled_from([10**400, 3.5e38, math.inf, math.nan, np.float64(1.5), "2024-02-30", "2024-01-01T25:00"]),
    st.sampled_from(["NA", " NA ", "\u200b", " a", "TRUE", "u\u0308", " 2024-05-31\t", 1.0, " 1.0"]),
)  # fmt: skip


@settings(max_examples=300)
@given(columns_and_rows(), st.data())
@pytest.mark.slow
def test_many_rows_are_refused_as_few_are(case, data):
    schema, rows = case
    many = (rows * 40)[:40]
    at, column = data.draw(st.integers(0, 39)), data.draw(st.integers(0, len(schema.columns) - 1))
    odd = list(many[at])
    odd[column] = data.draw(ODD_CELLS)
    many[at] = odd
    encoder = RowEncoder(schema)
    few = [outcome(encoder, [row]) for row in many]
    expected = b"".join(few) if None not in few else None
    assert outcome(encoder, many) == expected
    if expected is None:
        assert {fault.row for fault in faults(encoder, many)} == {at}


def outcome(encoder, rows):
    try:
        return encoder.encode(rows)
    except RowError:
        return None


@settings(max_examples=150)
@given(columns_and_rows(plain=True), st.integers(0, 2**32))
def test_the_fast_gear_gives_the_bytes_of_the_slow_one(case, seed):
    schema, rows = case
    encoder = RowEncoder(schema)
    for form in (rows, list(in_any_form(schema, rows, seed)), rows[:1]):
        fast = encoder._pack_plain(form)
        assert fast is not None, "plain rows need no other gear"
        assert fast == encoder.encode(form, may_hold_booleans=True)


@pytest.mark.slow
@settings(max_examples=300)
@given(columns_and_rows(), st.booleans())
def test_whole_columns_encode_to_the_bytes_of_their_rows(case, as_names):
    schema, rows = case
    columns = {}
    for column, cells in zip(schema.columns, zip(*rows, strict=True), strict=True):
        if isinstance(column, NumericColumn):
            columns[column.name] = np.array([np.nan if cell is None else cell for cell in cells], dtype=np.float64)
        elif isinstance(column, DateColumn):
            moments = ["NaT" if cell is None else utc(cell) for cell in cells]
            columns[column.name] = np.array(moments, dtype="datetime64[us]")
        else:
            columns[column.name] = DictionaryColumn.from_strings(cells) if as_names else np.array(cells, dtype=object)
    matrix = encode_columns(schema, columns)
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous
    assert matrix.tobytes() == RowEncoder(schema).encode(rows)


@settings(max_examples=150)
@given(columns_and_rows())
@pytest.mark.slow
def test_the_features_tell_what_each_number_of_a_row_is(case):
    schema, rows = case
    matrix = naive(schema, rows)
    assert len(schema.features) == schema.width == matrix.shape[1]
    shift, divisor = schema.standardisation()
    for i, feature in enumerate(schema.features):
        if feature.kind != "number":
            assert (shift[i], divisor[i]) == (0, 1)
        if feature.kind == "flag":
            assert np.abs(matrix[:, i]).max() <= 1
        elif feature.kind == "index":
            assert set(matrix[:, i]) <= set(range(feature.categories + 1))


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from(["refuse", "mean", "indicator"]), st.sampled_from([0.0, 7.5])), min_size=1),
    st.data(),
)
def test_numbers_without_an_object_each_encode_as_rows_do_also_beside_indicators(policies, data):
    columns = [numeric(f"c{i}", missing=missing, origin=origin) for i, (missing, origin) in enumerate(policies)]
    encoder = RowEncoder(schema_of(*columns))
    row = st.lists(st.floats(-1e30, 1e30), min_size=len(columns), max_size=len(columns))
    rows = data.draw(st.lists(row, min_size=1, max_size=4))
    assert encoder.encode_numbers(np.array(rows)) == encoder.encode(rows)
    wider = np.ones((1, len(columns) + 1))
    assert encoder.encode_numbers(wider) is None, "a width of features is not one of columns"


def test_encode_matrix_is_encode_with_a_shape():
    encoder = RowEncoder(schema_of(numeric("a"), categorical("b", "x", "y")))
    matrix = encoder.encode_matrix([[1, "y"], {"b": "x", "a": 2.5}])
    np.testing.assert_array_equal(matrix, np.array([[1, 0, 1], [2.5, 1, 0]], dtype=np.float32))
    assert encoder.encode_matrix([]).shape == (0, 3)


# ---------------------------------------------------------------- the edges of float32


@pytest.mark.parametrize("booleans", [True, False])
@pytest.mark.parametrize(
    "cell", [3.4028235e38, FLOAT32_MAX, -FLOAT32_MAX, math.nextafter(HALFWAY, 0), int(FLOAT32_MAX)]
)
def test_the_largest_float32_passes_also_in_its_shortest_decimal_form(cell, booleans):
    for columns in ([numeric("a")], [numeric("a", missing="mean")]):
        (value,) = struct.unpack("<f", RowEncoder(schema_of(*columns)).encode([[cell]], may_hold_booleans=booleans))
        assert value == math.copysign(FLOAT32_MAX, cell)
        assert encode_columns(schema_of(*columns), {"a": np.array([float(cell)])})[0, 0] == value


@pytest.mark.parametrize("booleans", [True, False])
@pytest.mark.parametrize("cell", [HALFWAY, -HALFWAY, 1e39, -1e308, 10**39, -(10**400), 10**5000, 2**1024], ids=range(8))
def test_what_would_round_to_infinity_is_too_large(cell, booleans):
    for columns in ([numeric("a")], [numeric("a", missing="mean")]):
        encoder = RowEncoder(schema_of(*columns, numeric("b")))
        for rows in ([[cell, 1.0]], [{"b": 1.0, "a": cell}], [[1.0, 2.0], [cell, 1.0]]):
            (fault,) = faults(encoder, rows, may_hold_booleans=booleans)
            assert (fault.row, fault.column) == (len(rows) - 1, "a")
            assert "too large for 32-bit" in fault.message
            assert len(fault.message) < 200


@pytest.mark.parametrize("booleans", [True, False])
def test_negative_zero_and_subnormals_keep_their_bits(booleans):
    encoder = RowEncoder(schema_of(*map(numeric, "abcd")))
    row = [-0.0, SMALLEST, -SMALLEST, SMALLEST * 0.4]
    assert encoder.encode([row], may_hold_booleans=booleans) == np.array(row, dtype=np.float32).tobytes()


def test_cells_whose_sum_overflows_are_encoded_where_each_is_finite():
    encoder = RowEncoder(schema_of(*map(numeric, "ab")))
    rows = [[FLOAT32_MAX, FLOAT32_MAX]] * 100
    assert encoder.encode(rows, may_hold_booleans=False) == np.array(rows, dtype=np.float32).tobytes()
    huge = 10**38  # integers: the sum is exact, and exceeds float64 only by their number
    assert encoder.encode([[huge, -huge]], may_hold_booleans=False) == np.array([[huge, -huge]], np.float32).tobytes()
    (fault,) = faults(encoder, [[1e308, 1e308]], may_hold_booleans=False)[:1]
    assert fault.column == "a"


def test_infinities_that_cancel_are_seen():
    encoder = RowEncoder(schema_of(*map(numeric, "ab")))
    found = faults(encoder, [[math.inf, -math.inf]], may_hold_booleans=False)
    assert [fault.column for fault in found] == ["a", "b"]


def test_a_timestamp_keeps_its_spread():
    column = numeric("t", mean=1.7e9, std=30.0, origin=1.7e9)
    rows = [[1.7e9 + i] for i in range(-100, 101)]
    matrix = RowEncoder(schema_of(column)).encode_matrix(rows)
    np.testing.assert_array_equal(matrix[:, 0], np.arange(-100, 101, dtype=np.float32))
    mean, _ = schema_of(column).standardisation()
    assert mean.tolist() == [0.0]
    assert len(np.unique(np.array(rows, dtype=np.float32))) < 10, "which rounding first would have lost"


def test_an_origin_that_overflows_the_difference_is_a_fault_and_no_warning():
    schema = schema_of(numeric("t", mean=1.7e308, origin=1.7e308))
    assert faults(RowEncoder(schema), [[-1.7e308]])[0].message.endswith("too large for 32-bit floating point")
    with pytest.raises(DataError, match=r"'t': row 1: -1.7e.308 is too large"):
        encode_columns(schema, {"t": np.array([1.7e308, -1.7e308])})


# ---------------------------------------------------------------- policies


def test_a_missing_number_becomes_the_mean_where_the_schema_says_so():
    encoder = RowEncoder(schema_of(numeric("a", missing="mean", mean=12.5, origin=10.0), numeric("b")))
    assert encoder.encode_matrix([[None, 1]]).tolist() == [[2.5, 1.0]]
    (fault,) = faults(encoder, [[1, None]])
    assert (fault.column, fault.message) == (
        "b",
        "the value is missing, and training saw no missing value in this column",
    )


def test_a_missing_number_is_told_by_an_indicator_where_there_is_one():
    encoder = RowEncoder(schema_of(numeric("a", missing="indicator", mean=12.5, center=11.0), numeric("b")))
    assert encoder.encode_matrix([[None, 1], [12.5, 1]]).tolist() == [[11.0, 1.0, 1.0], [12.5, 0.0, 1.0]]


def test_two_categories_become_a_sign_and_many_a_number_to_look_up():
    schema = schema_of(
        categorical("s", "no", "yes", encoding="sign", unknown="ignore", missing="ignore"),
        categorical("i", "x", "y", "z", encoding="index", unknown="ignore", missing="ignore"),
    )
    rows = [["no", "x"], ["yes", "z"], [None, None], ["maybe", "w"]]
    assert RowEncoder(schema).encode_matrix(rows).tolist() == [[-1, 1], [1, 3], [0, 0], [0, 0]]
    for encoding in ("sign", "index"):
        strict = RowEncoder(schema_of(categorical("c", "x", "y", encoding=encoding)))
        assert [fault.row for fault in faults(strict, [["z"], ["x"], [None]])] == [0, 2]


def test_a_date_is_the_same_moment_however_it_is_written():
    encoder = RowEncoder(schema_of(date("d", parts=("hour",), origin=19_874.0)))
    same = ["2024-05-31T12:00:00Z", "2024-05-31 12:00", "2024-05-31T14:00:00.000+02:00", "2024-05-31t05:30-0630"]
    assert encoder.encode_matrix([[text] for text in same]).tolist() == [[0.5, 0.0, -1.0]] * len(same)
    assert encoder.encode_matrix([["2024-05-31"]]).tolist() == [[0.0, 0.0, 1.0]], "midnight, UTC"


NO_DATES = [
    *("2024-13-01", "2023-02-29", "2024-05-31T24:30", "2024-05-31T12:00+25:00", "31.05.2024", "05/31/2024"),
    *("2024-05-31T", "2024-05-31Z", "2024-W01-1", "20240531", "2024-05-31x12:00", "2024-05", "0", "2024-05-31\t12:00"),
    *("2024-05-31\n1", "0000-01-01", "10000-01-01", "0001-01-01T00:00+01:00", "9999-12-31T23:00-02:00", "٢٠٢٤-05-31"),
    *("2024-05-31T12:00:00." + "1" * 5000, "x" * 10_000, "\ud800", 1_717_113_600, 1.5, True, [], {}, 10**5000),
]


@pytest.mark.parametrize("cell", NO_DATES, ids=range(len(NO_DATES)))
@pytest.mark.parametrize("missing", ["refuse", "indicator"])
def test_what_is_no_date_is_named_by_row_and_column(cell, missing):
    encoder = RowEncoder(schema_of(date("d", missing=missing), numeric("n")))
    (fault,) = faults(encoder, [["2024-05-31", 1.0], {"n": 1.0, "d": cell}])
    assert (fault.row, fault.column) == (1, "d")
    assert fault.message.endswith("is not a date (ISO 8601, such as 2024-05-31 or 2024-05-31T13:45:00Z)")
    assert len(fault.message) < 200


def test_a_missing_date_is_at_the_centre_of_time_and_of_the_calendar():
    column = date("d", parts=("weekday",), missing="indicator", center=19_874.5, origin=19_874.0)
    assert RowEncoder(schema_of(column)).encode_matrix([[None]]).tolist() == [[0.5, 0.0, 0.0, 1.0]]
    (fault,) = faults(RowEncoder(schema_of(date("d"))), [[None]])
    assert fault.message == "the value is missing, and training saw no missing value in this column"


def test_an_unknown_or_missing_category_is_all_zero_where_the_schema_says_so():
    ignore = RowEncoder(schema_of(categorical("c", "x", "y", unknown="ignore", missing="ignore")))
    assert ignore.encode_matrix([["z"], [None], ["y"], [7], [True]]).tolist() == [
        [0, 0],
        [0, 0],
        [0, 1],
        [0, 0],
        [0, 0],
    ]
    refuse = RowEncoder(schema_of(categorical("c", "x", "y")))
    assert [fault.row for fault in faults(refuse, [["z"], ["x"], [None], [7]])] == [0, 2, 3]
    only_missing = RowEncoder(schema_of(categorical("c", "x", unknown="ignore")))
    assert [fault.row for fault in faults(only_missing, [["z"], [None]])] == [1]
    only_unknown = RowEncoder(schema_of(categorical("c", "x", missing="ignore")))
    assert [fault.row for fault in faults(only_unknown, [["z"], [None]])] == [0]


def test_a_category_may_be_named_by_the_number_or_boolean_that_json_has_for_it():
    schema = schema_of(categorical("zip", "10115", "-7", "0"), categorical("member", "true", "false"))
    cells = [[10115, True], ["-7", "false"], [-7, False], [0, "true"]]
    matrix = RowEncoder(schema).encode_matrix(cells)
    assert matrix.tolist() == [[1, 0, 0, 1, 0], [0, 1, 0, 0, 1], [0, 1, 0, 0, 1], [0, 0, 1, 1, 0]]
    columns = {"zip": np.array([10115, -7, -7, 0]), "member": np.array([True, False, False, True])}
    assert encode_columns(schema, columns).tobytes() == matrix.tobytes()
    (fault,) = faults(RowEncoder(schema_of(categorical("n", "1"))), [[True]])
    assert fault.message.startswith("true is not a category")


@pytest.mark.parametrize("cell", [math.inf, [], {}, ["x"], {"x": 1}, 10**5000, b"x", object()], ids=range(8))
def test_what_names_no_category_is_refused_also_where_unknown_ones_are_ignored(cell):
    for policy in ("refuse", "ignore"):
        encoder = RowEncoder(schema_of(categorical("c", "x", unknown=policy, missing=policy), numeric("n")))
        for row in ([cell, 1.0], {"n": 1.0, "c": cell}):
            (fault,) = faults(encoder, [["x", 0.0], row])
            assert (fault.row, fault.column) == (1, "c")
            assert "is not a category of this column, which knows 'x'" in fault.message


# ---------------------------------------------------------------- faults

BAD_CELLS = {
    "string": ("abc", '"abc" is not a number'),
    "numeric string": ("5.1", '"5.1" is not a number'),
    "null": (None, "the value is missing"),
    "true": (True, "true is not a number"),
    "nan": (math.nan, "nan is not a finite number"),
    "inf": (math.inf, "inf is not a finite number"),
    "-inf": (-math.inf, "-inf is not a finite number"),
    "list": ([1.0], "a list is not a number"),
    "object": ({"a": 1.0}, "an object is not a number"),
    "complex": (1j, "this value is not a number"),
    "surrogate": ("\ud800", r'"\ud800" is not a number'),
    "newline": ('a"\n', r'"a\"\n" is not a number'),
    "long": ("x" * 10_000, "…"),
}


@pytest.mark.parametrize(("cell", "message"), BAD_CELLS.values(), ids=BAD_CELLS)
@pytest.mark.parametrize("slow", [{}, {"missing": "mean"}], ids=["plain", "not plain"])
def test_a_bad_cell_between_good_rows_is_named_by_row_and_column(cell, message, slow):
    encoder = RowEncoder(schema_of(numeric("a", **slow), numeric("b")))
    for bad in ([1.0, cell], {"b": cell, "a": 1.0}, (1.0, cell)):
        for options in ({}, {"may_hold_booleans": cell is True}):
            (fault,) = faults(encoder, [[1.0, 2.0], bad, {"a": 1, "b": 2}], **options)
            assert (fault.row, fault.column) == (1, "b")
            assert message in fault.message
            assert len(fault.message) < 200
            assert str(fault).startswith("row 1, column 'b': ")


BAD_ROWS = {
    "too short": ([1.0], "1 value where the model takes 2: 'a', 'b'"),
    "too long": ([1.0, 2.0, 3.0], "3 values where"),
    "empty": ([], "0 values where"),
    "string": ("ab", '"ab" where a list of 2 values or an object by column name is expected'),
    "number": (5, "5 where a list"),
    "huge number": (10**5000, "a whole number of many digits where a list"),
    "null": (None, "null where a list"),
    "boolean": (True, "true where a list"),
    "bytes": (b"ab", "this value where a list"),
    "set": ({1.0, 2.0}, "this value where a list"),
}


@pytest.mark.parametrize(("row", "message"), BAD_ROWS.values(), ids=BAD_ROWS)
@pytest.mark.parametrize("slow", [{}, {"missing": "mean"}], ids=["plain", "not plain"])
@pytest.mark.parametrize("booleans", [True, False])
def test_what_is_no_row_is_named_by_its_place(row, message, slow, booleans):
    encoder = RowEncoder(schema_of(numeric("a", **slow), numeric("b")))
    for before in ([], [[1.0, 2.0]]):
        (fault,) = faults(encoder, [*before, row], may_hold_booleans=booleans)
        assert (fault.row, fault.column) == (len(before), None)
        assert message in fault.message


@pytest.mark.parametrize("booleans", [True, False])
def test_widths_that_are_wrong_but_add_up_are_seen(booleans):
    encoder = RowEncoder(schema_of(*map(numeric, "ab")))
    found = faults(encoder, [[1.0], [2.0, 3.0, 4.0]], may_hold_booleans=booleans)
    assert [fault.row for fault in found] == [0, 1]


@pytest.mark.parametrize("booleans", [True, False])
def test_unknown_and_missing_columns_are_named(booleans):
    encoder = RowEncoder(schema_of(*map(numeric, "ab")))
    found = faults(encoder, [{"a": 1.0, "B": 2.0}, {"a": 1.0, "b": 2.0, "c": 3.0}, {}], may_hold_booleans=booleans)
    assert [(fault.row, fault.column) for fault in found] == [(0, "B"), (0, "b"), (1, "c"), (2, "a"), (2, "b")]
    assert found[0].message == "not a column of this model; its columns are 'a', 'b'"
    assert found[1].message == "this column is missing"


def test_a_single_column_is_taken_by_name_too():
    encoder = RowEncoder(schema_of(numeric("only")))
    assert encoder.encode_matrix([{"only": 3}, [4]]).tolist() == [[3], [4]]
    assert faults(encoder, [{"other": 3}])[0].column == "other"


def test_names_that_a_client_made_up_are_cut_and_can_be_sent():
    encoder = RowEncoder(schema_of(numeric("a")))
    row = {"a": 1.0, "\ud800": 1, "x" * 1_000_000: 2, 5: 3}
    assert [fault.column for fault in faults(encoder, [row])] == [r"\ud800", "x" * 60, "5"]


def test_all_that_is_wrong_with_a_row_is_told_at_once():
    encoder = RowEncoder(schema_of(numeric("a"), categorical("b", "x"), numeric("c")))
    assert [fault.column for fault in faults(encoder, [["1", "y", None]])] == ["a", "b", "c"]


cells = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.sampled_from(["x", 10**400]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=4,
)
some_rows = st.lists(st.lists(cells, max_size=4) | st.dictionaries(st.sampled_from("abcd"), cells) | cells, max_size=4)


@settings(max_examples=150)
@given(some_rows, st.sampled_from(["refuse", "mean"]))
def test_any_json_is_encoded_or_refused_by_row_error_and_the_gears_agree(rows, missing):
    encoder = RowEncoder(schema_of(numeric("a", missing=missing), numeric("b"), categorical("c", "x", "true")))
    plain = RowEncoder(schema_of(*map(numeric, "abc")))

    def outcome(encoder, **options):
        try:
            return encoder.encode(rows, **options)
        except RowError as error:
            return error.faults

    careful, fast = outcome(encoder), outcome(encoder, may_hold_booleans=False)
    assert careful == fast
    if "true" not in json.dumps(rows).lower() and "false" not in json.dumps(rows).lower():
        assert outcome(plain) == outcome(plain, may_hold_booleans=False)
    if isinstance(careful, bytes):
        assert len(careful) == 4 * encoder.width * len(rows)
        assert np.isfinite(np.frombuffer(careful, "<f4")).all()


def test_numpy_floats_are_numbers_in_every_gear():
    for encoder in (RowEncoder(schema_of(numeric("a"))), RowEncoder(schema_of(numeric("a", missing="mean")))):
        for booleans in (True, False):
            assert encoder.encode([[np.float64(1.5)]], may_hold_booleans=booleans) == struct.pack("<f", 1.5)
    assert faults(RowEncoder(schema_of(numeric("a"))), [[np.float64("nan")]])[0].message == "nan is not a finite number"
    assert faults(RowEncoder(schema_of(numeric("a"))), [[Decimal("1.5")]])[0].message == "this value is not a number"


# ---------------------------------------------------------------- hostile sizes


def refused(encoder: RowEncoder, rows: list[object]) -> None:
    with pytest.raises(RowError):
        encoder.encode(rows)


def best_of_three(action):
    """Returns CPU seconds of this thread: the minimum of three runs, since the machine may be busy."""
    took = []
    for _ in range(3):
        start = time.thread_time()
        action()
        took.append(time.thread_time() - start)
    return min(took)


def relative_cost(action, reference, limit):
    """Returns the ratio of two actions' CPU seconds.

    Other work on the machine slows the actions unevenly, so a ratio above the limit is measured up to six times.
    """
    ratio = math.inf
    for _ in range(6):
        ratio = min(ratio, best_of_three(action) / best_of_three(reference))
        if ratio < limit:
            break
    return ratio


HOSTILE = {
    "bad cells": [["x", "y"]] * 100_000,
    "bad rows": [None] * 100_000,
    "empty objects": [{}] * 100_000,
    "the last alone is bad": [[1.0, 2.0]] * 20_000 + [[1.0, None]],
    "unknown names": [{f"name {i}": 1.0 for i in range(100_000)}],
}


@pytest.mark.parametrize("rows", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.slow
def test_a_hostile_request_costs_little_more_than_an_honest_one_and_its_answer_is_bounded(rows):
    encoder = RowEncoder(schema_of(*map(numeric, "ab")))
    for booleans in (True, False):
        found = faults(encoder, rows, may_hold_booleans=booleans)
        assert sum(len(str(fault)) for fault in found) < 10_000

    def honest():
        encoder.encode([[1.0, 2.0]] * 100_000)

    # The most expensive takes 1.3 times as long.
    assert relative_cost(lambda: refused(encoder, rows), honest, limit=10) < 10


def test_a_wide_model_names_the_first_faults_of_rows_that_lack_everything():
    encoder = RowEncoder(schema_of(*(numeric(f"c{i}") for i in range(5_000))))
    rows = [{}] * 1_000
    assert len(faults(encoder, rows)) == MAX_FAULTS
    strangers = [{f"d{i}": 1 for i in range(5_000)}]

    def twenty_honest_rows():
        encoder.encode([[1.0] * 5_000] * 20)

    assert relative_cost(lambda: refused(encoder, rows), twenty_honest_rows, limit=1) < 1  # 0.3 ms, against 13 ms
    assert relative_cost(lambda: refused(encoder, strangers), twenty_honest_rows, limit=1) < 1  # 0.8 ms


def test_ten_thousand_categories_cost_little_more_than_their_matrix():
    categories = [f"category {i}" for i in range(10_000)]
    schema = schema_of(categorical("c", *categories), numeric("n"))
    encoder = RowEncoder(schema)
    rows = [[categories[i * 37 % 10_000], float(i)] for i in range(200)]
    columns = {"c": np.array([row[0] for row in rows], dtype=object), "n": np.array([row[1] for row in rows])}
    matrix_bytes = 200 * 10_001 * 4
    tracemalloc.start()
    try:
        encoded = encoder.encode(rows)
        _, rows_peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        matrix = encode_columns(schema, columns)
        _, columns_peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(encoded) == matrix_bytes
    assert matrix.tobytes() == encoded
    assert rows_peak < 2.5 * matrix_bytes  # the rows' bytes, and the joined copy
    assert columns_peak - before < 1.5 * matrix_bytes + 2_000_000  # only the matrix, and the lookup table
    (fault,) = faults(encoder, [["none of them", 1.0]])
    assert len(fault.message) < 500
    assert "(10000 in all)" in fault.message


# ---------------------------------------------------------------- whole columns


TWO = schema_of(numeric("n"), categorical("c", "x", "y"))
GOOD = {"n": np.array([1.0, 2.0]), "c": np.array(["x", "y"], dtype=object)}
BAD_COLUMNS = {
    "absent": ({"n": GOOD["n"]}, "'c' is missing"),
    "strings for numbers": (GOOD | {"n": np.array(["1", "2"])}, "'n' holds <U1, not numbers"),
    "objects for numbers": (GOOD | {"n": np.array([1.0, None], dtype=object)}, "'n' holds object"),
    "booleans for numbers": (GOOD | {"n": np.array([True, False])}, "'n' holds bool"),
    "complex": (GOOD | {"n": np.array([1j, 2])}, "'n' holds complex128"),
    "missing number": (GOOD | {"n": np.array([1.0, np.nan])}, "'n': row 1 has no value"),
    "infinite": (GOOD | {"n": np.array([1.0, -np.inf])}, "'n': row 1: -inf is not a finite number"),
    "too large": (GOOD | {"n": np.array([HALFWAY, 1.0])}, "'n': row 0: .* is too large"),
    "unknown category": (GOOD | {"c": np.array(["x", "z"])}, "'c': row 1: \"z\" is not a category"),
    "missing category": (GOOD | {"c": np.array([None, "x"], dtype=object)}, "'c': row 0: the value is missing"),
    "NaN for a category": (GOOD | {"c": np.array([np.nan, "x"], dtype=object)}, "'c': row 0: the value is missing"),
    "list for a category": (GOOD | {"c": np.array([["x"], None], dtype=object)}, "'c': row 0: a list is not"),
    "fewer rows": (GOOD | {"c": np.array(["x"])}, r"'c' has shape \(1,\) where \(2,\) is expected"),
    "a matrix": (GOOD | {"c": np.array([["x"], ["y"]])}, r"'c' has shape \(2, 1\)"),
    "a scalar": (GOOD | {"n": np.array(1.0)}, r"'n' has shape \(\)"),
}


NAMED = {"n": GOOD["n"], "c": DictionaryColumn.from_strings(["x", "y"])}
DATED = schema_of(date("d"), date("e", missing="mean"))
DICTIONARY = DictionaryColumn.from_strings
BAD_NAMES_AND_DATES = {
    "unknown name": (
        TWO,
        NAMED | {"c": DictionaryColumn.from_strings(["x", "z"])},
        "'c': row 1: \"z\" is not a category",
    ),
    "missing name": (
        TWO,
        NAMED | {"c": DictionaryColumn.from_strings(["x", None])},
        "'c': row 1: the value is missing",
    ),
    "fewer names": (TWO, NAMED | {"c": DictionaryColumn.from_strings(["x"])}, r"'c' has shape \(1,\) where \(2,\)"),
    "names for numbers": (TWO, NAMED | {"n": NAMED["c"]}, "'n' holds names, not numbers"),
    "names for dates": (DATED, {"d": NAMED["c"], "e": NAMED["c"]}, "'d' holds names, not dates"),
    "numbers for dates": (DATED, {"d": GOOD["n"], "e": GOOD["n"]}, "'d' holds float64, not dates"),
    "dates for numbers": (TWO, NAMED | {"n": np.array(["2024", "2025"], "M8[us]")}, "holds datetime64.us., not numb"),
    "missing date": (DATED, {"d": np.array(["NaT"], "M8[us]"), "e": np.array(["NaT"], "M8[us]")}, "'d': row 0 has no"),
    "year 10000": (
        DATED,
        {"d": np.array(["2024"], "M8[D]"), "e": np.array(["+10000"], "M8[D]")},
        "'e': row 0 is outside the years 1 to 9999",
    ),
    "a year beyond microseconds": (
        DATED,
        {"d": np.array([-(10**12)], "M8[Y]"), "e": np.array(["2024"], "M8[D]")},
        "'d': row 0 is outside the years 1 to 9999",
    ),
}


@pytest.mark.parametrize(("schema", "columns", "message"), BAD_NAMES_AND_DATES.values(), ids=BAD_NAMES_AND_DATES)
def test_names_and_dates_that_do_not_fit_are_a_data_error_by_name(schema, columns, message):
    with pytest.raises(DataError, match=message):
        encode_columns(schema, columns)


def test_names_cost_a_look_up_a_name_and_not_a_row(monkeypatch):
    looked_up = []

    def counting_finder(column):
        find = category_finder(column)
        return lambda cell: looked_up.append(cell) or find(cell)

    monkeypatch.setattr("models.columns.column_encoding.category_finder", counting_finder)
    names = tuple(f"name {i}" for i in range(50))
    codes = np.arange(100_000, dtype=np.int32) % 50
    schema = schema_of(categorical("c", *names[::-1], encoding="index"))
    matrix = encode_columns(schema, {"c": DictionaryColumn(codes, names)})
    np.testing.assert_array_equal(matrix[:, 0], 50 - codes)
    assert len(looked_up) == 51, "each name, and a missing one"


@pytest.mark.parametrize(("columns", "message"), BAD_COLUMNS.values(), ids=BAD_COLUMNS)
def test_a_column_that_does_not_fit_is_a_data_error_by_name(columns, message):
    with pytest.raises(DataError, match=message):
        encode_columns(TWO, columns)


def test_whole_columns_are_left_as_they_were():
    given_values = np.array([1.0, np.nan])
    encode_columns(schema_of(numeric("n", missing="mean", origin=3.0)), {"n": given_values})
    np.testing.assert_array_equal(given_values, [1.0, np.nan])


@pytest.mark.parametrize("dtype", ["i1", "u8", "i8", "f2", "f4", "f8", ">f8", ">i4"])
def test_numbers_of_any_type_encode_as_themselves(dtype):
    values = np.array([0, 1, 100], dtype=dtype)
    assert encode_columns(schema_of(numeric("n")), {"n": values}).tolist() == [[0.0], [1.0], [100.0]]


def test_a_missing_cell_stands_for_the_category_that_fills_it():
    column = CategoricalColumn(name="c", categories=("a", "none"), unknown="ignore", fill="none")
    encoder = RowEncoder(Schema(columns=(column,), target=ClassTarget(name="y", labels=("u", "v"))))
    rows = [["a"], [None], [""], ["NA"], ["none"], ["other"]]
    expected = [[1, 0], [0, 1], [0, 1], [0, 1], [0, 1], [0, 0]]
    assert encoder.encode_matrix(rows).tolist() == expected
    cells = np.array([row[0] for row in rows], dtype=object)
    assert encode_columns(encoder.schema, {"c": cells}).tolist() == expected


def test_only_a_category_can_fill_a_missing_cell():
    with pytest.raises(DataError, match="fill must be one of the categories"):
        CategoricalColumn(name="c", categories=("a",), fill="b")
