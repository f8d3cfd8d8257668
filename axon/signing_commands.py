"""The commands `axon sign` and `axon verify`: signatures of versions in the store."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from axon.command_table import PROGRAM, SIGNING
from axon.model import default_store
from models.errors import AxonError, ConfigError
from models.open_store import open_store
from models.signatures.keys import PUBLIC_SUFFIX, PrivateKey, PublicKey, new_key_pair
from models.signatures.trust import KEYS_VARIABLE, Trust, trust_of
from models.signing import sign_version, verify_version

SIGN, VERIFY = "sign", "verify"

_EXIT_REFUSED = 2
_SHOWN = 16  # digits of a key's fingerprint
_SIGN_DESCRIPTION = f"""\
Signs a version: writes model.sig beside the checkpoint, with the SHA-256 of every file of the version. The signature
is for this place alone (iris@3), and has the format of OpenSSF Model Signing 1.0, which `model_signing verify key`
reads. An earlier signature is replaced.

--new-key makes a pair of keys (ECDSA P-256): FILE, which only its owner may read, and FILE{PUBLIC_SUFFIX} for others.
Keys of `openssl ecparam -genkey` work too. Keep the private key away from the store and from servers.
"""
_SIGN_EPILOG = """\
examples:
  axon sign --new-key release.pem
  axon sign churn@3 --key release.pem
  AXON_TRUSTED_KEYS=release.pem.pub AXON_REQUIRE_SIGNATURE=true axon serve

docs/signing.md has the details.
"""
_VERIFY_DESCRIPTION = """\
Verifies that a version is signed by a trusted key, and that every file of the version is the one that was signed.
Ends with 0, or with 2 and one sentence that says which file or which part of the signature is wrong.
"""
_VERIFY_EPILOG = """\
example:
  axon verify churn@3 --key release.pem.pub
"""


def run_sign(given: Sequence[str]) -> int:
    """Runs the command `sign` and returns its exit code.

    Args:
        given: options of the command, without the command.
    """
    parser = _parser(SIGN, _SIGN_DESCRIPTION, _SIGN_EPILOG)
    _add_sign_options(parser)
    arguments = parser.parse_args(given)
    if (arguments.model is None) != (arguments.key is None) or (arguments.model is None) == (arguments.new_key is None):
        parser.error("give a MODEL and its --key, or --new-key alone")
    return _refusing(lambda: _sign(arguments) if arguments.new_key is None else _make_keys(arguments.new_key))


def run_verify(given: Sequence[str]) -> int:
    """Runs the command `verify` and returns its exit code.

    Args:
        given: options of the command, without the command.
    """
    parser = _parser(VERIFY, _VERIFY_DESCRIPTION, _VERIFY_EPILOG)
    _add_verify_options(parser)
    arguments = parser.parse_args(given)
    return _refusing(lambda: _verify(arguments))


def add_signing_commands(commands: Any) -> None:
    """Adds both commands to a parser, for completion.

    Args:
        commands: argparse's collection of commands.
    """
    _add_sign_options(commands.add_parser(SIGN, help=SIGNING[SIGN]))
    _add_verify_options(commands.add_parser(VERIFY, help=SIGNING[VERIFY]))


def _sign(arguments: argparse.Namespace) -> str:
    key = PrivateKey(arguments.key)
    version = open_store(arguments.store).resolve(arguments.model)
    statement = sign_version(version, key)
    return f"signed {version} by the key {_short(key.public)}: {', '.join(sorted(statement.resources))}"


def _make_keys(path: Path) -> str:
    key = new_key_pair(path)
    return f"wrote {path} (private) and {path}{PUBLIC_SUFFIX} (public): the key {_short(key)}"


def _verify(arguments: argparse.Namespace) -> str:
    trust = Trust.of_files(arguments.key) if arguments.key else trust_of(os.environ.get(KEYS_VARIABLE))
    if trust is None:
        raise ConfigError(f"name a key that may have signed: --key FILE, or {KEYS_VARIABLE}.")
    version = open_store(arguments.store).resolve(arguments.model)
    signed = verify_version(version, trust)
    return f"{version} is signed by the key {_short(signed.key)}: {', '.join(sorted(signed.resources))}"


def _refusing(command: Callable[[], str]) -> int:
    """Runs a command, and prints its line; returns the exit code."""
    try:
        line = command()
    except AxonError as error:
        sys.stderr.write(f"error: {error}\n")
        return _EXIT_REFUSED
    sys.stdout.write(f"{line}\n")
    return 0


def _short(key: PublicKey) -> str:
    return f"{key.fingerprint[:_SHOWN]}…"


def _parser(command: str, description: str, epilog: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"{PROGRAM} {command}",
        description=description,
        epilog=epilog,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_sign_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", nargs="?", help="NAME, NAME@VERSION or NAME@ALIAS")
    parser.add_argument("--key", metavar="FILE", type=Path, help="PEM file of the private key")
    parser.add_argument("--new-key", metavar="FILE", type=Path, help="make a pair of keys instead")
    _add_store(parser)


def _add_verify_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="NAME, NAME@VERSION or NAME@ALIAS")
    parser.add_argument(
        "--key",
        metavar="FILE",
        type=Path,
        action="append",
        help=f"PEM file of a trusted public key; may be repeated (default: {KEYS_VARIABLE})",
    )
    _add_store(parser)


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        metavar="STORE",
        default=default_store(),
        help="the folder or bucket of models (default: AXON_STORE, else checkpoints)",
    )
