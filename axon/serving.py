"""The service's commands in the program `axon`: `serve`, whose commonest settings are options here, and the others."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from axon.command_table import PROGRAM
from service.__main__ import add_commands, main, settings_text
from service.command_table import COMMANDS, EXIT_CODES, SERVE
from service.stop_signals import exit_at_once


def run_service(given: Sequence[str]) -> int:
    """Runs a command of the service and returns its exit code.

    Args:
        given: command and options.
    """
    exit_at_once()
    if given[0] != SERVE:
        return main(list(given), prog=PROGRAM)
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} {SERVE}",
        description="Serves the models of a store over HTTP. Settings are environment variables, listed below.\n"
        "An option here goes before its variable.",
        epilog=f"settings:\n{settings_text()}\n\n{EXIT_CODES}",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_serve_options(parser)
    for name, value in vars(parser.parse_args(given[1:])).items():
        if value is not None:
            os.environ[f"AXON_{name.upper()}"] = str(value)
    return main([], prog=PROGRAM)


def add_service_commands(commands: Any) -> None:
    """Adds the service's commands to a parser.

    Args:
        commands: argparse's collection of commands.
    """
    _add_serve_options(commands.add_parser(SERVE, help=COMMANDS[SERVE]))
    add_commands(commands, prog=PROGRAM)


def _add_serve_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store", metavar="STORE", help="the folder or bucket of models (default: AXON_STORE, else checkpoints)"
    )
    parser.add_argument("--host", help="address to listen on (default: AXON_HOST, else 0.0.0.0)")
    parser.add_argument("--port", type=int, help="port to listen on (default: AXON_PORT, else 8000)")
