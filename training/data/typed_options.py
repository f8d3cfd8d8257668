"""Command-line options in messages, quoted so that the user can copy an option into a shell."""

from __future__ import annotations

import shlex


def typed(option: str, value: str) -> str:
    """Formats an option and a value for a shell: `--drop 'price [/kg]'`, or `--drop=-x` before a hyphen."""
    return f"{option}={shlex.quote(value)}" if value.startswith("-") else f"{option} {shlex.quote(value)}"
