"""Who may do what: API keys, each with scopes, from a file, the environment, or both.

One key an entry, entries apart by blanks or line ends, `#` to the end of the line a comment:

    alice:predict,read:3f2a…    name : scopes : SHA-256 of the secret, as 64 hexadecimal digits

Only digests are kept, so neither the file nor a memory dump gives a key away. Secrets are drawn by `new_key` with 256
bits of chance, so their digests need no salt and no slow hash: there is no list of likely secrets to try.

What is presented is hashed, and its digest looked up. The time that this takes tells nothing of any key: it depends
on the digest of what was presented, which nobody can steer towards a stored one without knowing the secret.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Self

from models.checkpoint import open_file
from service.errors import Forbidden, RepeatedKey, ServiceError, Unauthenticated
from service.logs import get_logger
from service.settings import Settings

KEY_PREFIX = "axon_"  # what secret scanners know our keys by

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_BEARER = b"bearer "
_MAX_SECRET_BYTES = 512  # of what is presented; more is not worth hashing
_MAX_FILE_BYTES = 1 << 20

log = get_logger(__name__)


class AccessError(ServiceError):
    """Keys that cannot be used; says where, and never what stands there."""


class Scope(StrEnum):
    """What a key is for."""

    PREDICT = "predict"
    READ = "read"
    MANAGE = "manage"


_IMPLIED = {Scope.MANAGE: frozenset({Scope.READ})}  # what manages the models is answered with them


@dataclass(frozen=True)
class Key:
    """A key as the server knows it: all but the secret.

    Attributes:
        name: whose it is; for the log.
        scopes: what it is for, including what these imply.
    """

    name: str
    scopes: frozenset[Scope]


KeyTable = Mapping[bytes, Key]  # by digest of the secret


class Access:
    """Tells whether a request's key is for what it asks.

    Args:
        fixed: keys that stay as they are, by digest.
        file: where the others are; `refresh` reads it again when it has changed.

    Raises:
        AccessError: the file cannot be read or is malformed, or there is no key at all.
    """

    def __init__(self, fixed: KeyTable, file: Path | None = None) -> None:
        self._fixed = fixed
        self._file = file
        self._seen = b""  # digest of what the file held: no size or time tells as surely whether it has changed
        self._complained: str | None = None
        self._keys = fixed
        if file is not None:
            text = _read(file)
            self._seen = sha256(text).digest()
            self._keys = self._with_file(file, text)
        if not self._keys:
            raise AccessError("there is no API key, so nobody could get in.")

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """Access as it is set; None where no keys are, and everything is open.

        Raises:
            AccessError: as the constructor does, or AXON_API_KEYS is malformed. A setting that is there and holds no
                key is an error too: a secret that was lost on its way must not open the door.
        """
        if settings.api_keys is None and settings.api_keys_file is None:
            return None
        fixed = {}
        if settings.api_keys is not None:
            fixed = parse_keys(settings.api_keys.get_secret_value(), "AXON_API_KEYS")
        return cls(fixed, settings.api_keys_file)

    @property
    def names(self) -> list[str]:
        """The keys' names."""
        return sorted(key.name for key in self._keys.values())

    def check(self, authorization: bytes | None, api_key: bytes | None, scope: Scope) -> str:
        """Lets a request through whose key is for `scope`.

        Args:
            authorization: the request's `Authorization` header, `Bearer …`; None where it has none.
            api_key: its `X-API-Key` header, which goes before the other. The lines of a repeated header are joined by a
                line feed, which no header holds.
            scope: what the request takes.

        Returns:
            The key's name.

        Raises:
            RepeatedKey: a header is there more than once.
            Unauthenticated: there is no key, or an unknown one.
            Forbidden: the key lacks the scope.
        """
        if b"\n" in (api_key or b"") or b"\n" in (authorization or b""):
            raise RepeatedKey
        secret = api_key
        if secret is None:
            if authorization is None or authorization[:7].lower() != _BEARER:
                raise Unauthenticated
            secret = authorization[7:].strip()
        key = self._keys.get(sha256(secret).digest()) if len(secret) <= _MAX_SECRET_BYTES else None
        if key is None:
            raise Unauthenticated(has_key=True)
        if scope not in key.scopes:
            raise Forbidden(scope)
        return key.name

    def refresh(self) -> None:
        """Takes in a key file that has changed. While it is not sound, the keys of before hold, and the log says so."""
        if self._file is None:
            return
        try:
            text = _read(self._file)
            seen = sha256(text).digest()
            if seen == self._seen:
                self._complained = None
                return
            keys = self._with_file(self._file, text)
        except AccessError as error:
            if self._complained != str(error):
                log.error("API keys not taken in; those of before hold", reason=str(error))
            self._complained = str(error)
            return
        self._keys, self._seen, self._complained = keys, seen, None
        log.info("API keys taken in", keys=self.names)

    async def follow(self, seconds: float) -> None:
        """Looks at the key file every so many seconds, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self.refresh)

    def _with_file(self, file: Path, text: bytes) -> KeyTable:
        keys = parse_keys(text.decode(errors="replace"), str(file))
        names = {key.name for key in self._fixed.values()}
        for digest, key in keys.items():
            if digest in self._fixed or key.name in names:
                raise AccessError(f"{file} has a key, named {key.name!r}, that AXON_API_KEYS has too.")
        return {**self._fixed, **keys}


def parse_keys(text: str, source: str) -> dict[bytes, Key]:
    """Keys by the digests of their secrets.

    Args:
        text: entries as this file's first lines say.
        source: where they are from, for the error.

    Raises:
        AccessError: an entry is malformed or there twice, or there is none; names the line and not what is in it,
            which may be a secret in the wrong place.
    """
    keys: dict[bytes, Key] = {}
    names: set[str] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        for entry in line.partition("#")[0].split():
            name, _, rest = entry.partition(":")
            scopes, _, digest = rest.partition(":")
            place = f"{source}, line {number}"
            if not _NAME.fullmatch(name) or not _DIGEST.fullmatch(digest):
                raise AccessError(f"{place}: an entry is not name:scopes:digest, the digest 64 hexadecimal digits.")
            key = Key(name, parse_scopes(scopes, place))
            if name in names or bytes.fromhex(digest) in keys:
                raise AccessError(f"{place}: a name or a digest is there for the second time.")
            names.add(name)
            keys[bytes.fromhex(digest)] = key
    if not keys:
        raise AccessError(f"{source} holds no API key: add one, or leave the setting out to let everybody in.")
    return keys


def parse_scopes(text: str, place: str) -> frozenset[Scope]:
    """Scopes with commas between, and what they imply.

    Raises:
        AccessError: another word, or none; names the place and not the word.
    """
    try:
        scopes = frozenset(map(Scope, text.split(",")))
    except ValueError:
        raise AccessError(f"{place}: scopes are {_listed(Scope)}, with commas between and no blanks.") from None
    return scopes.union(*(_IMPLIED.get(scope, ()) for scope in scopes))


def new_key(name: str, scopes: str) -> tuple[str, str]:
    """A new key.

    Returns:
        The secret, which is kept nowhere else, and the entry for the key file.

    Raises:
        AccessError: not a name, or not scopes.
    """
    if not _NAME.fullmatch(name):
        raise AccessError("a name is up to 64 letters, digits, . _ -, beginning with a letter or a digit.")
    parse_scopes(scopes, "the new key")
    secret = KEY_PREFIX + secrets.token_urlsafe(32)
    return secret, f"{name}:{scopes}:{sha256(secret.encode()).hexdigest()}"


def _read(file: Path) -> bytes:
    try:
        with open_file(file) as opened:
            text = opened.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise AccessError(f"{file} cannot be read: {error.strerror}.") from error
    if len(text) > _MAX_FILE_BYTES:
        raise AccessError(f"{file} has more than {_MAX_FILE_BYTES:,} bytes.")
    return text


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)
