"""A run for a metric follows the metric: in its loss, its settings, its best epoch and the answers that are served."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as oracle

from models.answering import Answerer
from models.errors import ConfigError, DataError
from models.store import Store
from training.cli import main
from training.config import check_settings, resolve
from training.data.column_choices import ColumnChoices
from training.engines.network.losses import PinballLoss
from training.engines.selection import BalancedError, RankingError, area_under_roc
from training.fit import fit
from training.reporting.figures import figure
from training.reporting.sentences import beside_constant
from training.reporting.served import compare_with_served
from training.resume import ResumeFile

RUN = {"recipe": "default", "hidden_sizes": (16, 16)}


def classes(rows=600, seed=0, rare=1.2):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": rng.normal(size=rows), "b": rng.normal(size=rows)})
    return frame.assign(y=np.where(frame.a + 0.8 * rng.normal(size=rows) > rare, "yes", "no"))


def values(rows=800, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": rng.uniform(-1, 1, size=rows)})
    return frame.assign(y=3 * frame.a + rng.exponential(size=rows))


def test_settings_follow_the_metric_and_the_users_choices_stay():
    def of(metric, task="classification", **more):
        return resolve({"metric": metric, **more}, task=task)

    for metric, select_by in (("log-loss", "loss"), ("auc", "auc")):
        config = of(metric)
        assert (config.activation, config.label_smoothing, config.select_by) == ("mish", 0.0, select_by)
    plain = resolve({}, task="classification")
    assert (of("accuracy").activation, of("accuracy").label_smoothing) == (plain.activation, plain.label_smoothing)
    assert resolve({"metric": "accuracy"}, task="classification", shares=(0.95, 0.05)).select_by == "error"
    assert of("balanced-accuracy").select_by == "balanced-error"
    assert of("log-loss", label_smoothing=0.1, activation="relu").label_smoothing == 0.1
    assert of("auc", recipe="classic").activation == "relu"
    assert of("rmse", "regression").to_dict() == resolve({}, task="regression").to_dict() | {"metric": "rmse"}
    assert not {"metric", "quantile"} & set(plain.to_dict())


@pytest.mark.parametrize(
    ("settings", "task", "message"),
    [
        ({"metric": "mae"}, "classification", "metric mae is for values"),
        ({"metric": "auc"}, "regression", "metric auc is for classes"),
        ({"metric": "speed"}, "classification", "metric must be one of auc"),
        ({"metric": "quantile"}, "regression", "--metric quantile --quantile 0.9"),
        ({"quantile": 0.5}, "regression", "--metric quantile --quantile 0.9"),
        ({"metric": "quantile", "quantile": 1.0}, "regression", "between 0 and 1"),
        ({"metric": "f1", "bias": False}, "classification", "by a bias"),
        ({"metric": "f1", "class_weight": "balanced"}, "classification", "leave out --class-weight balanced"),
        ({"metric": "auc", "engine": "linear"}, "classification", "no metric='auc'"),
        ({"metric": "log-loss", "engine": "numpy"}, "classification", "no (metric|select_by)="),
        ({"select_by": "auc"}, "regression", "select_by=auc is for classes"),
    ],
)
def test_impossible_metrics_are_refused(settings, task, message):
    with pytest.raises(ConfigError, match=message):
        resolve(settings, task=task)


def test_settings_are_checked_before_the_table_is_read():
    check_settings({"metric": "quantile", "quantile": 0.9})
    check_settings({"metric": "auc"})
    with pytest.raises(ConfigError, match="select_by auc ranks two classes, and target 'species' has 3"):
        fit("iris", select_by="auc")
    with pytest.raises(ConfigError, match="metric auc ranks two classes, and target 'species' has 3"):
        fit("iris", recipe="default", metric="auc", epochs=1)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_area_under_the_curve_is_scikit_learns(weighted):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, size=300)
    scores = np.round(rng.normal(size=300) + truth, 1)  # with many ties
    weight = rng.integers(0, 4, size=300).astype(float) if weighted else np.ones(300)
    expected = oracle.roc_auc_score(truth, scores, sample_weight=weight)
    assert area_under_roc(scores, truth, weight) == pytest.approx(expected)
    figure = RankingError()
    out = np.stack([np.zeros(300), scores], axis=1)
    for part in (slice(0, 100), slice(100, 300)):
        figure.add(
            torch.tensor(np.stack([out[part], -out[part]])),
            torch.tensor(truth[None, part]),
            torch.tensor(weight[None, part]),
        )
    np.testing.assert_allclose(figure.result().numpy(), [1 - expected, expected], rtol=1e-5)
    assert area_under_roc(scores, np.zeros(300, dtype=int), weight) == 0.5


@pytest.mark.parametrize("shares", [(0.2, 0.5, 0.3), (0.0, 0.5, 0.5)], ids=str)
def test_the_balanced_error_is_scikit_learns_at_the_decision_for_equal_classes(shares):
    rng = np.random.default_rng(0)
    truth, out = rng.integers(0, 3, size=200), rng.normal(size=(2, 200, 3)).astype(np.float32)
    # A class without weight in training counts as a third of half a row of the 200: it is answered, but not always.
    logs = np.log(np.maximum(np.array(shares), 0.5 / 200 / 3)).astype(np.float32)
    out += logs
    weight = rng.integers(0, 3, size=200).astype(np.float32)
    figure = BalancedError(2, torch.tensor(shares, dtype=torch.float32), rows=200)
    for part in (slice(0, 64), slice(64, 200)):
        figure.add(torch.tensor(out[:, part]), torch.tensor(truth[None, part]), torch.tensor(weight[None, part]))
    for member in range(2):
        answers = (out[member] - logs).argmax(axis=1)
        expected = oracle.balanced_accuracy_score(truth, answers, sample_weight=weight)
        assert figure.result()[member].item() == pytest.approx(1 - expected, abs=1e-6)


def test_the_decision_for_f1_counts_rows_by_their_weight():
    frame = classes()
    frame["w"] = np.where(frame.a > 0, 3.0, np.random.default_rng(3).integers(0, 2, len(frame)))
    run = {**RUN, "epochs": 8, "choices": ColumnChoices(weight="w"), "select_by": "loss"}
    plain, model = (fit(frame, target="y", **run, **more) for more in ({}, {"metric": "f1"}))
    validation = model.split.validation
    honest = plain.predict_proba(frame[["a", "b"]].iloc[validation])[:, 1]
    truth, weight = plain.table.target[validation], frame.w.to_numpy()[validation]
    decision = model.checkpoint.training["decision"]
    spread = (decision["shift"][1] - decision["shift"][0]) / decision["strength"]

    def score(strength, **more):
        answers = honest >= 1 / (1 + np.exp(strength * spread))
        return oracle.f1_score(truth, answers, average="macro", **more)

    strengths = np.arange(0, 1.55, 0.05)
    best = max(score(strength, sample_weight=weight) for strength in strengths)
    assert score(decision["strength"], sample_weight=weight) == pytest.approx(best)
    unweighted = max(strengths, key=score)
    assert score(unweighted, sample_weight=weight) < best, "the weights make a difference in this table"


@pytest.mark.parametrize(("quantile", "scale"), [(0.9, 1.0), (0.2, 1.0), (0.5, 2.0)])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_pinball_loss_is_scikit_learns_and_its_derivative_is_autograds(quantile, scale, weighted):
    rng = np.random.default_rng(0)
    out, target = rng.normal(size=(2, 50, 1)), rng.normal(size=(2, 50))
    weight = rng.uniform(0.5, 2, size=(2, 50)) if weighted else None
    loss = PinballLoss(quantile, scale=scale)
    given = torch.tensor(out)
    found = loss(given, torch.tensor(target), None if weight is None else torch.tensor(weight), gradient=True)
    for member in range(2):
        each = [
            scale * oracle.mean_pinball_loss([t], [o], alpha=quantile)
            for t, o in zip(target[member], out[member, :, 0], strict=True)
        ]
        assert found[member].item() == pytest.approx(np.mean(each if weight is None else each * weight[member]))
    leaf = torch.tensor(out, requires_grad=True)
    error = torch.tensor(target) - leaf[..., 0]
    each = scale * torch.maximum(quantile * error, (quantile - 1) * error)
    (each if weight is None else each * torch.tensor(weight)).mean(dim=1).sum().backward()
    torch.testing.assert_close(given, leaf.grad)


@pytest.mark.slow
def test_a_quantile_and_an_absolute_error_are_learned():
    def answers(**settings):
        model = fit(values(), target="y", **RUN, epochs=60, batch_size=64, **settings)
        test = model.split.test
        return model, np.array(model.predict(values().iloc[test][["a"]])), model.table.target[test]

    high, high_answers, truth = answers(metric="quantile", quantile=0.9)
    low, low_answers, _ = answers(metric="quantile", quantile=0.1)
    middle, middle_answers, _ = answers(metric="mae")
    mean, mean_answers, _ = answers()
    figures = high.metrics["test"]
    assert figures["pinball_loss"] == pytest.approx(oracle.mean_pinball_loss(truth, high_answers, alpha=0.9), rel=1e-5)
    assert figures["share_below"] == pytest.approx((truth <= high_answers).mean())
    assert middle.metrics["test"]["mae"] == pytest.approx(oracle.mean_absolute_error(truth, middle_answers), rel=1e-5)
    assert 0.8 <= figures["share_below"] <= 0.98
    assert 0.02 <= low.metrics["test"]["share_below"] <= 0.25
    assert (low_answers < middle_answers).mean() > 0.95
    assert middle_answers.mean() < mean_answers.mean(), "the median of a skewed target is below its mean"
    assert "pinball_loss" not in mean.metrics["test"]
    assert any("0.9 quantile" in note for note in high.notes)


@pytest.mark.parametrize("members", [{}, {"members": 3, "folds": True}])
@pytest.mark.parametrize("metric", ["balanced-accuracy", "f1"])
def test_reported_figures_are_those_of_the_served_answers(metric, members, tmp_path):
    frame = classes()
    model = fit(frame, target="y", **RUN, **members, epochs=8, metric=metric)
    published = Store(tmp_path).load(model.publish(tmp_path).name)
    test = model.split.test
    served = Answerer(published.checkpoint).predict(frame.iloc[test][["a", "b"]])
    truth = frame.y.iloc[test]
    figures = model.metrics["test"]
    assert figures["f1_macro"] == pytest.approx(oracle.f1_score(truth, served, average="macro"))
    assert figures["accuracy"] == pytest.approx(oracle.accuracy_score(truth, served))
    if metric == "balanced-accuracy":
        assert figures["balanced_accuracy"] == pytest.approx(oracle.balanced_accuracy_score(truth, served))
        plain = fit(frame, target="y", **RUN, **members, epochs=8)
        answers = plain.predict(frame.iloc[test][["a", "b"]])
        assert figures["balanced_accuracy"] > oracle.balanced_accuracy_score(truth, answers)
        assert "balanced_accuracy" not in plain.metrics["test"]
    decision = published.checkpoint.training["decision"]
    assert decision["metric"] == metric
    assert any(f"for {metric}" in note for note in model.notes)


def test_the_threshold_of_one_network_is_that_of_its_honest_probability():
    frame = classes()
    run = {**RUN, "epochs": 8, "select_by": "loss"}
    plain, decided = (fit(frame, target="y", **run, **more) for more in ({}, {"metric": "f1"}))
    rows = frame[["a", "b"]]
    threshold = decided.checkpoint.training["decision"]["threshold"]
    several = fit(frame, target="y", **run, metric="f1", members=2).checkpoint.training["decision"]
    assert "threshold" not in several, "a mean of shifted probabilities has none"
    honest = plain.predict_proba(rows)[:, 1]
    clear = np.abs(honest - threshold) > 1e-4
    answers = np.array(decided.predict(rows)) == "yes"
    np.testing.assert_array_equal(answers[clear], (honest >= threshold)[clear])
    validation = plain.split.validation
    truth, probabilities = plain.table.target[validation], honest[validation]
    decision = decided.checkpoint.training["decision"]
    assert decision["strength"] > 0, "this table has a rare class, for which a shift is better"
    spread = (decision["shift"][1] - decision["shift"][0]) / decision["strength"]
    thresholds = 1 / (1 + np.exp(np.arange(0, 1.55, 0.05) * spread))
    best = max(oracle.f1_score(truth, probabilities >= threshold, average="macro") for threshold in thresholds)
    assert decided.metrics["validation"]["f1_macro"] == pytest.approx(best, abs=1e-6)


def test_the_best_epoch_is_that_of_the_metric():
    model = fit(classes(), target="y", **RUN, epochs=12, metric="auc")
    history = model.trained.history["validation_ranking_error"]
    least = min(history)
    assert model.trained.best_epoch == max(i for i, value in enumerate(history, 1) if value == least)
    assert model.metrics["validation"]["roc_auc"] == pytest.approx(1 - least, abs=1e-5)


def test_a_run_for_a_metric_resumes_to_the_same_bytes(tmp_path):
    path, seen = tmp_path / "state.safetensors", []
    run = {"target": "y", **RUN, "epochs": 6, "metric": "auc", "members": 2}
    whole = fit(classes(), **run)
    fit(classes(), **run, keep=ResumeFile(path), on_epoch=seen.append, should_stop=lambda: len(seen) == 3)
    again = fit(classes(), **run, keep=ResumeFile(path), resume=True)
    assert again.checkpoint.header() == whole.checkpoint.header()


def test_versions_for_other_metrics_are_not_compared_by_the_wrong_figure(tmp_path, capsys):
    frame = values(200)
    model = fit(frame, target="y", name="price", **RUN, epochs=2, metric="quantile", quantile=0.9)
    published = model.publish(tmp_path)
    with pytest.raises(DataError, match="trained for quantile, and versions are compared by"):
        compare_with_served(model.checkpoint, model.table, model.split, published)
    table = tmp_path / "price.csv"
    frame.to_csv(table, index=False)
    line = ["fit", str(table), "--target", "y", "--epochs", "2", "--store", str(tmp_path), "--metric", "mae"]
    assert main([*line, "--baselines"]) == 2
    assert "this run is for mae" in capsys.readouterr().err
    assert main([*line, "--json", "--hidden", "8"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["test"]["mae"] > 0


@pytest.mark.parametrize(
    ("settings", "quantile", "name", "words"),
    [
        ({"metric": "mae"}, 0.5, "mae", "the training part's median, has mean absolute error"),
        ({"metric": "quantile", "quantile": 0.9}, 0.9, "pinball_loss", "the training part's 0.9 quantile, has pinball"),
    ],
)
def test_a_model_is_compared_with_the_constant_that_is_best_for_its_metric(settings, quantile, name, words):
    weights = np.random.default_rng(2).uniform(0.1, 3, 400)
    frame = values(400).assign(weight=weights)
    model = fit(frame, **RUN, target="y", epochs=2, choices=ColumnChoices(weight="weight"), **settings)
    seen, weight = (of[model.split.train] for of in (model.table.target, model.table.weight))
    losses = [
        oracle.mean_pinball_loss(seen, np.full(len(seen), value), alpha=quantile, sample_weight=weight)
        for value in seen
    ]
    best = seen[np.argmin(losses)]
    truth = model.table.target[model.split.test]
    answer = np.full(len(truth), best)
    constant = model.constant_metrics()
    assert constant["mae"] == pytest.approx(oracle.mean_absolute_error(truth, answer))
    assert constant["r2"] == pytest.approx(oracle.r2_score(truth, answer))
    assert constant[name] == pytest.approx(
        oracle.mean_pinball_loss(truth, answer, alpha=quantile) * (2 if name == "mae" else 1)
    )
    sentence = beside_constant(model)
    assert words in sentence
    ours = figure(model.metrics["test"][name])
    assert f"{figure(constant[name])} on the test part; this model has {ours}" in sentence


def test_the_constant_of_other_runs_is_the_mean():
    model = fit(values(300), **RUN, target="y", epochs=1)
    mean = model.table.target[model.split.train].mean()
    truth = model.table.target[model.split.test]
    assert model.constant_metrics()["mae"] == pytest.approx(np.abs(truth - mean).mean())
    assert "the training part's mean, has RMSE" in beside_constant(model)


def test_validation_rows_of_one_class_are_refused_where_the_roc_area_chooses_the_epoch():
    frame = classes(300, rare=0.0).assign(day=np.arange(300))
    frame.loc[200:254, "y"] = "no"  # about the validation part of a split by time
    choices = ColumnChoices(time="day")
    with pytest.raises(DataError, match=r"all validation rows are of class 'no' of target 'y', .*--select-by loss"):
        fit(frame, target="y", choices=choices, metric="auc", epochs=2, **RUN)
    assert fit(frame, target="y", choices=choices, metric="auc", select_by="loss", epochs=2, **RUN).metrics["test"]
