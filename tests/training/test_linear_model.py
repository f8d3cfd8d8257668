"""The advice for a linear model works with one option, and the code that the report prints saves the trees."""

import re
import shlex

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from models.errors import ConfigError
from models.store import Store
from training.cli import main
from training.config import TrainConfig
from training.engines.engine import Matrices
from training.engines.train import train
from training.fit import fit
from training.reporting.baselines import compare
from training.reporting.comparison import CONSTANT, LINEAR, OURS, TREES


@pytest.fixture
def additive(tmp_path):
    """A table that a linear model fits best, with categories and dates among its columns."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    kind = rng.choice(["u", "v", "w w"], 600)
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 400, 600), unit="D")
    score = x.sum(axis=1) + (kind == "u") + 0.5 * rng.normal(size=600)
    frame = pd.DataFrame({"a": x[:, 0], "b [m/s]": x[:, 1], "kind": kind, "when": when.strftime("%Y-%m-%d")})
    path = tmp_path / "add itive.csv"
    frame.assign(y=np.where(score > 0.3, "yes", "no")).to_csv(path, index=False)
    return path


def test_its_answers_are_logistic_regressions():
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (400, 3))
    label = np.array(["p", "q", "r"])[(x @ rng.normal(size=(3, 3)) + rng.normal(size=(400, 3))).argmax(axis=1)]
    frame = pd.DataFrame(x, columns=list("abc")).assign(y=label)
    model = fit(frame, target="y", name="m", engine="linear")
    train, test = model.split.train, model.split.test
    scaler = StandardScaler().fit(x[train])
    oracle = LogisticRegression(max_iter=1000).fit(scaler.transform(x[train]), label[train])
    ours = model.checkpoint.inference_network().answer(x[test].astype(np.float32))
    np.testing.assert_allclose(ours, oracle.predict_proba(scaler.transform(x[test])), atol=1e-3)
    assert model.trained.stopped == "converged"


def test_its_values_are_ridge_regressions():
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (200, 3))
    frame = pd.DataFrame(x, columns=list("abc")).assign(y=100 + x @ [1.0, -2.0, 0.5] + rng.normal(size=200))
    model = fit(frame, target="y", name="m", engine="linear")
    train, test = model.split.train, model.split.test
    scaler = StandardScaler().fit(x[train])
    oracle = Ridge().fit(scaler.transform(x[train]), frame.y[train])
    np.testing.assert_allclose(model.predict(x[test].tolist()), oracle.predict(scaler.transform(x[test])), rtol=1e-4)


@pytest.mark.parametrize("setting", [{"hidden_sizes": (8,)}, {"dropout": 0.1}, {"epochs": 9}, {"members": 2}])
def test_what_it_does_not_have_is_refused(setting):
    with pytest.raises(ConfigError, match="linear model"):
        TrainConfig(engine="linear", **setting)


def test_it_takes_weights_of_classes():
    frame = pd.DataFrame({"a": np.arange(60.0), "y": ["u", "v"] * 30})
    balanced = fit(frame, target="y", name="m", engine="linear", class_weight="balanced")
    assert any("equally common" in note for note in balanced.notes)


def test_the_command_that_the_advice_prints_publishes_the_linear_model(additive, tmp_path, capsys):
    store = tmp_path / "store"
    line = ["fit", str(additive), "--target", "y", "--store", str(store), "--baselines", "--no-report"]
    line += ["--publish", "always"]  # the network is worse than the linear model
    assert main([*line, "--epochs", "2", "--hidden=4", "--learning-rate", "0.01", "--seed", "3"]) == 0
    told = capsys.readouterr().out
    command = shlex.split(re.search(r"serve the linear model:\n\s+(.+)", told)[1])
    assert command[:3] == ["python", "-m", "training"]
    assert main(command[3:]) == 0
    checkpoint = Store(store).load("add-itive@2").checkpoint
    assert checkpoint.config.hidden_sizes == ()
    assert checkpoint.training["engine"] == "linear"
    first = Store(store).load("add-itive@1").checkpoint
    assert checkpoint.data["split"] == first.data["split"]
    assert checkpoint.training["seed"] == 3


def test_the_code_for_the_trees_runs_and_predicts(tmp_path, capsys, monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(900, 2))
    kind = rng.choice(["u", "v"], 900)
    when = (pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 400, 900), unit="D")).strftime("%Y-%m-%d")
    frame = pd.DataFrame({"a b": x[:, 0], "it's": x[:, 1], "kind": kind, "when": when})
    frame["y"] = np.where(np.sin(5 * x[:, 0]) * np.sign(x[:, 1]) > 0, "yes", "no")
    path = tmp_path / "waves.csv"
    frame.to_csv(path, index=False)
    store = ["--store", str(tmp_path / "store"), "--no-report", "--publish", "always"]
    assert main(["fit", str(path), "--target", "y", "--baselines", "--epochs", "2", "--hidden", "4", *store]) == 0
    code = re.search(r"^import joblib\n.*?(?=^# Later)", capsys.readouterr().out, re.DOTALL | re.MULTILINE)[0]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    kept = names["joblib"].load("waves-trees.joblib")
    assert (kept.predict(names["features"](frame)) == frame["y"]).mean() > 0.9


def test_a_linear_model_is_not_advised_to_become_one(additive):
    model = fit(additive, target="y", engine="linear")
    comparison = compare(model)
    assert comparison.preferred in (OURS, TREES, None)
    assert "this model: it is linear" in comparison.advice or "linear model" in comparison.advice


def test_where_the_constant_answer_does_as_well_no_model_is_advised():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"a": rng.normal(size=500), "b": rng.normal(size=500), "y": rng.choice(["u", "v"], 500)})
    comparison = compare(fit(frame, target="y", name="coins", epochs=3, hidden_sizes=(4,)))
    assert comparison.advice.startswith("No model is clearly better than the constant answer")
    assert comparison.preferred is None
    head, rows = comparison.side_by_side(("test",))
    assert head[1:3] == [CONSTANT, OURS]
    assert {d.over for d in comparison.differences if d.of == LINEAR} == {OURS, TREES, CONSTANT}
    assert rows[0][1] != ""


def test_the_constant_answer_is_the_training_parts_shares():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"a": rng.normal(size=300), "y": rng.choice(["u", "v"], 300, p=[0.8, 0.2])})
    model = fit(frame, target="y", name="coins", engine="linear")
    share = (frame.y[model.split.train] == "v").mean()
    truth = (frame.y[model.split.test] == "v").to_numpy()
    expected = -np.where(truth, np.log(share), np.log(1 - share)).mean()
    assert model.constant_metrics()["log_loss"] == pytest.approx(expected)


def test_a_search_over_linear_models_varies_the_penalty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["search", "wine", "--linear", "--trials", "3", "--quiet", "--store", "store"]) == 0
    checkpoint = Store(tmp_path / "store").load("wine").checkpoint
    assert checkpoint.training["engine"] == "linear"


def test_a_class_that_the_training_part_lacks_is_never_likely():
    x, y = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32), np.arange(40) % 2
    config = TrainConfig(engine="linear")
    architecture = config.architecture(in_features=2, out_features=3)
    trained = train(config, architecture, Matrices(x=x, y=y, validation_x=x, validation_y=y))
    logits = x @ trained.tensors["layers.0.weight"].T + trained.tensors["layers.0.bias"]
    assert (logits[:, 2] < logits[:, :2].max(axis=1) - 20).all()
    alone = train(config, architecture, Matrices(x=x, y=0 * y + 1, validation_x=x, validation_y=0 * y + 1))
    assert (x @ alone.tensors["layers.0.weight"].T + alone.tensors["layers.0.bias"]).argmax(axis=1).tolist() == [1] * 40
