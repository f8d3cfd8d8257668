"""The command `axon`: training's commands, and `serve`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

EXIT_REFUSED = 2
EXIT_INTERRUPTED = 130
_SERVE = "serve the models of the store over HTTP"  # its line in the list of commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    Args:
        arguments: without the program's name; those of the process if None.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["serve"]:
            return _serve(given[1:])
        from training.cli import main as train
    except KeyboardInterrupt:  # while the modules are imported
        print("interrupted: nothing was done.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except ModuleNotFoundError as missing:
        # An image that only serves has no training code, and one that only trains no service.
        return _lacks("service" if given[:1] == ["serve"] else "training", missing)
    return train(given, prog="axon", others={"serve": _SERVE})


def _serve(given: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="axon serve",
        description=f"{_SERVE[0].upper()}{_SERVE[1:]}. Other settings are environment variables: `axon-serve --help` "
        "lists them.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--store", metavar="FOLDER", help="the folder of models (default: AXON_STORE, else checkpoints)"
    )
    parser.add_argument("--host", help="address to listen on (default: AXON_HOST, else 0.0.0.0)")
    parser.add_argument("--port", type=int, help="port to listen on (default: AXON_PORT, else 8000)")
    for name, value in vars(parser.parse_args(given)).items():
        if value is not None:
            os.environ[f"AXON_{name.upper()}"] = str(value)
    from service.__main__ import main as serve
    from service.stop_signals import exit_at_once

    exit_at_once()
    return serve([])


def _lacks(part: str, missing: ModuleNotFoundError) -> int:
    print(
        f"error: this needs the part {part!r} of Axon, and {missing.name!r} is not installed: "
        f"pip install '.[{part}]' in Axon's folder.",
        file=sys.stderr,
    )
    return EXIT_REFUSED
