"""The record of a search: trials asked for, pruned, resumed and refused, and the importance of parameters."""

import sqlite3

import pytest

from models.errors import ConfigError
from training.errors import SearchError
from training.search.space import Choices, FloatRange, IntRange, SearchSpace
from training.search.trials.folder import StudyFolder
from training.search.trials.search_record import SearchRecord
from training.search.trials.trial import Trial

SPACE = SearchSpace(
    parameters={
        "learning_rate": FloatRange(low=1e-4, high=1.0, log=True),
        "dropout": FloatRange(low=0.0, high=0.5),
        "hidden_sizes": Choices(values=((8,), (16, 16), ())),
        "epochs": IntRange(low=1, high=50),
    }
)
FIRST = {"learning_rate": 0.01, "dropout": 0.0, "hidden_sizes": (16, 16), "epochs": 7}
SAMPLERS = ("tpe", "gp", "random", "qmc", "grid")


def study(**how):
    return SearchRecord(**({"space": SPACE, "metric": "log_loss", "first_point": FIRST, "epochs": 50} | how))


def finish(opened, point, value):
    opened.end(
        Trial(number=point.number, state="finished", settings=point.settings, value=value, is_default=point.is_default)
    )


def made(opened, count, value_of=lambda settings: settings["dropout"]):
    points = []
    for _ in range(count):
        points.append(point := opened.ask())
        finish(opened, point, value_of(point.settings))
    return [point.settings for point in points]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_first_point_is_the_defaults_and_all_lie_in_the_space(sampler):
    points = made(study(sampler=sampler), 14)
    assert points[0] == FIRST
    assert len({tuple(point.items()) for point in points}) == 14
    for point in points:
        assert SPACE.parameters.keys() == point.keys()
        assert all(parameter.nearest(point[name]) == point[name] for name, parameter in SPACE.parameters.items())


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_study_that_was_cut_off_goes_on_as_if_it_had_not_been(sampler, tmp_path):
    whole = made(study(sampler=sampler, seed=4), 14)
    file = tmp_path / "study.db"
    first = study(sampler=sampler, seed=4, file=file)
    points = made(first, 12)
    lost = first.ask().settings  # a trial that never reports a result
    first.close()
    second = study(sampler=sampler, seed=4, file=file)
    points += made(second, 2)
    assert points[12] == lost
    if sampler != "qmc":  # QMC's place in the sequence moved on with the lost trial
        assert points == whole
    assert [trial.state for trial in second.trials()].count("interrupted") == 1
    second.close()


def test_nothing_is_asked_again_twice(tmp_path):
    file = tmp_path / "study.db"
    for _ in range(3):  # each process opens the record, starts the defaults and dies
        opened = study(file=file)
        assert opened.ask().settings == FIRST
        opened.close()
    opened = study(file=file)
    point = opened.ask()
    assert (point.settings, point.is_default) == (FIRST, True)
    finish(opened, point, 1.0)
    assert opened.ask().settings != FIRST
    opened.close()


