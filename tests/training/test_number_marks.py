"""The file shows which mark is the decimal mark, or the column is refused with both readings."""

import io
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from raw_tables import kinds

from models.errors import DataError
from training.data.csv_file import read_csv
from training.data.number_texts import Marks, numbers_in
from training.data.table import Table
from training.data.text_reading import TextReading, read_as
from training.data.training_table import ColumnChoices
from training.data.understanding import read_training_table

ROWS = 60
DOT, COMMA = Marks(decimal=".", thousands=","), Marks(decimal=",", thousands=".")


def file_of(cells, delimiter=";", **others):
    """Returns CSV text of a column x, other columns, and a target y of two classes."""
    rows = len(cells)
    columns = {"x": cells, **others, "z": [i % 7 for i in range(rows)], "y": ["ab"[i % 2] for i in range(rows)]}
    return pd.DataFrame(columns).to_csv(sep=delimiter, index=False)


def cycle(*cells):
    return [cells[i % len(cells)] for i in range(ROWS)]


@pytest.fixture
def understood(write):
    def read(text, *, target="y", task=None, test=None, **reading):
        choices = ColumnChoices(**{name: reading.pop(name) for name in ("numeric", "categorical") if name in reading})
        how = TextReading(**reading)
        table = read_as(read_csv(write(text, "data.csv")), how)
        other = None if test is None else read_as(read_csv(write(test, "test.csv")), how)
        return read_training_table(table, name="t", target=target, task=task, choices=choices, test=other)

    return read


@pytest.mark.parametrize(
    ("text", "marks", "value"),
    [
        ("1,234.50", DOT, 1234.5),
        ("1.234,50", COMMA, 1234.5),
        ("8.180", COMMA, 8180),
        ("8.180", DOT, 8.18),
        ("12,34,567", DOT, 1_234_567),
        ("1\u202f234\u202f567,8", COMMA, 1_234_567.8),
        ("1'234.5", DOT, 1234.5),
        ("1’234", COMMA, 1234),
        ("$1,234.50", DOT, 1234.5),
        ("-$5", DOT, -5),
        ("$-5", DOT, -5),
        ("($5.25)", DOT, -5.25),
        ("(1,234)", DOT, -1234),
        ("5 €", COMMA, 5),
        ("1.234,5 EUR", COMMA, 1234.5),
        ("CHF 5", DOT, 5),
        ("R$ 1.234,56", COMMA, 1234.56),
        ("US$3", DOT, 3),
        ("12\u00a0%", DOT, 12),
        ("4,06 %", COMMA, 4.06),
        ("\u22125", DOT, -5),
        ("\u22121.234,5", COMMA, -1234.5),
        ("–0,5", COMMA, -0.5),
        ("−1e-3", DOT, -0.001),
        ("+5", DOT, 5),
    ],
)
def test_a_number_as_people_write_it(text, marks, value):
    values, is_number = numbers_in(pa.array([text, None, "1"]), marks)
    assert is_number.tolist() == [True, False, True]
    assert values[0] == value


@pytest.mark.parametrize(
    "text",
    [
        *("12,34", "1,23,4", "1.234.5", "0,123", "1,2345", "(5", "5)", "--5", "(-5)", "$5€", "5%%", "+49 123 456"),
        *("$", "()", "1 23", "12 3456", "1_000", "5 kg", "1,234,56", "1.2.3", "١٢", "0x10", "5 $ 5"),
    ],
)
def test_what_is_no_number_where_the_comma_divides_thousands(text):
    assert not numbers_in(pa.array([text]), DOT)[1][0]


def test_a_semicolon_file_with_decimal_commas_has_thousands_dots(understood):
    rng = np.random.default_rng(0)
    values = rng.integers(100, 9_999, ROWS)
    text = file_of([f"{value:,}".replace(",", ".") for value in values], rate=cycle("4,06", "2,85", "1,09"))
    table = understood(text)
    frame = pd.read_csv(io.StringIO(text), sep=";", decimal=",", thousands=".")
    np.testing.assert_array_equal(table.features["x"], frame["x"])
    np.testing.assert_array_equal(table.features["rate"], frame["rate"])
    assert any("is 1" in note or "divides thousands" in note for note in table.notes)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_decimal_commas_are_numbers_whatever_divides_the_cells(understood, delimiter):
    text = file_of([f"{i / 7:.3f}".replace(".", ",") for i in range(ROWS)], delimiter)
    frame = pd.read_csv(io.StringIO(text), sep=delimiter, decimal=",")
    np.testing.assert_array_equal(understood(text).features["x"], frame["x"])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("cells", [("1,234", "12", "5,678"), ("8.180", "294", "6.896"), ("1,234", "5,678")])
