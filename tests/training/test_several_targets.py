"""One network learns several targets of numbers, each about as well as a network of its own."""

import json
import re
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, mean_pinball_loss, r2_score, root_mean_squared_error

import axon
from models.checkpoint import Checkpoint
from models.columns.encoding import RowEncoder
from models.columns.schema import NumericTarget, ValuesTarget
from models.network.inputs import InputConfig
from models.store import Store
from training.cli import main
from training.config import resolve
from training.data.column_choices import ColumnChoices
from training.data.preprocessing import encode
from training.data.split import PARTS
from training.engines.engine import Matrices
from training.engines.network.losses import Loss, MeanOfTargets, PinballLoss, SquaredError
from training.engines.objective import loss_of
from training.engines.target_statistics import TargetStatistics, statistics_size, target_statistics
from training.fit import fit
from training.fitted_model import FittedModel
from training.metrics import evaluate
from training.reporting.baselines import compare
from training.reporting.card import model_card
from training.reporting.evaluation import evaluation_of
from training.reporting.html import html_report
from training.reporting.keeping import trees_code
from training.reporting.served import compare_with_served
from training.resume import ResumeFile
from training.search import search
from training.search.population.search import search_population
from training.search.trials.standard_errors import standard_error
from training.sources import read_table
from training.task_change import task_change

TARGETS = ("rent", "sold", "cost")
CLASSIC = {"recipe": "classic", "hidden_sizes": (64, 64), "epochs": 40, "dropout": 0.0, "threads": 1}
DEFAULT = {"hidden_sizes": (64, 64), "epochs": 40, "batch_size": 32, "threads": 1}
QUICK = {"engine": "numpy", "hidden_sizes": (16,), "epochs": 5}


