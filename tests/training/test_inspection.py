"""An inspection reports the use that `fit` would make of each column, and remarks that a user needs."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from models.errors import DataError
from training.data.column_choices import ColumnChoices
from training.data.csv_file import read_csv
from training.data.inspection import inspect_table
from training.data.source import read_source
from training.data.table import Table
from training.data.understanding import read_training_table

ROWS = 400
rng = np.random.default_rng(0)
SEX = rng.choice(["f", "m"], ROWS)
LABEL = np.where(rng.random(ROWS) < 0.3, "yes", "no")
COLUMNS = {
    "number": rng.normal(size=ROWS),
    "gaps": [None if i % 3 else i % 7 for i in range(ROWS)],
    "sex": SEX,
    "town": [f"town {i % 12}" for i in range(ROWS)],
    "day": np.datetime64("2024-01-01") + rng.integers(0, 90, ROWS),
    "same": [7] * ROWS,
    "twin": SEX,
    "nothing": [None] * ROWS,
    "note": [f"note {i}" for i in range(ROWS)],
    "row": np.arange(ROWS),
    "spread": [f"word {i % 201}" for i in range(ROWS)],
    "list": [[1]] * ROWS,
    "label": LABEL,
}


def table(**columns):
    return Table.from_arrow(pa.table({**COLUMNS, **columns}), source="the table")


def facts(inspection):
    return {column.name: column for column in inspection.columns}


def remarks(inspection, name):
    return " ".join(facts(inspection)[name].remarks)


def test_every_column_is_listed_with_what_it_is_and_becomes():
    inspection = inspect_table(table(), target="label")
    columns = facts(inspection)
    assert list(columns) == list(COLUMNS)
    assert {name: column.role for name, column in columns.items() if column.role != "feature"} == {
        "same": "left out",
        "twin": "left out",
        "nothing": "left out",
        "note": "left out",
        "list": "refused",
        "label": "target",
    }
    assert columns["number"].becomes == "scaled number"
    assert columns["gaps"].becomes == "scaled number + missing flag"
    assert columns["sex"].becomes == "one of -1 and 1"
    assert columns["town"].becomes == "a learned embedding of 12"
    assert columns["day"].becomes == "time elapsed, month, day, weekday"
    assert columns["gaps"].missing == sum(cell is None for cell in COLUMNS["gaps"])
    assert (columns["gaps"].distinct, columns["gaps"].minimum, columns["gaps"].maximum) == (7, 0, 6)
    assert columns["day"].minimum == str(COLUMNS["day"].min())
    assert dict(columns["sex"].top) == {name: int((name == SEX).sum()) for name in ("f", "m")}


def test_the_features_are_those_that_fit_would_take():
    sound = ColumnChoices(drop=("list",))
    inspection = inspect_table(table(), target="label", choices=sound)
    understood = read_training_table(table(), name="t", target="label", choices=sound)
    assert [column.name for column in inspection.columns if column.role == "feature"] == list(understood.features)
    assert inspection.task == understood.task
    assert not inspection.problems


def test_the_task_and_the_classes_are_told():
    inspection = inspect_table(table(), target="label")
    assert inspection.task == "classification"
    assert dict(inspection.classes) == {label: int((label == LABEL).sum()) for label in ("no", "yes")}
    assert inspect_table(table(), target="number").task == "regression"
    assert inspect_table(table()).task is None


@pytest.mark.parametrize(
    ("name", "remark"),
    [
        ("gaps", "is missing in 66% of the rows"),
        ("same", "has one value only, 7: it is left out"),
        ("twin", "equals 'sex' in every row: it is left out"),
        ("nothing", "has no value at all"),
        ("note", "has another name in each row, as an identifier has: it is left out"),
        ("row", "looks like an identifier or a row number"),
        ("spread", "has 201 names in 400 rows"),
    ],
)
def test_what_is_odd_of_a_column_is_said(name, remark):
    assert remark in remarks(inspect_table(table(), target="label"), name)


def test_a_sound_column_has_no_remark():
    inspection = inspect_table(table(), target="label")
    for name in ("number", "sex", "town", "day", "label"):
        assert facts(inspection)[name].remarks == ()


@pytest.mark.parametrize(
    ("leak", "target", "remark"),
    [
        (np.where(LABEL == "yes", "J", "N"), "label", "equals the target but for its names"),
        (np.where(LABEL == "yes", "J", rng.choice(["N", "M"], ROWS)), "label", "determines the target in every row"),
        (np.where(LABEL == "yes", 1.0, 0.0) + rng.random(ROWS) / 2, "label", "tells the classes apart by itself"),
        (
            [i if label == "yes" else None for i, label in enumerate(LABEL)],
            "label",
            "is missing in all rows of one class",
        ),
        (COLUMNS["number"] * -2 + 1 + 0.001 * rng.normal(size=ROWS), "number", "has a correlation of -1.0000 with"),
    ],
)
def test_a_feature_that_knows_the_target_is_pointed_at(leak, target, remark):
    assert remark in remarks(inspect_table(table(leak=leak), target=target), "leak")


@pytest.mark.parametrize(
    ("feature", "target"),
    [
        (np.where(rng.random(ROWS) < 0.05, "N", np.where(LABEL == "yes", "J", "N")), "label"),
        ([f"{label} {i}" for i, label in enumerate(LABEL[: ROWS // 2])] * 2, "label"),
        (COLUMNS["number"] + 0.1 * rng.normal(size=ROWS), "number"),
    ],
)
def test_a_feature_that_only_goes_with_the_target_is_not(feature, target):
    text = remarks(inspect_table(table(leak=feature), target=target), "leak")
    assert "target" not in text


def test_rare_classes_and_skewed_targets_are_remarked_on():
    rare = np.where(np.arange(ROWS) < 8, "rare", "common")
    assert "Class 'rare' of the target has 2.00% of the rows" in remarks(inspect_table(table(y=rare), target="y"), "y")
    skewed = np.exp(2 * rng.normal(size=ROWS))
    assert "The target is skewed (+" in remarks(inspect_table(table(y=skewed), target="y"), "y")


@pytest.mark.parametrize(
    ("columns", "target", "problem"),
    [
        ({}, "label", "column 'list' of the table holds"),
        ({"y": ["a"] * ROWS}, "y", "has one class only"),
        ({"y": ["a", None] * (ROWS // 2)}, "y", "target 'y' of the table has no value at row 1"),
        ({"y": ["a", *["b", "c"] * ((ROWS - 2) // 2), "b"]}, "y", "class 'a' of target 'y' of the table has 1 row"),
        ({"x": [1e39] * ROWS}, "label", "column 'x' of the table: the value at row 0 (counting from 0) is too large"),
    ],
)
def test_what_fit_would_refuse_is_listed_and_the_rest_is_inspected(columns, target, problem):
    inspection = inspect_table(table(**columns), target=target)
    assert any(problem in line for line in inspection.problems)
    assert facts(inspection)["town"].kind == "categorical"


def test_a_test_file_that_does_not_fit_is_a_problem(write):
    train = read_csv(write("x,y\n1,a\n2,b\n3,a\n4,b\n5,a\n6,b\n", "train.csv"))
    good = read_csv(write("x,y\n1,a\n", "good.csv"))
    bad = read_csv(write("x,y\n1,c\n", "bad.csv"))
    assert inspect_table(train, target="y", test=good).problems == ()
    assert "class 'c' at line 2 is none of the training rows'" in inspect_table(train, target="y", test=bad).problems[0]


def test_a_column_that_is_not_there_is_refused():
    with pytest.raises(DataError, match="did you mean 'label'"):
        inspect_table(table(), target="lable")
    with pytest.raises(DataError, match="has no column 'z'"):
        inspect_table(table(), choices=ColumnChoices(drop=("z",)))


def inspect(*arguments):
    run = subprocess.run(
        [sys.executable, "-m", "training", "inspect", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.slow
def test_the_command_shows_columns_task_and_remarks(write):
    path = write(
        "id,size,town,y\n" + "".join(f"{i},{i % 7},{'AB'[i % 2]},{'no' if i % 3 else 'yes'}\n" for i in range(60))
    )
    shown = inspect(path, "--target", "y")
    for words in (
        "flowers.csv: 60 rows",
        "A classification of 'y' into 2 classes: no 66.7 %, yes 33.3 %.",
        "'id' looks",
    ):
        assert words in shown
    told = json.loads(inspect(path, "--target", "y", "--json"))
    assert [column["name"] for column in told["columns"]] == ["id", "size", "town", "y"]
    assert told["classes"] == [{"label": "no", "rows": 40}, {"label": "yes", "rows": 20}]
    assert "classification of 'species' into 3 classes" in inspect("iris")


@pytest.mark.slow
def test_hundreds_of_columns_are_shown_in_a_screenful_with_the_odd_one_among_them(write):
    numbers = np.random.default_rng(1).normal(size=(60, 500)).round(3)
    numbers[:, 499] = 7
    lines = [",".join(f"c{i}" for i in range(500)), *(",".join(map(str, row)) for row in numbers)]
    shown = inspect(write("\n".join(lines)), "--target", "c0")
    assert len(shown.splitlines()) < 150
    assert "c499" in shown
    assert "more columns (" in shown


@pytest.mark.parametrize("is_text", [False, True])
def test_whole_numbers_that_float64_rounds_are_told(tmp_path, is_text):
    ids = [2**60 + i for i in range(60)]
    wide = [2**54 + 1000 * (i % 7) + i % 3 for i in range(60)]
    frame = pd.DataFrame({"u": ids, "v": wide, "w": [i % 5 for i in range(60)], "y": ["a", "b"] * 30})
    source = frame
    if is_text:
        source = tmp_path / "t.csv"
        frame.to_csv(source, index=False)
    inspection = inspect_table(read_source(source), target="y")
    assert "has one value only in 64-bit floating point, 1.15292e+18: it is left out" in remarks(inspection, "u")
    assert "whole numbers from 2**53 on, of which 16 digits count: --categorical v reads" in remarks(inspection, "v")
    assert remarks(inspection, "w") == ""
