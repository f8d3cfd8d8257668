"""A distilled model is one network that answers nearly as an ensemble does."""

import dataclasses
import json
import re
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

import axon
from models.checkpoint import save_checkpoint
from models.columns.schema import CategoricalColumn
from models.errors import ConfigError
from models.model_version import CARD_FILE, REPORT_FILE
from models.store import Store
from training.budget import TimeBudget
from training.cli import main
from training.config import resolve
from training.data.column_choices import ColumnChoices
from training.data.jittered_rows import RowJitter
from training.data.preprocessing import standardise
from training.distillation import Distilled, student_config, taught_matrices, teacher_answers
from training.engines.gradients import BatchGradient, SmallBatchGradient
from training.engines.network.losses import CrossEntropy, SoftCrossEntropy
from training.engines.trainer import Trainer
from training.fit import fit, fit_table
from training.prepared_rows import prepare
from training.progress import progress
from training.search import search
from training.search.learning_rate.trainer_stepper import stepper_of
from training.sources import read_table

RUN = {"recipe": "default", "hidden_sizes": (16, 16), "frequencies": 0, "epochs": 40}


def noisy(rows=260, seed=0):
    """Makes few rows with much noise, of which the mean of several networks learns less than one network does."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.uniform(-1, 1, size=(rows, 4)), columns=list("abcd"))
    return frame.assign(y=np.sin(3 * frame.a) + frame.b * frame.c + 0.7 * rng.normal(size=rows))


def classes(rows=260, seed=0):
    frame = noisy(rows, seed)
    return frame.assign(y=np.where(frame.y > 0.6, "high", "low"))


def mixed(rows=150):
    rng = np.random.default_rng(3)
    number = rng.normal(size=rows)
    number[::7] = np.nan
    names = rng.choice(["x", "y", "z"], rows)
    days = pd.to_datetime("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, rows), unit="D")
    return pd.DataFrame({"n": number, "c": names, "d": days, "y": rng.choice(["p", "q"], rows)})


@pytest.mark.parametrize("frame", [noisy, classes])
def test_a_student_is_nearer_to_the_ensemble_than_a_plain_network_of_the_same_seed(frame):
    model, ensemble, plain = (
        fit(frame(), target="y", **RUN, members=members, distill=distill)
        for members, distill in ((6, True), (6, False), (1, False))
    )
    new = frame(2000, seed=9).drop(columns="y")  # rows that none of them has seen

    def answers(fitted):
        rows = fitted.predict(new) if frame is noisy else fitted.predict_proba(new)
        return np.asarray(rows, dtype=np.float64)

    def distance(fitted):
        return float(np.sqrt(np.mean(np.square(answers(fitted) - answers(ensemble)))))

    assert distance(model) < 0.8 * distance(plain)
    # One network in every respect: the parameters, shapes and cost of a plain one.
    one, other = model.checkpoint.config, plain.checkpoint.config
    assert one == dataclasses.replace(other, temperature=one.temperature, dropout=0.0)
    assert one.parameter_count == other.parameter_count
    shapes = ({name: t.shape for name, t in m.checkpoint.tensors.items()} for m in (model, plain))
    assert next(shapes) == next(shapes)
    # The recorded figures are those of the three on the test part.
    figure = "rmse" if frame is noisy else "log_loss"
    record = model.checkpoint.training["distilled"]
    assert (record["members"], record["figure"]) == (6, figure)
    assert record["test"]["student"] == pytest.approx(model.metrics["test"][figure], rel=1e-6)
    assert record["test"]["ensemble"] == pytest.approx(ensemble.metrics["test"][figure], rel=1e-6)
    assert record["test"]["ensemble"] < record["test"]["member"]
    assert any(note.startswith("Distilled from 6 members") for note in model.notes)


def test_the_figure_of_members_is_the_mean_of_their_own_answers():
    how = RUN | {"epochs": 4}
    record = fit(noisy(), target="y", **how, members=3, distill=True).checkpoint.training["distilled"]
    ensemble = fit(noisy(), target="y", **how, members=3)
    rows = noisy().iloc[ensemble.split.test]
    network = ensemble.checkpoint.inference_network()
    x = rows.drop(columns="y").to_numpy(dtype=np.float32)
    alone = network.forward_members(x)[:, :, 0]  # (members, rows)
    errors = np.sqrt(np.mean(np.square(alone - rows.y.to_numpy()), axis=1))
    assert record["test"]["member"] == pytest.approx(errors.mean(), rel=1e-4)


def test_the_same_seed_gives_the_same_bytes_and_both_trainings_are_shown(tmp_path, capsys):
    from rich.console import Console

    files, epochs = [], []
    for seed, name in ((0, "a"), (0, "b"), (1, "c")):
        how = RUN | {"epochs": 3, "seed": seed, "members": 2, "distill": True, "patience": None}
        with progress(Console(stderr=True), "t") as show:

            def on_epoch(epoch, show=show):
                show(epoch)
                epochs.append(epoch)

            model = fit(classes(), target="y", **how, on_epoch=on_epoch, threads=1)
        files.append(tmp_path / name)
        save_checkpoint(model.checkpoint, files[-1])
    a, b, c = (file.read_bytes() for file in files)
    assert a == b != c
    first = epochs[:6]
    assert [(epoch.number, epoch.of) for epoch in first] == [(i, 6) for i in range(1, 7)]
    assert [epoch.phase for epoch in first] == ["ensemble of 2"] * 3 + ["distillation"] * 3
    shown = capsys.readouterr().err
    assert "t, ensemble of 2: epoch 1 of 6" in shown
    assert "t, distillation: epoch 6 of 6" in shown


def test_soft_labels_are_hard_ones_where_the_teacher_is_sure_and_the_gradient_is_torchs():
    rng = torch.Generator().manual_seed(0)
    out = torch.randn(2, 5, 3, generator=rng)
    place = torch.randint(0, 3, (2, 5), generator=rng)
    weight = torch.rand(2, 5, generator=rng)
    sure = functional.one_hot(place, 3).float()
    for weights in (None, weight):
        hard, soft = out.clone(), out.clone()
        expected = CrossEntropy()(hard, place, weights, gradient=True)
        torch.testing.assert_close(SoftCrossEntropy()(soft, sure, weights, gradient=True), expected)
        torch.testing.assert_close(soft, hard)
    target = torch.softmax(torch.randn(2, 5, 3, generator=rng), dim=-1)
    leaf = out.clone().requires_grad_()
    loss = functional.cross_entropy(leaf.reshape(10, 3), target.reshape(10, 3), reduction="none").view(2, 5)
    (loss * weight).mean(dim=1).sum().backward()
    gradient = out.clone()
    found = SoftCrossEntropy()(gradient, target, weight, gradient=True)
    torch.testing.assert_close(found, (loss * weight).mean(dim=1).detach())
    torch.testing.assert_close(gradient, leaf.grad)


@pytest.mark.parametrize("scaling", ["robust", "standard"])
def test_jittered_rows_stay_rows_of_the_table(scaling):
    table, config = read_table(mixed(), target="y", settings={"scaling": scaling})
    rows = prepare(table, config)
    x, schema = rows.x["train"], rows.schema
    made = RowJitter(schema, x).copies(x, np.random.default_rng(0))
    starts = np.cumsum([0, *(column.width for column in schema.columns)])
    for column, (begin, end) in zip(schema.columns, pairwise(starts), strict=True):
        before, after = x[:, begin:end], made[:, begin:end]
        changed = (before != after).any(axis=1)
        known = {tuple(cell) for cell in before.tolist()}
        if column.kind == "numeric":
            is_number = changed.mean() > 0.5
            assert is_number
            assert after[:, 0].min() >= before[:, 0].min()
            assert after[:, 0].max() <= before[:, 0].max()
            gap = np.float32(column.shift)
            if column.missing == "indicator":
                assert set(after[after[:, 1] == 1, 0].tolist()) == {gap}, "a gap has no other number"
            # A seventh of the cells are gaps, moved only where another row's cell came in.
            assert (after[:, 0] == gap).sum() == pytest.approx((before[:, 0] == gap).sum(), abs=8)
        else:
            assert {tuple(cell) for cell in after.tolist()} <= known, "no half category and no date that never was"
            share = 0.02 if isinstance(column, CategoricalColumn) else 0.04
            assert share < changed.mean() < 0.2
    assert RowJitter(schema, x, jitter=0, swap=0).copies(x, np.random.default_rng(1)).tolist() == x.tolist()


def test_a_fill_value_moves_no_other_number_far_and_stays_itself():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=400), "heavy": rng.standard_cauchy(400), "y": rng.normal(size=400)})
    frame.loc[[3, 90, 200], "a"] = 999_999.0
    table, config = read_table(frame, target="y", settings={})
    rows = prepare(table, config)
    x = rows.x["train"]
    made = RowJitter(rows.schema, x, swap=0).copies(x, rng)
    is_fill = x[:, 0] > 1000
    assert is_fill.any()
    assert made[is_fill, 0].tolist() == x[is_fill, 0].tolist()
    moves = np.abs(made - x)[~is_fill]
    assert 0.1 < moves[:, 0].std() < 0.4
    quartiles = np.subtract(*np.quantile(x[:, 1], [0.75, 0.25]))
    assert np.median(moves[:, 1]) < 0.4 * quartiles, "heavy tails do not widen the noise"


def test_rows_of_weight_0_reach_no_student():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=200), "y": rng.normal(size=200), "w": 1.0})
    strange = frame.index[::10]
    frame.loc[strange, ["a", "w"]] = [50.0, 0.0]
    how = RUN | {"members": 2, "distill": True}
    table, config = read_table(frame, target="y", settings=how, choices=ColumnChoices(weight="w"))
    rows = prepare(table, config)
    teacher = fit_table(table, dataclasses.replace(config, distill=False))
    taught = taught_matrices(teacher, prepare(table, student_config(config, 140), split=teacher.split), seed=0)
    counted = taught.weight > 0
    assert 0 < counted.sum() < len(counted)
    ordinary = standardise(rows.schema, rows.x["train"][rows.weight["train"] > 0])
    assert ordinary.min() <= taught.x[counted].min()
    assert taught.x[counted].max() <= ordinary.max()


def test_a_student_learns_honest_probabilities_and_gets_a_decision_of_its_own():
    how = RUN | {"epochs": 6, "metric": "balanced-accuracy"}
    ensemble = fit(classes(), target="y", **how, members=3)
    rows = prepare(ensemble.table, resolve(how, task="classification"), split=ensemble.split)
    shift = np.array(ensemble.checkpoint.training["decision"]["shift"])
    served = ensemble.checkpoint.inference_network().forward_members(rows.x["test"]).astype(np.float64)
    honest = served * np.exp(-shift)
    honest = (honest / honest.sum(axis=-1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(teacher_answers(ensemble.checkpoint, rows.x["test"]), honest, atol=1e-5)
    student = fit(classes(), target="y", **how, members=3, distill=True).checkpoint
    assert student.training["decision"]["shift"] == pytest.approx(shift.tolist(), rel=1e-5)  # by the same shares


@pytest.mark.parametrize("metric", ["quantile", "mae"])
def test_a_student_of_quantiles_answers_the_quantile_and_not_one_of_the_ensembles_answers(metric):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"a": rng.uniform(-1, 1, 1500)})
    frame = frame.assign(y=3 * frame.a + rng.exponential(size=1500))
    aim = {"metric": metric} | ({"quantile": 0.9} if metric == "quantile" else {})
    model = fit(frame, target="y", **RUN | {"epochs": 25}, **aim, members=3, distill=True)
    new = pd.DataFrame({"a": np.linspace(-0.9, 0.9, 200)})
    beyond = np.array(model.predict(new)) - 3 * new.a.to_numpy()
    quantile = -np.log(1 - aim.get("quantile", 0.5))  # of the exponential distribution
    assert np.mean(beyond) == pytest.approx(quantile, abs=0.3)


@pytest.mark.parametrize("recipe", ["default", "classic"])  # classic: small networks learn by NumPy
def test_weights_and_gaps_and_names_go_through(recipe):
    frame = mixed().assign(w=np.tile([1.0, 2.0, 0.5], 50))
    how = {"recipe": recipe, "hidden_sizes": (16,), "epochs": 3, "batch_size": 32}
    model = fit(frame, target="y", choices=ColumnChoices(weight="w"), **how, members=2, distill=True)
    assert len(model.predict(frame.head(3))) == 3
    assert model.trained.epochs_run == model.trained.best_epoch == 3


def test_numpys_gradient_of_soft_labels_is_torchs():
    table, config = read_table(
        classes(), target="y", settings={"recipe": "classic", "hidden_sizes": (8,), "dropout": 0.0}
    )
    rows = prepare(table, config)
    sure = np.random.default_rng(0).uniform(0.1, 0.9, size=len(rows.x["train"])).astype(np.float32)
    data = dataclasses.replace(rows.matrices(), taught=np.stack([sure, 1 - sure], axis=1))
    trainer = Trainer(config, rows.architecture, data, device=torch.device("cpu"))
    assert isinstance(trainer._step._learn, SmallBatchGradient)
    order = torch.arange(16)[None]
    small = trainer._step._learn(order), trainer.network.parameters.gradient.clone()
    usual = BatchGradient(trainer.network, trainer._train, trainer._loss)
    torch.testing.assert_close((usual(order), trainer.network.parameters.gradient), small)


@pytest.mark.parametrize("epochs", [2, 5, 7])  # of the ensemble's 5 and the student's 5
def test_an_interrupt_at_any_time_keeps_the_ensemble(epochs):
    table, config = read_table(classes(), target="y", settings=RUN | {"epochs": 5, "members": 2, "distill": True})
    seen = []
    model = fit_table(table, config, on_epoch=seen.append, should_stop=lambda: len(seen) >= epochs)
    assert len(seen) == epochs
    assert model.checkpoint.config.members == 2
    assert "distilled" not in model.checkpoint.training
    assert "distill" not in model.checkpoint.training
    assert any("ended before the distillation was done" in note for note in model.notes)


def test_a_student_that_fails_costs_no_ensemble():
    table, config = read_table(classes(), target="y", settings=RUN | {"epochs": 3, "members": 2, "distill": True})

    def without_memory(epoch):
        if epoch.phase == "distillation":
            raise MemoryError

    model = fit_table(table, config, on_epoch=without_memory)
    ensemble = fit_table(table, dataclasses.replace(config, distill=False))
    assert model.checkpoint.config == ensemble.checkpoint.config
    assert model.metrics == ensemble.metrics
    assert "distilled" not in model.checkpoint.training
    assert any("The distillation failed" in note and "not enough memory" in note for note in model.notes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distill": True}, "--distill with --members K"),
        ({"distill": True, "members": 4, "folds": True}, "leave out --folds or --distill"),
        ({"distill": True, "members": 4, "epochs": 3, "epoch_plan": ((0, 3),)}, "an epoch plan is of one training"),
        ({"distill": True, "engine": "numpy"}, "no distill=True|--members"),
        ({"distill": 1, "members": 4}, "distill must be true or false"),
        ({"select_by": "last", "patience": 3}, "--patience none"),
    ],
)
def test_settings_without_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        resolve(settings, task="classification")


def test_the_last_epoch_is_kept_where_it_is_asked_for():
    how = RUN | {"epochs": 30, "dropout": 0.0, "schedule": "constant"}  # it learns the noise
    best, last = (fit(noisy(), target="y", **how, select_by=rule) for rule in ("loss", "last"))
    assert best.trained.best_epoch < last.trained.best_epoch == 30
    losses = last.trained.history["validation_loss"]
    assert losses == best.trained.history["validation_loss"]
    assert losses[-1] > min(losses)
    longer = fit(noisy(), target="y", **how, select_by="last", should_stop=lambda: True)
    assert longer.trained.best_epoch == 1


def test_what_needs_one_training_is_refused_with_a_remedy(tmp_path):
    how = RUN | {"members": 2, "distill": True}
    with pytest.raises(ConfigError, match="leave out --distill or the budget"):
        fit("iris", **how, budget=TimeBudget(seconds=60.0, begun=0.0))
    with pytest.raises(ConfigError, match="lr-find looks at one: leave out --distill"):
        stepper_of(*read_table("iris", settings={"members": 2, "distill": True}))
    with pytest.raises(ConfigError, match="cannot be resumed"):
        fit("iris", **how, resume=True)
    with pytest.raises(ConfigError, match="fit the winner's settings with --distill"):
        search("iris", settings=how, trials=1)


def test_the_sentence_says_what_was_kept():
    figures = {"members": 8, "rows": 10, "figure": "rmse", "ensemble": 2.0, "member": 3.0}
    assert Distilled(**figures, student=2.2).share_of_gain == pytest.approx(0.8)
    assert "80 % of what the ensemble gains" in Distilled(**figures, student=2.2).sentence()
    assert "no worse than the ensemble" in Distilled(**figures, student=1.9).sentence()
    assert "no better than a member" in Distilled(**figures, student=3.1).sentence()
    same = figures | {"ensemble": 3.5}
    assert "nothing to keep" in Distilled(**same, student=3.0).sentence()
    accuracy = figures | {"figure": "accuracy", "ensemble": 0.9, "member": 0.8}
    assert Distilled(**accuracy, student=0.85).share_of_gain == pytest.approx(0.5)
    assert json.dumps(Distilled(**accuracy, student=None).to_json())


def test_the_command_publishes_one_network_with_its_figures_in_report_and_card(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    classes(120).to_csv("t.csv", index=False)
    line = ["fit", "t.csv", "--target", "y", "--hidden", "8", "--frequencies", "0", "--epochs", "3", "--members", "2"]
    assert main([*line, "--distill", "--store", "store"]) == 0
    out = capsys.readouterr().out
    assert "Distilled from 2 members: log loss" in out
    assert out.splitlines()[-1] == "published t@1"
    published = Store(tmp_path / "store").version("t", 1)
    assert published.load().checkpoint.config.members == 1
    checkpoint = published.load().checkpoint
    assert (checkpoint.config.dropout, checkpoint.training["dropout"]) == (0.0, 0.15)
    for name, row in ((REPORT_FILE, r'<th scope="row">{}</th><td>{}</td>'), (CARD_FILE, r"\| {} \| {} \|")):
        text = published.path.with_name(name).read_text()
        assert "Distilled from 2 members: log loss" in text, name
        for setting, own in (("members", "1"), ("dropout", "0(.0)?"), ("select_by", "last"), ("epochs", "3")):
            assert len(re.findall(row.format(setting, own), text)) == 1, (name, setting)
        assert "The members of the ensemble had other settings: dropout 0.15, " in text, name
    assert main([*line, "--distill", "--budget", "60s"]) == 2
    assert "leave out --distill or the budget" in capsys.readouterr().err
    model = axon.fit(classes(120), target="y", **RUN | {"epochs": 2}, members=2, distill=True, progress=False)
    assert model.fitted.checkpoint.config.members == 1
