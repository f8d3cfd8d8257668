"""Consoles that print texts unchanged, since a column may have the name `price [/kg]` or `:smile:`."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import Any

from rich.console import Console
from rich.text import Text

# Escapes for control characters, which a terminal would execute. Line ends and tabs stay.
_VISIBLE = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def plain_console(*, stderr: bool = False, quiet: bool = False, width: int | None = None) -> Console:
    """Returns a console that interprets no text as markup, as an emoji or as a command to the terminal.

    Args:
        stderr: True to write to standard error.
        quiet: True to write nothing.
        width: number of columns; None for the width of the terminal.
    """
    return _PlainConsole(stderr=stderr, quiet=quiet, width=width, markup=False, emoji=False, highlight=False)


def say(sentence: str) -> None:
    """Prints a sentence on standard output, with line breaks between words if that is a terminal.

    Use `print` for a sentence with a command, since users copy the command and a line break would cut it.
    """
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        sentence = textwrap.fill(sentence, width, break_long_words=False, break_on_hyphens=False)
    print(sentence, flush=True)  # noqa: T201 -- output of a command


def visible(text: str) -> str:
    """Returns a text with escapes instead of control characters."""
    return text.translate(_VISIBLE)


class _PlainConsole(Console):
    def render_str(self, text: str, **options: Any) -> Text:
        """Renders a string; rich calls this for the cells of tables too."""
        return super().render_str(visible(text), **options)
