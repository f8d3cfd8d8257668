"""A search over machines: who trains what, what a lost worker costs, and what is refused. Journals; real processes."""

import json
import random
import re
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from machine_searches import OPTIONS, check_sound, counted, frozen_in_a_trial, lost, members, trials_of
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sqlalchemy import event

from models.checkpoint import load_checkpoint
from models.errors import ConfigError
from training.cli import build_parser, main
from training.commands.machines import check_machines
from training.data.column_choices import ColumnChoices
from training.errors import SearchError
from training.search.machines.heartbeats import MISSES, FileHeartbeats, MissedHeartbeats, Pulse
from training.search.machines.journal_file import JournalFile
from training.search.machines.plan import Plan
from training.search.machines.run import _refuse_second_leader
from training.search.machines.shared_record import MOST_ATTEMPTS, SharedRecord
from training.search.machines.shared_session import SharedSession
from training.search.machines.storage_address import read_address
from training.search.machines.storages import Patience
from training.search.space import Choices, FloatRange, IntRange, SearchSpace
from training.search.trials.folder import MemoryCheckpoints
from training.search.trials.run import identity_of
from training.search.trials.trial import Outcome, Trial
from training.sources import read_table

SPACE = SearchSpace(
    parameters={"dropout": FloatRange(low=0.0, high=0.5), "hidden_sizes": Choices(values=((4,), (8,), (16, 16)))}
)
FIRST = {"dropout": 0.0, "hidden_sizes": (8,)}


def record(path, worker, *, most=10, sampler="random", **how):
    how = {"space": SPACE, "metric": "log_loss", "first_point": FIRST, "grid_points": 3, "epochs": 50} | how
    return SharedRecord(
        storage=JournalStorage(JournalFile(path)),
        study="s",
        place="here",
        worker=worker,
        most=most,
        patience=Patience("here", seconds=0.0),
        sampler=sampler,
        **how,
    )


def finished(point, value=1.0):
    return Trial(
        number=point.number, state="finished", settings=point.settings, value=value, is_default=point.is_default
    )


def plain(path):
    """Opens the journal with Optuna's own backend."""
    return JournalStorage(JournalFileBackend(str(path)))


