"""The command `axon-serve`, also `python -m service`: serves the store, with environment variables as settings.

`keys new` makes an API key instead, and `health` asks a running server whether it is ready.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.settings import Settings

# Other modules are imported where they are needed. Every spawned worker imports this module again and needs none of
# them, and `health` runs every few seconds.

PROGRAM = "axon-serve"


def main(argv: list[str] | None = None, *, prog: str = PROGRAM) -> int:
    """Serves until a signal, makes an API key, or asks for health; returns the exit code.

    Args:
        argv: command and options, without the program's name; those of the process if None.
        prog: name of the program in its help.
    """
    try:
        return _run(_parser(prog).parse_args(argv))
    except ModuleNotFoundError as missing:
        from models.installation import missing_part

        if (sentence := missing_part("service", missing)) is None:
            raise
        _say(sentence)
        return 2


def settings_text() -> str:
    """Returns the list of settings for a program's help, a line each."""
    from service.settings import Settings

    lines = [
        f"  AXON_{name.upper():<22} {field.description} [{'unset' if field.default in (None, '') else field.default}]"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(lines)


def add_commands(commands: Any, *, prog: str = PROGRAM) -> None:
    """Adds `keys new` and `health` to a parser.

    Args:
        commands: argparse's collection of commands.
        prog: name of the program in examples.
    """
    from service.command_table import COMMANDS

    keys = commands.add_parser("keys", help=COMMANDS["keys"]).add_subparsers(
        dest="action", metavar="new", required=True
    )
    new = keys.add_parser(
        "new",
        help="make an API key",
        description="Makes an API key: its secret on standard error, once; on standard output the line for the key "
        f"file. For instance: {prog} keys new --name alice --scopes predict,read >> keys",
    )
    new.add_argument("--name", required=True, help="whose key it is: up to 64 letters, digits, . _ -")
    new.add_argument("--scopes", required=True, help="what it is for, with commas between: predict, read, manage")
    health = commands.add_parser(
        "health",
        help=COMMANDS["health"],
        description="Asks the server that runs on this machine with the same settings; ends with 0 where it is ready, "
        "with 1 and a reason where it is not. Proxies of the environment are passed over.",
    )
    health.add_argument(
        "--live", dest="probe", action="store_const", const="live", default="ready", help="ask whether it runs"
    )
    health.add_argument("--seconds", type=float, default=2.0, help="how long an answer may take (default: 2)")


class _Parser(argparse.ArgumentParser):
    """A parser that reads the settings only for its help."""

    def format_help(self) -> str:
        """Returns the help, with a line for each setting."""
        from service.command_table import EXIT_CODES

        self.epilog = f"{settings_text()}\n\n{EXIT_CODES}"
        return super().format_help()


def _parser(prog: str) -> argparse.ArgumentParser:
    from models.installation import ShowVersion

    parser = _Parser(
        prog=prog,
        description="Serves the models of a store over HTTP. Settings are environment variables:",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=ShowVersion, help="show the version and exit")
    commands = parser.add_subparsers(
        parser_class=argparse.ArgumentParser,
        dest="command",
        metavar="keys new | health",
        help="make an API key, or ask a server whether it is ready",
    )
    add_commands(commands, prog=prog)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "keys":
        return _new_key(arguments.name, arguments.scopes)

    if arguments.command == "health":
        return _health(arguments.probe, arguments.seconds)

    if (settings := _settings()) is None:
        return 2
    gc.disable()  # for the imports; `serve` switches it on
    from service.server import serve

    return serve(settings)


def _settings() -> Settings | None:
    """Reads the settings; says what is wrong and returns None if a setting is."""
    from service.environment import SettingsError, read_settings

    try:
        return read_settings(os.environ)
    except SettingsError as error:
        for sentence in error.sentences:
            _say(sentence)
        return None


def _health(probe: str, seconds: float) -> int:
    from service.health import ServerAddress, ill_health

    address = ServerAddress.read(os.environ)
    if address is None:
        if (settings := _settings()) is None:
            return 2
        address = ServerAddress.of(settings)
    if (reason := ill_health(address, probe=probe, seconds=seconds)) is not None:
        _say(reason)
    return 0 if reason is None else 1


def _new_key(name: str, scopes: str) -> int:
    from service.access import AccessError, new_key

    try:
        secret, line = new_key(name, scopes)
    except AccessError as error:
        _say(str(error))
        return 2
    try:  # the line first: without it, nobody could use the secret
        print(line, flush=True)  # noqa: T201
    except OSError as error:
        _say(f"the line for the file of keys cannot be written: {error.strerror}. No key was made.")
        return 2
    print(f"The key of {name}, which is not shown again:\n{secret}", file=sys.stderr)  # noqa: T201
    return 0


def _say(sentence: str) -> None:
    print(f"{PROGRAM}: {sentence}", file=sys.stderr)  # noqa: T201


def run() -> int:
    """Runs the command of this process. A stop signal ends it at once, also while modules are imported."""
    from service.stop_signals import exit_at_once

    exit_at_once()
    return main()


if __name__ == "__main__":
    sys.exit(run())
