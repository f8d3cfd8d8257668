"""Intervals and sets of real tables' models contain the truth as often as asked, counted on rows unknown to the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import axon
from benchmarks.coverage import TABLES, RealTable, coverages
from models.checkpoint import load_checkpoint, save_checkpoint
from models.errors import ConfigError
from training.data.column_choices import ColumnChoices

LEVELS = (0.8, 0.9)
# The coverage of one split varies by √(level · (1 - level) · (1/calibration rows + 1/counted rows)), which is 4 points
# for diabetes and 7 for iris. With so many splits, the mean has a standard error of at most 1 point.
SPLITS = {"diabetes": 40, "wine": 50, "iris": 50, "breast cancer": 30, "digits": 12}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@pytest.mark.slow
def test_the_truth_is_covered_as_often_as_asked(table: RealTable) -> None:
    runs = [list(coverages(table, seed, LEVELS, engine="linear")) for seed in range(SPLITS[table.name])]
    for level, of_level in zip(LEVELS, zip(*runs, strict=True), strict=True):
        covered = np.mean([run.share for run in of_level])
        assert abs(covered - level) <= 0.02, (level, covered)


def test_a_model_carries_the_errors_of_its_test_part(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=200)})
    frame["y"] = 3 * frame["x"] + rng.normal(size=200)
    model = axon.fit(frame, target="y", name="line", engine="linear")
    conformal = model.checkpoint.conformal
    assert conformal is not None
    # The standard error of the test part is the root of the mean square of the scores that the model carries.
    assert conformal.rows == model.metrics["test"]["rows"] == 30
    assert np.sqrt(np.mean(conformal.scores**2)) == pytest.approx(model.metrics["test"]["rmse"], rel=1e-5)
    save_checkpoint(model.checkpoint, tmp_path / "model.safetensors")
    again = load_checkpoint(tmp_path / "model.safetensors").checkpoint.conformal
    assert again is not None
    assert again.to_dict() == conformal.to_dict()


def test_rows_of_weight_0_do_not_calibrate() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=200), "y": rng.normal(size=200), "w": rng.integers(0, 2, size=200)})
    model = axon.fit(frame, target="y", name="line", engine="linear", choices=ColumnChoices(weight="w"))
    conformal = model.checkpoint.conformal
    assert conformal is not None
    assert 0 < conformal.rows < model.metrics["test"]["rows"]


def test_a_model_without_a_test_part_refuses_intervals() -> None:
    xor = axon.fit("xor", name="xor", epochs=2)
    with pytest.raises(ConfigError, match="has no calibration rows"):
        xor.predict([[0, 0]], intervals=0.5)
    assert xor.predict([[0, 0]])


def test_an_answer_with_intervals_has_the_predictions_of_one_without() -> None:
    iris = axon.fit("iris", name="iris", engine="linear")
    rows = [[5.9, 3.0, 4.9, 1.7], [5.1, 3.5, 1.4, 0.2]]
    covered = iris.predict(rows, intervals=0.9)
    assert list(covered) == iris.predict(rows)
    assert list(covered.columns()) == ["prediction", "set"]
    assert covered.sets is not None
    assert all(label in labels for label, labels in zip(covered, covered.sets, strict=True))
    assert iris.predict(np.zeros((0, 4)), intervals=0.9).sets == []
    with pytest.raises(ConfigError, match=r"intervals is 0.99, and \d+ calibration rows support levels up to 0.9"):
        iris.predict(rows, intervals=0.99)


def test_damaged_scores_are_refused(tmp_path: Path) -> None:
    checkpoint = axon.fit("iris", name="iris", engine="linear").checkpoint
    assert checkpoint.conformal is not None
    wrong = replace(checkpoint.conformal, scores=checkpoint.conformal.scores[::-1])
    save_checkpoint(replace(checkpoint, conformal=wrong), tmp_path / "model.safetensors")
    with pytest.raises(Exception, match="scores of conformal are not ascending"):
        load_checkpoint(tmp_path / "model.safetensors")