# --- the record -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["random", "grid", "qmc", "tpe"])
def test_many_workers_at_once_train_the_number_asked_for_and_nothing_twice(tmp_path, sampler):
    asked_for, most = (20, 9) if sampler == "grid" else (9, 9)  # the grid has nine points
    path, failures, asked = tmp_path / "journal", [], []
    barrier = threading.Barrier(4)

    def work(name):
        try:
            mine = record(path, name, most=asked_for, sampler=sampler)
            chance = random.Random(name)
            barrier.wait()
            while (census := mine.census()).done < asked_for:
                if mine.is_exhausted and not (census.running or census.waiting):
                    break
                if (point := mine.ask()) is None:
                    continue
                asked.append(point)
                if chance.random() < 0.3:  # dies here, and another finds out
                    assert mine.release(point.number)
                    assert not mine.end(finished(point))
                else:
                    assert mine.end(finished(point))
        except Exception as error:
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(f"worker-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len({point.number for point in asked}) == len(asked)
    trials = trials_of(plain(path), "s")
    done = counted(trials)
    gone = [trial for trial in lost(trials) if trial.user_attrs.get("axon_attempt", 1) < MOST_ATTEMPTS]
    given_up = len(lost(trials)) - len(gone)
    assert len(done) + given_up == most
    assert sum(bool(trial.user_attrs.get("axon_is_default")) for trial in done) <= 1
    for trial in gone:
        again = [
            other
            for other in trials
            if other.user_attrs.get("axon_retries") == trial.number
            and other.state.is_finished()  # two workers may have queued the same point; the second one is left
            and not other.user_attrs.get("axon_withdrawn")
        ]
        # A new point that was begun at the same moment may fill the number; only a grid owes each of its points.
        assert [other.params for other in again] == [trial.params] or (sampler != "grid" and not again)
    if sampler in ("grid", "qmc"):
        points = [tuple(trial.params.items()) for trial in done]
        assert len(set(points)) == len(points)


def test_a_grid_point_queued_twice_and_lost_once_is_trained_once(tmp_path):
    mine = record(tmp_path / "j", "mine", sampler="grid")
    assert mine.end(finished(mine.ask()))  # the default
    queued = {"dropout": 0.25, "hidden_sizes": "4"}
    for _ in range(2):  # as two workers do that look at the same moment
        mine.study.enqueue_trial(queued)
    first = mine.ask()
    assert mine.release(first.number)
    second = mine.ask()
    assert second.settings == first.settings
    assert mine.end(finished(second))
    while (point := mine.ask()) is not None:
        assert point.settings != first.settings
        assert mine.end(finished(point))
    assert mine.is_exhausted
    census = mine.census()
    assert (census.done, census.waiting, census.running) == (9, 0, {})


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("dropout", [0.25, 0.123])  # on the grid, and beside it
def test_a_point_drawn_for_a_grid_by_a_worker_that_dies_counts_for_nothing(tmp_path, dropout):
    mine = record(tmp_path / "j", "mine", sampler="grid")
    assert mine.end(finished(mine.ask()))
    # The queue was empty, so the sampler draws, and the worker dies before it gives the point back.
    mine.study.sampler = optuna.samplers.PartialFixedSampler(
        {"dropout": dropout, "hidden_sizes": "4"}, optuna.samplers.RandomSampler()
    )
    drawn = mine.study.ask()
    drawn.suggest_float("dropout", 0.0, 0.5)
    drawn.suggest_categorical("hidden_sizes", ("4", "8", "16,16"))
    assert mine.release(drawn.number)
    assert mine.census().waiting == 0
    for _ in range(8):
        assert mine.end(finished(mine.ask()))
    assert mine.ask() is None
    assert mine.is_exhausted
    assert len({tuple(trial.params.items()) for trial in counted(mine.study.trials)}) == 9


def test_a_sequence_over_a_space_of_few_points_ends_with_the_last_one(tmp_path):
    choices = {"hidden_sizes": Choices(values=((4,), (8,))), "batch_size": Choices(values=(16, 32))}
    space, first = SearchSpace(parameters=choices), {"hidden_sizes": (8,), "batch_size": 16}
    mine = record(tmp_path / "j", "mine", sampler="qmc", space=space, first_point=first)
    for _ in range(100):
        if (point := mine.ask()) is not None:
            assert mine.end(finished(point))
        if mine.is_exhausted:
            break
    assert mine.is_exhausted
    assert mine.census().done == 4


def test_who_was_taken_for_lost_and_wakes_does_not_count(tmp_path):
    frozen, other = record(tmp_path / "j", "frozen"), record(tmp_path / "j", "other")
    assert frozen.end(finished(frozen.ask(), 1.0))
    point = frozen.ask()
    assert other.release(point.number)
    again = other.ask()
    assert again.settings == point.settings
    assert frozen.report(point.number, 50, {"validation_loss": 1.0})  # told to end the trial
    assert not frozen.end(finished(point, 0.001))
    assert other.end(finished(again, 0.5))
    assert not other.release(again.number)
    ended = frozen.census().ended
    assert [trial.state for trial in ended] == ["finished", "interrupted", "finished"]
    assert [trial.value for trial in ended] == [1.0, None, 0.5]
    assert (frozen.census().done, frozen.census().lost) == (2, 1)


def test_what_was_recorded_just_before_the_worker_died_counts(tmp_path, monkeypatch):
    dying, other = record(tmp_path / "j", "dying"), record(tmp_path / "j", "other")
    point = dying.ask()
    monkeypatch.setattr(dying, "_tell", lambda number, recorded: None)
    dying.end(finished(point, 0.25))
    assert other.census().running == {point.number: "dying"}
    assert other.release(point.number)
    assert [(trial.state, trial.value) for trial in other.trials()] == [("finished", 0.25)]


def test_settings_that_end_every_worker_fail_in_the_end(tmp_path):
    mine = record(tmp_path / "j", "w", most=2)
    for _ in range(MOST_ATTEMPTS):
        point = mine.ask()
        assert point.settings == FIRST
        assert mine.release(point.number)
    assert mine.ask().settings != FIRST
    assert [trial.state for trial in mine.trials()] == ["interrupted"] * (MOST_ATTEMPTS - 1) + ["failed"]
    assert mine.census().done == 1


def test_a_trial_whose_worker_died_between_two_steps_is_found(tmp_path):
    mine = record(tmp_path / "j", "w", most=2)
    study = optuna.load_study(study_name="s", storage=plain(tmp_path / "j"))
    study.ask()  # no owner, no settings
    study.enqueue_trial({"dropout": 0.5, "hidden_sizes": "4"})  # queued, and never begun
    assert mine.census().running == {0: None}
    assert mine.ask().settings == {"dropout": 0.5, "hidden_sizes": (4,)}
    assert mine.ask() is None  # two are in training
    assert mine.release(0)
    assert mine.ask().is_default


# --- the journal ----------------------------------------------------------------------------------------------------


def test_a_torn_line_costs_nothing_but_itself(tmp_path):
    path = tmp_path / "j"
    first = record(path, "first")
    done = first.ask()
    first.end(finished(done))
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[-1][:20])  # a writer was killed in its write
    with pytest.raises((AttributeError, ValueError)):  # after one more entry, Optuna's own backend reads nothing
        optuna.load_study(study_name="s", storage=plain(path)).ask()
    path.write_bytes(whole + whole.splitlines()[-1][:20])
    late = record(path, "late")
    for reader in (late, first, record(path, "later")):
        point = reader.ask()
        assert reader.end(finished(point))
        assert [trial.number for trial in reader.trials()] == list(range(point.number + 1))
    assert [trial.number for trial in first.trials()] == [0, 1, 2, 3]


