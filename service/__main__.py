"""`python -m service` and `axon-serve`: serves the store; settings are environment variables.

The command `keys new` makes an API key instead, and `health` asks a running server whether it is ready.
"""

from __future__ import annotations

import argparse
import os
import sys

# Functions import other modules themselves: every spawned worker imports this module again and needs none of the
# others, and `health` runs every few seconds.


def main(argv: list[str] | None = None) -> int:
    """Runs the command: serves until a signal, makes an API key, or checks the health. Returns the exit code."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "keys":
        return _new_key(arguments.name, arguments.scopes)

    from service.environment import SettingsError, read_settings

    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        for sentence in error.sentences:
            _say(sentence)
        return 2
    if arguments.command == "health":
        from service.health import ill_health

        if (reason := ill_health(settings, probe=arguments.probe, seconds=arguments.seconds)) is not None:
            _say(reason)
        return 0 if reason is None else 1

    from service.server import serve

    return serve(settings)


def _parser() -> argparse.ArgumentParser:
    from service.settings import Settings

    lines = [
        f"  AXON_{name.upper():<22} {field.description} [{'unset' if field.default in (None, '') else field.default}]"
        for name, field in Settings.model_fields.items()
    ]
    parser = argparse.ArgumentParser(
        prog="axon-serve",
        description="Serves the models of a store over HTTP. Settings are environment variables:",
        epilog="\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        dest="command", metavar="keys new | health", help="make an API key, or ask a server whether it is ready"
    )
    keys = commands.add_parser("keys", help="make an API key").add_subparsers(
        dest="action", metavar="new", required=True
    )
    new = keys.add_parser(
        "new",
        help="make an API key",
        description="Makes an API key: its secret on standard error, once; on standard output the line for the key "
        "file. For instance: axon-serve keys new --name alice --scopes predict,read >> keys",
    )
    new.add_argument("--name", required=True, help="whose key it is: up to 64 letters, digits, . _ -")
    new.add_argument("--scopes", required=True, help="what it is for, with commas between: predict, read, manage")
    health = commands.add_parser(
        "health",
        help="ask a server on this machine whether it is ready",
        description="Asks the server that runs on this machine with the same settings; ends with 0 where it is ready, "
        "with 1 and a reason where it is not. Proxies of the environment are passed over.",
    )
    health.add_argument(
        "--live", dest="probe", action="store_const", const="live", default="ready", help="ask whether it runs"
    )
    health.add_argument("--seconds", type=float, default=2.0, help="how long an answer may take (default: 2)")
    return parser


def _new_key(name: str, scopes: str) -> int:
    from service.access import AccessError, new_key

    try:
        secret, line = new_key(name, scopes)
    except AccessError as error:
        _say(str(error))
        return 2
    print(f"The key of {name}, which is not shown again:\n{secret}", file=sys.stderr)  # noqa: T201
    print(line)  # noqa: T201
    return 0


def _say(sentence: str) -> None:
    print(f"axon-serve: {sentence}", file=sys.stderr)  # noqa: T201


def run() -> int:
    """Runs the command `axon-serve`. A signal ends it at once, even during imports."""
    from service.stop_signals import exit_at_once

    exit_at_once()
    return main()


if __name__ == "__main__":
    sys.exit(run())
