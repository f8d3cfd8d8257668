"""TensorBoard logs: the measures and the learning rate of each epoch as scalars, one folder for each run."""

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
    """Opens a log and yields a callback that logs an epoch; leaving the context completes the log.

    If the disk refuses a later epoch, the log ends early, but the run continues.

    Args:
        folder: folder of all runs, the argument of `tensorboard --logdir`.
        run: name of the run; its folder is the first of `RUN-1`, `RUN-2`, … that does not exist.
        clock: clock in seconds since 1970.
        on_failure: callback for the reason if the log ends early, called once; a Python warning by default.

    Raises:
        TrainingError: TensorBoard is not installed, or the folder cannot be created.
    """
    # Imported here: TensorBoard is an optional extra.
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
        except OSError as error:  # caused by an earlier event: the writer has a thread that writes the events
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
    """Suppresses the traceback of a thread that ends with an OSError, for thread classes of one module.

    TensorBoard's writer has such a thread; `add_event` then raises the same error, which is reported once.
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
            if not path.exists():  # a parent is not a folder
                raise
        else:
            return path
    raise AssertionError  # not reached: count has no end
