"""`axon monitor --on` with a column of numbers: a label goes to the rows of its number, and to no other row."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from serving import numeric
from small_logs import log_rows

from models.columns.column import CategoricalColumn, Column, DateColumn, NumericColumn
from models.errors import DataError
from monitoring.monitor import LabelSource, MonitorReport, monitor
from monitoring.selection import Selection


def joined(folder: Path, sent: list[object], labels: pd.DataFrame, column: Column | None = None) -> list[int]:
    """Returns the joined label of each logged row that has one, as a class."""
    folder.mkdir(exist_ok=True)
    log_rows(folder / "log", sent, [0] * len(sent), column=column or numeric("id"))
    path = folder / "labels.parquet"
    labels.to_parquet(path)
    return truth_of(report(folder, path))


def report(folder: Path, labels: Path) -> MonitorReport:
    source = LabelSource(path=labels, on="id")
    return monitor(Selection(folder=folder / "log"), source, store=folder / "nowhere", by="all")


def truth_of(found: MonitorReport) -> list[int]:
    [version] = found.versions
    assert version.labelled is not None
    return version.labelled.truth.tolist()


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        (20_000_000, [20_000_001]),  # rounds to the id of the row
        (20_000_001, [20_000_000]),  # is exact, and the row's id was rounded to it
        (20_000_000, [20_000_000, 20_000_001]),
        (9_007_199_254_740_993, [9_007_199_254_740_992]),
        (1_234_567.89, [1_234_567.91]),
    ],
)
def test_ids_that_the_log_cannot_tell_apart_are_refused(tmp_path: Path, sent: float, keys: list[float]) -> None:
    labels = pd.DataFrame({"id": keys, "left": ["yes", "no"][: len(keys)]})
    with pytest.raises(DataError, match=rf"column 'id' is logged as .* cannot tell {keys[0]} from \d.*request_id"):
        joined(tmp_path, [sent, 5], labels)


def test_ids_of_any_length_are_apart_in_a_column_with_an_origin(tmp_path: Path) -> None:
    column = NumericColumn(name="id", mean=2e9, std=100, minimum=1.9e9, maximum=2.1e9, origin=2e9)
    sent = [2_000_000_001, 2_000_000_000, 2_000_000_000.1, 2_000_000_003]
    labels = pd.DataFrame({"id": [*map(str, sent[1:]), "2000000004"], "left": ["yes", "no", "yes", "no"]})
    assert joined(tmp_path, sent, labels, column) == [1, 0, 1]


@pytest.mark.parametrize("kind", ["float64", "float32", "str"])
def test_numbers_with_decimals_join_their_own_rows(tmp_path: Path, kind: str) -> None:
    numbers = np.random.default_rng(0).permutation(np.arange(1, 40_000, 7))[:2_000] / 100
    truth = np.random.default_rng(1).integers(0, 2, 2_000)
    keys = pd.Series([str(number) for number in numbers]) if kind == "str" else pd.Series(numbers).astype(kind)
    labels = pd.DataFrame({"id": keys, "left": np.array(["no", "yes"])[truth]}).sample(frac=1, random_state=2)
    assert joined(tmp_path, numbers.tolist(), labels) == truth.tolist()


def test_two_spellings_of_a_number_are_one_row(tmp_path: Path) -> None:
    labels = pd.DataFrame({"id": ["007", "8", "x", "7"], "left": ["yes", "no", "no", "yes"]})
    assert joined(tmp_path, [7, 8], labels) == [1, 0]
    assert report(tmp_path, tmp_path / "labels.parquet").remarks[-1] == "1 of 4 labels belong to no row of the log."
    labels["left"] = ["yes", "no", "no", "no"]
    with pytest.raises(DataError, match=r"id '007' has two labels: 'yes' at row 0 .* and 'no' at row 3"):
        joined(tmp_path, [7], labels)


def seen(origin: float) -> DateColumn:
    return DateColumn(name="id", mean=20_600, std=90, minimum=20_000, maximum=21_000, parts=(), origin=origin)


def test_moments_that_the_log_cannot_tell_apart_are_refused(tmp_path: Path) -> None:
    labels = pd.DataFrame({"id": [f"2026-05-31T13:{minute}:00Z" for minute in range(40, 51)], "left": "yes"})
    with pytest.raises(DataError, match=r"cannot tell 2026-05-31T13:4\d:00Z from the seconds beside it.*request_id"):
        joined(tmp_path / "one", ["2026-05-31T13:45:17Z", "2026-06-02"], labels, seen(0.0))


def test_days_join_their_own_rows(tmp_path: Path) -> None:
    labels = pd.DataFrame({"id": ["2026-06-01", "2026-06-02"], "left": ["yes", "no"]})
    assert joined(tmp_path, ["2026-06-02", "2026-05-31T13:45:17Z", "2026-06-01"], labels, seen(0.0)) == [0, 1]


def test_typed_days_and_decimals_join_the_rows_of_the_same_cells(tmp_path: Path) -> None:
    days = pd.DataFrame({"id": pd.to_datetime(["2026-06-01", "2026-06-02"]), "left": ["yes", "no"]})
    assert joined(tmp_path / "days", ["2026-06-02", "2026-05-31T13:45:17Z", "2026-06-01"], days, seen(0.0)) == [0, 1]
    prices = [Decimal("0.00000010"), Decimal("0E-8"), Decimal("7.00000000")]
    labels = pd.DataFrame({"id": prices, "left": ["yes", "no", "yes"]})
    column = CategoricalColumn(name="id", categories=("0", "0.00000010", "7"))
    assert joined(tmp_path / "prices", ["0", "7", "0.00000010"], labels, column) == [0, 1, 1]


def test_marks_of_the_file_are_those_of_its_keys(tmp_path: Path) -> None:
    log_rows(tmp_path / "log", [1234.5, 1.2345, 7], [0, 0, 0])
    path = tmp_path / "labels.csv"
    path.write_text("id;left\n1.234,5;yes\n7;no\n")
    assert truth_of(report(tmp_path, path)) == [1, 0]
    path.write_text("id;left\n1.234;yes\n7;no\n")
    with pytest.raises(DataError, match=r"numbers in column 'id' can be read in two ways.*--decimal"):
        report(tmp_path, path)
