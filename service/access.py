"""Access by API keys with scopes. Keys come from a file, the environment, or both.

Each entry is one key. Blanks or line ends separate entries; a comment begins with `#` and ends with the line:

    alice:predict,read:3f2a…    name : scopes : SHA-256 of the secret, as 64 hexadecimal digits

Only digests are kept, so neither the file nor a memory dump reveals a secret. `new_key` draws secrets with 256 random
bits, so their digests need no salt and no slow hash: there is no list of likely secrets to try.

The secret of a request is hashed, and its digest is looked up. The duration of the look-up reveals nothing about any
key: it depends on the digest of the given secret, and a client cannot choose a secret with a digest close to a stored
one.
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

KEY_PREFIX = "axon_"  # secret scanners recognize our keys by it

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_BEARER = b"bearer "
_MAX_SECRET_BYTES = 512  # a longer secret of a request is not hashed
_MAX_FILE_BYTES = 1 << 20

log = get_logger(__name__)


class AccessError(ServiceError):
    """Keys that cannot be used. The message names the place, but never its content, which may be a secret."""


class Scope(StrEnum):
    """A permission of a key."""

    PREDICT = "predict"
    READ = "read"
    MANAGE = "manage"


_IMPLIED = {Scope.MANAGE: frozenset({Scope.READ})}  # answers to requests that manage the models list the models


@dataclass(frozen=True)
class Key:
    """A key without its secret.

    Attributes:
        name: name of the key's owner, for the log.
        scopes: scopes of the key, including implied ones.
    """

    name: str
    scopes: frozenset[Scope]


KeyTable = Mapping[bytes, Key]  # keys by digest of the secret


class Access:
    """Checks the keys of requests against their scopes.

    Args:
        fixed: keys by digest that never change.
        file: path of the key file, which `refresh` reads again after a change; None without a file.

    Raises:
        AccessError: the file cannot be read or is malformed, or there is no key at all.
    """

    def __init__(self, fixed: KeyTable, file: Path | None = None) -> None:
        self._fixed = fixed
        self._file = file
        self._file_digest = b""  # a digest detects each change of the file; its size and time do not
        self._logged_error: str | None = None
        self._keys = fixed
        if file is not None:
            text = _read(file)
            self._file_digest = sha256(text).digest()
            self._keys = self._with_file(file, text)
        if not self._keys:
            raise AccessError("there is no API key, so nobody could get in.")

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """Returns the access of the settings; None if no keys are set, so that everything is open.

        Raises:
            AccessError: the file cannot be read, an entry is malformed, or a setting is there but holds no key. The
                last is an error because a secret that was lost in deployment must not open the server to everybody.
        """
        if settings.api_keys is None and settings.api_keys_file is None:
            return None
        fixed = {}
        if settings.api_keys is not None:
            fixed = parse_keys(settings.api_keys.get_secret_value(), "AXON_API_KEYS")
        return cls(fixed, settings.api_keys_file)

    @property
    def names(self) -> list[str]:
        """Names of all keys, sorted."""
        return sorted(key.name for key in self._keys.values())

    def check(self, authorization: bytes | None, api_key: bytes | None, scope: Scope) -> str:
        """Accepts a request whose key has a scope, and refuses any other.

        Args:
            authorization: value of the `Authorization` header, `Bearer …`; None if the header is absent.
            api_key: value of the `X-API-Key` header, which takes precedence; None if absent. The values of a
                repeated header are joined by a line feed, which no header can contain.
            scope: scope that the request needs.

        Returns:
            The name of the key.

        Raises:
            RepeatedKey: a header was sent more than once.
            Unauthenticated: the request has no key, or an unknown one.
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

    def refresh(self, *, is_strict: bool = False) -> None:
        """Reads a changed key file again.

        If the file is faulty, the former keys stay valid, and the error is logged once.

        Args:
            is_strict: True to raise the error instead.

        Raises:
            AccessError: the file is faulty, and `is_strict` is True.
        """
        if self._file is None:
            return
        try:
            text = _read(self._file)
            file_digest = sha256(text).digest()
            if file_digest == self._file_digest:
                self._logged_error = None
                return
            keys = self._with_file(self._file, text)
        except AccessError as error:
            if is_strict:
                raise
            if self._logged_error != str(error):
                log.error("API keys not taken in; those of before hold", reason=str(error))
            self._logged_error = str(error)
            return
        self._keys, self._file_digest, self._logged_error = keys, file_digest, None
        log.info("API keys taken in", keys=self.names)

    async def follow(self, seconds: float) -> None:
        """Calls `refresh` every `seconds` seconds, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self.refresh)

    def _with_file(self, file: Path, text: bytes) -> KeyTable:
        """Returns the fixed keys and those of the file; raises `AccessError` if both have the same key or name."""
        keys = parse_keys(text.decode(errors="replace"), str(file))
        names = {key.name for key in self._fixed.values()}
        for digest, key in keys.items():
            if digest in self._fixed or key.name in names:
                raise AccessError(f"{file} has a key, named {key.name!r}, that AXON_API_KEYS has too.")
        return {**self._fixed, **keys}


def parse_keys(text: str, source: str) -> dict[bytes, Key]:
    """Parses entries, and returns the keys by digest.

    Args:
        text: entries, in the syntax of this module's docstring.
        source: name of the entries' source, for the error message.

    Raises:
        AccessError: an entry is malformed or repeated, or there are no entries. The message names the line but not its
            content, which may be a secret in the wrong place.
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
    """Parses scopes separated by commas, and adds the implied scopes.

    Raises:
        AccessError: a word is not a scope, or there is no word. The message names the place but not the word.
    """
    try:
        scopes = frozenset(map(Scope, text.split(",")))
    except ValueError:
        raise AccessError(f"{place}: scopes are {_listed(Scope)}, with commas between and no blanks.") from None
    return scopes.union(*(_IMPLIED.get(scope, ()) for scope in scopes))


def new_key(name: str, scopes: str) -> tuple[str, str]:
    """Makes a new key.

    Returns:
        The secret, which is stored nowhere, and the entry for the key file.

    Raises:
        AccessError: the name or the scopes are not valid.
    """
    if not _NAME.fullmatch(name):
        raise AccessError("a name is up to 64 letters, digits, . _ -, beginning with a letter or a digit.")
    parse_scopes(scopes, "the new key")
    secret = KEY_PREFIX + secrets.token_urlsafe(32)
    return secret, f"{name}:{scopes}:{sha256(secret.encode()).hexdigest()}"


def _read(file: Path) -> bytes:
    """Reads a key file; raises `AccessError` if the file cannot be read or is too large."""
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
