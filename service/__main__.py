"""`python -m service` and `axon-serve`: serves the store; settings are environment variables."""

from __future__ import annotations

import argparse
import sys


def main(argv: list[str] | None = None) -> int:
    """Reads the settings and serves until a signal; returns the exit code."""
    # Imported here: every spawned worker imports this module again, and needs none of it.
    from pydantic import ValidationError

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
    parser.parse_args(argv)
    try:
        settings = Settings()
    except ValidationError as error:
        for fault in error.errors():
            name = "_".join(["AXON", *(str(part).upper() for part in fault["loc"])]) if fault["loc"] else "settings"
            message = fault["msg"].removeprefix("Value error, ")
            print(f"axon-serve: {name}: {message} (got {fault['input']!r})", file=sys.stderr)  # noqa: T201
        return 2
    return serve(settings)


if __name__ == "__main__":
    sys.exit(main())
