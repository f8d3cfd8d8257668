"""The URL of a store in a bucket."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from models.errors import StoreError

SCHEMES = ("s3", "gs", "az", "file")

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_PATH_OF_URL = re.compile(rf"({'|'.join(SCHEMES)}):/(?!/)")  # what `Path` makes of a URL
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_PART = re.compile(r"[A-Za-z0-9._~=+-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """The URL of a store in a bucket.

    Attributes:
        url: URL without a slash at the end, such as `s3://models/production`.
        scheme: `s3`, `gs`, `az` or `file`.
        folder: folder of a URL of a file system; None for a bucket.
    """

    url: str
    scheme: str
    folder: Path | None = None

    @classmethod
    def parse(cls, text: str) -> BucketAddress:
        """Parses a URL.

        Raises:
            StoreError: The text is not the URL of a bucket; the message does not repeat a text with credentials.
        """
        try:
            parts = urlsplit(text)
        except ValueError:  # a square bracket, which may be part of a password
            raise StoreError(
                "the URL of a store cannot be read: it is s3://BUCKET/PREFIX, with letters and digits."
            ) from None
        scheme = parts.scheme.lower()
        if "@" in (parts.netloc if scheme == "file" else text) or parts.query or parts.fragment:
            raise StoreError(
                f"the URL of a store is {scheme}://BUCKET/PREFIX and no more: credentials belong into environment "
                "variables, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
        if scheme not in SCHEMES:
            known = ", ".join(f"{known}://" for known in SCHEMES)
            raise StoreError(
                f"{text[:200]!r} is not a store: a folder, or a URL that begins with {known}. A service that speaks "
                "S3's protocol is s3://BUCKET with its address in AWS_ENDPOINT_URL."
            )
        if scheme == "file":
            if parts.netloc or not parts.path.strip("/"):
                raise StoreError(f"{text[:200]!r} is not the URL of a folder, such as file:///srv/models.")
            path = Path(unquote(parts.path))
            return cls(f"file://{parts.path.rstrip('/')}", scheme, path)
        prefix = [part for part in parts.path.split("/") if part]
        if not _BUCKET.fullmatch(parts.netloc) or any(
            not _PART.fullmatch(part) or part in (".", "..") for part in prefix
        ):
            raise StoreError(
                f"{text[:200]!r} is not the URL of a store, such as {scheme}://BUCKET/PREFIX with letters, digits, "
                "and . _ ~ = + - in the prefix."
            )
        return cls("/".join([f"{scheme}://{parts.netloc}", *prefix]), scheme)


def url_of(place: Path | str) -> str | None:
    """Returns the URL if a place is a URL; None for a path. A URL that was converted to a `Path` is recognized."""
    text = str(place)
    if _URL.match(text):
        return text
    if isinstance(place, Path) and (match := _PATH_OF_URL.match(text)):
        slashes = "///" if match[1] == "file" else "//"
        return f"{match[1]}:{slashes}{text[match.end() :]}"
    return None