def houses(rows: int = 900) -> pd.DataFrame:
    """Makes three targets that are known functions of the columns, in units of a very different size."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3))
    town = rng.integers(0, 12, rows)
    return pd.DataFrame(
        {
            "a": x[:, 0],
            "b": x[:, 1],
            "c": x[:, 2],
            "town": [f"town {i}" for i in town],
            "rent": 1000 * (2 * x[:, 0] + np.sin(2 * x[:, 1])),
            "sold": 1.7e9 + 3e4 * (x[:, 1] + 0.5 * x[:, 2] ** 2 + 0.1 * town),
            "cost": 0.001 * np.tanh(x[:, 2] + x[:, 0]) - 0.2,
        }
    )


@cache
def fitted(**settings: object) -> FittedModel:
    return fit(houses(), target="rent,sold,cost", name="houses", seed=1, **settings)  # type: ignore[arg-type]


def answers(model: FittedModel, part: str = "test") -> np.ndarray:
    schema = model.checkpoint.schema
    x = encode(schema, model.table, getattr(model.split, part))
    return model.checkpoint.inference_network().answer(x).astype(np.float64)


def truth(model: FittedModel, part: str = "test") -> np.ndarray:
    return houses()[list(TARGETS)].to_numpy()[getattr(model.split, part)]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(CLASSIC, marks=pytest.mark.slow),
        pytest.param(DEFAULT, marks=pytest.mark.slow),
        {**QUICK, "epochs": 40, "hidden_sizes": (64,)},
    ],
)
@pytest.mark.slow
def test_each_target_is_learned_as_well_as_alone(settings):
    model = fitted(**settings)
    assert isinstance(model.checkpoint.schema.target, ValuesTarget)
    assert model.checkpoint.schema.target.names == TARGETS
    found = answers(model)
    assert found.shape == (len(model.split.test), 3)
    for name, own, true in zip(TARGETS, found.T, truth(model).T, strict=True):
        alone = fit(
            houses().drop(columns=[other for other in TARGETS if other != name]), target=name, seed=1, **settings
        )
        r2 = r2_score(true, own)
        assert r2 > 0.9
        assert r2 > alone.metrics["test"]["r2"] - 0.05


@pytest.mark.parametrize(
    "settings",
    [
        {**DEFAULT, "epochs": 10, "members": 3, "folds": True},
        {**DEFAULT, "epochs": 10, "metric": "mae"},
        {**DEFAULT, "epochs": 10, "metric": "quantile", "quantile": 0.8},
        {**DEFAULT, "epochs": 10, "metric": "r2"},
        {**DEFAULT, "epochs": 10, "category_statistics": True},
        {**DEFAULT, "epochs": 10, "category_statistics": True, "members": 3, "folds": True},
        {**DEFAULT, "epochs": 8, "members": 2, "folds": True, "portfolio": True},
        {**DEFAULT, "epochs": 8, "members": 2, "distill": True},
        {**DEFAULT, "epochs": 8, "members": 2, "distill": True, "category_statistics": True},
    ],
)
@pytest.mark.slow
def test_every_kind_of_run_learns_every_target(settings):
    model = fitted(**settings)
    figure = "pinball_loss" if settings.get("metric") == "quantile" else "mae"
    constant, ours = model.constant_metrics()["targets"], model.metrics["test"]["targets"]
    for name in TARGETS:
        assert ours[name][figure] < 0.7 * constant[name][figure]
    if settings.get("folds"):
        assert model.out_of_fold.answers.shape == (len(model.split.train), 3)


def test_metrics_are_those_of_each_target_and_of_all_in_standard_deviations():
    model = fitted(**QUICK)
    stds = np.array([target.std for target in model.checkpoint.schema.target.targets])
    for part in PARTS:
        found, true, metrics = answers(model, part), truth(model, part), model.metrics[part]
        for i, name in enumerate(TARGETS):
            own = metrics["targets"][name]
            assert own["rmse"] == pytest.approx(root_mean_squared_error(true[:, i], found[:, i]))
            assert own["mae"] == pytest.approx(mean_absolute_error(true[:, i], found[:, i]))
            assert own["r2"] == pytest.approx(r2_score(true[:, i], found[:, i]))
        assert list(metrics["targets"]) == list(TARGETS)
        errors = (found - true) / stds
        assert metrics["rmse"] == pytest.approx(np.sqrt((errors**2).mean()))
        assert metrics["mae"] == pytest.approx(np.abs(errors).mean())
        assert metrics["r2"] == pytest.approx(r2_score(true, found, multioutput="uniform_average"))
        assert metrics["rows"] == len(true)


def test_metrics_of_a_quantile_and_of_a_target_of_one_value():
    targets = [NumericTarget(name=name, mean=0, std=std, minimum=-9, maximum=9) for name, std in (("x", 2), ("y", 5))]
    rng = np.random.default_rng(0)
    true, found = rng.normal(size=(50, 2)), rng.normal(size=(50, 2))
    true[:, 1] = 3
    metrics = evaluate("linear", found, true, metric="quantile", quantile=0.8, targets=targets)
    losses = [mean_pinball_loss(true[:, i], found[:, i], alpha=0.8) for i in range(2)]
    assert metrics["targets"]["y"]["pinball_loss"] == pytest.approx(losses[1])
    assert metrics["pinball_loss"] == pytest.approx((losses[0] / 2 + losses[1] / 5) / 2)
    assert "r2" not in metrics["targets"]["y"]
    assert metrics["r2"] == metrics["targets"]["x"]["r2"]  # the mean of the targets that vary


def test_a_linear_model_is_that_of_least_squares():
    data = houses().drop(columns="town")  # one-hot features sum to 1, so their weights are not unique
    model = fit(data, target=TARGETS, name="houses", engine="linear", weight_decay=0.0)
    x = {part: encode(model.checkpoint.schema, model.table, getattr(model.split, part)) for part in PARTS}
    oracle = LinearRegression().fit(x["train"].astype(np.float64), truth(model, "train"))
    expected = oracle.predict(x["test"].astype(np.float64))
    spread = truth(model).std(axis=0)
    np.testing.assert_allclose(answers(model) / spread, expected / spread, atol=1e-3)


def test_the_constant_answer_is_the_mean_of_each_target():
    constant = fitted(**QUICK).constant_metrics()
    mean = truth(fitted(**QUICK), "train").mean(axis=0)
    for i, name in enumerate(TARGETS):
        rmse = np.sqrt(((truth(fitted(**QUICK))[:, i] - mean[i]) ** 2).mean())
        assert constant["targets"][name]["rmse"] == pytest.approx(rmse)


@pytest.mark.parametrize("single", [SquaredError(), PinballLoss(0.8), PinballLoss(0.5, scale=2.0)])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_the_loss_is_the_mean_over_the_targets_and_has_its_derivative(single: Loss, is_weighted: bool, shared: bool):
    torch.manual_seed(0)
    members, rows, width = 2, 7, 3
    out = torch.randn(members, rows, width, dtype=torch.float64)
    target = torch.randn(1 if shared else members, rows, width, dtype=torch.float64)
    weight = torch.rand(target.shape[:2], dtype=torch.float64) if is_weighted else None
    loss = MeanOfTargets(single)
    each = [
        single(out[..., i : i + 1].clone(), target[..., i], weight, gradient=False) for i in range(width)
    ]  # (targets, members)
    torch.testing.assert_close(loss(out, target, weight, gradient=False), torch.stack(each).mean(dim=0))
    slope = out.clone()
    loss(slope, target, weight, gradient=True)
    numeric = torch.zeros_like(out)
    for at in np.ndindex(*out.shape):
        moved = []
        for step in (1e-6, -1e-6):
            near = out.clone()
            near[at] += step
            moved.append(loss(near, target, weight, gradient=False)[at[0]])
        numeric[at] = (moved[0] - moved[1]) / 2e-6
    torch.testing.assert_close(slope, numeric, atol=1e-6, rtol=1e-5)


def test_the_loss_of_one_target_is_not_wrapped():
    config = resolve({}, task="regression")
    kinds = {"smoothing": 0.0, "has_teacher": False, "largest": 1.0}
    assert isinstance(loss_of(config, None, **kinds, targets=1), SquaredError)
    assert isinstance(loss_of(config, None, **kinds, targets=2), MeanOfTargets)


@pytest.mark.parametrize("has_folds", [False, True])
@pytest.mark.parametrize("is_taught", [False, True])
def test_the_statistics_of_a_category_are_those_of_each_target(has_folds: bool, is_taught: bool):
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=60), rng.integers(0, 13, 60)]).astype(np.float32)
    y = rng.normal(size=(60, 2)).astype(np.float32)
    folds = np.arange(60) % 3 if has_folds else None

    def found(values: np.ndarray) -> TargetStatistics:
        several = values.ndim == 2
        inputs = InputConfig(
            numbers=(0,),
            flags=(),
            indices=(1,),
            categories=(12,),
            clip=None,
            frequencies=0,
            periodic_size=4,
            embedding_size=4 + statistics_size(2 if several else 1, has_classes=False),
            scale=False,
        )
        config = resolve({"category_statistics": True, "embedding_size": 4}, task="regression")
        architecture = config.architecture(
            in_features=2, out_features=2 if several else 1, output="linear", inputs=inputs
        )
        taught = values.reshape(60, -1) if is_taught else None
        data = Matrices(x=x, y=values, validation_x=x, validation_y=values, folds=folds, taught=taught)
        statistics = target_statistics(architecture, data, seed=3)
        assert statistics is not None
        return statistics

    both, alone = found(y), [found(y[:, i]) for i in range(2)]
    for i in range(2):
        np.testing.assert_allclose(both.tables[..., i], alone[i].tables[..., 0], atol=1e-6)
        for fold in range(0 if is_taught else len(both.tables)):
            learned = np.flatnonzero(folds != fold) if has_folds else np.arange(60)  # the others have no statistics
            seen, expected = (of.rows[fold, learned] for of in (both, alone[i]))
            np.testing.assert_allclose(seen[..., i], expected[..., 0], atol=1e-6)
    np.testing.assert_array_equal(both.tables[..., 2], alone[0].tables[..., 1])  # numbers of rows


def test_statistics_of_very_many_targets_are_the_counts_alone():
    assert [statistics_size(values, has_classes=False) for values in (1, 2, 10, 11)] == [2, 3, 11, 1]


def test_one_target_in_a_list_gives_the_bytes_of_one_target():
    data = houses().drop(columns=["sold", "cost"])
    one, listed = (fit(data, target=target, name="t", **QUICK) for target in ("rent", ["rent"]))
    assert one.checkpoint.header() == listed.checkpoint.header()


def test_rows_of_no_weight_teach_nothing():
    data = houses(400).drop(columns="town")
    data["weight"] = np.arange(400) % 2
    spoiled = data.copy()
    spoiled.loc[data["weight"] == 0, list(TARGETS)] *= 1 + np.arange(200)[:, None] / 1e6
    choices = ColumnChoices(weight="weight")
    settings = {"engine": "linear", "weight_decay": 0.0, "choices": choices}
    first, second = (fit(table, target=TARGETS, name="t", **settings) for table in (data, spoiled))
    for name, tensor in first.trained.tensors.items():
        np.testing.assert_allclose(second.trained.tensors[name], tensor, atol=1e-5)


@pytest.mark.parametrize("settings", [{**DEFAULT, "epochs": 6}, {**CLASSIC, "epochs": 6, "members": 2}])
def test_a_resumed_run_comes_to_the_same_bytes(tmp_path, settings):
    seen: list[object] = []
    path = tmp_path / "run.safetensors"
    arguments = {"target": TARGETS, "name": "houses", **settings}
    first = fit(houses(), keep=ResumeFile(path), on_epoch=seen.append, should_stop=lambda: len(seen) == 3, **arguments)
    assert first.trained.stopped == "asked"
    resumed = fit(houses(), keep=ResumeFile(path), resume=True, **arguments)
    whole = fit(houses(), **arguments)
    assert resumed.checkpoint.header() == whole.checkpoint.header()
    for name, tensor in whole.checkpoint.tensors.items():
        np.testing.assert_array_equal(resumed.checkpoint.tensors[name], tensor)


def test_a_program_trains_and_asks_for_all_targets():
    model = axon.fit(houses(), target=["rent", "sold", "cost"], progress=False, **QUICK)
    rows = houses()[:4]
    found = np.array(model.predict(rows))
    assert found.shape == (4, 3)
    checkpoint = model.checkpoint
    np.testing.assert_array_equal(found, _asked(checkpoint, rows).to_numpy())


def test_the_report_shows_each_target():
    model = fitted(**QUICK)
    evaluation = evaluation_of(model)
    assert list(evaluation.of_targets) == list(TARGETS)
    errors = answers(model) - truth(model)
    for i, name in enumerate(TARGETS):
        assert evaluation.of_targets[name].bias == pytest.approx(
            errors[:, i].mean(), abs=1e-6 * np.ptp(truth(model)[:, i])
        )
    stds = np.array([target.std for target in model.checkpoint.schema.target.targets])
    worst = np.unravel_index(np.abs(errors / stds).argmax(), errors.shape)
    first = evaluation.largest_errors[0]
    assert (first.row, first.target) == (int(model.split.test[worst[0]]) + 1, TARGETS[worst[1]])
    assert first.truth == truth(model)[worst]
    assert evaluation.importances[0].mean > 0.1
    page, card = html_report(model, "houses@1", evaluation), model_card(model, "houses@1", evaluation)
    for name in TARGETS:
        assert f"RMSE of {name}" in page
        assert f"RMSE of {name}" in card
    assert "standard deviations of each target" in page
    assert "standard deviations of each target" in card
    assert json.dumps(evaluation.to_dict(), allow_nan=False)


def test_the_evaluation_of_one_target_has_no_fields_of_several():
    found = evaluation_of(fit(houses().drop(columns=["sold", "cost"]), target="rent", **QUICK)).to_dict()
    assert "of_targets" not in found
    assert "target" not in found["largest_errors"][0]


@pytest.mark.slow
def test_baselines_answer_every_target(tmp_path, monkeypatch):
    model = fitted(**QUICK)
    found = compare(model)
    linear, trees = found.baselines
    assert list(linear.metrics["test"]["targets"]) == list(trees.metrics["test"]["targets"]) == list(TARGETS)
    assert trees.metrics["test"]["targets"]["cost"]["r2"] > 0.8
    assert {difference.measure for difference in found.differences} == {"r2"}
    monkeypatch.chdir(tmp_path)
    houses().to_csv("houses.csv", index=False)
    code = trees_code(model.table, "houses.csv")
    made: dict[str, object] = {}
    exec(code, made)  # the code that a user is told to run
    assert list(made["trees"]) == list(TARGETS)


def test_a_new_version_is_compared_on_all_targets(tmp_path):
    store = Store(tmp_path)
    poor, good = fitted(**{**QUICK, "epochs": 1}), fitted(**CLASSIC)
    version = poor.publish(store)
    found = compare_with_served(good.checkpoint, good.table, good.split, version)
    assert found.is_better
    lead = good.metrics["test"]["r2"] - poor.metrics["test"]["r2"]
    assert found.differences[0].lead == pytest.approx(lead, rel=1e-4)
    assert task_change(store, "houses", good.table) is None
    other, _ = read_table(houses(), target=["rent", "cost"], name="houses", settings={})
    assert "answers to another question" in (task_change(store, "houses", other) or "")


def test_a_search_ranks_by_the_errors_of_all_targets():
    result = search(houses(300), target="rent,sold,cost", name="t", settings=QUICK, trials=2)
    assert result.winner.value == pytest.approx(result.winner.metrics["rmse"])
    assert result.winner.error > 0
    assert list(result.winner.metrics["targets"]) == list(TARGETS)


@pytest.mark.parametrize("figure", ["rmse", "mae"])
def test_a_standard_error_is_that_of_the_mean_over_rows(figure):
    model = fitted(**QUICK)
    stds = np.array([target.std for target in model.checkpoint.schema.target.targets])
    errors = (answers(model, "validation") - truth(model, "validation")) / stds
    rows = np.square(errors).mean(axis=1) if figure == "rmse" else np.abs(errors).mean(axis=1)
    expected = rows.std(ddof=1) / np.sqrt(len(rows))
    if figure == "rmse":
        expected /= 2 * np.sqrt(rows.mean())
    assert standard_error(model, figure) == pytest.approx(expected, rel=1e-4)


def test_a_population_is_ranked_by_the_rmse_of_all_targets():
    settings = {"hidden_sizes": (16,), "epochs": 4, "recipe": "classic"}
    table, config = read_table(houses(300), target=TARGETS, name="t", settings=settings)
    result = search_population(table, config, members=3, every=2, threads=1)
    best = result.run.values[result.run.best_epoch - 1][result.run.best_member]
    assert result.model.metrics["validation"]["rmse"] == pytest.approx(best, rel=1e-3)


def test_the_command_line_trains_publishes_and_predicts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AXON_STORE", str(tmp_path / "store"))
    houses(300).to_csv("houses.csv", index=False)
    options = ("--target", "rent,sold,cost", "--engine", "numpy", "--epochs", "5")
    assert main(["fit", "houses.csv", *options, "--json", "--baselines"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["model"] == "houses@1"
    assert list(record["metrics"]["test"]["targets"]) == list(TARGETS)
    loaded = Store(tmp_path / "store").resolve("houses").load().checkpoint
    assert loaded.metrics == record["metrics"]
    assert main(["fit", "houses.csv", *options, "--publish", "if-better"]) in (0, 3)
    assert re.search(r"rmse of sold +[\d.]+", capsys.readouterr().out)
    assert main(["predict", "houses.csv", "--model", "houses@1", "--intervals", "0.9", "--out", "out.csv"]) == 0
    answered = pd.read_csv("out.csv")
    assert list(answered.columns)[7:10] == [f"prediction_{name}" for name in TARGETS]
    for name in TARGETS:
        assert (answered[f"prediction_{name}_low"] <= answered[f"prediction_{name}"]).all()
        assert (answered[f"prediction_{name}"] <= answered[f"prediction_{name}_high"]).all()
        assert r2_score(houses(300)[name], answered[f"prediction_{name}"]) == pytest.approx(
            r2_score(houses(300)[name], _asked(loaded, houses(300))[name]), abs=1e-6
        )


def _asked(checkpoint: Checkpoint, rows: pd.DataFrame) -> pd.DataFrame:
    payload = RowEncoder(checkpoint.schema).encode(rows[list(checkpoint.schema.names)].to_dict("records"))
    x = np.frombuffer(payload, dtype=np.float32).reshape(len(rows), -1)
    return pd.DataFrame(checkpoint.inference_network().answer(x).astype(np.float64), columns=list(TARGETS))
