"""`axon monitor`: figures against scikit-learn, drift where the data moved, and words for labels that do not fit."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from logged_models import DAYS, LoggedModel, log_answers, people, write_labels
from sklearn import metrics as sk

from axon.cli import main
from models.errors import DataError
from models.prediction_log.conversion import convert_spools
from monitoring.monitor import LabelSource, MonitorReport, monitor
from monitoring.selection import Selection
from training.data.text_reading import TextReading
from training.fit import fit


def report_on(model: LoggedModel, path: Path | None = None, **more: object) -> MonitorReport:
    source = LabelSource(path=model.labels if path is None else path, **more)
    return monitor(Selection(folder=model.log), source, store=model.store, by="day")


def by_day(table: pd.DataFrame) -> list[pd.DataFrame]:
    return [group for _, group in table.groupby(pd.to_datetime(table["time"], unit="s").dt.date)]


def test_figures_of_a_classifier_are_those_of_scikit_learn(classes: LoggedModel) -> None:
    labelled = write_labels(classes)
    report = report_on(classes)
    [version] = report.versions
    assert (report.rows, report.labelled_rows) == (len(classes.table), len(labelled))
    days = by_day(labelled)
    assert len(version.periods) == len(days) == DAYS
    for answers, table in zip(
        [p.labelled for p in version.periods] + [version.labelled], [*days, labelled], strict=True
    ):
        assert answers is not None
        found, truth = answers.metrics(), (table["left"] == "yes").to_numpy()
        probability = table["p1"].to_numpy()
        assert found["rows"] == len(table)
        assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, probability > 0.5), abs=1e-9)
        assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(truth, probability), abs=1e-6)
        assert found["log_loss"] == pytest.approx(sk.log_loss(truth, probability), rel=1e-5)
        assert found["brier"] == pytest.approx(sk.brier_score_loss(truth, probability), rel=1e-5)


def test_figures_of_a_regressor_are_those_of_scikit_learn(values: LoggedModel) -> None:
    labelled = write_labels(values, target="spent")
    [version] = report_on(values).versions
    for answers, table in zip([p.labelled for p in version.periods], by_day(labelled), strict=True):
        assert answers is not None
        found = answers.metrics()
        assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(table["spent"], table["value"]), rel=1e-5)
        assert found["mae"] == pytest.approx(sk.mean_absolute_error(table["spent"], table["value"]), rel=1e-5)
        assert found["r2"] == pytest.approx(sk.r2_score(table["spent"], table["value"]), rel=1e-5)


def test_drift_is_named_from_the_day_on_which_the_data_moved(classes: LoggedModel) -> None:
    write_labels(classes)
    [version] = report_on(classes).versions
    flagged = [
        {movement.variable.name for movement in period.drift.flagged} for period in version.periods if period.drift
    ]
    assert len(flagged) == DAYS
    assert all(not names for names in flagged[:6])
    assert all("income" in names for names in flagged[6:])
    town = next(m for m in version.drift.movements if m.variable.name == "town") if version.drift else None
    assert town is not None
    assert town.shares["unknown"].window == 1 / len(classes.table)


def test_parquet_files_and_spools_give_the_same_report(
    classes: LoggedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    write_labels(classes)
    command = ["monitor", str(classes.log), "--labels", str(classes.labels), "--store", str(classes.store)]
    said = []
    for _ in range(2):
        page = classes.root / "report.html"
        assert main([*command, "--out", str(page)]) == 0
        said.append((capsys.readouterr().out, page.read_text()))
        convert_spools(classes.log, 1 << 40)
    assert said[0] == said[1]
    out, page_text = said[0]
    assert "2,400 of them have a label (60.0%)" in out
    assert "drift since training: income (PSI " in out
    assert "<h2>Calibration of people@1</h2>" in page_text
    assert "prefers-color-scheme: dark" in page_text
    assert "default-src 'none'" in page_text
    assert not re.search(r"(src|href)=", page_text)


def test_labels_join_by_an_input_column(classes: LoggedModel, tmp_path: Path) -> None:
    model = classes
    table = model.table.drop_duplicates("income", keep=False)
    table[["income", "left"]].to_csv(tmp_path / "by-income.csv", index=False)
    report = report_on(model, tmp_path / "by-income.csv", on="income")
    assert report.labelled_rows == len(table)
    with pytest.raises(DataError, match="has no column 'nothing' to join by"):
        report_on(model, tmp_path / "by-income.csv", on="nothing")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["id,left", "r1,yes"], "has no column 'request_id' to join by; its columns are 'id', 'left'"),
        (["request_id,a,b", "r1,yes,no"], "has no column 'left'; --label names the column of labels out of"),
        (["request_id,row,left", "other,0,yes"], "none of its 1 request ids is in the log"),
        (["request_id,row,left", "r1,0,maybe"], "no label in column 'left' is a class of people@1: it has 'maybe'"),
        (["request_id,row,left", "r1,0,yes", "r1,0,no"], r"request 'r1', row 0, has two labels: 'yes' at line 2"),
        (["request_id,row,left", "r1,first,yes"], "line 2: 'first' in column 'row' is no number of a row"),
        (["request_id,left", "r1,yes"], "request 'r1' asked for several rows"),
        (["request_id,row,left"], "is no table of labels"),
        (["request_id,row,left", "r1,0,"], "has no label in column 'left'"),
        ([], "is no table of labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused_in_words(
    classes: LoggedModel, tmp_path: Path, lines: list[str], words: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=words):
        report_on(classes, path)


def test_values_that_are_no_numbers_are_refused(values: LoggedModel, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("request_id,row,spent\nr1,0,12.5\nr1,1,a lot\n")
    with pytest.raises(DataError, match=r"target 'spent' of bad\.csv: 'a lot' at line 3 is not a number"):
        report_on(values, path)


GERMAN = "request_id;row;spent\nr1;0;8.180\nr1;1;9.020\n"


def test_numbers_of_labels_are_read_as_in_training(tmp_path: Path) -> None:
    frame = people(300, 0).drop(columns="left")
    frame["spent"] = [f"{int(80 * spent):,}".replace(",", ".") for spent in frame["spent"]]  # 8.180 is 8180
    frame.to_csv(tmp_path / "people.csv", sep=";", decimal=",", index=False)
    trained = fit(tmp_path / "people.csv", target="spent", name="people", epochs=1, hidden_sizes=(4,))
    trained.publish(tmp_path / "store")
    model = log_answers(tmp_path, target="spent")
    model.labels.write_text(GERMAN)
    [version] = report_on(model, model.labels).versions
    assert version.labelled is not None
    assert version.labelled.truth.tolist() == [8180, 9020]


def test_numbers_with_two_readings_are_refused(values: LoggedModel, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(GERMAN)
    log, elsewhere = Selection(folder=values.log), tmp_path / "nowhere"
    source = LabelSource(path=tmp_path / "labels.csv")
    with pytest.raises(DataError, match=r"'8.180' at line 2 has two readings, 8.18 .* and 8180 .*--thousands"):
        monitor(log, source, store=elsewhere, by="all")
    for decimal, expected in ((".", [8.18, 9.02]), (",", [8180, 9020])):
        said = replace(source, reading=TextReading(decimal=decimal))
        [version] = monitor(log, said, store=elsewhere, by="all").versions
        assert version.labelled is not None
        assert version.labelled.truth.tolist() == expected


def test_what_does_not_match_is_told(classes: LoggedModel, tmp_path: Path) -> None:
    table = classes.table.head(50)[["id", "row", "left"]].rename(columns={"id": "request_id"})
    lines = (
        table.to_csv(index=False)
        + "r3,0,\nr4,0,unheard\n"
        + "absent,0,yes\n"
        + table.to_csv(index=False).splitlines()[1]
    )
    lines = lines.replace(*(table.to_csv(index=False).splitlines()[9], ""), 1)  # r4,0 gets the label `unheard` alone
    (tmp_path / "some.csv").write_text(lines)
    report = report_on(classes, tmp_path / "some.csv")
    assert report.labelled_rows == 49
    assert report.remarks == [
        "1 of 51 labels belong to no row of the log.",
        "1 rows have a label that is no class of the model: 'unheard'.",
        "1 lines of some.csv have no label.",
        "1 lines of some.csv repeat an earlier line.",
    ]


def test_columns_that_are_left_out_are_left_out_of_drift(classes: LoggedModel, tmp_path: Path) -> None:
    (tmp_path / "store").symlink_to(classes.store)
    model = log_answers(tmp_path, left_out=("income", "town_"))
    report = monitor(Selection(folder=model.log), LabelSource(), store=model.store, by="all")
    [version] = report.versions
    assert version.drift is not None
    names = {movement.variable.name for movement in version.drift.movements}
    assert names == {"age", "town", "joined", "class", "confidence"}
    assert all(not m.flagged for m in version.drift.movements if m.variable.name in ("age", "town", "joined"))
    absent = monitor(Selection(folder=model.log), LabelSource(), store=tmp_path / "nowhere", by="all")
    assert absent.versions[0].drift is None
    assert "Drift of people@1 is not known" in absent.remarks[0]


def test_periods_and_spans_of_time(classes: LoggedModel, capsys: pytest.CaptureFixture[str]) -> None:
    write_labels(classes)
    span = ["--since", "2026-11-03", "--until", "2026-11-03T12:00", "--by", "hour"]
    assert main(["monitor", str(classes.log), *span, "--store", str(classes.store)]) == 0
    out = capsys.readouterr().out
    assert "people: 200 logged rows, 2026-11-03 00:00:00 to 2026-11-03 11:56:24 UTC" in out
    assert "2026-11-03 11:00" in out
    with pytest.raises(DataError, match="has no rows in this span of time; it has rows of people"):
        monitor(Selection(folder=classes.log, since=9e9), LabelSource(), store=classes.store, by="day")
    with pytest.raises(DataError, match="has no rows of other; it has rows of people"):
        monitor(Selection(folder=classes.log, model="other"), LabelSource(), store=classes.store, by="day")


def test_refusals_of_the_command(classes: LoggedModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitor", str(classes.root), "--store", str(classes.store)]) == 2
    assert "has no log of predictions: name the folder of AXON_PREDICTION_LOG" in capsys.readouterr().err
    assert main(["monitor", str(classes.log), "--on", "age", "--store", str(classes.store)]) == 2
    assert "are about the file of labels: name the file with --labels" in capsys.readouterr().err
    assert main(["monitor", str(classes.log), "--model", "people@best", "--store", str(classes.store)]) == 2
    assert "the log knows versions by number, such as people@3" in capsys.readouterr().err
    assert np.isfinite(classes.table["p1"]).all()
