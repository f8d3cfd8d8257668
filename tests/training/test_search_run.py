"""A search from end to end: in this process and in workers; stopped by a time limit, a person and a kill."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models.checkpoint import load_checkpoint
from models.errors import ConfigError
from models.store import Store
from training.cli import main
from training.config import resolve, resolve_for_table
from training.errors import SearchError
from training.search import search, search_table
from training.search.space import Choices, FloatRange, SearchSpace
from training.search.trials.folder import StudyFolder
from training.search.trials.session import Listener
from training.search.trials.tables import sentences
from training.search.trials.trial import Outcome
from training.sources import read_table

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
SPACE = SearchSpace(
    parameters={
        "hidden_sizes": Choices(values=((4,), (16,), (8, 8))),
        "learning_rate": FloatRange(low=1e-3, high=0.5, log=True),
    }
)
QUICK = {"engine": "numpy", "epochs": 10}


def regression_table(targets):
    rng = np.random.default_rng(1)
    columns = {name: rng.standard_normal(80) for name in ("a", "b")}
    source = pa.table({**columns, "y": targets})
    table, _ = read_table(source, target="y", name="t", settings={})
    return table


def figures(result):
    return [(trial.settings, trial.state, trial.value) for trial in result.trials]


def test_a_search_never_ends_worse_than_the_defaults_and_says_what_won():
    told = []
    listener = Listener(on_trial=lambda trial, progress: told.append((trial.number, progress.done, progress.of)))
    result = search("iris", trials=8, settings=QUICK, space=SPACE, pruner="none", listener=listener)
    first = result.trials[0]
    assert first.is_default
    assert result.winner.value == min(trial.value for trial in result.trials) <= first.value
    assert result.ranking()[0] == result.winner
    assert [best for _, _, best in result.history()] == sorted((b for _, _, b in result.history()), reverse=True)
    assert result.checkpoint.metrics["validation"]["log_loss"] == result.winner.value
    assert result.checkpoint.training["hidden_sizes"] == list(result.winner.settings["hidden_sizes"])
    assert told == [(i, i + 1, 8) for i in range(8)]
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["winner"]["number"] == result.winner.number
    assert figures(search("iris", trials=8, settings=QUICK, space=SPACE, pruner="none")) == figures(result)


def test_the_defaults_are_named_only_where_the_space_has_them():
    outside = SearchSpace(parameters={"hidden_sizes": Choices(values=((4,), (8, 8)))})
    for space, called in ((SPACE, "0 (defaults)"), (outside, "0 (nearest to the defaults)")):
        result = search("iris", trials=2, settings=QUICK, space=space, pruner="none")
        assert result.called(result.trials[0]) == called
        assert result.called(result.trials[1]) == "1"
        assert ("lie outside the space" in " ".join(result.notes)) == (space is outside)
        said = " ".join(sentences(result)).lower()
        assert ("the defaults have" in said or "the defaults won" in said) == (space is SPACE)


def test_more_is_better_where_the_metric_says_so():
    result = search("iris", trials=6, settings=QUICK, space=SPACE, metric="accuracy")
    assert result.winner.value == max(trial.value for trial in result.trials if trial.value is not None)
    with pytest.raises(ConfigError, match="rmse"):
        search("iris", trials=1, settings=QUICK, space=SPACE, metric="rmse")


def test_the_test_part_has_no_say():
    rng = np.random.default_rng(2)
    targets = rng.standard_normal(80)
    table = regression_table(targets)
    config = resolve(QUICK, task="regression")
    how = {"config": config, "space": SPACE, "trials": 6}
    result = search_table(table, **how)
    assert result.metric == "rmse"
    # The split decides which rows are tested; for numbers, it depends on their count alone.
    from training.data.split import split_rows

    test_rows = split_rows(table, config.split, rng=np.random.default_rng(config.seed)).test
    other = targets.copy()
    other[test_rows] = 1000 * rng.standard_normal(len(test_rows))
    changed = search_table(regression_table(other), **how)
    assert figures(changed) == figures(result)
    assert changed.winner.number == result.winner.number
    assert changed.checkpoint.metrics["test"]["rmse"] > 100 * result.checkpoint.metrics["test"]["rmse"]


def test_the_standard_error_is_that_of_the_rows():
    result = search("iris", trials=1, settings=QUICK, space=SPACE, metric="accuracy")
    share, rows = result.winner.value, result.winner.metrics["rows"]
    assert result.winner.error == pytest.approx(np.sqrt(share * (1 - share) / rows))
    # RMSE's standard error against resampling of the rows.
    table = regression_table(np.random.default_rng(3).standard_normal(80))
    one = search_table(table, resolve_for_table(QUICK | {"split": None}, table), space=SPACE, trials=1)
    rows = [table.example(row) for row in range(table.rows)]
    from models.columns.encoding import RowEncoder

    answers = one.checkpoint.inference_network().forward(RowEncoder(one.checkpoint.schema).encode_matrix(rows))[:, 0]
    squares = np.square(answers - table.target)
    rng = np.random.default_rng(4)
    drawn = [np.sqrt(rng.choice(squares, len(squares)).mean()) for _ in range(4000)]
    assert one.winner.error == pytest.approx(np.std(drawn), rel=0.1)


def test_trials_that_cannot_be_are_failures_and_not_the_end():
    space = SearchSpace(parameters={"activation": Choices(values=("relu", "gelu"))})  # NumPy has no GELU
    result = search("iris", trials=2, settings=QUICK, space=space, sampler="grid")
    assert [trial.state for trial in result.trials] == ["finished", "failed"]
    assert "gelu" in result.trials[1].reason
    nothing = SearchSpace(parameters={"activation": Choices(values=("gelu", "silu"))})
    with pytest.raises(SearchError, match="none of 2 trials"):
        search("iris", trials=2, settings=QUICK, space=nothing, sampler="grid")


def test_defaults_outside_the_space_are_moved_and_it_is_said():
    space = SearchSpace(parameters={"learning_rate": FloatRange(low=0.1, high=0.2)})
    result = search("iris", trials=1, settings=QUICK | {"learning_rate": 0.05}, space=space)
    assert result.winner.settings == {"learning_rate": 0.1}
    assert "learning_rate 0.05 → 0.1" in result.notes[0]


def test_time_that_is_up_leaves_the_first_trial_as_it_stands():
    result = search("iris", trials=5, settings=QUICK | {"epochs": 10**8, "patience": None}, space=SPACE, timeout=0.05)
    assert result.ended == "time"
    (only,) = result.trials
    assert (only.state, only.is_cut) == ("finished", True)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_search_cut_off_in_its_first_trial_goes_on_as_if_it_had_not_been(tmp_path, sampler):
    seen = []

    def go(**how):
        with StudyFolder(tmp_path, "study") as folder:
            return search("iris", trials=4, settings=QUICK, space=SPACE, sampler=sampler, folder=folder, **how)

    stopping = Listener(on_epoch=lambda number, epoch: seen.append(epoch.number))
    cut = go(listener=stopping, should_stop=lambda: len(seen) >= 3)
    assert (cut.winner.is_cut, cut.winner.epochs) == (True, 3)
    continued = go()
    whole = search("iris", trials=4, settings=QUICK, space=SPACE, sampler=sampler)
    again = [trial for trial in continued.trials if trial.counts]
    assert [(trial.settings, trial.state, trial.value) for trial in again] == figures(whole)
    assert (again[0].is_default, continued.winner.value) == (True, whole.winner.value)
    assert continued.counts() == whole.counts() | {"interrupted": 1}
    assert [trial.number for trial in continued.ranking()] == [trial.number + 1 for trial in whole.ranking()]


def test_a_search_goes_on_to_the_number_asked_for_and_keeps_the_winners_file(tmp_path):
    def go(trials):
        with StudyFolder(tmp_path, "study") as folder:
            return search("iris", trials=trials, settings=QUICK, space=SPACE, sampler="random", folder=folder)

    first, second = go(3), go(6)
    assert figures(second)[:3] == figures(first)
    assert len(second.trials) == 6
    assert len(go(6).trials) == 6
    assert [path.name for path in (tmp_path / "study").glob("*.safetensors")] == [
        f"trial-{second.winner.number}.safetensors"
    ]
    (tmp_path / f"study/trial-{second.winner.number}.safetensors").write_bytes(b"damaged")
    again = go(6)
    assert "trained again" in again.notes[-1]
    for name, tensor in second.checkpoint.tensors.items():
        assert np.array_equal(again.checkpoint.tensors[name], tensor)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"source": "wine"}, "another table"),
        ({"space": SearchSpace(parameters={"dropout": FloatRange(low=0, high=0.5)})}, "another search space"),
        ({"settings": QUICK | {"epochs": 11}}, "another set of fixed settings"),
        ({"metric": "accuracy"}, "another metric"),
    ],
)
def test_a_study_is_not_gone_on_with_on_anything_else(tmp_path, change, named):
    how = {"source": "iris", "trials": 1, "settings": QUICK, "space": SPACE}
    if change.get("source") == "wine":
        change = {"source": pa.table({"a": np.arange(60.0), "y": ["x", "z", "w"] * 20}), "target": "y"}
    with StudyFolder(tmp_path, "study") as folder:
        search(**how, folder=folder)
        with pytest.raises(ConfigError, match=named):
            search(**how | change, folder=folder)


def test_workers_come_to_the_same_trials():
    how = {"trials": 4, "settings": QUICK, "space": SPACE, "sampler": "random", "pruner": "none"}
    alone, together = search("iris", **how), search("iris", **how, jobs=2)
    assert figures(together) == figures(alone)
    for name, tensor in alone.checkpoint.tensors.items():
        assert np.array_equal(together.checkpoint.tensors[name], tensor)


# --- the command ----------------------------------------------------------------------------------------------------

VARIED = ("--vary", "learning_rate=1e-3..0.5:log", "--vary", "hidden_sizes=4|16")
OPTIONS = ("search", "iris", "--engine", "numpy", *VARIED)
SCRIPT = "import sys; from training.cli import main; sys.exit(main(sys.argv[1:]))"
# The fourth trial starts and never ends.
HANGS = """
import sys
from training.cli import main
from training.search.trials import run
train, begun = run.run_trial, []
def hanging(*arguments, **how):
    begun.append(None)
    if len(begun) == 4:
        print("in trial 3", flush=True)
        sys.stdin.read()
    return train(*arguments, **how)
