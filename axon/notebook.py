"""Progress in a notebook: a bar in a cell's output, in plain HTML, without a widget or a script."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from html import escape

from training.engines.engine import Epoch, OnEpoch
from training.live import TimeLeft, duration
from training.progress import shown_measures

_SECONDS = 0.2  # between two updates: each is a message to the browser


def in_notebook() -> bool:
    """Returns True if this process is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


@contextlib.contextmanager
def notebook_progress(
    title: str, show: Callable[[str], None] | None = None, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[OnEpoch]:
    """Yields a function that takes each epoch and shows the progress in the cell's output.

    Args:
        title: name of the model.
        show: function that replaces the shown HTML by another; the notebook's display if None.
        clock: function that returns the time, in seconds.
    """
    show = show or _display()
    left, begin, due = TimeLeft(clock), clock(), clock()
    last: Epoch | None = None

    def on_epoch(epoch: Epoch) -> None:
        nonlocal last, due
        last = epoch
        shown_left = left.after(epoch.number, epoch.of)
        if clock() >= due:
            due = clock() + _SECONDS
            show(bar_html(title, epoch, shown_left))

    try:
        yield on_epoch
    finally:
        if last is not None:
            show(bar_html(title, last, f"{duration(clock() - begin)}"))


def bar_html(title: str, epoch: Epoch, time_text: str) -> str:
    """Returns a progress bar with epoch, measures and a time, as HTML.

    Args:
        title: name of the model.
        epoch: last completed epoch.
        time_text: time that is left, or duration of the run.
    """
    words = ", ".join(
        filter(None, (f"epoch {epoch.number:,} of {epoch.of:,}", shown_measures(epoch.measures), time_text))
    )
    return (
        f'<div style="font-family: monospace"><progress value="{epoch.number}" max="{epoch.of}"></progress> '
        f"{escape(title if epoch.phase is None else f'{title}, {epoch.phase}')}: {escape(words)}</div>"
    )


def _display() -> Callable[[str], None]:
    from IPython.display import HTML, display

    handle = display(HTML(""), display_id=True)

    def show(html: str) -> None:
        handle.update(HTML(html))

    return show
