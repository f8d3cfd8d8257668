"""`python -m service` and `axon-serve`: serves the store; settings are environment variables.

`keys new` makes an API key instead.
"""

from __future__ import annotations

import argparse
import os
import sys


def main(argv: list[str] | None = None) -> int:
    """Serves until a signal, or makes an API key; returns the exit code."""
    # Imported here: every spawned worker imports this module again, and needs none of it.
    from service.environment import SettingsError, read_settings
    from service.http.access import AccessError, Scope, new_key
    from service.server import serve
    from service.settings import Settings

    fields = Settings.model_fields
    lines = [
        f"  AXON_{name.upper():<22} {field.description} [{'unset' if field.default is None else field.default}]"
        for name, field in fields.items()
    ]
    parser = argparse.ArgumentParser(
        prog="axon-serve",
        description="Serves the models of a store over HTTP. Settings are environment variables:",
        epilog="\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="keys new", help="make an API key, rather than serve")
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
    new.add_argument("--scopes", required=True, help=f"what it is for, with commas between: {', '.join(Scope)}")
    arguments = parser.parse_args(argv)
    if arguments.command == "keys":
        try:
            secret, line = new_key(arguments.name, arguments.scopes)
        except AccessError as error:
            return _wrong(str(error))
        print(f"The key of {arguments.name}, which is not shown again:\n{secret}", file=sys.stderr)  # noqa: T201
        print(line)  # noqa: T201
        return 0
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        for sentence in error.sentences:
            _wrong(sentence)
        return 2
    return serve(settings)


def _wrong(reason: str) -> int:
    print(f"axon-serve: {reason}", file=sys.stderr)  # noqa: T201
    return 2


if __name__ == "__main__":
    sys.exit(main())
