"""How a search is seen while it goes on: a bar on a terminal, else a line for each trial and every few seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from training.engines.engine import Epoch
from training.live import Lines, bar, draws_bars, duration
from training.search.space import label
from training.search.trials.session import Listener, Standing
from training.search.trials.trial import Metric, Trial


@contextmanager
def displayed(console: Console, title: str, metric: Metric) -> Iterator[Listener]:
    """Gives what is told of a search and shows it.

    Args:
        console: where to show it.
        title: name of what is searched for.
        metric: metric that trials are judged by.
    """

    def say(line: str) -> None:
        # Plain text: a file's name may hold brackets, which rich would take for markup.
        console.print(line, soft_wrap=True, markup=False, highlight=False)

    if draws_bars(console):
        with _bar(console, title, metric) as listener:
            yield listener
        return
    lines = Lines(at_once=False)

    def on_epoch(number: int, epoch: Epoch) -> None:
        if lines.is_due():
            say(f"trial {number}: epoch {epoch.number} of {epoch.of}")

    yield Listener(
        on_start=lambda standing: say(start_line(title, standing)),
        on_epoch=on_epoch,
        on_trial=lambda trial, standing: say(trial_line(trial, standing, metric)),
    )


@contextmanager
def _bar(console: Console, title: str, metric: Metric) -> Iterator[Listener]:
    with bar(console) as shown:
        task = shown.add_task(title, total=None, count="", figure="", left="")
        running: dict[int, float] = {}  # the share of each trial that is trained
        done = 0

        def show(standing: Standing) -> None:
            nonlocal done
            done = standing.done
            best = standing.best
            shown.update(
                task,
                total=standing.of,
                completed=done + sum(running.values()),
                count=f"trial {min(done + 1, standing.of)}/{standing.of}",
                figure="" if best is None else f"{metric} {_value(best)} (trial {best.number})",
                left="" if standing.seconds_left is None else f"{duration(standing.seconds_left)} left",
            )

        def on_start(standing: Standing) -> None:
            console.print(start_line(title, standing), soft_wrap=True, markup=False, highlight=False)
            show(standing)

        def on_epoch(number: int, epoch: Epoch) -> None:
            running[number] = epoch.number / epoch.of
            shown.update(task, completed=done + sum(running.values()))

        def on_trial(trial: Trial, standing: Standing) -> None:
            running.pop(trial.number, None)
            show(standing)

        yield Listener(on_start=on_start, on_epoch=on_epoch, on_trial=on_trial)


def start_line(title: str, standing: Standing) -> str:
    """Returns what a search begins with."""
    if standing.done == 0:
        return f"{title}: {standing.of} trials"
    return f"{title}: {standing.done} of {standing.of} trials are there already"


def trial_line(trial: Trial, standing: Standing, metric: Metric) -> str:
    """Returns a trial in a line: how far the search is, what came of the trial, the best, the time left."""
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
    """Returns what varied, in a line."""
    return ", ".join(f"{name} {label(value)}" for name, value in trial.settings.items())


def _value(trial: Trial) -> str:
    return "" if trial.value is None else f"{trial.value:.4g}"
