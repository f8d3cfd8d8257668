"""The version policy: which versions of a model a server serves, for all models or for one.

    on-demand   all; the default, the newest and those with an alias are preloaded, the others by their first request
    newest:2    the newest two, preloaded
    all         all, preloaded
    listed      none but those with an alias
    1,3         those of the list, preloaded; for one model only

Versions with an alias are always served, so that a policy cannot take away what a name stands for. The policy of one
model is a file in its folder of the store, `policy.json`: `{"versions": "newest:2"}` or `{"versions": [1, 3]}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from models.checkpoint import open_file
from models.errors import InvalidName, StoreError
from models.links import is_link_out
from models.whole_file import sync_folder, write_whole

POLICY_FILE = "policy.json"
ON_DEMAND, ALL, LISTED = "on-demand", "all", "listed"
FORMS = "on-demand, newest:2 (the newest two), all, or listed (none but those with an alias)"

_MAX_BYTES = 1 << 16
_MAX_LISTED = 1_000
_NEWEST = re.compile(r"newest:([1-9][0-9]{0,8})", re.ASCII)
_LIST = re.compile(r"[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*", re.ASCII)


@dataclass(frozen=True)
class VersionPolicy:
    """A version policy.

    Attributes:
        text: policy as users write it, such as `newest:2` or `1,3`.
        newest: number of newest versions that are served; None unless the policy is `newest:N`.
        listed: listed versions, ascending; None unless the policy is `listed` or a list.
    """

    text: str
    newest: int | None = None
    listed: tuple[int, ...] | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses a policy.

        Raises:
            ValueError: The text is not a policy.
        """
        if text in (ON_DEMAND, ALL):
            return cls(text)
        if text == LISTED:
            return cls(text, listed=())
        if match := _NEWEST.fullmatch(text):
            return cls(text, newest=int(match[1]))
        if len(text) <= _MAX_BYTES and _LIST.fullmatch(text):
            listed = tuple(sorted(set(map(int, text.split(",")))))
            if len(listed) <= _MAX_LISTED:
                return cls(",".join(map(str, listed)), listed=listed)
        raise ValueError(f"{text[:80]!r} is not a policy: {FORMS}; for one model also a list of versions such as 1,3")

    @property
    def preloads(self) -> bool:
        """True if all served versions are loaded before any request."""
        return self.text != ON_DEMAND

    def served(self, versions: Collection[int], aliased: Collection[int]) -> tuple[int, ...]:
        """Returns the versions that are served, ascending.

        Args:
            versions: versions in the store, ascending.
            aliased: versions with an alias.
        """
        chosen = set(versions)
        if self.newest is not None:
            chosen = set(sorted(versions)[-self.newest :])
        elif self.listed is not None:
            chosen = set(self.listed)
        return tuple(version for version in versions if version in chosen or version in aliased)

    def to_json(self) -> dict[str, Any]:
        """Returns the content of the policy's file."""
        return {"versions": list(self.listed) if self.listed else self.text}


def read_policy(folder: Path) -> tuple[VersionPolicy | None, str | None]:
    """Reads the policy of one model.

    Returns:
        The policy, None if the model has none of its own; and the reason why the file is not a policy, or None.

    Raises:
        StoreError: The file cannot be read, so the policy is not known.
    """
    path, called = folder / POLICY_FILE, f"{folder.name}/{POLICY_FILE}"
    try:
        with open_file(path) as file:
            if is_link_out(path, folder.parent):
                return None, f"{called} is a link that leads out of the store."
            text = file.read(_MAX_BYTES + 1)
        content = json.loads(text) if len(text) <= _MAX_BYTES else None
    except (FileNotFoundError, NotADirectoryError):
        return None, None
    except OSError as error:
        raise StoreError(f"{called} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError):
        content = None
    return policy_of(content, called)


def policy_of(content: object, called: str) -> tuple[VersionPolicy | None, str | None]:
    """Returns the policy of a JSON value.

    Args:
        content: content of the policy's file, as JSON types.
        called: name of the file or object, for the reason.

    Returns:
        The policy, and the reason why the value is not a policy, or None.
    """
    versions = content.get("versions") if isinstance(content, dict) and len(content) == 1 else None
    if isinstance(versions, list) and versions and all(type(version) is int for version in versions):
        versions = ",".join(map(str, versions))
    try:
        if isinstance(versions, str):
            return VersionPolicy.parse(versions), None
    except ValueError as error:
        return None, f"{called} is not valid: {error}."
    return None, f'{called} is not valid: it has to be {{"versions": "newest:2"}} or {{"versions": [1, 3]}}.'


def write_policy(folder: Path, policy: VersionPolicy | None) -> None:
    """Writes the policy of one model, atomically; None removes the policy, and the server's setting holds.

    Raises:
        OSError: The disk refuses the write.
    """
    path = folder / POLICY_FILE
    if policy is None:
        path.unlink(missing_ok=True)
        sync_folder(folder)
    else:
        write_whole(path, json.dumps(policy.to_json()).encode())


def parse_policy(text: str) -> VersionPolicy:
    """Parses a policy that a user typed.

    Raises:
        InvalidName: The text is not a policy.
    """
    try:
        return VersionPolicy.parse(text)
    except ValueError as error:
        raise InvalidName(f"{error}.") from None