def test_another_file_is_not_written_to(tmp_path):
    path = tmp_path / "flowers.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(SearchError, match="not the journal"):
        JournalFile(path)
    assert path.read_text() == "a,b\n1,2\n"


# --- heartbeats -----------------------------------------------------------------------------------------------------


def test_a_worker_is_lost_after_six_misses_in_a_row():
    missed = MissedHeartbeats()
    for beat in range(20):
        for _ in range(MISSES):  # one new beat in time each round
            missed.observe({"alive": beat, "dead": 1})
        assert "alive" not in missed.lost()
    assert missed.lost() == ["dead"]
    assert missed.alive(["alive", "dead", "unknown"]) == 1
    missed.observe({"dead": 2})
    assert missed.lost() == []


def test_heartbeats_leave_nothing_behind(tmp_path):
    heartbeats = FileHeartbeats(tmp_path / "j.workers")
    heartbeats.beat("a", 1)
    heartbeats.beat("a", 2)
    heartbeats.beat("b", 7)
    (tmp_path / "j.workers" / "c").write_text("")
    assert heartbeats.read() == {"a": 2, "b": 7}
    heartbeats.remove("a")
    heartbeats.remove("unknown")
    assert heartbeats.read() == {"b": 7}


# --- addresses, plans, patience -------------------------------------------------------------------------------------


def test_a_password_is_never_shown():
    address = read_address("postgresql://ada:s%40cret@db.example:5433/studies?sslmode=require&password=other")
    assert address.shown == "postgresql://ada@db.example:5433/studies"
    assert "s%40cret" in address.url
    assert "cret" not in repr(address)
    assert "other" not in repr(address)
    assert read_address("postgresql://ada%40x@db/y").shown == "postgresql://ada%40x@db/y"
    for wrong in ("postgresql://ada:s3cret@db:port/x", "mysql://ada:s3cret@db/x", "s3cret", "journal:", ""):
        with pytest.raises(ConfigError) as refused:
            read_address(wrong)
        assert "s3cret" not in str(refused.value)
        assert "journal:PATH" in str(refused.value)
    for wrong in ("postgresql://ada:a@s3cret@db/x", "postgresql://ada:a@b/s3cret@db/x"):
        with pytest.raises(
            ConfigError, match="has a second @: in a user's name or a password it is written %40"
        ) as refused:
            read_address(wrong)
        assert "s3cret" not in str(refused.value)


def test_a_space_comes_back_from_json():
    space = SearchSpace(parameters={**SPACE.parameters, "epochs": IntRange(low=1, high=9, log=True)})
    assert SearchSpace.from_json(json.loads(json.dumps(space.to_json()))) == space


def test_a_storage_that_comes_back_in_time_costs_a_line(monkeypatch):
    now, lines, errors = [0.0], [], [OSError(5, "Input/output error")] * 3

    def call():
        if errors:
            raise errors.pop()
        return 7

    def sleep(seconds):
        now[0] += seconds

    how = {"seconds": 60.0, "tell": lines.append, "clock": lambda: now[0], "sleep": sleep}
    assert Patience("journal:/x", **how)(call) == 7
    assert [line.partition(",")[0] for line in lines] == ["journal:/x does not answer", "journal:/x answers again."]
    errors.extend([OSError(5, "Input/output error")] * 1000)
    with pytest.raises(SearchError, match="60 seconds: Input/output error"):
        Patience("journal:/x", **how)(call)
    errors[:] = [PermissionError(13, "Permission denied")]
    with pytest.raises(SearchError, match="Permission denied"):
        Patience("journal:/x", **how)(call)


