"""A key: the one name by which processes speak of a model version, `name@version#digest`.

The digest makes a version whose file was replaced another key, so that an old answer can never pass for a new one.
"""

from __future__ import annotations

from models.errors import InvalidName


def make_key(name: str, version: int, digest: str) -> str:
    """The key of a version whose checkpoint has this digest."""
    return f"{name}@{version}#{digest}"


def parse_key(key: str) -> tuple[str, int, str]:
    """Name, version and digest.

    Raises:
        InvalidName: not a key.
    """
    reference, _, digest = key.partition("#")
    name, _, version = reference.partition("@")
    if not digest or not version.isdecimal():
        raise InvalidName(f"{key[:80]!r} is not a key.")
    return name, int(version), digest
