"""Rows of data frames and similar types: cells as in a request."""

import datetime
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from models.columns.cell_text import category_of
from models.columns.frame_rows import rows_of
from models.errors import DataError
from training.data.arrow_types import plain_column
from training.data.column_choices import ColumnChoices
from training.data.table import Table
from training.data.understanding import read_training_table

KEY = uuid.UUID(int=5)


@pytest.mark.parametrize(
    ("cell", "sent"),
    [
        (1, 1),
        (True, True),
        (np.True_, True),
        (np.int16(3), 3),
        (np.float32(0.25), 0.25),
        (np.float64(2.5), 2.5),
        (np.longdouble(2.5), 2.5),
        (float("nan"), None),
        (None, None),
        (pd.NA, None),
        (pd.NaT, None),
        (np.datetime64("NaT", "us"), None),
        (np.timedelta64("NaT"), None),
        ("as it is ", "as it is "),
        (Decimal("1.5"), 1.5),
        (KEY, "00000000-0000-0000-0000-000000000005"),
        (datetime.date(2024, 5, 31), "2024-05-31"),
        (datetime.datetime(2024, 5, 31, 7, 5), "2024-05-31T07:05:00Z"),
        (pd.Timestamp("2024-05-31T07:05Z"), "2024-05-31T07:05:00Z"),
        (np.datetime64("2024-05-31T07:05"), "2024-05-31T07:05:00Z"),
        (datetime.timedelta(minutes=2), 120.0),
        (np.timedelta64(1500, "ms"), 1.5),
        (datetime.time(1, 0, 30), 3630.0),
        (pd.Period("2024-05"), "2024-05-01"),
    ],
    ids=repr,
)
def test_a_cell_is_what_a_request_would_hold(cell, sent):
    row = rows_of([[cell]], ["a"])[0]
    assert row == [sent]
    assert type(row[0]) is type(sent)
    assert rows_of([{"a": cell}], ["a"]) == [{"a": sent}]


def test_what_no_request_holds_stays_and_is_refused_later():
    odd = object()
    assert rows_of([[odd, [1], b"x"]], ["a", "b", "c"]) == [[odd, [1], b"x"]]
    assert rows_of([[np.clongdouble(1j)]], ["a"]) == [[np.clongdouble(1j)]]


@pytest.mark.parametrize("kind", ["pandas", "pandas of Arrow types", "Arrow", "one row"])
def test_numbers_of_a_column_of_categories_are_spelled_as_in_training(kind):
    arrow = pa.table(
        {
            "short": pa.array([0.1, None, 2.0], pa.float32()),
            "price": pa.array([Decimal("1.10"), None, Decimal("2.00")]),
            "long": pa.array([0.1, 0.2, 0.3]),
        }
    )
    names = list(arrow.column_names)
    training = read_training_table(
        Table.from_arrow(
            pa.concat_tables([arrow] * 8).append_column("y", pa.array(["no", "yes", "no"] * 8)), source="the table"
        ),
        name="t",
        target="y",
        choices=ColumnChoices(categorical=tuple(names)),
    )
    known = {name: set(training.features[name].names) for name in names}
    frame = {
        "pandas": arrow.to_pandas().astype({"short": "float32"}),
        "pandas of Arrow types": arrow.to_pandas(types_mapper=pd.ArrowDtype),
        "Arrow": arrow,
        "one row": pd.Series({"short": np.float32(0.1), "price": Decimal("1.10"), "long": 0.1}),
    }[kind]
    rows = rows_of(frame, names, categorical=names)
    assert rows[0] == [0.1, "1.10", 0.1]
    for row in rows:
        assert all(cell is None or category_of(cell) in known[name] for name, cell in zip(names, row, strict=True))
    assert rows_of(arrow, names)[0] == [float(np.float32(0.1)), 1.1, 0.1], "a column of numbers keeps every bit"


