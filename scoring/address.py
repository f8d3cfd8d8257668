"""The URL of an object, of a folder of objects or of a pattern, as a source or a destination."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from models.bucket.address import SCHEMES, url_of
from models.errors import DataError

_BUCKETS = tuple(scheme for scheme in SCHEMES if scheme != "file")
_SERVERS = ("http", "https")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_SIGNED = re.compile(r"\?[A-Za-z0-9_-]+=")  # a query, which may hold a signature
_LONGEST = 200  # characters of a URL in a message


@dataclass(frozen=True, slots=True)
class ObjectAddress:
    """The URL of an object, of a folder of objects or of a pattern.

    Attributes:
        root: URL of the bucket or of the web server, such as `s3://rows`.
        key: key below the root, or a pattern of keys; unquoted where the URL of a web server is quoted.
        query: query of a URL of a web server, which may hold a signature and is in no message.
        ends_in_slash: True if the URL ends in a slash, so that only a folder can be meant.
    """

    root: str
    key: str
    query: str = ""
    ends_in_slash: bool = False

    @property
    def is_server(self) -> bool:
        """True for a web server, which cannot be listed or written."""
        return self.root.startswith(("http://", "https://"))

    def url(self, key: str | None = None) -> str:
        """Returns the URL of a key for messages, without the query.

        Args:
            key: key below the root; None for the key of this address.
        """
        key = self.key if key is None else key
        return f"{self.root}/{quote(key) if self.is_server else key}"


def address_of(text: str) -> ObjectAddress | None:
    """Returns the address that a URL says; None for a path.

    Args:
        text: text that the user wrote.

    Raises:
        DataError: the URL is not valid. The message does not repeat what may be a credential.
    """
    if url_of(text) is None or text.startswith("file://"):
        return None
    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()
    if scheme in _SERVERS:
        return _server(scheme, text)
    known = ", ".join(f"{name}://" for name in (*SCHEMES, *_SERVERS))
    if scheme not in _BUCKETS:
        raise DataError(f"{scheme}:// is not known: a path, or a URL that begins with {known}, is expected.")
    bucket, _, key = rest.partition("/")
    if not _BUCKET.fullmatch(bucket) or _SIGNED.search(key):
        raise DataError(
            f"the URL is {scheme}://BUCKET/KEY and no more: credentials belong into environment variables, such as "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    segments = key.rstrip("/").split("/")
    if key.strip("/") and any(segment in ("", ".", "..") for segment in segments):
        raise DataError(f"{text[:_LONGEST]}: a key has no empty segments, and no . or .. among them.")
    return ObjectAddress(f"{scheme}://{bucket}", key.strip("/"), ends_in_slash=key.endswith("/") or not key)


def _server(scheme: str, text: str) -> ObjectAddress:
    try:
        parts = urlsplit(text)
    except ValueError:  # a square bracket, which may be part of a password
        raise DataError(f"the URL cannot be read: it is {scheme}://HOST/PATH.") from None
    if "@" in parts.netloc or not parts.hostname:
        raise DataError(f"the URL is {scheme}://HOST/PATH: a name and a password in it are not taken.")
    key = unquote(parts.path).strip("/")
    shown = f"{scheme}://{parts.netloc}{parts.path}"[:_LONGEST]
    if not key or parts.path.endswith("/"):
        raise DataError(f"{shown}: a web server cannot be listed: name one file.")
    if any(segment in ("", ".", "..") for segment in key.split("/")):
        raise DataError(f"{shown}: a path has no empty segments, and no . or .. among them.")
    return ObjectAddress(f"{scheme}://{parts.netloc}", key, parts.query)


def local_path(text: str) -> str:
    """Returns the path that a `file://` URL says; another text stays unchanged.

    Raises:
        DataError: the URL has a host.
    """
    if not text.startswith("file://"):
        return text
    path = text.removeprefix("file://")
    if not path.startswith("/"):
        raise DataError(f"{text[:_LONGEST]!r} is not the URL of a path, such as file:///data/rows.")
    return unquote(path)


def suffix_of(out: Path | str) -> str:
    """Returns the suffix of a destination in small letters, such as `.csv`; an empty text for a folder."""
    return PurePosixPath(str(out)).suffix.lower()


def first_pattern(key: str) -> int | None:
    """Returns the number of the first segment of a key that is a pattern; None for a key without one."""
    return next((place for place, part in enumerate(key.split("/")) if glob.has_magic(part)), None)
