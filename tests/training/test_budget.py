"""A run within a budget ends in time on a machine whose speed changes, and can be repeated without a clock."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from models.errors import ConfigError
from models.store import Store
from training.budget import TimeBudget, level_settings, parse_budget
from training.cli import main
from training.commands.options import epoch_plan
from training.config import resolve
from training.engines.engine import Matrices
from training.fit import fit
from training.pace import Pace
from training.resume import ResumeFile
from training.run_plan import Costs, Limits, RunPlan, choose_plan
from training.run_trial import measure_costs

SMALL = {"recipe": "default", "hidden_sizes": (16, 16)}


class Machine:
    """A simulated machine: a clock that the epochs of a run move, each at the present speed."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def run(self, pace, planned, epoch_seconds):
        """Runs epochs until the plan ends; returns the seconds and the number of epochs."""
        begun, done = self.now, 0
        while True:
            planned = pace.epochs_after(done, planned)
            if done >= planned:
                return self.now - begun, done
            self.now += epoch_seconds(done, self.now - begun)
            done += 1


@pytest.mark.parametrize(
    "epoch_seconds",
    [
        lambda done, at: 0.5,
        lambda done, at: 0.5 if at < 20 else 2.0,  # other work starts in the middle
        lambda done, at: 2.0 if at < 20 else 0.4,  # other work ends
        lambda done, at: 0.5 if done != 30 else 8.0,  # a pause
        lambda done, at: 0.5 * (1 + at / 20),  # slower and slower
        lambda done, at: 0.5 + 0.4 * (done % 2),
    ],
)
def test_a_run_ends_within_a_tenth_of_its_time_whatever_the_machine_does(epoch_seconds):
    machine = Machine()
    pace = Pace(seconds=60, most_epochs=256, clock=machine)
    seconds, done = machine.run(pace, 110, epoch_seconds)
    assert 54 <= seconds <= 66
    assert pace.plan[0] == (0, 110)
    assert pace.plan[-1][1] == done


def test_a_run_has_no_more_epochs_than_the_recipe_and_a_steady_one_keeps_its_plan():
    machine = Machine()
    pace = Pace(seconds=1000, most_epochs=256, clock=machine)
    assert machine.run(pace, 100, lambda done, at: 1.0) == (256, 256)
    steady = Pace(seconds=60, most_epochs=256, clock=machine)
    machine.run(steady, 118, lambda done, at: 0.5)
    assert steady.plan == ((0, 118),)


def test_a_resumed_run_has_the_time_that_was_left():
    machine = Machine()
    first = Pace(seconds=60, most_epochs=256, clock=machine)
    first.epochs_after(0, 118)
    for done in range(1, 41):
        machine.now += 0.5
        assert first.epochs_after(done, 118) == 118
    state = first.state()
    machine.now += 86400
    again = Pace(seconds=60, most_epochs=256, clock=machine)
    again.restore(state)
    begun, done, planned = machine.now, 40, 118
    while done < (planned := again.epochs_after(done, planned)):
        machine.now += 1.0  # half as fast as before
        done += 1
    assert 36 <= machine.now - begun <= 44
    assert again.plan[0] == (0, 118)


