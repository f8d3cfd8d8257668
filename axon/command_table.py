"""The commands of the program `axon`: those of every part that is installed, read from tables, without an import."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from importlib.util import find_spec

PROGRAM = "axon"

_DESCRIPTION = "Train multi-layer perceptrons on tables, look after the store of models, and serve them."
CONVERSION = {
    "import": "publish a model from an ONNX file",
    "export": "write a model as ONNX, PyTorch or NumPy",
}
SIGNING = {
    "sign": "sign a version, so that others can verify it",
    "verify": "verify the signature of a version",
}
MATERIALS = {"sbom": "list the software and the models, as CycloneDX"}
_COMPLETION = {"completion": "print the completion script of a shell"}

_EPILOG = """\
`axon COMMAND --help` lists a command's options. Settings of the server are environment variables; `axon serve --help`
lists them.

exit codes:
  0    done; serve: stopped in order; health: ready
  1    serve: a part of the server was lost, or it cannot run at the moment; health: not ready;
       study: a claim did not hold in this run
  2    refused: one sentence says why
  3    fit, search: trained and kept, but not published
  129  the terminal was closed
  130  interrupted by Ctrl-C
  141  nobody reads the output any more
  143  interrupted by SIGTERM
"""


def installed_commands() -> dict[str, Mapping[str, str]]:
    """Returns the commands of each part that is installed, with the line of each in the list of commands."""
    commands: dict[str, Mapping[str, str]] = {}
    # An image that only serves has no training code, and one that only trains no service.
    if find_spec("training"):
        from training.command_table import COMMANDS as TRAINING

        commands["training"] = {name: about for abouts in TRAINING.values() for name, about in abouts.items()}
    if find_spec("service"):
        from service.command_table import COMMANDS as SERVICE

        commands["service"] = SERVICE
    if find_spec("conversion"):
        commands["conversion"] = CONVERSION
    if find_spec("scoring"):
        from scoring.command_table import ABOUT, COMMAND

        commands["scoring"] = {COMMAND: ABOUT}
    if find_spec("monitoring"):
        from monitoring.command_table import COMMANDS as MONITORING

        commands["monitoring"] = MONITORING
    return commands | {"signing": SIGNING, "materials": MATERIALS, "axon": _COMPLETION}


def top_parser() -> argparse.ArgumentParser:
    """Returns the program's parser, without its commands."""
    from models.installation import ShowVersion

    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=ShowVersion, help="show the version and exit")
    return parser
