"""The name of the running program, for commands that a message offers and a user can type."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

PROGRAM = "python -m training"

_called = PROGRAM


def call_it(program: str) -> None:
    """Sets the program's name: `python -m training`, or the name of a script such as `axon`."""
    global _called
    _called = program if program == PROGRAM else _as_typed(program)


def program() -> str:
    """Returns the first words of a command."""
    return _called


def _as_typed(script: str) -> str:
    """Returns a script's name, or the script's path where the shell would not find the name."""
    path = Path(sys.argv[0])
    if path.name != script or shutil.which(script) in (str(path), str(path.resolve())):
        return script
    return os.path.relpath(path) if path.is_absolute() and path.is_relative_to(Path.cwd()) else str(path)
