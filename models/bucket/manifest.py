"""The manifest of one version in a bucket: which file is the checkpoint, and what its bytes are."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from models.errors import DataError

FORMAT = "axon.version"
FORMAT_VERSION = 1
MOST_BYTES = 1 << 16

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_MOST_FILE_BYTES = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The manifest of one version.

    Attributes:
        name: name of the model.
        version: version number.
        file: key of the checkpoint's object; no other version has the same.
        size: length of the checkpoint in bytes.
        sha256: SHA-256 of these bytes, in hexadecimal.
        digest: digest in the checkpoint's header.
        published: time of the publication, ISO 8601 in UTC.
    """

    name: str
    version: int
    file: str
    size: int
    sha256: str
    digest: str
    published: str

    @classmethod
    def parse(cls, content: bytes, name: str, version: int) -> Manifest | None:
        """Parses the content of a manifest's object; returns None for that of a deleted version.

        Args:
            content: bytes of the object.
            name: name of the model, by the object's key.
            version: version number, by the object's key.

        Raises:
            DataError: The content is not the manifest of this version.
        """
        try:
            raw = json.loads(content)
        except (ValueError, RecursionError):
            raise DataError("is not JSON") from None
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            raise DataError("is not the manifest of a version")
        if type(raw.get("format_version")) is not int or raw["format_version"] > FORMAT_VERSION:
            raise DataError("has a newer format: upgrade Axon to read it")
        if raw.get("name") != name or raw.get("version") != version:
            raise DataError("is the manifest of another version")
        if raw.get("deleted") is True:
            return None
        fields = {field: raw.get(field) for field in ("file", "size", "sha256", "digest", "published")}
        if not _is_valid(fields, name):
            raise DataError("lacks a field, or has one that is not valid")
        return cls(name=name, version=version, **fields)  # type: ignore[arg-type]

    def to_json(self) -> bytes:
        """Returns the content of the manifest's object."""
        fields = {field: getattr(self, field) for field in self.__dataclass_fields__}
        return _json({"format": FORMAT, "format_version": FORMAT_VERSION, **fields})

    @property
    def published_ns(self) -> int:
        """Time of the publication, in nanoseconds since the epoch."""
        return int(datetime.fromisoformat(self.published).timestamp() * 1e9)


def tombstone(name: str, version: int) -> bytes:
    """Returns the content that replaces the manifest of a deleted version, and keeps its number taken."""
    head = {"format": FORMAT, "format_version": FORMAT_VERSION, "name": name, "version": version}
    return _json({**head, "deleted": True})


def file_key(name: str, sha256: str, nonce: str) -> str:
    """Returns the key of a checkpoint's object.

    Args:
        name: name of the model.
        sha256: SHA-256 of the bytes, in hexadecimal.
        nonce: text that no other publication has.
    """
    return f"files/{name}/{sha256}-{nonce}.safetensors"


def now_text() -> str:
    """Returns the time, ISO 8601 in UTC, in milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _is_valid(fields: dict[str, Any], name: str) -> bool:
    size, sha256, digest = fields["size"], fields["sha256"], fields["digest"]
    if type(size) is not int or not 0 < size <= _MOST_FILE_BYTES:
        return False
    if not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        return False
    if not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        return False
    key = re.compile(rf"files/{re.escape(name)}/{sha256}-[0-9a-f]{{16}}\.safetensors", re.ASCII)
    if not (isinstance(fields["file"], str) and key.fullmatch(fields["file"])):
        return False
    try:
        return datetime.fromisoformat(fields["published"]).tzinfo is not None
    except (ValueError, TypeError):
        return False


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1).encode()
