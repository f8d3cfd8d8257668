"""The trust of a reader: which keys may have signed a version, and whether a version without signature is read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self

from models.checkpoint import open_file
from models.errors import ConfigError, SignatureError
from models.signatures.bundle import open_bundle
from models.signatures.keys import PublicKey, read_public_keys
from models.signatures.refusal import Refused
from models.signatures.statement import Statement

KEYS_VARIABLE = "AXON_TRUSTED_KEYS"
REQUIRE_VARIABLE = "AXON_REQUIRE_SIGNATURE"

_MOST_BYTES = 1 << 20  # of a signature; one of a version takes 2 kB
_WHOLE = "."  # name of the only resource, where another tool signed the checkpoint alone
_TRUTH = {  # the texts that the service's settings take
    **dict.fromkeys(("1", "on", "t", "true", "y", "yes"), True),
    **dict.fromkeys(("0", "off", "f", "false", "n", "no"), False),
}


@dataclass(frozen=True, slots=True)
class Signed:
    """A verified signature.

    Attributes:
        resources: SHA-256 digest by name of each file of the version that was signed.
        key: key that signed.
    """

    resources: Mapping[str, str]
    key: PublicKey


@dataclass(frozen=True, slots=True)
class Trust:
    """The keys that are trusted. The object is plain data: another process gets the keys as they were read.

    Attributes:
        keys: public keys, each of which may sign.
        required: True to refuse a version without signature.
    """

    keys: tuple[PublicKey, ...]
    required: bool = True

    @classmethod
    def of_files(cls, paths: Iterable[Path], *, required: bool = True) -> Self:
        """Reads the trusted keys.

        Args:
            paths: PEM files of public keys.
            required: True to refuse a version without signature.

        Raises:
            ConfigError: A file cannot be read, or holds anything but public keys; or `cryptography` is missing.
        """
        return cls(tuple(dict.fromkeys(key for path in paths for key in read_public_keys(path))), required)

    def check(self, path: Path, version: str, payload: bytes, signature: bytes | None) -> Signed | None:
        """Verifies a checkpoint as `verify` does; returns None for one without signature, if none is required.

        Raises:
            SignatureError: The cases of `verify`.
        """
        return None if signature is None and not self.required else self.verify(path, version, payload, signature)

    def verify(self, path: Path, version: str, payload: bytes, signature: bytes | None) -> Signed:
        """Compares a checkpoint with a signature by a trusted key, and returns the verified signature.

        Args:
            path: path of the checkpoint, for error messages and for the name of its resource.
            version: `name@version` of the place where the checkpoint lies.
            payload: bytes of the checkpoint.
            signature: bytes of the signature beside the checkpoint; None if there is none.

        Raises:
            SignatureError: The version is not signed, the signature is malformed, altered, of a key that is not trusted
                or of another version, or the checkpoint is not the one that was signed.
        """
        if signature is None:
            remedy = f"`axon sign {version} --key FILE` signs it"
            raise SignatureError(path, f"is not signed, and only signed versions are trusted: {remedy}.")
        try:
            if len(signature) > _MOST_BYTES:
                raise Refused(f"is larger than {_MOST_BYTES:,} bytes")
            statement, key = open_bundle(signature, self.keys)
            name = _resource_of(statement, path.name)
            _check_subject(statement.subject, version, path.name)
        except Refused as reason:
            raise SignatureError(path, f"has a signature that {reason}.") from reason
        if sha256(payload).hexdigest() != statement.resources[name]:
            raise SignatureError(path, "was altered after it was signed: its SHA-256 is not the one in its signature.")
        return Signed({path.name if name == _WHOLE else at: of for at, of in statement.resources.items()}, key)


def read_signature(path: Path) -> bytes | None:
    """Reads the signature of a version; returns None if there is none.

    Args:
        path: path of the signature.

    Raises:
        SignatureError: There is a signature that cannot be read.
    """
    try:
        with open_file(path) as file:
            return file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SignatureError(path, f"has a signature that cannot be read: {error.strerror}.") from error


def trust_of_environment(environment: Mapping[str, str] = os.environ) -> Trust | None:
    """Returns the trust of the variables AXON_TRUSTED_KEYS and AXON_REQUIRE_SIGNATURE; None if both are unset.

    Args:
        environment: variables of the process.

    Raises:
        ConfigError: A variable has no sound value, or a key file cannot be used; the message names the variable.
    """
    given = {name.upper(): value for name, value in environment.items() if name.upper().startswith("AXON_")}
    text = given.get(REQUIRE_VARIABLE, "false")
    required = _TRUTH.get(text.strip().lower())
    if required is None:
        raise ConfigError(f"{REQUIRE_VARIABLE}: {text!r} is neither true nor false.")
    return trust_of(given.get(KEYS_VARIABLE), required=required)


def trust_of(keys: str | None, *, required: bool = False) -> Trust | None:
    """Returns the trust of the two settings; None if no key is set, and no signature required.

    Args:
        keys: value of AXON_TRUSTED_KEYS, paths with blanks between; None if unset.
        required: value of AXON_REQUIRE_SIGNATURE.

    Raises:
        ConfigError: Signatures are required without a key, a variable without a path is set, or a key file cannot be
            used; the message names the variable.
    """
    if keys is None:
        if required:
            raise ConfigError(f"{REQUIRE_VARIABLE}: it is on, and {KEYS_VARIABLE} names no key that may have signed.")
        return None
    if not (paths := keys.split()):
        raise ConfigError(f"{KEYS_VARIABLE}: it is empty; name the PEM file of a public key, or leave it out.")
    try:
        return Trust.of_files(map(Path, paths), required=required)
    except ConfigError as error:
        raise ConfigError(f"{KEYS_VARIABLE}: {error}") from error


def _resource_of(statement: Statement, name: str) -> str:
    """Returns the name of the checkpoint among the resources."""
    if name in statement.resources:
        return name
    if list(statement.resources) == [_WHOLE]:
        return _WHOLE
    raise Refused(f"leaves out {name}")


def _check_subject(subject: str, version: str, file: str) -> None:
    """Refuses the signature of another version, which somebody may have copied to this place.

    Other tools name what they signed after its folder, which is the number of the version, or after its file.
    """
    if subject not in (version, version.rpartition("@")[2], file):
        raise Refused(f"is for {subject[:80]!r}, not for {version}")
