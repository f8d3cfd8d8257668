"""The command `axon completion`: a script with which a shell completes commands, options and files of `axon`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from axon.command_table import PROGRAM, installed_commands, top_parser

_EPILOG = """\
examples:
  axon completion bash > ~/.local/share/bash-completion/completions/axon
  axon completion zsh > ~/.zfunc/_axon          # with ~/.zfunc in fpath, before compinit
  axon completion fish > ~/.config/fish/completions/axon.fish

The script is of the installed version: print it again after an update.
"""

_FILES = ("SOURCE", "FILE", "PATH")  # names of arguments that are completed as files
_FOLDERS = ("FOLDER",)


def print_script(given: Sequence[str]) -> int:
    """Prints a shell's script and returns the exit code.

    Args:
        given: arguments of the command: the shell's name.
    """
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} completion",
        description="Prints a script with which a shell completes axon's commands, options and files.",
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_shell(parser)
    shell = parser.parse_args(given).shell
    import shtab

    script = shtab.complete(whole_parser(), shell=shell)  # nosec B604
    print(script, flush=True)
    return 0


def whole_parser() -> argparse.ArgumentParser:
    """Returns the parser of every command that is installed, with all options."""
    parts = installed_commands()
    parser = top_parser()
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    if "training" in parts:
        from axon.remote_predict import add_server_options
        from training.cli import add_commands

        add_commands(commands, extensions={"predict": add_server_options})
    if "service" in parts:
        from axon.serving import add_service_commands

        add_service_commands(commands)
    if "conversion" in parts:
        from axon.export_command import add_export_command
        from axon.import_command import add_import_command

        add_import_command(commands)
        add_export_command(commands)
    if "scoring" in parts:
        from scoring.command import add_score_command

        add_score_command(commands)
    from axon.sbom.command import add_sbom_command
    from axon.signing_commands import add_signing_commands

    add_signing_commands(commands)
    add_sbom_command(commands)
    if "monitoring" in parts:
        from monitoring.command import add_log_commands

        add_log_commands(commands)
    _add_shell(commands.add_parser("completion", help=parts["axon"]["completion"]))
    for action in _actions(parser):
        _suit_shells(action)
    return parser


def _add_shell(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="shell that reads the script")


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yields the options and arguments of a parser, and those of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)


def _suit_shells(action: argparse.Action) -> None:
    """Completes files, shows one line per command, and leaves out choices with a quote, which would break a script."""
    import shtab

    if action.metavar in _FILES:
        action.complete = shtab.FILE  # type: ignore[attr-defined]
    elif action.metavar in _FOLDERS:
        action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    if isinstance(action, argparse._SubParsersAction):
        for shown in action._choices_actions:
            action.choices[shown.dest].description = shown.help
    elif action.choices is not None:
        # shtab 1.13 writes fish's choices between double quotes without escaping a single one (--thousands ').
        action.choices = [choice for choice in action.choices if "'" not in str(choice)]