run.run_trial = hanging
sys.exit(main(sys.argv[1:]))
"""


def start(folder, *arguments, script=SCRIPT):
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def workers_of(pid):
    return [c for c in children_of(pid) if "spawn_main" in Path(f"/proc/{c}/cmdline").read_text()]


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for_end(pids):
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        import select

        ended, _, _ = select.select([descriptor], [], [], 30)
        os.close(descriptor)
        assert ended or not is_running(pid), pid


def recorded(folder):
    trials = json.loads((folder / "searches/iris/search.json").read_text())["trials"]
    return [(t["settings"], t["state"], t["value"]) for t in trials]


def test_a_search_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path):
    for name in ("killed", "whole"):
        (tmp_path / name).mkdir()
    arguments = (*OPTIONS, "--epochs", 5, "--trials", 6, "--pruner", "none")
    with start(tmp_path / "killed", *arguments, script=HANGS) as process:
        assert process.stdout.readline() == "in trial 3\n"
        process.kill()
    for name in ("killed", "whole"):
        with start(tmp_path / name, *arguments) as process:
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
            assert out.splitlines()[-1] == "published iris@1"
    killed, whole = recorded(tmp_path / "killed"), recorded(tmp_path / "whole")
    assert [state for _, state, _ in killed] == ["finished"] * 3 + ["interrupted"] + ["finished"] * 3
    assert killed[3][0] == killed[4][0]
    assert killed[:3] + killed[4:] == whole


def test_a_worker_that_dies_fails_its_trial_only_and_none_outlives_its_parent(tmp_path):
    arguments = (*OPTIONS, "--epochs", 10**8, "--patience", "none", "--trials", 9, "--jobs", 2)
    with start(tmp_path, *arguments) as process:
        assert process.stderr.readline() == "iris: 9 trials\n"
        while len(workers := workers_of(process.pid)) < 2 or not _are_busy(tmp_path, 2):
            assert process.poll() is None
        os.kill(workers[0], signal.SIGKILL)
        assert "failed: its process ended with signal SIGKILL" in _trial_line(process)
        while len(second := workers_of(process.pid)) < 2:
            assert process.poll() is None
        process.kill()
        wait_for_end({*workers, *second})


def _are_busy(folder, count):
    """Returns True if the record shows that `count` trials have started."""
    import sqlite3

    if not (folder / "searches/iris/study.db").exists():
        return False
    connection = sqlite3.connect(folder / "searches/iris/study.db")
    try:
        (running,) = connection.execute("select count(*) from trials where state = 'RUNNING'").fetchone()
    except sqlite3.OperationalError:  # the record does not exist yet
        return False
    finally:
        connection.close()
    return running >= count


def _trial_line(process):
    """Returns the next line on a trial's end; a long trial reports epochs in between."""
    while not re.match(r"\d+/\d+ trial", line := process.stderr.readline()):
        assert line, "the process ended"
    return line


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_all_processes_ends_them_and_keeps_the_best_so_far(tmp_path, number, code):
    arguments = (*OPTIONS, "--epochs", 200, "--patience", "none", "--trials", 100_000, "--jobs", 2)
    with start(tmp_path, *arguments) as process:
        for _ in range(3):
            _trial_line(process)
        workers = workers_of(process.pid)
        os.killpg(process.pid, number)  # as a terminal and a service manager do
        out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert len(workers) == 2
    wait_for_end(workers)
    assert "Traceback" not in err
    assert "stopped on request" in out
    kept = re.fullmatch(r"kept (searches/iris/trial-\d+\.safetensors)", out.splitlines()[-1])
    assert kept, out
    assert f"publish {kept[1]} --store" in err
    states = [state for _, state, _ in recorded(tmp_path)]
    assert states.count("finished") >= 3
    assert set(states) <= {"finished", "pruned", "interrupted"}


