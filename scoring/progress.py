"""The progress of a job on the terminal: a bar with rows, rows a second and time left, else lines at intervals."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from scoring.job import Progress
from training.live import Lines, TimeLeft, bar, draws_bars


@contextmanager
def progress(
    console: Console, title: str, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[Progress], None]]:
    """Yields a function that shows the progress of a job.

    Args:
        console: console for the progress.
        title: name of the model.
        clock: clock in seconds.
    """
    left, begin = TimeLeft(clock), clock()

    def figures(now: Progress) -> tuple[str, str, str]:
        speed = now.rows / max(clock() - begin, 1e-9)
        return f"{now.rows:,} rows", f"{speed:,.0f} rows/s", left.after(now.bytes, now.total_bytes)

    if not draws_bars(console):
        lines = Lines(at_once=False, clock=clock)

        def print_line(now: Progress) -> None:
            shown = figures(now)
            if lines.is_due():
                console.print(f"{title}: {', '.join(filter(None, shown))}", soft_wrap=True)

        yield print_line
        return
    with bar(console) as shown:
        task = shown.add_task(title, total=None, count="", figure="", left="")

        def move(now: Progress) -> None:
            count, figure, rest = figures(now)
            shown.update(task, total=now.total_bytes, completed=now.bytes, count=count, figure=figure, left=rest)

        yield move
