"""Forms of dates agree with Python's strptime and pandas, for one value and many values, as texts and as numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.columns.date_forms import ISO, NUMBER_FORMS, TEXT_FORMS, check_form, pattern_of, twin_of
from models.columns.date_numbers import moment_of_number, moments_of_numbers
from models.columns.date_texts import parse_texts
from models.columns.dates import parse, written
from models.errors import DataError

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2067, 12, 31, 23, 59, 59))
TIMES = ("", " %H:%M", " %H:%M:%S", "T%H:%M:%SZ", " %I:%M %p", ", %I:%M:%S %p", " %H:%M:%S UTC", " %H:%M:%S.%f+00")
FORMS = st.sampled_from((ISO, *TEXT_FORMS))
# The forms of BigQuery, MySQL, SQL Server, Oracle, Excel, SAS, web servers, mails, Java, Go, JavaScript and cameras.
SEEN = {
    "2024-02-15 07:43:26 UTC": ISO,
    "2024-02-15 07:43:26.5 UTC": ISO,
    "2024-02-15 07:43:26+00": ISO,
    "2024-02-15 09:43:26 +0200": ISO,
    "2024-02-15 08:43:26.5 +0100 CET": ISO,
    "2024-02-15T08:43:26+01:00[Europe/Berlin]": ISO,
    "2024-02-15 07:43:26,500": ISO,
    "2024-02-15 7:43:26 AM": ISO,
    "2024-02-15-07.43.26.500000": ISO,
    "15/02/2024 07:43:26": "%d/%m/%Y",
    "02/15/24 7:43:26 AM": "%m/%d/%y",
    "2/15/2024, 7:43:26\u202fAM": "%m/%d/%Y",
    "15.02.2024 07.43.26": "%d.%m.%Y",
    "2024/02/15 07:43:26": "%Y/%m/%d",
    "2024:02:15 07:43:26": "%Y:%m:%d",
    "20240215T074326Z": "%Y%m%dT%H%M%S",
    "20240215074326": "%Y%m%d%H%M%S",
    "15 Feb 2024 07:43:26": "%d %b %Y",
    "15-FEB-24 07.43.26.500000 AM": "%d-%b-%y",
    "15FEB2024:07:43:26": "%d%b%Y",
    "15/Feb/2024:07:43:26 +0000": "%d/%b/%Y",
    "Thu, 15 Feb 2024 07:43:26 GMT": "%d %b %Y",
    "Thu Feb 15 07:43:26 UTC 2024": "%a %b %d %H:%M:%S %Y",
    "Thu Feb 15 07:43:26 +0000 2024": "%a %b %d %H:%M:%S %Y",
    "Thu Feb 15 07:43:26.5 2024 UTC": "%a %b %d %H:%M:%S %Y",
    "Feb 15 2024  7:43:26AM": "%b %d, %Y",
    "Thu 15/02/2024 07:43:26": "%d/%m/%Y",
    "Thu Feb 15 2024 08:43:26 GMT+0100 (Central European Standard Time)": "%b %d, %Y",
    "February 15th, 2024 at 7:43:26 a.m.": "%b %d, %Y",
}


@pytest.mark.parametrize("text", SEEN, ids=ascii)
def test_what_programs_write_is_the_moment_that_they_mean(text):
    moment = datetime(2024, 2, 15, 7, 43, 26, 500_000 if "26.5" in text or "26,5" in text else 0)
    form = SEEN[text]
    assert parse(text, form) == moment
    assert [one for one in (ISO, *TEXT_FORMS) if pattern_of(one).fullmatch(text)] in ([form], sorted(
        [form, twin_of(form)], key=TEXT_FORMS.index
    ) if twin_of(form) in TEXT_FORMS else [])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(FORMS, st.sampled_from(TIMES), st.lists(MOMENTS, min_size=1, max_size=6))
@example("%m/%d/%Y", " %I:%M %p", [datetime(2024, 2, 29, 0, 5), datetime(2024, 12, 31, 12, 5)])
@example("%d-%b-%y", " %H:%M:%S", [datetime(1970, 1, 1), datetime(2067, 9, 30, 23)])
def test_what_strftime_writes_comes_back(form, time, moments):
    time = "" if "%H" in form or "%d" not in form else time
    texts = [moment.strftime(form + time) for moment in moments]
    expected = [datetime.strptime(text, form + time).replace(tzinfo=UTC) for text in texts]
    assert [parse(text, form).replace(tzinfo=UTC) for text in texts] == expected
    read, is_read = parse_texts(texts * 20, form)
    assert is_read.all()
    assert read.tolist()[: len(texts)] == [moment.replace(tzinfo=None) for moment in expected]


@st.composite
def nearly_dates(draw: st.DrawFn) -> str:
    text = draw(st.one_of(st.sampled_from(list(SEEN)), MOMENTS.map(lambda one: one.strftime("%d/%m/%y %I:%M %p"))))
    at = draw(st.integers(0, len(text) - 1))
    return text[:at] + draw(st.sampled_from(["", *"0123459/-.:TZpm+ é٣\u202f\ud800"])) + text[at + 1 :]


@settings(max_examples=150, deadline=None)
@given(st.lists(nearly_dates() | st.text(max_size=30), min_size=1, max_size=30), FORMS | st.sampled_from(NUMBER_FORMS))
@example(["31/04/2024", "00/01/2024", "29/02/2023", "1/1/0000", "31/12/9999 23:00 -02"], "%d/%m/%Y")
@example(["1/1/24 0:30 AM", "1/1/24 12:30 AM", "1/1/24 13:30 PM", "1/1/24 24:00", "1/1/24 1:60"], "%d/%m/%y")
@example(["1708000000", "1e9", "-1", "1e300", "nan", "20240215", "20241315", "45337.25"], "epoch-seconds")
def test_many_texts_are_read_as_one_is(texts, form):
    texts = [
        *texts,
        *(f"{hour}.0{hour}.2024 0{hour}:00" for hour in range(10)),
        *texts,
    ]  # more than are read one by one
    moments, sound = parse_texts(texts, form)
    assert moments.tolist() == [parse(text, form) for text in texts]
    assert sound.tolist() == [moment is not None for moment in moments.tolist()]


def test_many_shapes_are_read_as_one_is():
    texts = [f"{day} {month} 2024{'' if day % 2 else ' 7:00 PM'}" for day in range(1, 33) for month in (
        "jan", "Jan", "JAN", "feb", "February", "mar.", "march", "apr", "May", "june", "Jly", "Aug", "sept", "oct", "x"
    )]  # fmt: skip
    moments, _ = parse_texts(texts, "%d %b %Y")
    assert moments.tolist() == [parse(text, "%d %b %Y") for text in texts]
    assert moments.tolist()[:2] == [datetime(2024, 1, 1)] * 2


@settings(deadline=None)
@given(
    st.lists(st.floats() | st.integers(-(10**19), 10**19) | st.integers(0, 99991231), min_size=1),
    st.sampled_from([*NUMBER_FORMS, "%Y%m%d", "%Y%m", "%d%m%Y", "%y%m%d", "%Y%m%d%H%M%S"]),
)
@example([0.0, -0.0, 60.0, 61.0, 59.999, 2_958_465.9999, 2_958_466.0, float("nan"), float("inf")], "excel-days")
@example([20240229, 20230229, 20240215.5, -20240215, 1022024], "%Y%m%d")
@example([15022024, 1022024, 31022024], "%d%m%Y")
def test_many_numbers_are_read_as_one_is(numbers, form):
    moments = moments_of_numbers(np.array(numbers, dtype=np.float64), form)
    assert moments.tolist() == [moment_of_number(float(number), form) for number in numbers]


@pytest.mark.parametrize(
    ("form", "unit", "origin"),
    [
        ("epoch-seconds", "s", "unix"),
        ("epoch-milliseconds", "ms", "unix"),
        ("epoch-microseconds", "us", "unix"),
        ("epoch-nanoseconds", "ns", "unix"),
        ("epoch-days", "D", "unix"),
        ("excel-days", "D", "1899-12-30"),
    ],
)
def test_numbers_are_the_moments_that_pandas_reads(form, unit, origin):
    instants = pd.date_range("1990-01-01", "2039-12-31", periods=50).round("s")
    numbers = (instants - pd.Timestamp("1970-01-01" if origin == "unix" else origin)) / pd.Timedelta(1, unit)
    read = moments_of_numbers(numbers.to_numpy(), form)
    expected = pd.to_datetime(numbers, unit=unit, origin=origin).round("ms").to_numpy()
    np.testing.assert_array_equal(read, expected.astype("datetime64[us]"))
    assert abs(read - instants.to_numpy()).max() < timedelta(milliseconds=1)


@pytest.mark.parametrize("form", [ISO, *TEXT_FORMS, *NUMBER_FORMS])
def test_a_message_shows_a_date_that_is_read(form):
    day = datetime(2024, 5, 31) if "%d" in form or form in NUMBER_FORMS else datetime(2024, 5, 1)
    assert parse(written(form), form) == day


def test_a_form_has_one_spelling():
    assert [check_form(form) for form in (ISO, *TEXT_FORMS, *NUMBER_FORMS)] == [ISO, *TEXT_FORMS, *NUMBER_FORMS]
    assert check_form(" %d/%m/%Y %H:%M:%S ") == "%d/%m/%Y"
    assert check_form("%-m/%-d/%y, %I:%M %p") == "%m/%d/%y"
    assert check_form("%d %B %Y") == "%d %b %Y"


@pytest.mark.parametrize("form", [None, 5, "", "%", "dd/mm/yyyy", "%d/%m", "%d/%d/%Y", "%Y%m%d%H", "%j/%Y", "%d" * 99])
def test_what_is_no_form_is_refused(form):
    with pytest.raises(DataError, match="is not a form of dates: it takes %d, %m"):
        check_form(form)


@pytest.mark.parametrize("form", ["%Y-%d-%m", "%d/%m/%Y(a+)+"])
def test_a_form_that_is_taken_for_another_or_is_a_pattern_is_refused(form):
    with pytest.raises(DataError, match="is not a form of dates"):
        check_form(form)
