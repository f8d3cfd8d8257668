"""A search writes a page with its trials and the report of the best one, and a report beside the published model."""

import re

import numpy as np
import pytest

from models.store import Store
from training.cli import main
from training.fit import fit
from training.reporting.restored import restored

SEARCH = ["--epochs", "2", "--hidden", "4", "--quiet", "--vary", "learning_rate=0.001..0.1:log", "--trials", "3"]


@pytest.fixture
def searched(tmp_path):
    store, folder = tmp_path / "store", tmp_path / "searches"
    line = ["search", "iris", "--store", str(store), "--folder", str(folder), *SEARCH]
    return line, store, folder / "iris"


def test_the_page_has_the_trials_and_the_winners_report(searched):
    line, store, folder = searched
    assert main(line) == 0
    page = (folder / "search.html").read_text(encoding="utf-8")
    for heading in ("What came of it", "Trials", "Learning curves", "Metrics", "Classes", "Which columns matter"):
        assert f"<h2>{heading}</h2>" in page
    assert "The winner is published as iris@1." in page
    assert len(re.findall(r'<tr><th scope="row">\d+(?: \(defaults\))?</th><td>[\d.]+ ± ', page)) == 3
    assert "<script" not in page
    published = store / "iris" / "1"
    assert {path.name for path in published.iterdir()} == {"model.safetensors", "report.html", "README.md"}
    # The report's metrics are those of the checkpoint: the split was drawn again with the same result.
    accuracy = Store(store).load("iris@1").checkpoint.metrics["test"]["accuracy"]
    assert f"{accuracy:.4f}" in page or f"{accuracy:.3f}" in page


def test_what_is_not_published_has_a_page_too(searched):
    line, store, folder = searched
    assert main([*line, "--no-publish"]) == 0
    assert "The winner is not published." in (folder / "search.html").read_text(encoding="utf-8")
    assert not store.exists()


@pytest.mark.slow
def test_a_page_that_cannot_be_written_costs_no_model(searched, capsys):
    line, store, folder = searched
    (folder / "search.html").mkdir(parents=True)
    (folder / "search.html" / "x").touch()
    assert main([argument for argument in line if argument != "--quiet"]) == 0
    assert "warning: the search has no page: " in capsys.readouterr().err
    assert Store(store).load("iris@1")


def test_a_population_leaves_a_report_beside_its_model(searched):
    line, store, _ = searched
    assert main([*line[: line.index("--vary")], "--population", "2"]) == 0
    assert (store / "iris" / "1" / "report.html").exists()


def test_a_restored_model_has_the_parts_of_the_run():
    model = fit("iris", epochs=2, seed=5)
    again = restored(model.checkpoint, model.table)
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(again.split, part), getattr(model.split, part))
    assert again.notes == model.notes
    assert again.trained.history["train_loss"] == pytest.approx(model.trained.history["train_loss"], rel=1e-6)
