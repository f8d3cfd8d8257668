"""A peer: a server to measure, described as data: its command, path and wire format."""

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

    In commands and in the values of the environment, `{bin}`, `{port}`, `{second_port}`, `{model}` and `{folder}` are
    replaced by the folder of commands, the free port that is measured, another free port, the model's name, and a new
    folder for each start.

    Attributes:
        name: name in the tables.
        settings: chosen settings, in a few words.
        command: command that starts the server.
        prepare: command that is run before, outside the measured time: archives, settings files, saved models.
        environment: environment variables in addition to the benchmark's own.
        path: path of the prediction endpoint; with gRPC, of the method.
        wire: wire format of requests and answers.
        bin: folder of the server's Python and its commands.
        tree: working folder of both commands, first in their import path.
        tables: True if the server takes rows with categories, dates and gaps.
        answers: True if the answers are the model's; False for a ceiling with fixed bytes.
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
