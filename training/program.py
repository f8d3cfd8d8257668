"""The program as it was called: messages offer commands that can be typed as they stand."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

PROGRAM = "python -m training"

_called = PROGRAM


def call_it(program: str) -> None:
    """Takes note of the program's name: `python -m training`, or the name of a script such as `axon`."""
    global _called
    _called = program if program == PROGRAM else _as_typed(program)


def program() -> str:
    """Returns what a command begins with."""
    return _called


def _as_typed(script: str) -> str:
    """Returns a script's name, or its path where the shell would not find it by its name."""
    path = Path(sys.argv[0])
    if path.name != script or shutil.which(script) in (str(path), str(path.resolve())):
        return script
    return os.path.relpath(path) if path.is_absolute() and path.is_relative_to(Path.cwd()) else str(path)
