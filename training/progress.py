"""Progress of a run on the terminal: a bar with epoch, figure and time left, else a line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console

from training.engines.engine import Epoch, OnEpoch
from training.live import Lines, TimeLeft, bar, draws_bars

# The figure beside a bar: what the best epoch is chosen by, as far as there is one.
_FIGURES = ("validation_error", "validation_loss")


@contextmanager
def progress(console: Console, title: str, *, clock: Callable[[], float] = time.monotonic) -> Iterator[OnEpoch]:
    """Gives a function that takes each epoch and shows it.

    Args:
        console: where to show it.
        title: name of what is trained.
        clock: seconds.
    """
    left = TimeLeft(clock)
    if not draws_bars(console):
        lines = Lines(clock=clock)

        def print_line(epoch: Epoch) -> None:
            shown_left = left.after(epoch.number, epoch.of)
            if lines.is_due() or epoch.number == epoch.of:
                line = ", ".join(filter(None, (shown_measures(epoch.measures), shown_left)))
                # Plain text: a file's name may hold brackets, which rich would take for markup.
                text = f"{title}: epoch {epoch.number} of {epoch.of}, {line}"
                console.print(text, soft_wrap=True, markup=False, highlight=False)

        yield print_line
        return
    with bar(console) as shown:
        task = shown.add_task(title, total=None, count="", figure="", left="")

        def move(epoch: Epoch) -> None:
            shown.update(
                task,
                total=epoch.of,
                completed=epoch.number,
                count=f"epoch {epoch.number}/{epoch.of}",
                figure=main_figure(epoch.measures),
                left=left.after(epoch.number, epoch.of),
            )

        yield move


@contextmanager
def study_progress(
    console: Console, title: str, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int], None]]:
    """Gives a function that takes how many steps of a study are done, and of how many, and shows it.

    Args:
        console: where to show it.
        title: name of the study.
        clock: seconds.
    """
    left = TimeLeft(clock)
    if not draws_bars(console):
        lines = Lines(at_once=False, clock=clock)  # most studies are over before a line is due

        def print_line(done: int, of: int) -> None:
            text = ", ".join(filter(None, (f"{title}: step {min(done + 1, of)} of {of}", left.after(done, of))))
            if lines.is_due():
                console.print(text, soft_wrap=True, markup=False, highlight=False)

        yield print_line
        return
    with bar(console) as shown:
        task = shown.add_task(title, total=None, count="", figure="", left="")

        def move(done: int, of: int) -> None:
            shown.update(
                task, total=of, completed=done, count=f"step {min(done + 1, of)}/{of}", left=left.after(done, of)
            )

        yield move


def shown_measures(measures: Mapping[str, float]) -> str:
    """Returns all measures of an epoch in words."""
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in measures.items())


def main_figure(measures: Mapping[str, float]) -> str:
    """Returns the one measure of an epoch that there is room for beside a bar, short: `val. error 0.0435`."""
    name = next((name for name in _FIGURES if name in measures), next(iter(measures), None))
    if name is None:
        return ""
    return f"{name.replace('validation_', 'val. ').replace('_', ' ')} {measures[name]:.4g}"
