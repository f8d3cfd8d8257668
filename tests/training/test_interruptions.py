"""Ctrl-C and SIGTERM in a running `fit`: the trained model is kept, and nothing goes live unexpectedly."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models.checkpoint import load_checkpoint
from models.store import Store

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
# Enough epochs that only the signal can end the run.
ENDLESS = ("fit", "xor", "--engine", "numpy", "--epochs", "100000000", "--store", "store", "--no-report")

PLAIN = "import sys; from training.cli import main; sys.exit(main())"
# The second epoch never ends, like a very long epoch on a huge table.
SLOW_EPOCHS = """
import sys, threading
from training.engines import numpy_engine
from training.cli import main
learn, calls = numpy_engine.EpochLog.add, []
def add(self, **measures):
    if len(self.measures.get("validation_loss", ())) == EPOCHS:
        print("in the next epoch", file=sys.stderr, flush=True)
        threading.Event().wait()
    return learn(self, **measures)
numpy_engine.EpochLog.add = add
sys.exit(main())
"""
# Ctrl-C in the second epoch.
STOPPED_AFTER_TWO = """
import os, signal, sys
from training.engines import numpy_engine
from training.cli import main
learn = numpy_engine.EpochLog.add
def add(self, **measures):
    is_best = learn(self, **measures)
    if self.epochs_run == 2:
        os.kill(os.getpid(), signal.SIGINT)
    return is_best
numpy_engine.EpochLog.add = add
sys.exit(main())
"""
# The first reading of the store after the training lasts until standard input ends.
SLOW_STORE = """
import sys
from models.store import Store
from training.cli import main
resolve = Store.resolve
def slow(self, reference):
    Store.resolve = resolve
    print("reading the store", file=sys.stderr, flush=True)
    sys.stdin.read()
    return resolve(self, reference)
Store.resolve = slow
sys.exit(main())
"""


def started(folder, *options, code=PLAIN):
    return subprocess.Popen(
        [sys.executable, "-u", "-c", code, *ENDLESS, *options],
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(process, words):
    while words not in (line := process.stderr.readline()):
        assert line, "the process ended without a word"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_is_kept_and_published_by_the_command_that_it_names(tmp_path, number, code):
    with started(tmp_path) as process:
        read_until(process, "epoch 1 of")
        process.send_signal(number)
        if number == signal.SIGTERM:
            process.send_signal(number)  # as `timeout` does
        out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    kept = tmp_path / "store/.unpublished/xor-1/model.safetensors"
    assert out.splitlines()[-1] == f"kept {kept.relative_to(tmp_path)}"
    assert Store(tmp_path / "store").entries() == []
    assert "xor is not published. It was interrupted after epoch" in err
    digest = load_checkpoint(kept).digest
    command = err.splitlines()[-1].partition("publishes it: python -m ")[2].split()
    subprocess.run([sys.executable, "-m", *command], cwd=tmp_path, env=ENVIRONMENT, check=True, timeout=60)
    assert Store(tmp_path / "store").load("xor@1").digest == digest


@pytest.mark.parametrize(
    "line",
    [
        ["fit", "iris", "--engine", "numpy", "--epochs", "2"],
        ["search", "iris", "--population", "2", "--epochs", "2"],
        ["search", "iris", "--trials", "1", "--epochs", "2", "--vary", "dropout=0..0.1"],
    ],
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_after_the_training_loses_no_model(tmp_path, line, number, code):
    with subprocess.Popen(
        [sys.executable, "-u", "-c", SLOW_STORE, *line, "--store", "store"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        read_until(process, "reading the store")
        process.send_signal(number)
        process.send_signal(number)  # impatience
        out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    kept = out.splitlines()[-1]
    assert kept.startswith("kept "), err
    assert load_checkpoint(tmp_path / kept.removeprefix("kept ")).checkpoint.training["epochs"] == 2
    assert Store(tmp_path / "store").entries() == []


def test_an_interrupted_run_is_published_on_request(tmp_path):
    with started(tmp_path, "--publish", "always") as process:
        read_until(process, "epoch 1 of")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.splitlines()[-1] == "published xor@1"
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["xor"]


@pytest.mark.parametrize(
    ("number", "epochs", "code"), [(signal.SIGINT, 0, 130), (signal.SIGTERM, 0, 143), (signal.SIGINT, 1, 130)]
)
def test_before_the_first_epoch_and_pressed_twice_it_ends_at_once_and_leaves_nothing(tmp_path, number, epochs, code):
    with started(tmp_path, "--publish", "always", code=SLOW_EPOCHS.replace("EPOCHS", str(epochs))) as process:
        read_until(process, "in the next epoch")
        process.send_signal(number)
        if epochs:
            read_until(process, "press Ctrl-C again")
            process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert (out, list(tmp_path.iterdir())) == ("", [])
    assert "Traceback" not in err


@pytest.mark.parametrize(("answer", "code", "last"), [("y", 0, "published xor@1"), ("n", 130, "kept store")])
def test_on_a_terminal_it_asks(tmp_path, answer, code, last):
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-u", "-c", STOPPED_AFTER_TWO, *ENDLESS],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    ) as process:
        os.close(theirs)
        said = b""
        while b"[y/N]" not in said:
            said += os.read(ours, 1000)
        assert (tmp_path / "store/.unpublished/xor-1/model.safetensors").exists(), "on the disk while it asks"
        assert b"log_loss" in os.read(process.stdout.fileno(), 10_000), "the figures come before the question"
        os.write(ours, f"{answer}\n".encode())
        out, _ = process.communicate(timeout=60)
    os.close(ours)
    assert b"interrupted after epoch 2" in said
    assert (process.returncode, out.splitlines()[-1][: len(last)]) == (code, last)


def test_a_terminal_that_is_closed_loses_nothing(tmp_path):
    ours, theirs = os.openpty()
    arguments = [sys.executable, "-u", "-c", PLAIN, *ENDLESS]
    with subprocess.Popen(
        arguments, cwd=tmp_path, env=ENVIRONMENT, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        said = b""
        while b"epoch " not in said:
            said += os.read(ours, 1000)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=60) == 129
    assert (
        load_checkpoint(tmp_path / "store/.unpublished/xor-1/model.safetensors").checkpoint.training["engine"]
        == "numpy"
    )
