"""A dictionary-encoded column equals the original column of strings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.columns.dictionary_column import DictionaryColumn
from models.errors import DataError

cells = st.lists(st.none() | st.sampled_from(["a", "b", "", "ü", "A"]), max_size=20)


@given(cells)
def test_the_strings_come_back(strings):
    names = DictionaryColumn.from_strings(strings)
    assert names.to_strings().tolist() == strings
    assert names.missing().tolist() == [cell is None for cell in strings]
    assert (len(names), [names[i] for i in range(len(strings))]) == (len(strings), strings)
    assert names.codes.dtype == np.int32
    assert names.distinct() == tuple(dict.fromkeys(cell for cell in strings if cell is not None))


@given(cells.filter(bool), st.data())
def test_some_rows_are_those_of_the_strings(strings, data):
    names = DictionaryColumn.from_strings(strings)
    rows = np.array(data.draw(st.lists(st.integers(0, len(strings) - 1))), dtype=np.int64)
    taken = names.take(rows)
    chosen = [strings[row] for row in rows]
    assert taken.to_strings().tolist() == chosen
    assert names.take(~names.missing()).to_strings().tolist() == [cell for cell in strings if cell is not None]
    assert taken.names == names.names, "all names are kept"
    assert set(taken.distinct()) == set(chosen) - {None}
    assert taken.counts().tolist() == [chosen.count(name) for name in names.names]


def test_a_column_cannot_be_written_to_and_leaves_its_codes_to_their_owner():
    codes = np.array([0, -1], dtype=np.int32)
    names = DictionaryColumn(codes, ("a",))
    with pytest.raises(ValueError, match="read-only"):
        names.codes[0] = -1
    assert codes.flags.writeable


@pytest.mark.parametrize(
    ("codes", "names", "message"),
    [
        ([0, 1], ("a",), "codes must be -1 to 0, got 0 to 1"),
        ([-2], ("a",), "codes must be -1 to 0, got -2"),
        ([0.0], ("a",), "whole numbers, one a row, got float64"),
        ([[0]], ("a",), r"shape \(1, 1\)"),
        ([0], ("a", "a"), "2 names of a column must be strings, each given once"),
        ([0], (1,), "must be strings"),
    ],
)
def test_codes_without_a_name_and_names_given_twice_are_refused(codes, names, message):
    with pytest.raises(DataError, match=message):
        DictionaryColumn(np.array(codes), names)


def test_a_cell_that_is_no_name_is_refused_by_its_row():
    with pytest.raises(DataError, match="row 1 holds float"):
        DictionaryColumn.from_strings(["a", np.nan])