def test_two_readings_are_refused_with_both_and_either_option_is_taken(understood, delimiter, cells):
    text, mark = file_of(cycle(*cells), delimiter), "," if "," in cells[0] else "."
    with pytest.raises(DataError) as refused:
        understood(text)
    small, large = float(cells[0].replace(",", ".")), int(cells[0].replace(mark, ""))
    for part in ("column 'x' of data.csv", "at line 2", f"{small:g} where", f"{large} where"):
        assert part in str(refused.value)
    assert f"--decimal {mark}" in str(refused.value)
    assert f"--thousands {mark}" in str(refused.value)
    assert understood(text, decimal=mark).features["x"][0] == small
    assert understood(text, thousands=mark).features["x"][0] == large
    assert kinds(understood(text, categorical=("x",)))["x"] == "categorical"


def test_a_column_of_three_decimals_in_a_comma_file_is_read_with_a_note(understood):
    table = understood(file_of(cycle("8.180", "2.940", "6.896"), ","))
    assert table.features["x"][0] == 8.18
    assert any("'8.180' is 8.18, where the dot is the decimal mark" in note for note in table.notes)


@pytest.mark.parametrize("sign", ["€ ", "$", "\u2212"])
def test_a_sign_around_numbers_of_two_readings_hides_no_note(understood, sign):
    table = understood(file_of(cycle(f"{sign}8.180", f"{sign}2.940"), "\t"))
    assert abs(table.features["x"][0]) == 8.18
    assert any("8.180' is " in note and "where the dot is the decimal mark" in note for note in table.notes)


@pytest.mark.parametrize("other", ["0.25", "1,234.5", "2.5", "1.5e3"])
def test_one_certain_cell_anywhere_decides(understood, other):
    table = understood(file_of(cycle("8.180", "294"), ";", w=cycle(other, "1")))
    assert table.features["x"][0] == 8.18


def test_a_column_that_has_both_decimal_marks_is_refused(understood):
    with pytest.raises(DataError, match=r"'2\.55' at line 3 .*'4,06' at line 2 .*\(--categorical x\)"):
        understood(file_of(cycle("4,06", "2.55")))


def test_columns_of_a_mixed_file_speak_for_themselves(understood):
    table = understood(file_of(cycle("4,06", "2"), w=cycle("2.55", "1")))
    assert (table.features["x"][0], table.features["w"][0]) == (4.06, 2.55)


@pytest.mark.parametrize(
    ("cells", "first"),
    [
        (("$1,234.50", "$12"), 1234.5),
        (("(12.5)", "3"), -12.5),
        (("\u221212.5", "3"), -12.5),
        (("12.5 %", "3 %"), 12.5),
        (("12.5 %", "0"), 12.5),
        (("1 234.5", "3"), 1234.5),
        (("1.5", "1,250"), 1.5),
    ],
)
def test_what_stands_around_digits_is_read_with_a_note(understood, cells, first):
    table = understood(file_of(cycle(*cells), "\t"))
    assert table.features["x"][0] == first
    assert any(note.startswith("Column 'x' is read as numbers: ") for note in table.notes)


@pytest.mark.parametrize("cells", [("12 %", "0.5"), ("$12", "€13"), ("5 EUR", "6 USD")])
def test_two_units_are_refused(understood, cells):
    with pytest.raises(DataError, match=f"mixes units: '.*{cells[0][-1]}' at line 2 and .* at line 3"):
        understood(file_of(cycle(*cells), "\t"))


@pytest.mark.parametrize(
    ("cells", "note"),
    [
        (("12 kg", "13.5 kg"), "looks like numbers with a unit, such as '12 kg'"),
        (("(12)", "(13)"), "looks like numbers in brackets"),
        (("high", "1.5", "2.5", "3"), "holds numbers in 45 of 60 cells and is read as names, because of 'high'"),
    ],
)
def test_what_looks_like_numbers_and_is_not_read_as_such_is_noted(understood, cells, note):
    table = understood(file_of(cycle(*cells), "\t"))
    assert kinds(table)["x"] == "categorical"
    assert any(note in given for given in table.notes)


