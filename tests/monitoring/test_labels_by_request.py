"""`axon monitor` by the request id: an id is an opaque text, and an id of two rows labels neither."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from small_logs import log_rows

from models.columns.schema import NumericTarget
from models.errors import DataError
from monitoring.monitor import LabelSource, MonitorReport, monitor
from monitoring.selection import Selection
from training.data.text_reading import TextReading

# As categories, some of these are missing, and some are the same.
IDS = ["NA", "null", "nan", "TRUE", "true", "1.0", "1", "007", "a  b", "-"]
both = pytest.mark.parametrize("kind", ["csv", "parquet"])


def report(
    folder: Path, labels: pd.DataFrame, kind: str = "csv", version: int | None = None, **more: object
) -> MonitorReport:
    """Writes labels to a file, and reports on the log in the same folder."""
    path = folder / f"labels.{kind}"
    if kind == "csv":
        labels.to_csv(path, index=False)
    else:
        labels.to_parquet(path)
    selection = Selection(folder=folder / "log", model="small", version=version)
    return monitor(selection, LabelSource(path=path, **more), store=folder / "nowhere", by="all")


def truth_of(found: MonitorReport) -> list[int]:
    """Returns the label of each row that has one, as a class."""
    [version] = found.versions
    assert version.labelled is not None
    return version.labelled.truth.tolist()


def about_labels(found: MonitorReport) -> list[str]:
    """Returns the remarks, without the one on drift, which no store knows here."""
    return [remark for remark in found.remarks if not remark.startswith("Drift of small@")]


@both
def test_ids_are_compared_as_they_are(tmp_path: Path, kind: str) -> None:
    truth = [at % 2 for at in range(len(IDS))]
    log_rows(tmp_path / "log", [0] * len(IDS), [0] * len(IDS), request_ids=IDS)
    labels = pd.DataFrame({"request_id": IDS, "left": [("no", "yes")[one] for one in truth]})
    found = report(tmp_path, labels.sample(frac=1, random_state=1), kind)
    assert truth_of(found) == truth
    assert about_labels(found) == []


@both
def test_ids_that_are_whole_numbers_are_their_digits(tmp_path: Path, kind: str) -> None:
    log_rows(tmp_path / "log", [0] * 3, [0] * 3, request_ids=["17", "18", "9007199254740993"])
    labels = pd.DataFrame({"request_id": [18, 9_007_199_254_740_993, 17], "left": ["yes", "yes", "no"]})
    assert truth_of(report(tmp_path, labels, kind)) == [0, 1, 1]


@both
def test_a_missing_value_of_the_user_is_an_id_in_its_own_spelling_only(tmp_path: Path, kind: str) -> None:
    ids = ["007", "7.0", "7", "8"]
    log_rows(tmp_path / "log", [0] * 4, [0] * 4, request_ids=ids)
    labels = pd.DataFrame({"request_id": ids, "left": ["yes", "yes", "yes", "no"]})
    found = report(tmp_path, labels, kind, reading=TextReading(missing_values=("7",)))
    assert truth_of(found) == [1, 1, 0]
    assert f"1 lines of labels.{kind} have no label." in found.remarks


def test_blanks_around_ids_and_lines_without_an_id(tmp_path: Path) -> None:
    log_rows(tmp_path / "log", [0] * 2, [0] * 2, request_ids=["a", "b"])
    labels = pd.DataFrame({"request_id": [" a", "b ", ""], "left": ["yes", "no", "yes"]})
    found = report(tmp_path, labels)
    assert truth_of(found) == [1, 0]
    assert about_labels(found) == ["1 lines of labels.csv have no label."]


def test_rows_with_the_id_and_the_number_of_another_row_get_no_label(tmp_path: Path) -> None:
    log_rows(tmp_path / "log", [0, 1, 2, 3], [0] * 4, request_ids=["a", "a", "b", "c"])
    log_rows(tmp_path / "log", [4], [1], request_ids=["b"], number=2)
    labels = pd.DataFrame({"request_id": ["a", "b", "c"], "left": ["yes", "no", "yes"]})
    found = report(tmp_path, labels)
    assert found.labelled_rows == 3, "that both versions were asked for b is no doubt"
    assert about_labels(found) == [
        "2 rows have the request id and the row number of another row of their version: clients sent an id twice, and "
        "none of these rows gets a label."
    ]
    assert truth_of(report(tmp_path, labels, version=2)) == [0]
    with pytest.raises(DataError, match=r"all 2 rows with a label have the request id .* of another row.*--on"):
        report(tmp_path, labels[:1])
    by_cell = report(tmp_path, pd.DataFrame({"id": range(5), "left": "yes"}), "parquet", on="id")
    assert by_cell.labelled_rows == 5
    assert about_labels(by_cell) == [
        "2 rows have the request id and the row number of another row of their version: clients sent an id twice."
    ]


def test_labels_for_versions_of_different_tasks_are_refused(tmp_path: Path) -> None:
    log_rows(tmp_path / "log", [0, 1], [0, 1])
    target = NumericTarget(name="left", mean=0, std=1, minimum=0, maximum=9)
    log_rows(tmp_path / "log", [2, 3], [4, 5], request_ids=["s0", "s1"], number=2, target=target)
    labels = pd.DataFrame({"request_id": ["r0", "r1"], "left": ["yes", "no"]})
    with pytest.raises(
        DataError, match=r"small@1 predicts classes and small@2 predicts values.*--model small@1 or --model small@2"
    ):
        report(tmp_path, labels)
    assert truth_of(report(tmp_path, labels, version=1)) == [1, 0]
    values = pd.DataFrame({"request_id": ["s0", "s1"], "left": [4.5, 5.5]})
    assert report(tmp_path, values, version=2).labelled_rows == 2
    whole = monitor(Selection(folder=tmp_path / "log"), LabelSource(), store=tmp_path / "nowhere", by="all")
    assert [version.rows for version in whole.versions] == [2, 2]
