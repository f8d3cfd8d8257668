"""Codes stay names: texts with leading zeros in a CSV file, and numbers that pandas declares categories."""

import numpy as np
import pandas as pd
import pytest
from raw_tables import cells, csv_of, kinds

from models.columns.cell_text import category_of
from models.columns.encoding import RowEncoder
from training.data.column_choices import ColumnChoices
from training.data.csv_file import read_csv
from training.data.inspection import inspect_table
from training.data.preprocessing import fit_schema
from training.data.table import Table
from training.data.understanding import read_training_table
from training.predictions import read_columns


@pytest.mark.parametrize(
    ("codes", "number"),
    [
        ("01067 1067 80331", 1067),
        ("007 7 12", 7),
        ("0 00 007 1", 0),
        ("01067 -1 10115", 1067),
        ("01067 1.5 10115", 1067),
    ],
)
def test_codes_of_several_widths_are_numbers_with_a_note(read_text, codes, number):
    table = read_text(csv_of(codes.split() * 3))
    assert kinds(table)["x"] == "numeric"
    first = next(code for code in codes.split() if code[0] == "0" and code != "0")
    note = (
        f"Column 'x' holds codes such as {first!r}, read as the number {number}: --categorical x reads them as names."
    )
    assert note in table.notes


@pytest.mark.parametrize("numbers", ["1067 8033", "0 1", "0.5 0.7", "-01 -02", "10 20", "1e5 2e5"])
def test_other_numbers_are_no_codes(read_text, numbers):
    table = read_text(csv_of(numbers.split() * 3))
    assert kinds(table)["x"] == "numeric"
    assert not any("codes" in note for note in table.notes)


def test_codes_that_could_be_dates_are_names(read_text):
    codes = ["02371028", "01010101", "09991231"] * 3
    assert cells(read_text(csv_of(codes)), "x") == codes


def test_codes_of_a_target_are_numbers_with_a_note_where_they_are_too_many_for_classes(read_text):
    codes = [f"{i % 30:05d}" for i in range(90)]
    table = read_text(csv_of(range(90), target=codes))
    assert table.task == "regression"
    note = (
        "The target 'y' holds codes such as '00000', read as the number 0: --task classification reads them as classes."
    )
    assert note in table.notes
    classes = read_text(csv_of(range(90), target=codes), task="classification")
    assert [classes.classes[code] for code in classes.target] == codes
    for task, target in (("regression", codes), (None, ["01", "02"]), ("classification", codes)):
        assert not any("codes" in note for note in read_text(csv_of(range(90), target=target), task=task).notes)
    several = read_text(csv_of(range(90), target=codes), target=("z", "y"))
    assert any(
        "read as the number 0, as each of several targets is; to learn classes, predict it" in note
        for note in several.notes
    )


def test_codes_of_times_and_weights_are_numbers(read_text, write):
    text = csv_of(["001", "002", "003", "004"])
    assert read_text(text, time="x").time.tolist() == [1, 2, 3, 4]
    assert read_text(text, weight="x").weight.tolist() == [1, 2, 3, 4]
    inspection = inspect_table(read_csv(write(text, "data.csv")), target="y", choices=ColumnChoices(time="x"))
    assert [facts.kind for facts in inspection.columns if facts.name == "x"] == ["numeric"]


def test_a_file_to_answer_is_read_as_the_training_file_was(read_text, write):
    table = read_text(csv_of(["01067", "10115", "80331"] * 4))
    schema = fit_schema(table, np.arange(table.rows))
    answered = read_columns(schema.columns, read_csv(write("x,z\n80331,1\n01067,2\n1067,3\n", "rows.csv")), [])
    assert answered["x"].to_strings().tolist() == ["80331", "01067", "1067"]
    encoder = RowEncoder(schema)
    encoded = encoder.encode_matrix([[code, 1] for code in ("01067", 1067, "1067", "new")])[:, :-1].tolist()
    assert encoded[0] != encoded[1] == encoded[2] == encoded[3]
    assert encoder.unknown.take() == {"x": 3}


@pytest.mark.parametrize("codes", [[1067, 80331, None], [1.5, 2.0, None], [True, False, None]])
def test_numbers_that_pandas_declares_categories_are_names(codes):
    frame = pd.DataFrame({" zip": pd.Categorical(codes * 4), "x": range(12), "y": ["a", "b", "b"] * 4})
    declared = read_training_table(Table.from_pandas(frame), name="t", target="y")
    assert kinds(declared) == {"zip": "categorical", "x": "numeric"}
    assert cells(declared, "zip")[:3] == [category_of(code) for code in codes]
    plain = frame.assign(**{" zip": frame[" zip"].astype(object).infer_objects()})
    chosen = read_training_table(
        Table.from_pandas(plain), name="t", target="y", choices=ColumnChoices(categorical=("zip",))
    )
    assert declared.fingerprint() == chosen.fingerprint()


def test_the_users_choice_goes_before_what_pandas_declares():
    frame = pd.DataFrame({"zip": pd.Categorical([1067, 80331, 5, 5]), "y": ["a", "b"] * 2})
    as_numbers = ColumnChoices(numeric=("zip",))
    table = read_training_table(Table.from_pandas(frame), name="t", target="y", choices=as_numbers)
    assert table.features["zip"].tolist() == [1067, 80331, 5, 5]
    frame["when"] = pd.Categorical([1_700_000_000 + 86_400 * i for i in range(4)])
    as_dates = ColumnChoices(date_formats={"when": "epoch-seconds"})
    dated = read_training_table(Table.from_pandas(frame), name="t", target="y", choices=as_dates)
    assert kinds(dated) == {"zip": "categorical", "when": "date"}
    test = Table.from_pandas(frame.assign(zip=[5, 6, 7, 1067]))
    both = read_training_table(Table.from_pandas(frame), name="t", target="y", test=test)
    assert cells(both, "zip") == ["1067", "80331", "5", "5", "5", "6", "7", "1067"]
    numbers = Table.from_pandas(frame.assign(zip=[5.5, 6, 7, 1067]))
    kept = read_training_table(numbers, name="t", target="y", test=Table.from_pandas(frame))
    assert kept.features["zip"].tolist() == [5.5, 6, 7, 1067, 1067, 80331, 5, 5]
    by_time = ColumnChoices(time="zip")
    frame = frame.assign(x=[0.5, 1, 2, 3])
    timed = read_training_table(Table.from_pandas(frame), name="t", target="y", choices=by_time)
    assert timed.time.tolist() == [1067, 80331, 5, 5]
    inspection = inspect_table(Table.from_pandas(frame), target="y", choices=by_time)
    assert {facts.name: facts.kind for facts in inspection.columns}["zip"] == "numeric"


def test_numbers_that_pandas_declares_categories_are_classes():
    codes = [i % 30 for i in range(120)]
    frame = pd.DataFrame({"x": range(120), "y": pd.Categorical(codes)})
    table = read_training_table(Table.from_pandas(frame), name="t", target="y")
    assert table.classes == tuple(range(30))
    assert [table.classes[code] for code in table.target] == codes
    chosen = read_training_table(Table.from_pandas(frame), name="t", target="y", task="regression")
    assert chosen.target.tolist() == codes
