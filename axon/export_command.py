"""The command `axon export`: a model of the store goes out as ONNX, PyTorch or NumPy."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from axon.command_table import CONVERSION, PROGRAM
from axon.model import default_store
from conversion.exporting.export import FORMS, export_model
from conversion.exporting.source_model import SourceModel
from models.errors import AxonError
from models.installation import missing_part, version
from models.open_store import open_store
from models.signing import trusted

EXPORT = "export"
_EXIT_REFUSED = 2
_DESCRIPTION = """\
Writes a model of the store in another form, with its preprocessing and its labels. The answers are the server's.

  onnx    one file, for ONNX Runtime and others: an input for each column
  torch   NAME.py, which builds an nn.Sequential, and NAME.safetensors with the state dict
  numpy   one Python file that needs NumPy alone, also as a command: python NAME.py table.csv

docs/export.md has the inputs and outputs of each form.
"""


def run_export(given: Sequence[str]) -> int:
    """Runs the command and returns its exit code.

    Args:
        given: options of the command, without the command.
    """
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} {EXPORT}",
        description=_DESCRIPTION,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_options(parser)
    arguments = parser.parse_args(given)
    try:
        found = trusted(open_store(arguments.store).resolve(arguments.model))
        loaded = found.load()
        model = SourceModel(
            checkpoint=loaded.checkpoint,
            name=found.name,
            axon_version=version(),
            version=found.version,
            digest=loaded.digest,
        )
        paths = export_model(model, arguments.to, arguments.out, overwrite=arguments.force, matrix=arguments.matrix)
    except AxonError as error:
        sys.stderr.write(f"error: {error}\n")
        return _EXIT_REFUSED
    except ModuleNotFoundError as missing:
        if (sentence := missing_part("onnx", missing)) is None:
            raise
        sys.stderr.write(f"error: {sentence}\n")
        return _EXIT_REFUSED
    sys.stdout.write("".join(f"wrote {path}\n" for path in paths))
    return 0


def add_export_command(commands: Any) -> None:
    """Adds the command to a parser.

    Args:
        commands: argparse's collection of commands.
    """
    _add_options(commands.add_parser(EXPORT, help=CONVERSION[EXPORT]))


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="NAME, NAME@VERSION or NAME@ALIAS")
    parser.add_argument("--to", choices=FORMS, required=True, help="form of the export")
    parser.add_argument(
        "--out",
        metavar="PATH",
        type=Path,
        help="the file, or the folder for it (default: NAME.onnx or NAME.py in the working folder)",
    )
    parser.add_argument(
        "--matrix",
        action="store_true",
        help="onnx: one input for all columns, for models whose columns are all numbers",
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that exist")
    parser.add_argument(
        "--store",
        metavar="STORE",
        default=default_store(),
        help="the folder or bucket of models (default: AXON_STORE, else checkpoints)",
    )
