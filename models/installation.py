"""The installation of Axon: its version, and what a user does about a part that is missing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

_DISTRIBUTION = "axon"
_NOT_INSTALLED = "0+unknown"
_PACKAGES = ("axon", "conversion", "inference", "models", "monitoring", "scoring", "service", "training")


class ShowVersion(argparse.Action):
    """The option `--version`: prints `axon` and its version for a program of any name, and ends the process."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(self, parser: argparse.ArgumentParser, *given: object) -> None:
        """Prints `axon VERSION`."""
        sys.stdout.write(f"{_DISTRIBUTION} {version()}\n")
        parser.exit()


def version() -> str:
    """Returns the version that is installed; `0+unknown` for a source tree that is not installed."""
    # Imported here: it takes 30 ms, which no other option has to wait for.
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed(_DISTRIBUTION)
    except PackageNotFoundError:
        return _NOT_INSTALLED


def missing_part(part: str, missing: ModuleNotFoundError) -> str | None:
    """Returns a sentence on a missing part of Axon, with the remedy; None where the error has another cause.

    Args:
        part: extra of the distribution, such as `training`.
        missing: failed import of a module that the part needs.
    """
    name = missing.name or ""
    library = name.partition(".")[0]
    if name in _PACKAGES:
        return (
            f"this needs the part {part!r} of Axon, which is left out of this installation: install Axon's wheel, or "
            "use the container image of that part."
        )
    if library in {"", *_PACKAGES} | sys.stdlib_module_names:
        return None  # a fault of Axon's own, or of this Python
    # An installed Axon stays as it is: pip takes the libraries alone from the index.
    remedy = f"pip install '.[{part}]' in Axon's folder"
    if version() != _NOT_INSTALLED:
        remedy = f"pip install '{_DISTRIBUTION}[{part}]'"
    return f"this needs the part {part!r} of Axon, and {library!r} is not installed: {remedy}."