def test_a_continued_search_that_is_interrupted_says_so_also_if_its_best_was_published_before(tmp_path):
    with start(tmp_path, *OPTIONS, "--epochs", 200, "--patience", "none", "--trials", 3) as process:
        out, err = process.communicate(timeout=60)
    assert out.splitlines()[-1] == "published iris@1", err
    with start(tmp_path, *OPTIONS, "--epochs", 200, "--patience", "none", "--trials", 100_000) as process:
        _trial_line(process)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert re.fullmatch(r"published iris@1|kept searches/iris/trial-\d+\.safetensors", out.splitlines()[-1])
    assert "interrupted" in err


@pytest.fixture
def command(tmp_path, capsys, monkeypatch):
    """Runs a command in this process on a folder of its own; returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("AXON_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)

    def run_here(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_here


def test_the_command_tells_ranks_draws_and_publishes_once(command, tmp_path):
    arguments = (*OPTIONS, "--epochs", 5, "--trials", 9, "--sampler", "random", "--pruner", "none", "--name", "flowers")
    code, out, err = command(*arguments)
    assert code == 0, err
    assert "the best trials by log_loss" in out
    assert "what mattered" in out
    assert "9/9 trial 8" in err
    assert out.splitlines()[-1] == "published flowers@1"
    assert sorted(path.name for path in (tmp_path / "searches/flowers").glob("search.*")) == [
        "search.html",
        "search.json",
        "search.svg",
    ]
    record = json.loads((tmp_path / "searches/flowers/search.json").read_text())
    checkpoint = Store(tmp_path / "store").load("flowers").checkpoint
    assert checkpoint.metrics["validation"]["log_loss"] == record["winner"]["value"]
    assert checkpoint.metrics["test"] == record["metrics"]["test"]
    # A second run has nothing left to train, and the same model is not published twice.
    code, out, err = command(*arguments, "--json")
    assert (code, json.loads(out)["model"]) == (0, "flowers@1")
    assert "9 of 9 trials are there already" in err
    assert Store(tmp_path / "store").entry("flowers").versions == (1,)
    other_store = command(*arguments, "--quiet", "--store", tmp_path / "other")
    assert other_store == (0, "published flowers@1\n", "")


def test_another_model_under_the_winners_number_is_not_taken_for_the_winner(command, tmp_path):
    arguments = (*OPTIONS, "--epochs", 5, "--trials", 2, "--quiet", "--name", "flowers")
    assert command(*arguments)[1].splitlines()[-1] == "published flowers@1"
    shutil.rmtree(tmp_path / "store")
    assert command("fit", "iris", "--name", "flowers", "--engine", "numpy", "--epochs", 1, "--quiet")[0] == 0
    card = (tmp_path / "store/flowers/1/README.md").read_bytes()
    assert command(*arguments)[1].splitlines()[-1] == "published flowers@2"
    assert (tmp_path / "store/flowers/1/README.md").read_bytes() == card
    # The record is gone, and another search has the numbers of its trials.
    (tmp_path / "searches/flowers/study.db").unlink()
    assert command(*arguments, "--seed", 5)[1].splitlines()[-1] == "published flowers@3"


def test_a_winner_whose_file_is_damaged_is_trained_again_and_kept(command, tmp_path):
    arguments = (*OPTIONS, "--epochs", 5, "--trials", 2, "--no-publish", "--name", "flowers")
    assert command(*arguments)[0] == 0
    [file] = (tmp_path / "searches/flowers").glob("trial-*.safetensors")
    whole = load_checkpoint(file).checkpoint
    file.write_bytes(b"damaged")
    code, out, _ = command(*arguments)
    assert (code, "kept" in out.splitlines()[-1]) == (0, True)
    again = load_checkpoint(file).checkpoint
    assert all(np.array_equal(again.tensors[name], tensor) for name, tensor in whole.tensors.items())


def test_publishing_can_be_left_out(command, tmp_path):
    code, out, _ = command(*OPTIONS, "--epochs", 2, "--trials", 1, "--no-publish")
    assert code == 0
    assert "published" not in out
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("table", "metric", "more"),
    [
        ("iris", "log_loss", ("--engine", "numpy")),
        ("iris", "accuracy", ("--engine", "numpy")),
        ("diabetes", "r2", ("--engine", "linear")),
    ],
)
def test_the_metric_only_ranks_where_an_engine_has_no_runs_for_one(command, tmp_path, table, metric, more):
    of_trials = ("--trials", 1) if "linear" in more else ("--trials", 1, "--hidden", "8", "--epochs", 2)
    code, out, err = command("search", table, "--quiet", "--json", *of_trials, *more, "--metric", metric)
    assert code == 0, err
    assert json.loads(out)["metric"] == metric
    assert "metric" not in Store(tmp_path / "store").load(table).checkpoint.training


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--vary", "momentum=0..1"), "'momentum'"),
        (("--learning-rate", 0.1), "learning_rate cannot both vary and be fixed"),
        (("--space", "none.toml"), "none.toml"),
        (("--timeout", 0), "timeout"),
        (("--metric", "r2"), "r2"),
        (("--study", "../x"), "'../x'"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_exit_code_2(command, arguments, message):
    code, out, err = command(*OPTIONS, "--trials", 1, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_the_space_can_be_a_file_and_the_recipes_own_with_more(command, tmp_path):
    (tmp_path / "space.toml").write_text('activation = ["relu", "tanh"]\n')
    base = ("search", "iris", "--engine", "numpy", "--epochs", 1, "--trials", 1, "--quiet", "--json")
    only = json.loads(command(*base, "--space", "space.toml")[1])
    assert list(only["space"]) == ["activation"]
    more = json.loads(command(*base, "--study", "b", "--vary", "default", "--vary", "clip_norm=0.5..2")[1])
    assert {"hidden_sizes", "learning_rate", "clip_norm"} <= set(more["space"])


def test_an_outcome_that_was_cut_counts_only_where_there_is_no_other():
    from training.search.trials.folder import MemoryCheckpoints
    from training.search.trials.search_record import SearchRecord
    from training.search.trials.session import Session

    first = {"hidden_sizes": (4,), "learning_rate": 0.05}
    record = SearchRecord(space=SPACE, metric="log_loss", first_point=first, sampler="random")
    session = Session(record=record, checkpoints=MemoryCheckpoints(), metric="log_loss", trials=3, jobs=2)
    one, two = session.next(), session.next()
    cut = Outcome(seconds=1.0, was_ended=True, value=0.5, epochs=1)
    session.done(one.number, cut)
    session.done(two.number, dataclasses.replace(cut, value=0.1))
    assert [trial.state for trial in record.trials()] == ["finished", "interrupted"]
    assert session.best().number == one.number
