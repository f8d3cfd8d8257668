"""A test file is read as the training table was, or refused, and never in silence."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from models.errors import DataError
from training.data.column_choices import ColumnChoices
from training.data.csv_file import read_csv
from training.data.inspection import inspect_table
from training.data.missing_texts import MissingValues
from training.data.notation import Notation, missing_section, notation_section, precedent_of
from training.data.number_texts import Marks
from training.data.understanding import read_training_table

ROWS = 60
POINTED = [f"{1000 + 37 * i:,}".replace(",", ".") for i in range(ROWS)]  # 1.000, 1.037, …


def csv(sep: str = ",", **columns: list[Any]) -> str:
    return pd.DataFrame(columns).to_csv(index=False, sep=sep)


def read(write, text, test, *, target="y", **choices):
    tables = [read_csv(write(text, "train.csv")), read_csv(write(test, "test.csv"))]
    return read_training_table(tables[0], name="t", target=target, choices=ColumnChoices(**choices), test=tables[1])


SHARES = [f"0.{i + 10}" for i in range(ROWS)]
PER_CENT = [f"{i + 10} %" for i in range(ROWS)]


class TestTestFiles:
    @pytest.mark.parametrize(("before", "after"), [(SHARES, PER_CENT), (PER_CENT, SHARES)])
    @pytest.mark.parametrize("role", ["feature", "target", "several targets", "weight", "time"])
    def test_per_cent_in_one_file_only_is_refused(self, write, role, before, after):
        others = {"x": range(ROWS), "y": [i * 1.5 for i in range(ROWS)]}
        target = {"target": "share", "several targets": ("share", "y")}.get(role, "y")
        choices = {role: "share"} if role in ("weight", "time") else {}
        called = "target" if "target" in role else "column" if role == "feature" else role
        with pytest.raises(
            DataError, match=rf"{called} 'share' of test.csv has numbers with.* train\.csv has them with"
        ):
            read(write, csv(share=before, **others), csv(share=after, **others), target=target, **choices)

    def test_per_cent_in_both_is_read_as_it_stands(self, write):
        table = read(write, csv(x=SHARES, y=PER_CENT), csv(x=SHARES[:6], y=["11 %", *PER_CENT[:5]]))
        assert table.target[-6:].tolist() == [11, 10, 11, 12, 13, 14]
        assert not any("is read" in note for note in table.test_notes)

    def test_what_is_read_in_its_own_way_is_noted(self, write):
        days = pd.date_range("2024-01-01", periods=ROWS)
        numbers = [f"{i + 1.5}" for i in range(ROWS)]
        train = csv(size=numbers, day=days.strftime("%Y-%m-%d"), y=[i / 7 for i in range(ROWS)])
        test = csv(size=["?", "-9999", *numbers[2:]], day=days.strftime("%m/%d/%Y"), y=[1e20, *range(ROWS - 1)])
        with pytest.raises(DataError, match=r"target 'y' of test\.csv holds 1e\+20"):
            read(write, train, test)
        table = read(write, train, test.replace("1e+20", "999"))
        for said in (
            "Column 'size' of test.csv is read as numbers, and '?' in 1 cell as missing.",
            "Column 'size' of test.csv holds -9999 at line 3, far from all its other values",
            "Column 'day' of test.csv holds dates of the form %m/%d/%Y",
            "Target 'y' of test.csv holds 999 at line 2",
        ):
            assert any(note.startswith(said) for note in table.test_notes)
            assert any(note.startswith(said) for note in table.notes)
        inspected = inspect_table(
            read_csv(write(train, "train.csv")), target="y", test=read_csv(write(test, "test.csv"))
        )
        assert "target 'y' of test.csv" in str(inspected.problem)
        plain = read_csv(write(test.replace("1e+20", "3"), "test.csv"))
        inspected = inspect_table(read_csv(write(train, "train.csv")), target="y", test=plain)
        assert any(note.startswith("Column 'size' of test.csv is read") for note in inspected.notes)

    @pytest.mark.parametrize("role", ["weight", "time"])
    def test_how_a_weight_and_a_time_are_read_is_noted(self, write, role):
        texts = [f"{i + 1}.{i:03d}" for i in range(ROWS)]  # 1.000, 2.001, …
        train = csv(size=range(ROWS), w=texts, y=["a", "b"] * 30)
        test = csv(size=range(ROWS), w=[f"{100 + i}.{i:03d}" for i in range(ROWS)], y=["a", "b"] * 30)
        table = read(write, train, test, **{role: "w"})
        assert any(note.startswith(f"The {role} 'w' is read as numbers: '1.000' is 1,") for note in table.notes)
        [note] = [note for note in table.test_notes if "'w'" in note]
        assert note.startswith(
            f"{role.capitalize()} 'w' of test.csv is read as numbers: '100.000' is 100, where the dot"
        )
        assert "as in train.csv" in note

    def test_long_columns_without_their_texts_follow_the_training_file(self, write):
        rows = 3_000
        cells = [f"{1 + i % 9}.{i % 1000:03d}" for i in range(rows)]
        train = csv(";", x=[*POINTED, "1.234.567", ""] * 5, share=PER_CENT * 5 + ["1 %"] * 10, y=["a", "b"] * 155)
        test = csv(";", x=cells, share=["3 %"] * rows, y=["a", "b"] * (rows // 2))
        table = read(write, train, test)
        assert table.features["x"][-rows:].tolist() == [int(cell.replace(".", "")) for cell in cells]
        plain = csv(";", x=["5"] * rows, share=[f"{i / rows}" for i in range(1, rows + 1)], y=["a", "b"] * (rows // 2))
        with pytest.raises(DataError, match=r"column 'share' of test\.csv has numbers without a sign \('0\.000333"):
            read(write, train, plain)

    def test_whole_numbers_of_training_decide_nothing(self, write):
        """Expects a refusal of `1.037`, where training had 1037 or less, without any mark."""
        train = csv(";", x=range(ROWS), y=["a", "b"] * 30)
        with pytest.raises(DataError, match=r"'1\.000' at line 2 has two readings"):
            read(write, train, csv(";", x=POINTED, y=["a", "b"] * 30))

    def test_a_word_beside_a_single_number_is_a_category(self, write):
        rest = ["10 %", ""] * (ROWS // 2 - 1)
        train = csv(z=range(ROWS), x=["10 %", "", *rest], y=["a", "b"] * 30)
        table = read(write, train, csv(z=range(ROWS), x=["all", "?", *rest], y=["a", "b"] * 30))
        assert [table.example(ROWS + row)["x"] for row in range(4)] == ["all", None, "10", None]


def test_the_section_of_a_checkpoint_holds_what_was_decided():
    dots = Notation(marks=Marks(decimal=".", thousands=","), unit="")
    shares = Notation(marks=Marks(decimal=",", thousands=".", neutral=False), unit="%")
    notations = {"a": dots, "b": shares, "c": dots, "typed": Notation(unit="")}
    section = json.loads(json.dumps(notation_section(notations)))
    assert section == [
        {"marks": {"decimal": ".", "thousands": ",", "neutral": True}, "unit": "", "columns": ["a", "c"]},
        {"marks": {"decimal": ",", "thousands": ".", "neutral": False}, "unit": "%", "columns": ["b"]},
    ]
    precedent = precedent_of(section, source="the training table")
    assert {name: precedent.of(name) for name in notations} == notations
    assert not precedent.missing
    assert precedent_of(None, source="the training table") is None
    assert notation_section({"a": dots, "c": dots, "typed": Notation(unit="")}) == []
    assert len(notation_section({"a": dots, "b": shares})) == 2


@pytest.mark.parametrize(
    "entry",
    [
        {"marks": {"digits": "east"}},
        {"marks": {"digits": "east"}, "unit": "", "columns": []},
        {"marks": {"decimal": "", "thousands": ","}, "unit": "", "columns": []},
        {"marks": {"decimal": 1}, "unit": "", "columns": []},
        {"marks": None, "unit": 5, "columns": ["a"]},
        {"marks": None, "unit": "", "columns": 5},
        {"marks": None, "unit": "", "columns": [["a"]]},
        "text",
    ],
)
def test_a_section_that_is_not_read_is_refused_in_a_sentence(entry):
    with pytest.raises(DataError, match="upgrade Axon"):
        precedent_of([entry], source="the training table")


def test_the_missing_values_of_a_checkpoint_are_those_of_the_features():
    declared = MissingValues(everywhere=("?",), by_column={"a": ("-9999", "0"), "dropped": ("1",)})
    section = json.loads(json.dumps(missing_section(declared, ["a", "b"])))
    assert section == {"everywhere": ["?"], "columns": {"a": ["-9999", "0"]}}
    missing = precedent_of([], section, source="the training table").missing
    assert [missing.of(name) for name in "ab"] == [("?", "-9999", "0"), ("?",)]


@pytest.mark.parametrize(
    "section",
    [
        5,
        "text",
        {"everywhere": []},
        {"everywhere": "NA", "columns": {}},
        {"everywhere": [5], "columns": {}},
        {"everywhere": [], "columns": []},
        {"everywhere": [], "columns": {"a": "NA"}},
    ],
)
def test_missing_values_that_are_not_read_are_refused_in_a_sentence(section):
    with pytest.raises(DataError, match="upgrade Axon"):
        precedent_of([], section, source="the training table")
