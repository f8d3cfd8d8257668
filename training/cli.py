"""The command line of training: builds the parser of the chosen command, runs the command, and prints its errors."""

from __future__ import annotations

import argparse
import difflib
import io
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

from models import standard_output
from models.errors import AxonError
from models.installation import ShowVersion, missing_part
from training.command_table import COMMANDS, EXIT_CODES
from training.interrupt import Interrupted
from training.program import PROGRAM, call_it

EXIT_REFUSED = 2
EXIT_BROKEN_PIPE = 141  # as a shell reports a process that SIGPIPE ended
EXIT_INTERRUPTED = 130  # as a shell reports a process that SIGINT ended

_DESCRIPTION = "Train multi-layer perceptrons on tables, and look after the store that they are served from."


Extension = Callable[[argparse.ArgumentParser], None]  # adds options to a command


def main(
    arguments: Sequence[str] | None = None, *, prog: str = PROGRAM, extensions: Mapping[str, Extension] | None = None
) -> int:
    """Runs one command.

    Args:
        arguments: command and options, without the program's name; those of the process if None.
        prog: name of the program in its help.
        extensions: functions that add options to commands, by command.

    Returns:
        The exit code, as `EXIT_CODES` lists them.
    """
    begun = time.monotonic()
    given = sys.argv[1:] if arguments is None else list(arguments)
    _show_all_texts()
    call_it(prog)
    try:
        command = _command(given)
        parser = build_parser(prog=prog, command=command, extensions=extensions)
        parsed, unknown = parser.parse_known_args(given)
        if unknown:
            _refuse_unknown(parsed.parser, unknown)
        parsed.line = given  # for commands that are offered
        parsed.begun = begun  # a budget of time counts the imports of a command too
        code: int = parsed.run(parsed) or 0
        sys.stdout.flush()
        return code
    except AxonError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except ModuleNotFoundError as missing:
        if (sentence := missing_part("training", missing)) is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        return EXIT_REFUSED
    except MemoryError:
        print("error: the memory of this machine is not enough for this table.", file=sys.stderr)
        return EXIT_REFUSED
    except OSError as error:
        if not standard_output.is_lost(error):
            raise
        if isinstance(error, BrokenPipeError):  # the reader closed the pipe early, as `head` does
            return EXIT_BROKEN_PIPE
        print(standard_output.refusal(error), file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt as interrupted:
        print("interrupted: nothing more was published.", file=sys.stderr)
        return interrupted.exit_code if isinstance(interrupted, Interrupted) else EXIT_INTERRUPTED


def _command(given: Sequence[str]) -> str:
    """Returns the command that was typed; empty if none was."""
    return next((argument for argument in given if not argument.startswith("-")), "")


def _refuse_unknown(parser: argparse.ArgumentParser, unknown: Sequence[str]) -> NoReturn:
    """Ends the process as argparse does, with the command's own usage and the nearest option."""
    option = unknown[0].partition("=")[0]
    near = difflib.get_close_matches(option, re.findall(r"(?<!\S)--[a-z][a-z-]*", parser.format_help()), n=1)
    meant = f"; did you mean {near[0]}?" if option.startswith("-") and near else ""
    parser.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")


def _show_all_texts() -> None:
    """Escapes characters that the terminal's encoding lacks: a column or a file may have any name."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def build_parser(
    environment: Mapping[str, str] = os.environ,
    *,
    prog: str = PROGRAM,
    command: str | None = None,
    extensions: Mapping[str, Extension] | None = None,
) -> argparse.ArgumentParser:
    """Returns the program's parser; the parsed `run` is the function of the chosen command.

    Args:
        environment: variables with the defaults of options: AXON_STORE and AXON_DEVICE.
        prog: name of the program in its help.
        command: only command to have its options, and whose module is imported; every command if None.
        extensions: functions that add options to commands, by command.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description=_DESCRIPTION,
        epilog=EXIT_CODES,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=ShowVersion, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_commands(commands, environment, command=command, extensions=extensions)
    return parser


def add_commands(
    commands: Any,
    environment: Mapping[str, str] = os.environ,
    *,
    command: str | None = None,
    extensions: Mapping[str, Extension] | None = None,
) -> None:
    """Adds training's commands to a parser.

    Args:
        commands: argparse's collection of commands.
        environment: variables with the defaults of options: AXON_STORE and AXON_DEVICE.
        command: only command to have its options, and whose module is imported; every command if None.
        extensions: functions that add options to commands, by command.
    """
    for module, abouts in COMMANDS.items():
        if command is None or command in abouts:
            # Imported here: all modules take half a second, of which a list of the commands needs none.
            from training.commands.options import CommandLine

            import_module(module).add(CommandLine(commands=commands, environment=environment))
            continue
        for name, about in abouts.items():
            commands.add_parser(name, help=about, add_help=False)
    for name, extend in (extensions or {}).items():
        if command in (name, None):
            extend(commands.choices[name])
