"""Dates are read as serving reads dates if the order of day and month is certain; otherwise the column is refused."""

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_tables import csv_of, kinds, read

from models.columns.dates import parse
from models.errors import DataError
from training.data.cells import dates_in
from training.data.table import Table
from training.data.understanding import read_training_table


class TestDates:
    def test_iso_dates_with_and_without_time_and_offset_are_moments_of_utc(self, read_text):
        table = read_text(
            csv_of(["2024-05-31", "2024-05-31 13:45", "2024-05-31T13:45:01.25Z", "", "2024-05-31T13:45+02:00"])
        )
        expected = ["2024-05-31", "2024-05-31T13:45", "2024-05-31T13:45:01.25", "NaT", "2024-05-31T11:45"]
        np.testing.assert_array_equal(table.features["x"], np.array(expected, dtype="datetime64[us]"))
        assert table.missing("x").tolist() == [False, False, False, True, False]

    def test_the_same_moments_from_csv_arrow_and_a_frame_are_the_same_column(self, read_text):
        moments = ["2024-05-31T13:45:00", "1969-07-20T20:17:40", None]
        texts = csv_of([moment or "" for moment in moments])
        arrow = read(
            {"x": pa.array([np.datetime64(m or "NaT", "s") for m in moments]), "z": [0, 1, 2], "y": list("aba")}
        )
        frame = pd.DataFrame({"x": pd.to_datetime(pd.Series(moments)), "z": [0, 1, 2], "y": list("aba")})
        from_frame = read_training_table(Table.from_pandas(frame), name="t", target="y")
        assert read_text(texts).fingerprint() == arrow.fingerprint() == from_frame.fingerprint()

    @pytest.mark.parametrize("cell", ["31.5.24", "2024/05/31", "31 May 2024", "2024-05-31 07:43 CET"])
    def test_dates_of_several_forms_are_names_with_a_note(self, read_text, cell):
        table = read_text(csv_of([cell, cell, "01/02/2024"]))
        assert kinds(table)["x"] == "categorical"
        assert any("'x' looks like dates" in note for note in table.notes)
        table = read_text(csv_of([cell, "01/02/2024"]))
        assert kinds(table) == {"z": "numeric"}
        assert any("'x' looks like dates, but its cells are not all of one form" in note for note in table.notes)

    def test_what_is_no_date_is_refused_where_dates_are_asked_for(self, read_text):
        with pytest.raises(DataError, match=r"'31/05/2024' at line 3 is not a date of ISO 8601 .*, while 1 of 2 cells"):
            read_text(csv_of(["2024-05-31", "31/05/2024"]), date=("x",))
        with pytest.raises(DataError, match="column 'z' of the table holds int64, not dates"):
            read({"x": [1, 2], "z": [1, 2], "y": ["a", "b"]}, date=("z",))

    def test_a_slip_in_a_column_of_dates_is_refused_with_its_line(self, read_text):
        text = csv_of([*(f"2024-01-{day:02d}" for day in range(1, 11)), "2024-02-30"])
        with pytest.raises(DataError, match=r"'2024-02-30' at line 12 is not a date .*, while 10 of 11 cells are"):
            read_text(text)
        repeated = text + "2024-01-01,99,a\n"
        assert kinds(read_text(repeated, categorical=("x",)))["x"] == "categorical"

    def test_a_year_beyond_the_calendar_is_refused(self):
        with pytest.raises(DataError, match=r"the date at row 1 .* is outside the years 1 to 9999"):
            read({"x": pa.array([0, 10**13], pa.timestamp("s")), "y": ["a", "b"]})

    def test_an_example_writes_dates_that_serving_reads_back_to_the_same_moment(self):
        moments = ["2024-05-31", "2024-05-31T13:45:01", "0001-01-01T00:00:00.000001", "NaT"]
        column = np.array(moments, dtype="datetime64[us]")
        table = read({"x": pa.array(column), "y": list("abab")})
        for row, moment in enumerate(column[:3]):
            assert parse(table.example(row)["x"]) == moment.item()
        assert table.example(0)["x"] == "2024-05-31"
        assert table.example(3)["x"] is None


ISO_LIKE = st.from_regex(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)?)?",
    fullmatch=True,
)
PLAUSIBLE = st.datetimes(min_value=datetime.datetime(1, 1, 1)).flatmap(
    lambda moment: st.sampled_from(
        [
            moment.isoformat(),
            moment.isoformat(" ", "minutes"),
            moment.isoformat() + "Z",
            f"{moment:%Y-%m-%dT%H:%M}+05:30",
        ]
    )
)


@given(st.lists(ISO_LIKE | PLAUSIBLE | st.text(max_size=12), min_size=1, max_size=20))
def test_training_reads_exactly_the_dates_that_serving_reads(texts):
    dates, is_date = dates_in(pa.array(texts, pa.string()))
    for text, date, is_one in zip(texts, dates, is_date, strict=True):
        moment = parse(text)
        assert is_one == (moment is not None), text
        assert date.item() == moment, text
