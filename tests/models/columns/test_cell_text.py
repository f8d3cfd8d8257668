"""A cell has one reading, independently of its writer: blanks, Unicode forms, truth values and numbers."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.columns.cell_text import (
    BLANKS,
    INVISIBLE,
    MAX_NORMALISED,
    MISSING_TEXTS,
    WHITE_SPACE,
    NoCategory,
    category_of,
    is_missing,
    tidy,
)
from models.columns.cells import UNKNOWN, Refused, category_finder
from models.columns.column import CategoricalColumn

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12) | st.text(
    st.sampled_from("aé\u0301 \t\xa0\u200b\ufeff\u0316Å1.0-"), max_size=8
)


def finder(*categories, **policy):
    return category_finder(CategoricalColumn(name="c", categories=categories, **policy))


def test_white_space_is_what_unicode_says_it_is():
    assert sorted(WHITE_SPACE) == [chr(i) for i in range(0x110000) if chr(i).isspace()]
    assert all(unicodedata.category(mark) == "Cf" for mark in INVISIBLE)


@given(texts)
def test_a_reading_reads_as_itself(text):
    assert tidy(tidy(text)) == tidy(text)
    category = category_of(text)
    assert category is None or category_of(category) == category


@given(texts, st.text(st.sampled_from(BLANKS), max_size=3), st.text(st.sampled_from(BLANKS), max_size=3))
def test_blanks_around_a_cell_and_its_unicode_form_do_not_tell(text, before, after):
    for form in ("NFC", "NFD"):
        assert category_of(before + unicodedata.normalize(form, text) + after) == category_of(text)


SAME = {
    "true": ["true", "True", "TRUE", " True ", "tRUE", True],
    "false": ["FALSE", "false\n", False],
    "10115": ["10115", " 10115 ", "10115.0", "10115.00", 10115, 10115.0],
    "0": ["0", "-0", "0.0", "-0.0", 0, -0.0],
    "0.5": ["0.5", 0.5],
    "1e-07": ["1e-07", 1e-7],
    "007": ["007", "007 "],
    "1.10": ["1.10"],
    "New York": ["New York", "New  York", "New\xa0York", " New\tYork\n", "New\u200b York\ufeff", "New\r\nYork"],
    "São Paulo": ["São Paulo", "Sa\u0303o Paulo", "Sa\u0303o\u3000Paulo"],
    "Köln": ["Köln", "Ko\u0308ln", "Kö\xadln", "\u200eKöln"],
    "می\u200cخواهم": ["می\u200cخواهم"],
    "None": ["None"],
    "n/a": ["n/a"],
    "truest": ["truest"],
}


@pytest.mark.parametrize(("category", "cells"), SAME.items(), ids=map(ascii, SAME))
def test_what_a_person_calls_one_cell_is_one_category(category, cells):
    assert [category_of(cell) for cell in cells] == [category] * len(cells)
    find = finder("another", category)
    assert [find(cell) for cell in cells] == [1] * len(cells)


@pytest.mark.parametrize("text", [*MISSING_TEXTS, " ", "\xa0", "\u200b", " NA ", "\tnull\n", "N\u200bA"])
def test_what_says_missing_is_missing(text):
    assert category_of(text) is None
    assert is_missing(text) or "\u200b" in text
    assert finder("a", missing="ignore")(text) is None
    with pytest.raises(Refused):
        finder("a", unknown="ignore")(text)


@pytest.mark.parametrize("cell", [None, float("nan")])
def test_a_gap_is_missing(cell):
    assert category_of(cell) is None


@pytest.mark.parametrize("cell", [[], {}, b"x", float("inf"), 10**400, object()], ids=range(6))
def test_what_names_no_category_is_told_apart(cell):
    with pytest.raises(NoCategory):
        category_of(cell)
    with pytest.raises(Refused):
        finder("a", unknown="ignore", missing="ignore")(cell)


def test_unknown_and_missing_are_told_apart():
    find = finder("a", "b", unknown="ignore", missing="ignore")
    assert [find(cell) for cell in ("b", "z", None, 7, "NA")] == [1, UNKNOWN, None, UNKNOWN, None]


def test_a_category_that_another_program_wrote_otherwise_is_found_under_both_spellings():
    find = finder(" a", "True", "NA")
    assert [find(cell) for cell in (" a", "a", "True", True, "NA")] == [0, 0, 1, 1, 2]


def test_a_hostile_run_of_marks_is_not_normalised():
    marks = "a" + "\u0301\u0316" * MAX_NORMALISED
    assert tidy(f" {marks} ") == marks
