"""Counts, durations and amounts: networks that learn the logarithm of the answer, by a deviance."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as oracle
from sklearn.linear_model import GammaRegressor, PoissonRegressor

from models.answering import Answerer
from models.errors import ConfigError, DataError
from models.store import Store
from training.cli import main
from training.data.column_choices import ColumnChoices
from training.data.inspection import inspect_table
from training.data.preprocessing import fit_schema
from training.data.source import read_source
from training.engines.network.losses import GammaDeviance, PoissonDeviance
from training.fit import fit
from training.metrics import constant_answers, evaluate
from training.reporting.sentences import beside_constant
from training.resume import ResumeFile
from training.search.trials.run import search
from training.search.trials.standard_errors import standard_error
from training.sources import read_table

pytestmark = pytest.mark.slow

RUN = {"recipe": "default", "hidden_sizes": (32, 32), "epochs": 60, "batch_size": 64}
DEVIANCES = {"poisson": oracle.mean_poisson_deviance, "gamma": oracle.mean_gamma_deviance}
LOSSES = {"poisson": PoissonDeviance(largest=50.0), "gamma": GammaDeviance()}


def visits(rows: int = 1200, seed: int = 0) -> pd.DataFrame:
    """Makes counts whose logarithm is no linear function of the features."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": rng.uniform(-2, 2, rows), "b": rng.uniform(-2, 2, rows)})
    return frame.assign(y=rng.poisson(np.exp(np.sin(2 * frame.a) + frame.b)))