def limits(rows=10_000, **changes):
    return replace(
        Limits(epochs=256, members=None, batch_sizes=(256,), rows=rows, validation_rows=rows // 5, drop_last=True),
        **changes,
    )


COSTS = Costs(steps={256: 0.005, 512: 0.009, 1024: 0.009}, another_member=0.8, row=5e-6)


def seconds_of(plan, costs, limits):
    """Returns the time of a plan, by the costs of each step and each evaluation."""
    rows = plan.rows_per_epoch or limits.rows
    steps = max(rows // plan.batch_size, 1)
    evaluation = plan.members * limits.validation_rows * costs.row
    return plan.epochs * (steps * costs.step(plan.members, plan.batch_size) + evaluation)


@pytest.mark.parametrize("rows", [150, 10_000, 3_000_000])
@pytest.mark.parametrize("seconds", [0.5, 5, 60, 600, 6000])
def test_a_plan_takes_the_time_there_is_or_all_that_helps(rows, seconds):
    few = limits(rows, batch_sizes=(min(rows, 256),))
    costs = replace(COSTS, steps={min(rows, 256): 0.005})
    plan = choose_plan(costs, few, seconds)
    if plan is None:
        assert seconds < few.validation_rows * costs.row + 0.005
        return
    taken = seconds_of(plan, costs, few)
    assert taken <= seconds * 1.0001
    is_all = plan.members == 8 and plan.epochs == 256 and plan.rows_per_epoch is None
    assert is_all or taken >= 0.9 * seconds or plan.epochs * plan.members >= 128
    assert plan.epochs <= 256


def test_time_for_more_than_a_run_goes_into_members_and_the_users_choices_stay():
    whole = 256 * (39 * 0.005 + 2000 * 5e-6)
    assert choose_plan(COSTS, limits(), whole * 0.45).members == 1
    plans = [choose_plan(COSTS, limits(), whole * factor) for factor in (0.4, 1, 2, 4, 8)]
    members = [plan.members for plan in plans]
    assert members == sorted(members)
    assert members[-1] == 8
    chosen = choose_plan(COSTS, limits(members=3), whole * 8)
    assert (chosen.members, chosen.epochs) == (3, 256)
    assert choose_plan(COSTS, limits(epochs=10), whole * 50) == RunPlan(members=8, epochs=10, batch_size=256)


def test_a_short_run_takes_larger_batches_only_where_they_are_faster_by_much():
    large = limits(3_000_000, batch_sizes=(256, 512, 1024))
    assert choose_plan(COSTS, large, 600).batch_size == 1024
    alike = replace(COSTS, steps={256: 0.005, 512: 0.0095, 1024: 0.018})
    assert choose_plan(alike, large, 600).batch_size == 256
    assert choose_plan(COSTS, large, 6).batch_size == 256, "it would have too few steps"


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("90", 90), (45, 45), (1.5, 1.5), ("5min", 300), ("2m", 120), ("1.5h", 5400)]
)
def test_a_budget_is_a_time(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["0", "-5s", "soon", "60 days", "", "1e3", "nan", "inf", True, "50000min", None])
def test_what_is_no_budget_is_refused_with_an_example(text):
    with pytest.raises(ConfigError, match="a budget"):
        parse_budget(text)


def test_levels_are_settings():
    assert level_settings("default", {}) == {}
    assert level_settings("quick", {}) == {"epochs": 64}
    assert level_settings("quick", {"recipe": "classic"}) == {"epochs": 50}
    assert level_settings("best", {}) == {"members": 8}
    quick = fit("iris", **SMALL, budget="quick")
    same = fit("iris", **SMALL, epochs=64)
    assert quick.checkpoint.header() == same.checkpoint.header()
    assert fit("iris", budget="quick").checkpoint.training["epochs"] == 30, "a quarter of those of the dataset"
    with pytest.raises(ConfigError, match="recipe must be"):
        fit("iris", recipe="bold", budget="quick")
    with pytest.raises(ConfigError, match="engine is linear"):
        fit("iris", engine="linear", budget="best")
    with pytest.raises(ConfigError, match="engine is numpy"):
        fit("iris", engine="numpy", budget="60s")
    with pytest.raises(ConfigError, match="leave out --rows-per-epoch"):
        fit("iris", budget="60s", rows_per_epoch=64)
    assert level_settings("best", {"members": None}) == {"members": 8}, "None is no choice"


OPTIONS = {"epochs": 3, "members": 2, "batch_size": 40, "rows_per_epoch": 60, "epoch_plan": "0:5,1:3"}
VOID = {("quick", "epochs"): "does nothing but set epochs to 64", ("best", "members"): "does nothing but set members"}


