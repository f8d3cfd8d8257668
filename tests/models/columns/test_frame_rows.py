"""Rows of data frames and similar types: cells as in a request."""

import datetime
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from models.columns.frame_rows import rows_of
from models.errors import DataError

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
        (datetime.datetime(2024, 5, 31, 7, 5), "2024-05-31T07:05:00.000000"),
        (pd.Timestamp("2024-05-31T07:05Z"), "2024-05-31T07:05:00.000000+00:00"),
        (np.datetime64("2024-05-31T07:05"), "2024-05-31T07:05:00.000000"),
        (datetime.timedelta(minutes=2), 120.0),
        (np.timedelta64(1500, "ms"), 1.5),
        (datetime.time(1, 0, 30), 3630.0),
        (pd.Period("2024-05"), "2024-05-01T00:00:00.000000"),
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


def test_labels_of_columns_may_be_numbers():
    frame = pd.DataFrame([[1.0, 2.0, 9.0]], columns=[0, 1, 2])
    assert rows_of(frame, ["1", "0"]) == [[2.0, 1.0]]


def test_a_column_that_stands_twice_is_refused_where_the_model_needs_it():
    frame = pd.DataFrame([[1.0, 2.0, 3.0]], columns=["a", "b", "b"])
    assert rows_of(frame, ["a"]) == [[1.0]]
    with pytest.raises(DataError, match="column 'b' twice"):
        rows_of(frame, ["a", "b"])
