"""A peer: a server that can be measured, as data: how it is started, where it answers, and in which wire format."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.wire import INSTANCES, Wire

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Peer:
    """One server with one set of settings.

    In commands and in the environment's values `{bin}`, `{port}`, `{model}` and `{folder}` are filled in: its Python's
    folder of commands, a free port, the model's name, and a folder of this start's own.

    Attributes:
        name: as in the tables.
        settings: what was chosen for it, in a few words.
        command: starts it.
        prepare: run to its end before that, and not counted: archives, settings files, saved models.
        environment: beside the benchmark's own.
        path: where it predicts.
        wire: its wire format.
        bin: the folder of its Python and its commands.
        tree: the working folder of both commands, first in its import path.
        tables: whether it takes rows with categories, dates and gaps as they are.
        answers: whether its answers are the model's; the fixed bytes of a ceiling are not.
    """

    name: str
    settings: str
    command: tuple[str, ...]
    prepare: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    path: str = "/predict"
    wire: Wire = INSTANCES
    bin: Path = Path(sys.executable).parent
    tree: Path = ROOT
    tables: bool = False
    answers: bool = True
