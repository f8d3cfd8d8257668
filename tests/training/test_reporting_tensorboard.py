"""TensorBoard's log holds the values that the epochs reported."""

import sys

import pytest
from tiny_disk import on_a_tiny_disk

from training.engines.engine import Epoch
from training.errors import TrainingError
from training.reporting.tensorboard import tensorboard_log


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(e.step, e.value, e.wall_time) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_every_measure_of_every_epoch_is_read_back(tmp_path):
    pytest.importorskip("tensorboard")
    moments = iter(range(100, 200))
    with tensorboard_log(tmp_path / "runs", "iris", clock=lambda: float(next(moments))) as on_epoch:
        for number, loss in enumerate([0.5, 0.25], start=1):
            measures = {"train_loss": loss, "validation_loss": 2 * loss}
            rate = 0.125 if number == 1 else None
            on_epoch(Epoch(number=number, of=2, measures=measures, is_best=True, learning_rate=rate))
    found = scalars(tmp_path / "runs" / "iris-1")
    assert found == {
        "train_loss": [(1, 0.5, 100.0), (2, 0.25, 101.0)],
        "validation_loss": [(1, 1.0, 100.0), (2, 0.5, 101.0)],
        "learning_rate": [(1, 0.125, 100.0)],
    }


def test_each_run_has_a_folder_of_its_own(tmp_path):
    pytest.importorskip("tensorboard")
    for _ in range(2):
        with tensorboard_log(tmp_path, "iris"):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["iris-1", "iris-2"]


def test_without_tensorboard_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    with (
        pytest.raises(TrainingError, match=r"TensorBoard is not installed: install the extra"),
        tensorboard_log(tmp_path, "iris"),
    ):
        pytest.fail("it was let in")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(TrainingError, match="cannot be written to"), tensorboard_log(tmp_path / "runs", "iris"):
        pytest.fail("it was let in")


FULL_DISK = """
import sys
from training.cli import main
sys.exit(main(["fit", "xor", "--engine", "numpy", "--epochs", "400", "--hidden", "8", "--no-report",
    "--store", "models", "--tensorboard", "runs"]))
"""


@pytest.mark.slow
def test_a_log_that_cannot_be_written_ends_early_and_not_the_run(tmp_path):
    pytest.importorskip("tensorboard")
    ran = on_a_tiny_disk(tmp_path / "runs", "size=8k", FULL_DISK)
    assert (ran.returncode, ran.stdout.splitlines()[-1]) == (0, "published xor@1"), ran.stderr
    assert "warning: the TensorBoard log in runs ends early: No space left on device." in ran.stderr
    assert "Traceback" not in ran.stderr
