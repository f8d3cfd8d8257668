"""The command `axon sbom`: writes a software bill of materials of this installation, with models of the store."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from axon.command_table import MATERIALS, PROGRAM
from axon.model import default_store
from axon.sbom.document import bill_of_materials
from axon.sbom.model_component import model_component
from axon.sbom.packages import python_itself, python_packages, system_packages
from models.errors import AxonError, ConfigError
from models.installation import version
from models.open_store import open_store
from models.signing import trusted

SBOM = "sbom"

_EXIT_REFUSED = 2
_DESCRIPTION = """\
Writes a software bill of materials (CycloneDX 1.6, JSON): Python and each installed package with version, licence and
requirements, and models of the store with their digests, architecture, training data and metrics.
"""
_EPILOG = """\
examples:
  axon sbom --out bom.json
  axon sbom churn@3 --out bom.json
  docker run --rm --entrypoint cat axon /opt/axon/bom.json > bom.json    # of an image, as written at its build

SOURCE_DATE_EPOCH sets the time of the document, so that the same installation gives the same bytes.
"""


def run_sbom(given: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Runs the command and returns its exit code.

    Args:
        given: options of the command, without the command.
        environment: variables of the process.
    """
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} {SBOM}",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_options(parser)
    arguments = parser.parse_args(given)
    try:
        text = _text(arguments, environment)
        if arguments.out is None:
            sys.stdout.write(text)
        else:
            _write(arguments.out, text)
    except AxonError as error:
        sys.stderr.write(f"error: {error}\n")
        return _EXIT_REFUSED
    return 0


def add_sbom_command(commands: Any) -> None:
    """Adds the command to a parser, for completion.

    Args:
        commands: argparse's collection of commands.
    """
    _add_options(commands.add_parser(SBOM, help=MATERIALS[SBOM]))


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", metavar="MODEL", nargs="*", help="NAME, NAME@VERSION or NAME@ALIAS")
    parser.add_argument("--out", metavar="FILE", type=Path, help="the file (default: standard output)")
    parser.add_argument("--system", action="store_true", help="the packages of the operating system too (dpkg)")
    parser.add_argument(
        "--store",
        metavar="STORE",
        default=default_store(),
        help="the folder or bucket of models (default: AXON_STORE, else checkpoints)",
    )


def _text(arguments: argparse.Namespace, environment: Mapping[str, str]) -> str:
    store = open_store(arguments.store)
    found = {str(one): one for one in (trusted(store.resolve(name), environment) for name in arguments.models)}
    return bill_of_materials(
        python_packages(),
        [python_itself(), *(system_packages() if arguments.system else ())],
        [model_component(one, one.load()) for one in found.values()],
        version=version(),
        seconds=_seconds(environment),
    )


def _seconds(environment: Mapping[str, str]) -> int:
    """Returns the time of the document: SOURCE_DATE_EPOCH, else now."""
    given = environment.get("SOURCE_DATE_EPOCH")
    if not given:  # an argument of a container's build may be there and empty
        return int(time.time())
    if not given.isascii() or not given.isdecimal() or len(given) > 11:
        raise ConfigError(f"SOURCE_DATE_EPOCH: {given!r} is not a number of seconds since 1970.")
    return int(given)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from error
