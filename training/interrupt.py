"""Ctrl-C during training: the first asks the run to stop and keep its best epoch, the second ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stopping_on_interrupt(on_first: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Within it, gives what says whether Ctrl-C was pressed; a second press raises KeyboardInterrupt.

    Args:
        on_first: called at the first press, to tell the user what happens now.
    """
    pressed = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        on_first()

    # Python hands signals to the main thread only, and lets only that one say what is done with them.
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