def test_a_database_that_goes_during_a_query_is_asked_again(tmp_path):
    storage = RDBStorage(f"sqlite:///{tmp_path}/trials.db")
    study = optuna.create_study(storage=storage)
    study.add_trial(optuna.trial.create_trial(value=1.0))
    outages = ["the server closed the connection"]

    @event.listens_for(storage.engine, "do_execute")
    def fail(cursor, statement, parameters, context):
        if outages and " trials" in statement:
            raise sqlite3.OperationalError(outages.pop())

    @event.listens_for(storage.engine, "handle_error")
    def cut(context):
        context.is_disconnect = True

    lines = []
    patience = Patience("the database", tell=lines.append, sleep=lambda _: None)
    assert [trial.value for trial in patience(lambda: storage.get_all_trials(study._study_id))] == [1.0]
    assert not outages
    assert lines[-1] == "the database answers again."


# --- a worker's session ---------------------------------------------------------------------------------------------


def session_of(opened, heartbeats, **how):
    how = {"checkpoints": MemoryCheckpoints(), "metric": "log_loss", "interval": 0.0, "leads": False} | how
    return SharedSession(record=opened, trials=1, heartbeats=heartbeats, **how)


def test_a_session_trains_as_many_as_the_leader_asks_for_and_takes_over_what_is_lost(tmp_path):
    leader = record(tmp_path / "j", "leader")
    leader.begin(3)
    heartbeats, told = FileHeartbeats(tmp_path / "j.workers"), []
    dead = record(tmp_path / "j", "dead")
    lost_point = dead.ask()
    heartbeats.beat("dead", 5)
    session = session_of(record(tmp_path / "j", "w", most=1), heartbeats, tell=told.append)
    assert session.trials == 3  # as many processes may start
    first = session.next()
    for _ in range(MISSES + 1):
        heartbeats.beat("w", 1)  # its own misses are nobody's business here
        assert session.census.lost == 0
        session.watch()
    session.done(first.number, Outcome(seconds=1.0, value=0.5))
    again = session.next()
    assert (again.settings, again.is_default) == (lost_point.settings, True)
    assert told == [f"trial {lost_point.number} is lost, for dead gave no sign of life: it is trained again."]
    assert heartbeats.read().keys() <= {"dead", "w"}
    leader.begin(2)
    session.done(again.number, Outcome(seconds=1.0, value=0.25))
    assert session.is_over()
    assert (session.trained, session.best().value) == (2, 0.25)


def test_a_worker_stops_when_the_leader_ends_the_search_and_its_trial_is_free(tmp_path):
    leader = record(tmp_path / "j", "leader")
    leader.begin(5)
    session = session_of(record(tmp_path / "j", "w"), FileHeartbeats(tmp_path / "j.workers"))
    point = session.next()
    leader.stop("time")
    session.watch()
    assert session.must_end(point.number)
    assert session.is_over()
    assert session.ended == "time"
    session.done(point.number, Outcome(seconds=1.0, value=0.5, was_ended=True))
    assert (leader.census().done, leader.census().waiting) == (0, 1)
    leader.begin(5)
    assert leader.ask().settings == point.settings


# --- who is refused -------------------------------------------------------------------------------------------------


def begun(path, table_file, **changes):
    """Writes a search to a journal that a leader has begun, without a trial."""
    table, config = read_table(str(table_file), target="y", name=None, settings={"engine": "numpy"})
    how = {
        "name": "t",
        "source": str(table_file),
        "table": {"target": "y"},
        "config": config,
        "space": SPACE,
        "metric": "log_loss",
        "sampler": "random",
        "pruner": "none",
        "grid_points": 3,
        "heartbeat": 0.5,
        "identity": identity_of(table, config, SPACE, "log_loss"),
    }
    plan = Plan(**how | changes)
    opened = record(path, "leader", identity=plan.identity)
    opened.study.set_user_attr("axon_plan", plan.to_json())
    return plan


@pytest.fixture
def tables(tmp_path):
    """Two tables that differ in one cell."""
    lines = [f"{number},{'ab'[number % 2]}" for number in range(60)]
    files = []
    for name in ("same", "other"):
        files.append(tmp_path / f"{name}.csv")
        files[-1].write_text("x,y\n" + "\n".join(lines) + "\n")
        lines[7] = "7.5,b"
    return files


