"""A portfolio: configurations train by folds side by side, out-of-fold answers give weights, a mean is served."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from sign_matrices import matrices
from sklearn.metrics import log_loss, mean_absolute_error

from models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.errors import ConfigError
from training.config import resolve, resolve_for_table
from training.engines.member_rates import MemberRates, portfolio_rates
from training.engines.network.losses import CrossEntropy
from training.engines.train import train
from training.engines.trainer import Trainer
from training.fit import fit
from training.portfolio import CONFIGURATIONS
from training.portfolio_choice import choose_configurations
from training.prepared_rows import prepare
from training.reporting.card import model_card
from training.reporting.configurations import configurations_table
from training.reporting.evaluation import evaluation_of
from training.reporting.html import html_report
from training.reporting.restored import restored
from training.resume import ResumeFile
from training.search.learning_rate.trainer_stepper import stepper_of
from training.sources import read_table

RUN = {"hidden_sizes": (12,), "epochs": 12, "members": 3, "folds": True, "portfolio": True, "batch_size": 32}
CPU = torch.device("cpu")


def frame_of(rows=220, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": rng.normal(size=rows), "b": rng.normal(size=rows)})
    frame["y"] = np.where(frame.a * frame.b + 0.7 * rng.normal(size=rows) > 0, "yes", "no")
    return frame


@pytest.fixture(scope="module")
def model():
    return fit(frame_of(), target="y", **RUN)


def test_each_member_learns_as_alone_with_the_settings_of_its_configuration():
    plain = {"hidden_sizes": (16,), "batch_size": 30, "dropout": 0.0}
    config = resolve(plain | {"members": 2, "folds": True, "portfolio": True}, task="classification")
    architecture = config.architecture(in_features=4, out_features=2)
    assert architecture.members == 2 * len(CONFIGURATIONS)
    together = Trainer(config, architecture, matrices(), device=CPU, rates=portfolio_rates(config))
    first = together.network.tensors()
    alone = []
    for i, (own, _) in enumerate(product(CONFIGURATIONS, range(2))):
        settings = {
            "weight_decay": config.weight_decay * own.weight_decay,
            "label_smoothing": config.label_smoothing * own.label_smoothing,
        }
        single = resolve(plain | settings, task="classification")
        trainer = Trainer(single, single.architecture(in_features=4, out_features=2), matrices(), device=CPU)
        trainer.network.load({name: tensor[i] for name, tensor in first.items()})
        alone.append((trainer, config.learning_rate * own.learning_rate))
    generator = np.random.default_rng(0)
    for _ in range(20):
        order = torch.from_numpy(generator.permutation(150)[:30])
        losses = together.step(order.expand(len(alone), -1), rate=config.learning_rate)
        for loss, (trainer, rate) in zip(losses, alone, strict=True):
            assert loss.item() == pytest.approx(trainer.step(order[None], rate=rate).item(), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("settings", [{}, {"recipe": "classic", "optimizer": "adam", "weight_decay": 0.01}])
def test_equal_rates_of_all_members_give_the_bits_of_one_rate(settings):
    config = resolve(settings | {"hidden_sizes": (16,), "members": 3, "dropout": 0.2}, task="classification")
    equal = MemberRates(
        dropouts=np.full(3, config.dropout),
        weight_decays=np.ones(3),
        label_smoothings=np.full(3, config.label_smoothing),
    )
    architecture = config.architecture(in_features=4, out_features=2)
    trainers = [Trainer(config, architecture, matrices(), device=CPU, rates=rates) for rates in (None, equal)]
    for trainer in trainers:
        trainer.epoch()
        trainer.epoch()
    first, other = (trainer.network.parameters.flat for trainer in trainers)
    assert torch.equal(first, other)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("by_shares", [False, True])
def test_a_smoothing_for_each_member_is_the_loss_of_each(weighted, by_shares):
    generator = torch.Generator().manual_seed(0)
    out, target = torch.randn(3, 7, 4, generator=generator), torch.randint(4, (3, 7), generator=generator)
    weight = torch.rand(3, 7, generator=generator) if weighted else None
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4]) if by_shares else None
    smoothings = [0.1, 0.0, 0.37]
    found = out.clone()
    losses = CrossEntropy(smoothing=torch.tensor(smoothings, dtype=torch.float64), shares=shares)(
        found, target, weight, gradient=True
    )
    for i, smoothing in enumerate(smoothings):
        own = out[i : i + 1].clone()
        loss = CrossEntropy(smoothing=smoothing, shares=shares)(
            own, target[i : i + 1], None if weight is None else weight[i : i + 1], gradient=True
        )
        assert torch.equal(found[i], own[0])
        assert torch.equal(losses[i], loss[0])


def test_no_network_of_a_fold_learns_from_it():
    table, config = read_table(frame_of(90), target="y", settings=RUN | {"label_smoothing": 0.0})
    rows = prepare(table, config)
    data = rows.matrices()
    flipped = replace(data, y=np.where(rows.split.folds == 1, 1 - data.y, data.y))
    first, other = (
        Trainer(config, rows.architecture, each, device=CPU, rates=portfolio_rates(config)) for each in (data, flipped)
    )
    first.epoch()
    other.epoch()
    same = (first.network.parameters.flat == other.network.parameters.flat).all(dim=1)
    assert same.tolist() == [member % 3 == 1 for member in range(12)]


def test_the_weights_are_those_of_the_records_and_answers_are_weighted_means(model):
    config, records = model.checkpoint.config, model.checkpoint.training["configurations"]
    weights = sorted((record["weight"] for record in records if record["weight"]), reverse=True)
    assert [record["name"] for record in records] == [own.name for own in CONFIGURATIONS]
    assert sum(weights) == pytest.approx(1, abs=1e-5)
    assert 1 < len(weights) < len(records), "the rows are chosen so that some serve"
    assert config.members == 3 * len(weights)
    of_members = np.reshape(config.member_weights, (-1, 3)) / (sum(config.member_weights) / 3)
    np.testing.assert_allclose(of_members, np.repeat(weights, 3).reshape(-1, 3), rtol=1e-5)
    x = prepare(model.table, resolve_for_table(RUN, model.table)).x["train"]
    each = model.checkpoint.inference_network().forward_members(x)  # (members, rows, 2)
    expected = np.average(each, axis=0, weights=np.repeat(weights, 3))
    np.testing.assert_allclose(model.checkpoint.inference_network().forward(x), expected, atol=1e-6)
    found = model.out_of_fold
    own = each.reshape(-1, 3, *each.shape[1:])[:, found.fold, np.arange(len(x))]  # (configurations, rows, 2)
    np.testing.assert_allclose(found.answers, np.average(own, axis=0, weights=weights), atol=1e-6)
    figure = log_loss(model.table.target[found.rows], in_double(found.answers))
    assert model.metrics["validation"]["log_loss"] == pytest.approx(figure, rel=1e-5)


def in_double(probabilities):
    honest = probabilities.astype(np.float64)
    return honest / honest.sum(axis=1, keepdims=True)  # scikit-learn warns of float32 sums


@pytest.mark.parametrize("calibrate", [True, False])
def test_the_figures_are_those_of_the_networks_that_stay(calibrate):
    table, config = read_table(frame_of(), target="y", settings=RUN | {"calibrate": calibrate})
    rows = prepare(table, config)
    whole = train(config, rows.architecture, rows.matrices(), device="cpu")
    trained, records = choose_configurations(config, rows, whole)
    network = Checkpoint(config=trained.architecture, schema=rows.schema, tensors=trained.tensors).inference_network()
    each = network.forward_members(rows.x["train"])
    own = each.reshape(-1, 3, *each.shape[1:])[:, rows.split.folds, np.arange(len(rows.y["train"]))]
    chosen = sorted((r for r in records if r["weight"]), key=lambda r: (-r["weight"], r["log_loss"]))
    assert len(chosen) == len(own)
    for record, answers in zip(chosen, own, strict=True):
        assert record["log_loss"] == pytest.approx(log_loss(rows.y["train"], in_double(answers)), rel=1e-4)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
@pytest.mark.parametrize("metric", [None, "accuracy"])
def test_a_configuration_whose_answers_are_not_finite_is_not_chosen(model, metric):
    table, config = read_table(frame_of(), target="y", settings=RUN | {"metric": metric})
    rows = prepare(table, config)
    whole = train(config, rows.architecture, rows.matrices(), device="cpu")
    diverged = {name: tensor.copy() for name, tensor in whole.tensors.items()}
    for name in ("layers.0.weight", "layers.1.weight"):
        diverged[name][:3] *= np.float32(1e30)
    chosen, records = choose_configurations(config, rows, replace(whole, tensors=diverged))
    figure = "log_loss" if metric is None else "error"
    assert (records[0]["weight"], records[0][figure]) == (0, None)
    assert all(record[figure] > 0 for record in records[1:])
    assert sum(record["weight"] for record in records) == pytest.approx(1, abs=1e-5)
    assert all(np.abs(tensor).max() < 1e20 for tensor in chosen.tensors.values())
    assert "nan" not in chosen.verdict
    training = {**model.checkpoint.training, "configurations": records}
    head, cells = configurations_table(replace(model.checkpoint, training=training))
    assert cells[0][len(head) - 1] == "not finite"


def test_a_portfolio_is_saved_read_and_reported(model, tmp_path):
    save_checkpoint(model.checkpoint, tmp_path / "model.safetensors")
    again = load_checkpoint(tmp_path / "model.safetensors").checkpoint
    assert again.config == model.checkpoint.config
    x = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    np.testing.assert_array_equal(again.inference_network().forward(x), model.checkpoint.inference_network().forward(x))
    assert model.notes[0].startswith("Portfolio: the model has ")
    assert restored(again, model.table).notes == model.notes
    evaluation = evaluation_of(model)
    assert evaluation.out_of_fold.folds == 3
    report, card = html_report(model, "m@1", evaluation), model_card(model, "m@1", evaluation)
    networks = model.checkpoint.config.members
    assert f"a row has the weighted mean of {networks // 3} networks, one of each configuration." in report
    assert f"The model that is served answers by the weighted mean of all {networks} networks" in report
    section = report.split("<h2>Configurations</h2>")[1].split("</section>")[0]
    for record in again.training["configurations"]:
        shown = f"{record['weight']:.4f}" if record["weight"] else "not served"
        assert shown in section
        [line] = [line for line in card.splitlines() if line.startswith(f"| {record['name']} |")]
        assert shown in line
        assert f"{record['log_loss']:.4f}" in line


@pytest.mark.parametrize("metric", [None, "mae"])
def test_values_are_chosen_by_their_own_figure(metric):
    frame = frame_of(120).assign(y=lambda frame: 1e6 + 10 * frame.a)
    model = fit(frame, target="y", **RUN | {"metric": metric})
    records, name = model.checkpoint.training["configurations"], metric or "rmse"
    assert all(record[name] > 0 for record in records)
    best = min(record[name] for record in records)
    assert model.metrics["validation"][name] <= best * 1.001
    if metric:
        truth = model.table.target[model.out_of_fold.rows]
        figure = mean_absolute_error(truth, model.out_of_fold.answers[:, 0])
        assert model.metrics["validation"]["mae"] == pytest.approx(figure)


@pytest.mark.parametrize("metric", ["auc", "accuracy", "balanced-accuracy", "f1"])
def test_every_metric_of_classes_chooses(metric):
    figure = {"auc": "ranking_error", "accuracy": "error", "balanced-accuracy": "balanced_error", "f1": "log_loss"}
    model = fit(frame_of(90), target="y", **RUN | {"metric": metric, "epochs": 3})
    assert all(figure[metric] in record for record in model.checkpoint.training["configurations"])


def test_a_portfolio_resumes_to_the_same_bytes(tmp_path):
    path, seen = tmp_path / "state.safetensors", []
    frame = frame_of(90)
    whole = fit(frame, target="y", **RUN)
    fit(frame, target="y", **RUN, keep=ResumeFile(path), on_epoch=seen.append, should_stop=lambda: len(seen) == 4)
    again = fit(frame, target="y", **RUN, keep=ResumeFile(path), resume=True)
    assert again.checkpoint.header() == whole.checkpoint.header()
    for name, tensor in whole.checkpoint.tensors.items():
        np.testing.assert_array_equal(again.checkpoint.tensors[name], tensor)


def test_the_learning_rate_finder_has_no_portfolio():
    with pytest.raises(ConfigError, match="lr-find suggests one: leave out --portfolio"):
        stepper_of(*read_table(frame_of(60), target="y", settings=RUN))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"folds": False}, "--portfolio with --folds and --members K"),
        ({"members": 251}, "members must be at most 250 with --portfolio"),
        ({"portfolio": 1}, "portfolio must be true or false"),
        ({"budget": "60s"}, "a budget of time does not plan a portfolio"),
        ({"engine": "numpy", "folds": False, "members": 1}, "portfolio"),
    ],
)
def test_a_portfolio_is_refused_where_it_cannot_be_trained(settings, words):
    with pytest.raises(ConfigError, match=words):
        fit(frame_of(60), target="y", **RUN | settings)
