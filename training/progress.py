"""Progress of a run on the terminal: a bar with epoch, figure and time left, else a line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console

from training.budget import TimeBudget
from training.engines.engine import Epoch, OnEpoch
from training.live import Countdown, Lines, TimeLeft, bar, draws_bars

# The figure beside a bar: the first of these that the epoch has, since it decides which epoch is best.
_FIGURES = ("validation_error", "validation_loss")


@contextmanager
def progress(
    console: Console,
    title: str,
    *,
    budget: TimeBudget | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[OnEpoch]:
    """Yields a function that shows each epoch.

    Args:
        console: console for the progress.
        title: name of the model in training.
        budget: budget of the run, down to which the time counts; None to estimate the time by the epochs.
        clock: clock in seconds.
    """
    left = TimeLeft(clock) if budget is None else Countdown(budget)
    if not draws_bars(console):
        lines = Lines(clock=clock)

        def print_line(epoch: Epoch) -> None:
            shown_left = left.after(epoch.number, epoch.of)
            if lines.is_due() or epoch.number == epoch.of:
                line = ", ".join(filter(None, (shown_measures(epoch.measures), shown_left)))
                # Plain text: a file name may have brackets, which rich would read as markup.
                text = f"{_title_of(title, epoch)}: epoch {epoch.number} of {epoch.of}, {line}"
                console.print(text, soft_wrap=True, markup=False, highlight=False)

        yield print_line
        return
    with bar(console) as shown:
        task = shown.add_task(title, total=None, count="", figure="", left="")

        def move(epoch: Epoch) -> None:
            shown.update(
                task,
                description=_title_of(title, epoch),
                total=epoch.of if budget is None else budget.seconds,
                completed=epoch.number if budget is None else min(budget.spent, budget.seconds),
                count=f"epoch {epoch.number}/{epoch.of}",
                figure=main_figure(epoch.measures),
                left=left.after(epoch.number, epoch.of),
            )

        yield move


@contextmanager
def study_progress(
    console: Console, title: str, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int], None]]:
    """Yields a function that shows the number of steps done and of all steps of a study.

    Args:
        console: console for the progress.
        title: name of the study.
        clock: clock in seconds.
    """
    left = TimeLeft(clock)
    if not draws_bars(console):
        lines = Lines(at_once=False, clock=clock)  # most studies end before a line is due

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


def _title_of(title: str, epoch: Epoch) -> str:
    return title if epoch.phase is None else f"{title}, {epoch.phase}"


def shown_measures(measures: Mapping[str, float]) -> str:
    """Returns all measures of an epoch in words."""
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in measures.items())


def main_figure(measures: Mapping[str, float]) -> str:
    """Returns the main measure of an epoch in a short form for a bar: `val. error 0.0435`."""
    name = next((name for name in _FIGURES if name in measures), next(iter(measures), None))
    if name is None:
        return ""
    return f"{name.replace('validation_', 'val. ').replace('_', ' ')} {measures[name]:.4g}"