@pytest.mark.parametrize("cells", [("192.168.0.1", "10.0.0.1"), ("1.2.3", "1.2.4"), ("A1", "B2"), ("+49 12", "+49 13")])
def test_codes_stay_names_and_decide_nothing(understood, cells):
    table = understood(file_of(cycle(*cells), "\t", w=cycle("8,5", "8")))
    assert kinds(table)["x"] == "categorical"
    assert table.features["w"][0] == 8.5


def test_marks_that_do_not_fit_are_told(understood):
    table = understood(file_of(cycle("4,06", "2,85")), decimal=".")
    assert any("looks like numbers, such as '4,06', but is read as names" in note for note in table.notes)


@pytest.mark.parametrize("given", [{"decimal": "."}, {"thousands": ","}, {"decimal": ",", "thousands": "none"}])
def test_a_users_marks_go_before_what_the_file_shows(understood, given):
    table = understood(file_of(cycle("8.180", "2.5")), **given)
    assert kinds(table)["x"] == ("categorical" if given.get("decimal") == "," else "numeric")


@pytest.mark.parametrize("given", [{"decimal": ";"}, {"thousands": "x"}, {"decimal": ".", "thousands": "."}])
def test_marks_that_are_none_are_refused(given):
    with pytest.raises(DataError, match=r"must be one of|cannot both be"):
        TextReading(**given)


