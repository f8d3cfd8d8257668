"""Reading many dates at once gives the same as reading one at a time."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.columns.date_texts import parse_texts
from models.columns.dates import parse

MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59))
LAYOUTS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%MZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%SZ")
DATES = st.tuples(MOMENTS, st.sampled_from(LAYOUTS)).map(lambda pair: pair[0].strftime(pair[1]).zfill(10))


@st.composite
def nearly_dates(draw: st.DrawFn) -> str:
    """Generates dates with one changed character."""
    text = draw(DATES)
    at = draw(st.integers(0, len(text) - 1))
    return text[:at] + draw(st.sampled_from("0123459-:TtZz+. é٣")) + text[at + 1 :]


@settings(max_examples=300)
@given(st.lists(DATES | nearly_dates() | st.text(max_size=20), max_size=8))
@example(["2024-02-29", "2023-02-29", "1900-02-29", "2000-02-29", "0000-01-01", "0001-01-01", "9999-12-31"])
@example(["2024-01-31", "2024-04-31", "2024-00-10", "2024-13-10", "2024-01-00", "2024-1--10", "2024-01-1-"])
@example(["2024-05-31T24:00", "2024-05-31T23:60", "2024-05-31T23:59:60", "2024-05-31x13:45", "2024-05-31T13.45"])
@example(["1969-12-31T23:59:59Z", "1970-01-01T00:00:00z", "2024-05-31T13:45:00+02:00", "2024-05-31T13:45:00.5"])
@example(["٢٠٢٤-٠١-٠١", "2024-01-01", "２024-01-01"])
def test_many_dates_are_read_as_one_is(texts: list[str]) -> None:
    moments, sound = parse_texts(texts)
    one_by_one = [parse(text) for text in texts]
    assert sound.tolist() == [moment is not None for moment in one_by_one]
    expected = np.array(
        [np.datetime64("NaT", "us") if m is None else np.datetime64(m, "us") for m in one_by_one], "M8[us]"
    )
    np.testing.assert_array_equal(moments, expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_common_layout_is_read_without_an_object_a_text(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(text: str) -> None:
        raise AssertionError(text)

    monkeypatch.setattr("models.columns.date_texts.parse", never)
    texts = [datetime(2000 + i, 1 + i % 12, 1 + i % 28, i % 24, i % 60, i % 60).strftime(layout) for i in range(60)]
    _, sound = parse_texts(texts)
    assert sound.all()
