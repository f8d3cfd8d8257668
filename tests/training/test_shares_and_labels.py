"""Columns of 0 and 1, and shares: networks that learn the log-odds of the answer, by the Bernoulli deviance."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as oracle
from sklearn.datasets import make_multilabel_classification
from sklearn.linear_model import LogisticRegression

import axon
from models.columns.schema import NumericTarget
from models.errors import ConfigError, DataError
from models.store import Store
from training.data.column_choices import ColumnChoices
from training.engines.network.losses import BernoulliDeviance, MeanOfTargets
from training.fit import fit
from training.metrics import evaluate

RUN = {"recipe": "default", "hidden_sizes": (32,), "epochs": 40, "metric": "bernoulli"}
LABELS = ["p", "q", "r"]


def labelled(rows: int = 900, seed: int = 0) -> pd.DataFrame:
    """Makes rows with three labels, of which each has none, some or all."""
    x, y = make_multilabel_classification(rows, 8, n_classes=3, n_labels=2, random_state=seed)
    frame = pd.DataFrame(x, columns=[f"x{i}" for i in range(8)])
    return frame.assign(**dict(zip(LABELS, y.T, strict=True)))


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_twice_the_log_loss_and_its_gradient_autograds(weighted: bool) -> None:
    rng = np.random.default_rng(0)
    out, target = rng.normal(size=(2, 40, 3)), rng.choice([0.0, 0.3, 1.0], size=(2, 40, 3))
    weight = rng.uniform(0.5, 2, size=(2, 40)) if weighted else None
    given, weights = torch.tensor(out), None if weight is None else torch.tensor(weight)
    found = MeanOfTargets(BernoulliDeviance())(given, torch.tensor(target), weights, gradient=True)
    leaf = torch.tensor(out, requires_grad=True)
    each = torch.nn.functional.binary_cross_entropy_with_logits(leaf, torch.tensor(target), reduction="none")
    each = 2 * (each if weights is None else each * weights[..., None])
    each.mean(dim=(1, 2)).sum().backward()
    torch.testing.assert_close(found, each.mean(dim=(1, 2)).detach())
    torch.testing.assert_close(given, leaf.grad)


@pytest.mark.parametrize("far", [-1e4, 1e4])
def test_an_output_far_away_has_a_finite_loss_and_a_gradient_that_leads_back(far: float) -> None:
    out = torch.full((1, 3, 1), far)
    found = BernoulliDeviance()(out, torch.full((1, 3), 0.5), None, gradient=True)
    assert torch.isfinite(found).all()
    assert (out * far > 0).all()


def test_figures_are_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    truth = (rng.random((200, 2)) < 0.4).astype(float)
    answers = np.clip(truth * 0.3 + rng.random((200, 2)) * 0.7, 0.01, 0.99)
    targets = [NumericTarget(name=name, mean=0, std=1, minimum=0, maximum=1) for name in "ab"]
    found = evaluate("logistic", answers, truth, metric="bernoulli", targets=targets)
    for at, name in enumerate("ab"):
        own = found["targets"][name]
        assert own["bernoulli_deviance"] == pytest.approx(2 * oracle.log_loss(truth[:, at], answers[:, at]))
        assert own["roc_auc"] == pytest.approx(oracle.roc_auc_score(truth[:, at], answers[:, at]))
    for figure in ("bernoulli_deviance", "roc_auc"):
        assert found[figure] == pytest.approx(np.mean([found["targets"][name][figure] for name in "ab"]))
    assert found["roc_auc"] == pytest.approx(oracle.roc_auc_score(truth, answers))
    outside = evaluate("linear", answers + 0.5, truth, metric="bernoulli", targets=targets)
    assert "bernoulli_deviance" not in outside, "an answer above 1 has no deviance"


@pytest.mark.parametrize("options", [{}, {"members": 4, "folds": True}, {"members": 4, "distill": True}], ids=str)
@pytest.mark.slow
def test_several_labels_are_ranked_as_well_as_by_logistic_regressions(options: dict) -> None:
    frame = labelled()
    model = fit(frame, target=LABELS, **RUN, **options)
    test = model.split.test
    rows, truth = frame[[f"x{i}" for i in range(8)]].to_numpy(), frame[LABELS].to_numpy()
    other = np.setdiff1d(np.arange(len(frame)), test)
    linear = [LogisticRegression(max_iter=1000).fit(rows[other], truth[other, i]) for i in range(3)]
    area = np.mean([
        oracle.roc_auc_score(truth[test, i], one.predict_proba(rows[test])[:, 1]) for i, one in enumerate(linear)
    ])  # fmt: skip
    assert model.metrics["test"]["roc_auc"] > area - 0.02
    assert model.metrics["test"]["bernoulli_deviance"] < model.constant_metrics()["bernoulli_deviance"] * 0.8


def test_a_share_is_learned_and_is_the_mean_of_yes_and_no() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=1500)})
    truth = 1 / (1 + np.exp(-2 * frame.a))
    model = axon.fit(frame.assign(y=(rng.random(1500) < truth).astype(int)), target="y", progress=False, **RUN)
    answers = np.array(model.predict(frame[["a"]]))
    assert ((answers > 0) & (answers < 1)).all()
    assert np.abs(answers - truth).mean() < 0.06
    shares = axon.fit(frame.assign(y=truth), target="y", progress=False, **RUN)
    assert shares.metrics["test"]["r2"] > 0.99


def test_true_and_false_are_one_and_zero_among_several_targets() -> None:
    frame = labelled(300)
    run = {**RUN, "epochs": 3}
    plain = fit(frame, target=LABELS, name="m", **run)
    spelled = fit(frame.assign(p=frame.p == 1, q=frame.q.map({0: "False", 1: "True"})), target=LABELS, name="m", **run)
    for name, tensor in plain.checkpoint.tensors.items():
        np.testing.assert_array_equal(spelled.checkpoint.tensors[name], tensor)
    with pytest.raises(DataError, match=r"holds names .* regression is of numbers: write 1 and 0 for true and false"):
        fit(frame.assign(p=frame.p.map({0: "false", 1: "true"})).drop(columns=LABELS[1:]), target="p", **run)
    with pytest.raises(DataError, match=r"target 'p' .* holds names \('yes' at .*write 0 and 1 for no and yes"):
        fit(frame.assign(p=frame.p.map({0: "no", 1: "yes"})), target=LABELS, **run)


@pytest.mark.parametrize("value", [-0.1, 1.5, 2])
def test_a_target_that_is_no_share_is_refused_with_the_row_and_the_remedy(value: float) -> None:
    frame = labelled(120).astype(float)
    frame.loc[7, "q"] = value
    with pytest.raises(ConfigError, match=rf"target 'q' has {value:g} in row 8 \(1 such rows in all\): --metric rmse"):
        fit(frame, target=LABELS, **RUN)


def test_the_other_engines_and_tasks_refuse_the_metric() -> None:
    frame = labelled(120)
    for engine in ("numpy", "linear", "perceptron"):
        with pytest.raises(ConfigError, match="bernoulli"):
            fit(frame, target=LABELS, engine=engine, metric="bernoulli")
    with pytest.raises(ConfigError):
        fit(frame, target="p", task="classification", metric="bernoulli")


def test_a_published_model_answers_alike_with_bounds_from_zero_to_one(tmp_path) -> None:
    frame = labelled()
    model = fit(frame, target=LABELS, name="labels", **RUN)
    store = Store(tmp_path)
    model.publish(store)
    loaded = axon.load("labels", store=tmp_path)
    assert loaded.checkpoint.config.output == "logistic"
    assert loaded.checkpoint.header()["format_version"] == 5
    rows = frame.drop(columns=LABELS).iloc[:50]
    answers = np.array(loaded.predict(rows))
    assert answers.shape == (50, 3)
    assert ((answers > 0) & (answers < 1)).all()
    bounds = loaded.predict(rows, intervals=0.9).intervals
    assert bounds.shape == (50, 3, 2)
    assert (bounds >= 0).all()
    assert (bounds <= 1).all()
    assert (bounds[..., 0] <= answers).all()
    assert (answers <= bounds[..., 1]).all()


@pytest.mark.parametrize("value", [0, 1])
def test_a_label_of_one_value_in_training_is_neither_certain_nor_impossible(value: int) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"day": np.arange(200), "x": rng.normal(size=200)})
    frame["common"] = (frame.x + rng.normal(size=200) > 0).astype(int)
    frame["late"] = np.where((frame.day >= 150) & (frame.x > 0), 1 - value, value)
    settings = RUN | {"epochs": 5, "hidden_sizes": (8,)}
    kept = {"target": ["common", "late"], "choices": ColumnChoices(time="day"), "split": (0.6, 0.2, 0.2)}
    model = fit(frame, **kept, **settings)
    answers = np.array(model.predict(frame[["x"]].assign(x=np.linspace(-3, 3, 200))))[:, 1]
    assert ((answers > 0) & (answers < 1)).all()
    assert np.abs(answers - value).mean() < 0.2, "it was learned that this value is usual"
    assert len(np.unique(answers)) > 1
    [note] = [note for note in model.notes if "'late'" in note]
    assert note.startswith(f"Target 'late' is {value} in every row of the training part")
    clamped = fit(frame, **kept, **settings, clamp=True)
    assert set(np.array(clamped.predict(frame[["x"]]))[:, 1]) == {float(value)}, "as asked for"
