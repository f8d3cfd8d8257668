"""Keys of signatures: ECDSA keys of the curves P-256, P-384 and P-521, in PEM files.

A key is named by its fingerprint, the SHA-256 of its PEM text. Bundles call the fingerprint a hint. The package
`cryptography` is imported when the first key is read.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from models.checkpoint import open_file
from models.errors import ConfigError
from models.installation import missing_part

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

PUBLIC_SUFFIX = ".pub"

_EXTRA = "signing"
_MOST_BYTES = 1 << 16  # of a key file; a public key takes 180
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\r?\n.*?-----END \1-----", re.DOTALL)
_BEGIN = re.compile(rb"-----BEGIN ")
_HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}  # as Sigstore pairs them
_CURVES = "P-256, P-384 or P-521"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key, as text that can be compared and pickled.

    Attributes:
        pem: PEM text of the key, in the normal form of `cryptography`.
    """

    pem: bytes

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the PEM text, as 64 hexadecimal digits."""
        return sha256(self.pem).hexdigest()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Returns True if the signature is one of the message by this key.

        Args:
            signature: ECDSA signature in DER form.
            message: bytes that were signed.
        """
        from cryptography.exceptions import InvalidSignature

        key = _loaded(self.pem)
        try:
            key.verify(signature, message, _scheme(key.curve))
        except InvalidSignature:
            return False
        return True


class PrivateKey:
    """A private key, read from its file.

    Args:
        path: path of a PEM file.

    Attributes:
        public: public key of the pair.

    Raises:
        ConfigError: The file cannot be read or holds no private key of a known kind, or `cryptography` is missing.
    """

    def __init__(self, path: Path) -> None:
        _require_cryptography()
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        (block,) = _blocks(path, _read(path), wanted="PRIVATE KEY", most=1)
        try:
            key = load_pem_private_key(block, password=None)
        except TypeError:
            raise ConfigError(
                f"{path} is encrypted: `openssl pkey -in {path}` writes the key without a passphrase."
            ) from None
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ConfigError(f"{path} holds no readable private key.") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _HASHES:
            raise ConfigError(f"{path} holds a key of another kind, not an ECDSA key of {_CURVES}.")
        self._key = key
        self.public = _public(key.public_key())

    def sign(self, message: bytes) -> bytes:
        """Signs a message, and returns the signature in DER form."""
        return self._key.sign(message, _scheme(self._key.curve))


def read_public_keys(path: Path) -> tuple[PublicKey, ...]:
    """Reads a PEM file of one or more public keys.

    Raises:
        ConfigError: The file cannot be read, or holds anything but public keys of a known kind, or `cryptography` is
            missing.
    """
    _require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    keys = []
    for block in _blocks(path, _read(path), wanted="PUBLIC KEY"):
        try:
            key = load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ConfigError(f"{path} holds no readable public key.") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
            raise ConfigError(f"{path} holds a key of another kind, not an ECDSA key of {_CURVES}.")
        keys.append(_public(key))
    return tuple(keys)


def new_key_pair(path: Path) -> PublicKey:
    """Makes a key of the curve P-256, and writes the private key to `path` and the public one to `path` + `.pub`.

    Only the owner may read the private key. No file is overwritten.

    Raises:
        ConfigError: One of the files exists or cannot be written, or `cryptography` is missing.
    """
    _require_cryptography()
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    public = _public(key.public_key())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public_path = path.with_name(path.name + PUBLIC_SUFFIX)
    if public_path.exists():
        raise ConfigError(f"{public_path} exists: name another file for the new key.")
    _write_new(path, private, mode=0o600)
    _write_new(public_path, public.pem, mode=0o644)
    return public


def _read(path: Path) -> bytes:
    try:
        with open_file(path) as file:
            return file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "its name is not valid"
        raise ConfigError(f"{path} cannot be read: {reason}.") from None


def _blocks(path: Path, text: bytes, *, wanted: str, most: int | None = None) -> Sequence[bytes]:
    """Returns the PEM blocks of a key file.

    Args:
        path: path of the file, for error messages.
        text: content of the file.
        wanted: kind of key, `PUBLIC KEY` or `PRIVATE KEY`.
        most: largest number of blocks; None for any number.

    Raises:
        ConfigError: The file has no block, too many, or one of another kind.
    """
    found = [block for block in _BLOCK.finditer(text) if block[1] != b"EC PARAMETERS"]  # `openssl ecparam` writes it
    kind = wanted.lower()
    if not found or len(text) > _MOST_BYTES or len(_BLOCK.findall(text)) != len(_BEGIN.findall(text)):
        raise ConfigError(f"{path} is not a PEM file of a {kind}.")
    for block in found:
        label = block[1].decode()
        if not label.endswith(wanted):
            if "PRIVATE KEY" in label:
                raise ConfigError(
                    f"{path} holds a private key, where a public key belongs: keep the private one apart."
                )
            raise ConfigError(f"{path} holds a {label.lower()}, not a {kind}.")
    if most is not None and len(found) > most:
        raise ConfigError(f"{path} holds {len(found)} keys, and only one can sign.")
    return [block[0] + b"\n" for block in found]


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, stat.S_IMODE(mode))
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except FileExistsError:
        raise ConfigError(f"{path} exists: name another file for the new key.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None


def _public(key: ec.EllipticCurvePublicKey) -> PublicKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return PublicKey(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


@lru_cache(maxsize=64)
def _loaded(pem: bytes) -> ec.EllipticCurvePublicKey:
    """Returns the key of a PEM text that `_public` wrote."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = load_pem_public_key(pem)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError(f"{type(key).__name__} is not an ECDSA key.")
    return key


def _scheme(curve: ec.EllipticCurve) -> ec.ECDSA:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.ECDSA(getattr(hashes, _HASHES[curve.name])())


def _require_cryptography() -> None:
    """Raises ConfigError with the remedy if `cryptography` is not installed."""
    try:
        import cryptography  # noqa: F401
    except ModuleNotFoundError as missing:
        raise ConfigError(missing_part(_EXTRA, missing) or str(missing)) from missing
