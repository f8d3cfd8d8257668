"""The command `axon`: lists the commands of every part that is installed, and hands each to its part."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from axon.own_packages import HiddenPackage, check_own_packages

PROGRAM = "axon"
EXIT_REFUSED = 2
EXIT_INTERRUPTED = 130

_DESCRIPTION = "Train multi-layer perceptrons on tables, look after the store of models, and serve them."
_COMPLETION = {"completion": "print the completion script of a shell"}

_EPILOG = """\
`axon COMMAND --help` lists a command's options. Settings of the server are environment variables; `axon serve --help`
lists them.

exit codes:
  0    done; serve: stopped in order; health: ready
  1    serve: a part of the server was lost, or it cannot run at the moment; health: not ready;
       study: a claim did not hold in this run
  2    refused: one sentence says why
  3    fit, search: trained and kept, but not published
  129  the terminal was closed
  130  interrupted by Ctrl-C
  141  nobody reads the output any more
  143  interrupted by SIGTERM
"""


def run() -> int:
    """Runs the command of this process, and returns its exit code.

    `multiprocessing` starts processes by `python -c`, which looks for modules in the working folder first: a user's
    `random.py` would run there. This variable keeps the working folder off their path.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    return main()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    Args:
        arguments: command and options, without the program's name; those of the process if None.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    part = PROGRAM
    try:
        check_own_packages()
        commands = installed_commands()
        part = next((part for part, abouts in commands.items() if given and given[0] in abouts), "")
        if part == "training":
            from training.cli import main as run_training

            return run_training(given, prog=PROGRAM)
        if part == "service":
            from axon.serving import run_service

            return run_service(given)
        if part == "axon":
            from axon.completion import print_script

            return print_script(given[1:])
        return _explain(given, commands)
    except KeyboardInterrupt:  # while modules are imported
        print("interrupted: nothing was done.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except HiddenPackage as hidden:
        print(f"error: {hidden}", file=sys.stderr)
        return EXIT_REFUSED
    except ModuleNotFoundError as missing:
        from models.installation import missing_part

        if (sentence := missing_part(part, missing)) is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        return EXIT_REFUSED


def installed_commands() -> dict[str, Mapping[str, str]]:
    """Returns the commands of each part that is installed, with the line of each in the list of commands."""
    commands: dict[str, Mapping[str, str]] = {}
    # An image that only serves has no training code, and one that only trains no service.
    if find_spec("training"):
        from training.command_table import COMMANDS as TRAINING

        commands["training"] = {name: about for abouts in TRAINING.values() for name, about in abouts.items()}
    if find_spec("service"):
        from service.command_table import COMMANDS as SERVICE

        commands["service"] = SERVICE
    return commands | {"axon": _COMPLETION}


def top_parser() -> argparse.ArgumentParser:
    """Returns the program's parser, without its commands."""
    from models.installation import ShowVersion

    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=ShowVersion, help="show the version and exit")
    return parser


def _explain(given: Sequence[str], commands: Mapping[str, Mapping[str, str]]) -> int:
    """Shows the help or the version, or refuses a command that there is not."""
    parser = top_parser()
    collection = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    abouts = {name: about for part in commands.values() for name, about in part.items()}
    for name, about in abouts.items():
        collection.add_parser(name, help=about, add_help=False)
    if given and not given[0].startswith("-"):
        near = difflib.get_close_matches(given[0], abouts, n=1)
        absent = [part for part in ("training", "service") if part not in commands]
        hint = f"; did you mean {near[0]}?" if near else ""
        hint += "".join(f"; the part {part!r} of Axon is not installed here" for part in absent)
        parser.error(f"there is no command {given[0]!r}{hint or ': axon --help lists them'}")
    parser.parse_args(given)
    return 0