def test_a_regressions_target_follows_the_file_too(understood):
    text = file_of(cycle("4,06", "2,85"), y2=[f"{i // 10 + 1}.{i:03d}" for i in range(ROWS)])
    table = understood(text, target="y2")
    assert table.task == "regression"
    assert table.target.tolist() == [(i // 10 + 1) * 1000 + i for i in range(ROWS)]
    assert any(note.startswith("The target 'y2' is read as numbers: '1.000' is 1000") for note in table.notes)


def test_a_test_file_is_read_with_the_marks_of_the_training_file(understood):
    train = file_of(cycle("8.180", "294"), rate=cycle("4,06", "2,85"))
    test = file_of(cycle("1.250", "3.125")[:6], rate=["1", "2", "3", "1", "2", "3"])
    table = understood(train, test=test)
    assert table.features["x"][-6:].tolist() == [1250, 3125] * 3


@st.composite
def number_columns(draw):
    """Draws columns of numbers, each in the format of one country."""
    rows = draw(st.integers(4, 12))
    columns = []
    for _ in range(draw(st.integers(1, 3))):
        places, power = draw(st.integers(0, 4)), 10 ** draw(st.integers(0, 7))
        least = draw(st.sampled_from([-1, 0.2]))
        parts = draw(st.lists(st.floats(least, 1), min_size=rows, max_size=rows, unique=True))
        values = [round(part * power, places) for part in parts]
        form = draw(st.sampled_from([f",.{places}f", f".{places}f", ""]))
        columns.append((values, form))
    return columns


@settings(max_examples=60, deadline=None)
@given(number_columns(), st.sampled_from([",", ";", "\t"]), st.sampled_from([".,", ",.", ", ", ".'", ",\u202f"]))
@pytest.mark.slow
def test_what_is_read_without_a_word_is_what_was_written(columns, delimiter, marks):
    """Expects any column that is read wrongly to be refused or named in a note."""

    def written(value, form):
        text = format(value, form) if form else repr(value)
        return text.translate(str.maketrans(".,", marks))

    frame = pd.DataFrame({f"x{i}": [written(value, form) for value in of] for i, (of, form) in enumerate(columns)})
    frame["y"] = ["ab"[i % 2] for i in range(len(frame))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        frame.to_csv(path, sep=delimiter, index=False)
        choices = ColumnChoices(keep_constant=True)
        try:
            table = read_training_table(read_csv(path), name="t", target="y", choices=choices)
        except DataError as error:
            refusal = str(error)
        else:
            refusal = None
    event("refused" if refusal else "noted" if table.notes else "read")
    if refusal is not None:
        assert "two readings" in refusal
        return
    for i, (values, form) in enumerate(columns):
        meant = [float(format(value, form.lstrip(","))) if form else value for value in values]
        if not any(f"'x{i}'" in note and "reads it the other way" in note for note in table.notes):
            np.testing.assert_array_equal(table.features[f"x{i}"], meant)


class TestLongFiles:
    """Long columns, whose texts are dropped before the whole file is read."""

    ROWS = 3_000

    def text(self, cells, rate):
        return "x;rate;y\n" + "".join(f"{cell};{rate};{'ab'[i % 2]}\n" for i, cell in enumerate(cells))

    @pytest.mark.parametrize(("rate", "scale"), [("4,06", 1000), ("4.06", 1)])
    def test_a_long_column_is_read_as_the_rest_of_the_file_says(self, understood, rate, scale):
        cells = [f"{1 + i % 9}.{i % 1000:03d}" for i in range(self.ROWS)]
        table = understood(self.text(cells, rate))
        np.testing.assert_allclose(table.features["x"], [float(cell) * scale for cell in cells], rtol=1e-15)

    def test_a_long_column_of_two_readings_is_refused(self, understood):
        with pytest.raises(DataError, match=r"'1\.000' at line 2 has two readings"):
            understood(self.text([f"{1 + i % 9}.{i % 1000:03d}" for i in range(self.ROWS)], "4"))

    def test_a_missing_value_is_missing_in_a_long_column(self, understood):
        cells = [f"{i / 8}" if i % 3 else "-9999.0" for i in range(self.ROWS)]
        table = understood(self.text(cells, "4"), missing_values=("x=-9999",))
        assert np.isnan(table.features["x"]).tolist() == [i % 3 == 0 for i in range(self.ROWS)]


class TestTextsOfTypedTables:
    def table(self, **columns):
        rows = len(next(iter(columns.values())))
        columns = {"z": [i % 7 for i in range(rows)], **columns}
        return Table.from_arrow(pa.table(columns), source="the table")

    def read(self, table, *, target="y", task=None, **choices):
        return read_training_table(table, name="t", target=target, task=task, choices=ColumnChoices(**choices))

    def test_numbers_as_texts_become_numbers_when_asked_for(self):
        table = self.table(x=cycle("1.04", "-2.5", None), y=cycle("a", "b"))
        assert self.read(table, numeric=("x",)).features["x"][:2].tolist() == [1.04, -2.5]

    def test_they_are_names_otherwise_with_a_note(self):
        read = self.read(self.table(x=cycle("1.04", "-2.5", "N/A"), y=cycle("a", "b")))
        assert kinds(read)["x"] == "categorical"
        assert any(
            "'x' holds numbers as texts, such as '1.04'" in note and "--numeric x" in note for note in read.notes
        )

    def test_codes_with_a_zero_before_them_are_names_without_a_word(self):
        read = self.read(self.table(x=cycle("01067", "10115"), y=cycle("a", "b", "c", "d", "e")))
        assert not any("number" in note for note in read.notes)

    def test_a_target_becomes_a_regressions_when_asked_for(self):
        texts = [f"{i / 16}" for i in range(ROWS)]
        read = self.read(self.table(y=texts), task="regression")
        assert read.target.tolist() == [i / 16 for i in range(ROWS)]
        assert self.read(self.table(y=["01", "02"] * 30), task="regression").target.tolist() == [1, 2] * 30

    def test_a_target_of_many_numbers_as_texts_is_refused_with_both_tasks(self):
        with pytest.raises(DataError, match=r"'0\.0': read them as numbers \(--task regression\), or as classes"):
            self.read(self.table(y=[f"{i / 16}" for i in range(ROWS)]))

    def test_a_target_of_few_whole_numbers_as_texts_is_classes_with_a_note(self):
        read = self.read(self.table(y=cycle("1", "2", "3")))
        assert read.labels == ("1", "2", "3")
        assert any("--task regression reads them as numbers" in note for note in read.notes)

    def test_a_word_in_a_regressions_target_is_named(self):
        with pytest.raises(DataError, match=r"target 'y' of the table: 'oops' at row 5 .* is not a number"):
            self.read(self.table(y=["oops" if i == 5 else str(i) for i in range(ROWS)]), task="regression")


def test_labels_with_thousands_marks_stay_as_they_are_written(understood):
    table = understood(file_of(cycle("4,06", "2,85"), c=cycle("1.000", "2.500")), target="c", task="classification")
    assert table.classes == ("1.000", "2.500")


def test_labels_that_stay_texts_are_not_said_to_be_read_as_numbers(understood):
    table = understood(file_of(cycle("0.35", "2.85"), "\t", c=cycle("1,000", "2,000", "3,000")), target="c")
    assert table.classes == ("1,000", "2,000", "3,000")
    assert not any("is read as numbers" in note for note in table.notes)


def test_a_target_among_several_is_remarked_once(understood):
    table = understood(file_of(cycle("33 %", "41 %"), "\t", c=cycle("1.5", "2.5")), target=("x", "c"))
    assert sum("'33 %' is 33" in note for note in table.notes) == 1
