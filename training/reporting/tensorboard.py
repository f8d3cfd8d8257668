"""TensorBoard logs: the measures and the learning rate of each epoch as scalars, a folder a run."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from training.engines.engine import Epoch, OnEpoch
from training.errors import TrainingError


@contextmanager
def tensorboard_log(
    folder: Path | str,
    run: str,
    *,
    clock: Callable[[], float] = time.time,
    on_failure: Callable[[str], None] = lambda reason: warnings.warn(reason, stacklevel=2),
) -> Iterator[OnEpoch]:
    """Within it, gives what takes each epoch and logs it; the log is complete on leaving.

    A disk that refuses a later epoch ends the log, and not the run.

    Args:
        folder: of all runs, what `tensorboard --logdir` is given.
        run: the run's name; its folder is the first of `RUN-1`, `RUN-2`, … that is not there yet.
        clock: seconds since 1970.
        on_failure: told once why the log ends early; a Python warning by default.

    Raises:
        TrainingError: TensorBoard is not installed, or the folder cannot be made.
    """
    # Imported here: it is an extra of its own, for those who ask for it.
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError as error:
        raise TrainingError(
            "TensorBoard is not installed: install the extra (pip install 'axon[tensorboard]'), "
            "or leave out --tensorboard."
        ) from error
    try:
        writer = EventFileWriter(str(_new_folder(Path(folder), run)))
    except OSError as error:
        raise TrainingError(f"the TensorBoard log cannot be written to {folder}: {error.strerror}.") from error

    is_broken = False

    def fail(error: OSError) -> None:
        nonlocal is_broken
        if not is_broken:
            on_failure(f"the TensorBoard log in {folder} ends early: {error.strerror or error}.")
        is_broken = True

    def log(epoch: Epoch) -> None:
        if is_broken:
            return
        figures = dict(epoch.measures)
        if epoch.learning_rate is not None:
            figures["learning_rate"] = epoch.learning_rate
        values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        try:
            writer.add_event(Event(wall_time=clock(), step=epoch.number, summary=Summary(value=values)))
        except OSError as error:  # of an earlier event: a thread of the writer's own writes them
            fail(error)

    try:
        with _quiet_threads_of(EventFileWriter.__module__):
            yield log
    finally:
        try:
            writer.close()
        except OSError as error:
            fail(error)


@contextmanager
def _quiet_threads_of(module: str) -> Iterator[None]:
    """Within it, a thread of a module's class that dies of a full disk prints no traceback.

    TensorBoard's writer has a thread that writes; `add_event` then raises the same error, which is told once.
    """
    hook = threading.excepthook

    def quieted(arguments: threading.ExceptHookArgs) -> None:
        if not (isinstance(arguments.exc_value, OSError) and type(arguments.thread).__module__ == module):
            hook(arguments)

    threading.excepthook = quieted
    try:
        yield
    finally:
        threading.excepthook = hook


def _new_folder(folder: Path, run: str) -> Path:
    for number in count(1):
        path = folder / f"{run}-{number}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if not path.exists():  # it is a parent that is no folder
                raise
        else:
            return path
    raise AssertionError  # count has no end