def refused(capsys, *arguments):
    assert main(["search", *map(str, arguments)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ")
    return said


def test_a_worker_with_another_table_is_refused(tmp_path, tables, capsys):
    plan = begun(tmp_path / "j", tables[0])
    as_read = replace(plan, table={"target": "y", "choices": ColumnChoices()})
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == as_read
    worker = ("--worker", "--storage", f"journal:{tmp_path / 'j'}")
    assert "gives another table here" in refused(capsys, *worker, tables[1])
    tables[0].unlink()
    assert "is not on this machine: name the table" in refused(capsys, *worker)
    assert not plain(tmp_path / "j").get_all_trials(0)


def test_a_worker_of_another_release_is_refused(tmp_path, tables, capsys):
    begun(tmp_path / "j", tables[0], axon="99.1.0")
    assert "by Axon 99.1.0, and this is Axon" in refused(capsys, "--worker", "--storage", f"journal:{tmp_path / 'j'}")


def test_a_worker_waits_a_while_for_a_search_and_then_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("training.search.machines.run._JOIN_SECONDS", 0.0)
    address = f"journal:{tmp_path / 'j'}"
    assert f"{address} has no search 'x'" in refused(capsys, "--worker", "--storage", address, "--study", "x")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("iris", "--worker"), "--worker goes with --storage"),
        (("iris", "--heartbeat", "3"), "--heartbeat goes with --storage"),
        (("iris", "--storage", "journal:j", "--population", "4"), "leave out --storage or --population"),
        (("--storage", "journal:j"), "name what to train on"),
        ((), "name what to train on"),
        (("--worker", "--storage", "journal:j", "--trials", "3"), "--trials is not for a worker"),
        (("--worker", "--storage", "journal:j", "--epochs", "3"), "--epochs is not for a worker"),
        (("--worker", "--storage", "journal:j", "--target", "y"), "--target is not for a worker"),
        (("--worker", "--storage", "journal:no/such/folder/j"), "there is no folder"),
        (("--worker", "--storage", "journal:/tmp"), "is a folder"),
        (("--worker", "--storage", "s3://bucket"), "the storage must be journal:PATH"),
        (("iris", "--storage", "journal:j", "--heartbeat", "0"), "heartbeats come every few seconds"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, *arguments)


def test_a_second_leader_is_refused_and_a_dead_one_is_not_waited_for(tmp_path):
    first = record(tmp_path / "j", "first")
    heartbeats = FileHeartbeats(tmp_path / "j.workers")
    first.study.set_user_attr("axon_leader", "first")
    second = record(tmp_path / "j", "second")
    _refuse_second_leader(second, heartbeats, interval=0.1)  # no heartbeat at all: it has ended
    with Pulse(heartbeats, "first", interval=0.1):
        while not heartbeats.read():
            pass
        with pytest.raises(SearchError, match="first leads this search"):
            _refuse_second_leader(second, heartbeats, interval=5.0)
    heartbeats.beat("first", 3)  # killed
    _refuse_second_leader(second, heartbeats, interval=0.1)


def test_the_commands_of_the_page_are_commands(tmp_path):
    page = (Path(__file__).parents[2] / "docs/search-machines.md").read_text("utf-8")
    commands = re.findall(r"axon (search --[^`\n]*|search [a-z][^`\n]*--storage [^`\n…]*)", page)
    assert len(commands) >= 3
    for command in commands:
        arguments = build_parser(command="search").parse_args(command.replace("…", "journal:j").split())
        check_machines(arguments)
        assert read_address(arguments.storage).kind == "journal"


# --- processes ------------------------------------------------------------------------------------------------------

LONG = (*OPTIONS, "--epochs", 1000, "--patience", "none", "--heartbeat", 0.25)


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_costs_one_more_try(tmp_path):
    path = tmp_path / "journal"
    storage = ("--storage", f"journal:{path}")
    with members(tmp_path) as start:
        leader = start("leader", *LONG, *storage, "--trials", 5)
        worker = start("worker", "--worker", *storage)
        number = frozen_in_a_trial(lambda: trials_of(plain(path)) if path.exists() else [], worker, leader, path)
        worker.kill()
        assert leader.wait() == 0, leader.err()
    trials = trials_of(plain(path))
    check_sound(trials, 5)
    assert number in [trial.number for trial in lost(trials)]
    assert f"trial {number} is lost, for" in leader.err()
    told = json.loads((tmp_path / "searches/iris/search.json").read_text())
    done = {trial["number"]: trial["value"] for trial in told["trials"] if trial["state"] == "finished"}
    assert done == {trial.number: trial.value for trial in trials if trial.state == TrialState.COMPLETE}
    assert told["winner"]["value"] == min(done.values())
    assert leader.out().splitlines()[-1] == "published iris@1"
    assert (
        load_checkpoint(tmp_path / "store/iris/1/model.safetensors").checkpoint.training["learning_rate"]
        == (told["winner"]["settings"]["learning_rate"])
    )
    assert not any((tmp_path / "journal.workers").iterdir())