def test_numbers_of_rows_are_spelled_as_those_of_a_frame():
    short, price = np.float32(0.1), Decimal("1.10")
    expected = [0.1, "1.10", float(short), 1.1]
    names, categorical = ["short", "price", "b", "c"], ["short", "price"]
    cells = [short, price, short, price]
    for rows in ([cells], [tuple(cells)], np.array([cells], dtype=object), [np.array(cells, dtype=object)]):
        assert rows_of(rows, names, categorical=categorical) == [expected]
    keyed = dict(zip([" short", "price", "b", "c"], cells, strict=True))
    for rows in (keyed, [keyed]):
        assert rows_of(rows, names, categorical=categorical) == [dict(zip(keyed, expected, strict=True))]
    for dtype in ("float32", ">f4", "float16"):
        matrix = np.array([[0.5, 0.1]]).astype("float32").astype(dtype)
        spelled = 0.1 if dtype != "float16" else float(str(np.float32(np.float16(0.1))))
        assert rows_of(matrix, ["a", "b"], categorical=["b"]) == [[0.5, spelled]]
        assert rows_of(matrix, ["a", "b"]) == matrix.tolist()
        assert rows_of(list(matrix), ["a", "b"], categorical=["b"]) == [[0.5, spelled]]
    assert rows_of([[price] * 3], ["a"], categorical=["a"]) == [["1.10", 1.1, 1.1]], "the encoder tells the width"
    assert rows_of(np.array([[2**53 + 1]]), ["a"], categorical=["a"]) == [[2**53 + 1]]


WHOLE = [250, None, 1, 1_234_567_891, 86_399_999_999_999, 999_999_999, 44_444_444_444_444]  # nanoseconds


@pytest.mark.parametrize("kind", ["pandas", "pandas of Arrow types", "Arrow", "chunks", "polars", "one row", "lists"])
def test_durations_and_times_of_day_keep_their_nanoseconds(kind):
    durations = [*WHOLE[:-1], -250]
    arrow = pa.table({"d": pa.array(durations, pa.duration("ns")), "t": pa.array(WHOLE, pa.time64("ns"))})
    frame = pd.DataFrame({"d": arrow["d"].to_pandas(), "t": [None if n is None else n / 1e9 for n in WHOLE]})
    data = {
        "pandas": frame,
        "pandas of Arrow types": arrow.to_pandas(types_mapper=pd.ArrowDtype),
        "Arrow": arrow,
        "chunks": pa.concat_tables([arrow.slice(0, 2), arrow.slice(2)]),
        "polars": pytest.importorskip("polars").from_arrow(arrow) if kind == "polars" else None,
        "one row": frame.iloc[0],
        "lists": list(map(list, zip(frame["d"], frame["t"], strict=True))),
    }[kind]
    training = [plain_column(arrow[name], arrow.field(name))[0].to_pylist() for name in ("d", "t")]
    assert training[0] == [None if n is None else n / 10**9 for n in durations]
    rows = rows_of(data, ["d", "t"])
    assert rows == list(map(list, zip(*training, strict=True)))[: len(rows)]
    assert rows_of([[cell] for cell in frame["d"].astype("timedelta64[us]")], ["d"])[3] == [1.234567]


def test_labels_of_columns_may_be_numbers():
    frame = pd.DataFrame([[1.0, 2.0, 9.0]], columns=[0, 1, 2])
    assert rows_of(frame, ["1", "0"]) == [[2.0, 1.0]]


def test_a_column_that_stands_twice_is_refused_where_the_model_needs_it():
    frame = pd.DataFrame([[1.0, 2.0, 3.0]], columns=["a", "b", "b"])
    assert rows_of(frame, ["a"]) == [[1.0]]
    with pytest.raises(DataError, match="column 'b' twice"):
        rows_of(frame, ["a", "b"])


TRUTH = [True, None, False]


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"a": TRUTH, "b": TRUTH, "c": TRUTH}),
        pd.DataFrame({name: pd.array(TRUTH, dtype="boolean") for name in "abc"}),
        pd.DataFrame({name: pd.array(TRUTH, dtype="bool[pyarrow]") for name in "abc"}),
        pa.table(dict.fromkeys("abc", TRUTH)),
        pd.DataFrame(dict.fromkeys("abc", TRUTH), index=[4, 5, 6]).iloc[0],
    ],
    ids=["objects", "boolean", "Arrow types", "Arrow", "one row"],
)
def test_truth_values_of_a_frame_are_1_and_0_in_a_column_of_numbers(frame):
    rows = rows_of(frame, ["a", "b", "c"], numeric=["a"], categorical=["b"])
    expected = [[1, True, True], [None, None, None], [0, False, False]]
    assert rows == expected[: len(rows)]
    assert [[type(cell) for cell in row] for row in rows[:1]] == [[int, bool, bool]]
    assert rows_of(pd.DataFrame({"a": np.array([True])}), ["a"], numeric=["a"]) == [[1]]


def test_truth_values_of_rows_stay_as_in_a_request():
    for rows in ([[True]], [{"a": True}], {"a": True}):
        (row,) = rows_of(rows, ["a"], numeric=["a"])
        assert (row["a"] if isinstance(row, dict) else row[0]) is True
