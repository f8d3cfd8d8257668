"""A report and a card are files beside the checkpoint: deleted together, and never an obstacle to a model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import training.commands.fit as fit_command
from models.store import Store
from training.cli import main
from training.config import OPTIONAL, TrainConfig
from training.fit import fit
from training.reporting.files import write_report

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
PAGES = {"model.safetensors", "report.html", "README.md"}


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("AXON_STORE", str(tmp_path / "store"))
    return Store(tmp_path / "store")


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.slow
def test_a_run_with_everything_in_a_process_of_its_own(tmp_path):
    pytest.importorskip("tensorboard")
    command = [sys.executable, "-m", "training", "fit", "iris", "--epochs", "3"]
    run = subprocess.run(
        [*command, "--baselines", "--tensorboard", "runs", "--publish", "always"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    lines = run.stdout.splitlines()
    assert lines[-1] == "published iris@1"
    assert lines[-3:-1] == ["checkpoints/iris/1/report.html", "checkpoints/iris/1/README.md"]
    assert "HistGradientBoostingClassifier" in run.stdout
    assert names(tmp_path / "checkpoints/iris/1") == PAGES
    assert names(tmp_path / "runs") == {"iris-1"}
    report = (tmp_path / "checkpoints/iris/1/report.html").read_text()
    assert "<h1>iris@1</h1>" in report
    assert "<h2>Baselines</h2>" in report


def test_a_version_with_its_pages_loads_lists_and_is_deleted_whole(store, capsys):
    assert main(["fit", "xor", "--quiet"]) == 0
    assert names(store.root / "xor/1") == PAGES
    assert store.load("xor").checkpoint.schema.target.name == "y"
    assert store.entry("xor").versions == (1,)
    assert main(["delete", "xor@1"]) == 0
    assert not (store.root / "xor/1").exists()
    assert not [name for name in names(store.root / "xor") if name.startswith(".publish")]


def test_no_report_writes_none(store, capsys):
    assert main(["fit", "xor", "--no-report", "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == {}
    assert names(store.root / "xor/1") == {"model.safetensors"}


def test_json_names_the_files_and_the_baselines(store, capsys):
    assert main(["fit", "iris", "--epochs", "2", "--quiet", "--json", "--baselines", "--publish", "always"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"] == {
        what: str(store.root / "iris/1" / name) for what, name in {"report": "report.html", "card": "README.md"}.items()
    }
    assert [baseline["estimator"] for baseline in told["baselines"]["baselines"]] == [
        "LogisticRegression",
        "HistGradientBoostingClassifier",
    ]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ZeroDivisionError("in a chart")])
def test_a_report_that_fails_is_a_warning_and_the_model_is_published(store, capsys, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(fit_command, "write_report", fail)
    assert main(["fit", "xor"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == "published xor@1"
    assert "warning: xor@1 has no report: " in told.err
    assert store.load("xor")


def test_a_disk_that_refuses_leaves_no_half_a_file(store, monkeypatch):
    def refuse(self, target):
        raise OSError(30, "Read-only file system")

    model = fit("xor")
    published = model.publish(store)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="Read-only"):
        write_report(model, published)
    assert names(published.path.parent) == {"model.safetensors"}


@pytest.mark.parametrize("dataset", ["xor", "parity", "iris", "diabetes"])
@pytest.mark.parametrize("engine", ["torch", "numpy"])
def test_every_kind_of_model_has_a_report_and_a_card(store, capsys, dataset, engine):
    assert main(["fit", dataset, "--engine", engine, "--epochs", "3", "--quiet"]) == 0
    folder = store.root / dataset / "1"
    assert names(folder) == PAGES
    assert capsys.readouterr().err == ""


def test_a_perceptron_has_neither_probabilities_nor_a_calibration(store, capsys):
    assert main(["fit", "and", "--engine", "perceptron", "--quiet", "--baselines", "--publish", "always"]) == 0
    report = (store.root / "and/1/report.html").read_text()
    assert "<h2>Calibration</h2>" not in report
    assert "Confusion matrix" in report
    assert capsys.readouterr().err == ""


def test_the_report_lists_parameters_beside_hyperparameters(store, capsys):
    assert main(["fit", "and", "--epochs", "2", "--quiet", "--learning-rate", "0.0125"]) == 0
    report = (store.root / "and/1/report.html").read_text()
    checkpoint = store.load("and").checkpoint
    saved = [name for name in TrainConfig.setting_names() if name not in OPTIONAL]
    section = report.split("<h2>Parameters and hyperparameters</h2>")[1].split("</section>")[0]
    learned, chosen, record = section.split("<caption>")[1:]
    assert all(f'<th scope="row">{name}</th>' in learned for name in checkpoint.config.tensor_shapes())
    assert all(f'<th scope="row">{name}</th>' in chosen for name in saved)
    assert '<th scope="row">learning_rate</th><td>0.0125</td>' in chosen
    assert '<th scope="row">epochs_run</th><td>2</td>' in record
    assert "epochs_run" not in chosen
