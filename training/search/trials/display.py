"""The progress display of a search: a bar on a terminal, else a line for each trial and every few seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from training.engines.engine import Epoch
from training.live import Lines, bar, draws_bars, duration
from training.metrics import MetricFigure
from training.search.space import label
from training.search.trials.session import Listener, Progress
from training.search.trials.trial import Trial


@contextmanager
def displayed(console: Console, title: str, metric: MetricFigure) -> Iterator[Listener]:
    """Yields a listener that shows the progress of a search.

    Args:
        console: console to print on.
        title: name of the model.
        metric: metric that ranks the trials.
    """

    def say(line: str) -> None:
        # Plain text: a file's name may contain brackets, which rich would read as markup.
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
        on_start=lambda progress: say(start_line(title, progress)),
        on_epoch=on_epoch,
        on_trial=lambda trial, progress: say(trial_line(trial, progress, metric)),
        on_again=lambda winner: say(again_line(winner)),
    )


@contextmanager
def _bar(console: Console, title: str, metric: MetricFigure) -> Iterator[Listener]:
    with bar(console) as shown:
        task = shown.add_task(title, total=None, count="", figure="", left="")
        running: dict[int, float] = {}  # fraction of each running trial that is done, by number
        done = 0

        def show(progress: Progress) -> None:
            nonlocal done
            done = progress.done
            best = progress.best
            shown.update(
                task,
                total=progress.of,
                completed=done + sum(running.values()),
                count=f"trial {min(done + 1, progress.of)}/{progress.of}",
                figure=", ".join(
                    [
                        *([] if best is None else [f"{metric} {_value(best)} (trial {best.number})"]),
                        *machine_parts(progress),
                    ]
                ),
                left="" if progress.seconds_left is None else f"{duration(progress.seconds_left)} left",
            )

        def on_start(progress: Progress) -> None:
            console.print(start_line(title, progress), soft_wrap=True, markup=False, highlight=False)
            show(progress)

        def on_epoch(number: int, epoch: Epoch) -> None:
            running[number] = epoch.number / epoch.of
            shown.update(task, completed=done + sum(running.values()))

        def on_trial(trial: Trial, progress: Progress) -> None:
            running.pop(trial.number, None)
            show(progress)

        def on_again(winner: Trial) -> None:
            console.print(again_line(winner), soft_wrap=True, markup=False, highlight=False)

        yield Listener(on_start=on_start, on_epoch=on_epoch, on_trial=on_trial, on_again=on_again)


def start_line(title: str, progress: Progress) -> str:
    """Returns the first line about a search."""
    if progress.done == 0:
        return f"{title}: {progress.of} trials"
    return f"{title}: {progress.done} of {progress.of} trials are there already"


def trial_line(trial: Trial, progress: Progress, metric: MetricFigure) -> str:
    """Returns a line about a trial: the progress of the search, the trial's outcome, the best trial, the time left."""
    match trial.state:
        case "finished":
            what = f"{metric} {_value(trial)}"
        case "failed":
            what = f"failed: {trial.reason}"
        case "pruned":
            what = f"pruned in epoch {trial.epochs}"
        case _:
            what = trial.reason or "interrupted"
    best = "" if progress.best is None else f", best {_value(progress.best)} (trial {progress.best.number})"
    is_last = progress.done >= progress.of
    left = "" if progress.seconds_left is None or is_last else f", {duration(progress.seconds_left)} left"
    machines = "".join(f", {part}" for part in machine_parts(progress))
    return f"{progress.done}/{progress.of} trial {trial.number}: {what}, {trial.seconds:.1f} s{best}{machines}{left}"


def again_line(winner: Trial) -> str:
    """Returns a line about a winner whose checkpoint is missing, which a signal or the time limit does not prevent."""
    return (
        f"trial {winner.number} won, and its checkpoint is not on this machine: it is trained again, for about "
        f"{duration(winner.seconds)}. Ctrl-C ends this at once; the same command does it then."
    )


def machine_parts(progress: Progress) -> list[str]:
    """Returns what a search over machines has to tell: its workers, running and lost trials; empty for one machine."""
    if progress.workers is None:
        return []
    workers = "1 worker" if progress.workers == 1 else f"{progress.workers} workers"
    return [workers, f"{progress.running} running", *([f"{progress.lost} lost"] if progress.lost else [])]


def settings_line(trial: Trial) -> str:
    """Returns the settings that varied, as one line."""
    return ", ".join(f"{name} {label(value)}" for name, value in trial.settings.items())


def _value(trial: Trial) -> str:
    return "" if trial.value is None else f"{trial.value:.4g}"
