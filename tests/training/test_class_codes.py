"""A note warns if class codes are read as numbers, or if a name's task changes, and names options that work."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.errors import DataError
from models.store import Store
from training.cli import main
from training.data.column_choices import ColumnChoices
from training.data.inspection import inspect_table
from training.data.table import Table
from training.data.understanding import read_training_table
from training.sources import read_table

QUICK = ["--epochs", "1", "--hidden", "4", "--recipe", "classic", "--no-report", "--quiet", "--json"]
rng = np.random.default_rng(0)


def codes(counts: dict[float, int]) -> pd.DataFrame:
    target = rng.permutation(np.repeat(list(counts), list(counts.values())))
    return pd.DataFrame({"a": rng.normal(size=len(target)), "b": rng.normal(size=len(target)), "y": target})


NINE = {1: 245, 10: 50, 2: 44, 3: 15, 4: 9, 5: 3, 6: 25, 7: 7, 8: 2}  # from a table once silently read as a regression
TWO_RARE = {1: 40, 2: 40, 3: 1, 4: 2}


def read(frame: pd.DataFrame, task: str | None = None, test: pd.DataFrame | None = None, **choices: object):
    return read_training_table(
        Table.from_pandas(frame, source="codes.csv"),
        name="t",
        target="y",
        task=task,  # type: ignore[arg-type]
        choices=ColumnChoices(**choices),  # type: ignore[arg-type]
        test=None if test is None else Table.from_pandas(test, source="later.csv"),
    )


def fit(path: Path, *options: str, capsys: pytest.CaptureFixture[str]) -> dict:
    store = str(path.parent / "store")
    assert main(["fit", str(path), "--target", "y", "--name", "codes", "--store", store, *QUICK, *options]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("counts", "rare"),
    [
        (NINE, "the 2 rows of 8"),
        (TWO_RARE, "the 3 rows of 3, 4"),
        ({float(i): 12 for i in range(26)}, None),
        ({0.5: 40, 1.5: 40, 2.5: 40}, None),
    ],
    ids=["nine codes", "two rare", "letters", "halves"],
)
def test_numbers_that_may_be_codes_are_told_and_the_option_works(
    counts: dict[float, int], rare: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = codes(counts)
    frame.to_csv(tmp_path / "codes.csv", index=False)
    told = fit(tmp_path / "codes.csv", capsys=capsys)
    assert told["task"] == "regression"
    [note] = [note for note in told["notes"] if "codes of classes" in note]
    whole = "whole " if rare or len(counts) == 26 else ""
    assert note.startswith(f"Target 'y' has {len(counts)} different {whole}numbers only, and is read as values")
    assert rare is None or f"which leaves out {rare}." in note
    offered = re.search(r"say (--task classification( --drop-rare-classes)?)", note)
    assert offered is not None
    told = fit(tmp_path / "codes.csv", *shlex.split(offered[1]), capsys=capsys)
    assert told["task"] == "classification"
    assert not any("codes of classes" in note for note in told["notes"])
    inspection = inspect_table(Table.from_pandas(frame), target="y")
    assert any("codes of classes" in remark for column in inspection.columns for remark in column.remarks)


@pytest.mark.parametrize(
    "target",
    [
        rng.normal(size=300),
        rng.poisson(3, 300) + rng.random(300).round(1),
        np.arange(300),
        rng.integers(18, 90, 300),
        np.arange(40) % 18,
        rng.poisson(20, 300),
    ],
    ids=["measures", "one decimal", "a count of rows", "ages", "few rows", "counts"],
)
def test_numbers_that_are_no_codes_are_not_told(target: np.ndarray) -> None:
    frame = pd.DataFrame({"a": rng.normal(size=len(target)), "y": target})
    if len(target) == 40:
        frame = frame[:30]
    assert not [note for note in read(frame).notes if "codes of classes" in note]
    assert not [note for note in read(codes(NINE), "regression").notes if "codes of classes" in note]


def test_rare_classes_are_left_out_with_a_note_where_that_is_said() -> None:
    frame = codes(NINE)
    table = read(frame, "classification", drop_rare_classes=True)
    assert table.rows == 398
    assert 8 not in table.classes
    assert "2 rows of codes.csv left out, of rare class: '8'." in table.notes
    inspection = inspect_table(
        Table.from_pandas(frame), target="y", task="classification", choices=ColumnChoices(drop_rare_classes=True)
    )
    assert inspection.problems == ()
    assert inspection.rows == 398
    # With a test file, two rows of a class are enough.
    test = codes({1: 3, 8: 2, 3: 1})
    assert read(frame, "classification", test, drop_rare_classes=True).rows == 406
    apart = read(codes(TWO_RARE), "classification", codes({1: 2, 3: 2}), drop_rare_classes=True)
    assert (apart.rows, apart.test_rows) == (84, 2)
    assert "2 rows of later.csv left out, of rare class: '3'." in apart.notes


def test_rare_classes_that_cannot_be_left_out_are_refused_with_a_remedy() -> None:
    with pytest.raises(DataError, match="--task classification"):
        read(codes(NINE), drop_rare_classes=True)
    with pytest.raises(DataError, match="fewer than two classes of 3 rows"):
        read(codes({1: 40, 2: 2}), "classification", drop_rare_classes=True)


def test_a_name_whose_task_changes_is_told_with_the_option_that_keeps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "codes.csv"
    codes({1: 30, 2: 30, 3: 30}).to_csv(path, index=False)
    assert not any("another kind" in note for note in fit(path, capsys=capsys)["notes"])
    codes({1: 30, 2: 30, 3: 2}).to_csv(path, index=False)
    told = fit(path, capsys=capsys)
    assert told["task"] == "regression"
    assert told["notes"][0] == (
        "codes@1 is a classification of 'y', and this is a regression of 'y': whoever asks 'codes' gets answers of "
        "another kind. To have a classification again, say --task classification --drop-rare-classes, which leaves "
        "out the 2 rows of 3."
    )
    codes({1: 30, 2: 30, 3: 30}).to_csv(path, index=False)
    told = fit(path, capsys=capsys)
    assert told["notes"][0].endswith("To have a regression again, say --task regression.")
    assert fit(path, "--task", "regression", capsys=capsys)["task"] == "regression"
    # The alias decides the version that a name stands for.
    Store(tmp_path / "store").set_alias("codes", "default", 2)
    assert "codes@2 is a regression" in fit(path, capsys=capsys)["notes"][0]


def test_another_target_under_the_same_name_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"a": rng.normal(size=60), "y": rng.normal(size=60), "z": rng.normal(size=60)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    fit(tmp_path / "t.csv", capsys=capsys)
    fit(tmp_path / "t.csv", "--drop", "z", capsys=capsys)
    frame.rename(columns={"y": "z", "z": "y"}).rename(columns={"y": "w", "z": "y"}).to_csv(tmp_path / "t.csv")
    assert not any("another question" in note for note in fit(tmp_path / "t.csv", capsys=capsys)["notes"])
    store = str(tmp_path / "store")
    assert main(["fit", str(tmp_path / "t.csv"), "--target", "w", "--name", "codes", "--store", store, *QUICK]) == 0
    assert "codes@3 predicts 'y', and this predicts 'w'" in json.loads(capsys.readouterr().out)["notes"][0]


@pytest.mark.parametrize(
    "how", [["--trials", "1"], ["--population", "2", "--every", "1"]], ids=["trials", "population"]
)
def test_a_search_tells_both(how: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "codes.csv"
    codes({1: 30, 2: 30}).to_csv(path, index=False)
    fit(path, capsys=capsys)
    codes(NINE).to_csv(path, index=False)
    command = ["search", str(path), "--target", "y", "--name", "codes", "--store", str(tmp_path / "store"), *how]
    options = ["--folder", str(tmp_path), "--epochs", "2", "--hidden", "4", "--recipe", "classic", "--quiet", "--json"]
    assert main([*command, *options]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert any("codes@1 is a classification of 'y', and this is a regression" in note for note in notes)
    assert any("If they are codes of classes, say --task classification --drop-rare-classes" in note for note in notes)


@pytest.mark.parametrize("name", ["iris", "digits", "diabetes", "clusters"])
def test_a_built_in_dataset_has_no_such_note(name: str) -> None:
    assert not [note for note in read_table(name, settings={})[0].notes if "codes" in note]
