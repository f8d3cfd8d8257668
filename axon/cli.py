"""The command `axon`: lists the commands of every part that is installed, and hands each to its part."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping, Sequence

from axon.command_table import PROGRAM, installed_commands, top_parser
from axon.own_packages import HiddenPackage, check_own_packages

# The codes of `training.cli`, which cannot be imported before `check_own_packages`; a test holds them together.
EXIT_REFUSED = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


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
        try:
            return _run_part(part, given, commands)
        finally:
            sys.stdout.flush()  # an error has a message here, and none at the exit of the process
    except KeyboardInterrupt:  # while modules are imported
        print("interrupted: nothing was done.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except OSError as error:
        from models import standard_output

        if not standard_output.is_lost(error):
            raise
        if isinstance(error, BrokenPipeError):  # the reader closed the pipe early, as `head` does
            return EXIT_BROKEN_PIPE
        print(standard_output.refusal(error), file=sys.stderr)
        return EXIT_REFUSED
    except HiddenPackage as hidden:
        print(f"error: {hidden}", file=sys.stderr)
        return EXIT_REFUSED
    except ModuleNotFoundError as missing:
        from models.installation import missing_part

        needed = "training" if part in ("scoring", "monitoring") else part
        sentence = missing_part(needed, missing) if needed in ("training", "service") else None
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        return EXIT_REFUSED


def _run_part(part: str, given: Sequence[str], commands: Mapping[str, Mapping[str, str]]) -> int:
    """Hands a command to its part of Axon, the only one that is imported, and returns the exit code."""
    if part == "training":
        from axon.remote_predict import add_server_options
        from training.cli import main as run_training

        return run_training(given, prog=PROGRAM, extensions={"predict": add_server_options})
    if part == "service":
        from axon.serving import run_service

        return run_service(given)
    if part == "conversion":
        from axon.export_command import EXPORT, run_export
        from axon.import_command import run_import

        return run_export(given[1:]) if given[0] == EXPORT else run_import(given[1:])
    if part == "scoring":
        from scoring.command import run_score

        return run_score(given[1:], prog=PROGRAM)
    if part == "signing":
        from axon.signing_commands import SIGN, run_sign, run_verify

        return run_sign(given[1:]) if given[0] == SIGN else run_verify(given[1:])
    if part == "materials":
        from axon.sbom.command import run_sbom

        return run_sbom(given[1:])
    if part == "monitoring":
        from monitoring.command import run_log_command

        return run_log_command(given, prog=PROGRAM)
    if part == "axon":
        from axon.completion import print_script

        return print_script(given[1:])
    return _explain(given, commands)


def _explain(given: Sequence[str], commands: Mapping[str, Mapping[str, str]]) -> int:
    """Shows the help or the version; refuses an unknown command."""
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
