"""The command line: every command's options, the one that was chosen, and what its errors become."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from models.errors import AxonError
from training.commands import data, demo, fit, inspect, lr_find, search, store, study
from training.commands.options import CommandLine

PROGRAM = "python -m training"
EXIT_REFUSED = 2
EXIT_BROKEN_PIPE = 141  # as a shell reports a process that SIGPIPE ended
EXIT_INTERRUPTED = 130  # as a shell reports a process that SIGINT ended

_COMMANDS = (fit, inspect, search, lr_find, data, demo, store, study)


def main(
    arguments: Sequence[str] | None = None, *, prog: str = PROGRAM, others: Mapping[str, str] = MappingProxyType({})
) -> int:
    """Runs one command.

    Args:
        arguments: without the program's name; those of the process if None.
        prog: name of the program in its help.
        others: commands that the program has beside these, with what each does.

    Returns:
        The exit code: 0, 2 where something was refused, 130 where the user interrupted, 141 where nobody reads on.
    """
    parsed = build_parser(prog=prog, others=others).parse_args(arguments)
    try:
        parsed.run(parsed)
    except AxonError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except BrokenPipeError:
        # Whoever reads the output has enough, as `head` has after ten lines. What Python would still write at its end
        # goes nowhere, so that it does not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        print("interrupted: nothing more was published.", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def build_parser(
    environment: Mapping[str, str] = os.environ,
    *,
    prog: str = PROGRAM,
    others: Mapping[str, str] = MappingProxyType({}),
) -> argparse.ArgumentParser:
    """The parser of every command; `run` is what the chosen one does.

    Args:
        environment: where AXON_STORE and AXON_DEVICE are looked up, for options that are not given.
        prog: name of the program in its help.
        others: commands that the program has beside these, with what each does.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Train multi-layer perceptrons on tables, and look after the store that they are served from.",
        allow_abbrev=False,
    )
    line = CommandLine(
        commands=parser.add_subparsers(dest="command", metavar="COMMAND", required=True), environment=environment
    )
    for command in _COMMANDS:
        command.add(line)
    for name, about in others.items():
        line.commands.add_parser(name, help=about, add_help=False)
    return parser
