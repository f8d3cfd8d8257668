"""Live progress of a run: a bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from training.budget import TimeBudget

LINE_SECONDS = 5.0  # between two lines
_TITLE = 16  # characters of the title beside a bar


def draws_bars(console: Console, environment: Mapping[str, str] = os.environ) -> bool:
    """Returns True if a bar can be drawn: on a terminal that moves its cursor, unless a variable asks for plain text.

    Args:
        console: console for the progress.
        environment: variables of the process. NO_COLOR asks for plain text. CI systems set CI: their logs would keep
            each state of a bar.
    """
    plain = bool(environment.get("NO_COLOR")) or environment.get("CI", "").lower() not in ("", "0", "false")
    return console.is_terminal and not console.is_dumb_terminal and not plain


class Lines:
    """A schedule of progress lines: the first at once if asked for, then one every few seconds."""

    def __init__(self, *, at_once: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts the time.

        Args:
            at_once: True if the first line is due at once.
            clock: clock in seconds.
        """
        self._clock = clock
        self._due = clock() + (0.0 if at_once else LINE_SECONDS)

    def is_due(self) -> bool:
        """Returns True if a line is due; the next line is then due a few seconds later."""
        now = self._clock()
        if now < self._due:
            return False
        self._due = now + LINE_SECONDS
        return True


class TimeLeft:
    """An estimate of the time left, from the speed so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts the time.

        Args:
            clock: clock in seconds.
        """
        self._clock = clock
        self._begin = clock()
        self._first: float | None = None

    def after(self, done: float, of: float) -> str:
        """Returns a text such as `3 min 20 s left`; empty before there is an estimate, and at the end.

        Args:
            done: number of steps done, with those of an earlier run that this run resumes.
            of: number of all steps.
        """
        if self._first is None:
            # The steps of an earlier run took no time of this run; the first step here is not timed yet.
            self._first, self._begin = done, self._clock()
            return ""
        made = done - self._first
        if made <= 0 or done >= of:
            return ""
        return f"{duration((self._clock() - self._begin) / made * (of - done))} left"


class Countdown:
    """The time that is left of a budget, up to the published model."""

    def __init__(self, budget: TimeBudget) -> None:
        """Takes the budget.

        Args:
            budget: budget of the run.
        """
        self._budget = budget

    def after(self, done: float, of: float) -> str:
        """Returns a text such as `12 s left`, of the budget and not of the epochs."""
        return f"{duration(max(self._budget.left, 0.0))} left"


def duration(seconds: float) -> str:
    """Returns seconds as text: `8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def bar(console: Console) -> Progress:
    """Returns a bar in the width of the terminal: title, bar, and the fields `count`, `figure` and `left` of a task.

    The bar has the width that the texts leave free. On a narrow terminal, the figure is cut first.
    """
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, max_width=_TITLE)),
        BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=6)),
        _Plain("count"),
        _Plain("figure"),
        _Plain("left"),
        console=console,
        transient=True,
        expand=True,
    )


class _Plain(ProgressColumn):
    """A field of the task as text on one line, without markup."""

    def __init__(self, name: str) -> None:
        super().__init__(table_column=Column(no_wrap=True, overflow="ellipsis"))
        self._name = name

    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get(self._name, "")), no_wrap=True, overflow="ellipsis")