def test_what_was_recorded_before_the_end_counts(tmp_path, monkeypatch):
    opened = study(file=tmp_path / "study.db")
    point = opened.ask()
    monkeypatch.setattr(opened._study, "tell", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        finish(opened, point, 0.25)
    opened.close()
    again = study(file=tmp_path / "study.db")
    assert [(trial.state, trial.value) for trial in again.trials()] == [("finished", 0.25)]
    again.close()


def test_a_grid_ends_when_every_point_was_tried():
    space = SearchSpace(
        parameters={"dropout": FloatRange(low=0, high=0.4), "activation": Choices(values=("relu", "tanh"))}
    )
    opened = study(space=space, first_point={"dropout": 0.2, "activation": "relu"}, sampler="grid", grid_points=3)
    points = made(opened, 6)
    assert sorted(map(str, points)) == sorted(map(str, space.grid(3)))
    assert opened.ask() is None


def test_a_grid_without_end_is_refused():
    with pytest.raises(ConfigError, match="points"):
        study(sampler="grid", grid_points=1000)


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
@pytest.mark.parametrize("metric", ["log_loss", "accuracy"])
def test_a_trial_that_lags_is_pruned_and_one_that_leads_is_not(pruner, metric):
    opened = study(pruner=pruner, metric=metric, sampler="random")

    def train(loss):
        point = opened.ask()
        for epoch in range(1, 51):
            if opened.report(point.number, epoch, {"validation_loss": loss}):
                opened.end(Trial(number=point.number, state="pruned", settings=point.settings))
                return epoch
        finish(opened, point, 1 - loss if metric == "accuracy" else loss)
        return 50

    assert train(9.0) == 50  # the defaults are trained to the end, however bad
    for loss in (0.5, 0.6, 0.55, 0.52, 0.58):
        train(loss)
    # Hyperband's brackets prune at different times; among a few, some prune.
    lagging = [train(5.0) for _ in range(6)]
    assert min(lagging) < 50
    assert train(0.1) == 50
    assert "pruned" in [trial.state for trial in opened.trials()]


@pytest.mark.parametrize(("metric", "figure"), [("log_loss", "validation_loss"), ("accuracy", "validation_error")])
def test_a_trial_is_pruned_by_what_trials_are_judged_by(metric, figure):
    other = {"validation_loss": "validation_error", "validation_error": "validation_loss"}[figure]
    opened = study(metric=metric, sampler="random")

    def train(value, misleading):
        point = opened.ask()
        for epoch in range(1, 51):
            if opened.report(point.number, epoch, {figure: value, other: misleading}):
                opened.end(Trial(number=point.number, state="pruned", settings=point.settings))
                return epoch
        finish(opened, point, 1 - value if metric == "accuracy" else value)
        return 50

    for value in (0.5, 0.4, 0.4, 0.4, 0.4, 0.4):
        train(value, 0.4)
    assert train(0.2, 0.9) == 50, "it leads, whatever the other figure says"
    assert train(0.9, 0.2) < 50, "it lags"


def test_no_pruner_prunes_nothing():
    opened = study(pruner="none")
    for loss in (0.1, 0.1, 0.1, 0.1, 0.1, 9.0):
        point = opened.ask()
        assert not any(opened.report(point.number, epoch, {"validation_loss": loss}) for epoch in range(1, 51))
        finish(opened, point, loss)


def test_what_decides_the_value_is_what_mattered():
    opened = study(sampler="random")
    made(opened, 40, lambda settings: settings["dropout"] ** 2)
    importances = opened.importances()
    assert next(iter(importances)) == "dropout"
    assert importances["dropout"] > 0.8
    assert sum(importances.values()) == pytest.approx(1)


def test_too_few_or_equal_trials_say_nothing_of_what_matters():
    opened = study(sampler="random")
    made(opened, 4)
    assert opened.importances() is None
    made(opened, 12, lambda settings: 0.5)
    same = study(sampler="random")
    made(same, 12, lambda settings: 0.5)
    assert same.importances() is None


@pytest.mark.slow
def test_a_study_of_something_else_is_refused_by_name(tmp_path):
    file = tmp_path / "study.db"
    study(file=file, identity={"table": "a", "search space": "b"}).close()
    study(file=file, identity={"table": "a", "search space": "b"}).close()
    for other, named in (({"table": "x"}, "another table"), ({"search space": "x"}, "another search space")):
        with pytest.raises(ConfigError, match=named):
            study(file=file, identity={"table": "a", "search space": "b"} | other)


def test_a_file_that_is_no_record_is_refused(tmp_path):
    (tmp_path / "study.db").write_text("not a database, and long enough to be taken for none " * 10)
    with pytest.raises(SearchError, match=r"study\.db"):
        study(file=tmp_path / "study.db")


def test_the_record_is_plain_sqlite(tmp_path):
    opened = study(file=tmp_path / "study.db")
    made(opened, 3)
    opened.close()
    with sqlite3.connect(tmp_path / "study.db") as connection:
        (count,) = connection.execute("select count(*) from trials").fetchone()
    connection.close()
    assert count == 3


def test_a_folder_is_one_search_at_a_time(tmp_path):
    with StudyFolder(tmp_path, "one"), pytest.raises(SearchError, match="another search"):
        StudyFolder(tmp_path, "one")
    with StudyFolder(tmp_path, "one"):  # the first one released the lock
        pass
    with pytest.raises(ConfigError, match="name"):
        StudyFolder(tmp_path, "../out")


@pytest.mark.parametrize("wrong", [{"sampler": "annealing"}, {"pruner": "axe"}])
def test_what_is_no_sampler_or_pruner_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong.values()))):
        study(**wrong)
