"""The table of the service's commands. A list of commands needs no import of their modules."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SERVE = "serve"

#: Commands, and the line of each in the list of commands. `axon-serve` serves where none is given.
COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        SERVE: "serve the models of the store over HTTP",
        "keys": "make an API key: keys new",
        "health": "ask a server on this machine whether it is ready",
    }
)

EXIT_CODES = """\
exit codes:
  0    stopped in order; the key is made; ready
  1    a part of the server was lost, or it cannot run at the moment (the port is taken); health: not ready
  2    refused: a sentence names each setting that is wrong
"""
