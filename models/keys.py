"""The key of a model version, `name@version#digest`, by which all processes name the version.

The digest changes if the version's file is replaced. So an answer of the old file is never taken for an answer of the
new file. Batches that only the first members of an ensemble answer have the key `name@version#digest~members`.
"""

from __future__ import annotations

from models.errors import InvalidName


def make_key(name: str, version: int, digest: str) -> str:
    """Returns the key of a version and its checkpoint's digest."""
    return f"{name}@{version}#{digest}"


def parse_key(key: str) -> tuple[str, int, str]:
    """Splits a key into name, version and digest.

    Raises:
        InvalidName: The text is not a key.
    """
    reference, _, digest = key.partition("#")
    name, _, version = reference.partition("@")
    if not digest or not version.isdecimal():
        raise InvalidName(f"{key[:80]!r} is not a key.")
    return name, int(version), digest


def key_of_members(key: str, members: int) -> str:
    """Returns the key of batches that the first `members` members of a version answer."""
    return f"{key}~{members}"


def split_members(key: str) -> tuple[str, int | None]:
    """Splits the key of a batch into the key of its version and the number of members, None for all."""
    version, _, members = key.partition("~")
    return version, int(members) if members else None
