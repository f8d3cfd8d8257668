"""Signing a version of a store, and verifying all of its files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from models.bucket.bucket_version import BucketVersion
from models.checkpoint import open_file
from models.errors import SignatureError
from models.model_version import ModelVersion
from models.signatures.bundle import sign_statement
from models.signatures.keys import PrivateKey
from models.signatures.statement import SIGNATURE_FILE, Statement
from models.signatures.trust import Signed, Trust, read_signature, trust_of_environment
from models.store import CHECKPOINT_FILE, FolderVersion
from models.store_lock import locked, remove
from models.whole_file import write_whole

_BLOCK_BYTES = 1 << 20


def sign_version(version: ModelVersion, key: PrivateKey) -> Statement:
    """Signs the files of a version, and writes the signature beside the checkpoint, atomically.

    The checkpoint is verified first: a damaged file is not signed. A signature that is there is replaced. The model is
    locked against other writers meanwhile.

    Args:
        version: version in a store.
        key: key that signs.

    Returns:
        Statement that was signed.

    Raises:
        CheckpointError: The checkpoint is not sound.
        SignatureError: A file cannot be read, or the signature cannot be written.
        BucketError: The bucket does not answer, or refuses the write.
    """
    payload = version.load().payload
    if isinstance(version, BucketVersion):
        statement = Statement(str(version), {**version.page_digests(), CHECKPOINT_FILE: sha256(payload).hexdigest()})
        version.write_signature(sign_statement(statement, key))
        return statement
    if not isinstance(version, FolderVersion):
        raise SignatureError(version.path, "lies in a store whose versions cannot be signed.")
    path = version.signature_path
    try:
        with locked(path.parents[1]):
            for leftover in path.parent.glob(f".{path.name}.*"):  # of a process that was killed
                remove(leftover)
            others = _digests(version.path, apart=(version.path.name, SIGNATURE_FILE))
            statement = Statement(str(version), {**others, version.path.name: sha256(payload).hexdigest()})
            write_whole(path, sign_statement(statement, key))
    except OSError as error:
        raise SignatureError(path, f"cannot be written: {error.strerror}.") from error
    return statement


def verify_version(version: ModelVersion, trust: Trust) -> Signed:
    """Verifies the signature of a version, and every file of the version.

    Args:
        version: version in a store.
        trust: keys that may have signed.

    Returns:
        Verified signature, with the key that signed.

    Raises:
        SignatureError: The signature is refused, or a file is missing, altered or not signed; the message names it.
        CheckpointError: The checkpoint is not sound.
    """
    payload = version.load().payload
    if isinstance(version, BucketVersion):
        signed = trust.verify(version.place, str(version), payload, version.read_signature())
        _compare(version.place, signed.resources, version.page_digests())
        return signed
    if not isinstance(version, FolderVersion):
        raise SignatureError(version.path, "lies in a store whose versions cannot be signed.")
    signed = trust.verify(version.path, str(version), payload, read_signature(version.signature_path))
    _compare(version.path, signed.resources, _digests(version.path, apart=(version.path.name, SIGNATURE_FILE)))
    return signed


def trusted(version: ModelVersion, environment: Mapping[str, str] = os.environ) -> ModelVersion:
    """Returns a version whose `load` verifies the signature as AXON_TRUSTED_KEYS and AXON_REQUIRE_SIGNATURE demand.

    Programs that load a model outside the server call this, so that the two variables mean the same everywhere.

    Args:
        version: version in a store; one with a trust of its own is returned as it is.
        environment: variables of the process.

    Raises:
        ConfigError: A variable has no sound value, or a key file cannot be used.
    """
    if version.trust is not None:
        return version
    return version.with_trust(trust_of_environment(environment))


def _compare(path: Path, signed: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Compares the files beside a checkpoint with those that were signed.

    Args:
        path: path of the checkpoint, which is not compared.
        signed: digest by name of each signed file.
        found: digest by name of each file in the folder.
    """
    for name in sorted(signed.keys() - {path.name} | found.keys()):
        if name not in found:
            raise SignatureError(path.parent / name, "is missing, and the signature of the version lists it.")
        if name not in signed:
            raise SignatureError(path.parent / name, "is not part of the signature: sign the version again.")
        if signed[name] != found[name]:
            raise SignatureError(path.parent / name, "was altered after the version was signed.")


def _digests(checkpoint: Path, *, apart: tuple[str, ...]) -> dict[str, str]:
    """Returns the SHA-256 of each file in the folder of a checkpoint, by its path within the folder.

    Args:
        checkpoint: path of the checkpoint.
        apart: names to leave out.

    Raises:
        SignatureError: The folder has a link or something else that is not a file, or a file cannot be read.
    """
    folder = checkpoint.parent
    digests = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name in apart or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink():
            raise SignatureError(path, "is a link, and a signature covers files alone.")
        try:
            with open_file(path) as file:
                sha = sha256()
                while block := file.read(_BLOCK_BYTES):
                    sha.update(block)
        except OSError as error:
            raise SignatureError(path, f"cannot be read: {error.strerror}.") from error
        digests[name] = sha.hexdigest()
    return digests
