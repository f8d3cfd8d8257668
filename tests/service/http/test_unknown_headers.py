"""The headers about unknown categories are ASCII, bounded, and can be parsed."""

from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from service.unknown_headers import CELLS_HEADER, COLUMNS_HEADER, unknown_headers

names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=1000)


@given(st.dictionaries(names, st.integers(1, 10**9), min_size=1, max_size=30))
def test_any_columns_fit_into_the_headers_and_can_be_read_back(counts):
    headers = dict(unknown_headers(counts))
    assert headers[CELLS_HEADER] == str(sum(counts.values())).encode()
    columns = headers.get(COLUMNS_HEADER, b"").decode("ascii")
    assert len(columns) <= 1000
    assert columns.isprintable()
    told = [column.split("=") for column in columns.split(", ")] if columns else []
    assert {unquote(name): int(cells) for name, cells in told}.items() <= counts.items()
    if len(counts) <= 10 and sum(len(name) for name in counts) < 50:
        assert len(told) == len(counts)


def test_the_columns_with_most_cells_come_first():
    assert unknown_headers({"a b": 1, "c": 30, "d": 2}) == [
        (CELLS_HEADER, b"33"),
        (COLUMNS_HEADER, b"c=30, d=2, a%20b=1"),
    ]