@pytest.mark.parametrize("option", [*OPTIONS])
@pytest.mark.parametrize("budget", ["quick", "default", "best", "30s"])
def test_an_option_beside_a_budget_takes_effect_or_is_refused(budget, option, tmp_path, capsys):
    """Holds for the program and for the command alike; only `epoch_plan` brings its epochs along."""
    options = {option: OPTIONS[option]} | ({} if option == "epochs" else {"epochs": 3} if budget != "quick" else {})
    if (budget, option) == ("quick", "epoch_plan"):
        options["epoch_plan"] = "0:70,1:64"
    reason = VOID.get((budget, option))
    if budget == "30s" and option in ("rows_per_epoch", "epoch_plan"):
        reason = f"leave out --{option.replace('_', '-')}"
    given = {name: epoch_plan(value) if name == "epoch_plan" else value for name, value in options.items()}
    line = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    line = ["fit", "iris", "--recipe", "default", "--hidden", "16,16", "--budget", budget, *line]
    line += ["--no-report", "--quiet", "--store", str(tmp_path)]
    if reason is not None:
        with pytest.raises(ConfigError, match=reason):
            fit("iris", **SMALL, budget=budget, **given)
        assert main(line) == 2
        assert reason in capsys.readouterr().err
        return
    expected = {"quick": {"epochs": 64}, "best": {"members": 8}}.get(budget, {}) | given
    assert main(line) == 0
    for training in (
        fit("iris", **SMALL, budget=budget, **given).checkpoint.training,
        Store(tmp_path).load("iris").checkpoint.training,
    ):
        found = {name: training[name] for name in expected}
        if "epoch_plan" in found:
            found["epoch_plan"] = tuple(tuple(step) for step in found["epoch_plan"])
        assert found == expected


@pytest.mark.slow
def test_a_run_within_a_budget_is_repeated_without_a_clock():
    model = fit("iris", **SMALL, budget=4)
    training = model.checkpoint.training
    assert training["budget"] == "4s"
    settings = {name: training[name] for name in ("members", "epochs", "batch_size")}
    settings |= {name: training[name] for name in ("rows_per_epoch", "epoch_plan") if name in training}
    again = fit("iris", **SMALL, **settings)
    assert model.trained.epochs_run == again.trained.epochs_run
    for name, tensor in again.checkpoint.tensors.items():
        np.testing.assert_array_equal(model.checkpoint.tensors[name], tensor)
    assert any(f"--members {training['members']} --epochs {training['epochs']}" in note for note in model.notes)


def test_schedules_end_at_the_end_of_a_plan_that_changed():
    rates = []
    run = {**SMALL, "schedule": "cosine", "epochs": 9, "epoch_plan": ((0, 30), (6, 9))}
    model = fit("iris", **run, on_epoch=lambda epoch: rates.append((epoch.learning_rate, epoch.of)))
    assert model.trained.epochs_run == 9
    assert [of for _, of in rates] == [30] * 6 + [9] * 3
    shares = np.array([rate for rate, _ in rates]) / rates[0][0]
    assert (np.diff(shares) < 0).all()
    assert shares[5] > 0.9
    assert shares[-1] < 0.1


@pytest.mark.parametrize(
    "plan", [((0, 5), (3, 7)), ((1, 5),), ((0, 5), (0, 6)), ((0, 9), (8, 6)), ((0, 1.5),), "0:5", ((0,),), ((0, 7),)]
)
def test_an_impossible_plan_is_refused(plan):
    with pytest.raises(ConfigError, match="epoch_plan"):
        resolve({"epochs": 6, "epoch_plan": plan}, task="classification")


def test_an_epoch_of_some_rows_has_their_steps_and_other_rows_each_time():
    frame = pd.DataFrame({"a": np.linspace(-1, 1, 400), "y": np.linspace(-1, 1, 400)})
    run = {**SMALL, "target": "y", "epochs": 4, "batch_size": 32}
    few = fit(frame, **run, rows_per_epoch=64)
    assert few.checkpoint.training["rows_per_epoch"] == 64
    assert "rows_per_epoch" not in fit(frame, **run).checkpoint.training
    assert len(set(few.trained.history["train_loss"])) == 4
    as_many = fit(frame, **run, rows_per_epoch=10_000)
    whole = fit(frame, **run)
    for name, tensor in whole.checkpoint.tensors.items():
        np.testing.assert_array_equal(as_many.checkpoint.tensors[name], tensor)


def test_a_budget_that_is_over_before_training_is_refused_with_one_that_is_not():
    with pytest.raises(ConfigError, match=r"too short to train anything: .* give it at least \d+ s \(--budget \d+s\)"):
        fit("iris", budget=0.001)


