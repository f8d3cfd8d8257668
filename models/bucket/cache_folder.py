"""The folder on this machine for what was brought from buckets: its default place, its owner, its limit."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from models.errors import StoreError

DEFAULT_LIMIT_BYTES = 10 << 30

_FOLDER, _LIMIT = "AXON_STORE_CACHE", "AXON_STORE_CACHE_BYTES"
_MOST_BYTES = 1 << 50


def cache_folder(given: Path | None = None, environment: Mapping[str, str] = os.environ) -> Path:
    """Returns the folder, which is made for its owner alone if there is none.

    Args:
        given: folder; AXON_STORE_CACHE if None, else `axon/store` in the user's folder of caches, else one in the
            temporary folder.
        environment: variables of the process.

    Raises:
        StoreError: The folder cannot be made, or other users may write to it.
    """
    if given is None and environment.get(_FOLDER):
        given = Path(environment[_FOLDER])
    tried = _default_places(environment) if given is None else [given]
    reasons = []
    for folder in tried:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            found = folder.stat()
        except OSError as error:
            reasons.append(f"{folder}: {error.strerror}")
            continue
        # Checkpoints are verified, but what an alias means is not: another user must not be able to write it.
        if found.st_uid not in (os.geteuid(), 0) or found.st_mode & stat.S_IWOTH:
            reasons.append(f"{folder}: other users may write to it")
        elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            reasons.append(f"{folder}: no permission to write")
        else:
            return folder
    raise StoreError(f"{_FOLDER}: no folder can be used for what is brought from the bucket ({'; '.join(reasons)}).")


def cache_limit(environment: Mapping[str, str] = os.environ) -> int:
    """Returns the largest number of bytes of the checkpoints in the folder.

    Raises:
        StoreError: AXON_STORE_CACHE_BYTES is not a number of bytes.
    """
    given = environment.get(_LIMIT)
    if not given:
        return DEFAULT_LIMIT_BYTES
    if not given.isascii() or not given.isdecimal() or not 0 < int(given) <= _MOST_BYTES:
        raise StoreError(f"{_LIMIT}: a number of bytes is expected, got {given[:80]!r}.")
    return int(given)


def _default_places(environment: Mapping[str, str]) -> list[Path]:
    places = []
    if environment.get("XDG_CACHE_HOME"):
        places.append(Path(environment["XDG_CACHE_HOME"]) / "axon" / "store")
    elif environment.get("HOME"):
        places.append(Path(environment["HOME"]) / ".cache" / "axon" / "store")
    return [*places, Path(tempfile.gettempdir()) / f"axon-store-{os.geteuid()}"]
