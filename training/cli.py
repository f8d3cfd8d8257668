"""The command line: every command's options, the one that was chosen, and what its errors become."""

from __future__ import annotations

import argparse
import difflib
import io
import os
import re
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NoReturn

from models.errors import AxonError
from training.commands import data, demo, fit, inspect, lr_find, predict, promote, search, store, study
from training.commands.options import CommandLine
from training.interrupt import Interrupted
from training.program import PROGRAM, call_it

EXIT_REFUSED = 2
EXIT_BROKEN_PIPE = 141  # as a shell reports a process that SIGPIPE ended
EXIT_INTERRUPTED = 130  # as a shell reports a process that SIGINT ended

_COMMANDS = (fit, predict, inspect, search, lr_find, data, demo, store, promote, study)


def main(
    arguments: Sequence[str] | None = None, *, prog: str = PROGRAM, others: Mapping[str, str] = MappingProxyType({})
) -> int:
    """Runs one command.

    Args:
        arguments: without the program's name; those of the process if None.
        prog: name of the program in its help.
        others: commands that the program has beside these, with what each does.

    Returns:
        The exit code: 0, 2 where something was refused, 130 or 143 where a signal interrupted, 141 where nobody reads
        on, or the command's own.
    """
    _show_all_texts()
    call_it(prog)
    parsed, unknown = build_parser(prog=prog, others=others).parse_known_args(arguments)
    if unknown:
        _refuse_unknown(parsed.parser, unknown)
    parsed.line = sys.argv[1:] if arguments is None else list(arguments)  # for commands that are offered
    try:
        code = parsed.run(parsed) or 0
        sys.stdout.flush()
        return code
    except AxonError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except MemoryError:
        print("error: the memory of this machine is not enough for this table.", file=sys.stderr)
        return EXIT_REFUSED
    except BrokenPipeError:
        # Whoever read the output has read enough, as `head` does; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt as interrupted:
        print("interrupted: nothing more was published.", file=sys.stderr)
        return interrupted.exit_code if isinstance(interrupted, Interrupted) else EXIT_INTERRUPTED


def _refuse_unknown(parser: argparse.ArgumentParser, unknown: Sequence[str]) -> NoReturn:
    """Ends the process as argparse does, with the command's own usage and the nearest option."""
    option = unknown[0].partition("=")[0]
    near = difflib.get_close_matches(option, re.findall(r"(?<!\S)--[a-z][a-z-]*", parser.format_help()), n=1)
    meant = f"; did you mean {near[0]}?" if option.startswith("-") and near else ""
    parser.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")


def _show_all_texts() -> None:
    """Has characters that the terminal's encoding lacks written as escapes: names of columns and files are anything."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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
