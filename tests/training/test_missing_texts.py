"""Texts that stand for missing among numbers become gaps, and a user can declare more such texts."""

import io
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from raw_tables import cells as cells_of
from raw_tables import csv_of, kinds

from models.columns.encoding import RowEncoder
from models.errors import DataError, RowError
from training.data.csv_file import read_csv
from training.data.preprocessing import encode, fit_schema
from training.data.table import Table
from training.data.text_reading import TextReading, read_as
from training.data.training_table import ColumnChoices
from training.data.understanding import read_training_table
from training.fit import fit
from training.search.trials.run import search

ROWS = 60


def among_numbers(*texts, share=0.5):
    """Makes a column of numbers in which a share of the rows have the texts in turn."""
    every = round(1 / share)
    return [texts[i // every % len(texts)] if i % every == 0 else f"{i / 8}" for i in range(ROWS)]


@pytest.fixture
def understood(write):
    def read(text, *, target="y", test=None, missing_values=(), task=None, **choices):
        reading = TextReading(missing_values=missing_values)
        other = None if test is None else read_as(read_csv(write(test, "test.csv")), reading)
        table = read_as(read_csv(write(text, "data.csv")), reading)
        return read_training_table(
            table, name="t", target=target, task=task, choices=ColumnChoices(**choices), test=other
        )

    return read


@pytest.mark.parametrize("share", [0.05, 0.5])
@pytest.mark.parametrize(
    "texts",
    [
        *[("?",), ("N/A",), ("-",), ("None",), (r"\N",), ("n/a", "N/A", "unknown"), ("..",), ("<NA>",), ("#DIV/0!",)],
        *[(":",), ("—",), ("missing",), ("(null)",), ("Not Available",), ("NULL", "nan", "?"), ("*", "**", "***")],
    ],
)
def test_texts_that_stand_for_missing_are_gaps_with_a_note(understood, texts, share):
    text = csv_of(among_numbers(*texts, share=share))
    table = understood(text)
    frame = pd.read_csv(io.StringIO(text), na_values=list(texts), keep_default_na=False)
    np.testing.assert_array_equal(table.features["x"], frame["x"])
    assert any("Column 'x' is read as numbers" in note and "missing" in note for note in table.notes)


def test_words_among_numbers_are_names_with_a_note_and_its_option_is_taken(understood):
    text = csv_of(among_numbers("low", "?"))
    table = understood(text)
    assert kinds(table)["x"] == "categorical"
    (note,) = (note for note in table.notes if "'x'" in note)
    assert note.endswith("(--numeric x --missing-values x=low).")
    asked = understood(text, numeric=("x",), missing_values=("x=low",))
    assert np.isnan(asked.features["x"]).sum() == ROWS // 2


def test_more_than_three_texts_are_gaps_when_asked_for(understood):
    text = csv_of(among_numbers("?", "-", "None", "n/a"))
    assert understood(text).notes[0].endswith("(--numeric x).")
    assert kinds(understood(text, numeric=("x",)))["x"] == "numeric"


def test_a_word_among_nine_tenths_of_numbers_is_refused_and_its_option_is_taken(understood):
    text = csv_of(among_numbers("not seen", share=0.05))
    with pytest.raises(DataError, match=r"'not seen' at line 2 .* \(--missing-values 'x=not seen'\)"):
        understood(text)
    assert kinds(understood(text, missing_values=("x=not seen",)))["x"] == "numeric"


def test_names_keep_what_may_be_a_name(understood):
    table = understood(csv_of(["None", "full", "?", "full"] * 5))
    assert set(cells_of(table, "x")) == {"None", "full", "?"}
    (note,) = (note for note in table.notes if "'x'" in note)
    assert note.endswith(
        "in 10 cells, read as a name: if it stands for missing, say so (--missing-values 'x=?' x=None)."
    )
    table = understood(csv_of(["None", "full", "?", "full"] * 5), missing_values=("?", "None"))
    assert set(cells_of(table, "x")) == {None, "full"}


@pytest.mark.parametrize("given", [-9999, "-9999", ["x=-9999"], {"x": [-9999]}, ("-9999.0",)])
def test_a_missing_number_is_missing_however_it_is_written(understood, given):
    cells = [["-9999", "-9999.0", " -9999.00", "-9.999e3"][i % 4] if i % 3 == 0 else f"{i / 8}" for i in range(ROWS)]
    expected = [i % 3 == 0 for i in range(ROWS)]
    assert np.isnan(understood(csv_of(cells), missing_values=given).features["x"]).tolist() == expected
    for kind in (pa.float64(), pa.float32(), pa.int32()):
        array = pa.array([-9999 if gap else i for i, gap in enumerate(expected)], kind)
        typed = Table.from_arrow(pa.table({"x": array, "y": ["a", "b"] * (ROWS // 2)}), source="t")
        read = read_as(typed, TextReading(missing_values=given))
        assert read.columns["x"].is_null().to_pylist() == expected


@pytest.mark.parametrize("fill", [1e20, 9.969209968386869e36, -3.4028234663852886e38])
def test_a_fill_value_that_was_rounded_to_float32_is_found(fill):
    table = Table.from_arrow(pa.table({"x": pa.array([fill, 1.5], pa.float32()), "y": ["a", "b"]}), source="t")
    read = read_as(table, TextReading(missing_values=(f"{fill:.9g}",)))
    assert read.columns["x"].to_pylist() == [None, 1.5]


def test_a_value_is_missing_in_the_named_column_only(understood):
    text = "a,b,y\n" + "".join(f"{i % 5},{i % 5},{'pq'[i % 3 == 0]}\n" for i in range(ROWS))
    table = understood(text, missing_values=("b=4",))
    assert not np.isnan(table.features["a"]).any()
    assert np.isnan(table.features["b"]).sum() == ROWS // 5


def test_words_among_few_numbers_of_a_target_are_noted_and_the_option_is_taken(understood):
    text = csv_of(range(60), target=("1.5", "2", "low", "2.5"))
    table = understood(text)
    assert table.labels == ("1.5", "2", "2.5", "low")
    (note,) = (note for note in table.notes if "'y'" in note)
    assert "--task regression --missing-values y=low --drop-missing-target" in note
    asked = understood(text, task="regression", missing_values=("y=low",), drop_missing_target=True)
    assert (asked.task, asked.rows) == ("regression", 45)


@pytest.mark.parametrize("text", ["-999", "N/A", "?"])
def test_a_class_that_may_be_a_gap_is_noted(understood, text):
    table = understood(csv_of(range(9), target=("a", "b", text)))
    assert table.labels == tuple(sorted(("a", "b", text)))
    assert any("--drop-missing-target" in note and text in note for note in table.notes)


def test_signs_that_are_all_there_is_are_names_without_a_word(understood):
    assert not any("'x'" in note for note in understood(csv_of(["+", "-", "+"] * 9)).notes)


@pytest.mark.parametrize("text", ["?", "N/A", "-"])
def test_dates_have_the_same_gaps(understood, text):
    days = ["2024-05-31", text, "2024-06-01", text] * 9
    table = understood(csv_of(days))
    frame = pd.to_datetime(pd.Series(days), errors="coerce", format="%Y-%m-%d")
    np.testing.assert_array_equal(table.features["x"], frame.to_numpy("datetime64[us]"))
    assert any("is read as dates, and" in note and repr(text) in note for note in table.notes)


def test_a_missing_value_that_no_cell_has_is_told(understood):
    assert "No cell of data.csv is '-99', a missing value." in understood(csv_of(range(9)), missing_values=(-99,)).notes


def test_missing_values_that_are_none_are_refused(understood):
    with pytest.raises(DataError, match="column 'w' that is not in the table"):
        understood(csv_of(range(9)), missing_values={"w": [1]})
    with pytest.raises(DataError, match="must be a text or a number, got True"):
        understood(csv_of(range(9)), missing_values=[True])


def test_a_gap_in_the_target_is_refused_and_the_remedy_works(understood):
    rows = ["?" if i in (3, 5) else f"{i / 8}" for i in range(ROWS)]
    with pytest.raises(DataError) as refused:
        understood(csv_of(range(ROWS), target=rows))
    assert "target 'y' of data.csv: '?' at line 5" in str(refused.value)
    assert "--missing-values 'y=?' --drop-missing-target" in str(refused.value)
    table = understood(csv_of(range(ROWS), target=rows), missing_values=("y=?",), drop_missing_target=True)
    assert table.rows == ROWS - 2


def test_words_in_a_target_of_numbers_are_refused_and_either_remedy_works(understood):
    text = csv_of(range(ROWS), target=among_numbers("pending", share=0.25))
    with pytest.raises(
        DataError, match=r"holds 45 different numbers, and 'pending': .*--task classification"
    ) as refused:
        understood(text)
    assert "--missing-values y=pending --drop-missing-target" in str(refused.value)
    table = understood(text, missing_values=("y=pending",), drop_missing_target=True)
    assert (table.task, table.rows) == ("regression", 45)


def test_a_client_sends_null_for_a_gap_and_numbers(understood):
    table = understood(csv_of(among_numbers("?")))
    schema = fit_schema(table, np.arange(ROWS), scaling="robust")
    matrix = encode(schema, table, np.arange(ROWS))
    sent = [{"x": None if np.isnan(x) else x, "z": i} for i, x in enumerate(table.features["x"].tolist())]
    assert RowEncoder(schema).encode(sent) == matrix.tobytes()
    for text in ("?", "4,06", "$5"):
        with pytest.raises(RowError, match=f"column 'x': \"{re.escape(text)}\" is not a number"):
            RowEncoder(schema).encode([{"x": text, "z": 1}])


def test_a_weight_and_a_time_cannot_be_missing(understood):
    text = "x,w,y\n" + "".join(f"{i},{'?' if i == 4 else i},{'pq'[i % 2]}\n" for i in range(ROWS))
    with pytest.raises(DataError, match=r"weight 'w' of data\.csv: '\?' at line 6 is not a number"):
        understood(text, weight="w")
    with pytest.raises(DataError, match=r"time 'w' of data\.csv: '\?' at line 6 is not a time"):
        understood(text, time="w")


def test_a_test_file_has_the_same_gaps(understood):
    train, test = csv_of(among_numbers("?")), csv_of(["?", "-", "N/A", "7", "none", "*"])
    assert understood(train, test=test).features["x"][-6:].tolist()[3] == 7
    assert np.isnan(understood(train, test=test).features["x"][-6:]).sum() == 5


def test_the_options_are_arguments_in_a_notebook():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=ROWS).round(2)})
    frame["y"] = np.where(frame["x"] > 0, "a", "b")
    frame.loc[:9, "x"] = -9999
    settings = {"epochs": 2, "hidden_sizes": (4,), "batch_size": 16}
    model = fit(frame, target="y", missing_values={"x": [-9999]}, **settings)
    assert model.checkpoint.schema.columns[0].minimum > -9999
    found = search(frame, target="y", missing_values="x=-9999", trials=1, settings=settings)
    assert found.checkpoint.schema.columns == model.checkpoint.schema.columns


@pytest.mark.parametrize(
    ("given", "rest"),
    [
        ("9.999", ["9,999", None]),
        ("9999", ["9,999", None]),
        ("9,999", [None, "9.999"]),
        (9.999, [None, "9.999"]),
        (9999, ["9,999", None]),
    ],
)
def test_a_missing_value_is_one_number_in_a_file_with_decimal_commas(write, given, rest):
    others = ["4,06", "12.345,5", "-9999,5"]
    table = read_csv(write("x;z\n" + "".join(f"{cell};1\n" for cell in ("9,999", "9.999", *others)), "t.csv"))
    read = read_as(table, TextReading(missing_values={"x": [given]}))
    assert read.columns["x"].to_pylist() == [*rest, *others]
    assert sum("1 cell of t.csv is" in note for note in read.notes) == 1
    fraction = read_as(table, TextReading(missing_values={"x": [-9999.5]}))  # as a note writes the number
    assert fraction.columns["x"].to_pylist() == ["9,999", "9.999", *others[:2], None]


def test_a_note_counts_the_cells_and_lists_how_they_are_written(write):
    table = read_csv(write("x,z\n-9999,?\n-9999.0,2\n-9.999e3,3\n -9999.00,4\n5,-9999\n", "t.csv"))
    read = read_as(table, TextReading(missing_values=("-9999", "?", "none")))
    assert read.notes == (
        "5 cells of t.csv are '-9999', a missing value (written '-9999', '-9999.0', '-9.999e3', …).",
        "1 cell of t.csv is '?', a missing value.",
        "No cell of t.csv is 'none', a missing value.",
    )


def test_the_option_of_a_note_names_the_value_in_a_file_with_decimal_commas(write):
    cells = [*(f"{i % 40},{i % 10}" for i in range(ROWS - 1)), "-8,125e20"]
    text = "x;y\n" + "".join(f"{cell};{'ab'[i % 2]}\n" for i, cell in enumerate(cells))
    table = read_training_table(read_csv(write(text, "t.csv")), name="t", target="y")
    [note] = [note for note in table.notes if "--missing-values" in note]
    option = note.split("--missing-values ")[1].rstrip(").")
    assert option == "x=-8.1250e+20"  # three digits after the dot would be thousands in this file
    again = read_as(read_csv(write(text, "t.csv")), TextReading(missing_values=(option,)))
    assert again.columns["x"].null_count == 1
