"""Population-based training: members keep trained weights when settings change, good ones are copied, one is saved."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import save_checkpoint
from models.errors import ConfigError
from models.model_version import CARD_FILE, REPORT_FILE
from models.store import Store
from training.cli import main
from training.config import resolve
from training.engines.engine import Matrices
from training.engines.member_rates import MemberRates
from training.engines.trainer import Trainer
from training.errors import TrainingError
from training.fit import fit_table
from training.prepared_rows import prepare
from training.search.population.members import (
    MAX_DROPOUT,
    STEPS,
    Population,
    initial_population,
    next_generation,
    rank_members,
)
from training.search.population.search import search_population, train_population
from training.sources import read_table

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
CPU = torch.device("cpu")
QUICK = {"hidden_sizes": (16,), "recipe": "default", "batch_size": 32}
PLAIN = {"recipe": "classic", "normalization": "none", "dropout": 0.0, "clip_norm": None, "weight_decay": 0.05}
RATES = np.array([0.5, 1.0, 2.0, 40.0])
DROPOUTS = np.array([0.1, 0.2, 0.3, 0.4])


def rows_of(config):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(96, 4)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    data = Matrices(x=x[:64], y=y[:64], validation_x=x[64:], validation_y=y[64:])
    return config.architecture(in_features=4, out_features=2), data


def trainer_of(rates=RATES, dropouts=DROPOUTS, epochs=3, **settings):
    config = resolve(QUICK | {"epochs": 20} | settings, task="classification")
    architecture, data = rows_of(config)
    members = dataclasses.replace(architecture, members=len(rates))
    trainer = Trainer(config, members, data, device=CPU, rates=MemberRates(learning_rates=rates, dropouts=dropouts))
    for _ in range(epochs):
        trainer.epoch()
    return trainer


def table_of(name, **settings):
    return read_table(name, target=None, name=None, settings=settings)


@pytest.mark.parametrize("recipe", ["default", "classic"])  # the classic recipe also has BatchNorm statistics
def test_members_that_keep_their_place_answer_the_same_whatever_their_new_rates(recipe):
    trainer = trainer_of(recipe=recipe, dropout=0.2)
    before, judged = trainer.network.tensors(), trainer.evaluate()
    trainer.evolve(np.arange(4), learning_rates=RATES[::-1].copy(), dropouts=DROPOUTS)
    for name, tensor in trainer.network.tensors().items():
        np.testing.assert_allclose(tensor, before[name], rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(trainer.evaluate().loss, judged.loss, rtol=1e-4)


def test_members_that_keep_place_and_rates_keep_every_bit():
    trainer, untouched = trainer_of(), trainer_of()
    trainer.evolve(np.arange(4), learning_rates=RATES, dropouts=DROPOUTS)
    for _ in range(2):
        trainer.epoch()
        untouched.epoch()
    state = untouched.state()
    for name, array in trainer.state().items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)


def test_the_next_step_goes_as_far_as_the_new_rate_says():
    """Compares a step with an unchanged trainer's: Adam's step in θ is the same, except for the ratio of the rates."""
    settings = {"dropouts": np.zeros(4), "weight_decay": 0.0}
    evolved, untouched = trainer_of(**settings), trainer_of(**settings)
    ratios = np.array([0.8, 1.25, 1e-3, 10.0])
    start = untouched.network.tensors()
    evolved.evolve(np.arange(4), learning_rates=RATES * ratios, dropouts=np.zeros(4))
    batch = torch.arange(32).expand(4, -1)
    for trainer in (evolved, untouched):
        trainer.step(batch, rate=0.04)
    for name, tensor in evolved.network.tensors().items():
        way = untouched.network.tensors()[name] - start[name]
        for member, ratio in enumerate(ratios):
            size = np.abs(way[member]).max()
            np.testing.assert_allclose(
                tensor[member] - start[name][member], way[member] * ratio, atol=2e-3 * size * ratio + 2e-6, err_msg=name
            )


@pytest.mark.parametrize("optimizer", ["adamw", "adam"])
@pytest.mark.parametrize("normalization", ["none", "batch"])
def test_a_copy_learns_on_as_its_parent_does(optimizer, normalization):
    """Trains parent and copy at one rate, on one order of rows: weights, moments, statistics and decay are copied."""
    trainer = trainer_of(**PLAIN | {"normalization": normalization}, dropouts=np.zeros(4), optimizer=optimizer)
    rates = RATES[[3, 1, 1, 3]].copy()
    trainer.evolve(np.array([0, 1, 1, 0]), learning_rates=rates, dropouts=np.zeros(4))
    for i in range(5):
        trainer.step(torch.arange(i, i + 32).expand(4, -1), rate=0.001)
    loss = trainer.evaluate().loss
    assert loss[2] == pytest.approx(loss[1].item(), rel=1e-4)
    assert loss[3] == pytest.approx(loss[0].item(), rel=1e-4)
    for name, tensor in trainer.network.tensors().items():
        if name in ("layers.0.bias", "norms.0.running_mean") and normalization == "batch":
            continue  # the gradient of a bias before BatchNorm is rounding error, which Adam's step magnifies
        for child, parent in ((2, 1), (3, 0)):
            np.testing.assert_allclose(tensor[child], tensor[parent], rtol=1e-3, atol=1e-5, err_msg=name)
        assert tensor.ndim < 3 or np.abs(tensor[0] - tensor[1]).max() > 1e-2


@pytest.mark.parametrize("optimizer", ["adamw", "adam"])
def test_weight_decay_goes_with_a_members_rate_as_if_it_were_alone(optimizer):
    settings = PLAIN | {"optimizer": optimizer, "weight_decay": 0.3}
    together = trainer_of(rates=np.array([1.0, 5.0]), dropouts=np.zeros(2), epochs=0, **settings)
    alone = trainer_of(rates=np.array([1.0]), dropouts=np.zeros(1), epochs=0, **settings)
    first = together.network.tensors()
    alone.network.load({name: tensor[1] for name, tensor in first.items()})
    for i in range(10):
        batch = torch.arange(i, i + 32)
        together.step(batch.expand(2, -1), rate=0.002)
        alone.step(batch[None], rate=0.01)
    for name, tensor in alone.network.tensors().items():
        np.testing.assert_allclose(together.network.tensors()[name][1], tensor, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("regularization", ["constant", "flat_cosine"])
def test_dropout_is_the_members_own_from_then_on(regularization):
    """Checks the loss of a member that no longer drops (as without dropout), and of one that drops more (different)."""
    trainer = trainer_of(regularization=regularization, dropouts=np.full(4, 0.3))
    plain = trainer_of(regularization=regularization, dropouts=np.zeros(4), epochs=0)
    plain.network.load(trainer.network.tensors())
    trainer.evolve(np.arange(4), learning_rates=RATES, dropouts=np.array([0.0, 0.3, 0.0, 0.8]))
    batch = torch.arange(64).expand(4, -1)
    losses, expected = trainer.step(batch, rate=0.01), plain.step(batch, rate=0.01)
    apart = (losses / expected - 1).abs().numpy()
    assert (apart[[0, 2]] < 1e-4).all()
    assert (apart[[1, 3]] > 1e-2).all()


def test_members_that_were_set_out_alike_cannot_be_told_apart():
    config = resolve(QUICK | {"members": 2, "epochs": 2}, task="classification")
    trainer = Trainer(config, *rows_of(config), device=CPU)
    with pytest.raises(ConfigError, match="learn alike"):
        trainer.evolve(np.arange(2), learning_rates=np.ones(2), dropouts=np.zeros(2))


def test_an_evolved_trainer_is_restored_to_the_bit():
    trainer = trainer_of()
    trainer.evolve(np.array([1, 1, 2, 0]), learning_rates=RATES * 1.25, dropouts=DROPOUTS / 2)
    trainer.epoch()
    state = trainer.state()
    other = trainer_of(epochs=1)
    other.restore(state)
    trainer.epoch()
    other.epoch()
    for name, array in trainer.state().items():
        np.testing.assert_array_equal(array, other.state()[name], err_msg=name)


def test_one_member_comes_out_as_a_network_of_its_own():
    trainer = trainer_of()
    shapes = rows_of(trainer.config)[0].tensor_shapes()
    for name, tensor in trainer.network.tensors(2).items():
        assert tensor.shape == shapes[name]
        np.testing.assert_array_equal(tensor, trainer.network.tensors()[name][2])


def test_the_first_population_lies_around_the_recipe_which_is_its_first_member():
    population = initial_population(400, dropout=0.2, generator=np.random.default_rng(0))
    assert (population.rates[0], population.dropouts[0]) == (1.0, 0.2)
    for values, middle, spread in ((population.rates, 1.0, 4.0), (population.dropouts, 0.2, 3.0)):
        assert values.min() >= middle / spread
        assert values.max() <= middle * spread
        shares = np.log(values / middle) / np.log(spread)  # uniform in [-1, 1]: mean 0, variance 1/3
        assert shares.mean() == pytest.approx(0, abs=0.12)
        assert shares.var() == pytest.approx(1 / 3, abs=0.06)
    assert initial_population(9, dropout=0.8, generator=np.random.default_rng(0)).dropouts.max() <= MAX_DROPOUT
    with pytest.raises(ConfigError, match="got 1"):
        initial_population(1, dropout=0.2, generator=np.random.default_rng(0))
    with pytest.raises(ConfigError, match="-1"):
        Population(rates=np.array([1.0, -1.0]), dropouts=np.zeros(2))


def test_the_worst_quarter_and_all_who_went_astray_go_on_from_the_best_quarter():
    generator = np.random.default_rng(1)
    for members in (2, 3, 4, 8, 17):
        for _ in range(30):
            losses = generator.permutation(members) + 1.0
            losses[generator.random(members) < 0.3] = np.nan
            if np.isnan(losses).all():
                continue
            population = initial_population(members, dropout=0.5, generator=generator)
            next_one = next_generation(population, figures=losses, losses=losses, generator=generator)
            quarter, sound = max(members // 4, 1), np.flatnonzero(np.isfinite(losses))
            best = sound[np.argsort(losses[sound])][:quarter]
            worst = np.argsort(np.where(np.isnan(losses), np.inf, losses))[-max(quarter, members - len(sound)) :]
            replaced = np.flatnonzero(next_one.parents != np.arange(members))
            assert set(replaced) == set(worst)
            assert set(next_one.parents[replaced]) <= set(best)
            kept = np.setdiff1d(np.arange(members), replaced)
            for name in ("rates", "dropouts"):
                before, after = getattr(population, name), getattr(next_one.population, name)
                np.testing.assert_array_equal(after[kept], before[kept])
                steps = after[replaced] / before[next_one.parents[replaced]]
                assert all(np.isclose(step, STEPS).any() or name == "dropouts" for step in steps)
            assert next_one.population.dropouts.max() <= MAX_DROPOUT


def test_members_are_ordered_by_figure_then_loss_and_last_without_one():
    figures = np.array([0.2, 0.1, 0.1, 0.0, 0.1])
    losses = np.array([1.0, 3.0, 2.0, np.nan, 2.0])
    assert rank_members(figures, losses).tolist() == [2, 4, 1, 0, 3]


@pytest.fixture(scope="module")
def diabetes():
    table, config = table_of("diabetes", hidden_sizes=(32,), epochs=30, batch_size=64)
    return table, config


def test_the_winner_is_no_worse_than_the_median_of_the_same_members_left_alone(diabetes):
    table, config = diabetes
    rows = prepare(table, config)
    initial = initial_population(8, dropout=0.15, generator=np.random.default_rng(3))
    runs = [
        train_population(
            config, rows.architecture, rows.matrices(), initial=initial, every=every, metric="rmse",
            generator=np.random.default_rng(4),
        )
        for every in (3, config.epochs)
    ]  # fmt: skip
    evolved, alone = runs
    assert evolved.exploits
    assert not alone.exploits
    np.testing.assert_array_equal(evolved.values[:3], alone.values[:3])  # the same members, up to the first selection
    assert evolved.best_value <= np.median(alone.values.min(axis=0))
    # The whole population ends better too, not only the member that was selected.
    assert np.median(evolved.values[-1]) <= np.median(alone.values[-1])


def test_the_winners_line_leads_through_those_whom_it_goes_back_to(diabetes):
    table, config = diabetes
    result = search_population(table, config, members=8, every=3, device="cpu")
    run = result.run
    line, places = run.lineage(), dict.fromkeys(range(1, run.best_epoch + 1))
    assert len(line) == run.best_epoch
    assert line[-1] == run.best_member
    assert run.values[run.best_epoch - 1, run.best_member] == np.nanmin(run.values) == run.best_value
    for epoch in places:
        if epoch == run.best_epoch:
            break
        before, after = line[epoch - 1], line[epoch]
        [*replaced] = [t for t in run.exploits if (t.epoch, t.member) == (epoch, after)]
        assert before == (replaced[0].parent if replaced else after)
    for exploit in run.exploits:
        assert exploit.epoch % 3 == 0
        before = run.learning_rates[exploit.epoch - 1, exploit.parent]
        assert run.learning_rates[exploit.epoch, exploit.member] == exploit.learning_rate
        assert np.isclose(exploit.learning_rate / before, STEPS).any()
    training = result.model.checkpoint.training
    assert training["population"]["members"] == 8
    assert training["population"]["stages"][0]["epoch"] == 1
    assert training["population"]["stages"][-1]["learning_rate"] == run.learning_rates[run.best_epoch - 1, line[-1]]
    assert len(training["history"]["validation_loss"]) == run.best_epoch
    assert result.model.checkpoint.config.members == 1


def test_the_model_is_made_as_fit_makes_one(diabetes):
    table, config = diabetes
    result = search_population(table, config, members=4, every=10, device="cpu")
    fitted = fit_table(table, dataclasses.replace(config, epochs=2), device="cpu")
    one, other = result.model.checkpoint, fitted.checkpoint
    assert one.schema == other.schema
    assert one.data == other.data
    assert set(one.training) == {*other.training, "population"}
    assert {name: t.shape for name, t in one.tensors.items()} == {name: t.shape for name, t in other.tensors.items()}
    # The ranked RMSE and the served one differ by clamping and rounding.
    assert one.metrics["validation"]["rmse"] == pytest.approx(result.run.best_value, rel=0.02)
    assert set(one.metrics) == {"train", "validation", "test"}


def test_a_learning_rate_far_off_is_replaced_and_the_run_goes_on():
    table, config = table_of("breast_cancer", hidden_sizes=(16,), epochs=12)
    initial = Population(rates=np.array([1.0, 0.5, 1e3, 2.0]), dropouts=np.zeros(4))
    run = search_population(table, config, initial=initial, every=3, device="cpu").run
    assert [exploit.member for exploit in run.exploits if exploit.epoch == 3] == [2]
    assert run.learning_rates[2, 2] == 1e3 * config.learning_rate
    assert run.learning_rates[3, 2] <= 2.5 * config.learning_rate
    assert run.values[2, 2] > 1 > 0.2 > run.values[-1, 2]


def test_members_whose_loss_is_no_number_touch_nobody_and_are_replaced():
    table, config = table_of("diabetes", hidden_sizes=(16,), epochs=6)
    initial = Population(rates=np.array([1.0, 1e30, 0.5, 1e30]), dropouts=np.zeros(4))
    run = search_population(table, config, initial=initial, every=2, device="cpu").run
    assert not np.isfinite(run.values[0, [1, 3]]).any()
    assert np.isfinite(run.values[:, [0, 2]]).all()
    assert np.isfinite(run.values[2:]).all()
    assert {exploit.member for exploit in run.exploits if exploit.epoch == 2} == {1, 3}
    with pytest.raises(TrainingError, match="every member"):
        search_population(
            table, config, initial=Population(rates=np.full(2, 1e30), dropouts=np.zeros(2)), every=2, device="cpu"
        )


def test_a_population_that_diverges_as_a_whole_keeps_what_was_best_before():
    table, config = table_of("diabetes", hidden_sizes=(16,), epochs=6, schedule="constant", batch_size=1024)
    initial = Population(rates=np.array([1e8, 2e8]), dropouts=np.zeros(2))
    result = search_population(table, config, initial=initial, every=5, device="cpu")
    assert result.run.ended == "diverged"
    assert result.run.epochs < 6
    assert any("finite" in note for note in result.model.notes)
    json.dumps(result.to_json(), allow_nan=False)


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    table, config = table_of("wine", hidden_sizes=(16,), epochs=10, dropout=0.2)
    files = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        seeded = dataclasses.replace(config, seed=seed)
        result = search_population(table, seeded, members=4, device="cpu")
        files.append(tmp_path / name)
        save_checkpoint(result.model.checkpoint, files[-1])
    a, b, c = (file.read_bytes() for file in files)
    assert a == b != c


def test_accuracy_ranks_where_it_is_asked_for_and_time_ends_a_run():
    table, config = table_of("wine", hidden_sizes=(16,), epochs=10, metric="accuracy")
    run = search_population(table, config, members=4, device="cpu").run
    np.testing.assert_allclose(run.values, 1 - run.measures["validation_error"])
    assert run.best_value == run.values.max()
    ticks = iter(range(100))
    cut = search_population(table, config, members=4, timeout=3, device="cpu", clock=lambda: float(next(ticks)))
    assert (cut.run.ended, cut.run.epochs, cut.model.trained.stopped) == ("time", 3, "time")
    assert any(note.startswith("The time was up after epoch 3;") for note in cut.model.notes)
    assert cut.model.checkpoint.training["select_by"] == "error"


@pytest.mark.parametrize(
    ("settings", "how", "named"),
    [
        ({"engine": "numpy"}, {}, "numpy"),
        ({"members": 3}, {}, "3 members"),
        ({"epochs": 10}, {"every": 10}, "every 10 epochs"),
        ({}, {"every": 0}, "every"),
        ({}, {"members": 1}, "got 1"),
        ({}, {"metric": "rmse"}, "rmse"),
        ({}, {"metric": "accuracy"}, "resolve them with metric='accuracy'"),
        ({"metric": "f1"}, {}, "f1"),
        ({"metric": "balanced-accuracy", "select_by": "loss"}, {}, "leave out select_by=loss"),
        ({"select_by": "last", "patience": None}, {}, "ranked by log_loss, .* leave out select_by=last"),
        ({"select_by": "balanced-error"}, {}, "leave out select_by=balanced-error"),
        ({"epochs": 9, "epoch_plan": ((0, 30), (6, 9))}, {}, "leave out epoch_plan"),
        ({}, {"timeout": -1}, "timeout"),
    ],
)
def test_what_cannot_be_is_refused_by_name(settings, how, named):
    table, config = table_of("iris", **settings)
    with pytest.raises(ConfigError, match=named):
        search_population(table, config, **how)


def test_r2_is_refused_for_the_metric_that_ranks_alike():
    with pytest.raises(ConfigError, match="rmse ranks"):
        search_population(*table_of("diabetes", metric="r2"))


COMMAND = ["search", "iris", "--population", "4", "--epochs", "8", "--every", "2", "--hidden", "16", "--device", "cpu"]


def test_the_command_ranks_plots_and_publishes_the_winner(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*COMMAND, "--name", "flower"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "published flower@1"
    record = json.loads(Path("searches/flower/population.json").read_text())
    assert record["model"] == "flower@1"
    ranking = [(str(place), str(standing["member"])) for place, standing in enumerate(record["ranking"], 1)]
    assert sorted(member for _, member in ranking) == ["0", "1", "2", "3"]
    values = [standing["value"] for standing in record["ranking"]]
    assert values == sorted(values)
    cells = [line.split() for line in out.splitlines()]
    shown = [(line[0], line[1]) for line in cells if len(line) > 4 and line[0].isdecimal() and line[1].isdecimal()]
    assert shown == ranking
    assert f"Member {record['winner']['member']} won, as it was after epoch {record['winner']['epoch']}" in out
    published = Store("checkpoints").version("flower", 1)
    training = published.read_header()["training"]
    assert (training["population"]["every"], training["select_by"]) == (2, "loss")
    plot = Path("searches/flower/population.svg").read_text()
    assert plot.startswith("<?xml")
    assert main([*COMMAND, "--name", "flower", "--json", "--no-publish", "--quiet"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["model"] is None
    kept = Path(again["kept"])
    assert {file.name for file in kept.parent.iterdir()} == {kept.name, REPORT_FILE, CARD_FILE}
    assert again["winner"] == record["winner"]
    assert Path("searches/flower/population.svg").read_text() == plot
    assert [entry.versions for entry in Store("checkpoints").entries()] == [(1,)]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--trials", "50"], "--trials"),
        (["--sampler", "tpe"], "--sampler"),
        (["--pruner", "none"], "--pruner"),
        (["--jobs", "1"], "--jobs"),
        (["--vary", "dropout=0..0.5"], "--vary"),
        (["--grid-points", "3"], "--grid-points"),
        (["--engine", "numpy", "--recipe", "classic"], "numpy"),
        (["--epoch-plan", "0:10,3:8"], "--epoch-plan"),
        (["--select-by", "last"], "--select-by"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(options, named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*COMMAND, *options]) == 2
    assert named in capsys.readouterr().err
    assert main(["search", "iris", "--every", "3"]) == 2
    assert "--population" in capsys.readouterr().err
    assert not Path("checkpoints").exists()


@pytest.mark.slow
def test_ctrl_c_keeps_the_best_so_far(tmp_path):
    command = [sys.executable, "-m", "training", *COMMAND, "--epochs", "100000", "--every", "50000"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert "epoch 1 of" in run.stderr.readline()
        run.send_signal(signal.SIGINT)
        out, errors = run.communicate(timeout=120)
    assert run.returncode == 130, errors
    assert out.splitlines()[-1] == "kept checkpoints/.unpublished/iris-1/model.safetensors"
    assert "stopped on request" in out
    assert "Traceback" not in errors
