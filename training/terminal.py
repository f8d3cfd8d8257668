"""The terminal: consoles that show texts as they are, since a column may be called `price [/kg]` or `:smile:`."""

from __future__ import annotations

from rich.console import Console


def plain_console(*, stderr: bool = False, quiet: bool = False, width: int | None = None) -> Console:
    """A console on which no text is markup or emoji.

    Args:
        stderr: whether it writes to standard error.
        quiet: whether it writes nothing.
        width: number of columns; None for the terminal's.
    """
    return Console(stderr=stderr, quiet=quiet, width=width, markup=False, emoji=False, highlight=False)