def waits(rows: int = 1200, seed: int = 0) -> pd.DataFrame:
    """Makes durations from seconds to days."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": rng.uniform(-2, 2, rows), "b": rng.uniform(-2, 2, rows)})
    return frame.assign(y=600 * np.exp(2 * np.abs(frame.a) + frame.b) * rng.gamma(4, 0.25, rows))


TABLES = {"poisson": visits, "gamma": waits}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("metric", ["poisson", "gamma"])
def test_the_loss_is_scikit_learns_deviance_and_its_gradient_autograds(metric: str, weighted: bool) -> None:
    rng = np.random.default_rng(0)
    out = rng.normal(size=(2, 50, 1))
    target = rng.poisson(2, size=(2, 50)).astype(float) if metric == "poisson" else rng.gamma(2, size=(2, 50))
    weight = rng.uniform(0.5, 2, size=(2, 50)) if weighted else None
    given, weights = torch.tensor(out), None if weight is None else torch.tensor(weight)
    found = LOSSES[metric](given, torch.tensor(target), weights, gradient=True)
    for member in range(2):
        each = [DEVIANCES[metric]([t], [np.exp(o)]) for t, o in zip(target[member], out[member, :, 0], strict=True)]
        assert found[member].item() == pytest.approx(np.mean(each if weight is None else each * weight[member]))
    leaf = torch.tensor(out, requires_grad=True)
    rate, y = torch.exp(leaf[..., 0]), torch.tensor(target)
    each = 2 * (rate - y * leaf[..., 0]) if metric == "poisson" else 2 * (y / rate + leaf[..., 0])
    (each if weights is None else each * weights).mean(dim=1).sum().backward()
    torch.testing.assert_close(given, leaf.grad)


@pytest.mark.parametrize("loss", LOSSES.values())
@pytest.mark.parametrize("far", [-1e4, 1e4])
def test_an_output_far_away_has_a_finite_loss_and_a_gradient_that_leads_back(loss, far: float) -> None:
    out = torch.full((1, 3, 1), far)
    found = loss(out, torch.ones(1, 3), None, gradient=True)
    assert torch.isfinite(found).all()
    assert torch.isfinite(out).all()
    assert (out * far > 0).all()


@pytest.mark.parametrize(
    "options", [{}, {"members": 2, "folds": True}, {"members": 2, "portfolio": True, "folds": True}]
)
@pytest.mark.parametrize("metric", ["poisson", "gamma"])
def test_a_network_is_better_than_the_linear_model_of_its_deviance(metric: str, options: dict) -> None:
    table = TABLES[metric]()
    model = fit(table, target="y", **RUN, metric=metric, **options)
    train, test = (table.iloc[getattr(model.split, part)] for part in ("train", "test"))
    answers = np.array(model.predict(test[["a", "b"]]))
    figures = model.metrics["test"]
    assert figures[f"{metric}_deviance"] == pytest.approx(DEVIANCES[metric](test.y, answers), rel=1e-4)
    assert figures["mae"] == pytest.approx(oracle.mean_absolute_error(test.y, answers), rel=1e-4)
    linear = (PoissonRegressor() if metric == "poisson" else GammaRegressor()).fit(train[["a", "b"]], train.y)
    assert figures[f"{metric}_deviance"] < 0.9 * DEVIANCES[metric](test.y, linear.predict(test[["a", "b"]]))
    assert (answers > 0).all()
    assert model.checkpoint.config.output == "exponential"


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("metric", ["poisson", "gamma"])
def test_a_short_run_of_the_recipe_learns_and_never_runs_away(metric: str, seed: int) -> None:
    table = TABLES[metric](500, seed)
    model = fit(table, target="y", metric=metric, epochs=40, seed=seed)
    assert max(model.trained.history["train_loss"]) < 100 * model.trained.history["train_loss"][0]
    assert model.metrics["test"][f"{metric}_deviance"] < 0.5 * model.constant_metrics()[f"{metric}_deviance"]


def test_few_different_counts_are_values_too() -> None:
    table = visits(400).assign(y=lambda frame: frame.y.clip(upper=3))
    assert fit(table, target="y", **RUN | {"epochs": 1}).table.task == "classification"
    assert fit(table, target="y", **RUN | {"epochs": 1}, metric="poisson").table.task == "regression"


@pytest.mark.parametrize("metric", ["poisson", "gamma"])
def test_the_unit_of_the_target_makes_no_difference(metric: str) -> None:
    table = TABLES[metric](400)
    run = RUN | {"epochs": 8}
    small = fit(table, target="y", **run, metric=metric)
    large = fit(table.assign(y=table.y * 2.0**20), target="y", **run, metric=metric)
    rows = table[["a", "b"]]
    np.testing.assert_allclose(large.predict(rows), np.array(small.predict(rows)) * 2.0**20, rtol=1e-5)
    scale = 2.0**20 if metric == "poisson" else 1
    figure = f"{metric}_deviance"
    assert large.metrics["test"][figure] == pytest.approx(small.metrics["test"][figure] * scale, rel=1e-4)


def test_rows_of_weight_two_count_twice_in_the_mean() -> None:
    table = visits(300).assign(w=1.0)
    table.loc[table.y > 3, "w"] = 2.0
    model = fit(table, target="y", choices=ColumnChoices(weight="w"), **RUN | {"epochs": 1}, metric="poisson")
    train = table.iloc[model.split.train]
    assert model.checkpoint.schema.target.std == pytest.approx(np.average(train.y, weights=train.w))


@pytest.mark.parametrize(
    ("metric", "values", "message"),
    [
        ("poisson", [3, -1], r"target 'y' has -1 in row 2 \(100 such rows in all\): --metric rmse takes any number"),
        ("gamma", [0, 5], r"'y' has 0 in row 1 \(100 such rows in all\): --metric poisson takes 0 too"),
        ("gamma", [2, -5], r"'y' has -5 in row 2 .*: --metric rmse takes any number"),
    ],
)
def test_a_target_that_is_none_is_refused_with_the_row_and_the_remedy(metric: str, values: list, message: str) -> None:
    table = pd.DataFrame({"a": np.arange(200.0), "y": values * 100})
    with pytest.raises(ConfigError, match=message):
        fit(table, target="y", **RUN, metric=metric)
    with pytest.raises(ConfigError, match=message):
        search(table, target="y", metric=metric, trials=1)


def test_words_are_no_counts() -> None:
    table = pd.DataFrame({"a": np.arange(200.0), "y": ["few", "many"] * 100})
    with pytest.raises(DataError, match="'y'"):
        fit(table, target="y", **RUN, metric="poisson")


def test_a_training_part_of_zeros_is_refused() -> None:
    frame = pd.DataFrame({"a": np.arange(200.0), "y": [0.0] * 100 + [5.0] * 100})
    table, _ = read_table(frame, target="y", settings={"metric": "poisson"})
    with pytest.raises(DataError, match="target 'y' is 0 in every row of the training part"):
        fit_schema(table, np.arange(100), target_scaling="mean")


def test_the_other_engines_refuse_the_metric() -> None:
    with pytest.raises(ConfigError, match="has no metric='poisson': use --engine torch"):
        fit(visits(100), target="y", engine="linear", metric="poisson")


def test_a_published_model_answers_with_the_same_values_and_bounds_from_zero_on(tmp_path) -> None:
    table = visits(600)
    model = fit(table, target="y", name="visits", **RUN | {"epochs": 10}, metric="poisson")
    version = model.publish(tmp_path)
    checkpoint = Store(tmp_path).load(version.name).checkpoint
    rows = table[["a", "b"]].head(50)
    answerer = Answerer(checkpoint)
    assert answerer.predict(rows) == model.predict(rows)
    covered = answerer.covered(np.array(model.predict(rows), dtype=np.float32)[:, None], 0.9)
    assert covered.intervals is not None
    assert (covered.intervals[:, 0] >= 0).all()
    assert (covered.intervals[:, 0] == 0).any()


def test_a_student_of_an_ensemble_learns_the_logarithm_too() -> None:
    table = visits(800)
    model = fit(table, target="y", **RUN | {"epochs": 30}, metric="poisson", members=3, distill=True)
    constant = model.constant_metrics()["poisson_deviance"]
    assert model.checkpoint.config.members == 1
    assert model.metrics["test"]["poisson_deviance"] < 0.7 * constant


def test_a_run_resumes_to_the_same_bytes(tmp_path) -> None:
    path, seen = tmp_path / "state.safetensors", []
    run = {"target": "y", **RUN, "epochs": 6, "metric": "gamma", "members": 2}
    whole = fit(waits(200), **run)
    fit(waits(200), **run, keep=ResumeFile(path), on_epoch=seen.append, should_stop=lambda: len(seen) == 3)
    again = fit(waits(200), **run, keep=ResumeFile(path), resume=True)
    assert again.checkpoint.header() == whole.checkpoint.header()


def test_the_constant_answer_is_the_mean_and_is_judged_by_the_deviance() -> None:
    model = fit(visits(400), target="y", **RUN | {"epochs": 10}, metric="poisson")
    truth = model.table.target[model.split.test]
    mean = model.table.target[model.split.train].mean()
    expected = oracle.mean_poisson_deviance(truth, np.full(len(truth), mean))
    assert model.constant_metrics()["poisson_deviance"] == pytest.approx(expected)
    assert "the training part's mean, has Poisson deviance" in beside_constant(model)


def test_answers_below_zero_have_no_deviance() -> None:
    truth = np.array([1.0, 2.0])
    found = evaluate("linear", np.array([[1.0], [-1.0]]), truth, metric="poisson")
    assert "poisson_deviance" not in found
    assert "poisson_deviance" in evaluate("linear", constant_answers(truth, 2, classes=0), truth, metric="poisson")


def test_a_search_ranks_by_the_deviance_with_its_standard_error() -> None:
    settings = {"epochs": 3, "hidden_sizes": (8,)}
    result = search(waits(300), target="y", metric="gamma", trials=2, settings=settings)
    assert result.metric == "gamma_deviance"
    model = fit(waits(300), target="y", **RUN | {"epochs": 3}, metric="gamma")
    rows = model.split.validation
    answers = np.array(model.predict(waits(300).iloc[rows][["a", "b"]]))
    each = np.array(
        [oracle.mean_gamma_deviance([t], [a]) for t, a in zip(model.table.target[rows], answers, strict=True)]
    )
    assert standard_error(model, "gamma_deviance") == pytest.approx(each.std(ddof=1) / np.sqrt(len(rows)), rel=1e-3)


def test_the_command_trains_and_inspect_names_the_metric(tmp_path, capsys) -> None:
    counts, durations = tmp_path / "counts.csv", tmp_path / "durations.csv"
    visits(400).to_csv(counts, index=False)
    waits(400).to_csv(durations, index=False)
    line = ["fit", str(counts), "--target", "y", "--metric", "poisson", "--epochs", "2", "--hidden", "8", "--json"]
    assert main([*line, "--store", str(tmp_path / "store")]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["test"]["poisson_deviance"] > 0
    for path, metric in ((counts, "poisson"), (durations, "gamma")):
        found = inspect_table(read_source(path), target="y", task="regression")
        remarks = next(column.remarks for column in found.columns if column.name == "y")
        assert any(f"--metric {metric}" in remark for remark in remarks)


def test_a_refused_row_is_named_by_its_number_in_its_own_file() -> None:
    good = pd.DataFrame({"a": np.arange(200.0), "y": 3.0})
    good.loc[::2, "y"] = 4.0
    wrong = good.copy()
    wrong.loc[6, "y"] = -1
    with pytest.raises(ConfigError, match=r"has -1 in row 7 of the test file \("):
        fit(good, target="y", test=wrong, **RUN, metric="poisson")
    wrong.loc[[0, 3], "y"] = np.nan
    choices = ColumnChoices(drop_missing_target=True)
    with pytest.raises(ConfigError, match=r"has -1 in row 7 \("):
        fit(wrong, target="y", choices=choices, **RUN, metric="poisson")
    with pytest.raises(ConfigError, match=r"has -1 in row 7 of the test file \("):
        fit(good, target="y", test=wrong, choices=choices, **RUN, metric="poisson")
