"""Typical rows are made of medians and most common categories, accepted by the served model, and equal no row."""

import datetime as dt
import json
import math

import numpy as np
import pandas as pd
import pytest

from models.columns.encoding import RowEncoder
from models.errors import DataError
from models.store import Store
from training.cli import main
from training.data.column_choices import ColumnChoices
from training.data.source import read_source
from training.data.typical_rows import typical_rows
from training.data.understanding import read_training_table
from training.fit import fit

QUICK = {"hidden_sizes": (8,), "epochs": 2, "device": "cpu"}


def people(rows=300):
    rng = np.random.default_rng(0)
    moments = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 86_400 * 900, rows), unit="s")
    frame = pd.DataFrame(
        {
            "salary": rng.lognormal(10, 0.5, rows).round(2),
            "children": rng.integers(0, 5, rows),
            "town": rng.choice(["Rome", "Oslo", "Bonn"], rows, p=[0.6, 0.3, 0.1]),
            "hired": moments,
            "born": pd.to_datetime("1950-01-01") + pd.to_timedelta(rng.integers(0, 15_000, rows), unit="D"),
        }
    )
    frame.loc[::7, "salary"] = np.nan
    frame.loc[1::7, "town"] = None
    frame["y"] = np.where(frame.salary.fillna(0) > 22_000, "high", "low")
    frame.loc[:2, "y"] = "rare"
    return frame


def table_of(frame, **choices):
    return read_training_table(read_source(frame), name="t", target="y", choices=ColumnChoices(**choices))


def test_cells_are_medians_and_commonest_names():
    frame = people()
    table = table_of(frame)
    [row, *_] = typical_rows(table, np.arange(len(frame)), most=5)
    spread = frame.salary.quantile(0.75) - frame.salary.quantile(0.25)
    assert abs(row["salary"] - frame.salary.median()) <= spread / 10
    assert row["children"] == int(frame.children.median())
    assert isinstance(row["children"], int)
    assert row["town"] == frame.town.mode()[0]
    assert row["born"] == str(frame.born.sort_values().iloc[(len(frame) - 1) // 2].date())
    assert row["hired"] == str(frame.hired.sort_values().iloc[(len(frame) - 1) // 2].date()), "no moment of a row"


def test_each_class_that_is_not_rare_has_one():
    frame = people()
    rows = typical_rows(table_of(frame), np.arange(len(frame)), most=5)
    assert len(rows) == 3, "of all rows, of high and of low; the three rare rows would be seen through their medians"
    for row, label in zip(rows[1:], ("high", "low"), strict=True):
        of_class = frame[frame.y == label]
        spread = of_class.salary.quantile(0.75) - of_class.salary.quantile(0.25)
        assert abs(row["salary"] - of_class.salary.median()) <= spread / 10
    assert len(typical_rows(table_of(frame), np.arange(len(frame)), most=2)) == 2
    assert len(typical_rows(table_of(frame.assign(y=frame.children * 1.5)), np.arange(len(frame)), most=5)) == 1


def test_the_model_answers_them_and_none_is_a_row_of_the_table():
    frame = people()
    model = fit(frame, target="y", name="t", **QUICK)
    examples = json.loads(json.dumps(model.checkpoint.data["examples"]))
    assert len(RowEncoder(model.checkpoint.schema).encode_matrix(examples)) == len(examples) == 3
    rows = [model.table.example(row) for row in range(model.table.rows)]
    assert all(example not in rows for example in examples)
    own = {cell for name in ("salary", "hired") for cell in (row[name] for row in rows)}
    assert not own & {example[name] for example in examples for name in ("salary", "hired")}


def test_rows_of_the_table_are_shown_on_request():
    model = fit(people(), target="y", name="t", choices=ColumnChoices(examples="rows"), **QUICK)
    train = [model.table.example(int(row)) for row in model.split.train]
    examples = model.checkpoint.data["examples"]
    assert len(examples) == 5
    assert all(example in train for example in examples)
    assert None not in examples[0].values()
    classes = {model.table.target[model.split.train[train.index(example)]] for example in examples}
    assert classes == {0, 1, 2}
    with pytest.raises(DataError, match="examples must be typical or rows"):
        ColumnChoices(examples="none")


@pytest.mark.parametrize("rows", [False, True])
def test_report_and_card_follow_the_same_option(tmp_path, monkeypatch, rows):
    monkeypatch.chdir(tmp_path)
    frame = people().drop(columns="born")
    frame.to_csv("t.csv", index=False)
    options = ("--epochs", "2", "--hidden", "8", "--quiet", "--store", "store", "--device", "cpu")
    assert main(["fit", "t.csv", "--target", "y", *options, *(("--examples", "rows") if rows else ())]) == 0
    version = Store("store").resolve("t")
    pages = [(version.path.parent / name).read_text() for name in ("report.html", "README.md")]
    # Salaries have two decimals, so that each one identifies a row. The least and the greatest are the column's range.
    column = version.load().checkpoint.schema.columns[0]
    told = set(frame.salary.dropna()) - {column.minimum, column.maximum}
    shown = [[salary for salary in told if f"{salary:.2f}" in page or f"{salary:g}" in page] for page in pages]
    assert [bool(salaries) for salaries in shown] == [rows, rows], shown
    header = json.dumps(version.read_header()["data"])
    assert any(f"{salary}" in header for salary in told) == rows


@pytest.mark.parametrize(
    "cells",
    [
        [3e38, -3e38, 0.0, 5.0],
        [5e-324, 1e-323, 0.0, 1e-320],
        [2.0**60, 2.0**60 + 512, 2.0**60 + 1024, 2.0**60],
        [-0.0, 0.0, 1.0, -1.0],
        [0.1, 0.1, 0.1, 0.3],
        [1700000000.25, 1700000001.25, 1700000002.25, 1700000005.5],
    ],
)
def test_numbers_at_the_edges_stay_within_the_column(cells):
    frame = pd.DataFrame({"x": cells * 10, "y": [1.5, 2.0, 3.0, 4.5] * 10})
    [row] = typical_rows(table_of(frame), np.arange(40), most=5)
    assert min(cells) <= row["x"] <= max(cells)
    assert math.isfinite(row["x"])
    json.dumps(row, allow_nan=False)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(dt.timedelta(days=1), "2024-01-20"), (dt.timedelta(hours=3), "2024-01-03T10:00:00Z"), (dt.timedelta(0), None)],
)
def test_moments_are_rounded_by_how_far_they_spread(step, expected):
    first = dt.datetime(2024, 1, 1, 1, 23, 45)
    moments = [first + step * i for i in range(40)]
    frame = pd.DataFrame({"at": moments, "y": np.arange(40) * 1.5})
    [row] = typical_rows(table_of(frame, keep_constant=True), np.arange(40), most=5)
    assert row["at"] == (expected or "2024-01-01T01:23:45Z")
