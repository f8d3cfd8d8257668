"""`axon replay`: the same answers as direct predictions, the same version to the bit, and refusals in words."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from logged_models import LoggedModel, log_answers, people
from serving import make_checkpoint
from small_logs import log_rows

import axon
from axon.cli import main
from models.columns.cells import reason
from models.columns.column import CategoricalColumn, NumericColumn
from models.columns.schema import NumericTarget, Schema
from models.errors import DataError, Fault
from models.open_store import open_store
from models.signatures.keys import PrivateKey, new_key_pair
from models.signing import sign_version
from models.store import Store
from monitoring.refusals import Refusals
from monitoring.replay import ReplayReport, replay
from monitoring.selection import Selection
from training.fit import fit

INPUTS = ["age", "income", "town", "joined"]


def replayed(model: LoggedModel, reference: str, **more: object) -> ReplayReport:
    return replay(Selection(folder=model.log, **more), reference, store=model.store, by="day")


pytestmark = pytest.mark.filterwarnings("ignore:1 cell of column 'town' hold a category:UserWarning")


def direct(model: LoggedModel, reference: str) -> axon.Model:
    return axon.load(reference, store=model.store)


def test_another_version_answers_as_it_does_directly(classes: LoggedModel) -> None:
    report = replayed(classes, "people@2")
    expected = direct(classes, "people@2").predict_proba(classes.table[INPUTS])
    logged = classes.table[["p0", "p1"]].to_numpy()
    order = np.argsort(np.abs(expected[:, 1] - logged[:, 1]))[::-1]
    np.testing.assert_allclose(np.sort(report.differences), np.sort(np.abs(expected - logged).max(axis=1)), atol=2e-6)
    equal = expected.argmax(axis=1) == logged.argmax(axis=1)
    assert report.rows == len(equal)
    assert abs(int(report.agrees.sum()) - int(equal.sum())) <= 1
    crossed = pd.crosstab(logged.argmax(axis=1), expected.argmax(axis=1))
    assert abs(report.classes["no", "yes"] - crossed.loc[0, 1]) <= 1
    first = classes.table.iloc[order[0]]
    assert (report.most_different[0].request_id, report.most_different[0].row) == (first["id"], first["row"])
    assert report.most_different[0].inputs["town"] == first["town"]
    sizes = [row.difference for row in report.most_different]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == 20


def test_values_of_another_version(values: LoggedModel) -> None:
    report = replayed(values, "people@2")
    expected = np.array(direct(values, "people@2").predict(values.table[INPUTS]))
    differences = expected - values.table["value"].to_numpy()
    np.testing.assert_allclose(report.differences, differences, atol=1e-3)
    close = 0.01 * Store(values.store).resolve("people@2").load().checkpoint.schema.target.std
    assert abs(int(report.agrees.sum()) - int((np.abs(differences) <= close).sum())) <= 2
    shares = [share for _, _, share in report.by_period()]
    assert np.average(shares) == pytest.approx(report.agrees.mean())


def test_the_same_version_answers_the_same(classes: LoggedModel, capsys: pytest.CaptureFixture[str]) -> None:
    page = classes.root / "replay.html"
    command = ["replay", str(classes.log), "--model", "people@1", "--store", str(classes.store), "--out", str(page)]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "equal labels: 100.0% of 4,000 rows" in out
    report = replayed(classes, "people@1")
    assert report.differences.max() < 1e-6
    assert report.agrees.all()
    assert "<h2>Rows that differ most</h2>" in page.read_text()


def test_rows_that_the_version_refuses_are_told(classes: LoggedModel) -> None:
    model = classes
    frame = people(600, 9).drop(columns="spent")
    frame = frame[frame["town"] != "Åre"]
    from training.data.column_choices import ColumnChoices

    fit(
        frame, target="left", name="people", epochs=2, hidden_sizes=(8,), choices=ColumnChoices(unknown="refuse")
    ).publish(model.store)
    report = replayed(model, "people@3")
    others = ~model.table["town"].isin(["Ely", "Rye"])
    assert report.refused.rows == others.sum()
    assert report.rows == (~others).sum()
    assert any("column 'town'" in str(kind) and "Åre" in str(kind) for kind in report.refused.most_frequent(3))


def test_rows_whose_answer_overflows_are_refused_as_the_server_does(tmp_path: Path) -> None:
    target = NumericTarget(name="left", mean=0.0, std=1e38, minimum=-1e38, maximum=1e38)
    column = NumericColumn(name="id", mean=0.0, std=1.0, minimum=-9.0, maximum=9.0)
    log_rows(tmp_path / "log", [1, 5, -2, -4], [1e38] * 4, column=column, target=target)
    made = make_checkpoint(Schema(columns=(column,), target=target))
    [weight, bias] = [next(name for name in made.tensors if name.endswith(end)) for end in ("weight", "bias")]
    tensors = {weight: np.ones((1, 1), np.float32), bias: np.zeros(1, np.float32)}
    store = Store(tmp_path / "store")
    store.publish("small", dataclasses.replace(made, tensors=tensors))
    report = replay(Selection(folder=tmp_path / "log"), "small", store=store, by="day")
    assert (report.rows, report.refused.rows) == (2, 2)
    np.testing.assert_allclose(report.differences, [0, -3e38], rtol=1e-5)


def test_counts_of_refused_rows_are_bounded_by_the_columns_not_by_the_values() -> None:
    columns = [CategoricalColumn(name=name, categories=("Ely", "Rye")) for name in ("town", "work", "a", "b")]
    refusals = Refusals(columns)
    for number in range(5_000):
        cell = f"town {number}"
        refusals.add(Fault(number, "town", reason(columns[0], cell)))
    for name, rows in (("work", 3), ("a", 2), ("b", 1)):
        for row in range(rows):
            refusals.add(Fault(row, name, reason(columns[1], "Åre")))
    for row in range(40):
        refusals.add(Fault(row, "town", reason(columns[0], None)))
    assert refusals.rows == 5_046
    assert len(refusals) == 5
    town, missing, work = refusals.most_frequent(3)
    known = "is not a category of this column, which knows 'Ely', 'Rye'"
    assert (town.rows, str(town)) == (5_000, f"column 'town': \"town 0\" {known} (and other values)")
    assert (missing.rows, missing.varies) == (40, False)
    assert (work.rows, str(work)) == (3, f"column 'work': \"Åre\" {known}")


def test_what_cannot_be_replayed_is_refused_in_words(
    classes: LoggedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "store").symlink_to(classes.store)
    model = log_answers(tmp_path, left_out=("income",))
    words = "people@2 needs column 'income', which the log of people@1 does not have: AXON_PREDICTION_LOG_OMIT left it"
    with pytest.raises(DataError, match=words):
        replayed(model, "people@2")
    frame = people(300, 4)
    numbers = frame.assign(town=frame["income"] / 7).drop(columns=["spent", "income"])
    fit(numbers, target="left", name="other", epochs=2, hidden_sizes=(8,)).publish(model.store)
    with pytest.raises(DataError, match="column 'town' is a column of numbers for other@1, and a column of categories"):
        replayed(model, "other@1")
    fit(frame.drop(columns="left"), target="spent", name="money", epochs=2, hidden_sizes=(8,)).publish(model.store)
    with pytest.raises(DataError, match="money@1 predicts values, and people@1 in the log classes"):
        replayed(model, "money@1")
    command = ["replay", str(model.log), "--model", "people@9", "--store", str(model.store)]
    assert main(command) == 2
    assert "error: " in capsys.readouterr().err
    assert main(["replay", str(model.log), "--model", "other@1", "--store", str(model.store)]) == 2
    assert "has no rows of other; it has rows of people" in capsys.readouterr().err


def test_rows_of_a_part_of_an_ensemble_are_not_compared(classes: LoggedModel) -> None:
    from models.prediction_log.reading import read_log
    from monitoring import replay as module

    rows = next(read_log(classes.log))
    some = dataclasses.replace(rows, members=[2 if at < 10 else None for at in range(len(rows))])
    comparison = module._Comparison(
        module.ReplayedVersion("people@1", Store(classes.store).resolve("people@1").load().checkpoint), "day"
    )
    comparison.add(some)
    report = comparison.report()
    assert (report.left_out, report.rows) == (10, len(rows) - 10)


def test_models_come_from_a_bucket_and_signatures_are_demanded(
    classes: LoggedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AXON_STORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AXON_STORE", f"file://{tmp_path}/bucket")
    bucket = open_store(f"file://{tmp_path}/bucket")
    for number in (1, 2):
        bucket.publish("people", Store(classes.store).resolve(f"people@{number}").load().checkpoint)
    commands = {"replay": ["replay", str(classes.log), "--model", "people@2"], "monitor": ["monitor", str(classes.log)]}
    texts = {}
    for name, command in commands.items():
        outs = []
        for store in ([], ["--store", str(classes.store)]):
            assert main([*command, "--by", "all", *store]) == 0, capsys.readouterr().err
            outs.append(capsys.readouterr().out)
        texts[name] = outs[1]
        assert outs[0] == outs[1]
    assert "is not known" not in texts["monitor"]

    new_key_pair(tmp_path / "key")
    monkeypatch.setenv("AXON_TRUSTED_KEYS", str(tmp_path / "key.pub"))
    monkeypatch.setenv("AXON_REQUIRE_SIGNATURE", "true")
    assert main(commands["replay"]) == 2
    assert "people@2" in (said := capsys.readouterr().err)
    assert "not signed" in said or "no signature" in said
    assert main(commands["monitor"]) == 0
    assert "Drift of people@1 is not known" in capsys.readouterr().out
    for number in (1, 2):
        sign_version(bucket.resolve(f"people@{number}"), PrivateKey(tmp_path / "key"))
    for name, command in commands.items():
        assert main([*command, "--by", "all"]) == 0, capsys.readouterr().err
        assert capsys.readouterr().out == texts[name]
