"""Options in messages, written so that a shell and the command line take them as they stand."""

from __future__ import annotations

import shlex


def typed(option: str, value: str) -> str:
    """Returns an option and its value as they are typed: `--drop 'price [/kg]'`, or `--drop=-x` before a hyphen."""
    return f"{option}={shlex.quote(value)}" if value.startswith("-") else f"{option} {shlex.quote(value)}"
