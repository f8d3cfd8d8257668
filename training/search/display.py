"""How a search is seen while it goes on: a live line on a terminal, else a line for each trial."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from training.search.session import Listener, Standing
from training.search.space import label
from training.search.trial import Metric, Trial


@contextmanager
def displayed(console: Console, title: str, metric: Metric) -> Iterator[Listener]:
    """Within it, gives what is told of a search and shows it.

    Args:
        console: where to show it.
        title: what is searched for.
        metric: what trials are judged by.
    """
    if not console.is_terminal:
        yield Listener(
            on_start=lambda standing: console.print(start_line(title, standing), soft_wrap=True),
            on_trial=lambda trial, standing: console.print(trial_line(trial, standing, metric), soft_wrap=True),
        )
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[best]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None, best="", left="")

        def show(standing: Standing) -> None:
            best = (
                "" if standing.best is None else f"best {metric} {_value(standing.best)}, trial {standing.best.number}"
            )
            left = "" if standing.seconds_left is None else f"{duration(standing.seconds_left)} left"
            bar.update(task, total=standing.of, completed=standing.done, best=best, left=left)

        yield Listener(on_start=show, on_trial=lambda trial, standing: show(standing))


def start_line(title: str, standing: Standing) -> str:
    """What a search begins with."""
    if standing.done == 0:
        return f"{title}: {standing.of} trials"
    return f"{title}: {standing.done} of {standing.of} trials are there already"


def trial_line(trial: Trial, standing: Standing, metric: Metric) -> str:
    """A trial in a line: how far the search is, what came of the trial, the best, the time left."""
    match trial.state:
        case "finished":
            what = f"{metric} {_value(trial)}"
        case "failed":
            what = f"failed: {trial.reason}"
        case "pruned":
            what = f"pruned in epoch {trial.epochs}"
        case _:
            what = "interrupted"
    best = "" if standing.best is None else f", best {_value(standing.best)} (trial {standing.best.number})"
    is_last = standing.done >= standing.of
    left = "" if standing.seconds_left is None or is_last else f", {duration(standing.seconds_left)} left"
    return f"{standing.done}/{standing.of} trial {trial.number}: {what}, {trial.seconds:.1f} s{best}{left}"


def settings_line(trial: Trial) -> str:
    """What varied, in a line."""
    return ", ".join(f"{name} {label(value)}" for name, value in trial.settings.items())


def duration(seconds: float) -> str:
    """Seconds as a person says them: `8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _value(trial: Trial) -> str:
    return "" if trial.value is None else f"{trial.value:.4g}"
