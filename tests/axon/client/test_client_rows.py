"""Rows of any type become the cells that `axon.load(…).predict` reads, or matrices with the same numbers."""

from __future__ import annotations

import datetime
import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from axon.client.errors import RowsRefused
from axon.client.given_rows import given_rows
from axon.client.json_rows import NotAnAnswer, read_answer, write_rows
from models.columns.frame_rows import rows_of
from models.errors import DataError

FRAME = pd.DataFrame(
    {
        "other": ["x"] * 4,
        "b": pd.array([1, None, 3, 4], dtype="Int64"),
        "a": np.array([0.5, 1.5, np.nan, 2.5], dtype=np.float32),
    },
    index=[7, 8, 9, 10],
)
MIXED = pd.DataFrame({"a": [1.5, np.nan], "when": pd.to_datetime(["2024-05-31", None]), "city": ["Ulm", None]})


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow", "record batch", "chunks"])
def test_a_frame_of_numbers_is_a_matrix_in_the_models_order(kind: str) -> None:
    arrow = pa.Table.from_pandas(FRAME, preserve_index=False)
    data = {
        "pandas": FRAME,
        "polars": pytest.importorskip("polars").from_arrow(arrow) if kind == "polars" else None,
        "arrow": arrow,
        "record batch": arrow.to_batches()[0],
        "chunks": pa.concat_tables([arrow.slice(0, 1), arrow.slice(1)]),
    }[kind]
    rows = given_rows(data)
    assert len(rows) == 4
    assert rows.needs_columns
    matrix = rows.matrix(1, 4, ["a", "b"])
    assert matrix is not None
    np.testing.assert_array_equal(matrix, [[1.5, np.nan], [np.nan, 3], [2.5, 4]])
    assert rows.cells(1, 4, ["a", "b"]) == [[1.5, None], [None, 3], [2.5, 4]]
    assert rows.matrix(0, 4, ["a", "other"]) is None
    assert rows.matrix(0, 4, ["a", "c"]) is None
    with pytest.raises(DataError, match="lacks column 'c'"):
        rows.cells(0, 4, ["a", "c"])
    assert rows.cells(0, 1, None) == [{"other": "x", "b": 1, "a": 0.5}]


def test_frames_of_other_cells_are_read_as_they_are_locally() -> None:
    for data in (MIXED, pa.Table.from_pandas(MIXED, preserve_index=False)):
        rows = given_rows(data)
        assert rows.matrix(0, 2, ["a", "when", "city"]) is None
        assert rows.cells(0, 2, ["city", "a", "when"]) == rows_of(MIXED, ["city", "a", "when"])
    one = given_rows(MIXED.iloc[0])
    assert len(one) == 1
    assert one.cells(0, 1, ["city", "a"]) == [["Ulm", 1.5]]
    assert given_rows(MIXED.assign(flag=True)[["flag"]]).matrix(0, 2, ["flag"]) is None


def test_arrays_lists_and_mappings() -> None:
    array = np.arange(6).reshape(3, 2)
    matrix = given_rows(array).matrix(1, 3, None)
    assert matrix is not None
    assert matrix.tolist() == [[2, 3], [4, 5]]
    assert given_rows(array > 2).matrix(0, 3, None) is None
    assert given_rows(array > 2).cells(0, 1, None) == [[False, False]]
    assert given_rows(array.astype(object)).cells(2, 3, None) == [[4, 5]]
    assert given_rows({"a": np.float32(0.5)}).cells(0, 1, None) == [{"a": 0.5}]
    moment = datetime.datetime(2024, 5, 31, 1, 2, 3)
    assert given_rows([(1, math.nan), [moment, np.int8(3)]]).cells(0, 2, None) == [
        [1, None],
        ["2024-05-31T01:02:03Z", 3],
    ]
    assert given_rows([[1], [2], [3]]).cells(1, 2, None) == [[2]]


@pytest.mark.parametrize(
    ("data", "needs"),
    [
        ([[1, 2.5, "x", None, True, math.nan]], False),
        ([{"a": 1.5}, 5, "x"], False),
        (np.zeros((2, 2)), False),
        (np.zeros((2, 2), dtype=int), False),
        (np.array([[1, Decimal("1.10")]], dtype=object), True),
        (np.zeros((2, 2), dtype=np.float16), True),
        (np.zeros((2, 2), dtype=">f4"), True),
        ([[1.5], [Decimal("1.10")]], True),
        ([[1.5], (np.float32(0.1),)], True),
        ({"a": Decimal("1.10")}, True),
        ([np.zeros(2, dtype=np.float32)], True),
        (FRAME, True),
    ],
)
def test_columns_are_needed_where_a_number_is_spelled_by_its_type(data: Any, needs: bool) -> None:
    assert given_rows(data).needs_columns is needs


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("people.csv", "a text is no table"),
        (b"x", "a text is no table"),
        (5, "a int is no table"),
        (np.zeros(3), r"an array of shape \(3,\) is no table"),
        (np.zeros((1, 2, 3)), "is no table"),
        ((row for row in [[1]]), "a generator is no table"),
    ],
)
def test_what_is_no_table_is_told(data: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        given_rows(data)


def test_cells_that_json_cannot_hold_are_told_with_row_and_column() -> None:
    with pytest.raises(RowsRefused, match="Row 1, column 'b': inf is not a finite number") as told:
        write_rows([[1.0, 2.0], [3.0, math.inf], [-math.inf, 1.0]], "m", ["a", "b"])
    assert [(fault.row, fault.column) for fault in told.value.faults] == [(1, "b"), (2, "a")]
    with pytest.raises(RowsRefused, match="Row 0, column 'b': -inf is not a finite number"):
        write_rows([{"a": 1, "b": -math.inf}], None)
    with pytest.raises(RowsRefused, match="Row 0: value 2 of the row, a cell of type object cannot be sent"):
        write_rows([[1, object()]], None)
    moved = told.value.moved(100)
    assert [fault.row for fault in moved.faults] == [101, 102]
    assert str(moved).startswith("Row 101, column 'b'")


def test_rows_are_written_as_any_json_parser_reads_them() -> None:
    rows = [[1, 2.5, None, True, "grün"], {"a": "\ud800", "b": 2**80}, 5]
    assert json.loads(write_rows(rows, "m@1")) == {"model": "m@1", "instances": rows}
    assert json.loads(write_rows([[1]], None)) == {"instances": [[1]]}


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"model":"m","version":1,"predictions":5}', b'{"model":"m","version":null}'],
)
def test_another_body_is_no_answer(body: bytes) -> None:
    with pytest.raises(NotAnAnswer):
        read_answer(body)


def test_columns_of_pandas_may_have_the_names_of_attributes() -> None:
    names = ["num_rows", "column_names", "column", "columns", "slice", "iloc"]
    frame = pd.DataFrame({name: [at, at + 1] for at, name in enumerate(names)})
    rows = given_rows(frame)
    assert len(rows) == 2
    assert rows.cells(0, 2, names) == [[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]]
    matrix = rows.matrix(1, 2, names)
    assert matrix is not None
    assert matrix.tolist() == [[1, 2, 3, 4, 5, 6]]
    assert given_rows(frame.iloc[0]).cells(0, 1, names) == [[0, 1, 2, 3, 4, 5]]
