"""Progress on the terminal: a bar where there is one, else a line now and then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training.engines.engine import Epoch, OnEpoch

_LINES = 10  # that a run prints where no bar can be drawn


@contextmanager
def progress(console: Console, title: str) -> Iterator[OnEpoch]:
    """Within it, gives what takes each epoch and shows it.

    Args:
        console: where to show it.
        title: what is trained.
    """
    if not console.is_terminal:
        yield lambda epoch: _print_line(console, title, epoch)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[measures]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None, measures="")
        yield lambda epoch: bar.update(task, total=epoch.of, completed=epoch.number, measures=_shown(epoch.measures))


def _print_line(console: Console, title: str, epoch: Epoch) -> None:
    if epoch.number == 1 or epoch.number % max(epoch.of // _LINES, 1) == 0:
        console.print(f"{title}: epoch {epoch.number} of {epoch.of}, {_shown(epoch.measures)}", soft_wrap=True)


def _shown(measures: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in measures.items())