@pytest.mark.parametrize(
    ("metric", "few", "rare"),
    [
        ("poisson", 0.0, 9000.0),
        ("gamma", 0.5, 4500.0),
        ("bernoulli", 0.0, 1.0),
        ("bernoulli", 1.0, 0.0),
        ("quantile", 0.0, 9.0),
        ("mae", 0.0, 9.0),
        ("rmse", 0.0, 9.0),
        ("auc", 0, 1),
        ("f1", 1, 0),
        ("balanced-accuracy", 0, 1),
    ],
)
def test_a_trial_is_possible_where_its_rows_have_one_value_only(metric, few, rare):
    # The trial takes the first 8,192 rows, and the value that is different comes later.
    task = "regression" if isinstance(few, float) else "classification"
    settings = {"recipe": "classic", "metric": metric, "hidden_sizes": (4,)}
    config = resolve(settings if metric != "quantile" else {**settings, "quantile": 0.9}, task=task)
    y = np.full(9000, few, dtype=np.float32 if task == "regression" else np.int64)
    y[-1] = rare
    x = np.random.default_rng(1).normal(size=(9000, 2)).astype(np.float32)
    output = config.output_of_values if task == "regression" else None
    architecture = config.architecture(in_features=2, out_features=1 if output else 2, output=output)
    data = Matrices(x=x, y=y, validation_x=x, validation_y=y)
    costs = measure_costs(config, architecture, data, device="cpu", batch_sizes=(256,), members=2, seconds=1.0)
    assert costs.row > 0
    assert costs.steps[256] > 0


def test_an_interrupted_run_within_a_budget_resumes_with_its_plan(tmp_path):
    seen = []
    path = tmp_path / "iris.safetensors"
    # The clock stands still, so that the plan never changes.
    run = {**SMALL, "epochs": 12, "budget": TimeBudget(seconds=30, begun=0.0, clock=lambda: 0.0)}
    first = fit("iris", **run, keep=ResumeFile(path), on_epoch=seen.append, should_stop=lambda: len(seen) == 4)
    assert first.trained.stopped == "asked"
    (note,) = [note for note in first.notes if note.startswith("Within the budget of 30s")]
    assert " 4 of 12 passes" in note
    assert "--epochs" not in note, "no options repeat a run that was stopped"
    again = fit("iris", **run, keep=ResumeFile(path), resume=True)
    plan = {name: again.checkpoint.training[name] for name in ("members", "epochs", "batch_size")}
    whole = fit("iris", **SMALL, **plan)
    assert again.trained.history == whole.trained.history
    for name, tensor in whole.checkpoint.tensors.items():
        np.testing.assert_array_equal(again.checkpoint.tensors[name], tensor)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_patience_ends_tells_the_passes_that_took_place():
    still = TimeBudget(seconds=30, begun=0.0, clock=lambda: 0.0)
    model = fit("iris", **SMALL, epochs=60, patience=1, members=1, budget=still)
    assert model.trained.stopped == "patience"
    (note,) = [note for note in model.notes if note.startswith("Within the budget of 30s")]
    assert f" {model.trained.epochs_run} of 60 passes" in note
    assert "The time was short" not in note


@pytest.mark.slow
def test_baselines_leave_the_report_its_share_of_the_budget(tmp_path):
    line = ["fit", "iris", "--recipe", "default", "--hidden", "16,16", "--budget", "6s", "--baselines", "--quiet"]
    main([*line, "--store", str(tmp_path), "--publish", "always"])
    report = next(tmp_path.glob("**/report.html")).read_text()
    assert "no time left" not in report


def test_the_command_says_what_the_budget_gave(tmp_path, capsys):
    line = ["fit", "iris", "--recipe", "default", "--hidden", "16,16", "--epochs", "6", "--budget", "5min"]
    assert main([*line, "--store", str(tmp_path), "--json"]) == 0
    captured = capsys.readouterr()
    assert "s left" in captured.err
    result = json.loads(captured.out)
    note = next(note for note in result["notes"] if note.startswith("Within the budget of 300s: 8 networks, 6 of 6"))
    assert "--members 8 --epochs 6" in note
    training = Store(tmp_path).load("iris").checkpoint.training
    assert (training["budget"], training["members"]) == ("300s", 8)
    assert main(["fit", "iris", "--budget", "2s", "--engine", "linear", "--store", str(tmp_path)]) == 2
    assert "engine is linear" in capsys.readouterr().err
