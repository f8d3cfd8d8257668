"""The terminal: consoles that show texts as they are, since a column may be called `price [/kg]` or `:smile:`."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import Any

from rich.console import Console
from rich.text import Text

# Control characters as escapes: a terminal would obey them. Line ends and tabs stay.
_VISIBLE = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def plain_console(*, stderr: bool = False, quiet: bool = False, width: int | None = None) -> Console:
    """Makes a console on which no text is markup, an emoji or a command to the terminal.

    Args:
        stderr: whether it writes to standard error.
        quiet: whether it writes nothing.
        width: number of columns; None for the terminal's.
    """
    return _PlainConsole(stderr=stderr, quiet=quiet, width=width, markup=False, emoji=False, highlight=False)


def say(sentence: str) -> None:
    """Prints a sentence on standard output, broken between words where that is a terminal.

    A sentence with a command in it is for `print`: the command is copied as it stands.
    """
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        sentence = textwrap.fill(sentence, width, break_long_words=False, break_on_hyphens=False)
    print(sentence, flush=True)  # noqa: T201 -- what a command says


def visible(text: str) -> str:
    """Returns a text with escapes in the place of control characters."""
    return text.translate(_VISIBLE)


class _PlainConsole(Console):
    def render_str(self, text: str, **options: Any) -> Text:
        """Renders a string; rich calls this for the cells of tables too."""
        return super().render_str(visible(text), **options)
