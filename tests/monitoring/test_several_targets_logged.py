"""`axon monitor` and `axon replay` of a model with several targets, against scikit-learn and NumPy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from serving import SEVERAL, make_checkpoint, numeric
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from axon.cli import main
from models.answering import Answerer
from models.columns.encoding import RowEncoder
from models.columns.schema import Schema
from models.errors import DataError
from models.prediction_log.folder import SPOOLS, new_spool
from models.prediction_log.logged_rows import EncodedRows, rows_record, version_record
from models.prediction_log.logged_version import LoggedVersion
from models.prediction_log.spool import MAGIC
from models.store import Store
from monitoring.monitor import LabelSource, MonitorReport, monitor
from monitoring.replay import ReplayReport, replay
from monitoring.selection import Selection
from monitoring.training_facts import _test_metrics

ROWS = 300
STDS = np.array([target.std for target in SEVERAL.targets])
SCHEMA = Schema(columns=(numeric("a"), numeric("b")), target=SEVERAL)


@dataclass
class Logged:
    """A log with its rows and answers.

    Attributes:
        root: folder with `store` and `log`.
        x: `(rows, 2)` inputs.
        answers: `(rows, 3)` logged answers.
    """

    root: Path
    x: np.ndarray
    answers: np.ndarray

    @property
    def selection(self) -> Selection:
        """All rows of the log."""
        return Selection(folder=self.root / "log")


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """Logs the answers of `homes@1`; the store has `homes@2`, and `rent@1` with one target."""
    root = tmp_path_factory.mktemp("homes")
    store = Store(root / "store")
    facts = {"rows": 9, "r2": 0.5, "rmse": 0.7, "targets": {"sold": {"r2": 0.25, "rmse": 2e6}}}
    for seed in (0, 1):
        store.publish("homes", replace(make_checkpoint(SCHEMA, 8, seed=seed), metrics={"test": facts}))
    store.publish("rent", make_checkpoint(Schema(columns=SCHEMA.columns, target=SEVERAL.targets[0]), 8))
    version = store.resolve("homes@1")
    x = np.random.default_rng(5).normal(0.3, 1.7, (ROWS, 2))
    answers = np.asarray(Answerer(version.load().checkpoint).answers(x), dtype=np.float64)
    about = LoggedVersion(
        name="homes",
        version=1,
        digest=version.read_header()["digest"],
        columns=SCHEMA.columns,
        left_out=0,
        target=SEVERAL,
        has_probabilities=False,
    )
    rows = EncodedRows(
        times=1.8e9 + np.arange(ROWS) * 600.0,
        request_ids=[f"r{row}" for row in range(ROWS)],
        places=np.zeros(ROWS, dtype=np.int32),
        asked=[None] * ROWS,
        members=[None] * ROWS,
        rows=RowEncoder(SCHEMA).encode_matrix(x.tolist()),
        answers=(answers - about.origin).astype(np.float32),
        unknown=[],
    )
    (root / "log" / SPOOLS).mkdir(parents=True)
    new_spool(root / "log", "api").write_bytes(MAGIC + version_record(0, about) + rows_record(0, rows))
    return Logged(root, x, answers)


def truth(logged: Logged) -> pd.DataFrame:
    """Returns labels of all targets: the answers with noise."""
    noise = np.random.default_rng(6).normal(size=logged.answers.shape) * STDS * [0.1, 0.5, 1]
    frame = pd.DataFrame(logged.answers + noise, columns=SEVERAL.names)
    return frame.assign(request_id=[f"r{row}" for row in range(ROWS)])


def monitored(logged: Logged, **source: object) -> MonitorReport:
    return monitor(logged.selection, LabelSource(**source), store=logged.root / "store", by="day")


@pytest.mark.parametrize("place", range(3))
def test_the_metrics_of_a_target_are_those_of_scikit_learn(logged: Logged, place: int, tmp_path: Path) -> None:
    labels = truth(logged).head(200)
    labels.to_csv(tmp_path / "labels.csv", index=False)
    name = SEVERAL.names[place]
    report = monitored(logged, path=tmp_path / "labels.csv", target=name)
    (version,) = report.versions
    assert version.labelled is not None
    found = version.labelled.metrics()
    true, told = labels[name].to_numpy(), logged.answers[:200, place]
    assert found["r2"] == pytest.approx(r2_score(true, told), abs=1e-4)
    assert found["rmse"] == pytest.approx(root_mean_squared_error(true, told), rel=1e-3)
    assert found["mae"] == pytest.approx(mean_absolute_error(true, told), rel=1e-3)
    assert f"The labels and the metrics are those of '{name}'" in "".join(report.remarks)


def test_the_command_writes_a_report_of_one_target(
    logged: Logged, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth(logged).to_csv(tmp_path / "labels.csv", index=False)
    command = ["monitor", str(logged.root / "log"), "--labels", str(tmp_path / "labels.csv")]
    command += ["--store", str(logged.root / "store"), "--out", str(tmp_path / "report.html")]
    assert main(command) == 2
    assert "homes@1 predicts several targets: name the one whose labels" in capsys.readouterr().err
    assert main([*command, "--label", "cost"]) == 0  # a target's name is enough
    assert "those of 'cost', one of 'rent', 'sold', 'cost'" in capsys.readouterr().out
    assert main([*command, "--target", "price"]) == 2
    assert "homes@1 does not predict 'price'; its targets are 'rent', 'sold', 'cost'" in capsys.readouterr().err
    assert main([*command, "--label", "cost", "--target", "rent"]) == 2
    assert "the labels 'cost' (--label) are those of another target than 'rent'" in capsys.readouterr().err
    assert main([*command[:2], "--target", "rent"]) == 2
    assert "about the file of labels" in capsys.readouterr().err


def test_the_test_part_is_that_of_the_target(logged: Logged) -> None:
    header = Store(logged.root / "store").resolve("homes@1").read_header()
    assert _test_metrics(header, "sold") == {"r2": 0.25, "rmse": 2e6}
    assert _test_metrics(header, "rent") == {}
    assert _test_metrics(header, None) == {"rows": 9, "r2": 0.5, "rmse": 0.7}


def test_without_labels_no_target_is_asked_for(logged: Logged) -> None:
    report = monitored(logged)
    assert report.rows == ROWS
    assert report.labelled_rows == 0


def replayed(logged: Logged, reference: str) -> ReplayReport:
    return replay(logged.selection, reference, store=logged.root / "store", by="day")


def test_the_same_version_answers_the_same(logged: Logged) -> None:
    report = replayed(logged, "homes@1")
    assert report.agrees.all()
    assert np.abs(report.differences).max() < 1e-5


def test_another_version_differs_by_its_most_different_target(
    logged: Logged, capsys: pytest.CaptureFixture[str]
) -> None:
    report = replayed(logged, "homes@2")
    other = np.asarray(Answerer(Store(logged.root / "store").resolve("homes@2").load().checkpoint).answers(logged.x))
    apart = (other - logged.answers) / STDS
    worst = np.abs(apart).argmax(axis=1)
    np.testing.assert_allclose(report.differences, apart[np.arange(ROWS), worst], atol=1e-5)
    assert report.agrees.sum() == (np.abs(apart).max(axis=1) <= 0.01).sum()
    first = report.most_different[0]
    row = int(np.abs(apart).max(axis=1).argmax())
    assert first.request_id == f"r{row}"
    assert first.before.split()[0] == SEVERAL.names[worst[row]]
    assert float(first.now.split()[1]) == pytest.approx(other[row, worst[row]], rel=1e-6)
    command = ["replay", str(logged.root / "log"), "--model", "homes@2", "--store", str(logged.root / "store")]
    assert main(command) == 0
    assert "values within 0.01 standard deviations: " in capsys.readouterr().out


def test_other_targets_cannot_be_compared(logged: Logged) -> None:
    with pytest.raises(
        DataError, match=r"rent@1 predicts one target, and homes@1 in the log the targets 'rent', 'sold'"
    ):
        replayed(logged, "rent@1")
