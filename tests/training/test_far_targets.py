"""A target far from 0 is learned and predicted as well as one near 0, although float32 rounds its values."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, r2_score

from models.columns.schema import NumericTarget
from models.errors import DataError
from training.cli import main
from training.data.column_choices import ColumnChoices
from training.data.split import PARTS
from training.fit import fit
from training.fitted_model import FittedModel
from training.reporting.baselines import compare
from training.reporting.comparison import PARTS as COMPARED
from training.reporting.evaluation import evaluation_of
from training.reporting.html import html_report
from training.reporting.importance import permutation_importance
from training.resume import ResumeFile
from training.search import search
from training.search.population.search import search_population
from training.sources import read_table

OFFSETS = (1e3, 1e6, 1e8, 1.7e9, -1.7e9, 1e12)
SETTINGS = {
    "classic": {"recipe": "classic", "hidden_sizes": (32,), "epochs": 8, "batch_size": 32, "learning_rate": 0.01},
    "default": {"hidden_sizes": (16,), "epochs": 5, "batch_size": 64},
    "ensemble": {"recipe": "classic", "hidden_sizes": (16,), "epochs": 8, "members": 2},
    "numpy": {"engine": "numpy", "recipe": "classic", "hidden_sizes": (16,), "epochs": 15, "normalization": "none"},
}


def table(offset: float, rows: int = 300) -> pd.DataFrame:
    """Makes three columns, and a target `offset` above a function of these with a standard deviation near 1."""
    x = np.random.default_rng(0).normal(size=(rows, 3))
    # Halves, quarters, … down to 2⁻¹⁰: the sum with any of the offsets is exact.
    y = np.round((np.sin(x[:, 0]) + 0.5 * x[:, 1] - 0.3 * x[:, 2]) * 1024) / 1024
    return pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": offset + y})


@cache
def fitted(offset: float, kind: str) -> FittedModel:
    return fit(table(offset), target="y", name="far", dropout=0.0, seed=1, **SETTINGS[kind])  # type: ignore[arg-type]


def answers(model: FittedModel) -> np.ndarray:
    return np.array(model.predict([model.table.example(int(row)) for row in model.split.test]))


@pytest.mark.parametrize("kind", SETTINGS)
def test_an_offset_changes_no_figure_and_no_difference_between_answers(kind: str) -> None:
    plain = fitted(0.0, kind)
    assert plain.metrics["test"]["r2"] > 0.3, "it learns something"
    # Adam's first steps are as long for a gradient of 1e-9 as for one of 1, so a mean rounded in its last bit becomes a
    # difference in the third digit. With plain gradient descent the difference stays small.
    room = 1e-3 if kind == "numpy" else 0.05
    for offset in OFFSETS if kind == "numpy" else (1.7e9,):
        model = fitted(offset, kind)
        room += 10 * np.spacing(abs(offset))
        truth = model.table.target[model.split.test]
        assert r2_score(truth - offset, answers(model) - offset) == pytest.approx(plain.metrics["test"]["r2"], abs=room)
        np.testing.assert_allclose(answers(model) - offset, answers(plain), atol=room)
        for part in PARTS:
            assert model.metrics[part] == pytest.approx(plain.metrics[part], abs=room), (offset, part)
        found = model.metrics["test"]
        assert found["r2"] == pytest.approx(r2_score(truth, answers(model)))
        assert found["mae"] == pytest.approx(mean_absolute_error(truth, answers(model)))


def test_an_offset_changes_neither_the_baselines_nor_the_evaluation() -> None:
    plain, far = fitted(0.0, "classic"), fitted(1.7e9, "classic")
    for ours, theirs in zip(compare(plain).baselines, compare(far).baselines, strict=True):
        for part in COMPARED:
            assert theirs.metrics[part] == pytest.approx(ours.metrics[part], abs=1e-2), (theirs.name, part)
    ours, theirs = evaluation_of(plain), evaluation_of(far)
    assert theirs.trivial == pytest.approx(ours.trivial, abs=1e-3)
    assert theirs.residuals is not None
    assert ours.residuals is not None
    assert theirs.residuals.median_absolute == pytest.approx(ours.residuals.median_absolute, abs=0.05)
    assert [found.column for found in theirs.importances] == [found.column for found in ours.importances]
    np.testing.assert_allclose(
        [found.mean for found in theirs.importances], [found.mean for found in ours.importances], atol=0.05
    )
    for error in theirs.largest_errors:
        assert isinstance(error.truth, float)
        assert abs(error.truth - error.answer) < 10  # type: ignore[operator]


def test_a_report_tells_values_far_from_zero_apart() -> None:
    model = fitted(1.7e9, "classic")
    evaluation = evaluation_of(model)
    page = html_report(model, "far@1", evaluation)
    shown = {value for pair in re.findall(r"<td>(1[67][0-9.]{8,})</td>", page) for value in [pair]}
    assert len(shown) == 2 * len(evaluation.largest_errors), "each true value and each answer by its own digits"
    assert "true value − 1,699,999," in page


def test_a_target_near_zero_is_answered_in_float32_as_ever() -> None:
    target = fitted(0.0, "classic").checkpoint.schema.target
    assert isinstance(target, NumericTarget)
    assert target.origin == 0


@pytest.mark.parametrize(
    "y",
    [
        pytest.param(1_700_000_000_000_000_000 + np.arange(200) * 1_000_000_007, id="nanoseconds"),
        pytest.param(2**24 + np.arange(200), id="beyond 2^24"),
        pytest.param(2**40 + np.arange(200), id="beyond 2^40"),
        pytest.param(1e-20 * (3 + np.arange(200.0)), id="tiny"),
        pytest.param(1e25 * (3 + np.arange(200.0)), id="huge"),
    ],
)
def test_whole_numbers_and_any_unit_are_learned(y: np.ndarray) -> None:
    frame = pd.DataFrame({"x": np.arange(200.0), "y": y})
    model = fit(frame, target="y", name="unit", **SETTINGS["classic"] | {"epochs": 40})  # type: ignore[arg-type]
    rows = model.split.test
    truth = np.asarray(y, dtype=np.float64)[rows]
    assert r2_score(truth, answers(model)) == pytest.approx(model.metrics["test"]["r2"])
    assert model.metrics["test"]["r2"] > 0.9


@pytest.mark.parametrize(
    ("y", "reason"),
    [
        (1.7e18 + 40 * np.arange(-29.0, 29.0), "subtract a constant"),
        ([1_700_000_000_000_000_000 + i for i in range(58)], "subtract a constant"),
        ([9_007_199_254_740_992_000 + i % 3 for i in range(58)], "subtract a constant"),
        (np.full(58, 1.7e18), "one value only"),
        (1e-40 * np.arange(58.0), "another unit"),
        (1e34 * np.arange(58.0), "another unit"),
        (1e300 * np.arange(1.0, 59.0), "too large"),
    ],
    ids=["float64 steps", "int64", "int64 that are one float64", "constant", "tiny", "vast", "beyond float32"],
)
def test_what_floating_point_does_not_hold_is_refused_in_one_sentence(y: object, reason: str) -> None:
    with pytest.raises(DataError, match=f"^target 'y'.*{reason}.*\\.$"):
        fit(pd.DataFrame({"x": np.arange(58.0), "y": y}), target="y", task="regression", name="t", epochs=1)


def test_an_importance_is_of_the_answers_that_it_is_given() -> None:
    """Scores float64 predictions in float64, which the other checks rely on."""
    truth = 1.7e9 + np.arange(100.0)
    x = np.arange(100.0, dtype=np.float32)[:, None]
    [found] = permutation_importance(
        lambda rows: rows.astype(np.float64) + 1.7e9,
        x,
        score=lambda values: r2_score(truth, values[:, 0]),
        blocks=[("x", slice(0, 1))],
        repeats=3,
        rng=np.random.default_rng(0),
    )
    assert found.mean > 1


def test_the_command_line_shows_the_range_and_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "far.csv"
    table(1.7e9).to_csv(path, index=False)
    assert main(["inspect", str(path), "--target", "y"]) == 0
    low, high = re.findall(r"1[67]\d{8}\.\d+", capsys.readouterr().out)
    assert float(low) < float(high)
    arguments = [
        "--epochs",
        "15",
        "--hidden",
        "32",
        "--recipe",
        "classic",
        "--learning-rate",
        "0.02",
        "--store",
        str(tmp_path / "store"),
    ]
    assert main(["fit", str(path), "--target", "y", *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["test"]["r2"] > 0.3


@pytest.mark.parametrize("offset", [1e12, -1.7e9])
def test_a_search_and_a_population_judge_alike_at_any_offset(offset: float) -> None:
    settings = {name: SETTINGS["classic"][name] for name in ("recipe", "hidden_sizes")} | {"epochs": 3, "dropout": 0.0}
    room = 0.05 + 10 * np.spacing(abs(offset))
    plain, far = (search(table(at, 120), target="y", trials=1, settings=settings) for at in (0.0, offset))
    assert far.winner.value == pytest.approx(plain.winner.value, abs=room)
    assert far.winner.error == pytest.approx(plain.winner.error, abs=room)
    assert far.checkpoint.metrics["test"] == pytest.approx(plain.checkpoint.metrics["test"], abs=room)
    first, second = (
        search_population(*read_table(table(at, 120), target="y", name="far", settings=settings), members=2, every=1)
        for at in (0.0, offset)
    )
    assert second.run.best_value == pytest.approx(first.run.best_value, abs=0.1)
    assert second.model.metrics["test"]["rmse"] == pytest.approx(first.model.metrics["test"]["rmse"], abs=0.1)


def test_an_interrupted_run_goes_on_to_the_same_answers(tmp_path: Path) -> None:
    def run(**how: object) -> FittedModel:
        return fit(table(1e12, 120), target="y", name="far", **SETTINGS["classic"], **how)  # type: ignore[arg-type]

    keep = ResumeFile(tmp_path / "far.safetensors")
    whole = run()
    epochs = iter(range(9))
    run(keep=keep, should_stop=lambda: next(epochs) == 2)
    resumed = run(keep=ResumeFile(tmp_path / "far.safetensors"), resume=True)
    assert resumed.trained.epochs_run == whole.trained.epochs_run
    assert answers(resumed).tolist() == answers(whole).tolist()


def test_weights_and_a_test_file_leave_a_far_target_as_it_is() -> None:
    """Expects the weighted mean of the training rows alone as the origin, with weights and a test file."""
    frame = table(1e12, 200).assign(w=np.arange(200) % 3 + 1.0)
    later = table(1e12, 60).assign(w=1.0)
    later["y"] += 3
    model = fit(
        frame,
        target="y",
        name="far",
        choices=ColumnChoices(weight="w"),
        test=later,
        **SETTINGS["classic"],  # type: ignore[arg-type]
    )
    train = model.split.train
    target = model.checkpoint.schema.target
    assert isinstance(target, NumericTarget)
    assert target.origin == pytest.approx(
        np.average(frame["y"].to_numpy()[train], weights=frame["w"].to_numpy()[train])
    )
    truth = model.table.target[model.split.test]
    assert model.metrics["test"]["r2"] == pytest.approx(r2_score(truth, answers(model)))
    assert len(set(answers(model))) > 50
