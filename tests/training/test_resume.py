"""A resumed run ends with exactly the same weights; a file of another run, or a damaged one, is refused."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models.errors import ConfigError, DataError
from models.store import Store
from training.cli import main
from training.data.column_choices import ColumnChoices
from training.fit import fit
from training.resume import ResumeFile

ROOT = Path(__file__).parents[2]
RUN = {"recipe": "default", "epochs": 12, "hidden_sizes": (16, 16)}


def stopped_after(number, path, **settings):
    seen = []
    return fit(
        "iris",
        keep=ResumeFile(path),
        on_epoch=seen.append,
        should_stop=lambda: len(seen) == number,
        **(RUN | settings),
    )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"members": 3},
        {"recipe": "classic", "epochs": 12, "dropout": 0.3},
        {"select_by": "loss", "clip_norm": 0.1, "label_smoothing": 0.1},
    ],
)
def test_a_run_interrupted_twice_comes_to_the_same_bytes(tmp_path, settings):
    path = tmp_path / "iris.safetensors"
    whole = fit("iris", **RUN | settings)
    first = stopped_after(4, path, **settings)
    assert first.trained.stopped == "asked"
    assert path.exists()
    again = []
    fit(
        "iris",
        keep=ResumeFile(path),
        resume=True,
        on_epoch=again.append,
        should_stop=lambda: len(again) == 3,
        **RUN | settings,
    )
    assert [epoch.number for epoch in again] == [5, 6, 7]
    last = fit("iris", keep=ResumeFile(path), resume=True, **RUN | settings)
    assert last.trained.history == whole.trained.history
    assert last.checkpoint.header() == whole.checkpoint.header()
    for name, tensor in whole.checkpoint.tensors.items():
        np.testing.assert_array_equal(last.checkpoint.tensors[name], tensor)
    assert list(tmp_path.iterdir()) == [], "a run that has ended leaves nothing"


def test_a_run_goes_on_from_where_it_stood_and_not_from_its_best(tmp_path):
    path = tmp_path / "iris.safetensors"
    run = {"recipe": "classic", "epochs": 12, "hidden_sizes": (16,), "learning_rate": 1.0, "patience": None}
    whole = fit("iris", **run)
    losses = whole.trained.history["validation_loss"]
    worse = next(number for number in range(2, 11) if losses[number - 1] > min(losses[: number - 1]))
    first = stopped_after(worse, path, **run)
    assert first.trained.best_epoch < worse
    last = fit("iris", keep=ResumeFile(path), resume=True, **run)
    assert last.trained.history == whole.trained.history
    for name, tensor in whole.checkpoint.tensors.items():
        np.testing.assert_array_equal(last.checkpoint.tensors[name], tensor)


def test_a_run_of_other_settings_or_data_is_refused(tmp_path):
    path = tmp_path / "iris.safetensors"
    stopped_after(2, path)
    with pytest.raises(DataError, match=r"other settings \(learning_rate\): resume with what it was begun with"):
        fit("iris", keep=ResumeFile(path), resume=True, **RUN | {"learning_rate": 0.01})
    with pytest.raises(DataError, match=r"other targets \(species\)"):
        fit("wine", keep=ResumeFile(path), resume=True, **RUN)
    assert path.exists()


CATEGORIES = pa.table({
    "colour": ["red", "blue", "green", "red"] * 30,
    "size": [float(i % 7) for i in range(120)],
    "rent": [float(i % 11) for i in range(120)],
    "sold": [float(i % 13) for i in range(120)],
})  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"choices": ColumnChoices(unknown="refuse")}, r"other treatment of unknown categories \(ignore\): resume"),
        ({"target": "sold,rent"}, r"other targets \(rent,sold\): resume"),
        ({"choices": ColumnChoices(drop=("size",))}, "other data: resume"),
        ({"choices": ColumnChoices(weight="size")}, "other data: resume"),
    ],
)
def test_a_choice_that_the_weights_depend_on_is_part_of_the_run(tmp_path, changes, said):
    path = tmp_path / "houses.safetensors"
    run = {**RUN, "epochs": 3, "target": "rent,sold", "name": "houses"}
    first = fit(CATEGORIES, **run, keep=ResumeFile(path), should_stop=lambda: True)
    assert first.trained.stopped == "asked"
    with pytest.raises(DataError, match=said):
        fit(CATEGORIES, **run | changes, keep=ResumeFile(path), resume=True)
    other = fit(CATEGORIES, **run | changes)
    same = fit(CATEGORIES, **run)
    assert any(
        tensor.shape != (before := same.checkpoint.tensors.get(name, np.zeros(0))).shape or (tensor != before).any()
        for name, tensor in other.checkpoint.tensors.items()
    ), "the weights do depend on it"


def test_a_choice_of_the_checkpoint_alone_may_change(tmp_path):
    path = tmp_path / "houses.safetensors"
    run = {**RUN, "epochs": 3, "target": "rent,sold", "name": "houses"}
    fit(CATEGORIES, **run, keep=ResumeFile(path), should_stop=lambda: True)
    shown = ColumnChoices(examples="rows", background="rows")
    last = fit(CATEGORIES, **run, choices=shown, keep=ResumeFile(path), resume=True)
    for name, tensor in fit(CATEGORIES, **run).checkpoint.tensors.items():
        np.testing.assert_array_equal(last.checkpoint.tensors[name], tensor)


def test_another_run_of_the_name_leaves_the_state_alone(tmp_path):
    path = tmp_path / "iris.safetensors"
    stopped_after(2, path)
    state = path.read_bytes()
    fit("iris", keep=ResumeFile(path), recipe="default", epochs=1)
    assert path.read_bytes() == state


def test_only_the_torch_engine_resumes_and_only_from_a_place(tmp_path):
    with pytest.raises(ConfigError, match="a run of the numpy engine cannot be resumed"):
        fit("iris", engine="numpy", keep=ResumeFile(tmp_path / "x"), resume=True)
    with pytest.raises(ConfigError, match="say where"):
        fit("iris", resume=True, **RUN)
    assert main(["fit", "iris", "--engine", "numpy", "--resume", "--store", str(tmp_path / "store")]) == 2


def test_what_cannot_be_resumed_is_named(tmp_path):
    path = tmp_path / "iris.safetensors"
    with pytest.raises(DataError, match="nothing to resume"):
        fit("iris", keep=ResumeFile(path), resume=True, **RUN)
    path.write_bytes(b"not a state")
    with pytest.raises(DataError, match="is damaged"):
        fit("iris", keep=ResumeFile(path), resume=True, **RUN)


def test_the_state_is_written_every_minute(tmp_path):
    now = [0.0]
    path = tmp_path / "state.safetensors"
    keep = ResumeFile(path, clock=lambda: now[0])
    keep.begin({"run": 1})
    written = []
    for second in (10, 59, 61, 100, 122):
        now[0] = float(second)
        keep.offer(lambda second=second: {"second": np.array(second)})
        written.append(int(keep.read()["second"]) if path.exists() else None)
    assert written == [None, None, 61, 61, 122]


@pytest.mark.slow
def test_ctrl_c_and_resume_on_the_command_line(tmp_path):
    command = [sys.executable, "-u", "-m", "training", "fit", "digits", "--recipe", "default", "--epochs", "6"]
    command += ["--hidden", "8", "--threads", "1", "--store", str(tmp_path / "store"), "--no-report"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True) as run:
        assert "epoch 1 of" in run.stderr.readline()
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=60)
    state = tmp_path / "store/.resume/digits.safetensors"
    assert run.returncode == 130
    assert state.exists()
    assert Store(tmp_path / "store").names() == []
    assert main([*command[4:], "--resume", "--quiet"]) == 0
    assert not state.exists()
    resumed = Store(tmp_path / "store").load("digits@1").checkpoint
    assert resumed.training["epochs_run"] == 6
    whole = fit("digits", recipe="default", epochs=6, hidden_sizes=(8,), device="cpu")
    for name, tensor in whole.checkpoint.tensors.items():
        np.testing.assert_array_equal(resumed.tensors[name], tensor)


@pytest.mark.parametrize("at", [0.0, 61.0], ids=["when the run is interrupted", "each minute"])
def test_a_state_that_cannot_be_written_ends_no_run(tmp_path, at):
    (tmp_path / "file").write_text("a file in the folder's place")
    now, told, epochs = [0.0], [], []

    def on_epoch(epoch):
        epochs.append(epoch)
        now[0] += at

    keep = ResumeFile(tmp_path / "file/iris.safetensors", clock=lambda: now[0], on_failure=told.append)
    model = fit("iris", keep=keep, on_epoch=on_epoch, should_stop=lambda: len(epochs) == 4, **RUN)
    assert model.trained.epochs_run == 4
    assert told == [f"{tmp_path}/file/iris.safetensors cannot be written: File exists."], "once, not each minute"
    with pytest.warns(UserWarning, match="cannot be written"):
        fit("iris", keep=ResumeFile(tmp_path / "file/x"), should_stop=lambda: True, **RUN)
